"""Plays one scenario to a back-end: the front-end's part, step by step, and what came of it.

Nothing waits without an end: a reply for ``patience`` seconds, silence for nothing, because the reply to a GET_FEATURES
that follows tells that nothing came before it. It must not know processes: whether the back-end died is the runner's
business.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import TypeAlias

from vusniff.conformance import words
from vusniff.conformance.devices import FRAME_SIZE, TestedDevice, Unseen
from vusniff.conformance.driver import RingDriver
from vusniff.conformance.places import layout
from vusniff.conformance.recorder import TrialCapture
from vusniff.conformance.replies import CHECKS, TestedReply
from vusniff.conformance.scenario import (
    USUAL,
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
    Scenario,
    Start,
    Step,
    Stop,
    Work,
)
from vusniff.conformance.steps import ring_steps, stop_step
from vusniff.conformance.things import Things
from vusniff.families.vhost_user.protocol import (
    F_PROTOCOL_FEATURES,
    FLAG_NEED_REPLY,
    FLAG_REPLY,
    FLAG_VERSION,
    HEADER_SIZE,
    HEADERS,
    STOPS_RING,
    VERSION,
    Channels,
    FrontendRequest,
    request_name,
)
from vusniff.replay.link import Arrival, ReplaySocket, wait
from vusniff.values import dataclass, field

F = FrontendRequest
HEADER = HEADERS[sys.byteorder]
CONFIG_HEAD = 12
"""Bytes of a config payload before the config space."""
NEEDS_30 = (F.GET_PROTOCOL_FEATURES, F.SET_PROTOCOL_FEATURES, F.SET_VRING_ENABLE)
SETTLE_S = 0.05
"""How long a stopped ring is watched."""
CHANNEL = "socket:channel"
Meet: TypeAlias = "Callable[[], tuple[socket.socket, bool]]"


class _Over(Exception):
    """The scenario ends here: its result, and why."""

    def __init__(self, result: Result, why: str) -> None:
        super().__init__(why)
        self.result = result


class _Left(Exception):
    """The back-end closed the connection, where it may."""


@dataclass(slots=True)
class TrialResult:
    """What came of one scenario."""

    result: Result
    why: str = ""
    """One sentence; empty where all was as expected."""
    notes: list[str] = field(default_factory=list)
    said: int = 0
    """Messages that went out."""
    heard: int = 0
    echoed: bool = False
    """A frame came back."""
    left: bool = False
    """The back-end closed the connection."""
    seconds: float = 0.0


def message(request: int, payload: bytes, flags: int, claims: int | None = None) -> bytes:
    """The bytes of a message."""
    return HEADER.pack(request, flags, len(payload) if claims is None else claims) + payload


class Trial:
    """One play of one scenario."""

    def __init__(
        self,
        scenario: Scenario,
        device: TestedDevice,
        meet: Meet,
        patience: float,
        capture: TrialCapture | None = None,
        limit: int | None = None,
        echoes: bool = False,
    ) -> None:
        """``meet`` gives a connected socket, and whether we connected; ``limit`` is how many messages are said.

        ``echoes``: frames that are sent come back, or are answered; so one that does not come is missing.
        """
        self._scenario = scenario
        self._device = device
        self._meet = meet
        self._patience = patience
        self._capture = capture
        self._limit = limit
        self._echoes = echoes
        self._things = Things()
        protocol = (USUAL | scenario.also | scenario.needs) & ~scenario.never
        wanted = words.VERSION_1 | F_PROTOCOL_FEATURES | device.features | scenario.features
        self._known = words.begin(wanted, protocol)
        self._driver = RingDriver(self._things, patience)
        self._link: ReplaySocket | None = None
        self._channel: ReplaySocket | None = None
        self._pieces = 0
        self._refused_once = False
        """Something was said that it may close the connection upon, sooner or later."""
        self._outcome = TrialResult(Result.PASS)

    def play(self) -> TrialResult:
        """The whole scenario, from the first connection to the end of the last."""
        outcome = self._outcome
        began = time.monotonic()
        try:
            self._open()
            self._steps()
        except _Over as over:
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
            except _Left:
                left = True
        if not left and self._link is not None:
            with contextlib.suppress(_Left):
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

    # Connections.

    def _open(self) -> None:
        sock, connected = self._meet()
        self._link = ReplaySocket(sock, Channels.MAIN)
        if self._capture is not None:
            self._capture.opened(Channels.MAIN, connected, (os.fstat(sock.fileno()).st_ino, None))

    def _forget(self) -> None:
        """A new connection begins from nothing: the guest's rings, too."""
        self._refused_once = False
        self._things.forget("event:")
        self._driver.forget()
        for word in [word for word in self._known if word.startswith(("base", "used"))]:
            del self._known[word]
        self._known.pop("protocol", None)

    def _leave(self) -> None:
        for link in (self._channel, self._link):
            if link is not None:
                link.close()
                if self._capture is not None:
                    self._capture.closed(link.channel, link.ended is None)
        self._link = self._channel = None

    @property
    def _main(self) -> ReplaySocket:
        if self._link is None:
            raise _Over(Result.INCONCLUSIVE, "the connection was closed before all was said")
        return self._link

    def _gone(self, after: str, allowed: bool) -> _Over | _Left:
        """The back-end closed the connection."""
        self._outcome.left = True
        ended = self._main.ended or "closed the connection"
        if allowed or self._refused_once:
            return _Left()
        return _Over(Result.FAIL, f"the back-end {ended} {after}".rstrip())

    def _send(self, data: bytes, fds: list[int], what: str, allowed: bool = False) -> None:
        if self._limit is not None and self._outcome.said >= self._limit:
            raise _Over(Result.INCONCLUSIVE, "said as much as was to be said")
        self._outcome.said += 1
        if self._capture is not None:
            self._capture.said(Channels.MAIN, data, fds)
        size, self._pieces = self._pieces or len(data), 0
        for start in range(0, len(data), size):
            if not self._main.send(data[start : start + size], fds if start == 0 else [], self._deadline()):
                if self._main.ended is None:
                    raise _Over(Result.FAIL, f"the back-end did not read {what} for {self._patience:g} s")
                raise self._gone(f"before {what} could be sent", allowed)

    def _deadline(self) -> float:
        return time.monotonic() + self._patience

    def _receive(self, deadline: float) -> Arrival | None:
        """The next message on the main channel; None when it ended or nothing came in time. Answers the other one."""
        while True:
            arrival = self._main.receive()
            if arrival is not None:
                self._outcome.heard += 1
                if self._capture is not None:
                    self._capture.heard(Channels.MAIN, arrival.data, arrival.fds)
                return arrival
            if self._main.ended:
                return None
            links = [self._main] + ([self._channel] if self._channel is not None else [])
            if not wait(links, deadline):
                return None
            self._serve()

    def _serve(self) -> None:
        """Answers what the back-end asks on its channel: it is done."""
        channel = self._channel
        while channel is not None and (asked := channel.receive()) is not None:
            if self._capture is not None:
                self._capture.heard(Channels.BACKEND, asked.data, asked.fds)
            request, flags, _ = HEADER.unpack_from(asked.data)
            asked.close()
            if flags & FLAG_NEED_REPLY:
                data = message(request, bytes(8), VERSION | FLAG_REPLY)
                if self._capture is not None:
                    self._capture.said(Channels.BACKEND, data, [])
                channel.send(data, [], self._deadline())
        if channel is not None and channel.ended:
            channel.close()
            self._channel = None

    # Messages.

    def _has(self, feature: P) -> bool:
        return self._known.get("protocol", 0) & feature == feature

    def _say(self, step: Say) -> None:
        if not self._has(step.when) or (step.request in NEEDS_30 and not self._known["offered"] & F_PROTOCOL_FEATURES):
            return
        if step.request in STOPS_RING and not self._driver.packed and step.equals:
            ring = int(step.body[1])
            self._known[f"used{ring}"] = self._driver.used(ring)
        name = request_name(Channels.MAIN, step.request)
        ack = self._has(P.REPLY_ACK)
        flags = step.flags
        if flags is None:
            asks = ack and step.expect in (Expect.DONE, Expect.REFUSED, Expect.ANY)
            flags = VERSION | (FLAG_NEED_REPLY if asks else 0)
        payload = words.payload(step.body, self._known)
        fds = [self._things.fd(name) for name in step.fds]
        allowed = step.expect in (Expect.REFUSED, Expect.ANY, Expect.CLOSED)
        self._send(message(step.request, payload, flags, step.claims), fds, name, allowed)
        for passed in step.fds:
            self._pass(step, passed)
        self._note(step, payload)
        acknowledged = ack and bool(flags & FLAG_NEED_REPLY)
        match step.expect:
            case Expect.NOTHING:
                return
            case Expect.REPLY:
                self._reply(step, name, payload)
            case Expect.DONE:
                self._done(step, name, acknowledged)
            case Expect.SILENT:
                self._alive(f"after {name}", silent=name)
            case Expect.CLOSED:
                self._closed(step, name)
            case _:
                self._refused(step, name, acknowledged)

    def _pass(self, step: Say, name: str) -> None:
        if name == CHANNEL and step.request == F.SET_BACKEND_REQ_FD and (ours := self._things.sockets.pop(name, None)):
            theirs = os.fstat(self._things.fd(name)).st_ino if self._things.made(name) else None
            self._things.passed(name)
            self._things.drop(name)
            if self._channel is not None:
                self._channel.close()
            if self._capture is not None:
                self._capture.opened(Channels.BACKEND, False, (os.fstat(ours.fileno()).st_ino, theirs))
            self._channel = ReplaySocket(ours, Channels.BACKEND)

    def _note(self, step: Say, payload: bytes) -> None:
        """What later steps have to know of what was said."""
        if step.request == F.SET_PROTOCOL_FEATURES and len(payload) == 8:
            self._known["protocol"] = struct.unpack("=Q", payload)[0]
        elif step.request == F.SET_FEATURES and len(payload) == 8:
            self._driver.features = struct.unpack("=Q", payload)[0]
        elif step.request == F.SET_VRING_BASE and len(payload) == 8 and step.expect is Expect.DONE:
            ring, base = struct.unpack("=II", payload)
            if base != self._known.get(f"base{ring}", 0) and not self._driver.packed:
                self._driver.begin_at(ring, base & 0xFFFF)
        elif step.request == F.SET_VRING_NUM and len(payload) == 8 and step.expect is Expect.DONE:
            ring, size = struct.unpack("=II", payload)
            self._driver.sizes[ring] = size

    def _answer(self, name: str, request: int, allowed: bool = False) -> Arrival:
        """The reply to a request."""
        arrival = self._receive(self._deadline())
        if arrival is None:
            if self._main.ended:
                raise self._gone(f"instead of answering {name}", allowed)
            raise _Over(Result.FAIL, f"the back-end did not answer {name} for {self._patience:g} s")
        got, flags, _ = HEADER.unpack_from(arrival.data)
        wrong = None
        if got != request:
            wrong = f"with request {got}"
        elif not flags & FLAG_REPLY:
            wrong = "without the reply flag"
        elif flags & FLAG_VERSION != VERSION:
            wrong = f"with version {flags & FLAG_VERSION}"
        if wrong:
            arrival.close()
            raise _Over(Result.FAIL, f"the back-end answered {name} {wrong}")
        return arrival

    def _reply(self, step: Say, name: str, asked: bytes) -> None:
        arrival = self._answer(name, step.request)
        payload = arrival.data[HEADER_SIZE:]
        why = None
        if step.check:
            why = CHECKS[step.check](TestedReply(payload, len(arrival.fds), asked, self._known))
        if why is None and step.equals and payload != (wanted := words.payload(step.equals, self._known)):
            why = f"is {payload[:32].hex(' ')}, not {wanted[:32].hex(' ')}"
        at = CONFIG_HEAD if step.request == F.GET_CONFIG else 0
        if step.keep and len(payload) >= at + 8:
            self._known[step.keep] = struct.unpack_from("=Q", payload, at)[0]
        if step.request in STOPS_RING and len(payload) == 8:
            ring, base = struct.unpack("=II", payload)
            self._known[f"base{ring}"] = base
        if step.request == F.GET_INFLIGHT_FD and len(payload) >= 20 and arrival.fds:
            size, offset = struct.unpack_from("=QQ", payload)
            self._known |= {"inflight size": size, "inflight offset": offset}
            self._things.adopt("inflight", arrival.fds.pop(0))
        arrival.close()
        if why is not None:
            self._miss(step.demand, f"the reply to {name} {why}")

    def _done(self, step: Say, name: str, acknowledged: bool) -> None:
        if not acknowledged:
            self._alive(f"after {name}")
            return
        value = self._acknowledgement(name, step.request)
        if value:
            self._miss(step.demand, f"the back-end refused {name}: it acknowledged with {value:#x}")

    def _acknowledgement(self, name: str, request: int, allowed: bool = False) -> int:
        arrival = self._answer(name, request, allowed)
        payload = arrival.data[HEADER_SIZE:]
        arrival.close()
        if len(payload) != 8:
            raise _Over(Result.FAIL, f"the acknowledgement of {name} has {len(payload)} bytes, not 8")
        return int.from_bytes(payload, sys.byteorder)

    def _closed(self, step: Say, name: str) -> None:
        arrival = self._receive(time.monotonic() + min(self._patience, 1.0))
        if arrival is None and self._main.ended:
            raise self._gone("", True)
        if arrival is not None:
            arrival.close()
        self._miss(step.demand, f"the back-end did not close the connection upon {name}")

    def _refused(self, step: Say, name: str, acknowledged: bool) -> None:
        """Refused, or anything: with an acknowledgement there is exactly one, without there may be none."""
        self._refused_once = True
        if acknowledged:
            value = self._acknowledgement(name, step.request, True)
            if not value and step.expect is Expect.REFUSED:
                self._alive(f"after {name}", allowed=True)
                self._miss(step.demand, f"the back-end accepted {name}: it acknowledged with 0")
            return
        self._alive(f"after {name}", allowed=True, between=True)
        if step.expect is Expect.REFUSED:
            self._outcome.notes.append(f"{name} was ignored")

    def _miss(self, demand: Demand, why: str) -> None:
        """Something was not as expected."""
        raise _Over(Result.FAIL if demand is Demand.MUST else Result.INCONCLUSIVE, why)

    def _alive(self, when: str, *, silent: str = "", allowed: bool = False, between: bool = False) -> None:
        """GET_FEATURES is answered. ``silent``: nothing comes before it; ``between``: one reply may."""
        name = f"GET_FEATURES {when}".rstrip()
        limit, self._limit = self._limit, None  # it is no message of the scenario
        self._send(message(F.GET_FEATURES, b"", VERSION), [], name, allowed)
        self._limit = limit
        self._outcome.said -= 1
        for _ in range(2):
            arrival = self._receive(self._deadline())
            if arrival is None:
                if self._main.ended:
                    raise self._gone(f"instead of answering {name}", allowed)
                raise _Over(Result.FAIL, f"the back-end did not answer {name} for {self._patience:g} s")
            request, flags, _ = HEADER.unpack_from(arrival.data)
            arrival.close()
            if request == F.GET_FEATURES and flags & FLAG_REPLY and len(arrival.data) == HEADER_SIZE + 8:
                return
            if silent:
                self._miss(Demand.SHOULD, f"the back-end answered {silent}, which asked for no answer")
            if not between:
                raise _Over(Result.FAIL, f"the back-end said request {request} instead of answering {name}")
        raise _Over(Result.FAIL, f"the back-end did not answer {name}")

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
        try:
            why = self._device.work(self._driver)
        except Unseen as unseen:
            if self._echoes:
                self._miss(step.demand, str(unseen))
            raise _Over(Result.INCONCLUSIVE, str(unseen)) from None
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
