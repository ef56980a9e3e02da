"""A recording in several files: each tells the whole state, and together they hold every message once."""

from __future__ import annotations

import dataclasses
import json
import struct
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from captures import synthetic
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.output import open_path
from vusniff.capture.reader import CaptureReader
from vusniff.capture.recording import Recording
from vusniff.capture.rotation import FileNames, Rotation, Turn
from vusniff.capture.writer import CaptureWriter
from vusniff.checks.table import RULES
from vusniff.cli import main
from vusniff.errors import CaptureError
from vusniff.families.vhost_user.state import Vrings
from vusniff.record import Closed, Connection, Evidence, Frame, Lost
from vusniff.values import replace
from vusniff.views.metrics import Counts
from vusniff.views.text import RESTATED
from vusniff.views.tui.rows import Answer, cells

CAPTURES = sorted((Path(__file__).parent.parent / "captures").glob("*.pcapng"))


class Playing:
    """Gives the records of a capture to a recording, one by one."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.ids: dict[int, int] = {}
        self.messages = 0

    def give(self, record: Connection | Frame | Closed | Lost | Evidence) -> None:
        to, ids = self.recording, self.ids
        if isinstance(record, Connection):
            opened = to.open(record.path, record.ends, record.opened_ns, record.joined_late, record.family)
            ids[record.id] = opened.id
        elif isinstance(record, Frame):
            to.frame(replace(record, connection=ids[record.connection]))
            self.messages += 1
        elif isinstance(record, Closed):
            to.close_connection(replace(record, connection=ids[record.connection]))
        elif isinstance(record, Lost):
            to.lost(replace(record, connection=record.connection and ids[record.connection]))
        else:
            to.evidence(replace(record, ends=tuple((ids[one], end) for one, end in record.ends)))


def begin(path: str) -> CaptureWriter:
    return CaptureWriter(open_path(path), source="test")


def rotation(folder: Path, turn: Turn, said: list[str]) -> Rotation:
    return Rotation(FileNames(str(folder / "part.pcapng")), turn, begin, said.append)


def timeline_of(path: Path | str) -> Timeline:
    timeline = Timeline(Index([str(path)]))
    read_all(timeline, judge=True)
    timeline.conclude()
    return timeline


NUMBERED = ("by", "regions_by", "dma_by", "triggers_by", "reset", "refused", "failed")
"""Numbers of messages, which are others in each file; and refusals, which are no part of the state."""


def plain(value: object) -> object:
    """A state without the numbers of the messages that made it."""
    if isinstance(value, Vrings):
        return {index: plain(ring) for index, ring in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [one.name for one in dataclasses.fields(value)]
        return {name: plain(getattr(value, name)) for name in names if name not in NUMBERED}
    if isinstance(value, Mapping):
        return {repr(key): plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value


def states(timeline: Timeline) -> dict[object, object]:
    """What the device of each session is at its end, by what tells sessions apart in every file."""
    found: dict[object, object] = {}
    for session in timeline.sessions:
        connection = timeline.tracker.connections(session)[0]
        inodes = tuple(end.inode for end in connection.ends)
        found[connection.path, inodes, connection.opened_ns] = plain(timeline.state(session.last - 1))
    return found


def every_request(folder: Path) -> Path:
    path = folder / "every.pcapng"
    synthetic.every(path)
    return path


@pytest.mark.parametrize("name", [*(path.stem for path in CAPTURES), "every"])
def test_a_file_that_begins_in_the_middle_tells_the_whole_state(name: str, tmp_path: Path) -> None:
    path = every_request(tmp_path) if name == "every" else CAPTURES[0].with_name(f"{name}.pcapng")
    with CaptureReader(path) as reader:
        records = list(reader.records())
    whole = states(timeline_of(path))
    compared = 0
    for cut in range(1, 8):
        folder = tmp_path / str(cut)
        folder.mkdir()
        turned = rotation(folder, Turn(size=1), [])  # full at once: the next file begins when it is flushed
        playing = Playing(turned)
        for number, record in enumerate(records):
            if number == len(records) * cut // 8:
                turned.flush()
            playing.give(record)
        turned.close()
        last = sorted(folder.iterdir())[-1]
        found = states(timeline_of(last))
        compared += len(found)
        assert found.items() <= whole.items(), cut
        assert turned.number == playing.messages
    assert compared >= 7


def test_every_message_stands_in_one_file_unmarked(tmp_path: Path) -> None:
    path = CAPTURES[0].with_name("qemu-testpmd.pcapng")
    turned = rotation(tmp_path, Turn(size=4000), [])
    playing = Playing(turned)
    with CaptureReader(path) as reader:
        records = list(reader.records())
    for record in records:
        playing.give(record)
        turned.flush()
    turned.close()
    parts = sorted(tmp_path.iterdir())
    assert [one.name for one in parts] == [f"part_{number:05}.pcapng" for number in range(1, len(parts) + 1)]
    # What is restated is more than 4000 bytes by the end: each file has half as much that is new.
    assert 3 < len(parts) <= 1 + path.stat().st_size // 2000
    fresh: list[bytes] = []
    again = 0
    for part in parts:
        with CaptureReader(part) as reader:
            for record in reader.records():
                if isinstance(record, Frame):
                    again += record.restated
                    fresh += [] if record.restated else [record.data]
    assert fresh == [record.data for record in records if isinstance(record, Frame)]
    assert again > 0
    last = timeline_of(parts[-1])
    shown = [cells(last, row, Answer.NONE).values.startswith(RESTATED) for row in range(len(last))]
    assert shown == [last.message(row).restated for row in range(len(last))]
    assert True in shown


def test_the_parts_count_as_the_whole(tmp_path: Path) -> None:
    path = every_request(tmp_path)
    folder = tmp_path / "parts"
    folder.mkdir()
    turned = rotation(folder, Turn(size=1), [])
    playing = Playing(turned)
    with CaptureReader(path) as reader:
        for number, record in enumerate(reader.records()):
            playing.give(record)
            if number % 29 == 28:
                turned.flush()
    turned.close()
    counts, parts = Counts(RULES), Counts(RULES)
    with CaptureReader(path) as reader:
        for batch in reader.batches():
            counts.take(batch, reader.order)
    made = sorted(folder.iterdir())
    for number, one in enumerate(made):
        if number:
            parts.next_file()
        with CaptureReader(one) as reader:
            for batch in reader.batches():
                parts.take(batch, reader.order)
    assert len(made) > 3

    def totals(text: str) -> list[str]:
        # What is wrong over a while is not found where a file ends in between.
        names = ("messages_total", "sessions_total", "reconnects_total", "lost_messages_total")
        return [line for line in text.splitlines() if line.startswith(tuple(f"vusniff_{name} " for name in names))]

    assert totals(parts.text()) == totals(counts.text())
    assert f"vusniff_messages_total {playing.messages}" in totals(counts.text())
    assert "vusniff_findings_total{" in counts.text()


def test_restated_messages_are_marked_and_not_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turned = rotation(tmp_path, Turn(size=1), [])
    opened = turned.open("/run/x.sock", opened_ns=1)
    # Bit 63 is acknowledged, and was never offered: a finding where it is said first.
    for number, (request, value) in enumerate([(1, 1 << 30), (3, None), (2, 1 << 63 | 1 << 30), (10, 5 << 32)]):
        payload = b"" if request in (1, 3) else (value or 0).to_bytes(8, "little")
        turned.frame(Frame(opened.id, 0, 10 + number, struct.pack("<III", request, 1, len(payload)) + payload))
        if request == 1:
            turned.frame(Frame(opened.id, 1, 11, struct.pack("<IIIQ", request, 5, 8, value or 0)))
    turned.flush()
    turned.frame(Frame(opened.id, 0, 20, struct.pack("<IIIII", 8, 1, 8, 0, 256)))
    turned.close()
    first, last = sorted(tmp_path.iterdir())
    assert [one.rule for one in timeline_of(first).checker.findings] == ["features-not-offered"]
    assert not timeline_of(last).checker.findings
    assert main(["summary", str(last)]) == 0
    assert "; 5 of them restated: sent before this file begins" in " ".join(capsys.readouterr().out.split())
    assert main(["read", str(last)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("(restated)") or "(restated) (to #" in line for line in lines] == [True] * 5 + [False]
    assert main(["read", "--json", str(last)]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one.get("restated", False) for one in said] == [True] * 5 + [False]
    assert main(["read", "-v", "--filter", "vhost.restated", str(last)]) == 0
    assert capsys.readouterr().out.count("restated: sent before this file begins") == 5


def test_only_the_newest_files_stay(tmp_path: Path) -> None:
    (tmp_path / "part_00002.pcapng").write_bytes(b"of somebody else")
    turned = rotation(tmp_path, Turn(size=1, files=2), [])
    opened = turned.open("/run/x.sock")
    for number in range(5):
        turned.frame(Frame(opened.id, 0, number, struct.pack("<III", 3, 1, 0)))
        turned.flush()
    turned.close()
    names = [one.name for one in sorted(tmp_path.iterdir())]
    assert names == ["part_00002.pcapng", "part_00006.pcapng", "part_00007.pcapng"]


def test_a_file_of_that_time_is_not_written_over(tmp_path: Path) -> None:
    names = FileNames(str(tmp_path / "%Y.pcapng.zst"))
    first = Path(names.next())
    assert first.name == time.strftime("%Y.pcapng.zst")
    first.touch()
    assert names.next() == str(first).replace(".pcapng", "-1.pcapng")


def test_what_cannot_be_begun_goes_on_in_the_file_in_hand(tmp_path: Path) -> None:
    said: list[str] = []
    made: list[str] = []

    def once(path: str) -> CaptureWriter:
        if made:
            raise CaptureError(f"cannot write {path}: No space left on device")
        made.append(path)
        return begin(path)

    turned = Rotation(FileNames(str(tmp_path / "part.pcapng")), Turn(size=1), once, said.append)
    opened = turned.open("/run/x.sock")
    for number in range(3):
        turned.frame(Frame(opened.id, 0, number, struct.pack("<III", 3, 1, 0)))
        turned.flush()
    turned.close()
    (sentence,) = said
    assert sentence.endswith(f"No space left on device; recording goes on in {made[0]}")
    assert len(timeline_of(made[0])) == 3
