"""What a row of the tables of error texts says. Knows no program."""

from __future__ import annotations

from typing import NamedTuple

SESSION = (
    "The whole session from its first byte: start vusniff capture -w FILE (or vusniff proxy) before the front-end "
    "connects, then vusniff summary FILE."
)
BOTH = SESSION + " Keep the log of the back-end and how its process ended (exit status, signal) beside it."
RINGS = (
    "vusniff state FILE shows rings and memory as they were; the rings themselves are in guest memory, not in messages."
)
NOTHING = "Nothing: no message was sent yet. The command lines of both sides and ls -l of the socket are enough."


class KnownError(NamedTuple):
    """Texts that mean one thing.

    In a text ``{n}`` stands for a number, ``{x}`` for a hexadecimal number, ``{s}`` for any words and ``{w}`` for one
    word; a name before it (``{size:n}``) lets the sentences say it as ``{size}``, and it is listed. Kinds that are
    numbers with a name: ``request`` (of the main channel), ``back`` (of the back-end channel), ``call`` (the name of a
    request as QEMU's functions have it), ``errno``, ``features``, ``protocol``.
    """

    texts: tuple[str, ...]
    """As they stand in the sources, other than their values."""
    by: str
    """Programs, versions and functions that print it."""
    happened: str
    causes: tuple[str, ...] = ()
    """The usual ones, the most frequent first."""
    capture: str = SESSION
    waits: bool = False
    """The request in it was not answered: the usual causes of that are in `requests.UNANSWERED`."""
