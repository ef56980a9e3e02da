"""Which families there are: found by the entry-point group ``vusniff.families``, a vendor's as ours.

The one place that says which family a stream is of, and which channel a name means.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vusniff.channel import Channel
from vusniff.distributions import entry_points
from vusniff.errors import DissectorError
from vusniff.families.family import Bytes, Family

if TYPE_CHECKING:
    from vusniff.distributions import EntryPoint

ENTRY_POINTS = "vusniff.families"
FIRST = "vhost-user"
"""The family that is asked first, and that a capture means which names none."""


@functools.cache
def families() -> Mapping[str, Family]:
    """All installed families by name, vhost-user first.

    Raises DissectorError when a distribution's entry point cannot be imported or is no `Family`.
    """
    found: dict[str, Family] = {}
    for point in _points():
        family = _load(point)
        if family.name in found:
            raise _nameless(point)
        found[family.name] = family
    return found


def _points() -> list[EntryPoint]:
    return sorted(entry_points(ENTRY_POINTS), key=lambda point: (point.name != FIRST, point.name))


def _nameless(point: EntryPoint) -> DissectorError:
    return DissectorError(
        f"family {point.name!r} ({point.value}) is no vusniff.families.family.Family with a name of its own; "
        "repair or uninstall the distribution that brings it"
    )


def _load(point: EntryPoint) -> Family:
    try:
        family = point.load()
    except Exception as error:  # a vendor's module may fail in any way when it is imported
        raise DissectorError(
            f"family {point.name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}; "
            "repair or uninstall the distribution that brings it"
        ) from error
    if not isinstance(family, Family):
        raise _nameless(point)
    return family


@functools.cache
def _alone(name: str) -> Family | None:
    """A family without loading the others, where its entry point has its name: a command that reads a capture of one
    family needs no other."""
    family = next((_load(point) for point in _points() if point.name == name), None)
    return family if family is not None and family.name == name else None


def family_named(name: str) -> Family:
    """The family that a capture names; vhost-user for one that is not installed, of which frames are raw."""
    return _alone(name) or families().get(name) or families()[FIRST]


def family_of(channel: Channel) -> Family:
    """The family that a channel belongs to."""
    return _alone(channel.family) or families()[channel.family]


def channels() -> tuple[Channel, ...]:
    """The channels of all families."""
    return tuple(channel for family in families().values() for channel in family.channels)


def channel_named(name: str) -> Channel:
    """The channel of a name; ValueError for one that no family has."""
    every = channels()
    return every[every.index(name)]


def bare(name: str) -> str:
    """The name of a request in capitals, without what the specification of any family puts before it."""
    upper = name.upper()
    for family in families().values():
        upper = upper.removeprefix(family.prefix)
    return upper


def recognised(header: Bytes, order: str, offset: int = 0, *, anywhere: bool = False) -> Family | None:
    """The family whose header stands at an offset, where `HEAD` bytes are; None for none.

    ``anywhere``: the bytes may be the middle of something else, so more is asked.
    """
    for family in families().values():
        if (family.begins if anywhere else family.first)(header, order, offset) is not None:
            return family
    return None
