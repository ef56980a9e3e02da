"""Sampling of rings while a source records: follows the capture that the source writes, and reads what it tells of.

Where rings are follows from messages, which sources do not know: the capture is read again, as views do.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from vusniff.errors import CaptureError, SourceError
from vusniff.values import dataclass

if TYPE_CHECKING:
    from vusniff.analysis.session import Session
    from vusniff.analysis.timeline import Timeline
    from vusniff.capture.output import DescriptorOutput
    from vusniff.families.family import State
    from vusniff.families.places import Places
    from vusniff.record import Sample
    from vusniff.sources.host.labels import Qemu
    from vusniff.sources.host.sockets import SocketRow
    from vusniff.sources.rings.access import Access
    from vusniff.sources.rings.qmp import MonitoredDevice
    from vusniff.sources.rings.reader import SignalCount
    from vusniff.sources.rings.sampler import Introduce

DEFAULT_HZ = 10.0
MOST_HZ = 1000.0
IDLE_SECONDS = 0.5
"""Time between two looks while no ring moves."""
MONITORS_SECONDS = 5.0
"""How long monitors are asked, one after the other: another is not begun after that."""
SHARE = 10
"""Times as long as a look took of a processor until the next one: a tenth of a core at most."""


def add_ring_arguments(parser: argparse.ArgumentParser) -> None:
    """Whether and how often rings are looked at."""
    parser.add_argument(
        "--rings",
        nargs="?",
        const=DEFAULT_HZ,
        type=_rate,
        metavar="HZ",
        help=f"record where the rings stand, read {DEFAULT_HZ:g} times a second or HZ, written when it changes and at "
        "most once a second",
    )
    parser.add_argument("--every-sample", action="store_true", help="with --rings: write each change that is seen")


def _rate(words: str) -> float:
    try:
        rate = float(words)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= MOST_HZ:
        raise argparse.ArgumentTypeError(
            f"{words!r} is not a rate: give times a second, more than 0, up to {MOST_HZ:g}"
        )
    return rate


def check_ring_arguments(args: argparse.Namespace) -> None:
    """Refuse what says nothing. Raises SourceError."""
    if args.every_sample and args.rings is None:
        raise SourceError("--every-sample is about samples of rings: add --rings, or leave it out")


def ring_words(args: argparse.Namespace) -> list[str]:
    """For the source's command line."""
    words = [] if args.rings is None else [f"--rings={args.rings}"]
    return [*words, "--every-sample"] if args.every_sample else words


@dataclass(slots=True)
class _SampledSession:
    """How far a session has been followed."""

    done: int
    state: State
    places: Places | None = None


@dataclass(frozen=True, slots=True)
class ToldDevice:
    """A device of which a monitor of QEMU told."""

    inode: int
    """Of QEMU's socket."""
    pid: int
    places: Places


class CaptureSampling:
    """The rings of a capture that this process writes: see `vusniff.sources.rings.sampler.Sampling`."""

    def __init__(
        self, path: str, hz: float, every_change: bool, say: Callable[[str], None], monitors: Sequence[str] = ()
    ) -> None:
        """``path``: where the capture can be read; ``monitors``: paths of QEMU's, beside those of command lines."""
        # What the first look needs is imported before it: that takes longer than many looks.
        from vusniff.analysis.timeline import Timeline
        from vusniff.capture.index import Index
        from vusniff.sources.rings.access import Access
        from vusniff.sources.rings.sampler import Sampler

        self._open: Callable[[], Timeline] = lambda: Timeline(Index(path), keep=0)
        self._every_seconds = 1 / hz
        self._say = say
        self._timeline: Timeline | None = None
        self._sessions: dict[int, _SampledSession] = {}
        self._put: Callable[[Sample], None] = lambda sample: None
        self.access: Access = Access()
        self._sampler = Sampler(self.access, self._write, every_change)
        self._monitors = monitors
        self.told: dict[int, ToldDevice] = {}
        """By connection; the sampler knows such a device by the negative number of the connection."""

    def count_by(self, signals: SignalCount) -> None:
        """Kicks and calls are counted by this; see `Sampling`."""
        self._sampler.signals = signals

    def join(self, introduce: Introduce) -> None:
        """Look for devices that were set up before: QEMU's monitors tell where their rings are; see `Sampling`."""
        for devices in told_devices(self._monitors, self._say):
            for device in devices:
                if (at := introduce(device.inode)) is not None:
                    self.tell(at, device)
                    break

    def tell(self, at: tuple[int, int], device: ToldDevice) -> None:
        """A device is at this connection and end of the capture."""
        self.told[at[0]] = device
        self._sampler.follow(-at[0], (at,), [device.pid], device.places, "QMP")

    def _write(self, sample: Sample) -> int:
        from vusniff.capture import evidence

        self._put(sample)
        return evidence.size(sample)

    def turn(self, write: Callable[[Sample], None]) -> float | None:
        """One look; see `Sampling`."""
        began = time.thread_time()  # not by the clock: on a busy host looks would become rare
        self._put = write
        try:
            self._follow()
        except CaptureError as error:
            self._say(f"rings are no longer sampled: {error}")
            self.close()
            return None
        busy = self._sampler.sample(time.time_ns())
        least = self._every_seconds if busy else max(self._every_seconds, IDLE_SECONDS)
        return max(least, SHARE * (time.thread_time() - began))

    def close(self) -> None:
        """Let go of everything."""
        self._sampler.close()
        if self._timeline is not None:
            self._timeline.index.close()
            self._timeline = None

    def open(self) -> Timeline:
        """The capture, opened when it is asked for first. Raises CaptureError."""
        if self._timeline is None:
            self._timeline = self._open()
        return self._timeline

    def _follow(self) -> None:
        """Read what was written since, and take over what has changed."""
        timeline, touched = self.open(), set[int]()
        while True:
            first = len(timeline)
            if not timeline.update() and timeline.complete:
                break
            touched.update(timeline.place(row).session for row in range(first, len(timeline)))
        for connection in [one for one in self.told if timeline.closed(one) is not None]:
            self._forget_told(connection)
        sessions = timeline.sessions
        for number in sorted(touched | self._sessions.keys()):
            session = sessions[number - 1]
            if session.closed is not None:
                self._sampler.follow(number, (), (), None)
                for connection in session.connections:
                    self._forget_told(connection)
                self._sessions.pop(number, None)
            elif number in touched:
                self._advance(timeline, session)
        self._sampler.settle()

    def _forget_told(self, connection: int) -> None:
        if self.told.pop(connection, None) is not None:
            self._sampler.follow(-connection, (), (), None)

    def _advance(self, timeline: Timeline, session: Session) -> None:
        find = session.family.places
        if find is None:
            return
        known = self._sessions.get(session.number)
        if known is None:
            known = self._sessions[session.number] = _SampledSession(0, session.initial())
        rows, advance = timeline.rows_of(session.number), session.family.advance
        for row in rows[known.done :]:
            known.state = advance(known.state, timeline.message(row))
        known.done = len(rows)
        places = find(known.state)
        if places.regions or places.rings or places.unreadable:  # it is set up anew: what was told holds no more
            for connection in session.connections:
                self._forget_told(connection)
        if places == known.places:
            return
        known.places = places
        main, front = timeline.tracker.sides(session)
        ends = (main.ends[front], main.ends[1 - front])
        pids = [end.process.pid for end in ends if end.process is not None]
        self._sampler.follow(session.number, ((main.id, front),), pids, places)


