"""Which connections a user wants, and what to say when none of them is there.

Knows paths, processes and inodes. What a socket says is judged in the kernel; here it is only narrowed down.
"""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterable

from vusniff.sources.host import labels
from vusniff.sources.host.unixdiag import comm, parents
from vusniff.values import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A connection as far as it is known."""

    inodes: frozenset[int]
    paths: frozenset[str]
    pids: frozenset[int]
    files: frozenset[tuple[int, int]] = frozenset()
    """Device and inode of what its ends are bound to."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What was asked for; a connection must satisfy each kind that is given."""

    paths: tuple[str, ...] = ()
    """Shell patterns, matched with the bound path, with its last part where they have no slash, and with the file."""
    pids: tuple[int, ...] = ()
    """Processes, with their descendants."""
    comms: tuple[str, ...] = ()
    """Command names, as shell patterns."""
    inodes: tuple[int, ...] = ()
    vms: tuple[str, ...] = ()
    any_content: bool = False
    """Also what does not look like vhost-user."""

    @property
    def restricts(self) -> bool:
        """Whether it leaves anything out that looks like vhost-user."""
        return bool(self.paths or self.pids or self.comms or self.inodes or self.vms)

    @property
    def names_sockets(self) -> bool:
        """Whether sockets are named themselves: then it does not matter what they say."""
        return self.any_content or bool(self.paths or self.inodes)

    def wants(self, candidate: Candidate) -> bool:
        """Whether this connection is one of those."""
        return (
            (not self.inodes or not candidate.inodes.isdisjoint(self.inodes))
            and (not self.paths or any(self._names(pattern, candidate) for pattern in self.paths))
            and (not self.pids or any(not set(self.pids).isdisjoint(parents(pid)) for pid in candidate.pids))
            and (not self.comms or any(_matches(comm(pid), self.comms) for pid in candidate.pids))
            and (not self.vms or any(labels.vm_name(pid) in self.vms for pid in candidate.pids))
        )

    def _names(self, pattern: str, candidate: Candidate) -> bool:
        for path in candidate.paths:
            if fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, os.path.abspath(pattern)):
                return True
            if "/" not in pattern and fnmatch.fnmatchcase(os.path.basename(path), pattern):
                return True
        return bool(candidate.files) and not candidate.files.isdisjoint(_files(pattern))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    # The kernel keeps 15 bytes of a command name.
    return any(fnmatch.fnmatchcase(name, pattern) or name == pattern[:15] for pattern in patterns)


def _files(pattern: str) -> set[tuple[int, int]]:
    """What the pattern means in our file system: a path is bound under another name in another mount namespace."""
    found: set[tuple[int, int]] = set()
    for path in glob.glob(pattern):
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.add((os.major(status.st_dev) << 20 | os.minor(status.st_dev), status.st_ino))
    return found
