"""Framing: any cut of a stream gives the same frames, and what is no vhost-user stays raw, whole and bounded."""

from __future__ import annotations

import itertools
import struct
import sys
import tracemalloc

from hypothesis import example, given
from hypothesis import strategies as st

from vusniff.families.framing import DESCRIPTOR_LIMIT, FRAME_LIMIT, RAW_LIMIT, Framer
from vusniff.families.vhost_user.family import SIZE_LIMIT, message_size
from vusniff.record import Chunk, Descriptor, DescriptorKind, Frame, FrameKind

END = 99


def message(request: int, payload: bytes = b"", flags: int = 1, size: int | None = None) -> bytes:
    return struct.pack("=III", request, flags, len(payload) if size is None else size) + payload


def descriptor(number: int) -> Descriptor:
    return Descriptor(DescriptorKind.EVENTFD, f"eventfd:{number}", number)


def cut(stream: bytes, cuts: list[int], passed: dict[int, tuple[Descriptor, ...]]) -> list[Chunk]:
    """The stream in chunks that end at ``cuts`` and, since descriptors come with a first byte, where some came."""
    bounds = sorted({0, len(stream), *(c for c in cuts if c < len(stream)), *passed})
    return [Chunk(1, 0, 7, stream[a:b], passed.get(a, ())) for a, b in itertools.pairwise(bounds)]


def feed(chunks: list[Chunk], framer: Framer | None = None) -> list[Frame]:
    framer = framer or Framer()
    frames = [frame for chunk in chunks for frame in framer.feed(chunk)]
    return frames + framer.end(END)


messages = st.builds(
    message, st.integers(1, 60), st.binary(max_size=300), st.sampled_from([0, 1, 4, 5, 9, 0xD, 2, 0x11, 0xFFFFFFF0])
)


@given(
    st.lists(messages, max_size=12),
    st.lists(st.integers(0, 3000), max_size=40),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 3)), max_size=6),
    st.integers(0, 11),
)
def test_any_cut_gives_the_same_frames_and_descriptors(
    parts: list[bytes], cuts: list[int], places: list[tuple[int, int]], lacking: int
) -> None:
    stream = b"".join(parts)
    stream = stream[: max(len(stream) - lacking, 0)]
    passed = {at: tuple(descriptor(at * 10 + k) for k in range(n)) for at, n in places if at < len(stream)}
    whole = feed(cut(stream, [], passed))
    assert feed(cut(stream, cuts, passed)) == whole
    assert feed(cut(stream, list(range(len(stream))), passed)) == whole
    assert b"".join(frame.data for frame in whole) == stream
    at = 0
    for frame in whole:
        expected = [d for place in sorted(passed) if at <= place < at + len(frame.data) for d in passed[place]]
        assert list(frame.descriptors) == expected
        at += len(frame.data)
    if not lacking:
        assert [frame.data for frame in whole] == parts
        assert all(frame.kind is FrameKind.MESSAGE and not frame.missing for frame in whole)


@given(st.lists(messages, max_size=8), st.lists(st.integers(1, 700), min_size=1), st.integers(0, 40))
def test_feeding_what_is_due_ends_with_every_message(parts: list[bytes], sizes: list[int], noise: int) -> None:
    """As a receiver does that sees some bytes, asks how many to take, and gets no more than there are."""
    stream = b"".join(parts) + b"\xff" * noise
    framer = Framer()
    frames: list[Frame] = []
    at = 0
    for size in itertools.cycle(sizes):
        waiting = stream[at : at + size]
        if not waiting:
            break
        due = framer.due(memoryview(waiting))
        assert due > 0
        taken = waiting[:due]
        frames += [Frame(1, 0, 7, taken)] if framer.is_message(taken) else framer.feed(Chunk(1, 0, 7, taken))
        at += len(taken)
    frames += framer.end(END)
    assert b"".join(frame.data for frame in frames) == stream
    assert [frame.data for frame in frames[: len(parts)]] == parts


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=20), st.booleans())
@example(b"", [], False)
@example(message(1, size=SIZE_LIMIT + 1), [3], False)
def test_garbage_is_kept_whole(stream: bytes, cuts: list[int], late: bool) -> None:
    frames = feed(cut(stream, cuts, {}), Framer(late=late))
    assert b"".join(frame.data for frame in frames) == stream
    for frame in frames:
        if frame.kind is FrameKind.MESSAGE:
            assert message_size(frame.data[:12]) == len(frame.data) + frame.missing


