"""Wording that repeats: what the messages of a place have in common, and the words for bytes that came before.

A long capture says the same few things again and again. Words are kept for the README's figures of `read` and
`read --json` (bench_read.py): without them `read` takes 1.4 times as long, `read --json` 1.7 times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from vusniff.analysis.session import Place
from vusniff.channel import Channel
from vusniff.message import Context

MOST = 32768
"""Messages whose words are kept."""
MOST_BYTES = 256
"""Longest of them."""
PLACES = 65536
"""Places that are kept."""

Common = TypeVar("Common")
"""What all messages of a place have in common."""
Words = TypeVar("Words")
"""What the bytes of a message become."""


class OfPlace(NamedTuple, Generic[Common, Words]):
    """What is kept of one place."""

    place: Place
    common: Common
    words: dict[bytes, Words]
    """By the bytes of a message; shared by all places with the same context and channel."""


class Repeated(Generic[Common, Words]):
    """What is kept of all places."""

    def __init__(self, common: Callable[[Place], Common]) -> None:
        self._common = common
        self.known: dict[Place, OfPlace[Common, Words]] = {}
        self._words: dict[tuple[Context, Channel], dict[bytes, Words]] = {}
        self._count = 0

    def of(self, place: Place) -> OfPlace[Common, Words]:
        """What is kept of a place that is not yet known."""
        if len(self.known) >= PLACES:
            self.known.clear()
        words = self._words.setdefault((place.context, place.channel), {})
        made = self.known[place] = OfPlace(place, self._common(place), words)
        return made

    def keep(self, words: dict[bytes, Words], data: bytes, made: Words) -> None:
        """Keep the words for the bytes of a message, unless they are long."""
        if len(data) > MOST_BYTES:
            return
        self._count += 1
        if self._count > MOST:
            self._count = 1
            for of_one in self._words.values():
                of_one.clear()
        words[data] = made
