"""Nothing steers the terminal: every command is given names that try, and only the door writes.

Names of sockets, processes, files, memory, hosts, devices and options hold escape sequences, forged lines, characters
that turn text around or hide, and markup of the libraries that draw.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import dataclasses
import json
import os
import pty
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console
from talk import START_NS, u32, u64
from test_printable import hazards
from test_tui import screen_text

import vusniff
from vusniff import terminal
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.facts import Host
from vusniff.capture.index import Index
from vusniff.capture.stacks import stack_of
from vusniff.capture.writer import CaptureWriter
from vusniff.cli import COMMANDS, main
from vusniff.families.vhost_user.protocol import FrontendRequest
from vusniff.progress import Bar
from vusniff.record import Closed, Descriptor, DescriptorKind, End, Facts, Frame, FrameKind, Process, StackEntry
from vusniff.sources.host import sockets
from vusniff.views.tui.app import TuiApp

NASTY = "\x1b]0;owned\x07\x9b2J\x7f\u202e\u200b\u2028\U000e0041\ufe0f\r\nFORGED [red]x[/nope]"
"""Each kind of character that must not come out, a line that nobody of us wrote, and markup of rich."""
LONG = "x" * 4096
SHORT = "\x1b[2J\nFORGED"
"""What fits into a name of a process."""


def nasty_capture(path: str, name: str = NASTY) -> None:
    """A capture that says such things wherever it can say something."""
    ends = (
        End(10, Process(1, name, 2, f"front {name}"), (Descriptor(DescriptorKind.OTHER, name, 3, name, 1),)),
        End(
            11, Process(3, f"virtiofsd {name} :smile:", 4, f"virtiofsd {name} :smile:")
        ),  # a name that is taken for a program's
    )
    host = Host(name, name, name, name)
    with CaptureWriter(path, source=name, host=host, application=name, edited=(name,)) as writer:
        main_ = writer.open(f"/run/{name}.sock", ends, START_NS, joined_late=True).id
        other = writer.open(name, (End(20), End(21)), START_NS).id
        now = START_NS

        def say(request: int, body: bytes = b"", *fds: Descriptor, end: int = 0, flags: int = 1) -> None:
            nonlocal now
            now += 1_000_000
            data = struct.pack("=III", request, flags, len(body)) + body
            writer.frame(Frame(main_, end, now, data, Facts(fds, Process(9, name, 9, name))))

        memory = Descriptor(DescriptorKind.MEMFD, f"memfd:{name}", 7, name, 4096)
        kick = Descriptor(DescriptorKind.EVENTFD, name, 8, name)
        request = FrontendRequest
        said = StackEntry(name, "aa", 1, name, name)
        stack = stack_of((said, said._replace(function=None), StackEntry("", "", 1)), name)
        first = struct.pack("=III", request.GET_FEATURES, 1, 0)
        writer.frame(Frame(main_, 0, now, first, Facts(process=Process(9, name, 9, name), stack=stack)))
        say(request.GET_FEATURES, u64(1 << 30 | 1 << 32), end=1, flags=5)
        say(request.SET_FEATURES, u64(1 << 30 | 1 << 32))
        say(request.SET_MEM_TABLE, u32(1, 0) + u64(0, 4096, 1 << 40, 0), memory)
        say(request.SET_VRING_KICK, u64(0), kick)
        say(request.SET_VRING_CALL, u64(0), Descriptor(DescriptorKind.FILE, name, 8, name))
        say(request.GET_CONFIG, u32(0, 44, 0) + bytes(44))
        tag = name.encode("utf-8", "replace")[:36].ljust(36, b"\0")
        say(request.GET_CONFIG, u32(0, 44, 0) + tag + u32(1, 0), end=1, flags=5)
        say(request.SET_VRING_NUM, u32(0, 100) + name.encode("utf-8", "replace"))
        say(99, name.encode("utf-8", "replace"))
        say(request.SET_INFLIGHT_FD, u64(4096, 0) + struct.pack("=HH", 1, 256) + bytes(4), memory)
        writer.frame(Frame(other, 1, now + 1, name.encode("utf-8", "replace"), Facts((kick,)), kind=FrameKind.RAW))
        writer.close_connection(Closed(main_, now + 2, name, 1))


def nasty_log(path: str) -> None:
    """A log of strace with such names, as far as strace would write them raw."""
    lines = ('1 sendmsg(3<UNIX-STREAM:[1->2,"/run/\x9b\u202e.sock"]>, x', f"\x1b]0;x\x07 {NASTY}", 'open("a") = 3\n')
    Path(path).write_text("\n".join(lines), encoding="utf-8")


FILE, OTHER, LOG = f"a{NASTY[:40]}.pcapng".replace("/", "_"), "b\x1b\u202e.pcapng", f"{SHORT}.log"

WALK: tuple[tuple[str, ...], ...] = (
    ("--version",),
    ("--help",),
    (NASTY,),
    ("read", f"--{NASTY}", FILE),
    ("read", "--session", NASTY, FILE),
    ("read", FILE, "missing" + NASTY),
    ("read", FILE),
    ("read", "-v", "--device", "fs", FILE),
    ("read", "-x", FILE, OTHER),
    ("read", "--json", FILE),
    ("read", "--json", "-x", "--device", "fs", "--filter", "vhost.request", FILE),
    ("read", "--phases", FILE),
    ("read", "--device", NASTY, FILE),
    ("read", "--filter", NASTY, FILE),
    ("read", "--filter", f'proc.comm == "{SHORT}', FILE),
    ("read", LOG),
    ("state", FILE),
    ("state", "--session", "1", FILE),
    ("state", "--session", "1", "--device", "fs", FILE),
    ("state", "--json", "--session", "1", FILE),
    ("rings", FILE),
    ("draw", "rings", FILE),
    ("draw", "sequence", FILE),
    ("draw", "replies", FILE),
    ("draw", "memory", "--at", "4", FILE),
    ("top", "--once", FILE),
    ("top", "--json", FILE),
    ("rings", "--json", "--session", "1", "--ring", "0", FILE),
    ("summary", FILE),
    ("summary", "--session", "1", FILE),
    ("summary", "--session", "1", "--device", "fs", FILE),
    ("summary", "--session", "1", "--format", "markdown", FILE),
    ("summary", "--session", "1", "--format", "json", FILE),
    ("check", FILE),
    ("check", "--format", "json", FILE),
    ("check", "--format", "sarif", FILE),
    ("check", "--format", "junit", FILE),
    ("check", "--rule", NASTY, FILE),
    ("check", "--wait", NASTY, FILE),
    ("find", "--jobs", "1", FILE, "vhost.request == SET_MEM_TABLE"),
    ("find", "--jobs", "1", "--json", FILE, ""),
    ("find", "--jobs", "1", f"missing{NASTY}", NASTY),
    ("find", "--jobs", "1", FILE, NASTY),
    ("diff", FILE, OTHER),
    ("diff", "--format", "markdown", FILE, OTHER),
    ("diff", "--format", "json", FILE, OTHER),
    ("diff", FILE),
    ("explain", NASTY),
    ("explain", "SET_MEM_TABLE"),
    ("explain", "--json", "SET_MEM_TABLE"),
    ("decode", NASTY),
    ("decode", "--device", NASTY, "00"),
    ("decode", "--features", NASTY, "00"),
    ("decode", "--device", "fs", "--json", "18000000050000003800000000000000240000000000000041" + "1b" * 55),
    ("decode", "--device", "fs", "18000000050000003800000000000000240000000000000041" + "9b0a" * 27 + "7f"),
    *(("export", "--format", form, FILE) for form in ("jsonl", "csv", "text", "markdown", "html", "mermaid", "svg")),
    ("export", "--redact", "--format", "text", FILE),
    ("export", FILE, "-o", NASTY),
    ("export", FILE, "-o", f"{SHORT}/out.csv"),
    ("export", FILE, "-o", f"{SHORT}.csv"),
    ("export", FILE, "-o", FILE),
    ("view", FILE),
    ("view", "missing" + NASTY, "--screenshot", "x.svg"),
    ("view", "--size", NASTY, FILE),
    ("wireshark", "install", "--directory", SHORT),
    ("wireshark", "uninstall", "--print", "--directory", SHORT),
    ("wireshark", "uninstall", "--directory", SHORT),
    ("replay", FILE, "--to", "backend", "--connect", f"/tmp/{SHORT}", "--timeout", "0.01"),
    ("replay", FILE, "--to", NASTY, "--connect", "x"),
    ("test", "--to", "backend", "--connect", f"/tmp/{SHORT}", "--only", NASTY),
    ("test", "--to", "backend", "--list", "--only", "features-*"),
    ("test", "--to", "backend", "--connect", f"/tmp/{SHORT}", "--expect", NASTY, "--timeout", "0.001"),
    ("edit", FILE, "-o", f"edited{SHORT}.pcapng", "--drop", "1"),
    ("edit", FILE, "-o", "x.pcapng", "--set", NASTY),
    ("symbolize", FILE, "-o", f"named{SHORT}.pcapng"),
    ("symbolize", FILE, "-o", "x.pcapng", "--debug-dir", NASTY),
    *(("export", "--format", form, FILE) for form in ("folded", "flamegraph")),
    ("import", "strace", LOG, "-o", f"imported{SHORT}.pcapng"),
    ("import", "strace", f"missing{NASTY}", "-o", "x.pcapng"),
    ("import", NASTY),
    ("proxy", "--listen", f"{SHORT}1", "--connect", f"{SHORT}2", "-q", "-w", f"p{SHORT}.pcapng", "--", "true"),
    ("proxy", "--listen", f"{SHORT}1", "--connect", f"{SHORT}2", "-q", "-w", "p.pcapng", "--", NASTY),
    ("proxy", "--listen", f"/nowhere/{NASTY}", "--connect", "x", "-q", "-w", "p.pcapng"),
    ("capture", "--path", NASTY, "--pid", "0", "-q"),
    ("capture", "--path", SHORT, "--attach", NASTY),
    ("capture", "--path", SHORT, "-q", "-w", f"/nowhere/{NASTY}", "--ready-fd", "999"),
    ("demo", "--text", "-w", f"demo{SHORT}.pcapng", "--count", "1"),
    ("demo", "--frontend", f"nowhere{SHORT}", "--timeout", "0.1"),
    ("demo", "--count", NASTY),
    ("sockets",),
    ("sockets", "--all"),
    ("sockets", "--all", "--json"),
)
NOT_WALKED = {"doctor": "it is given no name but those of the kernel"}


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Captures, a log, and a connection of a process between sockets of such names."""
    monkeypatch.chdir(tmp_path)
    nasty_capture(FILE)
    nasty_capture(OTHER, f"{NASTY} other {NASTY}")
    nasty_log(LOG)
    libc = ctypes.CDLL(None)
    before = Path("/proc/self/comm").read_bytes().rstrip(b"\n")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as near:
        listener.bind("\x1b]0;x\x07\u202e\nFORGED.sock".encode())
        listener.listen()
        near.connect("\x1b]0;x\x07\u202e\nFORGED.sock".encode())
        with listener.accept()[0]:
            libc.prctl(15, SHORT.encode(), 0, 0, 0)  # PR_SET_NAME
            yield
            libc.prctl(15, before, 0, 0, 0)


