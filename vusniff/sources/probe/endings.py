"""Which connections have ended, who ended each, and why.

The kernel tells of closes and of processes that end, where it can; else sockets are asked whether they are still there.
"""

from __future__ import annotations

import os
import time

from vusniff.bpf.load import KernelProgram
from vusniff.record import CAPTURE_ENDED
from vusniff.sources.host.unixdiag import Namespaces, held_sockets
from vusniff.sources.probe.links import Link, Links
from vusniff.sources.probe.sends import Shut

EXIT_NS = 10_000_000_000
"""How long a process may take to end, which is its memory's. A connection that ends later ends with somebody else."""


class Endings:
    """Those of one capture."""

    def __init__(self, program: KernelProgram, links: Links, namespaces: Namespaces) -> None:
        self._program = program
        self._links = links
        self._namespaces = namespaces
        self._held: tuple[frozenset[int] | None] | None = None
        """What /proc said of open sockets since the last check; asked where a network namespace cannot be."""
        self._unheld: dict[int, object] = {}
        """Sockets that nobody had open, and when that was first seen."""

    def shut(self, shut: Shut) -> None:
        """The kernel says that an end was closed."""
        known = self._links.find(shut.inode)
        if known is None:
            return
        link, end = known
        killed = shut.exit_code is not None and shut.exit_code & 0x7F
        reason = "killed" if killed else "reset" if shut.unread else "eof"
        if shut.final:
            self.end(link, end, shut.time, reason)
        elif (link.going is None or link.going[0] in (None, end)) and not self._is_there(link, end):
            link.going = end, shut.time, reason  # it says more than `check`, which may have been first

    def end(self, link: Link, by: int | None, time: int, reason: str) -> None:
        """A connection has ended: who ended it, when in kernel time, and why, as far as that is known."""
        by, reason = self._with_processes(link, by, time, reason)
        for side in link.sides:
            counted = self._program.sends(side.inode)
            if counted is not None:
                self._links.settle(side.inode, counted[1], time)
                self._program.forget(side.inode)
            self._unheld.pop(side.inode, None)
        self._links.end(link, by, time, reason)

    def _with_processes(self, link: Link, by: int | None, time: int, reason: str) -> tuple[int | None, str]:
        """Who ended a connection and why, when the processes that ended are known: where closing is not seen, the end
        whose process was killed is found later than the close of the other end, which only answers it."""
        dying = [
            (one.time, end, one)
            for end, one in link.dying.items()
            if time - one.time < EXIT_NS and (end == by or not self._is_there(link, end))
        ]
        for _, _, one in dying:
            self._links.tell(one)
        if not dying:
            return by, reason
        begun, end, first = min(dying, key=lambda one: one[0])
        if begun > time:
            return by, reason
        if first.killed:
            return end, "killed"
        return end, "process ended" if reason == CAPTURE_ENDED else reason

    def check(self) -> None:
        """Ends the connections of which an end is gone."""
        self._namespaces.try_again()
        self._held = None
        for link in self._links.all():
            if link.going is not None:
                self.end(link, *link.going)
                continue
            gone = [end for end in (0, 1) if link.sides[end].inode and not self._is_there(link, end)]
            if gone:
                who = [link.sides[end].process for end in gone]
                ended = all(one is not None and not os.path.exists(f"/proc/{one.pid}") for one in who)
                by = gone[0] if len(gone) == 1 else None
                link.going = (by, time.monotonic_ns(), "process ended" if ended else "eof")

    def _is_there(self, link: Link, end: int) -> bool:
        """Whether a socket is still open; True where that cannot be told."""
        process = link.sides[end].process
        inode = link.sides[end].inode
        diag = self._namespaces.diag(link.netns, process.pid if process else 0)
        if diag is None:
            return self._may_be_held(inode)
        try:
            return diag.one(inode) is not None
        except OSError:
            return True

    def _may_be_held(self, inode: int) -> bool:
        """False when nobody had this socket open at two checks: on its way from one process to another nobody has."""
        if self._held is None:
            self._held = (held_sockets(),)
        (held,) = self._held
        if held is None or inode in held:
            self._unheld.pop(inode, None)
            return True
        return self._unheld.setdefault(inode, self._held) is self._held
