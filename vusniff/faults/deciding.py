"""Decides about the messages of a run by its rules: the one place where rules meet messages. No I/O.

Each message is placed in its session as any reader of the capture would place it (`vusniff.analysis.session`), so a
filter sees what it would see there, but for what comes later. Only rules that may match a message of its kind are asked
for it, and only then it is decoded. What teaches nothing of its session is not placed anew: its header tells which
rules to ask. A rule that asks for answers has every message placed, one that asks for the device every one followed.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vusniff.analysis.compose import compose
from vusniff.analysis.current import CurrentDevices
from vusniff.analysis.session import Place, Placed, Tracker
from vusniff.errors import DissectorError
from vusniff.families.family import HEAD, Family, State
from vusniff.families.registry import FIRST, family_named, recognised
from vusniff.faults.actions import Action, WantedDescriptors
from vusniff.faults.changing import answer as answer_to
from vusniff.faults.changing import changed
from vusniff.faults.possible import Kind
from vusniff.faults.rule import FaultRule
from vusniff.filter.compiler import tests_of
from vusniff.filter.field import Origin
from vusniff.layouts.dissect import load
from vusniff.message import Context, Message
from vusniff.meta import FLAGS, pack_meta
from vusniff.record import Closed, Connection, Frame, FrameKind
from vusniff.sources.proxy.plan import Breaking, FaultPlan, Order
from vusniff.values import dataclass, field, replace

KEPT_SESSIONS = 4096
"""Sessions after which all is forgotten as soon as no connection is open: a peer may reconnect for ever."""
KEPT_COUNTS = 65_536
"""Sessions whose matches are counted."""
_MESSAGE = FrameKind.MESSAGE
_SENT = frozenset({"set", "clear", "raise", "repeat", "fds", "split", "half", "join", "reorder", "pass"})


@dataclass(slots=True)
class _Open:
    """A connection that goes on."""

    connection: Connection
    family: Family | None = None
    """Known with its first frame."""
    head: int = 0
    """Bytes of its headers."""
    kind: slice = field(default_factory=lambda: slice(0))
    """Where request and flags stand in them."""
    met: tuple[dict[bytes, tuple[FaultRule, ...]], ...] = field(default_factory=lambda: ({}, {}))
    """By end: request and flags of messages that teach nothing of their connection -> the rules that may match them."""
    columns: dict[int, int] = field(default_factory=dict)
    """Flags of a header -> as the columns of a capture have them."""

    def column(self, flags: int) -> int:
        """The same, kept."""
        assert self.family is not None
        if len(self.columns) > KEPT_SESSIONS:
            self.columns.clear()
        found = self.columns[flags] = self.family.main.header.column(flags) & FLAGS
        return found


class HeldMessage(NamedTuple):
    """A message that a rule holds."""

    rule: FaultRule
    message: Message
    frame: Frame
    place: Place


class _OneMessage(NamedTuple):
    """Columns of one message."""

    meta: list[int]
    request: list[int]
    time_ns: list[int]


class Passing:
    """What is known of a passing message beside itself."""

    def __init__(self, devices: CurrentDevices | None) -> None:
        self.first_ns = 0
        self.paths: dict[int, str] = {}
        self.devices = devices
        """None: no rule asks for them."""

    def path(self, connection: int) -> str | None:
        """The path of a connection."""
        return self.paths.get(connection)

    def findings(self, number: int) -> tuple[()]:
        """None are made yet."""
        return ()

    logs = rings = findings

    def device(self, number: int) -> tuple[State, Context] | None:
        """The device before the message that passes."""
        devices = self.devices
        return None if devices is None else (devices.state, devices.context)

    def phase(self, number: int) -> str | None:
        """The phase that it belongs to."""
        return None if self.devices is None else self.devices.phase


class RuleDecider:
    """The rules of a run, and what has passed so far. A `vusniff.sources.proxy.plan.Decider`.

    ``say`` takes a sentence about a rule that could not be applied, once for each rule.
    """

    def __init__(self, rules: Sequence[FaultRule], seed: int, say: Callable[[str], None]) -> None:
        self.rules = tuple(rules)
        self.spares = any(rule.has("reset") for rule in rules)
        self._say = say
        self._told: set[int] = set()
        self._dice = [random.Random(f"{seed} {rule.number}") for rule in rules]
        self._counts: Counter[tuple[int, int]] = Counter()
        """(rule, session) -> matches; session 0: all of them."""
        self._open: dict[int, _Open] = {}
        self._opened = 0
        self._count = 0
        self._tracker = Tracker()
        # Filled anew by each message, as making them for each takes as long as the rest of `decide`.
        self._rows = _OneMessage([0], [0], [0])
        self._placed = Placed([], [], bytearray())
        self._frame: Frame | None = None
        asked = [test.field for rule in rules for test in tests_of(rule.filter.node)]
        self._pairs = any(one.origin is Origin.ANSWER for one in asked)
        """A rule asks what answers what."""
        follows = any(rule.filter.follows for rule in rules)
        self._devices = CurrentDevices(any(rule.filter.needs_phases for rule in rules)) if follows else None
        self._around = Passing(self._devices)
        self.held: dict[int, HeldMessage] = {}
        """Messages that the user is to be asked about, by the id of their frame."""
        self._concerned: dict[tuple[Place, int | None, int, int], tuple[FaultRule, ...]] = {}

    @property
    def text(self) -> str:
        """The rules, a line each."""
        return "\n".join(rule.text for rule in self.rules)

    # -- connections --------------------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> int:
        """A connection begins: its number here."""
        if not self._open and len(self._tracker.sessions) > KEPT_SESSIONS:
            self._tracker = Tracker()
            self._around.paths.clear()
            self._concerned.clear()
            if self._devices is not None:
                self._devices.forget()
        self._opened += 1
        self._open[self._opened] = _Open(replace(connection, id=self._opened))
        self._around.paths[self._opened] = connection.path
        return self._opened

    def closed(self, number: int) -> None:
        """It has ended."""
        if self._open.pop(number, None) is not None:
            self._tracker.closed(Closed(number, 0, "eof"))

    # -- messages -----------------------------------------------------------------------------------------------------

    def decide(self, number: int, frame: Frame) -> FaultPlan | None:
        """What to do with a message; None: pass it on."""
        self._count += 1
        opened, data = self._open[number], frame.data
        rules = opened.met[frame.end].get(data[opened.kind])
        if rules is None or frame.kind is not _MESSAGE or len(data) < opened.head:
            return self._looked_at(number, opened, frame)
        if not rules and self._devices is None:
            return None
        place = self._tracker.place(number)
        message = compose(self._count, frame, place)
        if self._devices is not None:
            self._devices.see(self._tracker, place, message)
        return self._asked(rules, message, frame, place)

    def _looked_at(self, number: int, opened: _Open, frame: Frame) -> FaultPlan | None:
        """The same of a message of a kind that was not met yet, or that may teach something of its session."""
        count = self._count
        family = opened.family or self._meet(opened, frame)
        header, data = family.main.header, frame.data
        request, flags = None, 0
        if frame.kind is FrameKind.MESSAGE and len(data) >= header.size:
            request, flags, _ = header.read[sys.byteorder](data, 0)
        column = opened.columns.get(flags)
        if column is None:
            column = opened.column(flags)
        kind, column = (FrameKind.MESSAGE, column) if request is not None else (FrameKind.RAW, 0)
        meta = pack_meta(number, kind, frame.end, 0, column)
        rows, placed = self._rows, self._placed
        rows.meta[0], rows.request[0], rows.time_ns[0], self._frame = meta, request or 0, frame.time_ns, frame
        self._tracker.track(count, rows, self._passing, placed)
        place, answer = placed.places.pop(), placed.answers.pop()
        placed.pairings.clear()
        if not self._pairs:
            self._tracker.unpair(number)
        message = None
        if self._devices is not None:
            message = compose(count, frame, place, answer)
            self._devices.see(self._tracker, place, message)
        key = place, request, flags, frame.end
        rules = self._concerned.get(key)
        if rules is None:
            rules = self._concerned[key] = self._concerning(place, request, flags, frame.end)
        if request is not None and not self._pairs:
            is_reply = place.channel.is_reply(flags, place.sender(frame.end))
            if not self._tracker.teaches(number, request, is_reply):
                met = opened.met[frame.end]
                if len(met) >= KEPT_SESSIONS:
                    met.clear()
                met[data[opened.kind]] = rules
        if not rules:
            return None
        return self._asked(rules, message or compose(count, frame, place, answer), frame, place)

    def _passing(self, _: int) -> Frame:
        """The frame that is being placed."""
        assert self._frame is not None
        return self._frame

    def _meet(self, opened: _Open, frame: Frame) -> Family:
        """The first frame of a connection tells its family."""
        if not self._around.first_ns:
            self._around.first_ns = frame.time_ns
        found = recognised(frame.data, sys.byteorder) if len(frame.data) >= HEAD else None
        opened.family = found or family_named(FIRST)
        opened.connection = replace(opened.connection, family=opened.family.name)
        opened.head, opened.kind = opened.family.main.header.size, opened.family.main.header.kind
        self._tracker.opened(opened.connection, sys.byteorder)
        return opened.family

    def _concerning(self, place: Place, request: int | None, flags: int, end: int) -> tuple[FaultRule, ...]:
        """The rules that may match messages of a kind."""
        channel = place.channel
        reply = request is not None and channel.is_reply(flags, place.sender(end))
        dissector = load().get(channel)
        known = dissector is not None and request in dissector.specs
        asked = Kind(channel, request if known else None, reply)
        if len(self._concerned) > KEPT_SESSIONS:
            self._concerned.clear()
        return tuple(rule for rule in self.rules if asked in rule.kinds)

    def _asked(self, rules: Sequence[FaultRule], message: Message, frame: Frame, place: Place) -> FaultPlan | None:
        """Asks the rules in their order. Matches are counted whether an earlier rule has won or not."""
        won: FaultRule | None = None
        for rule in rules:
            if (won is not None and not rule.counts) or not rule.filter.match(message, self._around):
                continue
            if rule.counts:
                key = (rule.number, message.session if rule.each else 0)
                if key not in self._counts and len(self._counts) >= KEPT_COUNTS:
                    self._counts.clear()
                self._counts[key] += 1
                if won is not None or not rule.first <= self._counts[key] <= rule.last:
                    continue
            if rule.chance >= 1 or self._dice[rule.number - 1].random() < rule.chance:
                won = rule
        if won is None:
            return None
        plan = self.plan(won, won.actions, message, frame, place)
        if plan is not None and plan.hold:
            self.held[id(frame)] = HeldMessage(won, message, frame, place)
        return plan

    def edit(self, held: HeldMessage, actions: Sequence[Action]) -> FaultPlan:
        """What the user wants done to a message that is held. Raises DissectorError."""
        return _made(held.rule, actions, held.message, held.frame, held.place)

    def plan(
        self, rule: FaultRule, actions: Sequence[Action], message: Message, frame: Frame, place: Place
    ) -> FaultPlan | None:
        """What some actions mean for a message; None, and a sentence, where one of them cannot be."""
        try:
            return _made(rule, actions, message, frame, place)
        except DissectorError as error:
            if rule.number not in self._told:
                self._told.add(rule.number)
                self._say(f"rule {rule.number} cannot be applied to a {message.name}, which is passed on: {error}")
            return None


def _made(rule: FaultRule, actions: Sequence[Action], message: Message, frame: Frame, place: Place) -> FaultPlan:
    made, said = changed(frame, place, actions)
    reply = next((answer_to(frame, message, place, one.value) for one in actions if one.name == "answer"), None)
    return plan_of(rule, actions, frame, made.data, said, reply)


def plan_of(
    rule: FaultRule, actions: Sequence[Action], frame: Frame, data: bytes, said: str, reply: bytes | None
) -> FaultPlan:
    """The plan of some actions, by their values."""
    values = {action.name: action.value for action in actions}
    names = tuple(action.name for action in actions)
    ends = Breaking.CUT if "cut" in values else Breaking.RESET if "reset" in values else None
    sends = not (values.keys() & {"drop", "answer"}) and (ends is None or not _SENT.isdisjoint(names))
    kept, extra = _descriptors(values.get("fds"), len(frame.descriptors))
    most = None
    if "half" in values:
        most = min(values["half"] or max(len(data) // 2, 1), len(data))
    return FaultPlan(
        rule.number,
        rule.text,
        names,
        data,
        said,
        kept,
        extra,
        "hold" in values,
        values.get("delay") or 0.0,
        (1 + (values.get("repeat") or 0)) if sends else 0,
        values.get("split") or 0,
        most,
        Order.JOINED if "join" in values else Order.BEHIND if "reorder" in values else Order.IN_TURN,
        reply,
        values.get("stall") or 0.0,
        values.get("kill"),
        ends,
    )


def _descriptors(passed: WantedDescriptors | None, count: int) -> tuple[tuple[int, ...] | None, int]:
    """Which descriptors are sent, by position, and how many of ours."""
    match passed:
        case None:
            return None, 0
        case WantedDescriptors("none"):
            return (), 0
        case WantedDescriptors("keep", number):
            return tuple(range(min(number, count))), 0
        case WantedDescriptors("swap"):
            return tuple(reversed(range(count))), 0
    return None, passed.number
