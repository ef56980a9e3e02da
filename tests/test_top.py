"""``vusniff top``: what each device does, by a capture; the live table, and what of it is printed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from probing import connected
from test_ring_history import EMPTY, MOVES, STILL, STORY, WAITS, capture, request, run, sample

import vusniff
from vusniff.analysis.devices import LATE, DeviceCondition, DeviceTable, ListedDevice
from vusniff.record import Position, Sample
from vusniff.views import top
from vusniff.views.tui.top import TopApp, TopArrangement, table_lines

SECOND = 1_000_000_000
STUCK = replace(WAITS, ring=1, waiting_ns=4 * SECOND, unread_kicks=1)
BUSY = (
    sample(replace(MOVES, kicks=1, calls=0), replace(MOVES, ring=1)),
    sample(replace(MOVES, used=1790, available=1800, kicks=500, calls=40, no_interrupt=True), STUCK),
)


def words(path: Path, *more: str) -> list[list[str]]:
    """The rows that are printed, by columns of which no cell has two blanks."""
    out = run("top", path, "--once", *more)[1]
    return [[cell for cell in line.split("  ") if cell] for line in out.splitlines()]


def test_a_device_sums_up_its_rings(tmp_path: Path) -> None:
    heads, row = words(capture(tmp_path / "c.pcapng", BUSY))
    assert [head.strip() for head in heads][:4] == ["VM", "DEVICE", "RING", "SIZE"]
    said = " ".join(" ".join(row).split())
    assert "qemu-system-x86 12" in said
    assert "net 2 rings 512 - - 20 1.1k/s" in said
    assert "499/s 40/s calls (1 of 2)" in said
    assert "ring 1 not served by the back-end for 4.00 s (kick unread) dpdk-testpmd 34 /run/vm1.sock" in said


def test_each_ring(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", BUSY)
    first, second = (" ".join(" ".join(row).split()) for row in words(path, "--per-ring")[1:])
    assert "1 256 700 690 10 0/s" in first  # the most urgent stands first
    assert "0 256 1800 1790 10 1.1k/s" in second
    assert "calls moving" in second
    assert len(words(path, "--per-ring", "--filter", "moving")) == 2
    by_ring = words(path, "--per-ring", "--sort", "ring")
    assert "moving" in " ".join(by_ring[1])
    assert run("top", path, "--once", "--filter", "nothing of it")[0] == 1


def test_json(tmp_path: Path) -> None:
    (line,) = run("top", capture(tmp_path / "c.pcapng", BUSY), "--json")[1].splitlines()
    device = json.loads(line)
    assert (device["vm"], device["device"], device["session"]) == ("qemu-system-x86 12", "net", 1)
    assert device["state"] == "not served by the back-end"
    moving, stuck = device["rings"]
    assert (moving["per_second"], moving["kicks_per_second"], moving["state"]) == (1100.0, 499.0, "moving")
    assert (stuck["words"], stuck["unread_kicks"]) == ("not served by the back-end for 4.00 s (kick unread)", 1)


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (STILL, "idle"),
        (MOVES, "moving"),
        (EMPTY, "no buffers posted by the driver"),
        (replace(WAITS, ring=1), "not served by the back-end"),
    ],
)
def test_what_a_ring_does(tmp_path: Path, position: Position, expected: str) -> None:
    path = capture(tmp_path / "c.pcapng", [sample(position)])
    rings = json.loads(run("top", path, "--json")[1])["rings"]
    assert rings[position.ring]["state"] == expected
    assert rings[1 - position.ring]["state"] == "unknown"


def test_rings_that_do_not_run(tmp_path: Path) -> None:
    stop = request(11, b"\0" * 8)
    disable = request(18, (1).to_bytes(4, "little") + bytes(4))
    rings = json.loads(run("top", capture(tmp_path / "c.pcapng", [stop, disable]), "--json")[1])["rings"]
    assert [ring["state"] for ring in rings] == ["stopped", "disabled"]


def test_what_cannot_be_known_is_said_with_what_to_do(tmp_path: Path) -> None:
    told = Sample(0, (), (("ring 1", "its addresses go through an IOMMU"),))
    timeline = vusniff.open_capture(capture(tmp_path / "c.pcapng", [sample(MOVES), told]))
    table = DeviceTable(timeline)
    table.list([ListedDevice("/run/vm2.sock", (70, 80), "vm2 net0", "ovs-vswitchd"), ListedDevice("x", (7, 8), "", "")])
    known, listed = table.devices()
    assert [ring.condition for ring in known.rings] == [DeviceCondition.MOVING, DeviceCondition.UNKNOWN]
    assert top.state_of(top.TopRow(known, known.rings[1]), 0) == "unknown: its addresses go through an IOMMU"
    assert "known once it is restarted" in top.state_of(top.TopRow(listed), 0)
    table.list([ListedDevice("/run/vm2.sock", (70, 80), "vm2 net0", "ovs-vswitchd", by_qemu=True)])
    assert "give its QEMU a monitor" in top.state_of(top.TopRow(list(table.devices())[-1]), 0)
    assert "monitor" in LATE
    assert top.summary([known, listed]) == "2 devices: 1 moving, 1 unknown"
    timeline.index.close()


@pytest.mark.slow
def test_the_live_table(tmp_path: Path) -> None:
    async def play() -> None:
        timeline = vusniff.open_capture(capture(tmp_path / "c.pcapng", BUSY))
        how = TopArrangement()
        table = DeviceTable(timeline)
        table.list([ListedDevice("/run/vm2.sock", (70, 80), "vm2 net0", "ovs-vswitchd")])
        app = TopApp(table, lambda: timeline.time_ns(0), how)
        async with app.run_test(size=(200, 20)) as pilot:
            assert [line.text.split()[0] for line in app.lines.lines] == ["qemu-system-x86", "vm2"]
            await pilot.press("r")
            assert len(app.lines.lines) == 3
            await pilot.press("slash", *"moving", "enter")
            assert [line.text.split()[3] for line in app.lines.lines] == ["0"]
            await pilot.press("escape", "r", "s", "S")
            assert (how.words, how.each, how.reverse, how.sort) == ("", False, True, "back-end")
            assert [line.text.split()[0] for line in app.lines.lines] == ["vm2", "qemu-system-x86"]
            await pilot.press("enter")
            assert app.is_running  # there is no session of what was only listed
            await pilot.press("down", "enter")
        assert app.return_value == 1
        for key in ("ctrl+c", "ctrl+q"):
            app = TopApp(table, lambda: timeline.time_ns(0), how)
            async with app.run_test(size=(80, 20)) as pilot:
                await pilot.press("slash", key)
                assert not app.is_running
        timeline.index.close()

    asyncio.run(play())


@pytest.mark.parametrize("width", [40, 80, 200])
def test_names_that_others_have_chosen_hide_no_other_row(tmp_path: Path, width: int) -> None:
    nasty = "\x1b]0;x\x07\u202e\nFORGED" + "x" * 4096
    timeline = vusniff.open_capture(capture(tmp_path / "c.pcapng", BUSY))
    table = DeviceTable(timeline)
    table.list([ListedDevice("@" + nasty, (70, 80), nasty, nasty)])
    rows = top.arranged(top.rows_of(table.devices(), False), "state", "", 0)
    heading, lines = table_lines(rows, 0, TopArrangement(), width)
    assert len(lines) == 2
    shown = [heading, *(line.text for line in lines)]
    assert all(text.isprintable() for text in shown)
    assert max(map(len, shown)) < 500
    assert any("ring 1 not" in text for text in shown)
    assert "unknown" in " ".join(shown)
    timeline.index.close()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_state_can_be_read_at_any_width(tmp_path: Path, width: int) -> None:
    timeline = vusniff.open_capture(capture(tmp_path / "c.pcapng", BUSY))
    rows = top.arranged(top.rows_of(DeviceTable(timeline).devices(), False), "state", "", 0)
    heading, (line,) = table_lines(rows, 0, TopArrangement(), width)
    assert len(line.text) <= width + 2
    assert "ring 1 not served by the" in line.text
    assert heading.index("STATE") == line.text.index("ring 1")
    assert ("SUPPRESSED" in heading) == (width == 200)
    timeline.index.close()


def test_a_session_that_goes_on_is_followed(tmp_path: Path) -> None:
    timeline = vusniff.open_capture(capture(tmp_path / "c.pcapng", STORY))
    table = DeviceTable(timeline)
    (device,) = table.devices()
    assert next(table.devices()) is device  # nothing new: nothing is worked out again
    timeline.index.close()


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", STORY)
    assert run("top", path, "--for", "1s")[0] == 2
    status, _, said = run("top", path)
    assert status == 2
    assert "needs a terminal" in said


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_who_may_record_nothing_is_told_so_and_sees_what_there_is(tmp_path: Path, installation: Path) -> None:
    near, far = connected(str(tmp_path / "vhost-user.sock"))
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    words += ["/usr/bin/python3", "-m", "vusniff", "top", "--once", "--filter", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(installation), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, cwd="/", env=environment)
    near.close()
    far.close()
    assert done.stderr.startswith("vusniff: no positions: the probe cannot be attached"), done.stderr
    assert "vhost-user.sock" in done.stdout or "no vhost device was seen" in done.stderr
    assert done.returncode in (0, 1)
