"""``vusniff capture``: records running peers by the probe, without touching them, and shows the record.

The probe runs in a process of its own, the only one that needs privileges; the view follows the file it writes, and has
given up its own by then. With ``--quiet``, ``--record-only`` or ``-w -`` there is no view: this process is the probe.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from vusniff.commands.keeping import add_keeping_arguments, check_keeping_arguments, is_long, keeping_words
from vusniff.commands.recording import (
    add_recording_arguments,
    begun,
    bound_of,
    can_be_followed,
    capture_file,
    check_descriptors,
    check_recording_arguments,
    max_size_words,
    note_of,
    quiet_words,
    record_and_show,
)
from vusniff.commands.sampling import add_ring_arguments, check_ring_arguments, ring_words, sampling_of
from vusniff.commands.stacks import add_stack_argument, check_stack_argument, stack_words, unwinder_of
from vusniff.commands.times import some_seconds
from vusniff.commands.viewer import choose, step_down
from vusniff.errors import CaptureError, SourceError
from vusniff.files import sudo_user
from vusniff.terminal import say

if TYPE_CHECKING:
    from vusniff.capture.output import DescriptorOutput
    from vusniff.capture.recording import Recording
    from vusniff.sources.probe.selection import Selection
    from vusniff.sources.rings.sampler import Sampling

_T = TypeVar("_T")
_MODES = ("fentry", "kprobe", "rawtp")
_EPILOG = """Without a selection, what looks like vhost-user is recorded, with its back-end and GPU channels. --path and
--inode name sockets: they are recorded whatever they say. --pid, --comm and --vm narrow down what looks like
vhost-user; --comm compares the 15 characters of a name that the kernel keeps. Of several kinds a connection must
satisfy each; connections that are made later count as well. See vusniff sockets for what there is, and vusniff doctor
when nothing can be attached."""


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
    add_ring_arguments(parser)
    parser.add_argument(
        "--qmp",
        action="append",
        default=[],
        metavar="PATH",
        help="with --rings: a monitor of QEMU, asked where the rings of devices are that were set up before (default: "
        "those of QEMU's command line)",
    )
    add_recording_arguments(parser, "the capture; - is standard output (default: a new file for temporary files)")
    when = parser.add_argument_group("when to end (default: when interrupted)")
    when.add_argument("--for", dest="seconds", type=some_seconds, metavar="TIME", help="after so long: 30s, 10m, 8h")
    when.add_argument("--until", metavar="FILTER", help="after the first message that passes this filter")
    when.add_argument("--count", type=int, metavar="N", help="after N messages")
    add_keeping_arguments(parser)
    add_stack_argument(parser)
    parser.add_argument("--attach", choices=_MODES, help="how to attach (default: the first of these that works)")
    parser.add_argument("--until-fd", type=int, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Record until interrupted; 0, or 1 when nothing was recorded, or not all because of the disk."""
    if (args.quiet or args.write == "-") and (args.tui or args.json):
        raise SourceError("there is nothing to show with --quiet or -w -: leave it out, or leave out --tui and --json")
    check_recording_arguments(args)
    check_ring_arguments(args)
    if args.qmp and args.rings is None:
        raise SourceError("--qmp is about rings: add --rings, or leave it out")
    check_stack_argument(args)
    check_keeping_arguments(args)
    _check_until(args)
    _check_selection(args)
    if args.count is not None and args.count < 1:
        raise SourceError(f"--count {args.count}: at least 1")
    if args.metrics is not None:
        from vusniff.commands.counting import record_and_count

        return record_and_count(_words(args.write if is_long(args) else capture_file(args.write), args), args.metrics)
    if is_long(args):
        return _record(args.per_session or args.write, args)
    file = capture_file(args.write)
    if ((args.quiet or args.record_only) and args.until is None) or not can_be_followed(file):
        return _record(file, args)
    # The probe may belong to another user than the view by then: a pipe ends it, not a signal.
    user = choose(args.tui)
    return record_and_show(_words(file, args), file, args, True, lambda: step_down(user))


def _check_until(args: argparse.Namespace) -> None:
    """Refuses a filter that is wrong, or where nobody would ask it: the probe itself decodes nothing."""
    if args.until is None:
        return
    from vusniff.views.printing import end_of

    if args.tui:
        raise SourceError("--until does not go with --tui: leave out one of the two")
    if args.write is not None and not can_be_followed(args.write):
        raise SourceError(f"--until reads the capture while it grows, and {args.write} cannot be read: name a file")
    end_of(args)


