"""Call stacks in a capture file: each distinct one once, in a custom block of its own; messages refer to it by its id.

Keys of the block: ``vusniff``, ``kind`` (``stack``), ``time_ns``, ``id``; ``files`` (of [name, build-id]) and ``new``
(of [file, address, function, source], what is not known left out at the end or null; file -1 is none): files and
entries that no block of this section has named yet, both counted through the section from 0; ``entries`` (numbers of
entries, innermost first); ``then`` ([id, n]: the outer entries are those of a stack before it, from its n-th on);
``cut`` (why the outermost entries are missing; left out where the stack in ``then`` says the same). The key of a packet
is ``stack``.

An id is made of what the stack holds, so that the same stack has the same id in every file, and captures can be merged.
A reader that does not know the kind shows the block raw, and skips the key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vusniff.capture.facts import FORMAT_VERSION, TEXT_LIMIT, dump, integer, stack_id, text
from vusniff.record import Stack, StackEntry
from vusniff.values import dataclass, field

KIND = "stack"
ENTRIES_LIMIT = 128
"""Entries of one stack; the rest is cut."""
STACKS_LIMIT = 1 << 14
"""Stacks of a capture that are written and read."""
_FILES_LIMIT, _SECTION_ENTRIES = 1 << 14, 1 << 18
_NAME_LIMIT = 512
"""Characters of a function's name: those of C++ and Rust are long."""
_BUILD_ID = r"(?:[0-9a-f]{2}){0,64}"
NOT_THERE = "this stack is not in the capture"

Facts = Mapping[str, Any]


def identify(entries: tuple[StackEntry, ...], cut: str) -> str:
    """The id of a stack: ten hexadecimal digits of a hash of its files, addresses in them and end, not of names."""
    import hashlib  # it loads OpenSSL, and few captures have stacks

    places = (f"{one.build_id or one.file} {one.address:x}" if one.file else "" for one in entries)
    said = "\n".join((*places, cut))
    return hashlib.blake2b(said.encode("utf-8", "backslashreplace"), digest_size=5).hexdigest()


def stack_of(entries: tuple[StackEntry, ...], cut: str) -> Stack:
    """A stack with its id."""
    return Stack(identify(entries, cut), entries, cut)


class Written:
    """The stacks that are in a file that is written."""

    def __init__(self) -> None:
        self._cuts: dict[str, str] = {}
        """Id -> why its outermost entries are missing."""
        self._files: dict[tuple[str, str], int] = {}
        self._entries: dict[StackEntry, int] = {}
        self._outer: dict[tuple[int, StackEntry], tuple[int, str, int]] = {}
        """Node of the outer entries (0: none) and the entry within them -> its own node, and the stack and the place
        there that begins with it."""

    def begin_section(self) -> None:
        """Files are counted from 0 again."""
        self._files.clear()
        self._entries.clear()

    def add(self, stack: Stack, time_ns: int) -> bytes | None:
        """What the block says of a stack; empty when it is in the file already, None when there is no room for it."""
        if stack.id in self._cuts:
            return b""
        if len(self._cuts) >= STACKS_LIMIT:
            return None
        self._cuts[stack.id] = stack.cut
        node, shared, then, cut = 0, 0, None, ""
        for at in range(len(stack.entries) - 1, -1, -1):
            known = self._outer.get((node, stack.entries[at]))
            if known is None:
                break
            node, shared, then, cut = known[0], shared + 1, [known[1], known[2]], self._cuts[known[1]]
        own = stack.entries[: len(stack.entries) - shared]
        for at in range(len(own) - 1, -1, -1):
            made = len(self._outer) + 1
            self._outer[node, own[at]] = (made, stack.id, at)
            node = made
        before, new = len(self._files), list[list[Any]]()
        entries = [self._number(one, new) for one in own]
        facts: dict[str, Any] = {"vusniff": FORMAT_VERSION, "kind": KIND, "time_ns": time_ns, "id": stack.id}
        if len(self._files) > before:
            facts["files"] = list(self._files)[before:]
        if new:
            facts["new"] = new
        facts["entries"] = entries
        if then is not None:
            facts["then"] = then
        if stack.cut != cut:
            facts["cut"] = stack.cut
        return dump(facts)

    def _number(self, one: StackEntry, new: list[list[Any]]) -> int:
        known = self._entries.get(one)
        if known is None:
            known = self._entries[one] = len(self._entries)
            new.append(self._entry(one))
        return known

    def _entry(self, one: StackEntry) -> list[Any]:
        file = -1
        if one.file or one.build_id:
            file = self._files.setdefault((one.file[:TEXT_LIMIT], one.build_id), len(self._files))
        said: list[Any] = [file, one.address]
        if one.function or one.source:
            said.append(one.function[:_NAME_LIMIT] if one.function else None)
        if one.source:
            said.append(one.source[:TEXT_LIMIT])
        return said


