"""What a capture costs: no payload is kept, and work grows with messages and connections alone."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from talk import Talk, eventfd, memfd, region, u32, u64

from vusniff.analysis import compose
from vusniff.analysis.driver import Driver
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.reader import CaptureReader
from vusniff.checks.table import RULES
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.views import jsonl
from vusniff.views.export import lines, mermaid, report, svg, webpage
from vusniff.views.export.chosen import Chosen
from vusniff.views.findings import Judged
from vusniff.views.text import Lines

PAYLOAD = 60_000
COUNT = 250


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large payloads, each another, in replies, in requests that wait for an answer for ever, and in unknown ones."""
    talk = Talk(tmp_path_factory.mktemp("large") / "large.pcapng")
    peers = talk.connect()
    for number in range(COUNT):
        peers.ask(F.GET_CONFIG, u32(0, 256, 0) + bytes(256))
        peers.answer(F.GET_CONFIG, u32(0, PAYLOAD, 0) + number.to_bytes(4, "little") * (PAYLOAD // 4))
        peers.ask(F.SET_CONFIG, u32(0, PAYLOAD, 0) + number.to_bytes(4, "little") * (PAYLOAD // 4), need_reply=True)
        peers.ask(900 + number, number.to_bytes(4, "little") * (PAYLOAD // 4), need_reply=True)
        peers.ask(F.SET_MEM_TABLE, u32(8, 0) + region(number, 1, 2) * 8, *map(memfd, range(number, number + 100)))
        talk.writer.flush()
    return talk.path  # without its end, with which everything is let go


def kept_of(work: Callable[[], object]) -> int:
    """Bytes that are still there when some work is done, and what it returns is held."""
    tracemalloc.start()
    try:
        held = work()
        return tracemalloc.get_traced_memory()[0] if held else 0
    finally:
        tracemalloc.stop()


def judged(path: Path) -> object:
    one = Judged(RULES)
    with CaptureReader(path) as reader:
        for batch in reader.batches(max_rows=50):
            one.take(batch, reader.order)
    return one


def printed(path: Path) -> object:
    driver, made, text = Driver(), jsonl.JsonLines(), Lines()
    with CaptureReader(path) as reader:
        for batch in reader.batches(max_rows=50):
            first = driver.count + 1
            placed = driver.place_batch(batch, reader.order)
            made.lines(first, batch, placed.places, placed.answers)
            text.lines(first, batch, placed.places, placed.answers)
    return made, text, driver


def looked_at(path: Path) -> object:
    timeline = Timeline(Index(path))
    read_all(timeline)
    while timeline.analyse(50):
        pass
    states = [timeline.state(row) for row in range(0, len(timeline), 100)]
    timeline.conclude()
    return timeline, states


@pytest.mark.parametrize("work", [judged, printed, looked_at])
def test_nothing_of_the_size_of_a_payload_is_kept(large: Path, work: Callable[[Path], object]) -> None:
    work(large)  # what is made once does not count
    assert large.stat().st_size > COUNT * PAYLOAD * 2
    assert kept_of(lambda: work(large)) < 6 << 20


def test_a_session_that_stays_open_and_says_nothing_more_takes_little(tmp_path: Path) -> None:
    """Any user of a host can open very many and hold them."""
    counts, kept = (100, 400), []
    for count in counts:
        talk = Talk(tmp_path / f"{count}.pcapng")
        for number in range(count):
            talk.connect(path=f"/run/vm{number}.sock").ask(F.GET_FEATURES)
        talk.writer.flush()
        judged(talk.path)  # what is made once does not count
        kept.append(kept_of(lambda path=talk.path: judged(path)))  # type: ignore[misc]
    assert (kept[1] - kept[0]) / (counts[1] - counts[0]) < 7000


def many(path: Path, sessions: int) -> Timeline:
    """As many connections, each with a session of its own and a few findings."""
    talk = Talk(path)
    for number in range(sessions):
        peers = talk.connect(path=f"/run/vm{number}.sock")
        peers.ask(F.GET_FEATURES)
        peers.answer(F.GET_FEATURES, u64(1 << 32))
        peers.ask(F.SET_FEATURES, u64(1 << 32))
        peers.ask(F.SET_VRING_KICK, u64(0), eventfd(number))
        peers.close()
    talk.writer.close()
    timeline = Timeline(Index(path))
    while timeline.update(400, judge=True):
        pass
    timeline.conclude()
    return timeline


def steps_of(work: Callable[[], object]) -> int:
    """Instructions of Python that some work takes, in our own code."""
    count = 0

    def step(frame: FrameType, event: str, arg: object) -> Callable[..., Any]:
        nonlocal count
        count += event == "opcode"
        return step

    def call(frame: FrameType, event: str, arg: object) -> Callable[..., Any] | None:
        if "vusniff" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return step

    before = sys.gettrace()
    sys.settrace(call)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


EXPORTS: dict[str, Callable[[Chosen], object]] = {
    "html": lambda chosen: list(webpage.webpage(chosen)),
    "mermaid": lambda chosen: list(mermaid.mermaid(chosen)),
    "svg": lambda chosen: list(svg.svg(chosen)),
    "markdown": lambda chosen: list(report.report(chosen)),
    "csv": lambda chosen: list(lines.comma_separated(chosen)),
    "read": lambda chosen: many(Path(chosen.names[0]).with_name("again.pcapng"), len(chosen.timeline.sessions)),
}


@pytest.mark.parametrize("export", EXPORTS.values(), ids=EXPORTS)
def test_work_grows_with_connections_and_not_with_their_square(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, export: Callable[[Chosen], object]
) -> None:
    # Messages of the first sessions are remembered and those of more are not: that is no growth with their square.
    monkeypatch.setattr(compose, "REMEMBERED", 16)
    costs = []
    many(tmp_path / "first.pcapng", 2)
    for sessions in (60, 120, 240):
        path = tmp_path / f"{sessions}.pcapng"
        timeline = many(path, sessions)
        chosen = Chosen(timeline, range(len(timeline)), [str(path)], 100_000)
        costs.append(steps_of(partial(export, chosen)))
    # Twice as many sessions more: twice the steps, within what numbers of more digits add.
    assert costs[2] - costs[1] < 2.2 * (costs[1] - costs[0]), costs


def test_a_report_of_many_sessions_shows_some_in_full_and_tells_of_the_rest(tmp_path: Path) -> None:
    """Of 10,500 sessions it was 68 MB and took a minute: each repeated the table of all."""
    path = tmp_path / "many.pcapng"
    sessions = report.SESSIONS + 20
    timeline = many(path, sessions)
    made = "".join(report.report(Chosen(timeline, range(len(timeline)), [str(path)])))
    assert made.count("# vhost-user capture") == made.count("\n## Capture") == made.count("\n## Sessions") == 1
    assert made.count("\n## Session ") == made.count("\n## Negotiated") == report.SESSIONS
    assert made.count("\n## 20 more sessions are not shown\n\n- 20 of them have findings") == 1
    assert f"the first is session {report.SESSIONS + 1};" in made
    one = "".join(report.report(Chosen(timeline, timeline.rows_of(sessions), [str(path)])))
    assert one.count("\n## Session ") == 1
    assert f"\n## Session {sessions}\n" in one
    assert "not shown" not in one
