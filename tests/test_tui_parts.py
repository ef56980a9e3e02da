"""The parts of the terminal view, each alone: no Textual application runs, and time passes only when a test says so."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_tui import QEMU, RECONNECT, message, u64, written
from textual.notifications import SeverityLevel

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.errors import FilterError
from vusniff.filter import compile_filter
from vusniff.record import Frame
from vusniff.views import tui
from vusniff.views.tui import overlays, scrub
from vusniff.views.tui.analysis import States
from vusniff.views.tui.application import Application
from vusniff.views.tui.dividing import Dividing
from vusniff.views.tui.exporting import Exporting
from vusniff.views.tui.filtering import Filtering
from vusniff.views.tui.finder import Finder
from vusniff.views.tui.judging import Judging
from vusniff.views.tui.line import TextLine
from vusniff.views.tui.overlays import Overlay
from vusniff.views.tui.pace import NEXT_SECONDS, POLL_SECONDS
from vusniff.views.tui.playback import Playback
from vusniff.views.tui.reading import NOTES, CaptureReading
from vusniff.views.tui.timeline import TimelineView

KNOW_THE_APPLICATION = {"__init__.py", "picture.py"}
LONGEST_WAIT = 100_000
"""Calls of `later` after which a part is taken for one that never ends."""


class Bare:
    """An application with nothing but what a part asks for."""

    def __init__(self, timeline: Timeline, live: bool = False) -> None:
        self.timeline = timeline
        self.live = live
        self.view = TimelineView(timeline, live=live)
        self.view.grown()
        self.announced: list[str] = []
        self.jumps: list[int] = []
        self.waiting: list[tuple[float, Callable[[], None]]] = []
        self.limited: Callable[[Sequence[int] | None], None] = lambda rows: None

    def announce(self, sentence: str, severity: SeverityLevel = "information", /) -> None:
        self.announced.append(sentence)

    def refresh_top(self) -> None:
        pass

    def later(self, seconds: float, action: Callable[[], None], /) -> None:
        self.waiting.append((seconds, action))

    def jump_to(self, row: int, /) -> None:
        self.jumps.append(row)
        self.view.go_to(row)

    def limit(self, rows: Sequence[int] | None, words: str, session: int | None = None, /) -> None:
        self.limited(rows)
        self.view.show_rows(rows, words, session)

    def step(self) -> float:
        """Do what waits longest; how many seconds it wanted to wait."""
        seconds, action = self.waiting.pop(0)
        action()
        return seconds

    def work(self) -> None:
        """Do what there is to do, until parts wait for something to happen."""
        for _ in range(LONGEST_WAIT):
            if not any(seconds == NEXT_SECONDS for seconds, _ in self.waiting):
                return
            self.step()
        raise AssertionError("it never ends")


@contextmanager
def bare(path: Path, *, read: bool = True, live: bool = False) -> Iterator[Bare]:
    with Index([path]) as index:
        timeline = Timeline(index)
        if read:
            read_all(timeline)
        yield Bare(timeline, live)


def judged(app: Bare) -> Judging:
    judging = Judging(app, lambda rows: None)
    judging.finish()
    return judging


def picked(app: Bare, overlay: Overlay | None, key: str) -> None:
    """Pick the line with a key, as `screens.LinesScreen` does."""
    assert overlay is not None
    assert overlay.picked is not None
    overlay.picked(next(line for line in overlay.make(120) if line.key == key))


def test_no_part_knows_the_application() -> None:
    """Not for type checking either, which the import contract does not see."""
    folder = Path(tui.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == f"{tui.__name__}.app":
                assert path.name in KNOW_THE_APPLICATION
            if isinstance(node, ast.ImportFrom) and node.module == f"{tui.__name__}.parts":
                assert path.name == "app.py"


def test_a_bare_application_is_one() -> None:
    with bare(QEMU) as app:
        part: Application = app
        assert {name for name in vars(Application) if not name.startswith("_")} <= set(dir(part))


# -- reading ----------------------------------------------------------------------------------------------------------


def test_reading_goes_on_to_the_end_and_stops() -> None:
    with bare(QEMU, read=False) as app:
        reading = CaptureReading(app)
        assert reading.words == "reading 0 %"
        reading.go_on()
        app.work()
        assert app.timeline.complete
        assert app.view.count == len(app.timeline) > 0
        assert (reading.words, app.waiting) == ("", [])


def test_reading_waits_for_a_capture_that_grows(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "live.pcapng", source="test", order="little") as writer:
        connection = writer.open("/run/live.sock")
        writer.flush()
        with bare(tmp_path / "live.pcapng", live=True) as app:
            reading = CaptureReading(app)
            reading.go_on()
            assert reading.words == "live, standing still (f follows)"
            app.view.follow = True
            assert reading.words == "following"
            for number in range(3):
                writer.frame(Frame(connection.id, 0, 1_700_000_000_000_000_000 + number, message(3)))
            writer.flush()
            while len(app.timeline) < 3:
                assert app.step() in (NEXT_SECONDS, POLL_SECONDS)
            assert app.view.row == 2


def test_reading_announces_what_was_skipped(tmp_path: Path) -> None:
    cut = tmp_path / "cut.pcapng"
    cut.write_bytes(QEMU.read_bytes()[:-7])
    with bare(cut, read=False) as app:
        CaptureReading(app).go_on()
        app.work()
        assert app.announced == app.timeline.index.notes[:NOTES] != []


# -- judging ----------------------------------------------------------------------------------------------------------


def test_judging_finds_all_in_slices() -> None:
    with bare(RECONNECT) as app:
        rows: set[int] = set()
        judging = Judging(app, rows.update)
        assert judging.words == "judging 0 %"
        judging.go_on()
        app.work()
        assert list(judging.numbers) == [66, 74]
        assert rows == {65, 73}
        assert judging.counts(False) == "1 warning, 2 notes"
        assert judging.counts(True) == "1W 2N"
        assert (judging.words, app.waiting) == ("", [])


def test_judging_waits_while_keys_come() -> None:
    with bare(RECONNECT) as app:
        judging = Judging(app, lambda rows: None)
        judging.wait()
        judging.go_on()
        assert app.timeline.analysed == 0
        assert [seconds for seconds, _ in app.waiting] == [POLL_SECONDS]


def test_findings_are_gone_to_around_the_end_and_only_where_shown() -> None:
    with bare(RECONNECT) as app:
        judging = judged(app)
        for step in (1, 1, 1, -1):
            judging.next(step)
        assert app.jumps == [65, 73, 65, 73]
        assert app.announced == ["Went on from the other end"] * 2
        app.limit([0, 1, 2], "three", None)
        judging.next(1)
        assert len(app.jumps) == 4
        assert app.announced[-1] == "Nothing was found among the messages shown: Esc shows all"


# -- dividing ---------------------------------------------------------------------------------------------------------


def test_dividing_makes_headings_of_all_or_of_one_session() -> None:
    with bare(RECONNECT) as app:
        dividing = Dividing(app)
        assert not dividing.ready()
        assert app.announced == ["The phases are still being worked out"]
        dividing.begin()
        app.work()
        assert dividing.ready()
        assert {session for session, _ in app.view.shown.phases} == {1, 2}
        app.limit(app.timeline.rows_of(2), "session 2", 2)
        dividing.begin()
        app.work()
        assert {session for session, _ in app.view.shown.phases} == {2}


def test_dividing_leaves_the_rows_of_a_filter_alone() -> None:
    with bare(RECONNECT) as app:
        dividing = Dividing(app)
        app.limit([1, 2, 3], "a filter", None)
        dividing.begin()
        app.work()
        assert not app.view.shown.phases
        assert not dividing.ready()
        assert app.announced == ["Phases are shown with all messages or a whole session: Esc shows all"]


# -- filtering --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["vring.index == 1", "finding.severity >= warning", "vhost.request == 4711"])
def test_filtering_shows_what_passes(text: str) -> None:
    with bare(RECONNECT) as app:
        filtering = Filtering(app)
        app.limited = filtering.limited
        app.view.go_to(70)
        filtering.apply(text)
        app.work()
        expected = list(compile_filter(text).rows(app.timeline))
        assert list(app.view.rows or ()) == expected
        assert app.view.words == text
        assert filtering.words == ""
        if expected:
            assert app.view.row == max((row for row in expected if row <= 70), default=expected[0])
        filtering.apply("")
        assert app.view.rows is None
        assert filtering.text == ""


def test_filtering_stops_and_keeps_what_it_found(tmp_path: Path) -> None:
    path = written(tmp_path / "a.pcapng", [(0, message(3))] * 3)
    with bare(path) as app:
        filtering = Filtering(app)
        app.limited = filtering.limited
        filtering.apply("finding.severity >= note")
        app.waiting.clear()
        assert filtering.stop() is False  # so few messages are looked at at once
        with pytest.raises(FilterError):
            filtering.apply("vring.index = ")
        assert filtering.text == "finding.severity >= note"
        app.limit(None, "")
        assert filtering.text == ""


# -- finding ----------------------------------------------------------------------------------------------------------


def test_finder_goes_to_hits_numbers_and_vrings() -> None:
    with bare(QEMU) as app:
        vrings: list[int] = []
        finder = Finder(app, vrings.append)
        assert not finder.again(1)
        finder.find("SET_STATUS")
        app.work()
        hits = [row for row in range(len(app.timeline)) if "SET_STATUS" in app.timeline.message(row).name]
        assert app.jumps == hits[:1]
        assert (app.view.hit, finder.words) == ("set_status", "")
        finder.find("no such thing")
        app.work()
        finder.go_to("60")
        finder.go_to("v3")
        finder.go_to("soon")
        assert app.jumps == [hits[0], 59]
        assert vrings == [3]
        assert app.announced[0] == "No message has 'no such thing'"
        assert app.announced[1].startswith("soon: give 1234 number, ")


# -- exporting --------------------------------------------------------------------------------------------------------


def test_exporting_writes_the_rows_that_are_shown(tmp_path: Path) -> None:
    with bare(RECONNECT) as app:
        exporting = Exporting(app, "a title", lambda: None)
        judged(app)
        app.limit(app.timeline.rows_of(2), "session 2", 2)
        target = tmp_path / "out.jsonl"
        exporting.begin(str(target))
        app.work()
        numbers = [json.loads(line)["number"] for line in target.read_text().splitlines()]
        assert numbers == [row + 1 for row in app.timeline.rows_of(2)]
        assert app.announced == [f"Wrote {len(numbers)} messages to {target}"]


def test_exporting_asks_before_it_replaces_a_file(tmp_path: Path) -> None:
    with bare(QEMU) as app:
        asked: list[bool] = []
        exporting = Exporting(app, "a title", lambda: asked.append(True))
        judged(app)
        target = tmp_path / "out.txt"
        target.write_text("mine")
        exporting.begin(str(target))
        assert asked == [True]
        exporting.answered("n")
        assert target.read_text() == "mine"
        exporting.answered("y")
        app.work()
        assert len(target.read_text().splitlines()) == len(app.timeline)
        assert app.announced[0] == f"{target} stays as it is"


def test_exporting_waits_for_judging_and_is_stopped(tmp_path: Path) -> None:
    with bare(QEMU) as app:
        exporting = Exporting(app, "a title", lambda: None)
        exporting.begin(str(tmp_path / "out.unknown"))
        assert app.announced.pop().startswith(f"{tmp_path}/out.unknown: give a file to write")
        target = tmp_path / "out.txt"
        exporting.begin(str(target))
        assert exporting.words.startswith("writing out.txt")
        assert target.exists()
        assert exporting.stop()
        assert not target.exists()
        app.step()
        assert (app.waiting, exporting.words) == ([], "")


# -- overlays ---------------------------------------------------------------------------------------------------------


def test_a_picked_session_is_shown_alone() -> None:
    with bare(RECONNECT) as app:
        app.view.go_to(100)
        overlay = overlays.pick_session(app)
        assert overlay.key == "session 2"
        picked(app, overlay, "session 1")
        assert app.view.session == 1
        assert list(app.view.rows or ()) == list(app.timeline.rows_of(1))
        picked(app, overlays.pick_session(app), "session 0")
        assert app.view.rows is None


def test_a_picked_finding_is_gone_to() -> None:
    with bare(RECONNECT) as app:
        judging = Judging(app, lambda rows: None)
        assert overlays.pick_finding(app, judging) is None
        assert app.announced == ["Nothing was found yet"]
        judging.finish()
        app.view.go_to(70)
        overlay = overlays.pick_finding(app, judging)
        assert overlay is not None
        assert (overlay.title, overlay.key) == ("Findings: 1 warning, 2 notes", "finding 74")
        picked(app, overlay, "finding 66")
        assert app.jumps == [65]


def no_overlay(_: overlays.Overlay | None) -> None:
    """For what asks nothing more."""


def test_the_state_is_shown_as_of_the_selected_message() -> None:
    with bare(QEMU) as app:
        states = States(app.timeline)
        app.view.go_to(59)
        picked(app, overlays.memory_map(app, states), "region 0")
        assert app.timeline.message(app.jumps.pop()).name == "SET_MEM_TABLE"
        matrix = overlays.feature_matrix(app, states)
        assert matrix is not None
        assert any(" VERSION_1 " in line.text for line in matrix.make(100))
        assert overlays.compare_sessions(app, states, no_overlay) is None
        assert app.announced == ["There is no other session to compare with"]


def test_two_sessions_are_compared() -> None:
    with bare(RECONNECT) as app:
        app.view.go_to(129)
        overlay = overlays.compare_sessions(app, States(app.timeline), no_overlay)
        assert overlay is not None
        assert overlay.title == "Session 1, then 2"
        assert "session 1 after #65" in overlay.make(100)[0].text


def test_explained_are_the_message_and_its_rules_or_the_chosen_rule() -> None:
    with bare(RECONNECT) as app:
        judged(app)
        app.view.go_to(65)
        whole = overlays.explain(app, None)
        rule = overlays.explain(app, TextLine(key="rule owner-first"))
        assert whole is not None
        assert rule is not None
        assert "SET_VRING_ENABLE" in whole.title
        assert rule.title == "Rule owner-first"
        assert "owner-first: rule" in rule.make(80)[0].text


def test_an_empty_capture_has_nothing_over_it(tmp_path: Path) -> None:
    with bare(written(tmp_path / "empty.pcapng", [])) as app:
        states = States(app.timeline)
        assert overlays.explain(app, None) is None
        for overlay in (overlays.feature_matrix, overlays.memory_map):
            assert overlay(app, states) is None
        assert overlays.compare_sessions(app, states, no_overlay) is None
        assert overlays.pick_session(app).key == "session 0"


# -- the bar and playback ---------------------------------------------------------------------------------------------


def test_the_bar_has_phases_findings_and_a_row_for_every_cell() -> None:
    with bare(RECONNECT) as app:
        judged(app)
        dividing = Dividing(app)
        dividing.begin()
        app.work()
        shown = app.view.shown
        names, bar = scrub.drawn(shown, app.timeline, 100)
        assert len(names) == len(bar) == 100
        assert names.split() == ["start", "stop"] * 2
        assert {text for text, _ in bar} == {"─", "┬", "W", "N"}
        assert bar[scrub.cell_of(shown, 65, 100)][0] == "W"
        rows = [scrub.row_at(shown, cell, 100) for cell in range(-1, 101)]
        assert (rows[0], rows[-1]) == (0, len(app.timeline) - 1)
        assert rows == sorted(row for row in rows if row is not None)


def test_the_bar_shows_only_what_is_shown() -> None:
    with bare(RECONNECT) as app:
        judged(app)
        app.limit([70, 73, 90], "three", None)
        assert [text for text, _ in scrub.drawn(app.view.shown, app.timeline, 3)[1]] == ["─", "N", "─"]
        assert scrub.row_at(app.view.shown, 1, 3) == 73
        app.limit([], "none", None)
        assert scrub.row_at(app.view.shown, 1, 3) is None


def test_playback_moves_with_time_and_stops_at_the_end(tmp_path: Path) -> None:
    now = [1000.0]
    path = written(tmp_path / "a.pcapng", [(0, message(3)), (0, message(2, u64(0))), (0, message(16, u64(0)))])
    with bare(path) as app:
        played = Playback(app, lambda: now[0])
        assert played.toggle()
        assert played.words == "playing 1x"
        app.step()
        assert app.view.row == 0
        now[0] += 0.0015
        app.step()
        assert app.view.row == 1
        now[0] += 0.001
        app.step()
        assert app.view.row == 2
        assert (played.playing, played.words, app.waiting) == (False, "", [])


def test_playback_goes_on_from_where_the_bar_was_clicked() -> None:
    now = [1000.0]
    with bare(QEMU) as app:
        played = Playback(app, lambda: now[0])
        played.toggle()
        played.seek(50)
        app.step()
        assert app.view.row == 50
        played.change(100)
        now[0] += 1
        app.step()
        assert app.view.row == 60, "without gaps it plays ten a second"
        assert not played.toggle()
        app.step()
        assert app.waiting == []


def test_playback_ends_where_no_rows_are_left() -> None:
    with bare(QEMU) as app:
        played = Playback(app)
        played.toggle()
        app.limit([], "none", None)
        app.step()
        assert not played.playing
