"""Evidence other than messages in the terminal view: in the timeline, in the details, and when it comes."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_evidence import KILLED, UNKNOWN, capture, message
from test_tui import details_text, opened, screen_text

from vusniff.analysis.session import Tracker
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.record import End, Exit, Fault, FaultAct, Frame, Process
from vusniff.views.tui.evidence import EvidenceRows

pytestmark = pytest.mark.asyncio


async def test_an_exit_stands_behind_the_message_before_it(tmp_path: Path) -> None:
    async with opened(capture(tmp_path / "c.pcapng", KILLED, UNKNOWN), size=(200, 40)) as (room, pilot):
        first, second = (
            next(line for line in screen_text(room).splitlines() if name in line)
            for name in ("GET_FEATURES", "SET_OWNER")
        )
        assert "# dpdk-testpmd (34) was killed by SIGKILL" in first
        assert first.index("#") < first.index("1 0.000000")
        assert "#" not in second
        await pilot.press("home")
        await pilot.pause()
        said = details_text(room).replace("\n", " ")
        assert "Then dpdk-testpmd (34) was killed by SIGKILL." in said
        assert 'Then unknown evidence "omen"' in said


async def test_an_exit_that_comes_while_one_looks(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    with CaptureWriter(path, source="proxy", order="little") as writer:
        one = writer.open("/run/vm1.sock", (End(7, Process(12, "qemu")), End(8, Process(34, "dpdk"))), 1)
        writer.frame(Frame(one.id, 0, 5, message(1)))
        writer.flush()
        async with opened(path, follow=True) as (room, pilot):
            assert "killed" not in screen_text(room)
            writer.evidence(Exit(6, 34, "dpdk", None, 9, False, ((one.id, 1),)))
            writer.flush()
            for _ in range(300):
                if "# dpdk (34) was killed by" in screen_text(room):
                    break
                await pilot.pause(0.02)
            assert "# dpdk (34) was killed by" in screen_text(room)


async def test_many_pieces_are_counted(tmp_path: Path) -> None:
    with Index(capture(tmp_path / "c.pcapng", *[KILLED] * 20)) as index:
        index.update()
        rows = EvidenceRows(index, Tracker(None))
        assert rows.behind(1, 5) == []
        assert rows.behind(0, 0)[-1] == "and 16 more"
        assert rows.tell() == [0] * 20
        assert rows.news() == []


async def test_what_a_rule_did_stands_at_its_message(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    with CaptureWriter(path, source="proxy", order="little") as writer:
        one = writer.open("/run/vm1.sock", (End(7), End(8)), 1)
        ends, rule = ((one.id, 0),), "vhost.request == SET_OWNER : hold"
        writer.frame(Frame(one.id, 0, 5, message(1)))
        writer.evidence(Fault(6, 2, FaultAct.TAKES, 1, ends=ends, text=rule, actions=("hold",)))
        writer.frame(Frame(one.id, 0, 6, message(3)))
        writer.evidence(Fault(7, 3, FaultAct.TAKES, 1, ends=ends, words="waits behind one that it holds up"))
        writer.frame(Frame(one.id, 0, 7, message(15)))
        writer.evidence(Fault(8, 2, FaultAct.DOES, 1, ends=ends, words="has held it for 2.00 s"))
    async with opened(path, size=(200, 40)) as (room, pilot):
        lines = screen_text(room).splitlines()
        first, held, behind = (
            next(line for line in lines if name in line)
            for name in ("GET_FEATURES", "SET_OWNER", "GET_PROTOCOL_FEATURES")
        )
        assert "hold" not in first
        assert "~" in held
        assert "# rule 1: hold" in held
        assert "~" in behind
        assert "# rule 1: waits; has held it for 2.00 s" in behind
        room.view.go_to(1)
        await pilot.pause()
        assert f"Rule 1 takes it: {rule}." in details_text(room).replace("\n", " ")
