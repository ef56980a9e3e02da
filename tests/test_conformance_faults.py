"""Faults that are planted in our own back-end, one at a time: each is found, by a scenario that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
from test_conformance import run

from vusniff.conformance.scenario import Result
from vusniff.demo import wire
from vusniff.demo.backend import BackendSession
from vusniff.demo.wire import DemoSocket, Incoming
from vusniff.families.vhost_user.protocol import FLAG_REPLY, VERSION, FrontendRequest

F = FrontendRequest
Sent = Callable[[DemoSocket, int, int, bytes, Sequence[int]], None]
Handler = Callable[[Any, Incoming], Any]


def says(fault: Sent) -> type[BackendSession]:
    """A back-end that sends its replies otherwise."""

    class Link(DemoSocket):
        def send(
            self, request: int, flags: int, payload: bytes = b"", descriptors: Sequence[int] = (), split: bool = False
        ) -> None:
            fault(self, request, flags, payload, descriptors)

    class Says(BackendSession):
        def __init__(self, sock: Any, timeout: float = wire.TIMEOUT) -> None:
            super().__init__(sock, timeout)
            self.link = Link(sock, "the front-end", timeout)

    return Says


def does(request: F, handler: Handler) -> type[BackendSession]:
    """A back-end that does one request otherwise."""

    class Does(BackendSession):
        handlers: ClassVar = {**BackendSession.handlers, request: handler}

    return Does


def send(link: DemoSocket, request: int, flags: int, payload: bytes, descriptors: Sequence[int] = ()) -> None:
    DemoSocket.send(link, request, flags, payload, descriptors)


def no_reply_flag(link: DemoSocket, request: int, flags: int, payload: bytes, fds: Sequence[int]) -> None:
    send(link, request, flags & ~FLAG_REPLY, payload, fds)


def no_version(link: DemoSocket, request: int, flags: int, payload: bytes, fds: Sequence[int]) -> None:
    send(link, request, flags & ~3, payload, fds)


def other_request(link: DemoSocket, request: int, flags: int, payload: bytes, fds: Sequence[int]) -> None:
    send(link, F.GET_FEATURES if request == F.GET_QUEUE_NUM else request, flags, payload, fds)


def fails_call(link: DemoSocket, request: int, flags: int, payload: bytes, fds: Sequence[int]) -> None:
    send(link, request, flags, wire.U64.pack(1) if request == F.SET_VRING_CALL else payload, fds)


def silent_call(link: DemoSocket, request: int, flags: int, payload: bytes, fds: Sequence[int]) -> None:
    if request != F.SET_VRING_CALL:
        send(link, request, flags, payload, fds)


def twice(link: DemoSocket, request: int, flags: int, payload: bytes, fds: Sequence[int]) -> None:
    for _ in range(2 if request == F.SET_MEM_TABLE else 1):
        send(link, request, flags, payload, fds)


def short(link: DemoSocket, request: int, flags: int, payload: bytes, fds: Sequence[int]) -> None:
    send(link, request, flags, payload[:4] if request == F.GET_PROTOCOL_FEATURES else payload, fds)


def config_longer(link: DemoSocket, request: int, flags: int, payload: bytes, fds: Sequence[int]) -> None:
    send(link, request, flags, payload + b"\0" if request == F.GET_CONFIG else payload, fds)


def no_inflight_descriptor(link: DemoSocket, request: int, flags: int, payload: bytes, fds: Sequence[int]) -> None:
    send(link, request, flags, payload, () if request == F.GET_INFLIGHT_FD else fds)


def base_behind(link: DemoSocket, request: int, flags: int, payload: bytes, fds: Sequence[int]) -> None:
    if request == F.GET_VRING_BASE:
        ring, base = wire.VRING_STATE.unpack(payload)
        payload = wire.VRING_STATE.pack(ring, base + 1)
    send(link, request, flags, payload, fds)


def answers_all(session: BackendSession, message: Incoming) -> None:
    """SET_VRING_NUM that is answered, asked or not."""
    BackendSession.set_vring_num(session, message)
    if not message.flags & 8:
        session.link.send(F.SET_VRING_NUM, VERSION | FLAG_REPLY, wire.U64.pack(0))


def keeps_running(session: BackendSession, message: Incoming) -> Any:
    """GET_VRING_BASE that tells the base and stops nothing."""
    index, _ = message.unpack(wire.VRING_STATE)
    return wire.VRING_STATE.pack(index, session.vrings[index].base), ()


def enables_nothing(session: BackendSession, message: Incoming) -> None:
    """SET_FEATURES that never enables the rings."""


def forgets_status(session: BackendSession, message: Incoming) -> None:
    """SET_STATUS that keeps nothing."""


def takes_any_mtu(session: BackendSession, message: Incoming) -> None:
    """NET_SET_MTU that is always content."""


def keeps_first_call(session: BackendSession, message: Incoming) -> None:
    """SET_VRING_CALL that keeps the first descriptor."""
    (word,) = message.unpack(wire.U64)
    if F.SET_VRING_CALL in session.vrings[word & 0xFF].descriptors:
        message.close()
        return
    BackendSession.set_vring_descriptor(session, message)


def ignores_offsets(session: BackendSession, message: Incoming) -> None:
    """SET_MEM_TABLE that maps every region from the beginning of its descriptor."""
    head, regions = message.payload[:8], wire.REGION.iter_unpack(message.payload[8:])
    message.payload = head + b"".join(wire.REGION.pack(*one[:3], 0) for one in regions)
    BackendSession.set_mem_table(session, message)


FAULTS = {
    "no reply flag": (says(no_reply_flag), "features-offered", "without the reply flag"),
    "version 0": (says(no_version), "features-offered", "with version 0"),
    "another request's reply": (says(other_request), "queue-number", "with request 1"),
    "refuses what is right": (says(fails_call), "acknowledged-set-vring-call", "refused SET_VRING_CALL"),
    "no acknowledgement": (says(silent_call), "acknowledged-set-vring-call", "did not answer SET_VRING_CALL"),
    "two acknowledgements": (says(twice), "acknowledged-set-mem-table", "said request 5"),
    "a short reply": (says(short), "protocol-features-early", "has 4 bytes"),
    "config of another size": (says(config_longer), "config-read", "has 21 bytes"),
    "no inflight descriptor": (says(no_inflight_descriptor), "inflight-get", "has 0 descriptors"),
    "a base that is ahead": (says(base_behind), "ring-stops", "is 00 00 00 00"),
    "an answer nobody asked for": (
        does(F.SET_VRING_NUM, answers_all),
        "unanswered-set-vring-num",
        "asked for no answer",
    ),
    "a ring that does not stop": (does(F.GET_VRING_BASE, keeps_running), "ring-stopped", "is stopped, and"),
    "rings that stay disabled": (does(F.SET_FEATURES, enables_nothing), "enabled-without-30", "none came back"),
    "a status that is not kept": (does(F.SET_STATUS, forgets_status), "status-kept", "the reply to GET_STATUS"),
    "an MTU of 1": (does(F.NET_SET_MTU, takes_any_mtu), "mtu-invalid", "accepted NET_SET_MTU"),
    "the call descriptor of before": (does(F.SET_VRING_CALL, keeps_first_call), "ring-call-replaced", "not signalled"),
    "offsets that are ignored": (does(F.SET_MEM_TABLE, ignores_offsets), "memory-high", "the device"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    kind, scenario, why = FAULTS[fault]
    came = next(one for one in run(kind, ["data-moves", scenario], patience=0.2).results if one.id == scenario)
    assert came.result in (Result.FAIL, Result.INCONCLUSIVE)
    assert why in came.why
