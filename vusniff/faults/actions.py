"""What a fault rule may ask for: one row of `ACTIONS` for each action, with how its argument is read.

Reading takes anything and says in one sentence what is wrong with it. Fields and their values are checked by `rule`,
which knows the messages that the filter is about.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from typing import Any, NamedTuple

from vusniff.families.vhost_user.protocol import MAX_FDS
from vusniff.layouts.build import close
from vusniff.values import dataclass

REPEAT_LIMIT = 100_000
TIME_LIMIT_S = 86_400.0
"""A day."""
SIZE_LIMIT = 1 << 20
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class ArgumentError(Exception):
    """An argument that an action does not take: why, and where in it."""

    def __init__(self, sentence: str, start: int = 0, length: int | None = None) -> None:
        super().__init__(sentence)
        self.start, self.length = start, length


class FieldSetting(NamedTuple):
    """``set FIELD=VALUE``, ``clear FIELD BIT ...`` and ``raise FIELD BIT ...``."""

    field: str
    value: str
    """Of set."""
    bits: tuple[str, ...] = ()


class WantedDescriptors(NamedTuple):
    """``fds MODE [N]``."""

    mode: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Action:
    """One action of a rule."""

    name: str
    value: Any = None
    """As the row of `ACTIONS` reads it; None for an action without an argument."""
    start: int = 0
    """Where its argument stands in the rule."""


class ActionForm(NamedTuple):
    """How an action is written."""

    usage: str
    about: str
    read: Callable[[str], Any] | None = None
    """Its argument; None: it takes none."""
    excludes: frozenset[str] = frozenset()
    """Actions that cannot stand beside it."""


def seconds(argument: str) -> float:
    """``300ms``, ``2s``, ``50us``."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(us|ms|s)", argument)
    if match is None:
        raise ArgumentError(f"{argument or 'nothing'} is not a time: write a number with its unit, such as 300ms or 2s")
    found = float(match[1]) * _UNITS[match[2]]
    if not 0 < found <= TIME_LIMIT_S:
        raise ArgumentError("a time must be more than 0 and at most a day (86400s)")
    return found


def _stalled(argument: str) -> float:
    return seconds(f"{argument}s" if re.fullmatch(r"[\d.]+", argument) else argument)


def number(argument: str, least: int, most: int, what: str) -> int:
    """A whole number within limits."""
    if not re.fullmatch(r"\d{1,9}", argument) or not least <= int(argument) <= most:
        raise ArgumentError(f"{argument or 'nothing'} is not a {what}: write a number from {least} to {most}")
    return int(argument)


def _setting(argument: str) -> FieldSetting:
    field, sign, value = argument.partition("=")
    if not sign or not field.strip():
        raise ArgumentError("name field and value: set FIELD=VALUE, such as set vring.size=0")
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return FieldSetting(field.strip(), value)


def _bits(argument: str) -> FieldSetting:
    field, *bits = argument.split()[:65] or [""]
    if not bits:
        raise ArgumentError("name field and bit: such as clear vhost.features MRG_RXBUF, or a number from 0 to 63")
    return FieldSetting(field, "", tuple(bits))


def _descriptors(argument: str) -> WantedDescriptors:
    mode, *rest = argument.split() or [""]
    modes = ("none", "keep", "swap", "extra")
    if mode not in modes:
        raise ArgumentError(f"fds {mode or 'alone'} is not known: write fds none, fds keep N, fds swap or fds extra")
    if len(rest) > (mode in ("keep", "extra")) or (mode == "keep" and not rest):
        raise ArgumentError(f"fds {mode} takes {'a number' if mode in ('keep', 'extra') else 'nothing more'}")
    if not rest:
        return WantedDescriptors(mode, int(mode == "extra"))
    return WantedDescriptors(mode, number(rest[0], int(mode == "extra"), MAX_FDS, "number of descriptors"))


