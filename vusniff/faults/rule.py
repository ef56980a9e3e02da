"""A fault rule: ``FILTER [@N[,M]] [per session] [P%] : ACTION[, ACTION]``.

The filter is the filter language, and is asked of each message as it passes. ``@2`` is the second message that it
matches, ``@2,5`` the second to the fifth, ``@2,`` all from the second on; it is counted over the whole run, so that a
device that reconnects is not hit again, or ``per session``. ``30%`` lets chance decide. The first rule that matches
wins. Everything that a user wrote is checked here, and refused with its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NoReturn

from vusniff.errors import DissectorError, FilterError, RuleError
from vusniff.faults.actions import ACTIONS, Action, ArgumentError, FieldSetting
from vusniff.faults.changing import refuse_setting
from vusniff.faults.possible import Kinds, possible
from vusniff.filter.compiler import Filter, compile_filter
from vusniff.layouts.build import close
from vusniff.values import dataclass

LENGTH_LIMIT = 16_384
"""Characters of a rule."""
RULES_LIMIT = 1000
FILE_LIMIT = 1 << 20
"""Bytes of a file of rules."""
_ALL = 1 << 62
_WHEN = re.compile(
    r"(?s)(?P<filter>.*?)(?:\s*@(?P<first>\d{1,18})(?:\s*(?P<to>,)\s*(?P<last>\d{1,18})?)?)?"
    r"(?:\s+(?P<each>per\s+session))?(?:\s+(?P<chance>\d{1,3}(?:\.\d{1,6})?)%)?\s*"
)
_QUOTED = re.compile(r'r?"(?:\\.|[^"\\])*"|.', re.DOTALL)


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One rule, checked."""

    number: int
    """Its place, from 1."""
    text: str
    filter: Filter
    kinds: Kinds
    """The kinds of messages that it may match."""
    actions: tuple[Action, ...]
    first: int = 1
    """The first match that counts, from 1."""
    last: int = _ALL
    """The last one."""
    each: bool = False
    """Matches are counted in each session."""
    chance: float = 1.0
    """How likely a match that counts is one."""

    @property
    def counts(self) -> bool:
        """Which match it is matters."""
        return self.first > 1 or self.last < _ALL

    def has(self, name: str) -> bool:
        """It asks for an action."""
        return any(action.name == name for action in self.actions)


def rules_of(words: Iterable[str], files: Iterable[tuple[str, str]]) -> tuple[FaultRule, ...]:
    """All rules of a command: those of ``--rule`` first, then those of each file (name, text). Raises RuleError."""
    found: list[FaultRule] = []
    for word in words:
        found.append(parse_rule(word, len(found) + 1, f"rule {len(found) + 1}"))
    for name, text in files:
        for line, written in enumerate(text.split("\n"), 1):
            stripped = written.strip()
            if stripped and not stripped.startswith("#"):
                if len(found) >= RULES_LIMIT:
                    raise RuleError(f"{name}:{line}", f"there are more than {RULES_LIMIT} rules", written, 0, 0)
                found.append(parse_rule(written.rstrip("\r"), len(found) + 1, f"{name}:{line}"))
    return tuple(found)


def parse_rule(text: str, number: int = 1, where: str = "rule") -> FaultRule:
    """One rule by its text. Raises RuleError, and DissectorError when the dissectors cannot be loaded."""
    if len(text) > LENGTH_LIMIT:
        raise RuleError(where, f"a rule has at most {LENGTH_LIMIT} characters, this one has {len(text)}", text, 0, 0)
    colon = _colon(text)
    if colon is None:
        sentence = "a rule is FILTER : ACTION, and this one has no colon with an action behind it"
        raise RuleError(where, sentence, text, len(text), 0)
    match = _WHEN.fullmatch(text[:colon])
    assert match is not None  # its first part takes anything
    _refuse_rest(where, text, match)
    written = match["filter"]
    try:
        filter = compile_filter(written.strip())
        kinds = possible(filter)
    except FilterError as error:
        before = len(written) - len(written.lstrip())
        raise RuleError(where, error.sentence, text, before + error.start, error.length) from None
    actions = _actions(where, text, colon + 1)
    for action in actions:
        if isinstance(action.value, FieldSetting):
            try:
                refuse_setting(action.name, action.value, kinds)
            except DissectorError as error:
                raise RuleError(where, str(error), text, action.start, len(action.value.field)) from None
    first = int(match["first"] or 1)
    last = _ALL
    if match["first"] and not match["to"]:
        last = first
    elif match["last"]:
        last = int(match["last"])
    chance = float(match["chance"] or 100) / 100
    return FaultRule(number, text.strip(), filter, kinds, actions, first, last, bool(match["each"]), chance)


