"""`vusniff demo`: our own front-end and back-end talk through the proxy, and the capture they leave is shown.

Starts the three programs, watches over them, and calls the views; owns neither peers, proxy nor views.
"""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TypeAlias

from vusniff import terminal
from vusniff.child import command
from vusniff.commands.forms import add_json
from vusniff.commands.recording import can_be_followed
from vusniff.commands.signals import ended_by_signals
from vusniff.commands.times import seconds
from vusniff.errors import SourceError, VusniffError

CAPTURE = "vusniff-demo.pcapng"
PAUSE_LIVE = 0.15
"""Seconds between requests when somebody watches in the terminal view."""
_Program: TypeAlias = "subprocess.Popen[bytes]"
PATIENCE = 30.0
"""Seconds that the programs get to start, and to end once told to."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vusniff demo`."""
    peer = parser.add_mutually_exclusive_group()
    peer.add_argument("--frontend", metavar="PATH", help="be only the front-end, and connect to PATH")
    peer.add_argument("--backend", metavar="PATH", help="be only the back-end, and listen at PATH")
    parser.add_argument("--listen", action="store_true", help="with --frontend: listen instead of connecting")
    parser.add_argument("--connect", action="store_true", help="with --backend: connect instead of listening")
    parser.add_argument(
        "--count",
        type=_positive,
        default=2,
        metavar="N",
        help="sessions, one after the other (default 2: one reconnect)",
    )
    parser.add_argument("--pause", type=seconds, metavar="SECONDS", help="wait before each request of the front-end")
    parser.add_argument(
        "--timeout", type=seconds, default=30.0, metavar="SECONDS", help="give up when nothing happens (default 30)"
    )
    parser.add_argument("-w", "--write", metavar="FILE", help=f"the capture to leave (default ./{CAPTURE})")
    view = parser.add_mutually_exclusive_group()
    view.add_argument("--tui", action="store_true", help="show it in the terminal view (default on a terminal)")
    view.add_argument("--text", action="store_true", help="print one line a message (default in a pipe)")
    add_json(view, "print one JSON object a message")


def run(args: argparse.Namespace) -> int:
    """Be one of the peers, or show both; 0 when the peers did all they should, 1 when not."""
    if args.listen and not args.frontend:
        raise SourceError("--listen goes with --frontend PATH: the back-end listens unless --connect is given")
    if args.connect and not args.backend:
        raise SourceError("--connect goes with --backend PATH: the front-end connects unless --listen is given")
    if args.frontend:
        from vusniff.demo import frontend, wire

        wire.name_process("demo-frontend")
        with ended_by_signals():
            return frontend.run(
                args.frontend,
                listen=args.listen,
                count=args.count,
                pause=args.pause or 0.0,
                timeout=args.timeout,
                say=terminal.tell,
            )
    if args.backend:
        from vusniff.demo import backend, wire

        wire.name_process("demo-backend")
        with ended_by_signals():
            return backend.serve(
                args.backend, connect=args.connect, count=args.count, timeout=args.timeout, say=terminal.tell
            )
    return _show(args)


def _show(args: argparse.Namespace) -> int:
    """Start the back-end, the proxy and the front-end, and show what the proxy records."""
    if args.write is not None and not can_be_followed(args.write):
        raise VusniffError(
            f"-w {args.write}: the demo leaves its capture in a file, because standard output shows what is said"
        )
    capture = args.write or f"./{CAPTURE}"
    if args.tui and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise SourceError("--tui needs a terminal: leave it out for text")
    live = args.tui or not (args.text or args.json or not sys.stdout.isatty())
    pause = args.pause if args.pause is not None else PAUSE_LIVE if live else 0.0
    with (
        ended_by_signals(),
        tempfile.TemporaryDirectory(prefix="vusniff-demo-") as directory,
        _Programs(Path(directory)) as programs,
    ):
        front, back = f"{directory}/front.sock", f"{directory}/back.sock"
        common = ["--count", str(args.count), "--timeout", str(args.timeout)]
        backend = programs.start("backend", ["demo", "--backend", back, *common])
        proxy = programs.start("proxy", ["proxy", "--listen", front, "--connect", back, "-w", capture, "--record-only"])
        programs.wait_for_socket(front, proxy)
        frontend = programs.start("frontend", ["demo", "--frontend", front, "--pause", str(pause), *common])
        run = _Run(programs, proxy, (backend, frontend))
        if live:
            _show_live(capture)
            left_early = not run.ended()
        else:
            _show_lines(capture, args.json, run)
            left_early = False
        run.end()
        sentences = programs.sentences()
    terminal.tell(*sentences)
    terminal.say(f"the capture is {capture}")
    return 0 if left_early or (backend.returncode == 0 and frontend.returncode == 0) else 1


