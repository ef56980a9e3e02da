"""Call stacks in captures: what is written comes back, each stack is there once, and every view shows it."""

from __future__ import annotations

import contextlib
import html
import http.server
import io
import json
import re
import subprocess
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from vusniff.analysis.callers import Callers, RowCallers
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture import pcapng
from vusniff.capture.index import Index
from vusniff.capture.reader import CaptureReader
from vusniff.capture.stacks import NOT_THERE, STACKS_LIMIT, Stacks, StackSection, Written, stack_of
from vusniff.capture.writer import CaptureWriter
from vusniff.cli import main
from vusniff.errors import SourceError
from vusniff.filter import compile_filter
from vusniff.record import End, Facts, Frame, LogLine, Process, Stack, StackEntry
from vusniff.sources.stacks import libdw, maps, unwinder
from vusniff.views import stacks
from vusniff.views.tui.details import details

DOCS = Path(__file__).parent.parent / "docs"
QEMU = "qemu-system-x86_64", "aa" * 20
LIBC = StackEntry("libc.so.6", "bb" * 20, 0x10F3A0, "sendmsg", "send.c:28")
OUTER = (StackEntry(*QEMU, 0x300, "vhost_dev_start"), StackEntry(*QEMU, 0x400), StackEntry(*QEMU, 0x500, "main"))
FIRST = stack_of((LIBC, StackEntry(*QEMU, 0x100, "vhost_user_set_mem_table"), *OUTER), "")
SECOND = stack_of((LIBC, StackEntry(*QEMU, 0x200, "vhost_user_set_vring_num"), *OUTER), "")
CUT = stack_of((LIBC, StackEntry("", "", 0x7F0000001000)), "no file holds the code that called it")
SECRET = stack_of((StackEntry("secret-switch", "cc" * 20, 0x10, "secret_function", "secret.c:1"),), "")


def message(request: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in (request, 1, 0))


def capture(path: Path, *found: Stack | None, interfaces: int = 65536) -> Path:
    """A connection for each two messages."""
    with CaptureWriter(path, source="probe rawtp", order="little", interfaces=interfaces) as writer:
        for number, stack in enumerate(found):
            if not number % 2:
                connection = writer.open(f"/run/{number}.sock", (End(7, Process(12, "qemu-system-x86")), End(8)), 10**9)
            writer.frame(Frame(connection.id, 0, 10**9 + number, message(1 + number), Facts(stack=stack)))
    return path


def run(*words: object) -> tuple[int, str, str]:
    kept = io.BytesIO()
    with io.TextIOWrapper(kept, "utf-8", write_through=True) as out, contextlib.redirect_stdout(out):
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = main([str(word) for word in words])
        return status, kept.getvalue().decode(), said.getvalue()


def frames(*paths: Path) -> list[Frame]:
    with CaptureReader(paths) as reader:
        found = [one for one in reader.records() if isinstance(one, Frame)]
        assert not reader.notes
        return found


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    given = [FIRST, SECOND, None, FIRST, CUT, SECOND]
    path = capture(tmp_path / "c.pcapng", *given)
    assert [frame.stack for frame in frames(path)] == given
    with Index(path) as index:
        index.update()
        assert [index.frame(row).stack for row in range(len(index))] == given
        assert [Frame(*fields).facts.stack for fields in index.rows(0, len(index))] == given
    data = path.read_bytes()
    assert data.count(b"vhost_dev_start") == 1, "outer entries that stacks share are written once"
    ends = [stack_of((entry, *OUTER), cut) for entry, cut in ((LIBC, "x"), (FIRST.entries[1], "x"), (LIBC, ""))]
    assert [frame.stack for frame in frames(capture(tmp_path / "cut.pcapng", *ends))] == ends
    assert (tmp_path / "cut.pcapng").read_bytes().count(b'"cut":"x"') == 1, "so is why they end"
    assert data.count(b'"kind":"stack"') == 3
    # Sections count files anew, and captures that are merged do not mix their stacks up.
    small = capture(tmp_path / "small.pcapng", *given, interfaces=1)
    assert [frame.stack for frame in frames(small)] == given
    other = capture(tmp_path / "other.pcapng", SECOND, CUT)
    merged = sorted(frames(path, other), key=lambda frame: frame.connection)
    assert {frame.stack for frame in merged} == {FIRST, SECOND, CUT, None}
    both = tmp_path / "both.pcapng"
    both.write_bytes(other.read_bytes() + data)
    assert [frame.stack for frame in frames(both)] == [SECOND, CUT, *given]


