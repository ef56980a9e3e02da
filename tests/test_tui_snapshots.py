"""Screens of the terminal view as pictures, from real captures, at two sizes. A changed picture is a reviewed diff.

`pytest --snapshot-update tests/test_tui_snapshots.py` writes them again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from textual.app import App
from textual.pilot import Pilot

from vusniff.capture.index import Index
from vusniff.timeline import Timeline, read_all
from vusniff.views.tui.app import Room

CAPTURES = Path(__file__).parent.parent / "captures"
SIZES = [(80, 24), (120, 40)]


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
    compare: Compare, capture: str, number: int, size: tuple[int, int], *keys: str, theme: str = "textual-dark"
) -> bool:
    """Compare the screen with message ``number`` selected, after some keys."""

    async def before(pilot: Pilot[int]) -> None:
        room = pilot.app
        assert isinstance(room, Room)
        room.theme = theme
        room.judging.finish()
        await pilot.pause()
        room.view.go_to(number - 1)
        await pilot.pause()
        await pilot.press(*keys)
        await pilot.pause()

    with Index(CAPTURES / f"{capture}.pcapng") as index:
        timeline = Timeline(index)
        read_all(timeline)
        return compare(Room(timeline, f"{capture}.pcapng"), terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_room(snap_compare: Compare, size: tuple[int, int]) -> None:
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