def told_devices(monitors: Sequence[str], say: Callable[[str], None]) -> Iterator[list[ToldDevice]]:
    """Of each device that monitors of QEMU tell of: which it may be, one for each connection that fits."""
    from vusniff.sources.host import labels
    from vusniff.sources.host.sockets import list_connections
    from vusniff.sources.rings import libvirt, qmp

    rows = [row for row in list_connections() if row.connected and row.likely]
    pids = dict.fromkeys(party.pid for row in rows for side in row.parties for party in side)
    asked: list[tuple[str, Callable[[], list[MonitoredDevice]]]] = [
        (path, partial(qmp.devices, path)) for path in monitors
    ]
    for pid in pids:
        asked += [(path, partial(qmp.devices, path, pid)) for path in qmp.monitors(pid) if path not in monitors]
        if (name := libvirt.domain(pid)) is not None:
            asked.append((name, partial(qmp.devices_of_domain, name, pid)))
    until = time.monotonic() + MONITORS_SECONDS
    for number, (name, ask) in enumerate(asked):
        if time.monotonic() > until:
            say(f"{len(asked) - number} monitors of QEMU are not asked: those before took too long")
            break
        try:
            found = ask()
        except qmp.MonitorError as error:
            say(f"{name}: {error}")
            continue
        for device in found:
            qemu = labels.parse_qemu(labels.command_line(device.pid))
            inodes = [inode for row in rows if (inode := _inode_of(row, device, qemu))]
            yield [ToldDevice(inode, device.pid, device.places) for inode in inodes]


def _inode_of(row: SocketRow, device: MonitoredDevice, qemu: Qemu | None) -> int | None:
    """The socket of a row at the end of the QEMU that serves a device over it; None for any other row."""
    from vusniff.sources.host import labels

    for side, inode in zip(row.parties, row.inodes, strict=True):
        if not any(party.pid == device.pid for party in side) or qemu is None:
            continue
        for one in qemu.chardevs:
            same = one.id in device.users or device.users & set(one.users)
            if same and labels.same_path(one.path, row.path, device.pid):
                return inode
    return None


def sampling_of(
    args: argparse.Namespace, output: DescriptorOutput, say: Callable[[str], None]
) -> CaptureSampling | None:
    """What samples the rings as the arguments say. Raises SourceError where the capture cannot be read again."""
    if args.rings is None:
        return None
    return CaptureSampling(readable(output), args.rings, args.every_sample, say, getattr(args, "qmp", ()))


def readable(output: DescriptorOutput) -> str:
    """A path to read again what is written. Raises SourceError where that cannot be."""
    from vusniff.capture.output import Packing

    if not output.made or isinstance(output, Packing):
        what = "is compressed" if output.made else "is not one"
        raise SourceError(f"--rings needs a plain file to record to, because it is read again: {output.name} {what}")
    return f"/proc/self/fd/{output.fileno()}"
