"""Evidence other than messages: what is written comes back, what is not known is kept, and every view shows it."""

import contextlib
import io
import json
import signal
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vusniff
from vusniff.capture import evidence, facts, pcapng
from vusniff.capture.index import Index
from vusniff.capture.reader import CaptureReader
from vusniff.capture.writer import CaptureWriter
from vusniff.checks.finding import Level, Rule, Sayings, Side
from vusniff.checks.step import SessionEnd
from vusniff.cli import main
from vusniff.record import (
    Chain,
    ChainBuffer,
    Closed,
    Connection,
    Descriptor,
    DescriptorKind,
    End,
    Evidence,
    Exit,
    Fault,
    FaultAct,
    Frame,
    OtherEvidence,
    Position,
    Process,
    RingDump,
    Sample,
)
from vusniff.views.evidence import sentence
from vusniff.views.findings import Judged

DOCS = Path(__file__).parent.parent / "docs"
QEMU, DPDK = Process(12, "qemu-system-x86"), Process(34, "dpdk-testpmd")
KILLED = Exit(1_003_000_000, 34, "dpdk-testpmd", None, 9, False, ((1, 1),))
UNKNOWN = OtherEvidence("omen", 1_004_000_000, '{"ring": 0, "big": 123456789012345678901234567890}', ((1, 0), (1, 1)))
MOVING = Position(0, 256, False, 700, 690, 10, None, None, True, True, 5, 6, 0)
STUCK = Position(1, 64, True, 3, 1, 2, True, False, moved_ns=4_200_000_000, waiting_ns=4_100_000_000, unread_kicks=1)
DUMP = RingDump(
    1_003_600_000,
    1,
    False,
    1,
    0,
    (Chain(7, (ChainBuffer(4096, 16, False),), False, bytes(16), "its end is not known"),),
    "blk",
    ends=((1, 0),),
)
SAMPLE = Sample(1_003_500_000, (MOVING, STUCK), (("ring 2", "its addresses were not seen"),), 12, ((1, 0),))


def message(request: int, payload: bytes = b"", flags: int = 1) -> bytes:
    return struct.pack("<III", request, flags, len(payload)) + payload


def capture(path: Path, *pieces: Evidence, order: str = "little", last: bool = True, base: int = 10**9) -> Path:
    """Two connections of which the first is asked something; then the evidence; then the second says something."""
    with CaptureWriter(path, source="proxy", order=order) as writer:
        ends = End(7, QEMU), End(8, DPDK)
        first = writer.open("/run/vm1.sock", ends, base)
        second = writer.open("/run/vm2.sock", ends, base)
        writer.open("/run/silent.sock", ends, base)
        pack = "<III" if order == "little" else ">III"
        writer.frame(Frame(first.id, 0, base + 1_000_000, struct.pack(pack, 1, 1, 0)))
        for piece in pieces:
            writer.evidence(piece)
        writer.close_connection(Closed(first.id, base + 5_000_000, "eof", 1, 1))
        if last:
            writer.frame(Frame(second.id, 0, base + 6_000_000, struct.pack(pack, 3, 1, 0)))
    return path


def found(*paths: Path) -> list[Evidence]:
    with CaptureReader(paths) as reader:
        return [one for one in reader.records() if isinstance(one, Evidence)]


def notes(*paths: Path) -> list[str]:
    with CaptureReader(paths) as reader:
        list(reader.records())
        return reader.notes


def run(*words: object) -> tuple[int, str, str]:
    kept = io.BytesIO()
    with io.TextIOWrapper(kept, "utf-8", write_through=True) as out, contextlib.redirect_stdout(out):
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = main([str(word) for word in words])
        return status, kept.getvalue().decode(), said.getvalue()


def with_block(path: Path, said: object) -> Path:
    """A capture with one more custom block of ours at its end."""
    text = said if isinstance(said, bytes) else json.dumps(said).encode()
    path.write_bytes(path.read_bytes() + pcapng.custom_block("little", facts.ENTERPRISE, text))
    return path


