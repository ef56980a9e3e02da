"""``vusniff top``: all vhost devices of this host in a live table, or those of captures that are being recorded.

What is shown comes from a capture. Without files one is recorded for it, by the probe in a process of its own, into a
file that is gone afterwards. Which sockets there are is listed once before, with the rights of the caller, because only
those may look into other processes; the view has given up its own by then.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vusniff import terminal
from vusniff.commands.forms import add_json
from vusniff.commands.times import some_seconds
from vusniff.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vusniff.analysis.devices import DeviceTable, ListedDevice
    from vusniff.analysis.timeline import Timeline

LOOKS = 2.0
"""Times a second that the rings are read."""
ONCE_SECONDS = 2.0
"""How long --once looks: a rate needs two samples."""
PAUSE = 0.05
QUIET_NS = 10_000_000_000
"""How old the last record of a file may be until the table stands at it, and not at now."""
SORTS = (
    "vm", "device", "ring", "size", "avail", "used", "in flight", "rate", "kicks", "calls", "suppressed", "state",
    "back-end", "path",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff top``."""
    parser.epilog = (
        "Without FILE it records what this host says from now on, which needs the rights of vusniff capture, and up to "
        "3 KB a minute and ring in $TMPDIR or /var/tmp while it runs. Of a "
        "device that was set up before, where its rings are is asked of QEMU's monitor; where there is none, the table "
        "says so. libvirt's domains are asked by virsh, which libvirt notes in its log as tainted: custom-monitor. A "
        "rate is what was used from one sample to the next, at least."
    )
    parser.add_argument("files", metavar="FILE", nargs="*", help="captures with --rings that are being recorded")
    parser.add_argument("--once", action="store_true", help=f"print the table after {ONCE_SECONDS:g} s, and end")
    add_json(parser, "print one object a device as JSON lines, and end; as --once")
    parser.add_argument(
        "--for", dest="seconds", type=some_seconds, metavar="TIME", help="with --once: look so long: 500ms, 5s, 1m"
    )
    parser.add_argument("--sort", choices=SORTS, default="state", metavar="COLUMN", help="sort by " + ", ".join(SORTS))
    parser.add_argument("--filter", default="", metavar="WORDS", help="only rows that hold all these words")
    parser.add_argument(
        "--qmp", action="append", default=[], metavar="PATH", help="a monitor of QEMU, beside those of command lines"
    )
    parser.add_argument("--per-ring", action="store_true", help="a row for each ring")


def run(args: argparse.Namespace) -> int:
    """Show the table; 0, or 1 when there is no device."""
    import sys

    once = args.once or args.json
    if args.seconds is not None and not once:
        raise SourceError("--for goes with --once")
    if not once and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise SourceError("the live table needs a terminal: --once prints it, and --json is for scripts")
    from vusniff.commands.viewer import choose, step_down

    user = None if args.files else choose(not once, "print it with --once")
    listed = [] if args.files else list_devices()
    with _captures(args) as (paths, note):
        if not args.files:
            step_down(user)
        return _once(args, paths, listed, note) if once else _live(args, paths, listed, note)


def list_devices() -> list[ListedDevice]:
    """The vhost-user connections of this host, and the vhost devices of the kernel that are open."""
    from vusniff.analysis.devices import ListedDevice
    from vusniff.families.vhost_kernel.protocol import CONTROL, VDUSE_NAME
    from vusniff.sources.host.kernel_devices import family_of_node, kernel_side, path_of
    from vusniff.sources.host.kernel_nodes import open_devices
    from vusniff.sources.host.labels import label
    from vusniff.sources.host.sockets import list_connections

    found = []
    for row in list_connections():
        if not row.likely or not row.connected:
            continue
        parties = list(row.parties)
        sides = [
            ", ".join(f"{one.label or f'{one.comm} {one.pid}'}" for one in side) or "unknown" for side in row.parties
        ]
        if any(party.label for party in row.parties[1]) and not any(party.label for party in row.parties[0]):
            sides.reverse()  # a VM that listens
            parties.reverse()
        inodes = tuple(inode for inode in row.inodes if inode)
        by_qemu = any("qemu" in party.comm for party in parties[0])
        found.append(
            ListedDevice(row.path or f"pair:{row.inodes[0]}-{row.inodes[1]}", inodes, sides[0], sides[1], by_qemu)
        )
    for device in open_devices():
        if device.path == CONTROL:
            continue
        opener = label(device.pid, device.path) or f"{device.comm} {device.pid}"
        kernel = kernel_side(device.path, device.detail).label or "kernel"
        is_backend = family_of_node(device.path) == VDUSE_NAME
        frontend, backend = (kernel, opener) if is_backend else (opener, kernel)
        path = path_of(device.path, device.detail)
        found.append(ListedDevice(path, (), frontend, backend, pid=device.pid))
    return found


