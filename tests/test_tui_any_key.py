"""Any keys in any order, on any capture, at any size: the view may find nothing to do, and never fails."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from talk import Talk, u32
from test_tui import CAPTURES, opened
from textual.errors import NoWidget
from textual.events import Key
from textual.pilot import OutOfBounds, Pilot

from vusniff.capture.writer import CaptureWriter
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.record import End, Frame, FrameKind
from vusniff.views.tui.app import TuiApp
from vusniff.views.tui.keys import KEYS

pytestmark = pytest.mark.asyncio

PRESSED = [name for key in KEYS if key.action != "quit" for name in key.keys.split(",")]
MOVED = [
    "up",
    "down",
    "pageup",
    "pagedown",
    "home",
    "end",
    "left",
    "right",
    "tab",
    "enter",
    "enter",
    "escape",
    "escape",
]
TYPED = ("v3", "10", "99999", "2.5s", "vring.index == 1", "fd.kind", "((", "SET_")
SIZES = ((80, 24), (120, 40), (200, 60), (60, 18), (20, 5))
KEYS_OF_A_RUN = 30


def real(folder: Path) -> list[Path]:
    return [CAPTURES / "virtio-user-packed-reconnect.pcapng"]


def merged(folder: Path) -> list[Path]:
    return sorted(CAPTURES.glob("*.pcapng"))


def side_by_side(folder: Path) -> list[Path]:
    talk = Talk(folder / "two.pcapng")
    peers = [talk.connect(path=path) for path in ("/run/vm1.sock", "/run/vm2.sock")]
    for ring in range(12):
        for one in peers:
            one.ask(F.SET_VRING_NUM, u32(ring, 256))
            one.ask(F.SET_VRING_ENABLE, u32(ring, 1))
    talk.writer.close()
    return [talk.path]


def headless(folder: Path) -> list[Path]:
    with CaptureWriter(folder / "raw.pcapng", source="proxy") as writer:
        connection = writer.open("/run/x.sock", (End(), End()), 1, False)
        for number in range(12):
            writer.frame(Frame(connection.id, number & 1, number, b"no header" * number, kind=FrameKind.RAW))
    return [folder / "raw.pcapng"]


def empty(folder: Path) -> list[Path]:
    Talk(folder / "empty.pcapng").writer.close()
    return [folder / "empty.pcapng"]


async def burst(app: TuiApp, pilot: Pilot[int], *keys: str) -> None:
    """Keys that arrive at once, as a terminal sends them that was slow, or a hand that is fast."""
    for key in keys:
        event = Key(key, {"space": " "}.get(key, key if len(key) == 1 else None))
        event.set_sender(app)
        app.post_message(event)
    await pilot.pause()
    await pilot.pause()


async def leave(app: TuiApp, pilot: Pilot[int]) -> None:
    """Back to the timeline."""
    await burst(app, pilot, "escape", "escape", "escape")
    while len(app.screen_stack) > 1:
        await pilot.pause()


OVERLAYS = ("exclamation_mark", "S", "question_mark", "e", "F", "C", "M", "Q", "V", "T", "ctrl+p")
LEAVING = ("enter", "escape", "q")


@pytest.mark.parametrize("over", OVERLAYS)
async def test_keys_for_a_screen_that_is_gone_are_ignored(over: str) -> None:
    """Each way to leave a screen, twice and more in one burst, and together with its opening."""
    async with opened(CAPTURES / "virtio-user-packed-reconnect.pcapng") as (app, pilot):
        for one in LEAVING:
            for other in LEAVING[:2]:
                await pilot.press(over)
                await burst(app, pilot, one, other, other)
                assert not app.return_code, (over, one, other)
                await leave(app, pilot)
                await burst(app, pilot, over, "down", one, one, other)
                assert not app.return_code, (over, one, other)
                if app.return_code is not None:  # q in the timeline
                    return
                await leave(app, pilot)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("made", [real, merged, side_by_side, headless, empty], ids=lambda made: made.__name__)
async def test_no_key_makes_it_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[[Path], list[Path]], seed: int
) -> None:
    monkeypatch.chdir(tmp_path)  # pictures and exports go here
    paths = made(tmp_path)
    choice = random.Random(seed)
    done: list[object] = []
    async with opened(*paths, size=choice.choice(SIZES), follow=choice.random() < 0.3) as (app, pilot):
        for _ in range(KEYS_OF_A_RUN):
            what = choice.random()
            if what < 0.08:
                width, height = choice.choice(SIZES)
                done.append((width, height))
                await pilot.resize_terminal(width, height)
            elif what < 0.16:
                done.append(at := (choice.randrange(app.size.width), choice.randrange(app.size.height)))
                try:
                    await pilot.click(offset=at)
                except (OutOfBounds, NoWidget):
                    continue
            elif what < 0.3:
                keys = [choice.choice(PRESSED + MOVED) for _ in range(choice.randrange(2, 6))]
                done.append(tuple(keys))
                await burst(app, pilot, *keys, *(["enter"] * choice.randrange(3)))
            elif what < 0.38:
                done.append(text := choice.choice(TYPED))
                await pilot.press(*("space" if letter == " " else letter for letter in text))
            else:
                done.append(key := choice.choice(PRESSED + MOVED))
                await pilot.press(key)
        await pilot.pause()
        assert app.is_running, done
        assert not app.return_code, done
