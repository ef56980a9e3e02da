"""The command line: which commands there are, and how they end.

A command is a module in `vusniff.commands` with ``add_arguments(parser)`` and ``run(args) -> int``; only the one that
is asked for is imported, so that ``vusniff --help`` costs an interpreter's start and no more.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import os
import sys
from collections.abc import Collection, Sequence
from typing import NoReturn

from vusniff import terminal
from vusniff.commands.forms import in_order, paint
from vusniff.errors import NoCaptureError, VusniffError
from vusniff.later import later
from vusniff.printable import escape

with later("bz2", "fnmatch", "lzma"):
    import shutil  # noqa: F401  (argparse asks it for the width of the screen)

COMMANDS: tuple[tuple[str, str, str], ...] = (
    ("capture", "capture", "sniff running peers with an eBPF probe, without touching them"),
    ("proxy", "proxy", "pass a vhost-user socket through and record it"),
    ("demo", "demo", "watch a small front-end and back-end talk"),
    ("top", "top", "show all vhost devices of this host in a live table: moving, idle, not served"),
    ("sockets", "sockets", "list unix sockets that are, or could be, vhost-user"),
    ("doctor", "doctor", "say what this machine allows, and what to do about the rest"),
    ("view", "view", "open captures in the terminal view"),
    ("read", "read", "print captures: one line a message, all fields, or JSON"),
    ("state", "state", "show features, memory and vrings as of a message"),
    ("rings", "rings", "show where the rings stood over time, in a capture made with --rings"),
    ("draw", "draw", "draw as text: rings over time, a sequence diagram, reply times, memory"),
    ("summary", "summary", "say on one page what a capture holds, for a bug report"),
    ("check", "check", "judge captures: which rule was broken, by whom, with the evidence"),
    ("find", "find", "look through directories of captures: the sessions that hold such a message"),
    ("diff", "diff", "compare two sessions: what was negotiated, said and answered differently"),
    ("explain", "explain", "explain a request, a feature, a rule, a phase or an error text"),
    ("decode", "decode", "decode one message from a log"),
    ("export", "export", "write captures as JSON, CSV, text, a page, a sequence diagram, or a shareable capture"),
    ("wireshark", "wireshark", "teach the installed Wireshark vhost-user, and to capture it"),
    ("replay", "replay", "play one side of a recorded session against a real program"),
    ("test", "test", "put a back-end or front-end through scripted scenarios, and judge it by the specification"),
    ("edit", "edit", "change messages of a capture, to replay bad input"),
    ("symbolize", "symbolize", "add names to the call stacks of a capture, from debug files"),
    ("import", "import_", "turn logs of strace, DPDK, QEMU and others into a capture"),
)
"""Name, module in `vusniff.commands`, help: in the order of the flow."""

COLLECTIONS = (100_000, 20, 20)
"""`gc.set_threshold`. Captures make millions of objects and next to no cycles: look for these less often."""
RULES_MAY_RAISE = "VUSNIFF_RULES_MAY_RAISE"
"""Environment variable by which our tests make a rule that raises end the command (`vusniff.checks.rulings`)."""
_OF_CAPTURES = (".pcapng", ".pcapng.gz", ".pcapng.zst")
"""Endings of names that are taken for files even where no such file is."""
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """argparse, whose errors repeat what was typed, and with it names of files that others have chosen."""

    def error(self, message: str) -> NoReturn:
        super().error(escape(message))

    def _print_message(self, message: str, file: object = None) -> None:
        if message:
            (terminal.put if file in (None, sys.stdout) else terminal.tell_lines)(message)


def parser_of(wanted: Collection[str | None], *, alone: bool = False) -> argparse.ArgumentParser:
    """The command line with the arguments of the wanted commands; of the others only their names, or nothing."""
    parser = Parser(
        prog="vusniff",
        description="See what a vhost-user front-end and back-end say to each other.",
        epilog="vusniff FILE opens a capture. Each command explains itself: vusniff COMMAND --help",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(prog="vusniff", dest="command", metavar="COMMAND", title="commands")
    for name, module, words in COMMANDS:
        if alone and name not in wanted:
            continue
        about = words[0].upper() + words[1:] + "."
        command = commands.add_parser(name, help=words, description=about, add_help=name in wanted)
        if name in wanted:
            implementation = importlib.import_module(f"vusniff.commands.{module}")
            implementation.add_arguments(command)
            in_order(command)
            command.set_defaults(run=implementation.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0 (fine), 1 (findings, or no match), 2 (usage or environment) or 130 (interrupted)."""
    _fill_standard_streams()
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except NoCaptureError as error:
        from vusniff.sources.logs.reading import how_to_import

        terminal.say(how_to_import(error.name) or str(error))
        return EXIT_USAGE
    except VusniffError as error:
        terminal.complain(error)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has left: nothing more to say.
        _discard_output()
        return 0
    except OSError as error:
        _discard_output()
        what = error.filename if error.filename is not None else "input or output failed"
        terminal.say(f"{what}: {error.strerror or error}")
        return EXIT_USAGE


def _run(words: list[str]) -> int:
    """Run one command; what it raises is for `main`."""
    gc.set_threshold(*COLLECTIONS)
    words = _opening(words)
    asked = next((word for word in words if not word.startswith("-")), None)
    # No other command is asked of when the first word is one: the 20 others took 5 ms.
    parser = parser_of([asked], alone=any(words[:1] == [name] for name, *_ in COMMANDS))
    args = parser.parse_args(words)
    if args.version:
        from vusniff.distributions import version

        terminal.put_line(f"vusniff {version()}")
        terminal.flush()
        return 0
    if args.command is None:
        parser.print_help()
        return EXIT_USAGE
    # At its exit the interpreter looks for cycles in all that was imported, which takes longer than a short command.
    atexit.register(gc.freeze)
    if os.environ.get(RULES_MAY_RAISE):
        from vusniff.checks import rulings

        rulings.rules_may_raise = True
    paint(args)
    status: int = args.run(args)
    terminal.flush()
    return status


def _opening(words: list[str]) -> list[str]:
    """The words, with the command that opens a file where the file stands in place of a command."""
    first = words[0] if words else ""
    if first.startswith("-") or any(first == name for name, *_ in COMMANDS):
        return words
    if not (os.path.exists(first) or "/" in first or first.endswith(_OF_CAPTURES)):
        return words
    shown = sys.stdin.isatty() and sys.stderr.isatty()  # where the terminal view reads and paints
    return ["view" if shown else "read", *words]


def _fill_standard_streams() -> None:
    """Open what was closed by who started us, before a capture or a socket gets one of the first three numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _discard_output() -> None:
    """What is still to be written goes nowhere, so that the interpreter does not fail on it at exit."""
    if sys.stdout is not None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
