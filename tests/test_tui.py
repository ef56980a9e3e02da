"""The terminal view driven by keys, on real captures and on made ones."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from captures import synthetic
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.record import Closed, Connection, Descriptor, DescriptorKind, End, Facts, Frame, Lost, Process
from vusniff.views.tui.app import TuiApp
from vusniff.views.tui.bars import Foot, Top
from vusniff.views.tui.panes import LinesView
from vusniff.views.tui.rows import Clock
from vusniff.views.tui.screens import LinesScreen

pytestmark = pytest.mark.asyncio

CAPTURES = Path(__file__).parent.parent / "captures"
QEMU = CAPTURES / "qemu-testpmd.pcapng"
RECONNECT = CAPTURES / "virtio-user-packed-reconnect.pcapng"

Opened = tuple[TuiApp, Pilot[int]]


@asynccontextmanager
async def opened(*paths: Path, size: tuple[int, int] = (120, 40), follow: bool = False) -> AsyncIterator[Opened]:
    """The terminal view on captures, read to their end."""
    with Index(list(paths)) as index:
        timeline = Timeline(index)
        read_all(timeline)
        app = TuiApp(timeline, paths[0].name, follow=follow)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            yield app, pilot


def screen_text(app: TuiApp) -> str:
    """What is painted, line by line. Textual has no public name for it."""
    width, height = app.size
    lines = app.screen._compositor.render_strips(app.size)
    assert len(lines) == height
    return "\n".join("".join(segment.text for segment in strip)[:width] for strip in lines)


def notices(app: TuiApp) -> list[str]:
    """What the user was told. Textual has no public name for it, and paints none of it in a test."""
    return [note.message for note in app._notifications]


def state_text(app: TuiApp) -> str:
    return "\n".join(line.text for line in app.selected.state.lines)


def details_text(app: TuiApp) -> str:
    return "\n".join(line.text for line in app.selected.details.lines)


def overlay_text(app: TuiApp) -> str:
    assert isinstance(app.screen, LinesScreen)
    return "\n".join(line.text for line in app.screen.query_one(LinesView).lines)


def u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def message(request: int, payload: bytes = b"", flags: int = 1) -> bytes:
    return request.to_bytes(4, "little") + flags.to_bytes(4, "little") + len(payload).to_bytes(4, "little") + payload


def written(path: Path, frames: list[tuple[int, bytes]], *, name: str = "ram", close: bool = True) -> Path:
    """A capture of one connection; every frame is (end, bytes), a millisecond apart."""
    with CaptureWriter(path, source="test", order="little") as writer:
        ends = (End(1, Process(10, "front")), End(2, Process(20, "back")))
        connection: Connection = writer.open("/run/test.sock", ends, 1_700_000_000_000_000_000)
        for number, (end, data) in enumerate(frames):
            fds = (Descriptor(DescriptorKind.MEMFD, "memfd:7", 5, name, 4096),) if data[0] == 12 else ()
            writer.frame(Frame(connection.id, end, 1_700_000_000_000_000_000 + number * 1_000_000, data, Facts(fds)))
        if close:
            writer.close_connection(Closed(connection.id, 1_700_000_001_000_000_000, "eof", 0, len(frames)))
    return path


async def test_the_timeline_shows_every_message_in_words() -> None:
    async with opened(QEMU) as (app, pilot):
        await pilot.press("end")
        await pilot.pause()
        text = screen_text(app)
        assert f"{len(app.timeline)} messages" in text
        assert f" {len(app.timeline)} " in text
        assert "front -> back" in text
        assert app.view.row == len(app.timeline) - 1


async def test_moving_the_cursor_moves_state_details_and_bytes() -> None:
    async with opened(QEMU) as (app, pilot):
        app.view.go_to(59)
        await pilot.pause()
        assert app.selected.state.border_title == "State after #60: * is what it changed"
        assert "* kick       eventfd:17" in state_text(app)
        assert "SET_VRING_KICK" in details_text(app)
        assert "0000 [0c 00 00 00]01" in screen_text(app)
        await pilot.press("up")
        await pilot.pause()
        assert "kick       -" in state_text(app)
        assert "SET_VRING_ADDR" in details_text(app)
        assert "r0 + 0xff62000" in state_text(app)
        assert "region 0 + 0xff62000" in details_text(app)


async def test_a_request_and_its_reply_are_one_exchange() -> None:
    async with opened(QEMU) as (app, pilot):
        app.view.go_to(49)
        await pilot.pause()
        assert app.view.exchange() == (49, 50)
        assert "▸ ┌" in screen_text(app)
        await pilot.press("r")
        assert app.view.row == 50
        await pilot.press("r")
        assert app.view.row == 49


async def test_enter_on_a_state_value_leads_to_the_message_that_set_it() -> None:
    async with opened(QEMU) as (app, pilot):
        app.view.go_to(59)
        await pilot.pause()
        pane = app.selected.state
        pane.focus()
        keys = [line.key for line in pane.lines]
        pane.move_to(keys.index("card 1 size"))
        await pilot.press("enter")
        await pilot.pause()
        assert app.view.row == 56
        assert app.timeline.message(56).name == "SET_VRING_NUM"
        await pilot.press("b")
        assert app.view.row == 59


async def test_a_chosen_vring_stays_while_the_timeline_moves() -> None:
    async with opened(QEMU) as (app, pilot):
        app.view.go_to(59)
        await pilot.press("colon", "v", "3", "enter")
        await pilot.pause()
        assert "Vring 3  not set up, disabled" in state_text(app)
        assert "Disabled by #43 SET_VRING_ENABLE." in state_text(app)
        await pilot.press("up")
        await pilot.pause()
        assert "Vring 3  not set up, disabled" in state_text(app)
        await pilot.press("left_square_bracket")
        await pilot.pause()
        assert "Vring 2 " in state_text(app)


async def test_enter_on_a_heading_leads_nowhere() -> None:
    async with opened(RECONNECT) as (app, pilot):
        state = app.selected.state
        app.view.go_to(120)
        await pilot.pause()
        state.focus()
        for number, one in enumerate(state.lines):
            state.cursor = number
            if not one.jump and not re.fullmatch(r"vring \d+", one.key or ""):
                row = app.view.row
                await pilot.press("enter")
                await pilot.pause()
                assert app.view.row == row
        await pilot.press("S", "home", "enter")
        await pilot.pause()
        assert app.view.session is None


async def test_only_the_messages_about_a_vring() -> None:
    async with opened(QEMU) as (app, pilot):
        app.view.go_to(59)
        await pilot.pause()
        await pilot.press("v")
        assert app.view.rows is not None
        about = {app.timeline.message(row).name for row in app.view.rows}
        assert "SET_VRING_ENABLE" in about
        for row in app.view.rows:
            one = app.timeline.message(row)
            asked = app.timeline.message(one.answers - 1) if one.answers else one
            assert (asked.payload or {})["index"] == 1
        assert app.view.row == 59
        await pilot.press("escape")
        assert app.view.rows is None
        assert app.view.row == 59


async def test_search_goes_to_hits_and_marks_them() -> None:
    async with opened(QEMU) as (app, pilot):
        await pilot.press("slash", *"set_status", "enter")
        await pilot.pause()
        hits = [row for row in range(len(app.timeline)) if "SET_STATUS" in app.timeline.message(row).name]
        while app.finder.search is not None:
            await pilot.pause()
        assert app.view.row == hits[0]
        await pilot.press("n")
        await pilot.pause()
        assert app.view.row == hits[1]
        await pilot.press("N")
        await pilot.pause()
        assert app.view.row == hits[0]
        strip = app.view.render_line(app.view.cursor - app.view.scroll_offset.y)
        assert [segment.text for segment in strip if segment.style and segment.style.reverse] == ["SET_STATUS"]


async def test_search_without_a_hit_says_so_and_stays() -> None:
    async with opened(QEMU) as (app, pilot):
        app.view.go_to(9)
        await pilot.press("slash", *"no such thing", "enter")
        await pilot.pause()
        assert app.view.row == 9
        assert notices(app) == ["No message has 'no such thing'"]


@pytest.mark.parametrize(
    ("words", "row"), [("60", 59), ("#7", 6), ("0.0", 0), ("2.3090s", 51), ("99999", 118), ("100s", 118)]
)
async def test_go_to_a_number_or_a_time(words: str, row: int) -> None:
    async with opened(QEMU) as (app, pilot):
        await pilot.press("colon")
        app.query_one("#prompt").value = words  # type: ignore[attr-defined]
        await pilot.press("enter")
        assert app.view.row == row


async def test_the_time_column_has_four_meanings() -> None:
    async with opened(QEMU) as (app, pilot):
        seen = []
        for _ in Clock:
            seen.append(app.view.clock)
            await pilot.press("t")
        assert seen == [*[clock for clock in Clock if clock is not Clock.BOOKMARK], Clock.START]  # there is no bookmark
        assert app.view.clock is Clock.DAY


async def test_bookmarks() -> None:
    async with opened(QEMU) as (app, pilot):
        app.view.go_to(10)
        await pilot.press("m")
        app.view.go_to(20)
        await pilot.press("m")
        assert "★" in screen_text(app)
        await pilot.press("apostrophe")
        assert app.view.row == 10
        await pilot.press("apostrophe")
        assert app.view.row == 20
        await pilot.press("m")
        assert app.view.bookmarks == {10}


async def test_copy_as_text_json_and_hex() -> None:
    async with opened(QEMU) as (app, pilot):
        app.view.go_to(59)
        await pilot.press("Y")
        assert json.loads(app.clipboard)["name"] == "SET_VRING_KICK"
        await pilot.press("X")
        assert bytes.fromhex(app.clipboard) == app.timeline.message(59).data
        await pilot.press("y")
        assert "SET_VRING_KICK" in app.clipboard
        assert "descriptor 0: eventfd:17" in app.clipboard


async def test_sessions_can_be_picked_and_left() -> None:
    async with opened(RECONNECT) as (app, pilot):
        await pilot.press("S")
        await pilot.pause()
        text = overlay_text(app)
        assert "all sessions" in text
        assert "again after 1" in text
        await pilot.press("down", "enter")
        await pilot.pause()
        assert app.view.session == 2
        assert app.view.length == app.timeline.sessions[1].count
        assert f"session 2: {app.view.length} of" in screen_text(app)
        await pilot.press("escape")
        assert app.view.length == len(app.timeline)


async def test_two_connections_side_by_side() -> None:
    async with opened(RECONNECT) as (app, pilot):
        app.view.go_to(129)
        await pilot.pause()
        await pilot.press("C")
        await pilot.pause()
        text = overlay_text(app)
        assert "session 1 after #65" in text
        assert "≠ vring 0-2, 4, 6 " in text
        assert "= features offered" in text


async def test_features_offered_acknowledged_refused() -> None:
    async with opened(QEMU) as (app, pilot):
        app.view.go_to(59)
        await pilot.pause()
        await pilot.press("F")
        await pilot.pause()
        lines = overlay_text(app).splitlines()
        (packed,) = [" ".join(line.split()) for line in lines if " RING_PACKED" in line]
        assert packed == "34 RING_PACKED not acknowledged by the front-end (VMM or guest)"
        (version,) = [line.split() for line in lines if " VERSION_1" in line]
        assert version == ["32", "VERSION_1", "negotiated"]
        (absent,) = [line for line in lines if line.startswith("  not offered by the back-end: CTRL_GUEST")]
        assert " MAC " in absent


async def test_memory_map_and_the_way_to_the_message() -> None:
    async with opened(QEMU) as (app, pilot):
        app.view.go_to(59)
        await pilot.pause()
        await pilot.press("M")
        await pilot.pause()
        text = overlay_text(app)
        assert "guest 0x0 - 0x10000000" in text
        assert "vring 1: desc +0xff62000" in text
        assert isinstance(app.screen, LinesScreen)
        view = app.screen.query_one(LinesView)
        view.move_to([line.key for line in view.lines].index("region 0"))
        await pilot.press("enter")
        await pilot.pause()
        assert app.timeline.message(app.view.row or 0).name == "SET_MEM_TABLE"


async def test_explain_and_help() -> None:
    async with opened(QEMU) as (app, pilot):
        app.view.go_to(59)
        await pilot.press("e")
        await pilot.pause()
        shown = overlay_text(app)
        assert "SET_VRING_KICK: request 12 of the main channel" in shown
        assert "Payload: vring_fd, 8 bytes" in shown
        assert "vring-kick-before-num" in shown
        await pilot.press("escape", "question_mark")
        await pilot.pause()
        assert "the selected request and its reply" in overlay_text(app)
        await pilot.press("q")
        await pilot.pause()
        assert not isinstance(app.screen, LinesScreen)


async def test_a_selected_field_lights_its_bytes_and_a_byte_selects_its_field() -> None:
    async with opened(QEMU, size=(200, 60)) as (app, pilot):
        app.view.go_to(53)
        await pilot.press("d")
        await pilot.pause()
        details = app.selected.details
        details.move_to([line.key for line in details.lines].index("used"))
        await pilot.pause()
        addresses = app.timeline.message(53).payload or {}
        assert app.selected.bytes.lit is not None
        assert app.selected.bytes.data[slice(*app.selected.bytes.lit)] == u64(addresses["used"])
        app.selected.bytes.focus()
        await pilot.press("home", "right", "right", "right", "right")
        await pilot.pause()
        assert details.current is not None
        assert details.current.key == "flags"
        await pilot.press("end")
        await pilot.pause()
        assert details.current.key == "log"


async def test_playback_moves_as_time_goes_by() -> None:
    async with opened(QEMU) as (app, pilot):
        await pilot.press(*[">"] * 10, "space")
        assert app.playback.playing
        assert "playing no gaps" in screen_text(app)
        while app.view.cursor < 2:
            await pilot.pause(0.02)
        await pilot.press("space")
        assert not app.playback.playing


async def test_a_growing_capture_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "live.pcapng"
    writer = CaptureWriter(path, source="test")
    connection = writer.open("/run/live.sock")

    def say(count: int) -> None:
        for _ in range(count):
            writer.frame(Frame(connection.id, 0, 1_700_000_000_000_000_000, message(18, u64(1 << 32))))
        writer.flush()

    say(5)
    async with opened(path, follow=True) as (app, pilot):
        while app.view.length < 5:
            await pilot.pause(0.02)
        say(100)
        while app.view.length < 105:
            await pilot.pause(0.02)
        assert app.view.row == 104
        assert "following" in screen_text(app)
        await pilot.press("up", "up")
        assert not app.view.follow
        say(1)
        while app.view.length < 106:
            await pilot.pause(0.02)
        assert app.view.row == 102
        assert "standing still" in screen_text(app)
        await pilot.press("G")
        assert app.view.row == 105
        assert app.view.follow
    writer.close()


async def test_what_never_was_answered_says_so(tmp_path: Path) -> None:
    path = written(tmp_path / "a.pcapng", [(0, message(1)), (1, message(1, u64(1 << 30), 5)), (0, message(15))])
    async with opened(path) as (app, pilot):
        text = screen_text(app)
        assert "no reply" in text
        assert text.count("1.00 ms") >= 1
        await pilot.press("end", "r")
        assert notices(app) == ["#3: no reply to it was seen"]


async def test_a_refused_request_is_marked_in_words(tmp_path: Path) -> None:
    frames = [(0, message(20, u64(1500), 9)), (1, message(20, u64(1), 5))]
    async with opened(written(tmp_path / "a.pcapng", frames)) as (app, _pilot):
        assert "FAILED 1.00 ms" in screen_text(app)
        assert "FAILED (0x1)" in screen_text(app)


async def test_names_of_a_peer_cannot_reach_the_terminal_as_escapes(tmp_path: Path) -> None:
    frames = [(0, message(12, u64(0)))]
    async with opened(written(tmp_path / "a.pcapng", frames, name="\x1b]0;gotcha\x07")) as (app, _pilot):
        text = screen_text(app)
        assert "\x1b" not in text
        assert "\\x1b]0;gotcha" in text


async def test_unknown_requests_and_left_over_bytes_are_shown(tmp_path: Path) -> None:
    frames = [(0, message(900, b"\1\2\3")), (0, message(3, b"\xaa\xbb"))]
    async with opened(written(tmp_path / "a.pcapng", frames)) as (app, pilot):
        assert "REQUEST_900" in screen_text(app)
        assert "01 02 03" in details_text(app)
        await pilot.press("down")
        await pilot.pause()
        assert "2 bytes left over  aa bb" in details_text(app)


async def test_a_small_terminal_says_so_and_works() -> None:
    async with opened(QEMU, size=(60, 16)) as (app, pilot):
        assert "60x16 is small: give it 80x24" in screen_text(app)
        await pilot.press("end")
        assert app.view.row == len(app.timeline) - 1


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_no_line_is_wider_than_the_screen_and_the_footer_has_help(size: tuple[int, int]) -> None:
    async with opened(QEMU, size=size) as (app, pilot):
        for name in ("s", "d", "x"):
            await pilot.press(name)
            await pilot.pause()
            assert all(len(line) == size[0] for line in screen_text(app).splitlines())
            assert screen_text(app).splitlines()[-1].rstrip().endswith("? help  q quit")


async def test_panes_where_there_is_room_for_one_only() -> None:
    async with opened(QEMU, size=(80, 24)) as (app, pilot):
        assert [name for name in ("state", "details", "bytes") if app.query_one(f"#{name}").display] == ["state"]
        await pilot.press("d")
        await pilot.pause()
        assert [name for name in ("state", "details", "bytes") if app.query_one(f"#{name}").display] == ["details"]
        await pilot.press("d")
        await pilot.pause()
        assert not any(app.query_one(f"#{name}").display for name in ("state", "details", "bytes"))
        assert app.view.has_focus


async def test_zoom_and_back() -> None:
    async with opened(QEMU) as (app, pilot):
        app.selected.state.focus()
        await pilot.press("z")
        await pilot.pause()
        assert app.selected.state.size.height > 30
        assert not app.selected.details.display
        await pilot.press("escape")
        await pilot.pause()
        assert app.selected.details.display


async def test_the_footer_can_be_clicked() -> None:
    async with opened(QEMU) as (app, pilot):
        foot = app.query_one(Foot)
        text = screen_text(app).splitlines()[-1]
        await pilot.click(Foot, offset=(text.index("? help"), 0))
        await pilot.pause()
        assert foot is not None
        assert isinstance(app.screen, LinesScreen)


async def test_a_click_selects_a_message_and_a_second_one_opens_it() -> None:
    async with opened(QEMU) as (app, pilot):
        await pilot.click("#timeline", offset=(20, 7))
        assert app.view.cursor == 7
        assert app.view.row == app.view.shown.row_on(7)
        await pilot.click("#timeline", offset=(20, 8), times=2)
        await pilot.pause()
        assert app.view.row == app.view.shown.row_on(8)
        assert app.selected.details.has_focus


async def test_every_key_is_in_the_palette() -> None:
    async with opened(QEMU) as (app, _pilot):
        titles = [command.title for command in app.get_system_commands(app.screen)]
        assert "search (/)" in titles
        assert "Theme" in titles


async def test_an_empty_capture_is_said_to_be_empty(tmp_path: Path) -> None:
    async with opened(written(tmp_path / "empty.pcapng", [])) as (app, pilot):
        await pilot.press(*"sdxrvSFMCe", "escape", "end", "space", "n", "escape", "y", "z", "z")
        assert "0 messages" in screen_text(app)
        assert app.query_one(Top) is not None


async def test_states_far_into_a_long_session_are_worked_out_in_slices(tmp_path: Path) -> None:
    frames = [
        (0, message(18, (row % 4).to_bytes(4, "little") + (row & 1).to_bytes(4, "little"))) for row in range(6000)
    ]
    async with opened(written(tmp_path / "long.pcapng", frames)) as (app, pilot):
        await pilot.press("end")
        while "Working it out" in state_text(app):
            await pilot.pause()
        assert app.selected.state.border_title == "State after #6000: * is what it changed"
        assert app.states.missing(5999) <= 512


async def test_losses_are_counted_and_shown_where_they_happened(tmp_path: Path) -> None:
    path = tmp_path / "lost.pcapng"
    with CaptureWriter(path, source="test", order="little") as writer:
        connection = writer.open("/run/test.sock")
        writer.frame(Frame(connection.id, 0, 1_700_000_000_000_000_000, message(3)))
        writer.lost(Lost(connection.id, 1_700_000_000_000_000_000, 7))
        writer.frame(Frame(connection.id, 0, 1_700_000_000_000_000_000, message(3)))
    async with opened(path) as (app, pilot):
        assert "2 messages · 7 LOST" in screen_text(app)
        await pilot.press("end")
        await pilot.pause()
        assert "! 7 messages were lost before this one" in details_text(app)
        assert "▸  !  2" in screen_text(app)


async def test_the_end_of_a_connection_is_told() -> None:
    async with opened(QEMU) as (app, pilot):
        await pilot.press("end")
        await pilot.pause()
        told = " ".join(state_text(app).split())
        assert re.search(r"The connection ends here, \S+ \S+ after its last message: closed by the front-end", told)
        await pilot.press("up")
        await pilot.pause()
        assert "ends here" not in state_text(app)


async def test_every_request_there_is_can_be_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "every.pcapng"
    synthetic.every(path)
    async with opened(path, size=(200, 60)) as (app, pilot):
        for row in range(len(app.timeline)):
            app.view.go_to(row)
            app.selected.show()
            assert app.timeline.message(row).name in details_text(app)
        await pilot.press("F", "escape", "M", "escape", "S", "escape", "C", "escape", "e", "escape")


async def test_a_line_that_is_cut_says_so() -> None:
    """Half a number is a false number."""
    async with opened(RECONNECT, size=(80, 24)) as (app, pilot):
        await pilot.press("S")
        await pilot.pause()
        cut = [line for line in screen_text(app).splitlines() if "front.sock" in line]
        assert len(cut) == 2
        assert all(line.rstrip("│ ").endswith("…") for line in cut)
        assert "the rest of long lines" in screen_text(app)


async def test_another_size_arranges_everything_anew() -> None:
    async with opened(RECONNECT, size=(80, 24)) as (app, pilot):
        app.view.go_to(65)
        sizes = {(20, 6): "one", (200, 60): "wide", (170, 35): "three", (120, 40): "two", (80, 24): "one"}
        for size, kind in sizes.items():
            await pilot.resize_terminal(*size)
            await pilot.pause()
            await pilot.pause()
            assert app.screen.has_class(kind)
            if size[0] >= 80:
                assert "  Disabled by #66 SET_VRING_ENABLE." in screen_text(app)
        assert "is small" not in screen_text(app)