@given(
    st.lists(st.tuples(st.binary(max_size=60), st.integers(0, 40), st.integers(0, 2), st.booleans()), max_size=20),
    st.booleans(),
)
def test_holes_are_counted_and_nothing_raises(chunks: list[tuple[bytes, int, int, bool]], late: bool) -> None:
    framer = Framer(late=late)
    frames: list[Frame] = []
    for data, missing, count, gap in chunks:
        # Headers are frequent in what is fed, or holes within messages would never be met.
        data = message(1, data, size=len(data) + missing) if count == 1 else data
        frames += framer.feed(Chunk(1, 0, 1, data, tuple(map(descriptor, range(count))), missing=missing))
        if gap:
            frames += framer.gap()
    sent = sum(len(data) + 12 * (count == 1) for data, _, count, _ in chunks)
    assert sum(len(frame.data) for frame in frames + framer.end(END)) == sent
    assert sum(len(frame.descriptors) for frame in frames) + 2 >= sum(count for _, _, count, _ in chunks)


def test_a_header_and_its_payload_may_be_two_sends() -> None:
    reply = message(1, bytes(8), flags=5)
    framer = Framer()
    assert framer.feed(Chunk(1, 1, 10, reply[:12], (descriptor(3),))) == []
    assert framer.feed(Chunk(1, 1, 20, reply[12:])) == [Frame(1, 1, 10, reply, (descriptor(3),))]


def test_each_of_two_messages_in_one_chunk_is_a_frame_and_descriptors_stay_with_the_first() -> None:
    a, b = message(13, bytes(8)), message(12, bytes(8))
    frames = feed([Chunk(1, 0, 1, a + b, (descriptor(1),))])
    assert frames == [Frame(1, 0, 1, a, (descriptor(1),)), Frame(1, 0, 1, b)]


def test_both_byte_orders() -> None:
    other = "big" if sys.byteorder == "little" else "little"
    header = {"little": struct.pack("<III", 5, 1, 3), "big": struct.pack(">III", 5, 1, 3)}
    assert message_size(header[other], other) == 15
    frames = feed([Chunk(1, 0, 1, header[other] + b"abc")], Framer(other))
    assert [frame.kind for frame in frames] == [FrameKind.MESSAGE]


def test_what_is_a_header() -> None:
    assert message_size(message(1)) == 12
    assert message_size(message(8, size=SIZE_LIMIT, flags=0)) == 12 + SIZE_LIMIT
    assert message_size(message(8, size=SIZE_LIMIT + 1)) is None
    assert message_size(message(40, flags=3, size=8)) == 20
    assert message_size(message(40, flags=0xABCD0001, size=8)) == 20
    assert message_size(message(40, flags=0xABCD0001, size=1 << 20)) is None
    assert message_size(message(0)) is None
    assert message_size(b'{"QMP": {"ve') is None
    assert message_size(b"NBDMAGICIHAV") is None


def test_a_cut_off_message_says_how_much_is_missing() -> None:
    whole = message(5, bytes(40))
    assert feed([Chunk(1, 0, 1, whole[:20])]) == [Frame(1, 0, 1, whole[:20], missing=32)]
    assert feed([Chunk(1, 0, 1, whole[:12])]) == [Frame(1, 0, 1, whole[:12], missing=40)]
    assert feed([Chunk(1, 0, 1, whole[:11])]) == [Frame(1, 0, 1, whole[:11], kind=FrameKind.RAW)]


def test_after_an_implausible_header_the_direction_is_raw() -> None:
    good = message(1)
    frames = feed([Chunk(1, 0, 1, good + b"QMP" * 10 + good), Chunk(1, 0, 2, good, (descriptor(1),))])
    assert [frame.kind for frame in frames] == [FrameKind.MESSAGE, FrameKind.RAW, FrameKind.RAW]
    assert frames[1].data == b"QMP" * 10 + good
    assert frames[2] == Frame(1, 0, 2, good, (descriptor(1),), kind=FrameKind.RAW)
    long = feed([Chunk(1, 0, 1, b"x" * (3 * RAW_LIMIT + 1), (descriptor(1),))])
    assert [len(frame.data) for frame in long] == [RAW_LIMIT] * 3 + [1]
    assert [len(frame.descriptors) for frame in long] == [1, 0, 0, 0]


