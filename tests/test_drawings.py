"""What is drawn in characters: rings over time, sequences, reply times, memory; in the view and by `vusniff draw`."""

from __future__ import annotations

from pathlib import Path

import pytest

from captures import synthetic
from vusniff.analysis.latencies import BUCKETS, EDGES_NS, ReplyTimes, bucket_of
from vusniff.analysis.lives import RingLives
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.cli import main
from vusniff.families.vhost_user.state import (
    Addresses,
    DeviceState,
    DirtyLog,
    Inflight,
    Region,
    RingState,
    Seen,
    Vring,
    Vrings,
)
from vusniff.views.aligned import aligned
from vusniff.views.aligned import lines as aligned_lines
from vusniff.views.export.chosen import Chosen, result
from vusniff.views.export.sequence import sequence
from vusniff.views.gantt import LABEL, Axis, chart
from vusniff.views.ladder import ladder
from vusniff.views.timings import ORDERS, table
from vusniff.views.tui.bars import pace_words
from vusniff.views.tui.memory import memory_lines

CAPTURES = Path(__file__).parent.parent / "captures"
QEMU = CAPTURES / "qemu-testpmd.pcapng"
RECONNECT = CAPTURES / "virtio-user-packed-reconnect.pcapng"
STALLED = CAPTURES / "trouble" / "backend-stopped.pcapng"


def read(path: Path) -> Timeline:
    timeline = Timeline(Index(path))
    read_all(timeline)
    return timeline


def lives_of(timeline: Timeline, session: int = 1) -> RingLives:
    lives = RingLives(timeline, session)
    while not lives.run(0):
        pass
    return lives


def test_what_a_ring_was_is_known_from_message_to_message() -> None:
    timeline = read(QEMU)
    lives = lives_of(timeline)
    told = [(life.number, str(life.state), life.enabled) for life in lives.rings[0]]
    assert told[:3] == [(13, "not set up", False), (28, "not set up", True), (55, "armed", True)]
    assert (67, "stopped", True) in told or (66, "stopped", True) in told
    assert {str(life.state) for life in lives.rings[3]} == {"not set up"}
    # as the state says it after every message
    for number, said, enabled in told:
        ring = timeline.state(number - 1).vrings[0]
        assert ring.life is not None
        assert str(ring.life.value) in (said, "stopped")
        assert ring.enabled is not None
        assert ring.enabled.value is enabled


def test_a_ring_of_which_only_samples_tell_is_drawn() -> None:
    timeline = read(STALLED)
    lives = lives_of(timeline)
    lives.rings.clear()
    lines = [line.text for line in chart(timeline, lives, timeline.phases(1), 100, Axis.TIME)]
    ring, occupied = lines[(at := next(n for n, line in enumerate(lines) if line.startswith("vring "))) : at + 2]
    assert ring[LABEL:].strip() == ""
    assert "█" in occupied


def test_rings_over_time_on_both_axes() -> None:
    timeline = read(QEMU)
    lives, phases = lives_of(timeline), timeline.phases(1)
    by_time = [line.text for line in chart(timeline, lives, phases, 100, Axis.TIME, 59)]
    (ring,) = [line[LABEL:] for line in by_time if line.startswith("vring 0")]
    assert set(ring.strip()) == {"·", "▓", "─"}
    (ribbon,) = [line for line in by_time if line.startswith("phases")]
    assert "┣idle" in ribbon
    (here,) = [line for line in by_time if line.startswith("#60")]
    assert ring[here.index("▼") - LABEL] in "▓·"
    by_message = [line.text for line in chart(timeline, lives, phases, 100, Axis.MESSAGES)]
    (ring,) = [line[LABEL:] for line in by_message if line.startswith("vring 0")]
    assert ring.count("▓") > 10  # nothing happens in most of the time, and much in few messages
    assert all(len(line) <= 100 for line in [*by_time, *by_message])


def test_how_full_rings_were_is_drawn_until_the_end() -> None:
    timeline = read(STALLED)
    drawn = chart(timeline, lives_of(timeline), timeline.phases(1), 100, Axis.TIME)
    first, second = (line for line in drawn if line.text.startswith("  in flight"))
    assert first.text.endswith("█")
    assert "!" in second.text
    assert [style for text, style in second.parts if "!" in text] == ["bad"]
    assert second.text.endswith("▁")


def test_a_sequence_is_drawn_between_its_lanes() -> None:
    timeline = read(QEMU)
    drawn = ladder(result(sequence(Chosen(timeline, range(len(timeline)), ["x"], 2000))), 120)
    texts = [line.text for line in drawn]
    assert "front-end qemu-system-x86 (22234)" in texts[1]
    assert texts[1].endswith("back-end dpdk-testpmd (22237)")
    (request,) = [line for line in drawn if " SET_OWNER " in line.text]
    assert request.text.startswith("     #10 0.004178  │── SET_OWNER ──")
    assert request.text.endswith("─▶")
    assert request.jump == 10
    (reply,) = [line for line in drawn if "128, after" in line.text]
    assert reply.text.strip().startswith("◀╌╌")
    assert reply.text.endswith("╌╌│")
    assert len({len(line.text) for line in drawn if line.key.startswith(("step", "reply"))}) == 1


