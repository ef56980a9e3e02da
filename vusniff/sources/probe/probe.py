"""Records running peers by the kernel program: from its ring buffer to a capture file.

Owns the run: attaching, draining, deciding which of what the kernel offers is wanted, noticing that a connection has
ended, and the count of what was lost. Must not know vhost-user. The kernel side is `vusniff.bpf`, the order of sends
`sends`, the connections `links`.

The ring is emptied on a timer into memory first (`BACKLOG_BYTES`) and written from there, so that a burst is bounded
by memory and not by how fast it can be written.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable

from vusniff.bpf.load import STACK_RING_BYTES, CallProgram, KernelProgram
from vusniff.bpf.records import FOLLOWED, IGNORED
from vusniff.capture.recording import Recording
from vusniff.errors import SourceError
from vusniff.record import CAPTURE_ENDED, Lost
from vusniff.sources.host import labels
from vusniff.sources.host.kernel_nodes import nodes
from vusniff.sources.host.unixdiag import (
    LISTEN,
    Namespaces,
    UnixSocket,
    comm,
    holders,
    path_text,
    unix_sockets,
)
from vusniff.sources.probe.calls import Calls
from vusniff.sources.probe.endings import Endings
from vusniff.sources.probe.links import Links
from vusniff.sources.probe.selection import Candidate, Selection
from vusniff.sources.probe.sends import Event, Exited, NewSocket, Send, Sends, Shut
from vusniff.sources.probe.waiting import WaitingSends
from vusniff.sources.reporting import Say, WritingReport
from vusniff.sources.rings.sampler import Sampling
from vusniff.sources.stacks.unwinder import Unwinder
from vusniff.sources.stopping import stopped_by_signals

DRAIN_SECONDS = 0.005
PIECE_BYTES = 256 << 10
"""Taken from the ring, and written, at a time."""
BACKLOG_BYTES = 512 << 20
"""Memory for what is taken and not written; beyond it records stay in the ring, and the kernel counts what is lost."""
CHECK_SECONDS = 0.1
"""How often sockets are asked whether they are still there, where the kernel program cannot see them go."""
LOOK_SECONDS = 1.0
"""How often is looked for vhost devices of the kernel while there is none."""
CHECK_SHARE = 20
"""Times as long as a check took until the next one."""
_CLOCK_STEP_NS = 1_000_000


class Probe:
    """One capture of running peers. ``say`` takes sentences for the user, ``note`` those that are no errors.

    It ends by itself after ``count`` messages, with all that its last send holds, and after ``seconds``.
    """

    def __init__(
        self,
        program: KernelProgram,
        writer: Recording,
        selection: Selection,
        say: Say,
        file: str,
        count: int | None = None,
        seconds: float | None = None,
        sampling: Sampling | None = None,
        unwinder: Unwinder | None = None,
        calls: CallProgram | None = None,
        attach_calls: Callable[[], CallProgram] | None = None,
        note: Say | None = None,
    ) -> None:
        """``attach_calls`` attaches the program that sees calls on vhost devices when the first such device appears."""
        self.program = program
        self._stacked = None if unwinder is None else WaitingSends(unwinder, self._is_unwanted)
        self._count = count if count is not None else sys.maxsize
        self._seconds = seconds if seconds is not None else math.inf
        self._sampling = sampling
        if sampling is not None:
            sampling.count_by(program.signals)
        self._next_sample = 0.0
        self._writer = writer
        self._selection = selection
        self._say = say
        self._note = note or say
        self._file = file
        self._clock = _clock()
        self._sends = Sends()
        self._backlog: deque[bytes] = deque()
        self._backlog_size = 0
        self._stopping = False
        self._report = WritingReport(writer, say, self._note)
        self._next_check = 0.0
        self._unwanted_lost = 0
        """Losses on connections that turned out not to be asked for."""
        self._namespaces = Namespaces()
        existing = unix_sockets()
        self.links = Links(
            writer,
            self._epoch,
            frozenset(existing),
            frozenset(found.path for found in existing.values() if found.state == LISTEN and found.path),
            labels.label,
            comm,
        )
        self.endings = Endings(program, self.links, self._namespaces)
        self._unwinder = unwinder
        self._attach_calls = attach_calls if calls is None else None
        self._next_look = 0.0
        self.calls = None if calls is None else self._follow(calls)
        self._choose(existing)
        if sampling is not None:
            sampling.join(self._introduce)

    def _follow(self, calls: CallProgram) -> Calls:
        return Calls(calls, self._writer, self._epoch, self._selection, labels.label, comm, self._unwinder)

    def _look_for_devices(self, now: float) -> None:
        """Attach the program for calls when there is a device of the kernel: until then nothing costs anything."""
        if self._attach_calls is None or now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        if not nodes():
            return
        attach, self._attach_calls = self._attach_calls, None
        try:
            self.calls = self._follow(attach())
        except SourceError as error:
            self._say(f"calls on vhost devices of the kernel are not seen: {error}")

    @property
    def messages(self) -> int:
        """Messages so far, calls included."""
        return self.links.messages + (self.calls.messages if self.calls is not None else 0)

    # -- running ------------------------------------------------------------------------------------------------------

    def run(self, ready: Callable[[], None] | None = None, until: int | None = None) -> None:
        """Records until SIGINT, SIGTERM, `stop`, its own end or that of the descriptor ``until``; then sums up."""
        with stopped_by_signals(self.stop) as wake:
            if ready is not None:
                ready()
            watched = [wake] if until is None else [wake, until]
            end = time.monotonic() + self._seconds
            while not self._stopping and time.monotonic() < end:
                if not self.step() and until in select.select(watched, [], [], DRAIN_SECONDS)[0]:
                    self._stopping = True
        self.close()

    def stop(self) -> None:
        """Ends `run` soon."""
        self._stopping = True

    def step(self) -> bool:
        """Takes what the kernel has and writes a part of it; False when there was nothing."""
        began = time.monotonic_ns()
        self._take()
        busy = bool(self._backlog)
        if busy:
            piece = self._backlog.popleft()
            self._backlog_size -= len(piece)
            self._deliver(self._sends.feed(piece))
        if not self._backlog and not self.program.ring.waiting():
            self._deliver(self._sends.expire(began))
        if self.calls is not None:
            self.calls.drain(began)
            self._stopping = self._stopping or self.messages >= self._count
        now = time.monotonic()
        if now >= self._next_check and not self._backlog and not self._stacked:
            self._look_for_devices(now)
            now = time.monotonic()  # attaching takes long, once: it is no reason to check less often
            self._keep_clock()
            self.endings.check()
            if self.calls is not None:
                self.calls.check(began)
            after = time.monotonic()
            self._next_check = after + max(CHECK_SECONDS, CHECK_SHARE * (after - now))
        self._flush()
        if self._sampling is not None and now >= self._next_sample and not self._backlog:
            pause = self._sampling.turn(lambda sample: self._writer.evidence(sample, by_file=True))
            self._next_sample = time.monotonic() + (pause or 0)
            if pause is None:
                self._sampling = None
        return busy

    def close(self) -> None:
        """Detaches, writes what is left, closes the capture, and says what was seen and what was lost."""
        self.program.detach_entries()
        if self._sampling is not None:
            self._sampling.close()
            self._sampling = None
        while self.step():
            pass
        self._deliver(self._sends.expire(time.monotonic_ns() + (1 << 62)))
        while self._stacked:
            time.sleep(DRAIN_SECONDS)
            self._deliver([])
        for link in self.links.all():
            self.endings.end(link, None, time.monotonic_ns(), CAPTURE_ENDED)
        if self.calls is not None:
            self.calls.close(time.monotonic_ns())
        losses, missed = self.program.losses(), self.program.missed()
        if self._stacked is not None:
            full = losses.pop("stack") + (self.calls.lost_stacks if self.calls is not None else 0)
            words, lost = self._stacked.summary(self._writer.kept_stacks, full, self._writer.lost_stacks)
            (self._say if lost else self._note)(words)
            self._stacked.close()
        nowhere = losses["send"] + losses["table full"] - self.links.lost - self._unwanted_lost
        if nowhere > 0:
            self._writer.lost(Lost(None, time.time_ns(), nowhere))
        self.program.close()
        self._namespaces.close()
        self._writer.close()
        self._sum_up(losses, missed, max(nowhere, 0))

    def _sum_up(self, losses: dict[str, int], missed: int, nowhere: int) -> None:
        links = self.links
        calls = self.calls
        connections = links.connections + (calls.connections if calls else 0)
        self._report.sum_up(self.messages, connections, links.lost, self._file)
        if nowhere:
            self._say(f"{nowhere} more sends were lost on sockets that are not known, perhaps of no interest")
        details = [f"{count} {name} records" for name, count in losses.items() if count and name != "send"]
        if calls is not None and calls.lost:
            details.append(f"{calls.lost} call records")
        if details:
            self._say(f"the kernel's buffer was full: also lost were {', '.join(details)}")
        if missed:
            self._say(f"the kernel skipped the probe {missed} times: sends may be missing that nothing else tells of")
        if links.failed:
            self._note(f"{links.failed} sends failed and are not in the capture")
        if links.amended:
            self._note(f"{links.amended} sends are in the capture as sent, but failed or were cut short later")
        if not connections and (words := self._what_exists()):
            self._note(words)

    def _take(self) -> None:
        ring = self.program.ring
        while self._backlog_size < BACKLOG_BYTES and (piece := ring.take(PIECE_BYTES)):
            self._backlog.append(piece)
            self._backlog_size += len(piece)
        if self._stacked is not None and self.program.stacks is not None:
            # After the sends: the stack of each is handed over before it.
            for _ in range(STACK_RING_BYTES // PIECE_BYTES):  # a flood comes faster than it is taken
                if not (piece := self.program.stacks.take(PIECE_BYTES)):
                    break
                self._stacked.stacks(piece)

    def _flush(self) -> None:
        self._writer.flush()
        fails = self._report.look()
        if self._report.stopped or (fails and self._file == "-"):  # who took it has left, and will not come back
            self._stopping = True

    def _epoch(self, kernel_ns: int) -> int:
        return kernel_ns + self._clock

    # -- what the kernel tells ----------------------------------------------------------------------------------------

    def _deliver(self, events: list[Event]) -> None:
        links = self.links
        send = links.send
        if self._stacked is not None:
            events = self._stacked.through(events)
        for event in events:
            if self.messages >= self._count:
                self._stopping = True
                break
            if type(event) is Send:
                if links.find(event.inode) is None:
                    self._meet_unannounced(event)
                event.given = True
                send(event)
            elif type(event) is NewSocket:
                self._meet(event)
            elif type(event) is Shut:
                self.endings.shut(event)
            elif type(event) is Exited:
                links.exited(event)
        for event in self._sends.belated:
            if event.given:
                links.amend(event.inode)
        for event, count in self._sends.overflowed:
            links.lose(event.inode, count, event.time)
        self._sends.belated.clear()
        self._sends.overflowed.clear()

    def _meet(self, opened: NewSocket) -> None:
        link = self.links.meet(opened)
        if link is None or not self._selection.restricts or self.links.was_passed(opened):
            return
        if not self._selection.wants(self._candidate(opened)):
            self.links.drop(link)
            counted = self.program.sends(opened.inode)
            self._unwanted_lost += counted[1] if counted else 0
            self.program.decide(opened.inode, IGNORED)
            if opened.peer_inode:
                self.program.decide(opened.peer_inode, IGNORED)

    def _candidate(self, opened: NewSocket) -> Candidate:
        return Candidate(
            frozenset({opened.inode, opened.peer_inode} - {0}),
            frozenset(path for path in map(path_text, (opened.path, opened.peer_path)) if path),
            frozenset({opened.tgid, opened.peer_pid}),
            self._files(opened),
        )

    def _is_unwanted(self, opened: NewSocket) -> bool:
        """Nothing of this socket is recorded; one without a path may still turn out to be passed by a peer."""
        named = bool(opened.path or opened.peer_path)
        return self._selection.restricts and named and not self._selection.wants(self._candidate(opened))

    def _files(self, opened: NewSocket) -> frozenset[tuple[int, int]]:
        """What the ends are bound to, where a path is asked for."""
        if not self._selection.paths or (diag := self._namespaces.diag(opened.netns, opened.tgid)) is None:
            return frozenset()
        with contextlib.suppress(OSError):
            found = [diag.one(inode) for inode in (opened.inode, opened.peer_inode) if inode]
            return frozenset(one.file for one in found if one is not None and one.file is not None)
        return frozenset()

    def _meet_unannounced(self, send: Send) -> None:
        """A send of a socket whose introduction was lost: what can still be known of it."""
        path, peer, namespace = b"", 0, 0
        with contextlib.suppress(OSError):
            namespace = os.stat(f"/proc/{send.tgid}/ns/net").st_ino
            diag = self._namespaces.diag(namespace, send.tgid)
            found = diag.one(send.inode) if diag is not None else None
            if found is not None:
                path, peer = (found.path or "").encode(), found.peer or 0
        who = send.time, send.tgid, send.tid, send.comm
        self._meet(NewSocket(send.inode, send.sock, peer, 0, *who, namespace, 0, path, b""))

    def _introduce(self, inode: int) -> tuple[int, int] | None:
        """Records the connection of a socket that was there before and has not spoken; which one of the file it is, and
        which end.

        None where it is not asked for, or has gone.
        """
        known = self.links.find(inode)
        if known is not None and known[0].connection is not None:
            ordinal = self._writer.describe(known[0].connection.id)
            return (ordinal, known[1]) if ordinal else None
        found = unix_sockets()
        own = found.get(inode)
        peer = found.get(own.peer) if own is not None and own.peer else None
        who = {one.inode: holders().get(one.inode, ()) for one in (own, peer) if one is not None}
        if own is None or peer is None or not who[inode]:
            return None
        holder, other = who[inode][0], next(iter(who[peer.inode]), None)
        names = [(one.path or "").encode() for one in (own, peer)]
        told = time.monotonic_ns(), holder.pid, holder.pid, holder.comm.encode()
        self._meet(NewSocket(inode, 0, peer.inode, 0, *told, 0, other.pid if other else 0, *names))
        known = self.links.find(inode)
        ordinal = 0 if known is None else self.links.open(known[0], told[0])
        return None if known is None or not ordinal else (ordinal, known[1])

    def _keep_clock(self) -> None:
        clock = _clock()
        if abs(clock - self._clock) > _CLOCK_STEP_NS:  # the machine slept, or its clock was set
            self._clock = clock

    # -- what is there before -----------------------------------------------------------------------------------------

    def _choose(self, existing: dict[int, UnixSocket]) -> None:
        """Decides about the sockets that are there already, where the user named some."""
        self._matching = self._connected = 0
        selection = self._selection
        if not selection.restricts:
            return
        who = holders()
        for found in existing.values():
            if found.peer is None or found.state == LISTEN:
                continue
            peer = existing.get(found.peer)
            both = [found] if peer is None else [found, peer]
            candidate = Candidate(
                frozenset(one.inode for one in both),
                frozenset(one.path for one in both if one.path),
                frozenset(holder.pid for one in both for holder in who.get(one.inode, ())),
                frozenset(one.file for one in both if one.file),
            )
            wanted = selection.wants(candidate)
            self._connected += 1
            self._matching += wanted
            if not wanted:
                self.program.preset(found.inode, IGNORED)
            elif selection.names_sockets:
                self.program.preset(found.inode, FOLLOWED)
        if not self._matching:
            self._note(self._what_exists())

    def _what_exists(self) -> str:
        from vusniff.sources.host.sockets import describe_candidates, list_connections

        found = list_connections()
        likely = [one for one in found if one.likely and one.connected]
        connected = sum(one.connected for one in found)
        if self._selection.restricts:
            words = f"0 of {connected} unix stream connections match"
        else:
            words = f"none of {connected} unix stream connections said anything that looks like vhost-user"
        if likely:
            return f"{words}; {describe_candidates(likely)}"
        return f"{words}, and none of them looks like vhost-user (see vusniff sockets --all)"


def _clock() -> int:
    """Nanoseconds between the kernel's monotonic clock and the epoch."""
    best: tuple[int, int] | None = None
    for _ in range(5):
        before, epoch, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if best is None or after - before < best[0]:
            best = (after - before, epoch - (before + after) // 2)
    assert best is not None
    return best[1]