@dataclass(slots=True)
class StackSection:
    """What the blocks of one section have named so far."""

    files: list[tuple[str, str]] = field(default_factory=list)
    entries: list[StackEntry | None] = field(default_factory=list)
    """None for what is none, because entries are counted."""

    def take(self, facts: Facts) -> None:
        """The files and entries that a block names."""
        files, new = facts.get("files"), facts.get("new")
        for one in files if isinstance(files, list) else ():
            if len(self.files) < _FILES_LIMIT:
                self.files.append(_file(one))
        for one in new if isinstance(new, list) else ():
            if len(self.entries) < _SECTION_ENTRIES:
                self.entries.append(_entry(one, self.files))


class Stacks:
    """The stacks of a capture that is read, by id. What a file says of them may be anything."""

    def __init__(self) -> None:
        self._known: dict[str, Stack] = {}

    def get(self, identity: str | None) -> Stack | None:
        """A stack that a message refers to; one without entries where it is not there."""
        if identity is None:
            return None
        return self._known.get(identity) or Stack(identity, (), NOT_THERE)

    def __len__(self) -> int:
        return len(self._known)

    def add(self, facts: Facts, section: StackSection) -> bool:
        """Takes what a block of a section says. False where it says nothing."""
        identity, entries = stack_id(facts.get("id")), facts.get("entries")
        if identity is None or not isinstance(entries, list):
            return False
        section.take(facts)
        numbers = (integer(one, 0, len(section.entries) - 1) for one in entries[:ENTRIES_LIMIT])
        found = [one for number in numbers if number is not None and (one := section.entries[number]) is not None]
        then, cut = facts.get("then"), text(facts.get("cut"))
        if isinstance(then, list) and len(then) == 2:
            known, at = self._known.get(stack_id(then[0]) or ""), integer(then[1])
            if known is None or at is None:
                return False
            found += known.entries[at : at + ENTRIES_LIMIT - len(found)]
            cut = known.cut if cut is None else cut
        if len(self._known) < STACKS_LIMIT:
            self._known.setdefault(identity, Stack(identity, tuple(found), cut or ""))
            return True
        return False


def parse_entry(said: object, name: str, build_id: str) -> StackEntry | None:
    """One entry of a list as a block has it, in this file."""
    if not isinstance(said, list) or len(said) < 2:
        return None
    address = integer(said[1])
    if address is None:
        return None
    function = text(said[2]) if len(said) > 2 else None
    source = text(said[3]) if len(said) > 3 else None
    return StackEntry(name, build_id, address, function[:_NAME_LIMIT] if function else None, source or None)


def _entry(said: object, files: list[tuple[str, str]]) -> StackEntry | None:
    number = integer(said[0], -1, len(files) - 1) if isinstance(said, list) and said else None
    if number is None:
        return None
    return parse_entry(said, *(files[number] if number >= 0 else ("", "")))


def _file(said: object) -> tuple[str, str]:
    """Name and build-id; what is none is empty, because files are counted."""
    if not isinstance(said, list) or len(said) != 2:
        return "", ""
    build_id = text(said[1]) or ""
    return text(said[0]) or "", build_id if re.fullmatch(_BUILD_ID, build_id) else ""
