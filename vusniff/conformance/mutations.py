"""Valid sessions, and what is made of them: fields at their borders, other orders, other descriptors. Pure.

The layouts say where the fields of a payload are. The header's size is always that of the payload.
"""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Callable, Sequence

from vusniff.channel import Channel
from vusniff.conformance import words
from vusniff.conformance.devices import TestedDevice
from vusniff.conformance.facts import BackendFacts
from vusniff.conformance.places import HALF, HIGH_REGION, LOW_REGION, USER
from vusniff.conformance.scenario import Expect, P, Say, Start
from vusniff.conformance.steps import MEMORY, UP, F, ring_steps, single
from vusniff.conformance.things import LOG_SIZE
from vusniff.families.vhost_user.protocol import F_PROTOCOL_FEATURES, FLAG_NEED_REPLY, VERSION, Channels
from vusniff.layouts.dissect import layout_of
from vusniff.layouts.parts import NodeKind
from vusniff.layouts.spans import spans
from vusniff.message import Context
from vusniff.values import dataclass, replace

Session = tuple["FuzzMessage", ...]
FDS = ("ram", "small", "empty", "event:kick0", "event:other", "deaf", "pipe:stray")
"""Descriptors that can be passed in place of others: of each an equal one can be made again."""
REQUEST_LIMIT = 64
"""Codes of requests that nobody knows are taken from up to here."""
BORDERS = (0, 1, 2, 3, 7, 8, 9, 0xFF, 0x100, 0x101, 0xFFF, 0x1000, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFF_FFFF)
PLACES = (
    0x8000_0000,
    0xFFFF_FFFF,
    1 << 32,
    HALF,
    HALF - 1,
    USER,
    USER + HALF,
    USER + HALF - 1,
    (1 << 63),
    (1 << 64) - 1,
)
NEVER = frozenset({F.POSTCOPY_ADVISE, F.POSTCOPY_LISTEN, F.POSTCOPY_END, F.SET_DEVICE_STATE_FD})
"""Requests that a capture cannot be played with: what they are about is not in it."""


@dataclass(frozen=True, slots=True)
class FuzzMessage:
    """One message of a session."""

    request: int
    flags: int
    payload: bytes
    fds: tuple[str, ...] = ()


def sessions(facts: BackendFacts, device: TestedDevice) -> list[Session]:
    """Valid sessions with this back-end: what it offers is used."""
    offered = facts.protocol
    wanted = words.VERSION_1 | F_PROTOCOL_FEATURES | device.features
    known = words.begin(wanted, sum(P)) | {"offered": facts.features, "protocol offered": offered}
    known["protocol wanted"] = P.MQ | P.REPLY_ACK | P.CONFIG | P.STATUS | P.LOG_SHMFD | P.INFLIGHT_SHMFD
    rings = [step for ring in device.rings for step in ring_steps(Start(), ring)]
    stops = [Say(F.GET_VRING_BASE, ("II", ring, 0), expect=Expect.REPLY) for ring in device.rings]
    plain = _said((*UP, MEMORY, *rings, *stops, *rings, *stops), known)
    made = [plain, _said((*UP, MEMORY, *rings, MEMORY, *stops, MEMORY), known)]
    extras = [step for feature, steps in _EXTRAS for step in steps if offered & feature == feature]
    made.append(_said((*UP, *extras, MEMORY, *rings, *extras, *stops), known))
    if offered & P.CONFIGURE_MEM_SLOTS:
        slots = known | {"protocol wanted": known["protocol wanted"] | P.CONFIGURE_MEM_SLOTS}
        made.append(_said((*UP, *_ADDED, *rings, *_REMOVED, *_ADDED, *stops, *_REMOVED), slots))
    return made


_ADDED = tuple(Say(F.ADD_MEM_REG, single(region), ("ram",)) for region in (LOW_REGION, HIGH_REGION))
_REMOVED = tuple(Say(F.REM_MEM_REG, single(region)) for region in (HIGH_REGION, LOW_REGION))
_EXTRAS: tuple[tuple[P, tuple[Say, ...]], ...] = (
    (P.CONFIG, (Say(F.GET_CONFIG, ("III8x", 0, 8, 0)), Say(F.SET_CONFIG, ("III8x", 0, 8, 0)))),
    (P.STATUS, (Say(F.SET_STATUS, ("Q", 11)), Say(F.GET_STATUS))),
    (P.LOG_SHMFD, (Say(F.SET_LOG_BASE, ("QQ", LOG_SIZE, 0), ("log",)),)),
    (P.INFLIGHT_SHMFD, (Say(F.GET_INFLIGHT_FD, ("QQHH4x", 0, 0, 2, 256)),)),
    (P.INFLIGHT_SHMFD, (Say(F.SET_INFLIGHT_FD, ("QQHH4x", 16384, 0, 2, 256), ("ram",)),)),
    (P.MQ, (Say(F.GET_QUEUE_NUM),)),
    (P.RARP, (Say(F.SEND_RARP, ("Q", 1)),)),
    (P.MTU, (Say(F.NET_SET_MTU, ("Q", 1500)),)),
    (P.BACKEND_REQ, (Say(F.SET_BACKEND_REQ_FD, (), ("deaf",)),)),
    (P.CONFIGURE_MEM_SLOTS, (Say(F.GET_MAX_MEM_SLOTS),)),
    (P.RESET_DEVICE, (Say(F.RESET_DEVICE),)),
)