@pytest.mark.slow
def test_what_a_file_says_of_stacks_may_be_anything(tmp_path: Path) -> None:
    """A stack that is not there is told; nothing raises, and what is kept is bounded."""
    path = capture(tmp_path / "c.pcapng", FIRST)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"kind":"stack"', b'"kind":"stork"'))
    with CaptureReader(path) as reader:
        (frame,) = [one for one in reader.records() if isinstance(one, Frame)]
        assert frame.stack == Stack(FIRST.id, (), NOT_THERE)
        assert "1 of stork" in reader.notes[0], "which is what an older reader makes of it"
    known = Stacks()
    for odd in (
        {},
        {"id": 5, "entries": []},
        {"id": "0123456789"},
        {"id": "0123456789", "entries": [], "then": ["9999999999", 0]},
        {"id": "0123456789", "entries": [], "then": ["x", -1]},
    ):
        assert not known.add(odd, StackSection())
    odd = {"new": [5, [], [7, 1], [-1, "x"], [-1, 9], None], "entries": [0, 1, 2, 3, 4, 5, 6, -1, "x", 1 << 70]}
    assert known.add({"id": "0123456789", "files": "x"} | odd, StackSection())
    assert known.get("0123456789") == Stack("0123456789", (StackEntry("", "", 9),), "")
    for number in range(STACKS_LIMIT + 10):
        known.add({"id": f"{number:010x}", "new": [[-1, number]], "entries": [0] * 1000}, StackSection())
    assert len(known) == STACKS_LIMIT
    written = Written()
    said = [written.add(stack_of((StackEntry("a", "", number),), ""), 1) for number in range(STACKS_LIMIT + 1)]
    assert said[-1] is None
    assert all(said[:-1])


def test_views(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", FIRST, None, CUT)
    _, text, _ = run("read", "-v", path)
    assert "called by:\n        sendmsg                   libc.so.6, send.c:28\n" in text
    assert "        qemu-system-x86_64+0x400\n" in text
    assert "        (no file holds the code that called it)\n" in text
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((DOCS / "message.schema.json").read_text())
    _, text, _ = run("read", "--json", path)
    made = [json.loads(line) for line in text.splitlines()]
    for one in made:
        jsonschema.validate(one, schema)
    assert [one.get("stack", {}).get("id") for one in made] == [FIRST.id, None, CUT.id]
    assert made[0]["stack"]["entries"][1]["function"] == "vhost_user_set_mem_table"
    _, text, _ = run("export", "--format", "html", path)
    assert "vhost_user_set_mem_table" in text
    copy = tmp_path / "annotated.pcapng"
    run("export", "--format", "pcapng", "-o", copy, path)
    assert b"vusniff called by vhost_user_set_mem_table < vhost_dev_start < " in copy.read_bytes()
    timeline = Timeline(Index(path))
    read_all(timeline)
    shown = ["".join(part.text for part in line.parts) for line in details(timeline, 0, None, 60)]
    at = shown.index("Called by")
    assert shown[at + 1 : at + 3] == [
        "  sendmsg  libc.so.6, send.c:28",
        "  vhost_user_set_mem_table  qemu-system-x86_64",
    ]
    assert [stacks.is_own(entry) for entry in FIRST.entries[:2]] == [False, True]


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        ('stack.function == "vhost_dev_start"', [0, 1]),
        ('stack contains "set_mem_table < vhost_dev"', [0]),
        ("stack", [0, 1, 3]),
        ("stack.cut", [3]),
        ('stack.file == "libc.so.6" && vhost.name == "SET_FEATURES"', [1]),
        ('not stack.function matches "vring"', [0, 2, 3]),
    ],
)
def test_filters(tmp_path: Path, words: str, rows: list[int]) -> None:
    timeline = Timeline(Index(capture(tmp_path / "c.pcapng", FIRST, SECOND, None, CUT)))
    read_all(timeline)
    chosen = compile_filter(words)
    assert list(chosen.rows(timeline)) == rows
    assert run("read", "--filter", words, tmp_path / "c.pcapng")[1].count("\n") == len(rows)