def _setting(part: str) -> str:
    """``num=0`` alone means ``set num=0``."""
    word = part.partition(" ")[0].lower()
    return f"set {part}" if "=" in part and word not in ACTIONS else part


def edited(text: str, rule: FaultRule) -> tuple[Action, ...]:
    """Actions that the user gives for a message of a rule that holds it; of them FIELD=VALUE sets a field. Raises
    RuleError."""
    actions = _actions("edit", ", ".join(_setting(part) for _, part in _parts(text, 0)), 0)
    for action in actions:
        if action.name in ("hold", "kill"):
            raise RuleError("edit", f"{action.name} can be used in rules only", text, 0, len(text))
        if isinstance(action.value, FieldSetting):
            try:
                refuse_setting(action.name, action.value, rule.kinds)
            except DissectorError as error:
                raise RuleError("edit", str(error), text, action.start, len(action.value.field)) from None
    return actions


def _colon(text: str) -> int | None:
    """Where the filter ends: a colon outside of texts that has a space beside it, or nothing."""
    at = 0
    for match in _QUOTED.finditer(text):
        if match[0] == ":":
            around = text[at - 1 : at], text[at + 1 : at + 2]
            if any(not beside.strip() for beside in around):
                return at
        at = match.end()
    return None


def _refuse_rest(where: str, text: str, match: re.Match[str]) -> None:
    """Raises for text that was meant as a count or a chance and cannot be read as one."""

    def refuse(sentence: str, group: str) -> NoReturn:
        raise RuleError(where, sentence, text, match.start(group), max(len(match[group]), 1))

    if match["first"] and int(match["first"]) < 1:
        refuse("matches are counted from 1", "first")
    if match["last"] and int(match["last"]) < int(match["first"]):
        refuse("the last match comes before the first", "last")
    if match["each"] and not match["first"]:
        refuse("'per session' belongs behind @N: this rule counts nothing", "each")
    if match["chance"] and not 0 < float(match["chance"]) <= 100:
        refuse("a chance is more than 0% and at most 100%", "chance")
    at = 0
    for piece in _QUOTED.finditer(match["filter"]):
        if piece[0] in "@%":
            words = "write @N, @N,M or @N, behind the filter, such as @2 or @2,5"
            if piece[0] == "%":
                words = "write a chance behind the filter and the count, such as 30%"
            raise RuleError(where, words, text, at, 1)
        at = piece.end()


def _actions(where: str, text: str, start: int) -> tuple[Action, ...]:
    found: list[Action] = []
    for at, written in _parts(text, start):
        word, _, argument = written.partition(" ")
        name, argument = word.lower(), argument.strip()
        form = ACTIONS.get(name)
        if not written:
            there = ", ".join(ACTIONS)
            raise RuleError(where, f"an action is missing here: there are {there}", text, at, 0)
        if form is None:
            raise RuleError(where, f"there is no action {word}{close(name, ACTIONS)}", text, at, len(word))
        inside = at + len(written) - len(argument)
        if form.read is None and argument:
            raise RuleError(where, f"{name} takes no argument", text, inside, len(argument))
        for other in found:
            if name in ACTIONS[other.name].excludes or other.name in form.excludes:
                raise RuleError(where, f"{other.name} and {name} exclude each other", text, at, len(written))
            if name == other.name and name not in ("set", "clear", "raise"):
                raise RuleError(where, f"{name} is given twice here", text, at, len(written))
        try:
            value = form.read(argument) if form.read is not None else None
        except ArgumentError as error:
            raise RuleError(where, str(error), text, inside if argument else at, len(argument) or len(word)) from None
        found.append(Action(name, value, inside))
    return tuple(found)


def _parts(text: str, start: int) -> Sequence[tuple[int, str]]:
    """What stands between the commas outside of texts, without spaces around it; each with its place."""
    parts, at, begin = [], start, start
    for match in _QUOTED.finditer(text, start):
        if match[0] == ",":
            parts.append((begin, text[begin:at]))
            begin = match.end()
        at = match.end()
    parts.append((begin, text[begin:at]))
    return [(place + len(part) - len(part.lstrip()), part.strip()) for place, part in parts]
