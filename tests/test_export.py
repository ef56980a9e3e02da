"""Exports of every capture, read back by programs that know their formats."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import stat
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from payload_examples import Example, every
from talk import Talk, eventfd, u32, u64

from captures import golden, synthetic
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture import pcapng
from vusniff.capture.facts import Host
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.channel import Sender
from vusniff.checks.peers import recognise
from vusniff.cli import main
from vusniff.commands.export import FORMATS
from vusniff.families.framing import Framer
from vusniff.families.vhost_user.protocol import NAME, Channels, FrontendRequest, GpuRequest, ProtocolFeature
from vusniff.layouts import dissect
from vusniff.layouts.parts import NodeKind
from vusniff.layouts.spans import walk
from vusniff.record import Chunk, Closed, Descriptor, DescriptorKind, End, Facts, Frame, FrameKind, Lost, Process
from vusniff.views.export.redact import Names, redact

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
    assert export(capture, "--format", "json").splitlines() == lines
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


def test_the_page_loads_nothing() -> None:
    """Whatever a name says: the page forbids it by a policy, and holds names as text in JSON."""
    name = '</script><img src="https://evil.example/x.png"><!--'
    talk = Talk(Path("page.pcapng"))
    talk.connect(f"/run/{name}", comms=(name, name)).ask(FrontendRequest.GET_FEATURES)
    talk.writer.close()
    page = export("page.pcapng", "--format", "html")
    assert "default-src 'none'" in page
    assert "<img" not in page
    assert page.count("</script>") == 2
    assert "\\u003cimg" in page
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page.replace("\\u003c", ""))


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
    boxes = [(int(node.attrib["x"]), int(node.attrib["width"])) for node in tree.iter() if node.get("class") == "head"]
    assert all(left + size < right for (left, size), (right, _) in pairwise(boxes))
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
    assert page.startswith("**Stopped cleanly: ")
    assert "\n# vhost-user capture " in page
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
    assert "replace it with --force" in capsys.readouterr().err
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
            writer.frame(Frame(connection, 0, now, data, Facts(fds, Process(1, "s3cret-thread", 9))))

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


def test_devices_of_the_kernel_keep_their_nodes_when_names_are_taken_out() -> None:
    """By them the type of a device is known, and that two nodes are those of one."""
    names = Names()
    said = {
        path: names.path(path)
        for path in (
            "/dev/vhost-net (tap0)",
            "/dev/vhost-vsock",
            "/dev/vduse/control",
            "/dev/vduse/d",
            "/dev/vhost-vdpa-3 (d, vduse)",
            "/dev/vhost-vdpa-4 (d, vp_vdpa)",
            "/dev/vhost-secret",
        )
    }
    assert list(said.values()) == [
        "/dev/vhost-net (device1)",
        "/dev/vhost-vsock",
        "/dev/vduse/control",
        "/dev/vduse/device2",
        "/dev/vhost-vdpa-3 (device2, vduse)",
        "/dev/vhost-vdpa-4 (device3)",
        "/redacted/socket1",
    ]


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
    if capture.stem == "vfio-user":
        old_state, new_state = before.state(last), after.state(last)
        assert (new_state.regions, new_state.device) == (old_state.regions, old_state.device)
        assert [(one.address, one.size) for one in new_state.dma.values()] == [
            (one.address, one.size) for one in old_state.dma.values()
        ]
    else:
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


# -- redacted: what may stay ------------------------------------------------------------------------------------------

MARK = "Q7xZ"
"""In every text and in every byte that is no number; four bytes, as a pixel has."""
EXAMPLES = [one for one in every.EXAMPLES if one.channel.family == NAME]
PIXELS = MARK.encode() * (1 << 17)
"""Two packets of pixels."""


def marked(example: Example, more: bytes) -> bytes:
    """Its payload with marks for whatever is no number, and more behind it where that is left over."""
    payload = bytes.fromhex(example.hex)
    layout = dissect.layout_of(example.channel, example.request, example.reply, len(payload), example.context)
    made = bytearray(payload)
    for span in walk(layout, payload, example.context.order) if layout else ():
        if span.node.kind in (NodeKind.BYTES, NodeKind.ADAPTED) and "uuid" not in span.path:
            size = span.stop - span.start
            made[span.start : span.stop] = (MARK.encode() * size)[:size]
    whole = dissect.payload(example.channel, example.request, example.reply, payload + more, 0, example.context)
    return bytes(made) + (more if whole.trailing == more else b"")


def everywhere(path: Path, more: bytes = b"") -> int:
    """A capture with marks wherever one fits; returns how many messages it has."""
    process = Process(1, f"qemu-system-{MARK}", 2, MARK)
    held = tuple(Descriptor(kind, f"{kind.value}:{MARK}", 5, MARK, 6) for kind in DescriptorKind)
    ends = (End(10, process, held), End(11, Process(3, f"vpp {MARK}", 4, MARK), held))
    host = Host(MARK, MARK, MARK, MARK)
    with CaptureWriter(
        path, source=f"probe {MARK}", host=host, application=f"vusniff {MARK}", edited=(MARK,)
    ) as writer:
        connection = writer.open(f"/run/{MARK}", ends, 1)
        abstract = writer.open(f"@{MARK}", ends)
        backend = writer.open(f"pair:{MARK}", (End(20), End(21)), 1)
        gpu = writer.open("pair:30-31", (End(30), End(31)), 1)
        numbers = {Channels.MAIN: connection.id, Channels.BACKEND: backend.id, Channels.GPU: gpu.id}
        now, count = 1_700_000_000_000_000_000, 0

        def say(number: int, request: int, flags: int, body: bytes, fds: tuple[Descriptor, ...] = ()) -> None:
            nonlocal now, count
            now, count = now + 1000, count + 1
            comment = f"vusniff {MARK}".encode()
            frame = Frame(number, 0, now, struct.pack("=III", request, flags, len(body)) + body, Facts(fds, process))
            writer.frame(frame, [comment])

        say(
            connection.id, FrontendRequest.SET_BACKEND_REQ_FD, 1, b"", (Descriptor(DescriptorKind.SOCKET, "socket:21"),)
        )
        say(connection.id, FrontendRequest.GPU_SET_SOCKET, 1, b"", (Descriptor(DescriptorKind.SOCKET, "socket:31"),))
        for example in EXAMPLES:
            version = 0 if example.channel is Channels.GPU else 1
            say(numbers[example.channel], example.request, version | 4 * example.reply, marked(example, more), held)
        for number in (*numbers.values(), abstract.id):
            for request in (99, 200, int.from_bytes(MARK.encode(), "little")):
                for flags in (1, 5, int.from_bytes(MARK.encode(), "little")):
                    say(number, request, flags, MARK.encode() * 5, held)
        for request in GpuRequest:  # pixels that look like messages: nothing fits, or the numbers are those of pixels
            for size in (2, 3, 5, 8, 10, 12):
                say(gpu.id, request, 0, MARK.encode() * size)
        say(gpu.id, GpuRequest.GPU_UPDATE, 0, u32(0, 0, 0, 1 << 9, 1 << 8) + PIXELS)
        say(gpu.id, GpuRequest.GPU_UPDATE, 0, u32(0, 0, 0, 4, 4) + PIXELS[: 64 + len(more)])
        for kind in (FrameKind.RAW, FrameKind.CONTINUATION):
            writer.frame(Frame(gpu.id, 1, now + 1, PIXELS[:100], Facts(held, process), kind=kind, missing=7))
        cut = struct.pack("=III", FrontendRequest.SET_CONFIG, 1, 2000) + u32(0, 1988, 0) + PIXELS[:100]
        writer.frame(Frame(connection.id, 0, now + 2, cut, missing=1888))
        writer.close_connection(Closed(connection.id, now + 3, f"eof {MARK}", 0))
    add_unknown(path)
    return count + 3


def add_unknown(path: Path) -> None:
    """Options, comments and blocks that vusniff does not know, in each of its blocks and between them."""
    data = path.read_bytes()
    made = b""
    at = 0
    mark = (MARK * 3).encode()
    more = b"".join(pcapng.option("little", code, mark) for code in (1, 1, 9, 2988, 0x7FFF))
    while at < len(data):
        kind, total = struct.unpack_from("<II", data, at)
        body = data[at + 8 : at + total - 4]
        if body.endswith(bytes(4)):
            body = body[:-4] + more + bytes(4)
        elif kind in (pcapng.ENHANCED_PACKET, pcapng.INTERFACE_DESCRIPTION):
            body += more + bytes(4)
        made += struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)
        made += struct.pack("<III", 0x7777, 24, 1) + mark[:8] + struct.pack("<I", 24)
        at += total
    path.write_bytes(made)


def survivors(content: bytes) -> set[bytes]:
    """Forms of the mark that are in an output: as text, as bytes in hex, as a number."""
    number = int.from_bytes(MARK.encode(), "little")
    forms = {MARK.lower(), MARK.encode().hex(), f"{number:#x}", str(number), MARK.encode().hex(" "), f"{number:x}"}
    content = content.lower()
    return {form.encode() for form in forms if form.encode() in content}


@pytest.mark.parametrize("more", [b"", MARK.encode() * 3], ids=["whole", "trailing"])
def test_no_mark_survives_in_any_format(more: bytes) -> None:
    count = everywhere(Path("Q7xZ.pcapng"), more)
    assert len(timeline_of("Q7xZ.pcapng")) == count
    assert survivors(Path("Q7xZ.pcapng").read_bytes())
    for form in ("pcapng", "jsonl", "csv", "text", "markdown", "html", "mermaid", "svg"):
        assert main(["export", "Q7xZ.pcapng", "--redact", "--format", form, "-o", "out", "--limit", "100000"]) == 0
        assert survivors(Path("out").read_bytes()) == set(), form
        Path("out").unlink()


def test_messages_sizes_and_numbers_stay() -> None:
    everywhere(Path("Q7xZ.pcapng"))
    assert main(["export", "Q7xZ.pcapng", "--redact", "-o", "out.pcapng"]) == 0
    before, after = timeline_of("Q7xZ.pcapng"), timeline_of("out.pcapng")
    assert len(before) == len(after)
    examples = 0
    for old, new in zip(before.messages(), after.messages(), strict=True):
        assert (new.time_ns, new.size, len(new.data), new.connection, new.session, new.channel) == (
            *(old.time_ns, old.size, len(old.data), old.connection, old.session, old.channel),
        )
        assert [(fd.kind, fd.number, fd.size) for fd in new.descriptors] == (
            [(fd.kind, fd.number, fd.size) for fd in old.descriptors]
        )
        if 2 < old.number <= 2 + len(EXAMPLES) and old.channel is not Channels.GPU:
            examples += 1
            assert numbers_of(new.payload) == numbers_of(old.payload)
    assert examples > 100
    kinds = [frame.kind for frame in before.index.frames()]
    assert kinds == [frame.kind for frame in after.index.frames()]
    assert [section.edited for section in after.index.reader.sections] == [("not told here",)]


def numbers_of(payload: Any) -> Any:
    """A payload without its texts."""
    if isinstance(payload, dict):
        return {name: numbers_of(value) for name, value in payload.items() if name not in ("config", "mac")}
    if isinstance(payload, list):
        return [numbers_of(value) for value in payload]
    return payload if isinstance(payload, int) else None


@given(cut=st.integers(0, 600), pieces=st.integers(1, 64), seed=st.integers(0, 1 << 30))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_pixel_survives_where_a_stream_is_joined_late(cut: int, pieces: int, seed: int) -> None:
    """Pixels are then taken for headers and numbers."""
    noise = random.Random(seed)
    mark = MARK.encode()
    picture = b"".join(mark if noise.random() < 0.3 else u32(noise.randrange(16)) for _ in range(128))
    stream = b"".join(
        struct.pack("=III", GpuRequest.GPU_UPDATE, 0, 20 + len(picture)) + u32(0, 0, 0, 16, 8) + picture for _ in (1, 2)
    )[cut:]
    framer = Framer(late=True)
    with CaptureWriter("late.pcapng", source="test") as writer:
        connection = writer.open("pair:30-31", (End(30), End(31)), None, True)
        for start in range(0, len(stream), pieces * 4):
            for frame in framer.feed(Chunk(connection.id, 0, 1 + start, stream[start : start + pieces * 4])):
                writer.frame(frame)
        for frame in framer.end(1 << 20):
            writer.frame(frame)
    redact(["late.pcapng"], "late-redacted.pcapng")
    assert mark not in Path("late-redacted.pcapng").read_bytes()


@pytest.mark.parametrize(
    ("comm", "kept"),
    [
        ("qemu-system-x86", "qemu-system-x86"),
        ("CPU 0/KVM", "CPU 0/KVM"),
        ("virtiofsd", "virtiofsd"),
        ("reactor_3", "reactor_3"),
        ("qemu-of-alice", "qemu-1"),
        ("CPU of alice", "CPU 1"),
        ("vpp-alice", "vpp1"),
        ("virtiofsd-alice", "virtiofsd1"),
        ("alice", "process1"),
        ("", ""),
    ],
)
def test_which_names_of_processes_stay(comm: str, kept: str) -> None:
    with CaptureWriter("named.pcapng", source="probe fentry", host=Host("h", "b", "o", "x86_64")) as writer:
        writer.open("/run/x", (End(1, Process(1, comm)), End()), 1)
        writer.frame(Frame(1, 0, 1, struct.pack("=III", 1, 1, 0)))
    redact(["named.pcapng"], "redacted.pcapng")
    index = Index("redacted.pcapng")
    index.update()
    process = index.connections[0].ends[0].process
    assert process is not None
    assert process.comm == kept
    before = {recognise(side, comm).program for side in Sender}
    assert {recognise(side, process.comm).program for side in Sender} == before
    assert index.reader.sections[0].source == "probe fentry"
    assert index.reader.sections[0].host.hardware == "x86_64"


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
        writer.frame(Frame(connection.id, 0, 2 + seconds * 10**9, data, Facts(fds)))
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
        [
            "vusniff error request-not-negotiated (frontend)",
            "vusniff warning request-while-waiting (frontend)",
            "vusniff warning request-waits (backend)",
        ],
        [
            "vusniff fd kind=eventfd identity=eventfd:7 number=9",
            "vusniff warning vring-kick-before-num (frontend)",
            "vusniff warning nothing-shared (frontend)",
        ],
    ]
    assert told[2][2][1].startswith("#2: GET_FEATURES (#2) waits 6.00 s")


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


@pytest.mark.parametrize("form", FORMATS)
def test_a_capture_without_a_message_is_exported_without_a_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    path = tmp_path / "c.pcapng"
    with CaptureWriter(path, source="test") as writer:
        connection = writer.open("/run/vm.sock", opened_ns=1)
        writer.lost(Lost(connection.id, 2, 1))
    assert main(["export", str(path), "--format", form, "-o", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("no messages: there is nothing to export")


def test_a_report_folds_all_but_what_decides(capsys: pytest.CaptureFixture[str]) -> None:
    capture = Path(__file__).parents[1] / "captures" / "trouble" / "memory-not-shared.pcapng"
    assert main(["export", str(capture), "--format", "markdown"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("**Never started: ")
    shown, *folded = text.split("<details>")
    heads = [line for line in shown.splitlines() if line.startswith("##")]
    assert heads == ["## Session 1", "## Negotiated", "## Findings: 2 warnings"]
    assert [part.partition("<summary>")[2].partition("<")[0] for part in folded] == [
        "Session 1 in full",
        "The capture",
        "Messages",
    ]
    assert text.count("\n</details>\n") == len(folded)
    assert all("\n\n" in part.partition("</summary>")[2][:2] for part in folded)  # else it is no Markdown inside