def _show_live(capture: str) -> None:
    """The terminal view, until its user leaves it."""
    from vusniff.views.tui import run_tui

    run_tui([capture], follow=True)


def _show_lines(capture: str, json: bool, run: _Run) -> None:
    """What `vusniff read` prints of the capture: lines as they come, JSON when all answers are known."""
    from vusniff.commands import read

    parser = argparse.ArgumentParser()
    read.add_arguments(parser)
    if json:
        run.wait()
        read.run(parser.parse_args([capture, "--json"]))
    else:
        read.follow_file(capture, parser.parse_args([capture]), run.ended)


class _Programs:
    """The programs of one demo; none outlives the with block."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: list[_Program] = []
        self._logs: list[tuple[Path, IO[bytes]]] = []

    def __enter__(self) -> _Programs:
        return self

    def __exit__(self, *_: object) -> None:
        for program in self._running:
            self.stop(program)
        for _path, log in self._logs:
            log.close()

    def start(self, name: str, words: Sequence[str]) -> _Program:
        """Start one `vusniff` command; what it says is kept for `sentences`."""
        path = self._directory / f"{name}.log"
        log = path.open("wb")
        self._logs.append((path, log))
        program = subprocess.Popen(command(*words), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._running.append(program)
        return program

    def wait_for_socket(self, path: str, program: _Program) -> None:
        """Wait until ``program`` listens at ``path``."""
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(path):
            if program.poll() is not None or time.monotonic() > deadline:
                raise SourceError(self.last_words("the proxy does not listen"))
            time.sleep(0.01)

    def stop(self, program: _Program) -> None:
        """End a program, gently first."""
        if program.poll() is None:
            program.terminate()
            try:
                program.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()

    def sentences(self) -> list[str]:
        """What the programs said."""
        return [line for path, _ in self._logs for line in path.read_text(errors="replace").splitlines()]

    def last_words(self, what: str) -> str:
        """A sentence about a program that failed."""
        words = self.sentences()
        return f"{what}: {words[-1].removeprefix('vusniff: ')}" if words else what


class _Run:
    """The two peers with the proxy between them, until the peers have said all."""

    def __init__(self, programs: _Programs, proxy: _Program, peers: tuple[_Program, _Program]) -> None:
        self._programs, self._proxy, self._peers = programs, proxy, peers

    def ended(self) -> bool:
        """Whether the peers have ended; then the proxy has, too, and the capture is whole."""
        if any(peer.poll() is None for peer in self._peers):
            if self._proxy.poll() is not None:
                raise SourceError(self._programs.last_words("the proxy ended before the peers"))
            return False
        self._programs.stop(self._proxy)
        return True

    def wait(self) -> None:
        """Wait until the peers have ended."""
        poll = select.poll()
        watched = {os.pidfd_open(program.pid): program for program in (*self._peers, self._proxy)}
        try:
            for fd in watched:
                poll.register(fd, select.POLLIN)
            while not self.ended():
                for fd, _ in poll.poll():
                    poll.unregister(fd)
        finally:
            for fd in watched:
                os.close(fd)

    def end(self) -> None:
        """End what still runs: the peers first, so that the capture shows it."""
        for program in (*self._peers, self._proxy):
            self._programs.stop(program)


def _positive(word: str) -> int:
    if not word.isdecimal() or not 0 < int(word) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{word!r} is not a count: give a number from 1 to 1000000")
    return int(word)
