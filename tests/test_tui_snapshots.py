"""Screens of the terminal view as pictures, from real captures where they can show it. A changed picture is a reviewed
diff.

`pytest --snapshot-update tests/test_tui_snapshots.py` writes them again.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from textual.app import App
from textual.pilot import Pilot

from captures import synthetic
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.families.vhost_user.protocol import FrontendRequest as Request
from vusniff.views.held import WaitingMessage
from vusniff.views.tui.app import TuiApp

CAPTURES = Path(__file__).parent.parent / "captures"
SMALL, LARGE = (80, 24), (200, 60)
SIZES = [SMALL, (120, 40)]


class Compare(Protocol):
    """The fixture of pytest-textual-snapshot."""

    def __call__(self, app: App[int], *, terminal_size: tuple[int, int], run_before: object) -> bool: ...


@pytest.fixture(autouse=True)
def _same_everywhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The time of day, colours and the terminal's name are not the machine's."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("NO_COLOR", raising=False)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def pictured(
    compare: Compare,
    capture: str | Path,
    number: int,
    size: tuple[int, int],
    *keys: str,
    theme: str = "textual-dark",
    follow: bool = False,
    prepare: Callable[[TuiApp], None] = lambda app: None,
) -> bool:
    """Compare the screen with message ``number`` selected, after some keys."""
    path = capture if isinstance(capture, Path) else CAPTURES / f"{capture}.pcapng"

    async def before(pilot: Pilot[int]) -> None:
        app = pilot.app
        assert isinstance(app, TuiApp)
        app.theme = theme
        app.judging.finish()
        await pilot.pause()
        app.view.go_to(number - 1)
        await pilot.pause()
        await pilot.press(*keys)
        await pilot.pause()
        await pilot.pause()

    with Index(path) as index:
        timeline = Timeline(index)
        read_all(timeline)
        made = TuiApp(timeline, path.name, follow=follow)
        prepare(made)
        return compare(made, terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_first_screen(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert pictured(snap_compare, "qemu-testpmd", 60, size)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_details_of_a_memory_table(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert pictured(snap_compare, "qemu-testpmd", 50, size, "d")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_packed_rings(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert pictured(snap_compare, "virtio-user-packed-reconnect", 40, size)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sessions(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert pictured(snap_compare, "virtio-user-packed-reconnect", 100, size, "S")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_features(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert pictured(snap_compare, "qemu-blk", 30, size, "F")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_memory(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert pictured(snap_compare, "qemu-testpmd", 60, size, "M")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_help(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert pictured(snap_compare, "qemu-blk", 1, size, "question_mark")


def test_bytes_of_a_field(snap_compare: Compare) -> None:
    assert pictured(snap_compare, "qemu-testpmd", 54, (200, 60), "d", "down", "down", "down", "down", "down")


def test_without_colour(snap_compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert os.environ["NO_COLOR"] == "1"
    assert pictured(snap_compare, "qemu-testpmd", 60, (120, 40))


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark", "ansi-light"])
def test_themes(snap_compare: Compare, theme: str) -> None:
    assert pictured(snap_compare, "qemu-testpmd", 60, (120, 40), theme=theme)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_finding_and_the_bar(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert pictured(snap_compare, "virtio-user-packed-reconnect", 66, size, "d", "P")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_folded_phases(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert pictured(snap_compare, "qemu-ovs", 100, size, "O")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_list_of_findings(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert pictured(snap_compare, "virtio-user-packed-reconnect", 66, size, "exclamation_mark")


def queues(path: Path, count: int) -> Path:
    """A device with many vrings that are set up one after the other; some get no kick, some are not enabled."""
    synthetic.Talk.clock = synthetic.START_NS
    with synthetic.writer_of(path) as writer:
        talk = synthetic.open_session(writer, "/run/openvswitch/vhu0.sock", 1, "ovs-vswitchd")
        synthetic.greet(talk)
        table, fds = synthetic.memory_table(2)
        talk.acknowledged(Request.SET_MEM_TABLE, table, *fds)
        for index in range(count):
            talk.ask(Request.SET_VRING_NUM, synthetic.II(index, 256))
            talk.ask(Request.SET_VRING_ADDR, synthetic.vring_addresses(index))
            talk.ask(Request.SET_VRING_CALL, synthetic.Q(index), synthetic.eventfd(400 + index))
            if index % 13 != 5:
                talk.ask(Request.SET_VRING_KICK, synthetic.Q(index), synthetic.eventfd(1400 + index))
            if index % 7 != 3:
                talk.ask(Request.SET_VRING_ENABLE, synthetic.II(index, 1))
    return path


def sessions(path: Path, count: int) -> Path:
    """Many devices of one host; some requests are never answered."""
    with synthetic.writer_of(path) as writer:
        for number in range(count):
            synthetic.Talk.clock = synthetic.START_NS + number * 100_000_000
            socket = f"/run/openvswitch/vhost-user-guest-{number:03}/net0.sock"
            talk = synthetic.open_session(writer, socket, number, "ovs-vswitchd")
            synthetic.greet(talk)
            talk.ask(Request.GET_QUEUE_NUM)
            if number % 10:
                talk.answer(Request.GET_QUEUE_NUM, synthetic.Q(2))
            if number % 3:
                talk.close()
    return path


def every(path: Path) -> Path:
    """Every request, and nearly every feature."""
    synthetic.every(path)
    return path


@pytest.mark.parametrize(("count", "size"), [(64, (120, 40)), (256, SMALL), (256, LARGE)], ids=str)
def test_many_vrings(snap_compare: Compare, tmp_path: Path, count: int, size: tuple[int, int]) -> None:
    path = queues(tmp_path / "queues.pcapng", count)
    assert pictured(snap_compare, path, 4 * count, size, *(("tab", "z") if size == SMALL else ()))


def test_many_vrings_without_colour(snap_compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert pictured(snap_compare, queues(tmp_path / "queues.pcapng", 64), 256, SMALL)


def test_card_of_a_vring(snap_compare: Compare) -> None:
    assert pictured(snap_compare, "virtio-user-packed-reconnect", 60, SMALL, "right_square_bracket", "tab", "z")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_two_sessions_compared(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert pictured(snap_compare, "virtio-user-packed-reconnect", 170, size, "C")


def test_explanation_of_what_is_wrong(snap_compare: Compare) -> None:
    assert pictured(snap_compare, "virtio-user-packed-reconnect", 66, SMALL, "e")


def test_completion_of_a_filter(snap_compare: Compare) -> None:
    keys = list("vhost.request == SET_V")
    assert pictured(snap_compare, "qemu-testpmd", 60, SMALL, "ampersand", *keys, "tab")


def test_error_in_a_filter(snap_compare: Compare) -> None:
    keys = list("vring.index = 3 && fd.kind")
    assert pictured(snap_compare, "qemu-testpmd", 60, SMALL, "ampersand", *keys, "enter")


def test_filtered(snap_compare: Compare) -> None:
    assert pictured(snap_compare, "qemu-testpmd", 60, SMALL, "ampersand", *list("vring.index == 1"), "enter")


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=str)
def test_many_sessions(snap_compare: Compare, tmp_path: Path, size: tuple[int, int]) -> None:
    assert pictured(snap_compare, sessions(tmp_path / "sessions.pcapng", 120), 1, size, "S")


def test_longest_names_of_features(snap_compare: Compare, tmp_path: Path) -> None:
    assert pictured(snap_compare, every(tmp_path / "every.pcapng"), 60, SMALL, "F", "end")


def test_memory_without_colour(snap_compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert pictured(snap_compare, every(tmp_path / "every.pcapng"), 60, SMALL, "M")


@pytest.mark.parametrize(("key", "size"), [("colon", SMALL), ("ctrl+e", SMALL)], ids=str)
def test_prompts(snap_compare: Compare, key: str, size: tuple[int, int]) -> None:
    assert pictured(snap_compare, "qemu-testpmd", 60, size, key)


def test_hits_of_a_search(snap_compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert pictured(snap_compare, "qemu-testpmd", 60, SMALL, "slash", *list("eventfd:1"), "enter")


def test_bytes_under_the_cursor(snap_compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert pictured(snap_compare, "qemu-testpmd", 50, SMALL, "x", "tab", "right", "right", "down")


def test_live(snap_compare: Compare) -> None:
    assert pictured(snap_compare, "qemu-testpmd", 60, SMALL, "end", follow=True)


def test_too_small(snap_compare: Compare) -> None:
    assert pictured(snap_compare, "qemu-testpmd", 60, (60, 18))


def test_everything_at_once(snap_compare: Compare) -> None:
    assert pictured(snap_compare, "virtio-user-packed-reconnect", 66, LARGE, "P", theme="textual-light")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_rings_over_time(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert pictured(snap_compare, CAPTURES / "trouble" / "backend-stopped.pcapng", 28, size, "V")


@pytest.mark.parametrize(("keys", "size"), [(("Q",), SMALL), (("Q",), LARGE), (("T",), SMALL)], ids=str)
def test_sequence_and_reply_times(snap_compare: Compare, keys: tuple[str, ...], size: tuple[int, int]) -> None:
    assert pictured(snap_compare, "qemu-testpmd", 100, size, *keys)


class Holding:
    """Holds two messages, and hears no answer."""

    def __init__(self, timeline: Timeline) -> None:
        self.waiting = [
            WaitingMessage(
                number,
                2,
                "vhost.request in {SET_VRING_NUM, SET_VRING_KICK} && state.phase == start @2, per session : hold",
                timeline.message(row).name,
                ("front-end", "back-end"),
                timeline.time_ns(row),
                1_700_000_000.0,
                len(timeline.message(row).data),
                tuple(one.kind.value for one in timeline.message(row).descriptors),
                fields,
                timeline.message(row).data,
            )
            for number, row, fields in (
                (1, 51, (("index", "0"), ("num", "256 (0x100)"))),
                (2, 54, (("u64", "0"),)),
            )
        ]
        self.count = 3
        self._ours, self._theirs = socket.socketpair()

    def fileno(self) -> int:
        return self._ours.fileno()

    def receive(self) -> list[str]:
        return []

    def answer(self, number: int, do: str, actions: str = "") -> None:
        raise AssertionError

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


@pytest.mark.parametrize(
    ("keys", "size", "colour"),
    [
        (("H",), SMALL, "colour"),
        (("H",), SMALL, "plain"),
        (("H", "n", "e"), (120, 40), "colour"),
        (("H",), LARGE, "colour"),
        ((), SMALL, "plain"),
    ],
    ids=str,
)
def test_held_messages(
    snap_compare: Compare, keys: tuple[str, ...], size: tuple[int, int], colour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if colour == "plain":
        monkeypatch.setenv("NO_COLOR", "1")
    holding: list[Holding] = []

    def held(app: TuiApp) -> None:
        holding.append(Holding(app.timeline))
        app.held.holder = holding[0]

    try:
        assert pictured(snap_compare, "qemu-testpmd", 54, size, *keys, prepare=held)
    finally:
        for one in holding:
            one.close()