# -- the file ---------------------------------------------------------------------------------------------------------

OPTIONAL_TEXT = st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace").decode())
ENDS = st.lists(st.tuples(st.integers(1, 2), st.integers(0, 1)), unique=True, max_size=4).map(tuple)
EXITS = st.builds(
    Exit,
    st.integers(0, (1 << 64) - 1),
    st.none() | st.integers(1, 1 << 31),
    OPTIONAL_TEXT,
    st.none() | st.integers(0, 255),
    st.none() | st.integers(1, 64),
    st.none() | st.booleans(),
    st.lists(st.just((1, 0)) | st.just((1, 1)), unique=True, max_size=2).map(tuple),
)
INDEX, BIT, LONG = st.integers(0, 65535), st.none() | st.booleans(), st.none() | st.integers(0, (1 << 64) - 1)
POSITIONS = st.builds(
    Position,
    *(st.integers(0, (1 << 32) - 1), st.integers(1, 32768), st.booleans(), INDEX, INDEX, INDEX, BIT, BIT),
    *(st.booleans(), st.booleans(), st.none() | INDEX, st.none() | INDEX, LONG, LONG, LONG),
    st.none() | st.integers(0, 32768),
)
TEXT = OPTIONAL_TEXT.filter(bool)
FAULTS = st.builds(
    Fault,
    *(st.integers(0, (1 << 64) - 1), st.integers(1, 1 << 40), st.sampled_from(FaultAct), st.integers(0, 1000)),
    *(OPTIONAL_TEXT, st.lists(TEXT, max_size=3).map(tuple), OPTIONAL_TEXT, st.none() | st.integers(0, 1)),
    *(st.none() | st.integers(0, 1 << 20), st.integers(1, 1000)),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=20)), max_size=3).map(tuple),
    *(st.booleans(), st.none() | st.just((Descriptor(DescriptorKind.EVENTFD, "eventfd:7"),)), st.just(((1, 0),))),
)
SAMPLES = st.builds(
    Sample,
    st.integers(0, (1 << 64) - 1),
    st.lists(POSITIONS, max_size=4).map(tuple),
    st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple),
    LONG,
    st.just(((1, 0),)),
)


CHAINS = st.builds(
    Chain,
    INDEX,
    st.lists(
        st.builds(ChainBuffer, st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 32) - 1), st.booleans()), max_size=3
    ).map(tuple),
    st.booleans(),
    st.binary(max_size=64),
    OPTIONAL_TEXT,
)
DUMPS = st.builds(
    RingDump,
    st.integers(0, (1 << 64) - 1),
    *(INDEX, st.booleans(), INDEX, INDEX, st.lists(CHAINS, max_size=3).map(tuple)),
    *(st.sampled_from(("", "blk")), st.sampled_from(("little", "big")), st.just(((1, 0),))),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(EXITS | SAMPLES | DUMPS, max_size=5), st.sampled_from(("little", "big")))
def test_what_is_known_comes_back(tmp_path_factory: pytest.TempPathFactory, exits: list[Evidence], order: str) -> None:
    path = capture(tmp_path_factory.mktemp("exits") / "c.pcapng", *exits, order=order)
    assert found(path) == exits
    assert notes(path) == []


def test_evidence_stands_where_it_was_seen(tmp_path: Path) -> None:
    with CaptureReader(capture(tmp_path / "c.pcapng", KILLED)) as reader:
        kinds = [type(one) for one in reader.records()]
    assert kinds == [Connection, Frame, Exit, Closed, Connection, Frame, Closed]


def test_connections_that_are_not_in_the_file_are_not_named(tmp_path: Path) -> None:
    silent = Exit(5, 34, "dpdk-testpmd", 0, None, None, ((2, 1),))
    nobody = Exit(5, 35, "other", 0)
    path = capture(tmp_path / "c.pcapng", silent, nobody, Exit(6, 34, "dpdk-testpmd", 0, None, None, ((1, 1), (2, 1))))
    assert found(path) == [nobody, Exit(6, 34, "dpdk-testpmd", 0, None, None, ((1, 1),))]


