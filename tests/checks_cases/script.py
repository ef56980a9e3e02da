"""A tiny language for sessions that rules judge: a session is a list of messages and happenings, made of bytes.

The whole path is used: bytes are framed as a source would, placed by the tracker, decoded, fed to the checker.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vusniff.analysis.driver import Driver, Steps
from vusniff.capture.batch import Batch
from vusniff.checks.checker import Checker
from vusniff.checks.finding import Finding, Rule, Side
from vusniff.checks.rulings import KEPT
from vusniff.checks.table import RULES
from vusniff.families.vhost_user.protocol import BackendRequest, FrontendRequest, GpuRequest, ProtocolFeature
from vusniff.meta import pack_meta
from vusniff.record import (
    Closed,
    Connection,
    Descriptor,
    DescriptorKind,
    End,
    Exit,
    Facts,
    Frame,
    FrameKind,
    Lost,
    Position,
    Process,
    Sample,
    fields_of,
)

F, B, G, P = FrontendRequest, BackendRequest, GpuRequest, ProtocolFeature

START_NS = 1_700_000_000_000_000_000
STEP_NS = 1_000_000
SECOND_NS = 1_000_000_000
MAIN, BACK, GPU = 1, 2, 3
"""Connections of a session."""
SOCKETS = {BACK: 902, GPU: 903}
"""Inode of the end that was passed to the back-end."""
GIB = 1 << 30
USER = 0x7F00_0000_0000
NO_FD = 0x100


class Say(NamedTuple):
    """One message."""

    connection: int
    end: int
    request: int
    flags: int
    payload: bytes
    fds: tuple[Descriptor, ...]
    missing: int = 0
    kind: FrameKind = FrameKind.MESSAGE
    unsent: int = 0
    """Bytes that its header says beyond those that were sent."""


class Wait(NamedTuple):
    """Time passes."""

    seconds: float


class Close(NamedTuple):
    """The main connection ends."""

    by: int | None
    reason: str = "eof"
    lost: int = 0


class Gone(NamedTuple):
    """The process at an end of the main connection ends."""

    end: int
    signal: int | None = None
    status: int | None = None


class Gap(NamedTuple):
    """Something was lost."""

    everywhere: bool = False


class Look(NamedTuple):
    """Rings are sampled."""

    positions: tuple[Position, ...]
    dirty: int | None = None
    """Pages in the dirty log."""


class Again(NamedTuple):
    """A new connection on the same path."""


Part = Say | Wait | Close | Gone | Gap | Look | Again


def u32(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def u64(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


def fe(request: int, payload: bytes = b"", *fds: Descriptor, flags: int = 1) -> Say:
    """The front-end asks."""
    return Say(MAIN, 0, request, flags, payload, fds)


def be(request: int, payload: bytes = b"", *fds: Descriptor, flags: int = 5) -> Say:
    """The back-end answers."""
    return Say(MAIN, 1, request, flags, payload, fds)


def back(request: int, payload: bytes = b"", *fds: Descriptor, flags: int = 1) -> Say:
    """The back-end asks on its channel."""
    return Say(BACK, 1, request, flags, payload, fds)


def front(request: int, payload: bytes = b"", *fds: Descriptor, flags: int = 5) -> Say:
    """The front-end answers there."""
    return Say(BACK, 0, request, flags, payload, fds)


def gpu(request: int, payload: bytes = b"", *fds: Descriptor, flags: int = 0) -> Say:
    """The back-end asks on the GPU socket."""
    return Say(GPU, 1, request, flags, payload, fds)


def gpu_answer(request: int, payload: bytes = b"", *fds: Descriptor, flags: int = 4) -> Say:
    """The front-end answers there."""
    return Say(GPU, 0, request, flags, payload, fds)


def acked(say: Say, value: int = 0) -> tuple[Say, Say]:
    """A request with need_reply, and its acknowledgement."""
    return (
        say._replace(flags=say.flags | 8),
        Say(say.connection, 1 - say.end, say.request, 5, u64(value), ()),
    )


def cut(say: Say, missing: int) -> Say:
    """The message with its last bytes not captured."""
    return say._replace(payload=say.payload[: len(say.payload) - missing], missing=missing)


def unfinished(say: Say, unsent: int) -> Say:
    """The message without its last bytes, which its sender never sent."""
    return say._replace(payload=say.payload[: max(len(say.payload) - unsent, 0)], unsent=unsent)


def raw(data: bytes, end: int = 0, connection: int = MAIN) -> Say:
    """Bytes that no header was found for."""
    return Say(connection, end, 0, 0, data, (), kind=FrameKind.RAW)


def eventfd(number: int) -> Descriptor:
    return Descriptor(DescriptorKind.EVENTFD, f"eventfd:{number}")


def memfd(inode: int = 51, size: int = GIB) -> Descriptor:
    return Descriptor(DescriptorKind.MEMFD, f"memfd:{inode}", None, "guest-ram", size)


def sock(inode: int) -> Descriptor:
    return Descriptor(DescriptorKind.SOCKET, f"socket:{inode}")


PIPE = Descriptor(DescriptorKind.PIPE, "pipe:77")
FEATURES = 1 << 32 | 1 << 30 | 1 << 26
PROTOCOL = P.MQ | P.LOG_SHMFD | P.REPLY_ACK | P.BACKEND_REQ | P.BACKEND_SEND_FD


def hello(
    features: int = FEATURES, protocol: int = PROTOCOL, accept: int | None = None, offer: int | None = None
) -> list[Part]:
    """Negotiation up to SET_FEATURES: ``accept`` features, all that are offered by default."""
    return [
        fe(F.GET_FEATURES),
        be(F.GET_FEATURES, u64(features)),
        fe(F.GET_PROTOCOL_FEATURES),
        be(F.GET_PROTOCOL_FEATURES, u64(protocol if offer is None else offer)),
        fe(F.SET_PROTOCOL_FEATURES, u64(protocol)),
        fe(F.SET_OWNER),
        fe(F.SET_FEATURES, u64((features & ~(1 << 26)) if accept is None else accept)),
    ]


def region(guest: int = 0, size: int = GIB, user: int | None = None, offset: int = 0) -> bytes:
    return u64(guest, size, USER + guest if user is None else user, offset)


def table(*regions: bytes) -> bytes:
    return u32(len(regions), 0) + b"".join(regions)


def single(what: bytes) -> bytes:
    return u64(0) + what


MEMORY: list[Part] = [fe(F.SET_MEM_TABLE, table(region()), memfd())]


def addresses(index: int = 0, where: int = 0x10000, flags: int = 0, log: int = 0) -> bytes:
    start = USER + where + index * 0x10000
    return u32(index, flags) + u64(start, start + 0x4000, start + 0x2000, log)


def set_up(index: int = 0, size: int = 256, base: int = 0) -> list[Part]:
    """A ring's size, base and addresses."""
    return [
        fe(F.SET_VRING_NUM, u32(index, size)),
        fe(F.SET_VRING_BASE, u32(index, base)),
        fe(F.SET_VRING_ADDR, addresses(index)),
    ]


