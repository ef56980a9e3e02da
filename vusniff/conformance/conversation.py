"""What is said to a back-end, and what is waited for: the connection, one message, its reply or acknowledgement.

Nothing waits without an end: a reply for ``patience`` seconds, silence for nothing, because the reply to a GET_FEATURES
that follows tells that nothing came before it. It must not know the order of messages, nor processes.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import TypeAlias

from vusniff.conformance import words
from vusniff.conformance.devices import TestedDevice
from vusniff.conformance.driver import RingDriver
from vusniff.conformance.recorder import TrialCapture
from vusniff.conformance.replies import CHECKS, TestedReply
from vusniff.conformance.scenario import (
    USUAL,
    Demand,
    Expect,
    P,
    Result,
    Say,
    Scenario,
)
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
CHANNEL = "socket:channel"
Meet: TypeAlias = "Callable[[], tuple[socket.socket, bool]]"


class TrialOver(Exception):
    """The scenario ends here: its result, and why."""

    def __init__(self, result: Result, why: str) -> None:
        super().__init__(why)
        self.result = result


class PeerLeft(Exception):
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


class Conversation:
    """The connection of one scenario, and the channel on it."""

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

    # Connections.

    def _open(self) -> None:
        sock, connected = self._meet()
        self._link = ReplaySocket(sock, Channels.MAIN)
        if self._capture is not None:
            self._capture.opened(Channels.MAIN, connected, (os.fstat(sock.fileno()).st_ino, None))

    def _forget(self) -> None:
        """A new connection begins from nothing: the guest's rings, too."""
        self._refused_once = False
        self._driver.forget()
        self._things.forget("event:")
        self._things.forget("ram")  # the back-end may still be at work in what it had
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
            raise TrialOver(Result.INCONCLUSIVE, "the connection was closed before all was said")
        return self._link

    def _gone(self, after: str, allowed: bool) -> TrialOver | PeerLeft:
        """The back-end closed the connection."""
        self._outcome.left = True
        ended = self._main.ended or "closed the connection"
        if allowed or self._refused_once:
            return PeerLeft()
        must = self._scenario.demand is Demand.MUST
        return TrialOver(Result.FAIL if must else Result.INCONCLUSIVE, f"the back-end {ended} {after}".rstrip())

    def _send(self, data: bytes, fds: list[int], what: str, allowed: bool = False) -> None:
        if self._limit is not None and self._outcome.said >= self._limit:
            raise TrialOver(Result.INCONCLUSIVE, "said all that was to be said")
        self._outcome.said += 1
        if self._capture is not None:
            self._capture.said(Channels.MAIN, data, fds)
        size, self._pieces = self._pieces or len(data), 0
        for start in range(0, len(data), size):
            if not self._main.send(data[start : start + size], fds if start == 0 else [], self._deadline()):
                if self._main.ended is None:
                    raise TrialOver(Result.FAIL, f"the back-end did not read {what} for {self._patience:g} s")
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
            raise TrialOver(Result.FAIL, f"the back-end did not answer {name} for {self._patience:g} s")
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
            raise TrialOver(Result.FAIL, f"the back-end answered {name} {wrong}")
        return arrival

    def _reply(self, step: Say, name: str, asked: bytes) -> None:
        arrival = self._answer(name, step.request)
        payload = arrival.data[HEADER_SIZE:]
        why = None
        if step.request in STOPS_RING and not self._driver.packed and step.equals:
            ring = int(step.body[1])
            self._known[f"used{ring}"] = self._driver.used(ring)  # it has stopped: this is where it stands
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
            raise TrialOver(Result.FAIL, f"the acknowledgement of {name} has {len(payload)} bytes, not 8")
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
        raise TrialOver(Result.FAIL if demand is Demand.MUST else Result.INCONCLUSIVE, why)

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
                raise TrialOver(Result.FAIL, f"the back-end did not answer {name} for {self._patience:g} s")
            request, flags, _ = HEADER.unpack_from(arrival.data)
            arrival.close()
            if request == F.GET_FEATURES and flags & FLAG_REPLY and len(arrival.data) == HEADER_SIZE + 8:
                return
            if silent:
                self._miss(Demand.SHOULD, f"the back-end answered {silent}, which asked for no answer")
            if not between:
                raise TrialOver(Result.FAIL, f"the back-end said request {request} instead of answering {name}")
        raise TrialOver(Result.FAIL, f"the back-end did not answer {name}")
