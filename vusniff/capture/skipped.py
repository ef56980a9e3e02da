"""What of a file is skipped or not known, counted, as sentences."""

from __future__ import annotations

from collections import Counter

UNKNOWN_LIMIT = 64 << 20
"""Bytes of evidence of unknown kinds that are kept of a file; further pieces are skipped and counted."""
_NAMED_KINDS = 8
"""Unknown kinds that are counted by name."""


class Skipped:
    """Counts of one file."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()
        """Kind -> pieces of evidence."""
        self._unknown_size = 0

    def add(self, what: str, count: int = 1) -> None:
        """So many more are skipped; ``what`` has ``{s}`` where the plural has an s."""
        self._counts[what] += count

    def keep_unknown(self, kind: str, size: int) -> bool:
        """A piece of evidence of an unknown kind has so many bytes; False when it must be skipped."""
        if self._unknown_size + size > UNKNOWN_LIMIT:
            self.add("piece{s} of evidence of an unknown kind: there is too much of it")
            return False
        self._unknown_size += size
        self._unknown[kind if kind in self._unknown or len(self._unknown) < _NAMED_KINDS else "others"] += 1
        return True

    @property
    def notes(self) -> list[str]:
        """Sentences."""
        notes = [f"skipped {count} {what.format(s='s' if count > 1 else '')}" for what, count in self._counts.items()]
        if self._unknown:
            kinds = ", ".join(f"{count} of {kind}" for kind, count in self._unknown.items())
            notes.append(f"evidence of kinds that this vusniff does not know, which it shows raw and keeps: {kinds}")
        return notes
