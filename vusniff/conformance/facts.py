"""What a back-end offers, asked once, and so which scenarios it can be put through."""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Callable

from vusniff.conformance.devices import OTHER, TestedDevice
from vusniff.conformance.scenario import P, Scenario
from vusniff.errors import SourceError
from vusniff.families.vhost_user.protocol import (
    F_PROTOCOL_FEATURES,
    FLAG_REPLY,
    HEADER_SIZE,
    HEADERS,
    VERSION,
    Channels,
    FrontendRequest,
)
from vusniff.replay.link import Arrival, ReplaySocket, wait
from vusniff.values import dataclass

F = FrontendRequest


@dataclass(frozen=True, slots=True)
class BackendFacts:
    """What it offers."""

    features: int
    protocol: P
    queues: int
    """By GET_QUEUE_NUM; 0 where it cannot be asked."""

    def as_dict(self) -> dict[str, object]:
        """For reports."""
        names = [one.name for one in P if self.protocol & one]
        return {"features": self.features, "protocol_features": names, "queues": self.queues}


def ask_facts(meet: Callable[[], tuple[socket.socket, bool]], patience: float) -> BackendFacts:
    """Ask them on a connection of their own: what is answered wrongly is not offered, and a scenario will say so.

    Raises SourceError when it does not answer at all.
    """
    sock, _ = meet()
    link = ReplaySocket(sock, Channels.MAIN)
    try:
        features = _ask(link, F.GET_FEATURES, patience)
        if not features & F_PROTOCOL_FEATURES:
            return BackendFacts(features, P(0), 0)
        protocol = P(_ask(link, F.GET_PROTOCOL_FEATURES, patience))
        _say(link, F.SET_PROTOCOL_FEATURES, struct.pack("=Q", protocol & (P.MQ | P.REPLY_ACK)), patience)
        queues = _ask(link, F.GET_QUEUE_NUM, patience) if protocol & P.MQ else 0
        return BackendFacts(features, protocol, queues)
    finally:
        link.close()


def _say(link: ReplaySocket, request: F, payload: bytes, patience: float) -> None:
    data = HEADERS[sys.byteorder].pack(request, VERSION, len(payload)) + payload
    link.send(data, [], time.monotonic() + patience)


def _ask(link: ReplaySocket, request: F, patience: float) -> int:
    """The number that a request is answered with; 0 where that is no proper answer."""
    _say(link, request, b"", patience)
    deadline = time.monotonic() + patience
    arrival: Arrival | None = None
    while (arrival := link.receive()) is None:
        if link.ended:
            raise SourceError(f"the back-end {link.ended} instead of answering {request.name}")
        if not wait([link], deadline):
            raise SourceError(f"the back-end did not answer {request.name} for {patience:g} s")
    arrival.close()
    got, flags, size = HEADERS[sys.byteorder].unpack_from(arrival.data)
    if got != request or not flags & FLAG_REPLY or size != 8:
        return 0
    return int.from_bytes(arrival.data[HEADER_SIZE:], sys.byteorder)


def why_not(scenario: Scenario, facts: BackendFacts, device: TestedDevice) -> str | None:
    """Why a scenario does not apply; None when it does."""
    if missing := scenario.needs & ~facts.protocol:
        names = ", ".join(one.name or "" for one in P if missing & one)
        return f"protocol feature {names} is not offered"
    if missing_bits := scenario.features & ~facts.features:
        bits = ", ".join(str(bit) for bit in range(64) if missing_bits >> bit & 1)
        return f"feature bit {bits} is not offered"
    if scenario.device and device.name not in scenario.device:
        return f"it is for {' or '.join(scenario.device)}"
    if scenario.works and device is OTHER:
        return "data has to move: name the kind of device with --device"
    if scenario.rings > max(facts.queues, 1 + max(device.rings)):
        return f"it needs {scenario.rings} queues"
    return None
