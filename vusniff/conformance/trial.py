"""Plays one scenario to a back-end: the front-end's part, step by step, and what came of it.

It must not know processes: whether the back-end died is the runner's business.
"""

from __future__ import annotations

import contextlib
import os
import time

from vusniff.conformance import words
from vusniff.conformance.conversation import Conversation, PeerLeft, TrialOver, TrialResult, message
from vusniff.conformance.devices import FRAME_SIZE, Unseen
from vusniff.conformance.places import layout
from vusniff.conformance.scenario import (
    Again,
    Alive,
    Called,
    Demand,
    Disabled,
    Drop,
    Expect,
    Flood,
    Half,
    Joined,
    Marked,
    Offer,
    P,
    Pieces,
    Rest,
    Result,
    Say,
    Start,
    Step,
    Stop,
    Work,
)
from vusniff.conformance.steps import ring_steps, stop_step
from vusniff.families.vhost_user.protocol import (
    VERSION,
    Channels,
    FrontendRequest,
    request_name,
)

F = FrontendRequest
SETTLE_S = 0.05
"""How long a stopped ring is watched."""


class Trial(Conversation):
    """One play of one scenario."""

    def play(self) -> TrialResult:
        """The whole scenario, from the first connection to the end of the last."""
        outcome = self._outcome
        began = time.monotonic()
        try:
            self._open()
            self._steps()
        except TrialOver as over:
            outcome.result, outcome.why = over.result, str(over)
        finally:
            self.close()
            outcome.seconds = time.monotonic() - began
        return outcome

    def close(self) -> None:
        """Leave the back-end."""
        self._leave()
        self._driver.close()
        self._things.close()

    def _steps(self) -> None:
        left = False
        for step in self._scenario.steps:
            if left and not isinstance(step, Again):
                continue
            left = False
            try:
                self._do(step)
            except PeerLeft:
                left = True
        if not left and self._link is not None:
            with contextlib.suppress(PeerLeft):
                self._alive("after all that was said")

    def _do(self, step: Step) -> None:
        match step:
            case Say():
                self._say(step)
            case Start():
                self._start(step)
            case Stop():
                for ring in self._device.rings if step.ring is None else (step.ring,):
                    self._say(stop_step(ring, self._driver.packed, step.demand))
            case Called():
                self._called()
            case Disabled():
                self._disabled(step)
            case Alive():
                self._alive("")
            case Work():
                self._work(step)
            case Rest():
                self._rest(step)
            case Offer():
                self._offer(step)
            case Pieces():
                self._pieces = step.size
            case Joined():
                self._joined(step)
            case Flood():
                self._flood(step)
            case Half():
                self._half(step)
            case Again():
                self._leave()
                self._forget()
                self._open()
            case Marked():
                self._marked(step)
            case Drop():
                self._drop(step.name)

    def _drop(self, name: str) -> None:
        if name == "channel":
            if self._channel is not None:
                self._channel.close()
                self._channel = None
                if self._capture is not None:
                    self._capture.closed(Channels.BACKEND, True)
            return
        self._things.drop(name)

    # Rings.

    def _start(self, step: Start) -> None:
        rings = self._device.rings if step.ring is None else (step.ring,)
        if step.packed:
            self._driver.packed = True
        for ring in rings:
            if step.fresh:
                self._driver.begin_at(ring, 0)
            for one in ring_steps(step, ring):
                self._say(one)

    def _called(self) -> None:
        ring = self._device.busy
        while self._driver.was_called(ring):
            continue
        self._work(Work())
        if not self._driver.called(ring):
            self._miss(Demand.MUST, f"the call descriptor of ring {ring} was not signalled")

    def _disabled(self, step: Disabled) -> None:
        """A net device: the frame comes back to nobody; whether it is taken is asked apart."""
        receive, send = self._device.rings
        self._driver.post(receive, FRAME_SIZE)
        taken = self._driver.ask(send, [bytes(FRAME_SIZE // 4)])
        if step.takes and taken is None:
            self._miss(Demand.MUST, f"ring {send} is started and disabled, and a frame was not taken from it")
        self._settle(receive)
        if not step.takes and self._driver.moved(receive):
            self._miss(Demand.MUST, f"ring {receive} is disabled, and a frame came")

    def _settle(self, ring: int) -> None:
        """Look at a ring for a moment, in which nothing may be said."""
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline and not self._driver.moved(ring):
            self._receive_nothing(deadline)

    def _work(self, step: Work) -> None:
        self._driver.high, self._driver.whole = step.high, step.whole or self._echoes
        self._driver.answers = self._echoes
        try:
            why = self._device.work(self._driver)
        except Unseen as unseen:
            if self._echoes:
                self._miss(step.demand, str(unseen))
            raise TrialOver(Result.INCONCLUSIVE, str(unseen)) from None
        if why is not None:
            self._miss(step.demand, f"the device {why}")
        self._outcome.echoed = self._outcome.echoed or self._driver.echoed
        for guest in self._driver.written if step.logged else ():
            self._logged(guest, Demand.SHOULD)

    def _rest(self, step: Rest) -> None:
        """A stopped ring is left alone: looked at for a moment, with two requests in between that are answered."""
        ring = self._device.busy
        self._driver.submit(ring, [16])
        self._alive("while a ring is stopped")
        self._settle(ring)
        if self._driver.moved(ring):
            self._miss(step.demand, f"ring {ring} is stopped, and its requests are completed")

    def _receive_nothing(self, deadline: float) -> None:
        arrival = self._receive(deadline)
        if arrival is not None:
            arrival.close()
            self._miss(Demand.MUST, "the back-end said something that nobody asked for")
        if self._main.ended:
            raise self._gone("while a ring is stopped", False)

    def _offer(self, step: Offer) -> None:
        index = self._device.busy if step.ring is None else step.ring
        ring = self._driver.ring(index)
        self._refused_once = True
        for slot, (address, length, flags, following) in enumerate(step.descriptors):
            ring.describe(slot, address, length, flags, following)
        ring.publish(step.head, step.ahead)
        self._driver.kick(index)
        self._alive("while a ring holds what no driver may write", allowed=True)
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline and not self._main.ended:
            arrival = self._receive(deadline)
            if arrival is not None:
                arrival.close()

    def _marked(self, step: Marked) -> None:
        self._logged(layout(self._device.busy).used, step.demand)

    def _logged(self, guest: int, demand: Demand) -> None:
        page = guest >> 12
        byte = os.pread(self._things.fd("log"), 1, page >> 3)
        if not byte or not byte[0] >> (page & 7) & 1:
            self._miss(demand, f"the page of guest address {guest:#x} was written and is not in the log")

    # The stream.

    def _joined(self, step: Joined) -> None:
        said = [(one, words.payload(one.body, self._known)) for one in step.said]
        data = b"".join(
            message(one.request, payload, VERSION if one.flags is None else one.flags) for one, payload in said
        )
        self._send(data, [], "several messages in one send")
        self._outcome.said += len(said) - 1
        for one, payload in said:
            name = request_name(Channels.MAIN, one.request)
            if one.expect is Expect.REPLY:
                self._reply(one, name, payload)
            elif one.expect is Expect.DONE and self._has(P.REPLY_ACK):
                self._done(one, name, True)

    def _flood(self, step: Flood) -> None:
        """Says a request again and again while it goes out, then reads all replies."""
        name = request_name(Channels.MAIN, step.request)
        data = message(step.request, b"", VERSION)
        sent = 0
        link = self._main
        while sent < step.times and link.send(data, [], time.monotonic() + SETTLE_S):
            sent += 1
            if self._capture is not None:
                self._capture.said(Channels.MAIN, data, [])
        if link.ended:
            raise self._gone(f"while {name} was said again and again", False)
        self._outcome.said += sent
        if sent < step.times:
            self._outcome.notes.append(f"it stopped reading after {sent} requests whose replies were not read")
        for _ in range(sent if step.read else 0):
            self._answer(name, step.request).close()

    def _half(self, step: Half) -> None:
        payload = words.payload(step.body, self._known)
        data = message(step.request, payload, VERSION)[: step.size]
        self._send(data, [], f"{step.size} bytes of {request_name(Channels.MAIN, step.request)}")
        self._leave()