def _answer(argument: str) -> str:
    if (
        re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}|\d{1,20}", argument)
        and int(argument, 0 if "x" in argument.lower() else 10) < 1 << 64
    ):
        return argument
    if re.fullmatch(r"payload=(?:[0-9a-fA-F]{2})*", argument) and len(argument) < 2 * SIZE_LIMIT:
        return argument
    raise ArgumentError(
        f"{argument or 'nothing'} is not an answer: write a number of 64 bits, such as answer 0, or answer payload=HEX"
    )


def _half(argument: str) -> int | None:
    return number(argument, 1, SIZE_LIMIT, "number of bytes") if argument else None


def signal_of(argument: str) -> int:
    """``SIGKILL``, ``KILL`` or ``9``."""
    names = {one.name.removeprefix("SIG"): int(one) for one in signal.Signals}
    word = argument.upper().removeprefix("SIG")
    if word in names:
        return names[word]
    if re.fullmatch(r"\d{1,3}", argument) and int(argument) in names.values():
        return int(argument)
    raise ArgumentError(
        f"{argument or 'nothing'} is not a signal{close(word, names) if word else ': write KILL, for example'}"
    )


_UNSENT = frozenset({"repeat", "set", "clear", "raise", "fds", "split", "half", "join", "reorder", "pass"})
"""What is said of a message that is sent."""


def _bytes(argument: str) -> int:
    return number(argument, 1, SIZE_LIMIT, "number of bytes")


def _times(argument: str) -> int:
    return number(argument, 1, REPEAT_LIMIT, "count")


ACTIONS: dict[str, ActionForm] = {
    "delay": ActionForm("delay TIME", "pass it on later; what follows in its direction waits behind it", seconds),
    "drop": ActionForm("drop", "do not pass it on", None, _UNSENT),
    "repeat": ActionForm("repeat N", "send it N times more", _times),
    "set": ActionForm("set FIELD=VALUE", "put another value into a field of payload or header", _setting),
    "clear": ActionForm("clear FIELD BIT ...", "clear bits, by number or by name", _bits),
    "raise": ActionForm("raise FIELD BIT ...", "set bits, by number or by name", _bits),
    "fds": ActionForm(
        "fds none|keep N|swap|extra [N]",
        "pass no descriptor, the first N, all in the opposite order, or N (1) new eventfds as well",
        _descriptors,
    ),
    "split": ActionForm("split N", "send it in pieces of N bytes, a millisecond apart", _bytes),
    "half": ActionForm(
        "half [N]",
        "send its first N bytes (half of it), and nothing more in its direction",
        _half,
        frozenset({"repeat", "join", "reorder", "split", "pass"}),
    ),
    "join": ActionForm(
        "join", "send it in one piece with the next one", None, frozenset({"repeat", "split", "reorder"})
    ),
    "reorder": ActionForm("reorder", "send it behind the next one of its direction", None, frozenset({"join"})),
    "answer": ActionForm(
        "answer VALUE",
        "do not pass it on, and give its sender a reply with this number, or with payload=HEX",
        _answer,
        _UNSENT | {"drop", "cut", "reset"},
    ),
    "stall": ActionForm("stall SECONDS", "read nothing more from its sender for so long", _stalled),
    "hold": ActionForm("hold", "ask the user at the terminal: send it, drop it or edit it"),
    "kill": ActionForm(
        "kill SIGNAL", "send a signal to the program behind --, before the message is passed on", signal_of
    ),
    "cut": ActionForm(
        "cut",
        "close the connection on both sides; it is passed on before only with pass, set or half",
        None,
        frozenset({"reset", "drop"}),
    ),
    "reset": ActionForm(
        "reset",
        "the same, and its sender gets a connection reset, as from a peer that ended without reading it",
        None,
        frozenset({"cut", "drop"}),
    ),
    "pass": ActionForm("pass", "pass it on as it is, and ask no later rule"),
}
"""Name -> how it is written, in the order of the reference page."""
