"""Which function of a program sends which messages: what call stacks have in common.

Owns the choice of one function of a stack by which messages are put together. The innermost functions of a stack send
anything (sendmsg, vhost_user_write), the outermost call everything (main): neither tells messages apart. So of each
stack the innermost function of the program is taken that sends more than one kind of message and not every message.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from vusniff.meta import OPTIONS, REPLY, end_of
from vusniff.record import Stack
from vusniff.values import dataclass, field

if TYPE_CHECKING:
    from vusniff.analysis.timeline import Timeline

LOOKED_AT = 200_000
"""Messages of a capture whose stacks are looked at."""


@dataclass(slots=True)
class _SendingProgram:
    """What is known of one side of a session."""

    kinds: dict[str, set[Hashable]] = field(default_factory=dict)
    """Function -> the kinds of messages that were sent while it was being called."""
    always: set[str] | None = None
    """The functions that every stack has; None before the first."""
    known: dict[str, str | None] = field(default_factory=dict)
    """By the id of a stack."""


class Callers:
    """Fed with all stacks of a capture, tells of each by whom its message was sent. ``side`` tells programs apart."""

    def __init__(self) -> None:
        self._sides: dict[Hashable, _SendingProgram] = {}

    def add(self, side: Hashable, kind: Hashable, stack: Stack) -> None:
        """A message of a ``kind`` was sent with this stack."""
        if not stack.entries:
            return
        program = self._sides.setdefault(side, _SendingProgram())
        functions = {entry.function for entry in stack.entries if entry.function}
        program.always = functions if program.always is None else program.always & functions
        for function in functions:
            program.kinds.setdefault(function, set()).add(kind)
        program.known.clear()

    def of(self, side: Hashable, stack: Stack | None) -> str | None:
        """The function that sent a message with this stack; None where no function has a name."""
        program = self._sides.get(side)
        if program is None or stack is None:
            return None
        if stack.id not in program.known:
            program.known[stack.id] = self._choose(program, stack)
        return program.known[stack.id]

    def _choose(self, program: _SendingProgram, stack: Stack) -> str | None:
        always, kinds = program.always or set(), program.kinds
        library = stack.entries[0].file  # the C library, of a program that is not static
        own = [entry.function for entry in stack.entries if entry.function and entry.file != library]
        own = own or [entry.function for entry in stack.entries if entry.function]
        telling = [function for function in own if function not in always]
        several = next((function for function in telling if len(kinds.get(function, ())) > 1), None)
        return several or next(iter(telling), None) or next(iter(own), None)


class RowCallers:
    """The callers of the messages of a capture, as far as it has been read."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._callers = Callers()
        self.rows = 0
        """Messages with a call stack."""
        if not len(timeline.index.stacks):
            return
        for row, meta in enumerate(timeline.index.meta[:LOOKED_AT]):
            if meta & OPTIONS and (stack := timeline.frame(row).stack) is not None:
                self.rows += 1
                self._callers.add(self._side(row), (timeline.index.request[row], meta & REPLY), stack)

    def _side(self, row: int) -> tuple[int, int]:
        return self._timeline.place(row).session, end_of(self._timeline.index.meta[row])

    def of(self, row: int) -> str | None:
        """The function that sent a message; of a reply that of its request, because it belongs to it."""
        timeline = self._timeline
        if timeline.index.meta[row] & REPLY and timeline.answers[row]:
            row = timeline.answers[row] - 1
        if not timeline.index.meta[row] & OPTIONS:
            return None
        return self._callers.of(self._side(row), timeline.frame(row).stack)

    def among(self, session: int, first: int, last: int, most: int = 3) -> list[str]:
        """The functions that sent requests ``first`` to ``last`` of a session, by number, in order; at most so many."""
        found: dict[str, None] = {}
        if not self.rows:
            return []
        timeline = self._timeline
        for row in range(first - 1, min(last, len(timeline))):
            if timeline.place(row).session == session and not timeline.index.meta[row] & REPLY:
                if (name := self.of(row)) is not None:
                    found[name] = None
                if len(found) > most:
                    break
        return list(found)[:most]
