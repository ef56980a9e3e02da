"""``vusniff capture``: records running peers by the probe, without touching them, and shows the record.

The probe runs in a process of its own, the only one that needs privileges; the view follows the file it writes, and has
given up its own by then. With ``--quiet`` or ``-w -`` there is no view, and this process is the probe.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from types import FrameType
from typing import IO, TYPE_CHECKING

from vusniff.commands.read import add_view_arguments
from vusniff.errors import SourceError

if TYPE_CHECKING:
    from vusniff.capture.selection import Selection

_MODES = ("fentry", "kprobe", "rawtp")
_EPILOG = """Without a selection, what looks like vhost-user is recorded, with its back-end and GPU channels. --path and
--inode name sockets: they are recorded whatever they say. --pid, --comm and --vm narrow down what looks like
vhost-user. Of several kinds a connection must satisfy each; connections that are made later count as well.
See vusniff sockets for what there is, and vusniff doctor when nothing can be attached."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff capture``."""
    parser.epilog = _EPILOG
    which = parser.add_argument_group("which connections")
    which.add_argument(
        "--path", action="append", default=[], metavar="GLOB", help="bound to such a path; @NAME abstract"
    )
    which.add_argument("--inode", action="append", default=[], type=int, metavar="N", help="with this socket inode")
    which.add_argument(
        "--pid", action="append", default=[], type=int, metavar="N", help="of this process or a child of it"
    )
    which.add_argument(
        "--comm", action="append", default=[], metavar="NAME", help="of processes with this command name"
    )
    which.add_argument("--vm", action="append", default=[], metavar="NAME", help="of the QEMU with this -name")
    which.add_argument("--all", action="store_true", help="also what does not look like vhost-user")
    parser.add_argument(
        "-w",
        "--write",
        metavar="FILE",
        help="the capture; - is standard output (default: a new file for temporary files)",
    )
    parser.add_argument("--attach", choices=_MODES, help="how to attach (default: the first of these that works)")
    parser.add_argument("--tui", action="store_true", help="show the terminal view")
    add_view_arguments(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show nothing, only record")
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--until-fd", type=int, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Record until interrupted; 0, or 1 when nothing was recorded."""
    if (args.quiet or args.write == "-") and (args.tui or args.json):
        raise SourceError("there is nothing to show with --quiet or -w -: leave it out, or leave out --tui and --json")
    with _capture_file(args.write) as file:
        if args.quiet or not _can_be_followed(file):
            return _record(file, args)
        return _record_and_show(file, args)


def selection(args: argparse.Namespace) -> Selection:
    """What the arguments ask for."""
    from vusniff.capture.selection import Selection

    named = tuple(args.path), tuple(args.pid), tuple(args.comm), tuple(args.inode), tuple(args.vm)
    return Selection(*named, any_content=args.all)


def _record(file: str, args: argparse.Namespace) -> int:
    """Be the probe."""
    from vusniff.bpf.load import Attach, attach_program
    from vusniff.capture.probe import Probe
    from vusniff.capture.writer import CaptureWriter

    if file == "-" and sys.stdout.isatty():
        raise SourceError("a capture is not for a terminal: send standard output to a file or to vusniff view -")
    _check_descriptors(args)
    modes = (Attach(args.attach),) if args.attach else tuple(Attach)
    wanted = selection(args)
    program = attach_program(modes, wanted.names_sockets)

    def ready() -> None:
        if args.ready_fd is not None:
            os.write(args.ready_fd, b"\n")
            os.close(args.ready_fd)
        else:
            _say(f"attached by {program.attach}; interrupt to end")

    probe = Probe(program, CaptureWriter(file, source=f"probe {program.attach}"), wanted, _say, file)
    probe.run(ready, _reader_of_output() if args.until_fd is None and file == "-" else args.until_fd)
    return 0 if probe.links.messages else 1


def _reader_of_output() -> int | None:
    """Standard output where somebody reads it: select(2) calls a pipe readable when its reader has gone."""
    mode = os.fstat(1).st_mode
    return 1 if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None


def _check_descriptors(args: argparse.Namespace) -> None:
    for number in (args.ready_fd, args.until_fd):
        if number is not None:
            try:
                os.fstat(number)
            except OSError:
                raise SourceError(f"descriptor {number} is not open") from None


def _record_and_show(file: str, args: argparse.Namespace) -> int:
    """Start the probe in a process of its own, give up privileges, and show what it records."""
    with tempfile.TemporaryFile() if args.tui else contextlib.nullcontext() as log:
        child, is_ready, until = _start_probe(file, args, log)
        with _interrupts_to(until):
            if is_ready:
                _give_up_privileges(file)
                _show(file, args, child, until)
            until.close()
            status = child.wait()
        if log is not None:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
    return status if status >= 0 else 128 - status


def _show(file: str, args: argparse.Namespace, child: subprocess.Popen[bytes], until: IO[bytes]) -> None:
    """Show the capture as it grows. Text goes on until the probe ends; who leaves the terminal view ends the probe."""
    if args.tui:
        from vusniff.views.tui import run_tui

        run_tui(file, follow=True)
        until.close()
        return
    from vusniff.commands.read import follow_file

    follow_file(file, args, lambda: child.poll() is not None)


def _start_probe(
    file: str, args: argparse.Namespace, log: IO[bytes] | None
) -> tuple[subprocess.Popen[bytes], bool, IO[bytes]]:
    """The probe's process, whether it is attached, and the pipe whose end ends it: we may not signal it any more."""
    readable, writable = os.pipe()
    held, until = os.pipe()
    words = [sys.executable, "-m", "vusniff", "capture", "--quiet", "-w", file]
    words += ["--ready-fd", str(writable), "--until-fd", str(held)]
    for option in ("path", "inode", "pid", "comm", "vm"):
        for value in getattr(args, option):
            words.append(f"--{option}={value}")
    if args.all:
        words.append("--all")
    if args.attach:
        words.append(f"--attach={args.attach}")
    try:
        child = subprocess.Popen(
            words, pass_fds=(writable, held), stdin=subprocess.DEVNULL, stdout=log or sys.stderr.fileno(), stderr=log
        )
    finally:
        os.close(writable)
        os.close(held)
    with open(readable, "rb") as pipe:
        return child, bool(pipe.read(1)), open(until, "wb", buffering=0)


@contextlib.contextmanager
def _interrupts_to(until: IO[bytes]) -> Iterator[None]:
    """SIGINT and SIGTERM end the probe; what it has recorded is still shown."""

    def end(_number: int, _frame: FrameType | None) -> None:
        until.close()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _give_up_privileges(file: str) -> None:
    """Become the user who called sudo, who then owns the capture; or stay who we are, without capabilities."""
    import ctypes

    if os.geteuid() != 0:
        return
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if uid.isdecimal() and gid.isdecimal() and int(uid) and _can_run_python(int(uid), int(gid)):
        os.chown(file, int(uid), int(gid))
        _become(int(uid), int(gid))
    libc = ctypes.CDLL(None, use_errno=True)
    # capset(2): version 3, ourselves; effective, permitted and inheritable, twice 32 bits, all empty.
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise SourceError("cannot give up privileges for the view; use --quiet, and view the file as another user")
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _can_run_python(uid: int, gid: int) -> bool:
    """Whether this user may read our modules, of which not all are loaded: one under /root may not be for all."""
    child = os.fork()
    if child == 0:
        _become(uid, gid)
        os._exit(not all(os.access(path, os.R_OK) for path in (os.__file__, __file__, argparse.__file__)))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@contextlib.contextmanager
def _capture_file(wanted: str | None) -> Iterator[str]:
    """The capture's path; one that nobody named is made, told, and removed again when nothing came of it."""
    if wanted is not None:
        yield wanted
        return
    fd, path = tempfile.mkstemp(prefix="vusniff-", suffix=".pcapng")
    os.close(fd)
    _say(f"recording to {path}")
    try:
        yield path
    finally:
        if not os.path.getsize(path):
            os.unlink(path)


def _can_be_followed(file: str) -> bool:
    """Whether a view can read the file while it is written: not standard output, a FIFO or a device."""
    if file == "-":
        return False
    try:
        return stat.S_ISREG(os.stat(file).st_mode)
    except OSError:
        return True


def _say(sentence: str) -> None:
    print(f"vusniff: {sentence}", file=sys.stderr, flush=True)
