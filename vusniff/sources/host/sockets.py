"""The unix stream connections of this machine, and which of them seem to be vhost-user.

Evidence, the strongest first: a command line that gives the socket to a vhost-user device, descriptors that both
processes hold (guest memory and event descriptors are shared between front-end and back-end, and by hardly anybody
else), and the names of programs that speak vhost-user. Knows /proc and sock_diag through `unixdiag`, and nothing of
the probe.
"""

from __future__ import annotations

from collections.abc import Iterable

from vusniff.families.registry import FIRST
from vusniff.sources.host import labels
from vusniff.sources.host.held import shareable
from vusniff.sources.host.unixdiag import LISTEN, Holder, UnixSocket, full_name, holders, unix_sockets
from vusniff.values import dataclass

_PROGRAMS = (
    "ovs-vswitchd", "dpdk-", "testpmd", "spdk_tgt", "vhost", "virtiofsd", "qemu-storage-d", "vpp_main", "snabb",
    "passt", "crosvm", "cloud-hyperviso",
)  # fmt: skip
_DEMO = ("demo-frontend", "demo-backend")


@dataclass(frozen=True, slots=True)
class Party:
    """A process at one end."""

    pid: int
    comm: str
    """15 characters of its name, which the kernel keeps."""
    name: str
    """All of it, where /proc tells."""
    label: str | None
    fd: int

    @property
    def words(self) -> str:
        """What a user calls it."""
        return self.label or self.name or f"pid {self.pid}"


@dataclass(frozen=True, slots=True)
class SocketRow:
    """One connection, or a listening socket without one."""

    path: str | None
    inodes: tuple[int, int | None]
    """The end that connected (or listens) and the end that accepted."""
    state: str
    """``connected``, ``waiting`` (not accepted yet) or ``listening``."""
    parties: tuple[tuple[Party, ...], tuple[Party, ...]]
    listener: Party | None
    """Who listens on the path."""
    likely: bool
    evidence: str
    """Why it is taken for vhost-user, or empty."""

    @property
    def connected(self) -> bool:
        """Whether two ends are there."""
        return self.state != "listening"

    @property
    def label(self) -> str:
        """Both sides in the user's words: ``vm1 hostnet1 <-> ovs-vswitchd``."""
        sides = [", ".join(dict.fromkeys(party.words for party in side)) or "?" for side in self.parties]
        return f"{sides[0]} <-> {sides[1]}" if self.connected else sides[0]


def list_connections() -> list[SocketRow]:
    """Every unix stream connection and listening socket, those that look like vhost-user first."""
    sockets, who = unix_sockets(), holders()
    listeners = {found.path: found for found in sockets.values() if found.state == LISTEN and found.path}
    commands: dict[int, tuple[str, ...]] = {}
    identities: dict[int, frozenset[str]] = {}
    rows: list[SocketRow] = []
    paths_in_use: set[str] = set()
    for found in sockets.values():
        if found.state == LISTEN:
            continue
        peer = sockets.get(found.peer) if found.peer else None
        if peer is not None and (bool(found.path), found.inode) > (bool(peer.path), peer.inode):
            continue  # told from the end that connected
        if peer is None and not _waits(found):
            continue
        path = found.path or (peer.path if peer else None)
        if path:
            paths_in_use.add(path)
        ends = (found, peer)
        parties = tuple(_parties(who.get(end.inode, ()) if end else (), path) for end in ends)
        evidence = _evidence(path, parties, commands, identities)
        listening = listeners.get(path) if path else None
        listener = next(iter(_parties(who.get(listening.inode, ()), path)), None) if listening else None
        rows.append(
            SocketRow(
                path,
                (found.inode, peer.inode if peer else None),
                "connected" if peer else "waiting",
                (parties[0], parties[1]),
                listener,
                bool(evidence),
                evidence,
            )
        )
    for path, found in listeners.items():
        if path in paths_in_use:
            continue
        own = _parties(who.get(found.inode, ()), path)
        evidence = _evidence(path, (own,), commands, identities)
        row = SocketRow(
            path, (found.inode, None), "listening", (own, ()), next(iter(own), None), bool(evidence), evidence
        )
        rows.append(row)
    return sorted(rows, key=lambda row: (not row.likely, row.state != "connected", row.path or "~", row.inodes[0]))


def describe_candidates(rows: Iterable[SocketRow]) -> str:
    """``these 2 look like vhost-user: /run/a.sock (vm1 net0 <-> ovs-vswitchd), ...``."""
    listed = list(rows)
    names = [f"{row.path or f'socketpair {row.inodes[0]}'} ({row.label})" for row in listed[:8]]
    more = f" and {len(listed) - 8} more" if len(listed) > 8 else ""
    verb = "this 1 looks" if len(listed) == 1 else f"these {len(listed)} look"
    return f"{verb} like vhost-user: {', '.join(names)}{more}"


def _waits(found: UnixSocket) -> bool:
    return found.peer is not None


def _parties(held: Iterable[Holder], path: str | None) -> tuple[Party, ...]:
    """One party per process, with the label that its command line gives."""
    by_pid: dict[int, list[Holder]] = {}
    for holder in held:
        by_pid.setdefault(holder.pid, []).append(holder)
    return tuple(
        Party(
            pid,
            own[0].comm,
            full_name(pid, own[0].comm),
            labels.label(pid, path, frozenset(one.fd for one in own)),
            own[0].fd,
        )
        for pid, own in by_pid.items()
    )


def _evidence(
    path: str | None,
    parties: tuple[tuple[Party, ...], ...],
    commands: dict[int, tuple[str, ...]],
    identities: dict[int, frozenset[str]],
) -> str:
    """Why these may speak vhost-user; empty when nothing says so."""
    everyone = [party for side in parties for party in side]
    for party in everyone:
        if party.pid not in commands:
            commands[party.pid] = labels.command_line(party.pid)
        family = labels.names_path(commands[party.pid], path) if path else None
        if family:
            return f"command line of {party.name}{'' if family == FIRST else f', {family}'}"
    if any(labels.names_otherwise(commands[party.pid], path) for party in everyone):
        return ""
    if any(party.comm in _DEMO for party in everyone):
        return "the demo of vusniff"
    known = [party.name for party in everyone if party.comm.startswith(_PROGRAMS)]
    if len(parties) == 2 and parties[0] and parties[1] and parties[0][0].pid != parties[1][0].pid:
        pids = (parties[0][0].pid, parties[1][0].pid)
        for pid in pids:
            if pid not in identities:
                identities[pid] = frozenset(shareable(pid))
        shared = identities[pids[0]] & identities[pids[1]]
        memory = [one for one in shared if one.startswith(("memfd:", "file:"))]
        events = [one for one in shared if one.startswith("eventfd:")]
        if memory and events:
            return f"both hold {', '.join(sorted(memory)[:2])} and {len(events)} eventfds"
    if known and path and "vhost" in path:
        return f"{known[0]} and the path"
    return ""