def test_reply_times_are_those_of_the_messages() -> None:
    timeline = read(QEMU)
    found = ReplyTimes(timeline)
    assert not found.seen
    assert found.run(1)
    known: dict[str, list[int]] = {}
    for message in timeline.messages():
        if message.latency_ns is not None and message.answers:
            known.setdefault(message.name, []).append(message.latency_ns)
    for one in found.table():
        times = sorted(known.pop(one.name))
        assert (one.replies, one.most_ns, one.median_ns) == (len(times), times[-1], times[(len(times) - 1) // 2])
        assert sum(one.buckets) == one.replies
        slowest = timeline.message(one.slowest - 1)
        assert (slowest.name, slowest.latency_ns) == (one.name, one.most_ns)
    assert not known


def test_percentiles_of_many_and_what_waits(tmp_path: Path) -> None:
    path = tmp_path / "many.pcapng"
    synthetic.million(path, 3000)
    found = ReplyTimes(read(path))
    while not found.run(0):
        pass
    for one in found.table():
        assert one.median_ns <= one.p99_ns <= one.most_ns
    assert [bucket_of(edge) for edge in EDGES_NS] == list(range(1, BUCKETS))
    assert (bucket_of(0), bucket_of(10**12)) == (0, BUCKETS - 1)


def test_reply_times_are_sorted_in_every_order() -> None:
    found = ReplyTimes(read(QEMU))
    found.run(1)
    rows = {order: [line.text.split()[0] for line in table(found.table(), order)[1:8]] for order in ORDERS}
    assert rows["by name"] == sorted(rows["by name"])
    assert rows["longest first"][0] == "SET_MEM_TABLE"
    assert set(rows["by median"]) == set(rows["by name"])
    assert table([])[0].text == "no request asked for a reply"


def test_rings_log_and_in_flight_buffer_stand_where_they_lie() -> None:
    page = 4096
    regions = (Region(0, 64 * page, 1 << 40, 0, None, 3), Region(1 << 32, 64 * page, 1 << 41, 0, None, 3))
    ring = Vring(0, addresses=Seen(Addresses(0, (1 << 41) + 32 * page, 0, (1 << 41) + 33 * page, 0), 5))
    state = DeviceState(
        True,
        regions=regions,
        regions_by=3,
        vrings=Vrings().with_ring(ring),
        log=Seen(DirtyLog(8, 0, None), 7),
        inflight=Seen(Inflight(8192, 0, 2, 128, None), 6),
    )
    texts = [line.text for line in memory_lines(state, 100)]
    (bar, *_) = [text for text in texts if text.startswith("  r0")]
    place = next(text for text in texts if "▲" in text)
    assert bar.index("r1") < place.index("▲")
    assert "vring 0" in place
    assert "  the dirty log has no bits for the rest" in texts  # 64 pages, and the second region is 4 GiB further
    assert any(text.startswith("  in-flight buffer  2 queues of 128, 8K at offset 0x0") for text in texts)
    assert any(text.startswith("  │vring 0") and "│vring 1" in text for text in texts)


def test_requests_of_two_sessions_stand_side_by_side() -> None:
    timeline = read(RECONNECT)
    found = aligned(timeline, 1, 2)
    both = [line for line in found if line.left is not None and line.right is not None]
    assert {line.left.name for line in both if line.left} >= {"GET_FEATURES", "SET_VRING_KICK"}
    assert all(line.left.key == line.right.key for line in both if line.left and line.right)
    assert any(line.left is not None and line.right is None and line.left.name == "SET_OWNER" for line in found)
    said = "\n".join(one.text for one in aligned_lines(found, 200))
    assert "SET_VRING_ENABLE vring 0 disabled" in said
    assert "SET_VRING_NUM vring 0 size 256" in said
    assert "SET_PROTOCOL_FEATURES MQ REPLY_ACK STATUS" in said
    assert "SET_STATUS ACKNOWLEDGE DRIVER FEATURES_OK -> success" in said
    assert "_F_" not in said


def test_messages_of_the_last_seconds() -> None:
    timeline = read(QEMU)
    words = pace_words(timeline, 4)
    assert words == "▁█▁▅ 34/s"


@pytest.mark.parametrize("what", ["rings", "sequence", "replies", "memory"])
def test_the_command_draws_the_same(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["draw", what, str(QEMU), "--width", "90"]) == 0
    out = capsys.readouterr().out
    assert {"rings": "▓", "sequence": "──▶", "replies": "SET_MEM_TABLE", "memory": "vrings 0-1 ▲"}[what] in out
    assert all(len(line) <= 90 for line in out.splitlines())
    assert RingState.NOT_SET_UP.value in out or what != "rings"


def test_what_cannot_be_drawn_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["draw", "rings", str(QEMU), "--session", "9"]) == 2
    assert "--session 9: there are sessions 1 to 1" in capsys.readouterr().err
    assert main(["draw", "memory", str(CAPTURES / "vfio-user.pcapng")]) == 2
    assert "has no memory table" in capsys.readouterr().err
    assert main(["draw", "memory", str(QEMU), "--at", "0"]) == 2
    assert "--at 0" in capsys.readouterr().err


def test_a_picture_without_rings_explains_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["draw", "rings", str(CAPTURES / "trouble" / "too-few-queues.pcapng")]) == 0
    out = capsys.readouterr().out
    assert "no message names a ring" in out
    assert "not set up" not in out