def kick(index: int = 0, fd: int | None = None) -> Say:
    return fe(F.SET_VRING_KICK, u64(index), eventfd(500 + index if fd is None else fd))


def call(index: int = 0, fd: int | None = None) -> Say:
    return fe(F.SET_VRING_CALL, u64(index), eventfd(600 + index if fd is None else fd))


def enable(index: int = 0, on: int = 1) -> Say:
    return fe(F.SET_VRING_ENABLE, u32(index, on))


def ring(index: int = 0) -> list[Part]:
    """A ring set up, started and enabled."""
    return [*set_up(index), kick(index), call(index), enable(index)]


def stop(index: int = 0, base: int = 7) -> list[Part]:
    return [fe(F.GET_VRING_BASE, u32(index, 0)), be(F.GET_VRING_BASE, u32(index, base))]


def up(features: int = FEATURES, protocol: int = PROTOCOL, accept: int | None = None) -> list[Part]:
    """A device that runs one ring."""
    return [*hello(features, protocol, accept), *MEMORY, *ring()]


def channel() -> Say:
    return fe(F.SET_BACKEND_REQ_FD, b"", sock(SOCKETS[BACK]))


def gpu_socket() -> Say:
    return fe(F.GPU_SET_SOCKET, b"", sock(SOCKETS[GPU]))


