"""``vusniff test``: puts a back-end or front-end through scripted scenarios, and judges it by the specification."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vusniff import terminal
from vusniff.commands.forms import add_format
from vusniff.commands.signals import ended_by_signals
from vusniff.commands.times import some_seconds
from vusniff.errors import OutputError, SourceError

if TYPE_CHECKING:
    from vusniff.conformance.results import ScenarioResult, TestReport
    from vusniff.conformance.scenario import Result

__test__ = False  # no test, for pytest
FORMS = ("text", "tap", "junit", "json")
DEVICES = ("blk", "net", "fs", "rng")
KEEP = "vusniff-test"
START_S = 30.0
"""Seconds that a program of ours gets to be there; one that runs already gets `PATIENCE` times the time of a reply."""
PATIENCE = 5
EXIT_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff test``."""
    parser.usage = (
        "%(prog)s --to {backend,frontend} (--connect PATH | --listen PATH | --list) [--device DEVICE] [--only ID] "
        "[--fuzz N] [--seed S] [--format FORM] [--expect FILE] [--keep DIR] [-- COMMAND ...]"
    )
    parser.epilog = (
        "A scenario fails a peer where the specification says must, where a signal kills it, and where it hangs; "
        "docs/conformance.md lists the scenarios. The tests of a disk write its second sector and put back what was "
        "there. Exit status: 0 all as expected, 1 not, 2 not played."
    )
    parser.add_argument("--to", required=True, choices=("backend", "frontend"), help="what is tested")
    side = parser.add_mutually_exclusive_group()
    side.add_argument("--connect", metavar="PATH", help="connect to it, where it listens; @NAME is abstract")
    side.add_argument("--listen", metavar="PATH", help="listen at PATH: it connects, again and again")
    side.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument(
        "--device", choices=DEVICES, help="the kind of device: real requests go through its rings (default: none do)"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="ID", help="this scenario, several with *; may be repeated"
    )
    add_format(parser, FORMS, "text, TAP, JUnit's XML or one JSON object")
    parser.add_argument(
        "--fuzz", type=_count, metavar="N", help="send N messages of mutated sessions in place of the scenarios"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="the seed of the mutations (default 1)")
    parser.add_argument("--expect", metavar="FILE", help="known deviations, ID RESULT a line: only changes count")
    parser.add_argument("--keep", metavar="DIR", default=KEEP, help=f"where the captures go (default ./{KEEP})")
    parser.add_argument(
        "--timeout",
        type=some_seconds,
        default=2.0,
        metavar="SECONDS",
        help="longest wait for what has to come (default 2); a front-end gets five times that to start a ring",
    )
    parser.add_argument(
        "peer_command", metavar="COMMAND", nargs="*", help="start it so, and again whenever it has ended"
    )


def run(args: argparse.Namespace) -> int:
    """Play the scenarios, and report; 0 when all came as expected."""
    from vusniff.conformance import expectations, report
    from vusniff.conformance.table import BACKEND, FRONTEND

    rows = [(one.id, one.about) for one in (BACKEND if args.to == "backend" else FRONTEND)]
    wanted = {id: about for id, about in rows if _is_wanted(id, args.only)}
    if not wanted:
        raise SourceError(f"--only {args.only[0]}: there is no such scenario; --list shows them")
    if args.list:
        for line in report.list_lines(list(wanted.items())):
            terminal.put_line(line)
        return 0
    if not (args.connect or args.listen):
        raise SourceError("say where it is: --connect PATH where it listens, --listen PATH where it connects")
    expected = expectations.read(args.expect, dict(rows)) if args.expect else {}
    with ended_by_signals():
        came = _play(args, wanted, expected)
    _report(args, came, expected)
    if came.stopped == "interrupted":
        return EXIT_INTERRUPTED
    fine = all(expectations.is_as_expected(one.id, one.result, expected) for one in came.results)
    return 0 if fine and not came.stopped else 1


def _is_wanted(id: str, only: Sequence[str]) -> bool:
    """Whether a scenario is named, or none is."""
    import fnmatch

    return not only or any(fnmatch.fnmatchcase(id, name) for name in only)


def _play(args: argparse.Namespace, wanted: Collection[str], expected: dict[str, Result]) -> TestReport:
    """Play them, with what is said meanwhile."""
    from vusniff.conformance.devices import device_named
    from vusniff.conformance.frontend_runner import FrontendRunner
    from vusniff.conformance.fuzz import BackendFuzzer
    from vusniff.conformance.fuzz_frontends import FrontendFuzzer
    from vusniff.conformance.peer import TestedPeer
    from vusniff.conformance.report import text_lines
    from vusniff.conformance.runner import BackendRunner
    from vusniff.conformance.table import BACKEND, FRONTEND
    from vusniff.progress import counting
    from vusniff.sources.host.endpoints import ProxySide

    keep = _directory(args.keep)
    side = ProxySide(args.listen is not None, args.listen or args.connect)
    patience = START_S if args.peer_command else PATIENCE * args.timeout
    peer = TestedPeer(side, args.peer_command, patience, keep / "peer.log" if args.peer_command else None)
    done = 0
    try:
        with counting("testing", len(wanted)) as count:

            def tell(one: ScenarioResult) -> None:
                nonlocal done
                done += 1
                if count is not None:
                    count.pause()
                if args.format == "text":
                    for line in text_lines(one, expected):
                        terminal.put_line(line)
                    terminal.flush()
                if count is not None:
                    count(one.id, done)

            if args.fuzz and args.to == "frontend":
                answerer = FrontendFuzzer(peer, args.device or "other", args.timeout, keep, args.seed)
                return answerer.run(args.fuzz, tell)
            if args.fuzz:
                fuzzer = BackendFuzzer(peer, device_named(args.device), args.timeout, keep, args.seed)
                return fuzzer.run(args.fuzz, tell)
            if args.to == "backend":
                runner = BackendRunner(peer, device_named(args.device), args.timeout, keep)
                return runner.run([one for one in BACKEND if one.id in wanted], tell)
            front = FrontendRunner(peer, args.device or "other", args.timeout, keep)
            return front.run([one for one in FRONTEND if one.id in wanted], tell)
    finally:
        peer.close()


def _directory(name: str) -> Path:
    """The directory of captures, made where there is none."""
    path = Path(name)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the directory {name}: {error.strerror}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write captures into {name}: choose another directory with --keep")
    return path


def _report(args: argparse.Namespace, came: TestReport, expected: dict[str, Result]) -> None:
    """Print the report; of text only what comes at its end."""
    from vusniff.conformance import report
    from vusniff.views import jsonl

    if args.format == "json":
        terminal.put_json(jsonl.encode(report.report_dict(came, expected)) + b"\n")
        return
    lines = {"text": report.summary, "tap": report.tap_lines, "junit": report.junit_lines}[args.format]
    for line in lines(came, expected):
        terminal.put_line(line)


def _count(word: str) -> int:
    if not word.isdecimal() or not 0 < int(word) <= 1_000_000_000:
        raise argparse.ArgumentTypeError(f"{word!r} is not a count: give a number from 1 to 1000000000")
    return int(word)
