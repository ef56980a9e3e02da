"""Framing: any cut of a stream gives the same frames, and what is no vhost-user stays raw, whole and bounded."""

from __future__ import annotations

import itertools
import struct
import sys
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vusniff.families.framing import BELIEVED, DESCRIPTOR_LIMIT, FRAME_LIMIT, RAW_LIMIT, Framer
from vusniff.families.vhost_user.header import SIZE_LIMIT, SIZE_LIMIT_ODD, find, message_size
from vusniff.families.vhost_user.protocol import CHANNELS, Channels
from vusniff.record import Chunk, Descriptor, DescriptorKind, Facts, Frame, FrameKind

END = 99


def message(request: int, payload: bytes = b"", flags: int = 1, size: int | None = None) -> bytes:
    return struct.pack("=III", request, flags, len(payload) if size is None else size) + payload


def descriptor(number: int) -> Descriptor:
    return Descriptor(DescriptorKind.EVENTFD, f"eventfd:{number}", number)


def cut(stream: bytes, cuts: list[int], passed: dict[int, tuple[Descriptor, ...]]) -> list[Chunk]:
    """The stream in chunks that end at ``cuts`` and, since descriptors come with a first byte, where some came."""
    bounds = sorted({0, len(stream), *(c for c in cuts if c < len(stream)), *passed})
    return [Chunk(1, 0, 7, stream[a:b], Facts(passed.get(a, ()))) for a, b in itertools.pairwise(bounds)]


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
        places_here = [place for place in sorted(passed) if at <= place < at + len(frame.data)]
        expected = [replace(d, late=place > at) for place in places_here for d in passed[place]]
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
            told = message_size(frame.data[:12])
            assert told is not None
            assert told == len(frame.data) + frame.missing or told > max(BELIEVED, len(frame.data))


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
        frames += framer.feed(Chunk(1, 0, 1, data, Facts(tuple(map(descriptor, range(count)))), missing=missing))
        if gap:
            frames += framer.gap()
    sent = sum(len(data) + 12 * (count == 1) for data, _, count, _ in chunks)
    frames += framer.end(END)
    assert sum(len(frame.data) for frame in frames) == sent
    assert sum(len(frame.descriptors) for frame in frames) + 2 >= sum(count for _, _, count, _ in chunks)


def test_a_header_and_its_payload_may_be_two_sends() -> None:
    reply = message(1, bytes(8), flags=5)
    framer = Framer()
    assert framer.feed(Chunk(1, 1, 10, reply[:12], Facts((descriptor(3),)))) == []
    assert framer.feed(Chunk(1, 1, 20, reply[12:])) == [Frame(1, 1, 10, reply, Facts((descriptor(3),)))]


def test_each_of_two_messages_in_one_chunk_is_a_frame_and_descriptors_stay_with_the_first() -> None:
    a, b = message(13, bytes(8)), message(12, bytes(8))
    frames = feed([Chunk(1, 0, 1, a + b, Facts((descriptor(1),)))])
    assert frames == [Frame(1, 0, 1, a, Facts((descriptor(1),))), Frame(1, 0, 1, b)]


def test_both_byte_orders() -> None:
    other = "big" if sys.byteorder == "little" else "little"
    header = {"little": struct.pack("<III", 5, 1, 3), "big": struct.pack(">III", 5, 1, 3)}
    assert message_size(header[other], other) == 15
    frames = feed([Chunk(1, 0, 1, header[other] + b"abc")], Framer(other))
    assert [frame.kind for frame in frames] == [FrameKind.MESSAGE]


def test_what_is_a_header() -> None:
    assert message_size(message(1)) == 12
    assert message_size(message(8, size=SIZE_LIMIT, flags=0)) == 12 + SIZE_LIMIT
    assert message_size(message(8, size=0xFFFFFFFF)) == 12 + 0xFFFFFFFF  # told, though implausible
    assert message_size(message(8, size=SIZE_LIMIT, flags=0x71)) == 12 + SIZE_LIMIT
    assert message_size(message(8, size=SIZE_LIMIT + 1, flags=0x71)) is None
    assert message_size(message(46, size=SIZE_LIMIT_ODD)) == 12 + SIZE_LIMIT_ODD
    assert message_size(message(46, size=SIZE_LIMIT_ODD + 1)) is None
    assert message_size(message(40, flags=3, size=8)) == 20
    assert message_size(message(40, flags=0xABCD0001, size=8)) == 20
    assert message_size(message(40, flags=0xABCD0001, size=1 << 20)) is None
    assert message_size(message(0)) == 12
    assert message_size(message(0, flags=0)) is None
    assert message_size(message(0, flags=0x11)) is None
    assert message_size(b"\xff" * 12) is None
    assert message_size(b'{"QMP": {"ve') is None
    assert message_size(b"NBDMAGICIHAV") is None