def _check_selection(args: argparse.Namespace) -> None:
    """Refuses what can match nothing, now or later."""
    for option in ("path", "comm", "vm"):
        if "" in getattr(args, option):
            raise SourceError(f"--{option} is empty and matches nothing: give a name, or leave it out")
    for inode in args.inode:
        if not 0 < inode < 1 << 32:
            raise SourceError(f"--inode {inode} is not the inode of a socket: see vusniff sockets")
    for pid in args.pid:
        # A number is given to a process only when it starts: nobody knows it before.
        if pid <= 0 or not os.path.exists(f"/proc/{pid}"):
            raise SourceError(f"--pid {pid}: there is no such process; --path and --comm also take what starts later")


def selection(args: argparse.Namespace) -> Selection:
    """What the arguments ask for."""
    from vusniff.sources.probe.selection import Selection

    named = tuple(args.path), tuple(args.pid), tuple(args.comm), tuple(args.inode), tuple(args.vm)
    return Selection(*named, any_content=args.all)


def _record(file: str, args: argparse.Namespace) -> int:
    """Be the probe."""
    from vusniff.bpf.load import Attach, attach_calls, attach_program
    from vusniff.capture.output import check_path, open_path
    from vusniff.capture.writer import CaptureWriter
    from vusniff.commands.counting import hand_over
    from vusniff.commands.keeping import recording_of
    from vusniff.commands.sampling_files import FilesSampling
    from vusniff.sources.host.kernel_nodes import nodes
    from vusniff.sources.probe.probe import Probe

    if file == "-" and sys.stdout.isatty():
        raise SourceError("a capture is not for a terminal: send standard output to a file or to vusniff view -")
    check_descriptors(args.ready_fd, args.until_fd, args.files_fd)
    modes = (Attach(args.attach),) if args.attach else tuple(Attach)
    wanted = selection(args)
    note = note_of(args)
    if not is_long(args):
        _as_caller(check_path, file, args)  # before the kernel is asked, which takes seconds
    program = attach_program(modes, wanted.names_sockets, args.rings is not None, args.stacks)
    # Where there is no such device, no system call costs a nanosecond for it.
    calls = attach_calls(program.bcc, args.stacks, program) if nodes() else None
    later = functools.partial(attach_calls, program.bcc, args.stacks, program)
    source = f"probe {program.attach}"
    output: DescriptorOutput | None = None
    writer: Recording
    sampling: Sampling | None
    if is_long(args):
        files = FilesSampling(args, say) if args.rings is not None else None
        writer, sampling = recording_of(args, source, say, files), files
    else:
        output = _as_caller(open_path, file, args)
        if args.files_fd is not None:
            hand_over(args.files_fd, output.fileno())
        writer = CaptureWriter(output, source=source, bound=bound_of(output, args))
        sampling = sampling_of(args, output, say)

    def ready() -> None:
        if output is not None:
            begun(args, output)
        if args.ready_fd is None:
            note(f"attached by {program.attach}; interrupt to end")

    unwinder = unwinder_of(args)
    probe = Probe(program, writer, wanted, say, file, args.count, args.seconds, sampling, unwinder, calls, later, note)
    probe.run(ready, _reader_of_output() if args.until_fd is None and file == "-" else args.until_fd)
    return 0 if probe.messages and writer.stopped is None else 1


def _as_caller(act: Callable[[str], _T], file: str, args: argparse.Namespace) -> _T:
    """Does something with the capture's file. In the probe of a view it does so as the user who called sudo, who will
    look at it: that user makes the file, and so owns it.

    What this user may not make stays root's. Nothing is given away afterwards: a rule of sudoers that leaves the file
    name open would turn that into the ownership of any file in any place.
    """
    try:
        with _as_who_called_sudo(args):
            return act(file)
    except CaptureError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise
    return act(file)


@contextlib.contextmanager
def _as_who_called_sudo(args: argparse.Namespace) -> Iterator[None]:
    """With the rights of that user for a while, in the probe of a view; else as who we are."""
    user = sudo_user() if args.ready_fd is not None else None
    if user is None:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(user[1])
    os.seteuid(user[0])
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def _reader_of_output() -> int | None:
    """Standard output where somebody reads it: select(2) calls a pipe readable when its reader has gone."""
    mode = os.fstat(1).st_mode
    return 1 if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None


def _words(file: str, args: argparse.Namespace) -> list[str]:
    """The command line of the probe's process."""
    words = [
        "capture",
        "-w",
        file,
        *quiet_words(args),
        *max_size_words(args),
        *ring_words(args),
        *stack_words(args),
        *keeping_words(args),
    ]
    for option in ("path", "inode", "pid", "comm", "vm"):
        words += [f"--{option}={value}" for value in getattr(args, option)]
    words += [f"--qmp={path}" for path in args.qmp]
    if args.all:
        words.append("--all")
    if args.seconds is not None:
        words.append(f"--for={args.seconds}")
    if args.count is not None:
        words.append(f"--count={args.count}")
    return [*words, f"--attach={args.attach}"] if args.attach else words