def _said(steps: Sequence[object], known: dict[str, int]) -> Session:
    """The messages of some steps."""
    made = []
    for step in steps:
        if isinstance(step, Say):
            asks = known["protocol offered"] & P.REPLY_ACK and step.expect is Expect.DONE
            flags = VERSION | (FLAG_NEED_REPLY if asks else 0)
            made.append(FuzzMessage(step.request, flags, words.payload(step.body, known), step.fds))
    return tuple(made)


@functools.lru_cache(4096)
def _fields(channel: Channel, request: int, reply: bool, payload: bytes) -> tuple[tuple[int, int], ...]:
    """Where the numbers of a payload are: start and end."""
    context = Context(sys.byteorder, log_shmfd=True)
    layout = layout_of(channel, request, reply, len(payload), context)
    if layout is None:
        return tuple((at, at + 4) for at in range(0, len(payload) - 3, 4))
    found = spans(layout, payload, sys.byteorder).values()
    return tuple((one.start, one.stop) for one in found if one.node.kind is NodeKind.NUMBER)


class Mutator:
    """Makes sessions from valid ones; all of it follows from the seed."""

    def __init__(
        self, valid: Sequence[Session], seed: int, channel: Channel = Channels.MAIN, reply: bool = False
    ) -> None:
        """``channel`` is that of the messages, ``reply``: they are replies."""
        self._valid = valid
        self._channel, self._reply = channel, reply
        self._dice = random.Random(seed)
        self._pool = tuple({message for session in valid for message in session})
        self._ways: tuple[Callable[[list[FuzzMessage]], None], ...] = (
            *(self._field,) * 6,
            *(self._flags, self._request, self._length),
            *(self._drop, self._again, self._swap, self._insert, self._insert),
            *(self._fewer, self._more, self._other),
        )

    def session(self) -> list[FuzzMessage]:
        """The next session: it differs in one to three things from a valid one."""
        said = list(self._dice.choice(self._valid))
        for _ in range(self._dice.choice((1, 1, 2, 3))):
            self._dice.choice(self._ways)(said)
        return said

    def _place(self, said: list[FuzzMessage], wanted: Callable[[FuzzMessage], object] = lambda one: True) -> int:
        """A message, rather a late one: -1 where none is as wanted."""
        places = [at for at, one in enumerate(said) if wanted(one)]
        return max(self._dice.choice(places), self._dice.choice(places)) if places else -1

    def _field(self, said: list[FuzzMessage]) -> None:
        at = self._place(said, lambda one: one.payload)
        if at < 0:
            return
        one = said[at]
        fields = _fields(self._channel, one.request, self._reply, one.payload)
        if not fields:
            return
        start, stop = self._dice.choice(fields)
        size = 8 * (stop - start)
        value = int.from_bytes(one.payload[start:stop], sys.byteorder)
        other = self._dice.choice(fields)
        value = self._dice.choice(
            (
                self._dice.choice(BORDERS),
                self._dice.choice(PLACES),
                value + self._dice.choice((-1, 1, 0x1000, -0x1000)),
                value ^ 1 << self._dice.randrange(size),
                int.from_bytes(one.payload[other[0] : other[1]], sys.byteorder),
            )
        )
        put = (value & (1 << size) - 1).to_bytes(stop - start, sys.byteorder)
        said[at] = replace(one, payload=one.payload[:start] + put + one.payload[stop:])

    def _flags(self, said: list[FuzzMessage]) -> None:
        at = self._place(said)
        said[at] = replace(said[at], flags=self._dice.choice((1, 5, 9, 13, 0, 2, 3, 0x11, 0x8000_0001)))

    def _request(self, said: list[FuzzMessage]) -> None:
        at = self._place(said)
        code = self._dice.choice([code for code in range(1, REQUEST_LIMIT) if code not in NEVER])
        said[at] = replace(said[at], request=code)

    def _length(self, said: list[FuzzMessage]) -> None:
        at = self._place(said)
        payload = said[at].payload
        size = self._dice.choice((0, 1, 4, len(payload) - 1, len(payload) + 1, len(payload) + 8, 264, 512))
        said[at] = replace(said[at], payload=payload[: max(size, 0)].ljust(max(size, 0), b"\0"))

    def _drop(self, said: list[FuzzMessage]) -> None:
        if len(said) > 1:
            del said[self._place(said)]

    def _again(self, said: list[FuzzMessage]) -> None:
        at = self._place(said)
        said[at:at] = [said[at]] * self._dice.choice((1, 1, 2, 8))

    def _swap(self, said: list[FuzzMessage]) -> None:
        one, other = self._place(said), self._place(said)
        said[one], said[other] = said[other], said[one]

    def _insert(self, said: list[FuzzMessage]) -> None:
        said.insert(self._place(said), self._dice.choice(self._pool))

    def _fewer(self, said: list[FuzzMessage]) -> None:
        at = self._place(said, lambda one: one.fds)
        if at >= 0:
            said[at] = replace(said[at], fds=said[at].fds[:-1])

    def _more(self, said: list[FuzzMessage]) -> None:
        at = self._place(said)
        extra = tuple(self._dice.choice(FDS) for _ in range(self._dice.choice((1, 1, 2, 7, 30))))
        said[at] = replace(said[at], fds=said[at].fds + extra)

    def _other(self, said: list[FuzzMessage]) -> None:
        at = self._place(said, lambda one: one.fds)
        if at >= 0:
            said[at] = replace(said[at], fds=tuple(self._dice.choice(FDS) for _ in said[at].fds))