def test_a_message_that_its_sender_leaves_unfinished_lacks_nothing_that_was_sent() -> None:
    whole = message(5, bytes(40))
    for size in (7, 12, 20):
        framer = Framer()
        framer.feed(Chunk(1, 0, 1, whole[:size]))
        kind = FrameKind.RAW if size < 12 else FrameKind.MESSAGE
        assert framer.end(END, closed=True) == [Frame(1, 0, 1, whole[:size], kind=kind)]
        assert framer.end(END, closed=True) == []


def test_a_cut_off_message_says_how_much_is_missing() -> None:
    whole = message(5, bytes(40))
    assert feed([Chunk(1, 0, 1, whole[:20])]) == [Frame(1, 0, 1, whole[:20], missing=32)]
    assert feed([Chunk(1, 0, 1, whole[:12])]) == [Frame(1, 0, 1, whole[:12], missing=40)]
    assert feed([Chunk(1, 0, 1, whole[:11])]) == [Frame(1, 0, 1, whole[:11], kind=FrameKind.RAW)]


UNREADABLE = {
    "all ones": b"\xff" * 12,
    "no request, no version": message(0, bytes(8), flags=0),
    "a request that nobody has, of 4 GiB": message(77, bytes(8), size=0xFFFFFFFF),
    "unassigned flags, of 256 MiB": message(2, bytes(8), flags=0x101, size=SIZE_LIMIT),
    "another protocol": b"QMP" * 10,
}
"""Bytes between two messages that cannot begin one."""
DOUBTED = {
    "of 4 GiB": message(2, bytes(8), size=0xFFFFFFFF),
    "of 256 MiB": message(2, bytes(8), size=SIZE_LIMIT),
    "of 4 KiB": message(2, bytes(8), size=4096),
    "of 4 KiB without its payload": message(2, size=4096),
    "a reply of 64 KiB": message(1, bytes(8), flags=5, size=1 << 16),
    "what only a GPU socket has": message(8, bytes(8), size=1 << 20),
}
"""Messages whose size cannot be true."""
READ = {
    "no request": message(0, bytes(8)),
    "no version": message(2, bytes(8), flags=0),
    "a request that nobody has": message(0xFFFF, bytes(8), flags=0xD),
    "larger than its layout": message(2, bytes(800)),
    "unassigned flags": message(2, bytes(8), flags=0xFFFFFFF1),
}
"""Messages that are odd, and say how long they are."""
GOOD = [message(1), message(5, bytes(40)), message(3), message(16, bytes(8), flags=9)]


def sends(*parts: bytes) -> list[Chunk]:
    """Each part as a send of its own."""
    return [Chunk(1, 0, at, part) for at, part in enumerate(parts, 1)]


@pytest.mark.parametrize("name", [*UNREADABLE, *DOUBTED, *READ])
@pytest.mark.parametrize("joined", [False, True], ids=["send by send", "joined"])
def test_one_odd_header_hides_no_other_message(name: str, joined: bool) -> None:
    odd = {**UNREADABLE, **DOUBTED, **READ}[name]
    parts = [GOOD[0], odd, *GOOD[1:]]
    framer = Framer(channel=Channels.MAIN)
    frames = feed(sends(b"".join(parts)) if joined else sends(*parts), framer)
    assert [frame.data for frame in frames] == parts
    kind = FrameKind.RAW if name in UNREADABLE else FrameKind.MESSAGE
    assert [frame.kind for frame in frames] == [FrameKind.MESSAGE, kind, *[FrameKind.MESSAGE] * 3]
    assert not any(frame.missing for frame in frames)


@pytest.mark.parametrize("name", [*UNREADABLE, *DOUBTED])
@pytest.mark.parametrize("order", ["little", "big"])
def test_a_receiver_is_told_where_the_next_message_begins(name: str, order: str) -> None:
    """What the proxy asks before it takes bytes from a socket: messages behind an odd header are taken one by one."""
    odd = {**UNREADABLE, **DOUBTED}[name]
    parts = [GOOD[0], odd, *GOOD[1:]]
    if order == "big":
        if odd[:3] == b"QMP":
            return  # its last bytes would be part of the header behind it, which has no zeros first
        parts = [struct.pack(">III", *struct.unpack_from("=III", part)) + part[12:] for part in parts]
    stream, framer, taken = b"".join(parts), Framer(order, channel=Channels.MAIN), []
    frames: list[Frame] = []
    while stream:
        due = framer.due(memoryview(stream))
        piece, stream = stream[:due], stream[due:]
        taken.append(piece)
        frames += [Frame(1, 0, 7, piece)] if framer.is_message(piece) else framer.feed(Chunk(1, 0, 7, piece))
    assert taken == parts
    assert [frame.data for frame in frames] == parts


def test_a_header_is_found_again_behind_one_whose_payload_is_another_send() -> None:
    """As libvhost-user writes its replies."""
    framer = Framer(channel=Channels.MAIN)
    reply = message(1, bytes(8), flags=5)
    frames = feed(sends(b"\xff" * 12, bytes(8), reply[:12], reply[12:], message(15, bytes(8), flags=5)), framer)
    assert [frame.kind for frame in frames] == [FrameKind.RAW] * 2 + [FrameKind.MESSAGE] * 2
    assert frames[2].data == reply


