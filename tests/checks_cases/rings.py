"""Where rings stand, as samples tell."""

from __future__ import annotations

from dataclasses import replace

from checks_cases.script import FEATURES, Case, Look, Part, enable, ring, set_up, stop, up
from vusniff.record import Position

SECOND = 1_000_000_000
STILL = Position(0, 256, False, 700, 690, 10)
STUCK = replace(STILL, moved_ns=6 * SECOND, waiting_ns=6 * SECOND)
EMPTY = replace(STILL, available=690, in_flight=0, moved_ns=6 * SECOND)
AHEAD = replace(STILL, available=690, used=693, in_flight=0xFFFD)
APART = replace(STILL, available=30000, in_flight=29310)
WAITS = replace(STILL, moved_ns=2 * SECOND, waiting_ns=2 * SECOND)


def look(*positions: Position) -> Look:
    return Look(positions)


def disabled() -> list[Part]:
    return [*up(), enable(0, 0)]


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
]