def test_flame_graph(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", FIRST, FIRST, SECOND, None, CUT)
    _, text, _ = run("export", "--format", "folded", path)
    outer = "qemu-system-x86;main;qemu-system-x86_64+0x400;vhost_dev_start"
    assert f"{outer};vhost_user_set_vring_num;sendmsg;SET_OWNER 1" in text.splitlines()
    assert sum(int(line.rpartition(" ")[2]) for line in text.splitlines()) == 5
    picture = tmp_path / "c.flame.svg"
    run("export", "-o", picture, path)
    assert "<title>vhost_dev_start: 3 messages</title>" in picture.read_text()


def test_redaction(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", FIRST, SECRET)
    shared = tmp_path / "shared.pcapng"
    run("export", "--redact", "-o", shared, path)
    data = shared.read_bytes()
    assert b"secret" not in data
    assert b"cc" * 20 not in data
    assert b"send.c" not in data
    first, second = (frame.stack for frame in frames(shared))
    assert first is not None
    assert second is not None
    assert [entry.function for entry in first.entries] == [entry.function for entry in FIRST.entries]
    assert second.entries == (StackEntry("file1", "", 0x10),)


def debug_file(tmp_path: Path) -> tuple[Path, str, int, Path]:
    """Source, build-id and address of ``helper`` of a program, and a file that has only its debug information."""
    try:
        libdw.load()
    except SourceError as error:
        pytest.skip(str(error))
    source, program = tmp_path / "a.c", tmp_path / "a.out"
    source.write_text("int helper(int a)\n{\n\treturn a * 7;\n}\nint main(void)\n{\n\treturn helper(6);\n}\n")
    subprocess.run(["gcc", "-g", "-O0", "-Wl,--build-id", "-o", program, source], check=True)
    notes = subprocess.run(["readelf", "-n", program], capture_output=True, text=True, check=True).stdout
    build_id = notes.partition("Build ID: ")[2].split()[0]
    symbols = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
    address = next(int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(" helper"))
    debug = tmp_path / "a.debug"
    subprocess.run(["objcopy", "--only-keep-debug", program, debug], check=True)
    return source, build_id, address, debug


def test_names_are_added_on_another_machine(tmp_path: Path) -> None:
    """By build-id, from a folder of debug files; what is nowhere is said."""
    source, build_id, address, debug = debug_file(tmp_path)
    folder = tmp_path / "debug" / ".build-id" / build_id[:2]
    folder.mkdir(parents=True)
    debug.rename(folder / f"{build_id[2:]}.debug")
    plain = stack_of((StackEntry("a.out", build_id, address + 4), StackEntry("b.out", "dd" * 20, 5)), "")
    path, out = capture(tmp_path / "c.pcapng", plain, plain), tmp_path / "named.pcapng"
    status, _, said = run("symbolize", path, "-o", out, "--debug-dir", tmp_path / "debug")
    assert status == 0
    assert "1 stacks with 2 entries: 1 have a name, 1 a source line" in said
    assert f"no debug file for b.out, build-id {'dd' * 20}" in said
    first, second = (frame.stack for frame in frames(out))
    assert first == second
    assert first is not None
    assert first.id == plain.id
    assert first.entries[0] == StackEntry("a.out", build_id, address + 4, "helper", f"{source}:2")
    status, _, said = run("symbolize", capture(tmp_path / "none.pcapng", None), "-o", tmp_path / "x.pcapng")
    assert (status, "no call stacks in it" in said) == (0, True)
    assert run("symbolize", path, "-o", path)[0] == 2
    assert "there is no such directory" in run("symbolize", path, "-o", out, "--debug-dir", "/nowhere", "--force")[2]


class DebugServer(http.server.BaseHTTPRequestHandler):
    """Has the debug files of ``files`` by build-id (debuginfod(8)), and notes what is asked for."""

    files: ClassVar[dict[str, Path]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        found = next((file for key, file in self.files.items() if self.path == f"/buildid/{key}/debuginfo"), None)
        self.send_response(200 if found else 404)
        self.end_headers()
        if found:
            self.wfile.write(found.read_bytes())

    def log_message(self, *_: object) -> None:
        """It says nothing."""


def test_names_are_asked_of_a_server_only_when_that_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, build_id, address, debug = debug_file(tmp_path)
    monkeypatch.setattr(DebugServer, "files", {build_id: debug})
    monkeypatch.setattr(DebugServer, "asked", [])
    monkeypatch.setenv("DEBUGINFOD_CACHE_PATH", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    entries = (StackEntry("a.out", build_id, address + 4), StackEntry("b.out", "dd" * 20, 5))
    path, out = capture(tmp_path / "c.pcapng", stack_of(entries, "")), tmp_path / "named.pcapng"
    with http.server.HTTPServer(("127.0.0.1", 0), DebugServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        urls = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("DEBUGINFOD_URLS", urls)
        assert "1 stacks with 2 entries: 0 have a name" in run("symbolize", path, "-o", out)[2]
        assert DebugServer.asked == [], "nobody is asked without --debuginfod"
        monkeypatch.delenv("DEBUGINFOD_URLS", raising=False)
        status, _, said = run("symbolize", path, "-o", out, "--force", "--debuginfod")
        assert (status, "DEBUGINFOD_URLS names no server" in said) == (2, True)
        monkeypatch.setenv("DEBUGINFOD_URLS", urls)
        status, _, said = run("symbolize", path, "-o", out, "--force", "--debuginfod")
        server.shutdown()
    if "needs libdebuginfod" in said:
        pytest.skip(said)
    assert status == 0, said
    assert "1 stacks with 2 entries: 1 have a name, 1 a source line" in said
    assert f"/buildid/{build_id}/debuginfo" in DebugServer.asked
    (frame,) = frames(out)
    assert frame.stack is not None
    assert frame.stack.entries == (entries[0]._replace(function="helper", source=f"{source}:2"), entries[1])


def test_what_a_worker_answers_may_be_anything() -> None:
    for odd in (b"", b"[]", b"{}", b'{"entries":[[1]],"cut":""}', b'{"entries":[],"cut":5}', b"[" * 100_000):
        with pytest.raises(ValueError, match=r"^"):
            unwinder.parse(odd)
    assert unwinder.parse(b'{"entries":[["a","aa",5,null,null]],"cut":""}') == stack_of((StackEntry("a", "aa", 5),), "")


def test_mappings() -> None:
    text = (
        b"55d0-55d1 r--p 00000000 fe:01 77   /usr/bin/a b\n55d1-55d2 r-xp 00001000 fe:01 77   /usr/bin/a b\n"
        b"7f00-7f01 r--p 00000000 fe:01 78   /usr/lib/data\n7f02-7f03 rwxp 00000000 00:00 0 \n"
        b"7ff0-7ff1 r-xp 00000000 00:00 0    [vdso]\n8000-8001 r-xp 0 fe:01 79 /tmp/x (deleted)\nnonsense\n"
    )
    found = maps.parse(text)
    assert [(one.start, one.name, one.rights) for one in found] == [
        (0x55D0, "a b", "r--p"),
        (0x55D1, "a b", "r-xp"),
        (0x8000, "x", "r-xp"),
    ]


def test_a_file_is_opened_by_what_is_mapped_and_only_on_a_local_file_system() -> None:
    import os

    mapped = [one for one in maps.read(os.getpid()) if "x" in one.rights]
    mounts = maps.Mounts(os.getpid())
    opened = [(one, fd) for one in mapped if (fd := mounts.open(os.getpid(), one)) is not None]
    assert opened, "none of our own files is opened"
    for one, fd in opened:
        assert os.read(fd, 4) == b"\x7fELF", one
        os.close(fd)


def test_libdw_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libdw, "NAME", "libdw-which-nobody-has.so.1")
    status, _, said = run("capture", "--stacks", "-q", "-w", "/nowhere/c.pcapng")
    assert status == 2
    assert said == f"vusniff: {libdw.MISSING}\n"


def test_a_capture_with_stacks_is_read_by_those_that_know_none(tmp_path: Path) -> None:
    """To them it is a custom block, and a key of an option."""
    data = capture(tmp_path / "c.pcapng", FIRST).read_bytes()
    kinds = []
    at = 0
    while at < len(data):
        kind, size = (int.from_bytes(data[at + off : at + off + 4], "little") for off in (0, 4))
        kinds.append(kind)
        at += size
    assert kinds.count(pcapng.CUSTOM) == 1


def pictured(path: Path, folder: Path, keys: str) -> str:
    """The screen of the view after some keys."""
    picture = folder / "screen.svg"
    assert run("view", path, "--screenshot", picture, "--force", "--size", "120x40", "--keys", keys)[0] == 0
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", picture.read_text())).split())


def test_callers(tmp_path: Path) -> None:
    """Of each stack the innermost function that sends several kinds of messages, and not all of them."""
    one = stack_of((LIBC, StackEntry(*QEMU, 0x600, "vhost_user_write"), *OUTER), "")
    init = (StackEntry(*QEMU, 0x700, "vhost_dev_init"), StackEntry(*QEMU, 0x500, "main"))
    two = stack_of((LIBC, StackEntry(*QEMU, 0x601, "vhost_user_write"), *init), "")
    path = capture(tmp_path / "c.pcapng", two, two, one, one, None, two)
    timeline = Timeline(Index(path))
    read_all(timeline)
    callers = RowCallers(timeline)
    assert callers.rows == 5
    # Each pair of messages has a session of its own here: in the last one a single message has a stack.
    assert [callers.of(row) for row in range(6)] == ["vhost_user_write"] * 4 + [None, "vhost_user_write"]
    known = Callers()
    for kind, stack in enumerate((two, two, one, one)):
        known.add("qemu", kind, stack)
    assert known.of("qemu", one) == "vhost_dev_start"
    assert known.of("qemu", two) == "vhost_dev_init"
    assert known.of("qemu", None) is None
    assert "called by" in run("read", "--phases", path)[1]
    with CaptureWriter(tmp_path / "one.pcapng", source="probe rawtp", order="little") as writer:
        connection = writer.open("/run/a.sock", (End(7), End(8)), 10**9)
        for number, request in enumerate((8, 10, 9)):
            writer.frame(Frame(connection.id, 0, 10**9 + number, message(request), Facts(stack=FIRST)))
    assert "vhost_user_set_mem_table sends 3 to #3" in pictured(tmp_path / "one.pcapng", tmp_path, "W")
    shown = pictured(path, tmp_path, "e")
    assert "here vhost_user_write < vhost_dev_init < main │ │ known QEMU" in shown


def test_explain_puts_who_sent_it_beside_who_is_known_to(tmp_path: Path) -> None:
    """Of a request the ways on which it was sent, of a phase the functions that sent its requests."""
    path = capture(tmp_path / "c.pcapng", FIRST, FIRST, SECOND, None)
    status, text, _ = run("explain", "GET_FEATURES", "--capture", path)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    at = lines.index("Who sent it")
    assert status == 0
    assert lines[at + 1].startswith("here once vhost_user_set_mem_table < vhost_dev_start < qemu-system-x86_64+0x400")
    assert lines[at + 2].startswith("known QEMU vhost_user_get_features")
    lines = [
        " ".join(line.split()) for line in run("explain", "feature negotiation", "--capture", path)[1].splitlines()
    ]
    at = lines.index("Who sent it")
    assert lines[at + 1].startswith("GET_FEATURES here vhost_")
    assert lines[at + 2].startswith("known QEMU vhost_user_get_features")
    assert "Who sent it: not seen in the capture" in run("explain", "SEND_RARP", "--capture", path)[1]
    for words, why in (
        (("GET_FEATURES", "--capture", capture(tmp_path / "none.pcapng", None)), "no call stacks in it"),
        (("MRG_RXBUF", "--capture", path), "ask for one of these"),
        (("GET_FEATURES", "--capture", tmp_path / "nowhere"), "nowhere"),
    ):
        status, _, said = run("explain", *words)
        assert (status, why in said) == (2, True), said


def test_logs_in_filters(tmp_path: Path) -> None:
    """A line of a log belongs to the message before it."""
    path = tmp_path / "c.pcapng"
    with CaptureWriter(path, source="probe rawtp", order="little") as writer:
        connection = writer.open("/run/a.sock", (End(7), End(8)), 10**9)
        for number in range(3):
            writer.frame(Frame(connection.id, 0, 10**9 + number * 100, message(1 + number)))
            if number != 1:
                said = LogLine(
                    10**9 + number * 100 + 5, "ovs.log", number + 1, f"vhost peer closed {number}", "error", "ovs"
                )
                writer.evidence(said)
    timeline = Timeline(Index(path))
    read_all(timeline)
    assert list(compile_filter('log.text contains "vhost peer closed"').rows(timeline)) == [0, 2]
    assert list(compile_filter("log.level == error && vhost.number > 1").rows(timeline)) == [2]
    assert list(compile_filter('not log.program == "ovs"').rows(timeline)) == [1]
    assert "vhost peer closed 2" in pictured(path, tmp_path, "g")
    folded = pictured(path, tmp_path, "L")
    assert "vhost peer closed" not in folded
    assert "1 line of logs" in folded