@dataclass(frozen=True)
class Case:
    """A session, and which rule it breaks or does not."""

    slug: str
    session: Sequence[Part]
    side: Side | None = None
    """Who is to blame, where the rule says ``either``."""
    severity: str | None = None
    """Where it is not the rule's."""
    says: str = ""
    """A part of the sentence."""
    comms: tuple[str, str] = ("frontend", "backend")
    late: bool = False
    device: str | None = None


def judge(case: Case) -> list[Finding]:
    """The findings of a session."""
    return checker_of(case).findings


def checker_of(case: Case, kept: int = KEPT, rules: Sequence[Rule] = RULES) -> Checker:
    """The checker after a session, which is over when its messages are."""
    checker, now = tell(case, kept, rules)
    checker.conclude(now)
    return checker


def tell(case: Case, kept: int = KEPT, rules: Sequence[Rule] = RULES) -> tuple[Checker, int]:
    """The checker in the middle of a session, and the time."""
    told = _Told(Driver(case.device), rules, kept)
    opened: dict[int, int] = {}
    now, generation = START_NS, 0
    for part in case.session:
        if isinstance(part, Wait):
            now += int(part.seconds * SECOND_NS)
        elif isinstance(part, Again):
            generation += 1
            opened.clear()
        elif isinstance(part, Gone):
            now += STEP_NS
            comm = case.comms[part.end]
            told.take(Exit(now, 11 + part.end, comm, part.status, part.signal, ends=((opened[MAIN], part.end),)))
        elif isinstance(part, Gap):
            told.take(Lost(None if part.everywhere else opened[MAIN], now, 1))
        elif isinstance(part, Look):
            told.take(Sample(now, part.positions, (), part.dirty, ((opened[MAIN], 0),)))
        elif isinstance(part, Close):
            now += STEP_NS
            told.take(Closed(opened[MAIN], now, part.reason, part.by, lost=part.lost))
        else:
            now += STEP_NS
            if part.connection not in opened:
                opened[part.connection] = connection = 10 * generation + part.connection
                told.take(_connection(connection, part.connection, case))
            told.take(_frame(part, opened[part.connection], now))
    return told.checker, now


class _Told:
    """What is told of a session goes the way of any capture."""

    def __init__(self, driver: Driver, rules: Sequence[Rule], kept: int) -> None:
        self.driver = driver
        self.steps = Steps(driver.tracker)
        self.checker = Checker(driver.tracker, rules, kept=kept)

    def take(self, one: Frame | Connection | Closed | Lost | Exit | Sample) -> None:
        batch = Batch()
        if isinstance(one, Frame):
            request, flags, size = struct.unpack_from("<III", one.data.ljust(12, b"\0"))
            batch.offset.append(0)
            batch.time_ns.append(one.time_ns)
            batch.request.append(request)
            batch.size.append(size)
            batch.meta.append(pack_meta(one.connection, one.kind, one.end, 0, flags))
        else:
            batch.events.append((0, one))
        frames = [one] if isinstance(one, Frame) else []
        placed = self.driver.place(batch, batch.events, frames.__getitem__, lambda _: "little")
        for step in self.steps.of(self.driver.count, map(fields_of, frames), placed, batch.events, self.checker.tell):
            self.checker.feed(*step)


def _connection(number: int, kind: int, case: Case) -> Connection:
    front, backend = Process(11, case.comms[0]), Process(12, case.comms[1])
    if kind == MAIN:
        return Connection(number, "/run/vm1.sock", (End(1, front), End(2, backend)), joined_late=case.late)
    inode = SOCKETS[kind]
    return Connection(number, f"pair:{inode - 100}-{inode}", (End(inode - 100, front), End(inode, backend)))


def _frame(part: Say, connection: int, now: int) -> Frame:
    header = u32(part.request, part.flags, len(part.payload) + part.missing + part.unsent)
    data = part.payload if part.kind is not FrameKind.MESSAGE else header + part.payload
    return Frame(connection, part.end, now, data, Facts(part.fds), kind=part.kind, missing=part.missing)
