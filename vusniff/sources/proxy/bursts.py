"""Says what happens again and again once, and how often it was when it has stopped."""

from __future__ import annotations

from collections.abc import Callable

from vusniff.sources.proxy.loop import Loop
from vusniff.values import dataclass

QUIET_SECONDS = 10.0
"""What happens again sooner belongs to the same burst."""


@dataclass(slots=True)
class _Burst:
    count: int = 0
    again: bool = False
    """It has happened since the timer was set."""


class Bursts:
    """What is going on, by kind: a few words in the plural, such as ``peers refused``."""

    def __init__(self, loop: Loop, say: Callable[[str], None]) -> None:
        self._loop = loop
        self._say = say
        self._bursts: dict[str, _Burst] = {}

    def tell(self, kind: str, sentence: str) -> None:
        """It has happened; the sentence is said if it is the first in a while."""
        burst = self._bursts.get(kind)
        if burst is None:
            burst = self._bursts[kind] = _Burst()
            self._say(sentence)
            self._loop.after(QUIET_SECONDS, lambda: self._check(kind))
        burst.count += 1
        burst.again = True

    def end(self) -> None:
        """Says how often what is still going on has happened."""
        for kind, burst in self._bursts.items():
            if burst.count > 1:
                self._say(f"{burst.count} {kind}")
        self._bursts.clear()

    def _check(self, kind: str) -> None:
        burst = self._bursts[kind]
        if burst.again:
            burst.again = False
            self._loop.after(QUIET_SECONDS, lambda: self._check(kind))
            return
        del self._bursts[kind]
        if burst.count > 1:
            self._say(f"{burst.count} {kind}")