def test_a_process_that_ends_after_its_connection_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    with CaptureWriter(path, source="proxy", order="little") as writer:
        one = writer.open("/run/a", (End(1), End(2)), 1)
        writer.frame(Frame(one.id, 0, 5, message(1)))
        writer.close_connection(Closed(one.id, 6, "eof", 1, 1))
        writer.flush()
        writer.evidence(Exit(7, 34, "x", 1, None, None, ((one.id, 1),)))
    assert found(path) == [Exit(7, 34, "x", 1, None, None, ((1, 1),))]


def test_who_held_many_connections_has_several_blocks(tmp_path: Path) -> None:
    path, many = tmp_path / "c.pcapng", evidence.ENDS_LIMIT + 1
    with CaptureWriter(path, source="proxy", order="little") as writer:
        ids = [writer.open(f"/run/{n}", (End(), End()), 1).id for n in range(many)]
        for one in ids:
            writer.frame(Frame(one, 0, 5, message(1)))
        writer.evidence(Exit(7, 34, "ovs-vswitchd", None, 11, True, tuple((one, 1) for one in ids)))
    said = found(path)
    assert len(said) == 2
    assert [end for one in said for end in one.ends] == [(one, 1) for one in range(1, many + 1)]


@pytest.mark.parametrize(
    "said",
    [
        {"vusniff": 1, "kind": "omen"},
        {"vusniff": 1, "kind": "omen", "time_ns": -1},
        {"vusniff": 1, "kind": "omen", "time_ns": 1 << 64},
        {"vusniff": 1, "kind": "", "time_ns": 1},
        {"vusniff": 1, "kind": ["exit"], "time_ns": 1},
        {"vusniff": 1, "kind": "x" * 65, "time_ns": 1},
        b'{"vusniff": 1, "kind": "omen", "time_ns": 1, "x": NaN}',
        b'{"vusniff": 1, "kind": "omen", "time_ns": 1, "x": 1e999}',
        {"vusniff": 1, "kind": "omen", "time_ns": 1, "x": "y" * evidence.DATA_LIMIT},
        {"vusniff": 1, "kind": "exit", "time_ns": 1, "comm": "y" * evidence.SIZE_LIMIT},
    ],
)
def test_evidence_that_cannot_be_read_is_counted(tmp_path: Path, said: object) -> None:
    path = with_block(capture(tmp_path / "c.pcapng"), said)
    assert found(path) == []
    (note,) = notes(path)
    assert "skipped 1 piece of evidence" in note


def test_values_of_other_types_are_unknown(tmp_path: Path) -> None:
    said = {
        "vusniff": 1,
        "kind": "exit",
        "time_ns": 9,
        "pid": "x",
        "comm": 7,
        "status": -1,
        "signal": 0,
        "core": 1,
        "ends": [[1, 0], [1, 0], [1, 2], [0, 1], [99, 0], [True, 0], ["1", 0], [1], 5, [1, 1, 1]],
    }
    assert found(with_block(capture(tmp_path / "c.pcapng"), said)) == [Exit(9, ends=((1, 0),))]


def test_rings_of_other_types_are_left_out(tmp_path: Path) -> None:
    ring = {"n": 0, "size": 256, "a": 5, "u": 3, "f": 2}
    wrong = [{**ring, "size": 0}, {**ring, "size": 32769}, {**ring, "a": 65536}, {**ring, "u": "x"}, {"n": 1}, 7]
    said = {
        "vusniff": 1,
        "kind": "sample",
        "time_ns": 9,
        "rings": [ring, *wrong],
        "dirty": -1,
        "unreadable": [["x"], 1],
    }
    assert found(with_block(capture(tmp_path / "c.pcapng"), said)) == [Sample(9, (Position(0, 256, False, 5, 3, 2),))]
    said |= {"rings": {**ring, "m": "x", "k": -1, "aw": 2}, "unreadable": [["ring 1", "why"]]}
    assert found(with_block(capture(tmp_path / "d.pcapng"), said)) == [Sample(9, (), (("ring 1", "why"),))]


