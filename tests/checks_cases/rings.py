"""Where rings stand, as samples tell."""

from __future__ import annotations

from dataclasses import replace

from checks_cases.script import (
    FEATURES,
    PROTOCOL,
    Again,
    Case,
    Close,
    F,
    Look,
    P,
    Part,
    Wait,
    addresses,
    be,
    enable,
    fe,
    memfd,
    ring,
    set_up,
    stop,
    u32,
    u64,
    up,
)
from vusniff.checks.finding import Side
from vusniff.record import Position

SECOND = 1_000_000_000
STILL = Position(0, 256, False, 700, 690, 10)
STUCK = replace(STILL, moved_ns=6 * SECOND, waiting_ns=6 * SECOND)
EMPTY = replace(STILL, available=690, in_flight=0, moved_ns=6 * SECOND)
AHEAD = replace(STILL, available=690, used=693, in_flight=0xFFFD)
APART = replace(STILL, available=30000, in_flight=29310)
JUMPED = replace(APART, moved_ns=2 * SECOND, waiting_ns=2 * SECOND)
BEHIND = replace(STILL, available=10, used=0, waiting_ns=2 * SECOND)
LEFT = replace(STUCK, tracked=3)
WANTED = replace(STILL, moved_ns=0, available=700, used=690)
MASKED = replace(WANTED, no_interrupt=True)
ANSWERED = replace(MASKED, used=700, in_flight=0, moved_ns=6 * SECOND)
MOVES = replace(STILL, moved_ns=SECOND // 1000)
WAITS = replace(STILL, moved_ns=2 * SECOND, waiting_ns=2 * SECOND)


def look(*positions: Position) -> Look:
    return Look(positions)


def disabled() -> list[Part]:
    return [*up(), enable(0, 0)]


def restarted(base: int) -> list[Part]:
    """Stopped, and started again at a base."""
    return [*up(), *stop(), *set_up(base=base), *ring()[3:]]


def reconnected(*more: Part) -> list[Part]:
    """The back-end has come back, and an in-flight buffer was given to it."""
    protocol = PROTOCOL | P.INFLIGHT_SHMFD
    buffer = fe(F.SET_INFLIGHT_FD, u64(4096, 0) + u32(1 | 256 << 16), memfd(77, 4096))
    return [*up(protocol=protocol), Close(1), Again(), *up(protocol=protocol), buffer, *more]


def migrates(*more: Part, flags: int = 1) -> list[Part]:
    """A device that runs one ring, and whose memory is logged."""
    log = fe(F.SET_LOG_BASE, u64(1 << 15, 0), memfd(78, 1 << 15))
    begun = [
        log,
        be(F.SET_LOG_BASE, u64(0)),
        fe(F.SET_FEATURES, u64(FEATURES)),
        fe(F.SET_VRING_ADDR, addresses(flags=flags)),
    ]
    return [*up(), *begun, *more]


FIRES = [
    Case("vring-not-served", [*up(), look(STUCK)], device="blk", says="10 in flight, nothing used for 6.00 s"),
    Case("vring-not-served", [*up(), look(replace(STUCK, unread_kicks=1))], says="its kick has not been read"),
    Case("vring-not-served", [*up(), look(replace(STUCK, unread_kicks=0))], device="blk", says="has been read"),
    Case("vring-not-served", [*up(), *ring(1), look(replace(STUCK, ring=1))], device="net"),
    Case("vring-used-while-disabled", [*disabled(), look(WAITS)], device="blk", says="10 in flight wait"),
    Case("vring-used-while-disabled", [*disabled(), look(replace(WAITS, unread_kicks=1))], says="wait, kicked"),
    Case("vring-without-buffers", [*up(), look(EMPTY)], device="net", says="since index 690"),
    Case("vring-used-ahead", [*up(), look(AHEAD)], says="is 3 ahead of the available one"),
    Case("vring-base-behind", [*up(), look(STILL), *stop(base=7)], says="683 would be used again"),
    Case("vring-index-jump", [*up(), look(JUMPED)], says="are 29310 apart"),
    Case(
        "vring-index-jump",
        [*up(), look(STILL), look(replace(JUMPED, available=0, used=500, in_flight=65036))],
        side=Side.BACKEND,
    ),
    Case("vring-base-ahead", [*restarted(700), look(BEHIND)], says="waits for one 690 ahead"),
    Case("vring-inflight-left", reconnected(look(LEFT)), device="blk", says="has 3 in flight by the in-flight buffer"),
    Case(
        "vring-interrupts-masked",
        [*up(), look(WANTED), look(MASKED), Wait(6), look(ANSWERED)],
        device="blk",
        says="for 6.00 s and does nothing, while 10 were used",
    ),
    Case("dirty-pages-not-set", migrates(Look((), 0), Wait(7), look(MOVES)), says="in 7.00 s of logging no page"),
]

QUIET = [
    Case("vring-not-served", [*up(), look(replace(STUCK, waiting_ns=4 * SECOND))], device="blk"),
    Case("vring-not-served", [*up(), look(STUCK)], device="net"),
    Case("vring-not-served", [*up(), look(replace(STUCK, unread_kicks=1, no_notify=True))]),
    Case("vring-not-served", [*up(), look(replace(STUCK, moved_ns=0, waiting_ns=None))], device="blk"),
    Case("vring-not-served", [*disabled(), look(STUCK)], device="blk"),
    Case("vring-used-while-disabled", [*up(), look(WAITS)], device="blk"),
    Case("vring-used-while-disabled", [*disabled(), look(WAITS)], device="net"),
    Case("vring-used-while-disabled", [*disabled(), look(EMPTY)], device="blk"),
    Case("vring-without-buffers", [*up(), look(EMPTY)], device="blk"),
    Case("vring-without-buffers", [*up(), look(replace(EMPTY, available=0, used=0, moved_ns=None))], device="net"),
    Case("vring-without-buffers", [*disabled(), look(EMPTY)], device="net"),
    Case("vring-used-ahead", [*up(), look(APART)]),
    Case("vring-used-ahead", [*up(), look(replace(AHEAD, packed=True))]),
    Case("vring-used-ahead", [*up(), look(replace(STILL, available=690 + 256, in_flight=256))]),
    Case("vring-used-ahead", [*up(), look(replace(STILL, available=4, used=65530, in_flight=10))]),
    Case("vring-base-behind", [*up(), look(STILL), *stop(base=690)]),
    Case("vring-base-behind", [*up(), look(STILL), *stop(base=760)]),
    Case("vring-base-behind", [*up(), look(replace(STILL, used=65530)), *stop(base=4)]),
    Case("vring-base-behind", [*up(), look(STILL), *set_up(), *stop(base=7)]),
    Case("vring-base-behind", [*up(FEATURES | 1 << 34), look(replace(STILL, packed=True)), *stop(base=7)]),
    Case("vring-index-jump", [*up(), look(APART)]),
    Case("vring-index-jump", [*up(), look(STUCK)]),
    Case("vring-index-jump", [*up(), look(replace(AHEAD, waiting_ns=2 * SECOND))]),
    Case("vring-index-jump", [*up(), look(replace(JUMPED, packed=True))]),
    Case("vring-base-ahead", [*restarted(0), look(BEHIND)]),
    Case("vring-base-ahead", [*restarted(4), look(replace(BEHIND, moved_ns=2 * SECOND))]),
    Case("vring-base-ahead", [*restarted(65530), look(BEHIND)]),
    Case("vring-base-ahead", [*up(), *stop(base=700), look(BEHIND)]),
    Case("vring-inflight-left", [*up(), look(LEFT)], device="blk"),
    Case("vring-inflight-left", reconnected(look(STUCK)), device="blk"),
    Case("vring-inflight-left", reconnected(look(LEFT)), device="net"),
    Case("vring-inflight-left", reconnected(look(replace(LEFT, waiting_ns=SECOND))), device="blk"),
    Case("vring-interrupts-masked", [*up(), look(MASKED), Wait(6), look(ANSWERED)], device="blk"),
    Case("vring-interrupts-masked", [*up(), look(WANTED), look(MASKED), Wait(4), look(ANSWERED)], device="blk"),
    Case("vring-interrupts-masked", [*up(), look(WANTED), look(MASKED), Wait(6), look(MASKED)], device="blk"),
    Case("vring-interrupts-masked", [*up(), look(WANTED), look(MASKED), Wait(6), look(ANSWERED)]),
    Case(
        "vring-interrupts-masked",
        [*up(), look(WANTED), look(MASKED), Wait(6), look(replace(ANSWERED, available=701, in_flight=1))],
        device="blk",
    ),
    Case(
        "vring-interrupts-masked",
        [*up(), look(WANTED), look(MASKED), *stop(), *set_up(), *ring()[3:], Wait(6), look(ANSWERED)],
        device="blk",
    ),
    Case("dirty-pages-not-set", migrates(Look((), 0), Wait(7), Look((MOVES,), 3))),
    Case("dirty-pages-not-set", migrates(Look((), 2), Wait(7), Look((MOVES,), 0))),
    Case("dirty-pages-not-set", migrates(Look((), 0), Wait(3), look(MOVES))),
    Case("dirty-pages-not-set", migrates(Look((), 0), Wait(7), look(STUCK))),
    Case("dirty-pages-not-set", migrates(Wait(7), look(MOVES))),
    Case("dirty-pages-not-set", migrates(Look((), 0), Wait(7), look(MOVES), flags=0)),
    Case("dirty-pages-not-set", [*up(), Look((), 0), Wait(7), look(MOVES)]),
]
