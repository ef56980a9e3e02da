"""Exports of every capture, read back by programs that know their formats."""

from __future__ import annotations

import csv
import io
import json
import re
import stat
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import IO, BinaryIO, cast

import pytest
from talk import Talk, eventfd, u32, u64

from captures import golden, synthetic
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture import pcapng
from vusniff.capture.facts import Host
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.cli import main
from vusniff.families.vhost_user.protocol import FrontendRequest, GpuRequest, ProtocolFeature
from vusniff.record import Closed, Descriptor, DescriptorKind, End, Frame, FrameKind, Process

DOCS = Path(__file__).parent.parent / "docs"
CAPTURES = [*golden.captures(), Path("every.pcapng")]
every_capture = pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def synthetic_capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    synthetic.every("every.pcapng")


def export(*words: str | Path) -> str:
    """What is printed; it must succeed."""
    command = [sys.executable, "-m", "vusniff", "export", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def timeline_of(path: Path | str) -> Timeline:
    timeline = Timeline(Index(path))
    read_all(timeline)
    return timeline


@every_capture
def test_text_is_what_read_prints(capture: Path) -> None:
    command = [sys.executable, "-m", "vusniff", "read", str(capture)]
    assert export(capture, "--format", "text") == subprocess.run(command, capture_output=True, text=True).stdout


@every_capture
def test_json_lines_keep_to_their_schema(capture: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(json.loads((DOCS / "message.schema.json").read_text("utf-8")))
    lines = export(capture, "--format", "jsonl").splitlines()
    assert len(lines) == len(timeline_of(capture))
    for line in lines:
        check.validate(json.loads(line))


def test_the_schema_and_its_page_say_the_same() -> None:
    schema = json.loads((DOCS / "message.schema.json").read_text("utf-8"))
    page = (DOCS / "jsonl.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(schema["properties"])


def test_the_recipe_for_duckdb(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    for capture in CAPTURES:
        export(capture, "-o", tmp_path / f"{capture.stem}.jsonl")
    page = (DOCS / "jsonl.md").read_text("utf-8")
    found = re.search(r"```sql\n(.*?)```", page, re.DOTALL)
    assert found is not None
    statements = [one for one in re.sub(r"^--.*$", "", found[1], flags=re.MULTILINE).split(";") if one.strip()]
    database = duckdb.connect()
    results = [database.execute(statement).fetchall() for statement in statements]
    assert len(results) == 5
    total = sum(len(timeline_of(capture)) for capture in CAPTURES)
    assert database.execute("SELECT count(*) FROM messages").fetchone() == (total,)
    slowest = [row[3] for row in results[1]]
    assert slowest == sorted(slowest, reverse=True)
    assert len(slowest) == 10
    assert dict(results[3])[256] > 0


def test_the_recipe_of_the_front_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    duckdb = pytest.importorskip("duckdb")
    for capture in CAPTURES:
        export(capture, "-o", tmp_path / f"{capture.stem}.jsonl")
    monkeypatch.chdir(tmp_path)
    found = re.search(r'duckdb -c "(.*?)"$', (DOCS.parent / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert found is not None
    slowest = duckdb.connect().execute(found[1]).fetchall()
    assert len(slowest) == 10
    assert slowest == sorted(slowest, key=lambda row: -row[2])


@every_capture
def test_csv_is_read_by_others(capture: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(export(capture, "--format", "csv"))))
    timeline = timeline_of(capture)
    assert len(rows) == len(timeline)
    for row, message in zip(rows, timeline.messages(), strict=True):
        assert (row["number"], row["name"]) == (str(message.number), message.name)
        assert int(row["time_ns"]) == message.time_ns
        assert row["answers"] == str(message.answers or "")


def test_no_cell_is_a_formula() -> None:
    talk = Talk(Path("formula.pcapng"))
    talk.connect("=cmd|'/c calc'!A1", comms=("@SUM(1)", "+1")).ask(FrontendRequest.GET_FEATURES)
    talk.writer.close()
    row = next(csv.DictReader(io.StringIO(export("formula.pcapng", "--format", "csv"))))
    assert row["path"].startswith("'=cmd")
    assert row["comm"] == "'@SUM(1)"


@every_capture
def test_sequence_diagrams_show_each_message_once(capture: Path) -> None:
    picture = export(capture, "--format", "svg", "--limit", "10000")
    tree = ElementTree.fromstring(picture)
    numbers: list[int] = []
    for node in tree.iter("{http://www.w3.org/2000/svg}text"):
        if match := re.fullmatch(r"#(\d+)(?:-(\d+))?", "".join(node.itertext())):
            numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
    assert set(numbers) >= set(range(1, len(timeline_of(capture)) + 1))
    diagram = export(capture, "--format", "mermaid", "--limit", "10000").splitlines()
    assert diagram[0] == "sequenceDiagram"
    arrow = re.compile(r"    P\d+(->>|-->>|--x)P\d+: \S.*")
    other = re.compile(r"    (box .*|end|participant P\d+ as .*|Note (over P\d+(,P\d+)?|right of P\d+): .*)")
    for line in diagram[1:]:
        assert arrow.fullmatch(line) or other.fullmatch(line), line


def test_what_repeats_is_folded() -> None:
    talk = Talk(Path("folded.pcapng"))
    peers = talk.connect()
    peers.ask(FrontendRequest.GET_FEATURES)
    peers.answer(FrontendRequest.GET_FEATURES, u64(1 << 30 | 1 << 32))
    peers.ask(FrontendRequest.GET_PROTOCOL_FEATURES)
    peers.answer(FrontendRequest.GET_PROTOCOL_FEATURES, u64(ProtocolFeature.REPLY_ACK))
    peers.ask(FrontendRequest.SET_PROTOCOL_FEATURES, u64(ProtocolFeature.REPLY_ACK))
    peers.ask(FrontendRequest.SET_OWNER)
    peers.ask(FrontendRequest.SET_FEATURES, u64(1 << 30 | 1 << 32))
    for ring in range(10):
        peers.ask(FrontendRequest.SET_VRING_NUM, u32(ring, 256), need_reply=True)
        peers.answer(FrontendRequest.SET_VRING_NUM, u64(0))
    talk.writer.close()
    diagram = export("folded.pcapng", "--format", "mermaid")
    assert "SET_VRING_NUM x10" in diagram
    assert "10 replies" in diagram
    assert "not shown" not in diagram


def test_a_report_names_findings_and_messages() -> None:
    page = export(golden.HERE / "qemu-ovs.pcapng", "--format", "markdown", "--session", "2")
    assert page.startswith("# ")
    assert "vring-enable-not-negotiated" in page
    assert re.search(r"^\| 65 \|", page, re.MULTILINE)
    assert not re.search(r"^\| 64 \|", page, re.MULTILINE)


def test_filter_and_session_choose() -> None:
    capture = golden.HERE / "qemu-ovs.pcapng"
    lines = export(capture, "--format", "jsonl", "--filter", "vhost.request == SET_VRING_NUM", "--session", "2")
    found = [json.loads(line) for line in lines.splitlines()]
    assert found
    assert {(one["name"], one["session"]) for one in found} == {("SET_VRING_NUM", 2)}


def test_files_are_private_and_captures_are_safe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "every.pcapng", "-o", "out.csv"]) == 0
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o600
    before = Path("every.pcapng").read_bytes()
    Path("link.txt").symlink_to("every.pcapng")
    for words in (["-o", "every.pcapng"], ["-o", "link.txt"], ["--format", "csv", "-o", "./every.pcapng"]):
        assert main(["export", "every.pcapng", *words]) == 2
        assert "is the capture itself" in capsys.readouterr().err
    Path("other.pcapng").write_bytes(before)
    assert main(["export", "every.pcapng", "--format", "html", "-o", "other.pcapng"]) == 2
    assert "is a capture" in capsys.readouterr().err
    assert Path("every.pcapng").read_bytes() == before
    assert main(["export", "every.pcapng"]) == 2
    assert "--format jsonl|csv" in capsys.readouterr().err
    assert main(["export", "every.pcapng", "-o", "/nonexistent/out.csv"]) == 2
    assert "cannot write /nonexistent/out.csv" in capsys.readouterr().err


# -- redacted ---------------------------------------------------------------------------------------------------------

SECRET = b"s3cret"


def confidential(path: Path) -> None:
    """A capture in which everything that can hold a secret holds one."""
    pad = SECRET * 400
    ends = (
        End(10, Process(1, "s3cret-agent", 2, "s3cret-vm")),
        End(11, Process(3, "qemu-storage-da")),
    )
    with CaptureWriter(path, source="test", host=Host("s3cret-host", "s3cret-boot", "Linux s3cret")) as writer:
        main_connection = writer.open("/run/s3cret/net.sock", ends, 1)
        gpu = writer.open("pair:20-21", (End(20, ends[0].process), End(21, ends[1].process)), 1)
        now = 1_700_000_000_000_000_000
        memory = Descriptor(DescriptorKind.MEMFD, "memfd:5", 7, "s3cret-memory", 4096)
        file = Descriptor(DescriptorKind.FILE, "file:8:1:9", 8, "/srv/s3cret.img", 4096)

        def say(connection: int, request: int, flags: int, body: bytes, *fds: Descriptor) -> None:
            nonlocal now
            now += 1000
            data = struct.pack("=III", request, flags, len(body)) + body
            writer.frame(Frame(connection, 0, now, data, fds, Process(1, "s3cret-thread", 9)))

        request = FrontendRequest
        number = main_connection.id
        say(number, request.SET_MEM_TABLE, 1, u32(1, 0) + u64(0, 4096, 1 << 40, 0), memory)
        say(number, request.SET_VRING_KICK, 1, u64(0), eventfd(3))
        say(number, request.SET_CONFIG, 1, u32(0, 12, 0) + pad[:12])
        say(number, request.SEND_RARP, 1, pad[:8])
        say(number, request.SET_INFLIGHT_FD, 1, u64(4096, 0) + struct.pack("=HH", 1, 256) + pad[:4], file)
        say(number, request.CREATE_CRYPTO_SESSION, 1, u64(2) + bytes(48) + pad[:1008] + u64(0))
        say(number, request.SET_VRING_NUM, 1, u32(0, 256) + SECRET)
        say(number, request.SET_MEM_TABLE, 1, u32(9, 0) + u64(0, 4096, 1 << 40, 0) + pad[:7])
        say(number, 99, 1, pad[:100])
        say(number, request.GPU_SET_SOCKET, 1, b"", Descriptor(DescriptorKind.SOCKET, "socket:21"))
        say(gpu.id, GpuRequest.GPU_UPDATE, 0, u32(0, 0, 0, 4, 4) + pad[:64])
        say(gpu.id, GpuRequest.GPU_CURSOR_UPDATE, 0, u32(0, 0, 0, 0, 0) + (SECRET * 2731)[:16384])
        writer.frame(Frame(number, 1, now + 1, pad, kind=FrameKind.RAW))
        writer.close_connection(Closed(number, now + 2, "s3cret reason"))


@pytest.mark.parametrize("form", ["pcapng", "jsonl", "csv", "text", "markdown", "html", "mermaid", "svg"])
def test_nothing_secret_is_left(form: str) -> None:
    confidential(Path("confidential.pcapng"))
    assert SECRET in Path("confidential.pcapng").read_bytes()
    export("confidential.pcapng", "--redact", "--format", form, "-o", "out")
    content = Path("out").read_bytes().lower()
    assert len(content) > 1000 or form == "mermaid"
    for secret in (SECRET, SECRET.hex().encode(), b"confidential"):
        assert secret not in content


@every_capture
def test_a_redacted_capture_says_the_same(capture: Path) -> None:
    export(capture, "--redact", "-o", "redacted.pcapng")
    before, after = timeline_of(capture), timeline_of("redacted.pcapng")
    assert len(before) == len(after)
    for old, new in zip(before.messages(), after.messages(), strict=True):
        assert (new.number, new.time_ns, new.session, new.channel, new.sender) == (
            *(old.number, old.time_ns, old.session, old.channel, old.sender),
        )
        assert (new.name, new.flags, new.size, new.answers, new.layout) == (
            *(old.name, old.flags, old.size, old.answers, old.layout),
        )
        assert bool(new.malformed) == bool(old.malformed)
        assert [fd.identity for fd in new.descriptors] == [fd.identity for fd in old.descriptors]
    last = len(before) - 1
    assert after.state(last).vrings == before.state(last).vrings
    assert [kept.kind for kept in after.phases(1)] == [kept.kind for kept in before.phases(1)]


def test_a_redacted_capture_is_not_changed_by_redacting_it_again() -> None:
    confidential(Path("confidential.pcapng"))
    export("confidential.pcapng", "--redact", "-o", "once.pcapng")
    export("once.pcapng", "--redact", "-o", "twice.pcapng")
    once, twice = Index("once.pcapng"), Index("twice.pcapng")
    once.update()
    twice.update()
    assert [frame.data for frame in once.frames()] == [frame.data for frame in twice.frames()]


def next_packet(stream: IO[bytes]) -> list[str]:
    """Waits for the next packet of a capture that comes through a pipe; returns its comments."""
    while True:
        start = stream.read(8)
        kind, total = struct.unpack("<II", start)
        block = start + stream.read(total - 8)
        if kind == pcapng.ENHANCED_PACKET:
            options = block[28 + (struct.unpack_from("<I", block, 20)[0] + 3 & ~3) : -4]
            return [
                line
                for code, value in pcapng.parse_options("little", options)
                if code == pcapng.OPT_COMMENT
                for line in value.decode().split("\n")
            ]


def test_what_is_being_recorded_is_annotated_message_by_message() -> None:
    """Each packet comes out before the next one goes in, with what can be said by then."""
    command = [sys.executable, "-m", "vusniff", "export", "-", "--format", "pcapng"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert child.stdin is not None
    assert child.stdout is not None
    writer = CaptureWriter(cast(BinaryIO, child.stdin), source="test", host=Host("host"))
    connection = writer.open("/run/live.sock", opened_ns=1)
    told = []
    for seconds, request, body, fds in (
        (0, FrontendRequest.SET_OWNER, b"", ()),
        (0, FrontendRequest.GET_FEATURES, b"", ()),
        (6, FrontendRequest.GET_QUEUE_NUM, b"", ()),
        (6, FrontendRequest.SET_VRING_KICK, u64(0), (Descriptor(DescriptorKind.EVENTFD, "eventfd:7", 9),)),
    ):
        data = struct.pack("<III", request, 1, len(body)) + body
        writer.frame(Frame(connection.id, 0, 2 + seconds * 10**9, data, fds))
        writer.flush()
        told.append([line.partition(": ")[::2] for line in next_packet(child.stdout)])
    writer.close_connection(Closed(connection.id, 7 * 10**9, "eof", 1))
    writer.close()
    child.stdin.close()
    assert child.wait(60) == 0
    child.stdout.close()
    assert [[rule for rule, _ in lines] for lines in told] == [
        [],
        [],
        ["vusniff error request-not-negotiated (frontend)", "vusniff warning request-waits (backend)"],
        [
            "vusniff fd kind=eventfd identity=eventfd:7 number=9",
            "vusniff warning vring-kick-before-num (frontend)",
            "vusniff warning nothing-shared (frontend)",
        ],
    ]
    assert told[2][1][1].startswith("#2: GET_FEATURES (#2) waits 6.00 s")


def test_standard_input_is_exported_only_as_a_capture() -> None:
    for words in (["--format", "html"], ["--format", "pcapng", "--redact"], ["--format", "pcapng", "--session", "1"]):
        command = [sys.executable, "-m", "vusniff", "export", "-", *words]
        done = subprocess.run(command, input="", capture_output=True, text=True)
        assert done.returncode == 2
        assert "standard input can only be exported as pcapng" in done.stderr
    command = [sys.executable, "-m", "vusniff", "export", "-", "--format", "pcapng"]
    done = subprocess.run(command, input="no capture", capture_output=True, text=True)
    assert done.returncode == 2
    assert "does not start like a pcapng file" in done.stderr
