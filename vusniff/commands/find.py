"""``vusniff find``: the sessions in many captures that hold a message of a kind, each with its verdict."""

from __future__ import annotations

import argparse
import os
import signal
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from vusniff import terminal
from vusniff.commands.forms import add_json
from vusniff.errors import VusniffError
from vusniff.printable import escape


class Looked(NamedTuple):
    """What a capture holds: sessions as JSON objects, what is to be said of the file, and whether it could be read."""

    sessions: list[dict[str, Any]]
    notes: list[str]
    readable: bool


ENDINGS = (".pcapng", ".pcapng.gz", ".pcapng.zst")
"""How the names of captures end that are looked for in directories."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff find``."""
    parser.usage = "vusniff find [options] DIR ... [FILTER]"
    parser.add_argument(
        "places",
        metavar="DIR",
        nargs="+",
        help="captures, and directories, which are searched with all below them. A last word that is neither is "
        "FILTER, as in read --filter; without it every session is listed",
    )
    parser.add_argument(
        "--trouble", action="store_true", help="only sessions whose verdict says that something is wrong"
    )
    add_json(parser, "print JSON lines, one object a session")
    parser.add_argument("--jobs", type=int, metavar="N", help="how many captures are read at once (one a processor)")


def run(args: argparse.Namespace) -> int:
    """Print the sessions; 0, 1 when there is none, 2 when a capture could not be read."""
    from vusniff.filter import compile_filter
    from vusniff.progress import reading

    expression = ""
    if len(args.places) > 1 and not (os.path.lexists(args.places[-1]) or args.places[-1].endswith(ENDINGS)):
        expression = args.places.pop()
    if expression:
        compile_filter(expression)
    if args.jobs is not None and args.jobs < 1:
        raise VusniffError(f"--jobs {args.jobs}: at least one capture is read at a time")
    closed: list[str] = []
    files = list(captures(args.places, closed))
    terminal.say(*closed)
    if not files:
        raise VusniffError(f"{args.places[0]}: there is no capture in it (a file whose name ends in {ENDINGS[0]})")
    sizes = [_size(path) for path in files]
    read = count = 0
    unread = len(closed)
    with reading(args.places[0]) as progress:
        for size, looked in zip(sizes, _searched(files, expression, args.jobs or os.cpu_count() or 1), strict=True):
            read += size
            if progress:
                progress.pause()
            terminal.say(*looked.notes)
            for one in looked.sessions:
                if args.trouble and not (one["verdict"] and one["verdict"]["trouble"]):
                    continue
                _put(one, args.json)
                count += 1
            terminal.flush()
            if progress:
                progress(read, sum(sizes))
            unread += not looked.readable
    if unread:
        return 2
    if not count:
        wanted = "no session has something wrong" if args.trouble else "no messages: there is nothing to list"
        terminal.tell("no session holds such a message" if expression else wanted)
    return 0 if count else 1


def captures(places: Iterable[str], closed: list[str]) -> Iterator[str]:
    """The captures in directories and below them, by name; a file is taken as it is.

    Directories that links lead to are left out, and what is no file: a FIFO that anybody has put there would be waited
    for. ``closed`` takes a sentence for each directory that cannot be read. Raises VusniffError for what is not there.
    """
    for place in places:
        if not os.path.isdir(place):
            if not os.path.exists(place):
                raise VusniffError(f"{place}: no such file or directory")
            yield place
            continue
        waiting = [place]  # not by os.walk, which ends with an error where anybody has made a thousand levels
        while waiting:
            directory = waiting.pop()
            try:
                with os.scandir(directory) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                closed.append(f"{directory}: {error.strerror}: what is in it is not looked at")
                continue
            below = [entry.path for entry in found if entry.is_dir(follow_symlinks=False)]
            waiting += reversed(below)
            yield from (entry.path for entry in found if entry.name.endswith(ENDINGS) and not _is_special(entry.path))


def _is_special(path: str) -> bool:
    """Whether something is there that is not a file; what cannot be looked at is named when it is to be read."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _size(path: str) -> int:
    """Bytes of a file, for the progress; 0 where that is not known."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def sessions_of(path: str, expression: str) -> Looked:
    """The sessions of a capture in which a message passes: the session, how many pass, the first of them, the verdict.

    Raises VusniffError and OSError for a file that is not a capture, or cannot be read.
    """
    from vusniff.analysis.timeline import Timeline, read_all
    from vusniff.capture.index import Index
    from vusniff.checks.story import session_verdict
    from vusniff.filter import compile_filter
    from vusniff.views import account, verdict

    timeline = Timeline(Index([path]))
    read_all(timeline, judge=True)
    timeline.conclude()
    rows: Sequence[int] = range(len(timeline))
    if expression:
        rows = compile_filter(expression).sieve(timeline).rows(0, len(timeline))
    passing: dict[int, list[int]] = {}
    for row in rows:
        passing.setdefault(timeline.place(row).session, []).append(row + 1)
    found = []
    for number, numbers in sorted(passing.items()):
        session = timeline.sessions[number - 1]
        said = session_verdict(timeline.checker, number, timeline.index.time_ns[-1], session.following)
        found.append(
            {
                "file": path,
                **account.session_dict(timeline, session),
                "passing": len(numbers),
                "first_passing": numbers[0],
                "verdict": verdict.verdict_dict(said) if said else None,
            }
        )
    return Looked(found, list(timeline.index.notes), True)


def _look(path: str, expression: str) -> Looked:
    """What a process of the pool does with one capture."""
    try:
        return sessions_of(path, expression)
    except VusniffError as error:
        return Looked([], [str(error)], False)
    except OSError as error:
        return Looked([], [f"{path}: {error.strerror or error}"], False)


def _searched(paths: Sequence[str], expression: str, jobs: int) -> Iterator[Looked]:
    """What each capture holds, in the order of the paths; so many are read at the same time."""
    jobs = min(jobs, len(paths))
    if jobs == 1:
        yield from (_look(path, expression) for path in paths)
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    # Forked: a new interpreter would look for modules in the directory where it starts.
    pool = ProcessPoolExecutor(jobs, get_context("fork"), signal.signal, (signal.SIGINT, signal.SIG_DFL))
    try:
        looks = [pool.submit(_look, path, expression) for path in paths]
        for path, one in zip(paths, looks, strict=True):
            try:
                yield one.result()
            except BrokenProcessPool:
                raise VusniffError(f"{path}: the process that read it, or one beside it, was killed") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _put(one: dict[str, Any], json: bool) -> None:
    """One session: a line of text, or an object."""
    from vusniff.views import jsonl

    if json:
        terminal.put_json(jsonl.encode(one) + b"\n")
        return
    device = f" ({one['device']})" if one["device"] else ""
    said = one["verdict"]["sentence"] if one["verdict"] else "no verdict"
    first = f"#{one['first_passing']}"
    passing = first if one["passing"] == 1 else f"{one['passing']} messages from {first}"
    line = f"{one['file']}: session {one['session']} on {one['path']}{device}, {passing}: {said}"
    terminal.put_folded(f"{escape(line)}\n")
