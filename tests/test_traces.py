"""Exports for trace viewers and tables, read back by the programs' own libraries."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

import vusniff
from captures import synthetic
from vusniff.capture.writer import CaptureWriter
from vusniff.cli import main
from vusniff.record import End, Frame, Process

CAPTURES = sorted((Path(__file__).parents[1] / "captures").glob("*.pcapng"))
BEGIN, END, INSTANT = TrackEvent.TYPE_SLICE_BEGIN, TrackEvent.TYPE_SLICE_END, TrackEvent.TYPE_INSTANT


@pytest.fixture(params=[*CAPTURES, None], ids=lambda path: path.stem if path else "synthetic")
def capture(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param is not None:
        return Path(request.param)
    synthetic.every(tmp_path / "synthetic.pcapng")
    return tmp_path / "synthetic.pcapng"


def export(capture: Path, tmp_path: Path, form: str, *words: str) -> Path:
    out = tmp_path / f"out.{form}"
    assert main(["export", str(capture), "--format", form, "-o", str(out), *words]) == 0
    return out


def trace_of(path: Path) -> Any:
    trace = Trace()
    assert trace.ParseFromString(path.read_bytes()) == path.stat().st_size
    return trace


def test_perfetto_holds_every_message_and_joins_requests_and_replies(capture: Path, tmp_path: Path) -> None:
    trace, timeline = trace_of(export(capture, tmp_path, "perfetto")), vusniff.open_capture(capture)
    tracks = {packet.track_descriptor.uuid for packet in trace.packet if packet.HasField("track_descriptor")}
    found, flows = {}, Counter[int]()
    depth = Counter[int]()
    # As the trace processor does: by time, those of one time as they stand.
    for packet in sorted(trace.packet, key=lambda packet: packet.timestamp):
        if not packet.HasField("track_event"):
            continue
        event = packet.track_event
        assert event.track_uuid in tracks
        depth[event.track_uuid] += (event.type == BEGIN) - (event.type == END)
        assert depth[event.track_uuid] >= 0
        if list(event.categories) == ["message"]:
            notes = {note.name: note for note in event.debug_annotations}
            found[notes["message"].int_value] = packet.timestamp, event.name
            flows.update(event.flow_ids)
    assert not +depth, "every slice ends"
    said = {one.number: (one.time_ns, f"{one.name} reply" if one.reply else one.name) for one in timeline.messages()}
    assert found == said
    assert flows == {one.answers: 2 for one in timeline.messages() if one.answers}


def test_perfetto_shows_phases_rings_and_findings(tmp_path: Path) -> None:
    (capture,) = [path for path in CAPTURES if path.stem == "qemu-testpmd"]
    trace, timeline = trace_of(export(capture, tmp_path, "perfetto")), vusniff.open_capture(capture)
    names = {packet.track_descriptor.uuid: packet.track_descriptor.name for packet in trace.packet}
    by_track: dict[str, list[tuple[int, str]]] = {}
    for packet in trace.packet:
        if packet.track_event.type in (BEGIN, INSTANT):
            by_track.setdefault(names[packet.track_event.track_uuid], []).append(
                (packet.timestamp, packet.track_event.name)
            )
    phases = [
        (one.start_ns, one.kind.value) for session in timeline.sessions for one in timeline.phases(session.number)
    ]
    assert sorted(by_track["phases"]) == sorted(phases)
    last = timeline.state(len(timeline) - 1)
    assert {f"vring {index}" for index in last.vrings} == {name for name in by_track if name.startswith("vring")}
    assert "armed, enabled" in [said for _, said in by_track["vring 0"]]


def test_pipelined_requests_do_not_share_a_track(tmp_path: Path) -> None:
    synthetic.every(tmp_path / "c.pcapng")
    trace = trace_of(export(tmp_path / "c.pcapng", tmp_path, "perfetto"))
    open_until: dict[int, list[int]] = {}
    for packet in sorted(trace.packet, key=lambda packet: packet.timestamp):
        event = packet.track_event
        if "message" in event.categories and event.type == BEGIN:
            assert not open_until.get(event.track_uuid)
            open_until.setdefault(event.track_uuid, []).append(packet.timestamp)
        elif event.type == END and open_until.get(event.track_uuid):
            open_until[event.track_uuid].pop()


def test_opentelemetry_takes_the_traces(capture: Path, tmp_path: Path) -> None:
    timeline = vusniff.open_capture(capture)
    lines = [json.loads(line) for line in export(capture, tmp_path, "otlp").read_text().splitlines()]
    assert len(lines) == sum(session.count > 0 for session in timeline.sessions)
    numbers: list[int] = []
    for line in lines:
        spans = line["resourceSpans"][0]["scopeSpans"][0]["spans"]
        ids = {span["spanId"] for span in spans}
        assert len(ids) == len(spans)
        assert {span["parentSpanId"] for span in spans[1:]} <= ids
        assert min(int(span["startTimeUnixNano"]) for span in spans) == int(spans[0]["startTimeUnixNano"])
        for span in spans:
            assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
            told = {one["key"]: one["value"] for one in span["attributes"]}
            if "vhost.message" in told:
                numbers.append(int(told["vhost.message"]["intValue"]))
            for key in ("traceId", "spanId", "parentSpanId"):  # hexadecimal in OTLP, base64 in the JSON of protobuf
                if key in span:
                    span[key] = base64.b64encode(bytes.fromhex(span[key])).decode()
        assert ParseDict(line, TracesData()).resource_spans
    assert sorted(numbers) == [one.number for one in timeline.messages() if not one.answers]


def test_duckdb_reads_the_table(capture: Path, tmp_path: Path) -> None:
    out = export(capture, tmp_path, "parquet")
    timeline = vusniff.open_capture(capture)
    rows = duckdb.sql(f"select number, time_ns, name, reply, epoch_ns(time) from '{out}' order by number")
    assert rows is not None
    assert rows.fetchall() == [
        (one.number, one.time_ns, one.name, one.reply, one.time_ns) for one in timeline.messages()
    ]


def test_the_recipes_of_the_page_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (CAPTURES[0].parents[1] / "docs" / "traces.md").read_text("utf-8")
    (capture,) = [path for path in CAPTURES if path.stem == "qemu-ovs"]
    (tmp_path / "session.pcapng").symlink_to(capture)
    monkeypatch.chdir(tmp_path)
    for words in re.findall(r"^    vusniff (export .*)$", page, re.MULTILINE):
        assert main(words.split()) == 0
    capsys.readouterr()
    perfetto, opentelemetry = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(perfetto, {})
    assert len(capsys.readouterr().out.splitlines()) == len(vusniff.open_capture(capture))
    exec(opentelemetry, {})
    assert "SET_MEM_TABLE" in capsys.readouterr().out
    (query,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    assert duckdb.execute(query).fetchall()[0][0] == "GET_QUEUE_NUM"


def test_numbers_that_no_column_holds_are_left_out(tmp_path: Path) -> None:
    """A forged file may say any time and any process id."""
    path = tmp_path / "forged.pcapng"
    with CaptureWriter(path, source="test", order="little") as writer:
        one = writer.open("/run/x", (End(1, Process(1 << 70, "far")), End(2)))
        writer.frame(Frame(one.id, 0, (1 << 63) + 7, bytes.fromhex("010000000100000000000000")))
    out = export(path, tmp_path, "parquet")
    rows = duckdb.sql(f"select number, name, time_ns, pid, time is null from '{out}'")
    assert rows is not None
    assert rows.fetchall() == [(1, "GET_FEATURES", None, None, True)]


def test_a_filter_and_redaction_work(tmp_path: Path) -> None:
    words = ["--filter", "vhost.request == GET_FEATURES", "--redact"]
    for form in ("perfetto", "otlp", "parquet"):
        out = export(CAPTURES[0], tmp_path, form, *words).read_bytes()
        assert b"GET_FEATURES" in out
        assert b"SET_MEM_TABLE" not in out
        assert b".sock" not in out


def test_without_pyarrow_one_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["export", str(CAPTURES[0]), "-o", str(tmp_path / "a.parquet")]) == 2
    assert "parquet needs the Python package pyarrow: install it" in capsys.readouterr().err
