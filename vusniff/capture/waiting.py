"""Blocks on their way to the file: what is done when the file takes only a part of them, or has no room for more.

Owns that only whole blocks stay in the file, and its bound. It must not know what blocks hold: the writer says which of
them may be taken back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from vusniff.capture.bound import Bound
from vusniff.capture.output import Output


class WaitingBlocks:
    """The blocks of one file that are not written yet.

    ``take_back(block)`` is True for a block that may be missing from the file; it is counted as lost by then.
    """

    __slots__ = ("_bound", "_look_at", "_out", "_rest", "_take_back", "blocks", "written")

    def __init__(self, out: Output, bound: Bound | None, take_back: Callable[[bytes], bool]) -> None:
        self._out = out
        self._bound = bound
        self._look_at = sys.maxsize if bound is None else 0
        """Bytes at which the bound is to be asked."""
        self._take_back = take_back
        self._rest = b""
        """The rest of a block that was written in part and cannot be taken back."""
        self.blocks: list[bytes] = []
        self.written = 0
        """Bytes written so far, before they are compressed."""

    def data(self) -> bytes:
        """All that waits."""
        blocks = self.blocks
        data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        return self._rest + data if self._rest else data

    def is_due(self, size: int) -> bool:
        """Whether the bound must be asked before so many bytes are written."""
        return self.written + size > self._look_at

    def ask(self, size: int) -> tuple[int, str] | None:
        """Ask the bound whether so many more bytes may be written: None when they may, else how many, and why no more.
        It is not asked again then."""
        assert self._bound is not None
        room, why = self._bound.room(self.written)
        if size <= room:
            self._look_at = self.written + size + min(self._bound.step, room - size)
            return None
        self._look_at = sys.maxsize
        return room, why

    def trim(self, room: int, may_go: Callable[[bytes], bool]) -> None:
        """Keep the blocks that fit into so many bytes, and those that may not go."""
        kept = []
        for block in self.blocks:
            room -= len(block)
            if room >= 0 or not (self._take_back(block) or may_go(block)):
                kept.append(block)
        self.blocks = kept

    def write(self, data: bytes) -> OSError | None:
        """Hand all that waits (`data`) to the kernel. On failure why; what could not be written then waits further, but
        not what can be taken back."""
        written, why = self._out.write(data)
        self.written += written
        if why is None:
            self._rest, self.blocks = b"", []
        else:
            self.fail(written)
        return why

    def fail(self, written: int = 0) -> None:
        """Only so many bytes were written: leave only whole blocks in the file, and keep those that later ones need."""
        done = min(written, len(self._rest))
        self._rest = self._rest[done:]
        written -= done
        kept: list[bytes] = []
        for block in self.blocks:
            if written >= len(block):
                written -= len(block)
                continue
            if written and not self._out.cut(written):
                self._rest = block[written:]
            elif not self._take_back(block):
                kept.append(block)
            written = 0
        self.blocks = kept

    def discard(self) -> None:
        """Drop all that waits: nothing more is written."""
        for block in self.blocks:
            self._take_back(block)
        self.blocks, self._rest = [], b""
