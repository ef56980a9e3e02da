"""What rings do by their samples: in a word, over time, and what has changed; as text, JSON and tables."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from test_tui import opened, screen_text

import vusniff
from vusniff.analysis.devices import DeviceTable
from vusniff.analysis.rings import Doing, doing, kick_waits, numbers, used_between
from vusniff.analysis.timeline import Timeline
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.cli import main
from vusniff.families.vhost_user.device import DEVICES
from vusniff.families.vhost_user.queues import Purpose, purpose
from vusniff.record import Descriptor, DescriptorKind, End, Facts, Frame, Position, Process, Sample
from vusniff.views.rings import bar, moved_words, rate_words, sparkline, wants_words
from vusniff.views.tui.evidence import EvidenceRows
from vusniff.views.tui.state import state_lines

BASE, SECOND = 1_700_000_000_000_000_000, 1_000_000_000
STILL = Position(0, 256, False, 700, 690, 10)
MOVES = replace(STILL, moved_ns=0)
WAITS = replace(STILL, moved_ns=2 * SECOND, waiting_ns=2 * SECOND)
EMPTY = replace(STILL, in_flight=0, moved_ns=2 * SECOND)


@pytest.mark.parametrize(
    ("position", "what_for", "what"),
    [
        (STILL, Purpose.REQUESTS, Doing.IDLE),
        (MOVES, Purpose.REQUESTS, Doing.MOVING),
        (replace(MOVES, in_flight=0), Purpose.FILLED, Doing.MOVING),
        (WAITS, Purpose.REQUESTS, Doing.NOT_SERVED),
        (WAITS, Purpose.FILLED, Doing.IDLE),
        (WAITS, Purpose.UNKNOWN, Doing.WAITING),
        (replace(WAITS, unread_kicks=1), Purpose.UNKNOWN, Doing.NOT_SERVED),
        (replace(WAITS, unread_kicks=1, no_notify=True), Purpose.UNKNOWN, Doing.WAITING),
        (EMPTY, Purpose.REQUESTS, Doing.IDLE),
        (EMPTY, Purpose.UNKNOWN, Doing.IDLE),
        (EMPTY, Purpose.FILLED, Doing.NO_BUFFERS),
    ],
)
def test_what_a_ring_does(position: Position, what_for: Purpose, what: Doing) -> None:
    assert doing(position, what_for) is what


def test_what_queues_are_for() -> None:
    assert [purpose("net", n) for n in range(3)] == [Purpose.FILLED, Purpose.REQUESTS, Purpose.FILLED]
    assert [purpose("vsock", n) for n in range(3)] == [Purpose.FILLED, Purpose.REQUESTS, Purpose.FILLED]
    assert [purpose("scsi", n) for n in range(3)] == [Purpose.REQUESTS, Purpose.FILLED, Purpose.REQUESTS]
    assert {purpose("blk", n) for n in range(3)} == {Purpose.REQUESTS}
    assert purpose(None, 0) is purpose("9p", 0) is purpose("no device", 0) is Purpose.UNKNOWN
    assert all(purpose(device, 1 << 31) for device in DEVICES)


def test_what_was_used_between() -> None:
    assert used_between(replace(STILL, used=65530), replace(STILL, used=4)) == 10
    first = replace(STILL, packed=True, used=250, used_wrap=True)
    assert used_between(first, replace(first, used=4, used_wrap=False)) == 10
    assert used_between(replace(first, used_wrap=False), replace(first, used=4, used_wrap=True)) == 10
    assert used_between(first, first) == 0


@pytest.mark.parametrize(
    ("indexes", "words"), [([3], "ring 3"), ([0, 1], "rings 0, 1"), ([2, 0, 1], "rings 0 to 2"), ([1, 3], "rings 1, 3")]
)
def test_rings_in_words(indexes: list[int], words: str) -> None:
    assert numbers(indexes) == words


def test_cells() -> None:
    assert [rate_words(rate) for rate in (0, 7, 999, 1200, 123456, 7.25e6, 2e9)] == [
        *("0/s", "7/s", "999/s", "1.2k/s", "123k/s", "7.2M/s", "2000M/s"),
    ]
    assert wants_words(STILL) == "kicks, calls"
    assert wants_words(replace(STILL, no_notify=True, no_interrupt=True)) == "no kicks, no calls"
    assert wants_words(replace(STILL, available_event=5, used_event=6)) == "kick at 5, call at 6"
    assert wants_words(replace(STILL, packed=True, available_event=0x8005)) == "kick at 5, calls"
    assert [moved_words(one) for one in (STILL, MOVES, WAITS)] == ["not seen", "now", "2.00 s ago"]
    assert [bar(replace(STILL, in_flight=n), 4) for n in (0, 1, 128, 256, 60000)] == [
        *("    ", "▏   ", "██  ", "████", "████"),
    ]
    assert sparkline([0, 1, 4, 8], 3) == "▁▄█"
    assert sparkline([0, 0], 8) == "▁▁"
    assert sparkline([], 8) == ""
    assert kick_waits(replace(STILL, unread_kicks=1))


# -- a capture --------------------------------------------------------------------------------------------------------

RAM = Descriptor(DescriptorKind.MEMFD, "memfd:5", 7, "ram", 1 << 20)


def request(number: int, payload: bytes) -> bytes:
    return struct.pack("<III", number, 1, len(payload)) + payload


SET_UP = (
    (request(2, struct.pack("<Q", 1 << 32)), ()),
    (request(5, struct.pack("<II4Q", 1, 0, 0, 1 << 20, 1 << 30, 0)), (RAM,)),
    *(
        one
        for ring in (0, 1)
        for one in (
            (request(8, struct.pack("<II", ring, 256)), ()),
            (request(9, struct.pack("<II4Q", ring, 0, 1 << 30, 0x4000_3000, 0x4000_2000, 0)), ()),
            (request(10, struct.pack("<II", ring, 0)), ()),
            (request(12, struct.pack("<Q", ring)), (Descriptor(DescriptorKind.EVENTFD, f"eventfd:{ring}"),)),
        )
    ),
)
"""Ten messages: features, memory, two rings."""


def capture(path: Path, parts: Iterable[Sample | bytes]) -> Path:
    """Two rings that are set up; then samples and messages, a second apart."""
    with CaptureWriter(path, source="proxy", order="little") as writer:
        ends = End(7, Process(12, "qemu-system-x86")), End(8, Process(34, "dpdk-testpmd"))
        one = writer.open("/run/vm1.sock", ends, BASE)
        for data, descriptors in SET_UP:
            writer.frame(Frame(one.id, 0, BASE, data, Facts(tuple(descriptors))))
        for number, part in enumerate(parts, 1):
            if isinstance(part, Sample):
                writer.evidence(replace(part, time_ns=BASE + number * SECOND, ends=((one.id, 0),)))
            else:
                writer.frame(Frame(one.id, 0, BASE + number * SECOND, part))
    return path


def sample(*positions: Position) -> Sample:
    return Sample(0, tuple(positions))


def both(one: Position, **changes: int) -> Sample:
    return sample(one, replace(one, ring=1, **changes))  # type: ignore[arg-type]


def run(*words: object) -> tuple[int, str, str]:
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)) as out:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = main([str(word) for word in words])
        assert isinstance(out.buffer, io.BytesIO)
        return status, out.buffer.getvalue().decode(), said.getvalue()


STORY = (
    both(STILL),
    both(MOVES),
    both(MOVES),
    both(WAITS),
    both(WAITS, unread_kicks=1),
    both(replace(MOVES, used=800, available=810)),
    both(replace(WAITS, used=800, available=810)),
    sample(replace(EMPTY, used=800, available=800)),
)


def changes(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("# ")]


def test_only_what_matters_is_told(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", STORY)
    told = [
        "# rings 0, 1 move",
        "# ring 1 is not served: 10 in flight, nothing used for 2.00 s",
        "# ring 1 goes on after 4.00 s",
        "# ring 1 is not served: 10 in flight, nothing used for 2.00 s",
        "# ring 0 has no buffers: the driver has made none available for a second",
    ]
    assert changes(run("read", path, "--device", "net")[1]) == told
    assert changes(run("export", path, "--device", "net", "--format", "text")[1]) == told
    every = run("read", path, "--device", "net", "--json")[1].splitlines()
    assert len([line for line in every if '"kind":"sample"' in line]) == len(STORY)


def test_what_was_done_before_a_new_place_is_forgotten(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", [both(STILL), both(MOVES), both(STILL), both(MOVES)])
    assert changes(run("read", path)[1]) == ["# rings 0, 1 move"] * 2


def test_what_is_not_readable_is_told(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", [Sample(0, (), (("ring 1", "it lies \x1b elsewhere"),))])
    assert changes(run("read", path)[1]) == ["# ring 1 is not readable: it lies \\x1b elsewhere"]
    status, out, said = run("rings", path)
    assert (status, out) == (1, "")
    assert "session 1: ring 1 is not readable: it lies \\x1b elsewhere" in said
    assert "no samples of rings: record with --rings" in said


def test_standings_as_of_a_message(tmp_path: Path) -> None:
    get_base = request(11, struct.pack("<II", 1, 0))
    set_base = request(10, struct.pack("<II", 0, 5))
    parts: list[Sample | bytes] = [
        both(STILL),
        request(3, b""),
        both(MOVES),
        request(3, b""),
        get_base,
        set_base,
        sample(WAITS),
    ]
    timeline = vusniff.open_capture(capture(tmp_path / "c.pcapng", parts), device="blk")
    assert len(timeline) == 14
    first = timeline.standings(1, 9)
    assert {ring: one.position.moved_ns for ring, one in first.items()} == {0: None, 1: None}
    assert timeline.standings(1, 8) == {}
    then = timeline.standings(1, 10)
    assert {ring: one.doing for ring, one in then.items()} == {0: Doing.MOVING, 1: Doing.MOVING}
    assert set(timeline.standings(1, 12)) == {0}
    (last,) = timeline.standings(1, 13).values()
    assert last.doing is Doing.NOT_SERVED
    assert timeline.ring_history.rates(1, 0, 14) == [0.0, 0.0]
    timeline.index.close()


def test_a_capture_without_samples(tmp_path: Path) -> None:
    timeline = vusniff.open_capture(capture(tmp_path / "c.pcapng", []))
    assert timeline.standings(1, 9) == {}
    assert timeline.ring_history.rings == []
    timeline.index.close()
    assert run("rings", tmp_path / "c.pcapng")[0] == 1


def test_the_command(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", STORY)
    status, out, _ = run("rings", path, "--device", "net")
    assert status == 0
    head, *lines = out.splitlines()
    assert head.split("  ")[0] == "time"
    assert len(lines) == 15
    first = "1.000 1 0 idle 700 690 10 of 256 - kicks, calls - -"
    assert " ".join(lines[0].split()) == first
    assert "not served for 2.00 s (kick not read)" in lines[9]
    assert "110/s" in lines[11]
    assert len(run("rings", path, "--ring", "1", "--session", "1")[1].splitlines()) == 8
    assert run("rings", path, "--session", "2")[0] == 2
    objects = [json.loads(line) for line in run("rings", path, "--json", "--device", "net")[1].splitlines()]
    assert [one["state"] for one in objects if one["ring"] == 1][3:5] == ["not served", "not served"]
    assert objects[0]["session"] == 1


def test_kicks_and_calls(tmp_path: Path) -> None:
    counted = replace(STILL, kicks=3, calls=0), replace(MOVES, kicks=45, calls=7), replace(MOVES, kicks=2, calls=7)
    path = capture(tmp_path / "c.pcapng", [sample(one) for one in counted])
    _, *lines = run("rings", path, "--device", "net")[1].splitlines()
    assert [line.split()[-2:] for line in lines] == [["-", "-"], ["42/s", "7/s"], ["2/s", "0/s"]]
    objects = [json.loads(line) for line in run("rings", path, "--json")[1].splitlines()]
    assert [(one["kicks"], one["calls"]) for one in objects] == [(3, 0), (45, 7), (2, 7)]
    card = {line[:13].strip(): line[13:].strip() for line in pane(path, 9, 0, 120)}
    assert card["signalled"] == "kicks 2 (2/s), calls 7 (0/s)"


def test_the_verdict_says_that_a_kick_was_not_read(tmp_path: Path) -> None:
    stuck = replace(WAITS, waiting_ns=6 * SECOND, unread_kicks=1)
    out = run("check", capture(tmp_path / "c.pcapng", [sample(MOVES), sample(stuck)]), "--device", "blk")[1]
    said = " ".join(out.split())
    assert "vring 0 is not served: 10 in flight, nothing used for 6.00 s; its kick has not been read" in said
    assert "find out what the back-end is doing" in said


def test_the_state_has_them(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", STORY)
    out = run("state", path, "--device", "net")[1]
    assert "Rings, as last seen" in out
    assert "not served for 3.00 s" in out
    assert "no buffers" in out
    rings = json.loads(run("state", path, "--json", "--device", "net")[1])["rings"]
    assert [(one["ring"], one["state"]) for one in rings] == [(0, "no buffers"), (1, "not served")]
    assert json.loads(run("state", path, "--json", "--at", "4")[1])["rings"] == []


def test_the_summary_tells_what_each_did(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", STORY)
    page = run("summary", path, "--device", "net")[1]
    assert "Rings, by samples of their memory" in page
    marked = run("export", path, "--device", "net", "--format", "markdown")[1]
    assert "## Rings, by samples of their memory" in marked
    assert "| 0 | no buffers | 0 of 256 | 800 | 110/s | `-` | kicks, calls | 8 |" in marked
    session = json.loads(run("summary", path, "--device", "net", "--format", "json")[1])["session"]
    first, second = session["rings"]
    assert (first["ring"], first["state"], first["samples"], first["longest_wait_ns"]) == (0, "no buffers", 8, 0)
    # Waits when it is seen first, and goes on two seconds later.
    assert (second["ring"], second["longest_wait_ns"], second["most_per_second"]) == (1, 3 * SECOND, 110.0)
    assert session["unreadable"] == {}
    told = Sample(0, (), (("ring 1", "its addresses were not seen"),))
    page = run("summary", capture(tmp_path / "u.pcapng", [told]))[1]
    assert "ring 1 is not readable: its addresses were not seen" in page
    assert "Rings, by samples" not in run("summary", capture(tmp_path / "n.pcapng", []))[1]


def pane(path: Path, row: int, chosen: int, width: int) -> list[str]:
    timeline = vusniff.open_capture(path, device="net")
    states = timeline.before(row), timeline.state(row)
    found = ["".join(part.text for part in one.parts) for one in state_lines(timeline, row, *states, chosen, width)]
    timeline.index.close()
    return found


def test_the_pane_shows_them_beside_what_was_negotiated(tmp_path: Path) -> None:
    path = capture(tmp_path / "c.pcapng", STORY)
    lines = pane(path, 9, 1, 120)
    (head,) = (line for line in lines if line.split()[:3] == ["#", "state", "now"])
    assert head
    (first,) = (line for line in lines if line.startswith("  0  armed"))
    assert "no buffers ········ 0" in first
    (second,) = (line for line in lines if line.startswith("▸ 1  armed"))
    assert "not served ▎······· 10" in second
    card = {line[:13].strip(): line[13:].strip() for line in lines[lines.index(next(filter(is_card, lines))) :]}
    assert card["now"] == "not served for 3.00 s"
    assert card["in flight"].endswith("10 of 256")
    assert card["last used"] == "3.00 s ago"
    assert "/s" in card["rate"]
    for width in (40, 80, 200):
        assert max(map(len, pane(path, 9, 1, width))) <= max(width, 90)


def is_card(line: str) -> bool:
    return line.startswith("Vring 1")


def test_the_pane_is_as_before_without_samples(tmp_path: Path) -> None:
    lines = pane(capture(tmp_path / "c.pcapng", []), 9, 1, 120)
    assert not any(" now " in line for line in lines)


@pytest.mark.asyncio
async def test_a_sample_that_comes_is_shown_though_no_message_comes(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    with CaptureWriter(path, source="proxy", order="little") as writer:
        one = writer.open("/run/vm1.sock", (End(7), End(8)), BASE)
        for data, descriptors in SET_UP:
            writer.frame(Frame(one.id, 0, BASE, data, Facts(tuple(descriptors))))
        writer.flush()
        async with opened(path, follow=True) as (room, pilot):
            await pilot.press("end")
            await pilot.pause()
            assert "moving" not in screen_text(room)
            writer.evidence(replace(both(MOVES), time_ns=BASE + SECOND, ends=((one.id, 0),)))
            writer.flush()
            for _ in range(300):
                if "moving" in screen_text(room):
                    break
                await pilot.pause(0.02)
            assert "moving" in screen_text(room)


# -- for weeks --------------------------------------------------------------------------------------------------------


def test_who_follows_for_long_keeps_a_bounded_number_of_positions(tmp_path: Path) -> None:
    """A ring that moves for an hour; one that was used once, and one that was not served for a while."""
    idle, stuck = replace(EMPTY, ring=1), replace(WAITS, ring=2, waiting_ns=3 * SECOND)
    moving = [sample(replace(MOVES, used=9 * n & 0xFFFF, available=9 * n + 5 & 0xFFFF)) for n in range(3600)]
    path = capture(tmp_path / "c.pcapng", [sample(idle), sample(stuck), *moving[:700], sample(stuck), *moving[700:]])
    growing, data = tmp_path / "g.pcapng", path.read_bytes()
    growing.touch()
    with Index(path) as index, Index(growing) as bounded, growing.open("ab", buffering=0) as file:
        whole, timeline = Timeline(index), Timeline(bounded, keep=512)
        whole.update()
        table, most = DeviceTable(timeline), 0
        for at in range(0, len(data), 1 << 14):
            file.write(data[at : at + (1 << 14)])
            while timeline.update() or not timeline.complete:
                pass
            list(table.devices())
            most = max(most, bounded.events.positions)
        assert bounded.events.total == index.events.total
        assert index.events.positions > 7000
        assert most <= 512
        history = timeline.ring_history
        assert history.accounts(1) == whole.ring_history.accounts(1)
        kept = list(history.standings(1))
        assert len(kept) < 512
        assert list(whole.ring_history.standings(1))[-60:] == kept[-60:]
        assert sum(one.position.waiting_ns is not None for one in kept) == 2
        assert sum(one.position.ring == 1 for one in kept) == 1
        assert [one for _, one in bounded.events if not isinstance(one, Sample)] == [
            one for _, one in index.events if not isinstance(one, Sample)
        ]
    with Index(path) as index:
        timeline = Timeline(index, keep=0)
        timeline.update()
        assert not [one for _, one in index.events if isinstance(one, Sample)]


def test_a_bounded_number_of_sentences_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vusniff.views.tui.evidence.KEPT", 8)
    path = capture(tmp_path / "c.pcapng", [sample(replace(one, ring=1)) for _ in range(20) for one in (MOVES, WAITS)])
    with Index(path) as index:
        timeline = Timeline(index)
        timeline.update()
        rows = EvidenceRows(index, timeline.tracker)
        assert len(rows.tell()) <= 8
        assert rows.news() == []
        assert "goes on" in "".join(rows.behind(0, len(index)))