def test_large_messages_come_in_pieces_and_memory_stays_bounded() -> None:
    payload = 20 * FRAME_LIMIT
    piece = bytes(1 << 16)
    framer = Framer()
    frames = framer.feed(Chunk(1, 0, 1, message(8, size=payload, flags=0)))
    tracemalloc.start()
    sizes = [
        (frame.kind, len(frame.data), frame.missing)
        for number in range(payload // len(piece))
        for frame in framer.feed(Chunk(1, 0, number, piece))
    ]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert frames == []
    assert sizes == [
        (FrameKind.MESSAGE, FRAME_LIMIT, 0),
        *[(FrameKind.CONTINUATION, FRAME_LIMIT, 0)] * 19,
        (FrameKind.CONTINUATION, 12, 0),
    ]
    assert framer.end(END) == []
    assert peak < 5 * FRAME_LIMIT


def test_a_large_message_that_ends_between_two_pieces() -> None:
    framer = Framer()
    frames = framer.feed(Chunk(1, 0, 5, message(8, bytes(FRAME_LIMIT - 12), size=2 * FRAME_LIMIT)))
    assert [(frame.kind, len(frame.data), frame.missing) for frame in frames] == [(FrameKind.MESSAGE, FRAME_LIMIT, 0)]
    left = 12 + FRAME_LIMIT
    assert framer.end(END) == [Frame(1, 0, END, b"", kind=FrameKind.CONTINUATION, missing=left)]
    assert framer.end(END) == []


def test_descriptors_with_every_byte_are_bounded_and_none_is_lost() -> None:
    stream = message(8, bytes(3000))
    chunks = [Chunk(1, 0, 1, stream[i : i + 1], (descriptor(i),)) for i in range(len(stream))]
    frames = feed(chunks)
    assert [d.number for frame in frames for d in frame.descriptors] == list(range(len(stream)))
    assert all(len(frame.descriptors) <= DESCRIPTOR_LIMIT for frame in frames)
    assert [frame.kind for frame in frames] == [FrameKind.MESSAGE, FrameKind.CONTINUATION, FrameKind.CONTINUATION]


def test_descriptors_without_a_byte_are_shown() -> None:
    frames = feed([Chunk(1, 0, 1, b"", (descriptor(1),))])
    assert frames == [Frame(1, 0, 1, b"", (descriptor(1),), kind=FrameKind.RAW)]


def test_byte_by_byte_costs_no_more_than_its_bytes() -> None:
    """A buffer that is copied for every byte would hold this test for minutes."""
    stream = message(8, bytes(200_000))
    framer = Framer()
    frames = [frame for i in range(len(stream)) for frame in framer.feed(Chunk(1, 0, 1, stream[i : i + 1]))]
    assert [frame.data for frame in frames] == [stream]


def test_a_late_framer_waits_for_a_chunk_that_begins_with_a_header() -> None:
    framer = Framer(late=True)
    body = struct.pack("=QQ", 1, 4096)
    assert [frame.kind for frame in framer.feed(Chunk(1, 0, 1, body))] == [FrameKind.RAW]
    assert [frame.kind for frame in framer.feed(Chunk(1, 0, 2, bytes(8)))] == [FrameKind.RAW]
    assert framer.feed(Chunk(1, 0, 3, message(1, flags=5, size=8))) == []
    assert [frame.kind for frame in framer.feed(Chunk(1, 0, 4, bytes(8)))] == [FrameKind.MESSAGE]


def test_a_hole_within_a_payload_keeps_the_boundary() -> None:
    whole = message(5, bytes(range(40)))
    framer = Framer()
    assert framer.feed(Chunk(1, 0, 1, whole[:20], missing=10)) == [Frame(1, 0, 1, whole[:20], missing=10)]
    frames = framer.feed(Chunk(1, 0, 2, whole[30:] + whole))
    assert frames == [Frame(1, 0, 2, whole[30:], kind=FrameKind.CONTINUATION), Frame(1, 0, 2, whole)]
    assert Framer().feed(Chunk(1, 0, 1, whole[:12], missing=40)) == [Frame(1, 0, 1, whole[:12], missing=40)]


def test_a_hole_over_a_boundary_leads_to_a_new_search() -> None:
    whole = message(5, bytes(40))
    framer = Framer()
    frames = framer.feed(Chunk(1, 0, 1, whole[:20], missing=60))
    assert frames == [Frame(1, 0, 1, whole[:20], missing=32), Frame(1, 0, 1, b"", kind=FrameKind.RAW, missing=28)]
    assert [frame.kind for frame in framer.feed(Chunk(1, 0, 2, b"lost in here"))] == [FrameKind.RAW]
    assert [frame.kind for frame in framer.feed(Chunk(1, 0, 3, whole))] == [FrameKind.MESSAGE]


def test_a_gap_gives_what_was_begun_and_looks_for_a_header() -> None:
    whole = message(5, bytes(40))
    framer = Framer()
    framer.feed(Chunk(1, 0, 1, whole[:20]))
    assert framer.gap() == [Frame(1, 0, 1, whole[:20], missing=32)]
    assert [frame.kind for frame in framer.feed(Chunk(1, 0, 2, whole[20:]))] == [FrameKind.RAW]
    assert [frame.kind for frame in framer.feed(Chunk(1, 0, 3, whole))] == [FrameKind.MESSAGE]
    raw = Framer()
    raw.feed(Chunk(1, 0, 1, b"no header here"))
    assert raw.gap() == []
    assert [frame.kind for frame in raw.feed(Chunk(1, 0, 3, whole))] == [FrameKind.MESSAGE]
