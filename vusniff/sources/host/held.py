"""What processes hold that front-end and back-end share: event descriptors and guest memory, by /proc.

A source that joins late has not seen them being passed; that they are there can still be known.
"""

from __future__ import annotations

import os

from vusniff.record import Descriptor, DescriptorKind
from vusniff.sources.host.descriptors import describe_of

_LOOKED_AT = 4096
"""Descriptors of one process that are looked at."""
_MEMORY = ("/dev/shm/", "/dev/hugepages", "/run/hugepages", "/anon_hugepage")
"""Where files lie that are memory."""


def shareable(pid: int) -> dict[str, Descriptor]:
    """Event descriptors and memory files of a process by identity; empty when it cannot be looked into."""
    found: dict[str, Descriptor] = {}
    try:
        numbers = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return found
    for number in sorted(map(int, numbers))[:_LOOKED_AT]:
        one = describe_of(pid, number)
        memory = one.kind is DescriptorKind.MEMFD or (
            one.kind is DescriptorKind.FILE and (one.name or "").startswith(_MEMORY)
        )
        if one.identity and (memory or one.kind is DescriptorKind.EVENTFD):
            found.setdefault(one.identity, one)
    return found


def held(pid: int | None, other: int | None) -> tuple[Descriptor, ...]:
    """What one process holds, first what it shares with the other."""
    if pid is None:
        return ()
    own = shareable(pid)
    shared = shareable(other) if other is not None and other != pid else {}
    return tuple(sorted(own.values(), key=lambda one: one.identity not in shared))