def run(words: tuple[str, ...]) -> int | str | None:
    try:
        return main(words)
    except SystemExit as end:  # argparse
        return end.code


def json_lines(text: str) -> list[object]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("words", WALK, ids=lambda words: ascii(" ".join(words))[1:60])
def test_no_command_lets_a_name_out_raw(
    words: tuple[str, ...], there: None, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    status = run(words)
    sys.stdout.flush()
    told = capfdbinary.readouterr()
    assert told.out or told.err or words[0] in ("proxy", "edit", "export")
    for data in (told.out, told.err):
        text = data.decode()  # strict: what goes out is whole
        assert not hazards(text.replace("\r\n", "\n") if "csv" in words else text)
        assert not [line for line in text.splitlines() if line.lstrip("│ >#-*0123456789.").startswith("FORGED")]
        assert "Traceback" not in text
    assert status in (0, 1, 2)
    if "--json" in words or words[-2:-1] == ("jsonl",):
        json_lines(told.out.decode())


def test_every_command_is_walked() -> None:
    assert {words[0] for words in WALK} - {"--version", "--help", NASTY} | set(NOT_WALKED) == {
        name for name, _, _ in COMMANDS
    }


def test_json_says_it_all(there: None, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """It is escaped and nothing else: a program reads the very name, whatever its length."""
    run(("sockets", "--all", "--json"))
    rows = json_lines(capfdbinary.readouterr().out.decode())
    paths = [row["path"] for row in rows if isinstance(row, dict)]
    assert "\x1b]0;x\x07\u202e\nFORGED.sock" in paths
    nasty_capture("long.pcapng", NASTY + LONG)
    run(("state", "--json", "long.pcapng"))
    state = json.loads(capfdbinary.readouterr().out)
    assert (NASTY + LONG)[:4000] in state["path"]
    run(("read", "--json", "long.pcapng"))
    first = json.loads(capfdbinary.readouterr().out.splitlines()[0])
    assert first["process"]["comm"] == (NASTY + LONG)[:4096]


@pytest.mark.parametrize(
    "words",
    [
        ("state", "--session", "1"),
        ("summary", "--session", "1"),
        ("summary", "--format", "markdown"),
        ("top", "--once"),
    ],
    ids=" ".join,
)
def test_a_long_name_does_not_widen_a_table(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    nasty_capture("long.pcapng", LONG)
    run((*words, "long.pcapng"))
    lines = [line for line in capfd.readouterr().out.splitlines() if "  " in line.strip() or line.startswith("|")]
    assert lines
    assert max(map(len, lines)) < 1000


def test_a_long_name_does_not_widen_the_list_of_sockets(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = sockets.list_connections()
    assert rows
    named = dataclasses.replace(rows[0], path="/" + LONG)
    monkeypatch.setattr(sockets, "list_connections", lambda: [named, *rows])
    run(("sockets", "--all"))
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == len(rows) + 2
    assert max(map(len, lines)) < 700
    assert any("/xxx" in line and "xxx ... xxx" in line for line in lines)


SGR = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(words: tuple[str, ...]) -> str:
    """What a command writes to a terminal; without the bar that standard error has where one waits."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"}
    with subprocess.Popen(
        [sys.executable, "-m", "vusniff", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as child:
        os.close(theirs)
        data = b""
        with contextlib.suppress(OSError):  # EIO: the child has ended
            while piece := os.read(ours, 1 << 16):
                data += piece
        os.close(ours)
        assert child.wait(60) in (0, 1)
    return data.decode().replace("\r\n", "\n")  # the terminal's own


def test_a_terminal_gets_our_colours_and_no_others(there: None) -> None:
    for words in (
        ("state", "--session", "1", FILE),
        ("read", FILE),
        ("summary", FILE),
        ("check", FILE),
        ("sockets", "--all"),
    ):
        text = on_terminal(words)
        assert not hazards(SGR.sub("", text))
        assert SGR.search(text)
        assert "2J" in text


def test_the_bar_shows_a_name_as_text() -> None:
    bar = Bar("[red]x[/nope]" + NASTY)
    console = Console(width=120)
    with console.capture() as drawn:
        console.print(bar)
    assert "[red]x[/nope]" in drawn.get()
    assert not hazards(SGR.sub("", drawn.get()))


@pytest.mark.asyncio
async def test_no_pane_of_the_view_lets_a_name_out_raw(there: None) -> None:
    timeline = Timeline(Index([FILE]))
    read_all(timeline)
    app = TuiApp(timeline, FILE)
    seen = ""
    async with app.run_test(size=(160, 60)) as pilot:
        for key in ("", "g", "d", "s", "b", "e", "v", "m", "f", "S", "F", "P", "C", "question_mark", "escape", "colon"):
            if key:
                await pilot.press(key)
            await pilot.pause()
            for text in screen_text(app).splitlines():
                assert not hazards(text, "")
                seen += text
    assert r"\x1b]0;owned" in seen


# -- the door ---------------------------------------------------------------------------------------------------------

ALLOWED = {
    "vusniff/terminal.py": "the door",
    "vusniff/capture/output.py": "a capture on standard output: bytes, refused on a terminal",
    "vusniff/cli.py": "opens the standard streams that whoever started us has closed",
    "vusniff/progress.py": "the bar of rich, whose one text is escaped and holds no markup",
    "vusniff/commands/state.py": "asks rich to draw into a text, which then goes through the door",
}
"""Modules that may name a stream, or draw, for another reason than to ask whether it is a terminal."""
HARMLESS = {"isatty", "fileno"}


def writes(tree: ast.AST) -> Iterator[int]:
    """Lines that print, or that use a standard stream for more than `HARMLESS`."""
    harmless: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(ast.Attribute(ast.Name("sys"), "stdout" | "stderr") as stream, name) if name in HARMLESS:
                harmless.add(id(stream))
            case ast.Assign([ast.Attribute(ast.Name("sys"), "stdout") as stream], ast.Constant(None)):
                harmless.add(id(stream))
    for node in ast.walk(tree):
        match node:
            case ast.Call(ast.Name("print" | "Console")):
                yield node.lineno
            case ast.Attribute(ast.Name("sys"), "stdout" | "stderr" | "__stdout__" | "__stderr__") if (
                id(node) not in harmless
            ):
                yield node.lineno
            case ast.ImportFrom("sys", names=names) if {"stdout", "stderr"} & {one.name for one in names}:
                yield node.lineno
            case ast.Call(ast.Attribute(ast.Name("os"), "write"), [ast.Constant(1 | 2), *_]):
                yield node.lineno


def test_only_the_door_writes() -> None:
    root = Path(vusniff.__file__).parent
    found = {
        f"{path.relative_to(root.parent)}:{line}"
        for path in root.rglob("*.py")
        for line in writes(ast.parse(path.read_text("utf-8")))
    }
    assert {where for where in found if where.partition(":")[0] not in ALLOWED} == set()
    assert {where.partition(":")[0] for where in found} == set(ALLOWED), "allowed, and writes nothing any more"


@pytest.mark.parametrize(
    "code", ["print(1)", "sys.stdout.write(x)", "sys.stderr.buffer", "from sys import stdout", "os.write(1, x)"]
)
def test_the_lint_sees(code: str) -> None:
    assert list(writes(ast.parse(code)))
    assert not list(writes(ast.parse("sys.stdout.isatty()\nos.write(fd, x)")))


@pytest.mark.parametrize(
    ("write", "shown"),
    [
        (lambda: terminal.put("a\x1b\nb\n"), "a\\x1b\nb\n"),
        (lambda: terminal.put_line("a\nb"), "a\\x0ab\n"),
        (lambda: terminal.put_styled("\x1b[1ma\x1b[0m\x1b[2J\n"), "\x1b[1ma\x1b[0m\\x1b[2J\n"),
        (lambda: terminal.put_json('"\x9b\u202e"\n'), '"\\u009b\\u202e"\n'),
        (lambda: terminal.put_json('"\x7fé"\n'.encode()), '"\\u007fé"\n'),
    ],
)
def test_what_goes_through_the_door(write: Callable[[], None], shown: str, capfd: pytest.CaptureFixture[str]) -> None:
    write()
    terminal.flush()
    assert capfd.readouterr().out == shown


def test_what_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    terminal.say("a\nb", "c")
    terminal.tell("d\x1b")
    terminal.tell_lines("e\nf\x9b\n")
    assert capfd.readouterr().err == "vusniff: a\\x0ab\nvusniff: c\nd\\x1b\ne\nf\\x9b\n"