@contextlib.contextmanager
def _captures(args: argparse.Namespace) -> Iterator[tuple[list[str], str]]:
    """Where to read captures that grow, and why there is none."""
    if args.files:
        yield args.files, ""
        return
    from vusniff.commands.recording import RecordingProcess

    with tempfile.TemporaryFile() as log:
        with tempfile.TemporaryDirectory(prefix="vusniff-", dir=_room()) as folder:  # gone before rights are given up
            words = ["capture", "-w", os.path.join(folder, "top.pcapng"), f"--rings={LOOKS:g}"]
            words += [f"--qmp={path}" for path in args.qmp]
            source = RecordingProcess(words, log, True)
        try:
            if source.has_begun and source.capture is not None:
                yield [f"/proc/self/fd/{source.capture}"], ""
            else:
                source.process.wait()
                log.seek(0)
                said = log.read().decode(errors="replace").strip().splitlines()
                with _nothing_recorded() as path:
                    yield [path], "no positions: " + (said[-1] if said else "the probe ended").removeprefix("vusniff: ")
        finally:
            source.end()
            source.process.wait()


def _room() -> str | None:
    """Where large files go that nobody keeps (file-hierarchy(7)): /tmp is in memory on many hosts."""
    large = "/var/tmp"
    return None if "TMPDIR" in os.environ or not os.access(large, os.W_OK | os.X_OK) else large


@contextlib.contextmanager
def _nothing_recorded() -> Iterator[str]:
    """A capture without anything: what is only listed is shown all the same."""
    from vusniff.capture.writer import CaptureWriter

    with tempfile.TemporaryFile() as file:
        with CaptureWriter(file, source="") as writer:
            writer.flush()
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _now(timeline: Timeline, files: bool) -> Callable[[], int]:
    """The clock of the table: that of the host, or where a file ends that is not recorded any more."""

    def now() -> int:
        here = time.time_ns()
        if not files:
            return here
        last = max(
            timeline.time_ns(len(timeline) - 1) if len(timeline) else 0,
            getattr(timeline.index.events.last, "time_ns", 0),
        )
        return here if here - last < QUIET_NS else last

    return now


@contextlib.contextmanager
def _table(paths: list[str], listed: list[ListedDevice]) -> Iterator[DeviceTable]:
    from vusniff.analysis.devices import DeviceTable
    from vusniff.analysis.timeline import Timeline
    from vusniff.capture.events import KEPT
    from vusniff.capture.index import Index

    with Index(paths) as index:
        table = DeviceTable(Timeline(index, keep=KEPT))
        table.list(listed)
        yield table


def _once(args: argparse.Namespace, paths: list[str], listed: list[ListedDevice], note: str) -> int:
    from vusniff.views import jsonl, top

    with _table(paths, listed) as table:
        timeline = table.timeline
        end = time.monotonic() + (0 if note or args.files else args.seconds or ONCE_SECONDS)
        while True:
            timeline.update()
            if time.monotonic() >= end and timeline.complete:
                break
            time.sleep(PAUSE)
        now = _now(timeline, bool(args.files))()
        rows = top.arranged(top.rows_of(table.devices(), args.per_ring), args.sort, args.filter, now)
    if note:
        terminal.say(note.removeprefix("vusniff: "))
    if args.json:
        for row in rows:
            terminal.put_json(jsonl.encode(top.row_dict(row, now)) + b"\n")
    elif rows:
        lines = [top.cells(row, now) for row in rows]
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
        shown, sizes = top.fitted(lines, width, args.sort)
        for cells in [[column.name for column in top.COLUMNS], *lines]:
            terminal.put_line("  ".join(top.filled(cells[number], number, sizes[number]) for number in shown).rstrip())
    if not rows:
        terminal.say("no vhost device was seen")
    return 0 if rows else 1


def _live(args: argparse.Namespace, paths: list[str], listed: list[ListedDevice], note: str) -> int:
    from vusniff.sources.host.unixdiag import unix_sockets
    from vusniff.views.tui import run_tui
    from vusniff.views.tui.top import TopApp, TopArrangement, run_top

    how = TopArrangement(args.sort, args.filter, args.per_ring)
    with _table(paths, listed) as table:

        def follow() -> None:
            """Takes away what was listed and is closed."""
            if listed:
                there = unix_sockets()
                table.list(
                    one
                    for one in listed
                    if any(inode in there for inode in one.inodes) or (one.pid and os.path.exists(f"/proc/{one.pid}"))
                )

        while True:
            session = run_top(TopApp(table, _now(table.timeline, bool(args.files)), how, follow, note))
            if session is None:
                return 0
            run_tui(paths, follow=True, title="vusniff top", session=session)