def test_unknown_kinds_are_counted_by_name(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", UNKNOWN, UNKNOWN, OtherEvidence("call", 5, "{}"))
    (note,) = notes(path)
    assert note.endswith("which it shows raw and keeps: 2 of omen, 1 of call")


def test_many_unknown_kinds_take_bounded_memory(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", *(OtherEvidence(f"kind{n}", 5, "{}") for n in range(100)))
    (note,) = notes(path)
    assert "92 of others" in note
    assert len(found(path)) == 100


# -- kept by what writes captures again -------------------------------------------------------------------------------


def test_merging_keeps_it_and_says_connections_anew(tmp_path: Path) -> None:
    one = capture(tmp_path / "1.pcapng", KILLED, UNKNOWN)
    late = [Exit(7_000_000_000, 34, "dpdk-testpmd", 1, None, None, ((1, 1),))]
    other = capture(tmp_path / "2.pcapng", *late, base=6_000_000_000, last=False)
    said = found(other, one)
    assert [(type(piece), piece.time_ns) for piece in said] == [
        (Exit, KILLED.time_ns),
        (OtherEvidence, UNKNOWN.time_ns),
        (Exit, 7_000_000_000),
    ]
    with CaptureReader([other, one]) as reader:
        records = list(reader.records())
    paths = {record.id: record.path for record in records if isinstance(record, Connection)}
    assert [{paths[connection] for connection, _ in piece.ends} for piece in said] == [{"/run/vm1.sock"}] * 3
    assert said[0].ends != said[2].ends


def test_edit_keeps_it(tmp_path: Path) -> None:
    source, target = capture(tmp_path / "c.pcapng", KILLED, UNKNOWN), tmp_path / "e.pcapng"
    assert run("edit", source, "-o", target, "--drop", "2")[0] == 0
    assert found(target) == [KILLED, UNKNOWN]


def test_edit_moves_it_with_the_messages(tmp_path: Path) -> None:
    source, target = capture(tmp_path / "c.pcapng", KILLED), tmp_path / "e.pcapng"
    assert run("edit", source, "-o", target, "--delay", "1=1s")[0] == 0
    assert [one.time_ns for one in found(target)] == [KILLED.time_ns + 10**9]


def test_an_export_as_pcapng_keeps_it(tmp_path: Path) -> None:
    source, target = capture(tmp_path / "c.pcapng", KILLED, SAMPLE, UNKNOWN), tmp_path / "e.pcapng"
    assert run("export", source, "-o", target)[0] == 0
    assert found(target) == [KILLED, SAMPLE, UNKNOWN]


def test_redaction_keeps_where_rings_stood_and_no_sentences(tmp_path: Path) -> None:
    sample = replace(SAMPLE, unreadable=(("ring 2", "my secret"), ("my secret", "too")))
    source, target = capture(tmp_path / "c.pcapng", sample), tmp_path / "e.pcapng"
    assert run("export", source, "--redact", "-o", target)[0] == 0
    assert found(target) == [replace(SAMPLE, unreadable=(("ring 2", "not told here"),))]
    assert b"secret" not in target.read_bytes()


def test_redaction_drops_what_it_does_not_know_and_says_so(tmp_path: Path) -> None:
    secret = Exit(1_003_000_000, 77, "my-secret-tool", 3, None, None, ((1, 0),))
    source, target = capture(tmp_path / "c.pcapng", KILLED, secret, UNKNOWN), tmp_path / "e.pcapng"
    status, _, said = run("export", source, "--redact", "-o", target)
    assert status == 0
    assert "left out by --redact: 1 piece of evidence of kinds that this vusniff does not know" in said
    kept = found(target)
    assert kept[0] == KILLED
    assert isinstance(kept[1], Exit)
    assert (kept[1].pid, kept[1].comm, kept[1].status) == (77, "process1", 3)
    assert len(kept) == 2
    assert b"secret" not in target.read_bytes()


# -- shown ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exit", "words"),
    [
        (Exit(1, 34, "vm", None, 9, None), "vm (34) was killed by SIGKILL"),
        (Exit(1, 34, "vm", None, 11, True), "vm (34) was killed by SIGSEGV (core dumped)"),
        (Exit(1, 34, "vm", None, 40), "vm (34) was killed by signal 40"),
        (Exit(1, 34, "vm", 0), "vm (34) exited with status 0"),
        (Exit(1, 34, "vm"), "vm (34) ended"),
        (Exit(1, 34), "process (34) ended"),
        (Exit(1, None, "vm", 2), "vm exited with status 2"),
        (Exit(1), "a process ended"),
        (Exit(1, 1, "a\x1b]0;x\x07\nb"), "a\\x1b]0;x\\x07\\x0ab (1) ended"),
    ],
)
def test_an_exit_in_words(tmp_path: Path, exit: Exit, words: str) -> None:
    _, out, _ = run("read", capture(tmp_path / "c.pcapng", exit))
    first, between, second = out.splitlines()
    assert between == f"# {words}"
    assert "GET_FEATURES" in first
    assert "SET_OWNER" in second


def test_a_sample_in_words(tmp_path: Path) -> None:
    _, out, _ = run("read", capture(tmp_path / "c.pcapng", SAMPLE))
    assert out.splitlines()[1] == (
        "# ring 0 moves; ring 1 is not served: 2 in flight, nothing used for 4.10 s (kick not read); ring 2 is not "
        "readable: its addresses were not seen"
    )
    assert sentence(SAMPLE) == (
        "ring 0: 10 in flight (available 700, used 690); ring 1: 2 in flight (available 3, used 1), waiting for "
        "4.10 s; ring 2 is not readable: its addresses were not seen; 12 pages are set in the dirty log"
    )


@pytest.mark.parametrize("words", [(), ("-v",), ("-x",), ("--session", "1")])
def test_read_shows_evidence_at_its_place(tmp_path: Path, words: tuple[str, ...]) -> None:
    path = capture(tmp_path / "c.pcapng", KILLED, UNKNOWN)
    out = run("read", path, *words)[1].splitlines()
    lines = [line for line in out if line.startswith("# ")]
    assert lines[0] == "# dpdk-testpmd (34) was killed by SIGKILL"
    assert lines[1].startswith('# unknown evidence "omen" {"ring": 0')
    assert "GET_FEATURES" in out[0]
    assert (
        run("read", path, "--session", "2")[1].startswith("#2")
        or "# dpdk" not in run("read", path, "--session", "2")[1]
    )


def test_evidence_behind_the_last_message_is_shown(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", KILLED, last=False)
    for words in ((), ("--json",)):
        assert "SIGKILL" in run("read", path, *words)[1].splitlines()[-1]
    for form in ("text", "jsonl"):
        assert "SIGKILL" in run("export", path, "--format", form)[1].splitlines()[-1]


def test_a_pipe_shows_it(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", KILLED, UNKNOWN)
    with path.open("rb") as file:
        command = [sys.executable, "-m", "vusniff", "read", "-"]
        out = subprocess.run(command, stdin=file, capture_output=True, text=True, timeout=60).stdout
    assert out == run("read", path)[1]


def test_a_growing_file_shows_it_when_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    with CaptureWriter(path, source="proxy", order="little") as writer:
        one = writer.open("/run/vm1.sock", (End(7, QEMU), End(8, DPDK)), 1)
        writer.frame(Frame(one.id, 0, 5, message(1)))
        writer.flush()
        command = [sys.executable, "-m", "vusniff", "read", "--follow", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert "GET_FEATURES" in process.stdout.readline()
            writer.evidence(KILLED)
            writer.flush()
            assert process.stdout.readline() == "# dpdk-testpmd (34) was killed by SIGKILL\n"
            process.send_signal(signal.SIGINT)


def test_a_filter_picks_messages_only(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", KILLED)
    assert len(run("read", path, "--filter", "vhost.request == SET_OWNER")[1].splitlines()) == 1
    assert len(run("export", path, "--format", "text", "--filter", "vhost.request == 3")[1].splitlines()) == 1


def test_json_of_read_and_of_export(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(json.loads((DOCS / "evidence.schema.json").read_text("utf-8")))
    path = capture(tmp_path / "c.pcapng", KILLED, UNKNOWN)
    lines = run("read", path, "--json")[1].splitlines()
    assert lines[1:3] == run("export", path, "--format", "jsonl")[1].splitlines()[1:3]
    exit, unknown = map(json.loads, lines[1:3])
    assert exit == {
        "kind": "exit",
        "time_ns": KILLED.time_ns,
        "pid": 34,
        "comm": "dpdk-testpmd",
        "status": None,
        "signal": 9,
        "signal_name": "SIGKILL",
        "dumped_core": False,
        "ends": [{"session": 1, "connection": 1, "end": 1, "side": "backend"}],
    }
    assert unknown["kind"] == "omen"
    assert unknown["data"] == json.loads(UNKNOWN.data)
    assert [end["side"] for end in unknown["ends"]] == ["frontend", "backend"]
    for one in (exit, unknown):
        check.validate(one)
    sampled, dumped = map(
        json.loads, run("read", capture(tmp_path / "s.pcapng", SAMPLE, DUMP), "--json")[1].splitlines()[1:3]
    )
    for one in (sampled, dumped):
        check.validate(one)
    assert sampled["rings"][1]["waiting_ns"] == 4_100_000_000
    assert dumped["chains"][0]["header"]["type_name"] == "IN"
    message_schema = jsonschema.Draft202012Validator(json.loads((DOCS / "message.schema.json").read_text("utf-8")))
    assert not message_schema.is_valid(exit)


def test_the_summary_says_how_the_process_ended(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", KILLED)
    how = "closed by the back-end; dpdk-testpmd (34) was killed by SIGKILL"
    assert how in run("summary", path, "--session", "1")[1]
    assert json.loads(run("summary", path, "--session", "1", "--format", "json")[1])["session"]["ended"] == how
    assert how in run("export", path, "--format", "markdown")[1]
    assert how in run("export", path, "--format", "html")[1]


def test_programs_go_through_all_evidence(tmp_path: Path) -> None:
    timeline = vusniff.open_capture(capture(tmp_path / "c.pcapng", KILLED, UNKNOWN))
    events = list(vusniff.evidence(timeline))
    assert [(number, type(one)) for number, one in events if isinstance(one, Evidence)] == [
        (2, Exit),
        (2, OtherEvidence),
    ]
    assert timeline.exits(1) == (KILLED,)
    assert timeline.exits(2) == ()


def test_rules_find_it_in_the_memory_of_the_session(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", KILLED, last=False)
    exits: list[Exit] = []

    def look(end: SessionEnd) -> Sayings:
        """Never minds anything"""
        exits.extend(end.memory.exits)
        return ()

    judged = Judged([Rule("X01", "look", Level.TRAP, Side.EITHER, "here", at_end=look)])
    with CaptureReader(path) as reader:
        for batch in reader.batches():
            batch.events = [(row, one) for row, one in batch.events if not isinstance(one, Closed)]
            judged.take(batch, reader.order)
    judged.conclude()
    assert exits == [KILLED]


def test_the_index_knows_exits_by_connection(tmp_path: Path) -> None:
    second = Exit(2_000_000_000, 34, "dpdk-testpmd", 0, None, None, ((1, 1),))
    with Index(capture(tmp_path / "c.pcapng", KILLED, second)) as index:
        index.update()
        assert index.exits == {1: {1: KILLED}}