def test_descriptors_of_a_message_that_is_found_again_are_its_own() -> None:
    kick = message(12, bytes(8))
    for odd in (*UNREADABLE.values(), *DOUBTED.values()):
        framer = Framer(channel=Channels.MAIN)
        framer.feed(Chunk(1, 0, 1, odd))
        assert framer.header(kick) == (12, 1)
        assert framer.due(memoryview(kick)) == len(kick)
        passed = Facts((descriptor(4),))
        assert framer.feed(Chunk(1, 0, 2, kick, passed))[-1] == Frame(1, 0, 2, kick, passed)


def test_a_message_of_an_implausible_size_is_released_when_the_other_side_speaks() -> None:
    """The answer to a request would stand behind what was asked after it."""
    framer = Framer(channel=Channels.MAIN)
    lie, after = message(11, bytes(8), flags=5, size=256 << 20), message(17, bytes(8), flags=5)
    assert framer.feed(Chunk(1, 1, 1, lie)) == []
    assert framer.release() == [Frame(1, 1, 1, lie)]
    assert framer.release() == []
    assert framer.feed(Chunk(1, 1, 2, after)) == [Frame(1, 1, 2, after)]
    assert framer.release() == []
    framer.feed(Chunk(1, 1, 3, after[:12]))
    assert framer.release() == []  # nothing is wrong with it


def test_what_a_gpu_socket_sends_is_believed_whatever_its_flags() -> None:
    """contrib/vhost-user-gpu does not set the flags of GPU_UPDATE: they are what was in its memory."""
    update = struct.pack("=III", 8, 0x55D0A8, 20 + 300_000) + bytes(range(20)) + message(1) * 25_000
    for channel in (Channels.GPU, Channels.UNKNOWN):
        frames = feed(sends(update[:12], update[12:], message(3, flags=0)), Framer(channel=channel))
        assert [frame.kind for frame in frames] == [FrameKind.MESSAGE] * 2
        assert frames[0].data == update


def test_other_protocols_stay_raw() -> None:
    long = feed([Chunk(1, 0, 1, b"x" * (3 * RAW_LIMIT + 1), Facts((descriptor(1),)))])
    assert [len(frame.data) for frame in long] == [RAW_LIMIT] * 3 + [1]
    assert [len(frame.descriptors) for frame in long] == [1, 0, 0, 0]
    said = [b'{"QMP": {"version": {}}}\r\n', b'{"return": {}}\r\n', bytes(64), b"HTTP/1.1 200 OK\r\n\r\n"]
    assert {frame.kind for frame in feed(sends(*said))} == {FrameKind.RAW}


def test_a_message_of_any_implausible_size_is_bounded_and_may_be_true() -> None:
    framer = Framer(channel=Channels.MAIN)
    frames = feed(sends(message(9, size=3 * FRAME_LIMIT), *[bytes(1 << 16)] * 48, message(1)), framer)
    assert [frame.kind for frame in frames] == [
        FrameKind.MESSAGE,
        *[FrameKind.CONTINUATION] * 3,
        FrameKind.MESSAGE,
    ]
    assert [len(frame.data) for frame in frames] == [FRAME_LIMIT] * 3 + [12, 12]


@given(st.binary(max_size=3000), st.integers(0, 3000))
def test_what_is_found_in_garbage_is_a_whole_header(garbage: bytes, start: int) -> None:
    for channel in CHANNELS:
        at = find(garbage, "little", start, channel)
        assert at is None or (at >= start and (message_size(garbage, "little", at) or 0) >= 12)


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
    framer = Framer(channel=Channels.GPU)
    frames = framer.feed(Chunk(1, 0, 5, message(8, bytes(FRAME_LIMIT - 12), size=2 * FRAME_LIMIT)))
    assert [(frame.kind, len(frame.data), frame.missing) for frame in frames] == [(FrameKind.MESSAGE, FRAME_LIMIT, 0)]
    left = 12 + FRAME_LIMIT
    assert framer.end(END) == [Frame(1, 0, END, b"", kind=FrameKind.CONTINUATION, missing=left)]
    assert framer.end(END) == []


def test_descriptors_with_every_byte_are_bounded_and_none_is_lost() -> None:
    stream = message(8, bytes(3000))
    chunks = [Chunk(1, 0, 1, stream[i : i + 1], Facts((descriptor(i),))) for i in range(len(stream))]
    frames = feed(chunks)
    assert [d.number for frame in frames for d in frame.descriptors] == list(range(len(stream)))
    assert all(len(frame.descriptors) <= DESCRIPTOR_LIMIT for frame in frames)
    assert [frame.kind for frame in frames] == [FrameKind.MESSAGE, FrameKind.CONTINUATION, FrameKind.CONTINUATION]


def test_descriptors_without_a_byte_are_shown() -> None:
    frames = feed([Chunk(1, 0, 1, b"", Facts((descriptor(1),)))])
    assert frames == [Frame(1, 0, 1, b"", Facts((descriptor(1),)), kind=FrameKind.RAW)]


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
