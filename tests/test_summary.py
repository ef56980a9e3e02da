"""The page of a bug report: of real captures, of captures that are cut, lossy, hostile or strange, in all formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from captures import synthetic
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.cli import main
from vusniff.families.vhost_user.protocol import FLAG_REPLY, HEADERS, VERSION, FrontendRequest
from vusniff.record import Closed, End, Facts, Frame, Lost, Process
from vusniff.views import page, summary

CAPTURES = Path(__file__).parent.parent / "captures"
F = FrontendRequest
PAGE_LINES = 100
"""What fits on a page that one still reads."""


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["summary", *arguments]) == 0
    return capsys.readouterr().out


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed(capsys, "--format", "json", *arguments))
    return found


def sections(text: str) -> dict[str, str]:
    """Title -> what stands under it."""
    blocks = text.split("\n\n")
    return {block.split("\n")[0].partition(":")[0]: block for block in blocks}


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("*.pcapng")), ids=lambda path: path.stem)
def test_real_captures_fit_a_page(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, str(path))
    assert text.count("\n") <= PAGE_LINES
    found = sections(text)
    assert max(len(line) for title, block in found.items() if title != "Sessions" for line in block.split("\n")) <= 120
    own = {"DMA map", "Regions"} if path.stem == "vfio-user" else {"Negotiated", "Memory"}
    assert {"Capture", "Findings", "Phases", "Answers", *own} <= set(found)


def test_what_a_reconnect_looks_like(capsys: pytest.CaptureFixture[str]) -> None:
    found = sections(printed(capsys, str(CAPTURES / "qemu-ovs.pcapng")))
    assert found["Sessions"].count("qemu-system-x86") == 2
    assert "closed by the back-end" in found["Sessions"]
    assert "follows session 1 on the same path" in found["Session 2"]
    assert "ovs-vswitchd" in found["Session 2"]
    assert "DPDK" in found["Session 2"]
    assert "certain" in found["Session 2"]
    assert "VERSION_1" in found["Negotiated"]
    assert "MRG_RXBUF" in found["Negotiated"].partition("not acknowledged")[2]
    assert "reconnect" in found["Phases"]
    assert "GET_VRING_BASE" in found["Answers"]
    assert "memory-backend-memfd" in found["Memory"]
    assert "eventfd:" in found["Vrings, at the end"]


def test_a_chosen_session(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "--session", "1", str(CAPTURES / "qemu-ovs.pcapng"))
    assert found["session"]["session"] == 1
    assert found["session"]["messages"] == 64
    assert [session["session"] for session in found["capture"]["sessions"]] == [1, 2]
    assert found["session"]["programs"] == {"frontend": "QEMU", "backend": "DPDK"}
    features = found["session"]["features"]
    assert set(features["refused"]) == set(features["offered"]) - set(features["acknowledged"])
    assert features["not_offered"] == []
    assert found["session"]["slowest"][0] == {
        "name": "GET_QUEUE_NUM",
        "request": 6,
        "reply": 7,
        "latency_ns": found["session"]["slowest"][0]["latency_ns"],
    }
    waits = [one["latency_ns"] for one in found["session"]["slowest"]]
    assert waits == sorted(waits, reverse=True)
    assert found["session"]["phases"][0]["kind"] == "connect"


def test_there_is_no_such_session(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "--session", "3", str(CAPTURES / "qemu-ovs.pcapng")]) == 2
    assert "there are sessions 1 to 2" in capsys.readouterr().err


def test_markdown_has_the_same_facts(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(CAPTURES / "qemu-blk.pcapng")
    plain, marked = printed(capsys, path), printed(capsys, "--format", "markdown", path)
    assert marked.startswith("**Stopped cleanly: the front-end ")
    assert "\n\n# vhost-user capture " in marked
    assert "| phase | messages | at | lasted |\n| --- | --- | --- | --- |" in marked
    for title in sections(plain):
        if not title.startswith(("Stopped cleanly", "vhost-user capture ")):
            assert f"## {title}" in marked
    cells = [line for line in marked.splitlines() if line.startswith("| start | ")]
    assert len(cells) == 2


def write(path: Path, comm: str = "qemu-system-x86") -> CaptureWriter:
    writer = CaptureWriter(path, source="test")
    ends = (End(1, Process(10, comm)), End(2, None))
    writer.open("/run/odd|path.sock", ends, opened_ns=synthetic.START_NS)
    return writer


def frame(request: int, end: int = 0, at: int = 0, payload: bytes = b"", process: Process | None = None) -> Frame:
    flags = VERSION | (FLAG_REPLY if end else 0)
    data = HEADERS["little"].pack(request, flags, len(payload)) + payload
    return Frame(1, end, synthetic.START_NS + at, data, Facts(process=process))


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.pcapng"
    with write(path) as writer:
        writer.frame(frame(F.GET_FEATURES))
        writer.frame(frame(F.GET_FEATURES, 1, 1000, bytes(8), Process(11, "dpdk-testpmd")))
        writer.lost(Lost(1, synthetic.START_NS + 1500, 3))
        writer.frame(frame(F.GET_QUEUE_NUM, 0, 2000))
        writer.close_connection(Closed(1, synthetic.START_NS + 10**9, "reset", 1, 3))
    with path.open("ab") as file:
        file.write(b"\x06\0\0\0\x40\0\0\0half a block")
    found = sections(printed(capsys, str(path)))
    capture = " ".join(found["Capture"].split())
    assert "lost 3 messages: what follows" in capture
    assert "ends in the middle of a block" in capture
    assert "GET_QUEUE_NUM (#3) was never answered, in 1.00 s" in found["Answers"]
    assert "dpdk-testpmd (11): DPDK" in found["Session 1"]
    assert "reset by the back-end" in found["Session 1"]
    assert "not acknowledged" in found["Negotiated"]
    assert "none set up" in found["Vrings, at the end"]


def test_names_from_outside_break_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "odd.pcapng"
    with write(path, "\x1b[31m<b>|x") as writer:
        writer.frame(frame(F.GET_FEATURES))
    plain = printed(capsys, str(path))
    assert "\x1b" not in plain
    marked = printed(capsys, "--format", "markdown", str(path))
    assert "&#124;`x" in marked
    assert "\x1b" not in marked


def test_a_capture_without_messages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.pcapng"
    write(path).close()
    assert main(["summary", str(path)]) == 1
    assert "no messages" in capsys.readouterr().err


def test_bytes_without_headers_have_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "raw.pcapng"
    with write(path) as writer:
        writer.frame(Frame(1, 0, synthetic.START_NS, bytes(range(40))))
    text = " ".join(printed(capsys, str(path)).split())
    assert "messages 1 on 1 connection," in text


def test_findings_that_repeat_are_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "again.pcapng"
    with write(path) as writer:
        for at in range(7):
            writer.frame(frame(200 + at, 0, at * 1000))
    found = sections(printed(capsys, str(path)))
    assert found["Findings"].count("[request-unknown]") == 1
    assert "(7 times)" in " ".join(found["Findings"].split())
    listed = told(capsys, str(path))["session"]["findings_listed"]
    (unknown,) = [one for one in listed if one["rule"] == "request-unknown"]
    assert (unknown["number"], unknown["times"], unknown["numbers"]) == (1, 7, [1, 2, 3, 4, 5, 6, 7])


def test_many_sessions_are_listed_shortly(tmp_path: Path) -> None:
    path = tmp_path / "many.pcapng"
    synthetic.million(path, 15_000)
    timeline = Timeline(Index(path))
    read_all(timeline)
    while timeline.analyse():
        pass
    timeline.conclude()
    number = len(timeline.sessions)
    text = page.text(summary.summary_page(timeline, [str(path)], number))
    assert text.count("\n") < PAGE_LINES + summary.SESSIONS


def test_each_session_tells_its_slowest_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not only the session that is told in full."""
    path = tmp_path / "slow.pcapng"
    with CaptureWriter(path, source="test") as writer:
        for number, waited in enumerate((7_000_000_000, 1_000)):
            start = synthetic.START_NS + number * 10**10
            connection = writer.open("/run/x.sock").id
            writer.frame(Frame(connection, 0, start, HEADERS["little"].pack(F.GET_FEATURES, VERSION, 0)))
            reply = HEADERS["little"].pack(F.GET_FEATURES, VERSION | FLAG_REPLY, 8) + bytes(8)
            writer.frame(Frame(connection, 1, start + waited, reply))
            writer.close_connection(Closed(connection, start + waited, "eof"))
    assert "7.00 s GET_FEATURES #1" in sections(printed(capsys, str(path)))["Sessions"]
    found = told(capsys, str(path))["capture"]["sessions"]
    assert [one["slowest_answer"]["latency_ns"] for one in found] == [7_000_000_000, 1_000]


def test_tables_are_shortened_in_the_middle() -> None:
    rows = [(str(number), "x") for number in range(100)]
    short = page.shortened(rows, 10)
    assert len(short) == 10
    assert short[5] == ("... 91 more", "")
    assert (short[0], short[-1]) == (("0", "x"), ("99", "x"))
    assert page.shortened(rows, 100) == rows
