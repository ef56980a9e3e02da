"""Sends are put together from the kernel program's records, and given back in the order in which they began."""

from __future__ import annotations

import random
import struct

from vusniff.bpf import records
from vusniff.sources.probe.sends import HOLD_NS, Event, NewSocket, Send, Sends, Shut

MS = 1_000_000


def ring(*made: bytes) -> bytes:
    """Records as the ring buffer holds them."""
    return b"".join(struct.pack("=II", len(one), 0) + one + bytes(-len(one) % 8) for one in made)


def sent(
    data: bytes,
    time: int,
    *,
    tid: int = 7,
    inode: int = 50,
    fds: int = 0,
    length: int = 0,
    index: int = 0,
    lost: int = 0,
) -> bytes:
    head = (records.SENT, 1, 0, tid, time, 0xFF00, inode, 70, fds, length or len(data), len(data), index, 0, lost)
    return records.SENT_HEAD.pack(*head, b"qemu") + data


def done(time: int, result: int, *, tid: int = 7, last: int = 0) -> bytes:
    return records.DONE_ALL.pack(records.DONE, 0, 0, tid, time, result, last)


def passed(time: int, *numbers: int, tid: int = 7, inode: int = 50) -> bytes:
    head = records.PASSED_HEAD.pack(records.PASSED, 0, 0, tid, time, 0xFF00, inode, len(numbers), 0)
    return head + b"".join(records.PASSED_FD.pack(number, 0, 0, 0, 0, 0, 0, 0, b"") for number in numbers)


def opened(inode: int, peer: int, time: int = 0, *, path: bytes = b"", peer_path: bytes = b"") -> bytes:
    head = (records.OPENED, 0, 0, 7, time, 0xFF00, inode, 0xFE00, peer, 70, 4026531840, 0, len(path), len(peer_path))
    return records.OPENED_ALL.pack(*head, b"qemu", path, peer_path)


def closed(inode: int, time: int, flags: int = 1, code: int = 0) -> bytes:
    return records.CLOSED_ALL.pack(records.CLOSED, flags, 0, 7, time, 0xFF00, inode, 70, code, b"qemu")


def said(events: list[Event]) -> list[bytes]:
    return [event.data for event in events if isinstance(event, Send)]


def test_a_send_is_given_out_when_its_thread_sends_again_and_the_last_one_when_its_time_is_over() -> None:
    sends = Sends()
    assert said(sends.feed(ring(sent(b"a", MS)))) == []
    assert said(sends.feed(ring(sent(b"b", 2 * MS)))) == [b"a"]
    assert sends.expire(2 * MS + HOLD_NS - 1) == []
    assert said(sends.expire(2 * MS + HOLD_NS)) == [b"b"]


def test_order_is_kept_while_an_earlier_send_waits() -> None:
    sends = Sends()
    assert sends.feed(ring(sent(b"a", 1, tid=1), sent(b"b", 2, tid=2), sent(b"c", 3, tid=2))) == []
    assert said(sends.feed(ring(sent(b"d", 4, tid=1)))) == [b"a", b"b"]


def test_what_was_sent_in_part_or_not_at_all_says_so() -> None:
    sends = Sends()
    events = sends.feed(ring(sent(b"whole", 1), done(1, 3), sent(b"x", 2), done(2, -32)))
    assert [event.result for event in events if isinstance(event, Send)] == [3, -32]
    assert sends.belated == []


def test_a_failure_after_its_time_is_counted() -> None:
    sends = Sends()
    sends.feed(ring(sent(b"a", 1)))
    (event,) = sends.expire(1 + HOLD_NS)
    assert sends.feed(ring(done(1, -32))) == []
    assert sends.belated == [event]


def test_messages_of_one_sendmmsg() -> None:
    sends = Sends()
    events = sends.feed(ring(sent(b"aa", 1), sent(b"bb", 2, index=1), sent(b"cc", 3, index=2), done(1, 2, last=1)))
    assert [event.result for event in events if isinstance(event, Send)] == [2, 1, -1]
    events = sends.feed(ring(sent(b"aa", 4), sent(b"bb", 5, index=1), done(4, 9, last=2)))
    assert [count for _, count in sends.overflowed] == [7]


def test_descriptors_belong_to_the_next_send_of_their_thread() -> None:
    sends = Sends()
    events = sends.feed(
        ring(passed(1, 5, 6), sent(b"x", 1, tid=8), sent(b"a", 1, fds=2), done(1, 1), done(1, 1, tid=8))
    )
    other, own = (event for event in events if isinstance(event, Send))
    assert (other.descriptors, own.count, len(own.descriptors or b"")) == (None, 2, 2 * records.PASSED_FD.size)


def test_descriptors_whose_record_was_lost_are_still_counted() -> None:
    (event,) = Sends().feed(ring(sent(b"a", 1, fds=2), done(1, 1)))
    assert isinstance(event, Send)
    assert (event.count, event.descriptors) == (2, None)


def test_who_opened_and_who_closed() -> None:
    first, last = Sends().feed(ring(opened(50, 51, peer_path=b"/run/a"), closed(50, 9, 3, 9 | 1 << 31)))
    assert isinstance(first, NewSocket)
    assert (first.inode, first.peer_inode, first.path, first.peer_path) == (50, 51, b"", b"/run/a")
    assert isinstance(last, Shut)
    assert (last.final, last.unread, last.exit_code) == (True, True, 9)


def test_a_return_without_its_send_and_unknown_records_change_nothing() -> None:
    assert Sends().feed(ring(done(1, 3), b"\xfe" + bytes(60), b"\0")) == []


def test_whatever_records_hold_every_send_comes_out_once() -> None:
    dice = random.Random(1)
    made = [(sent, b""), (done, b""), (closed, b"")]
    for _ in range(50):
        sends, pieces, count = Sends(), [], 0
        for _ in range(200):
            kind, _ = dice.choice(made)
            tid, time = dice.randrange(4), dice.getrandbits(40)
            if kind is sent:
                pieces.append(sent(dice.randbytes(3), time, tid=tid, fds=dice.randrange(3), index=dice.randrange(3)))
                count += 1
            elif kind is done:
                pieces.append(done(time, dice.randrange(-40, 40), tid=tid, last=dice.randrange(3)))
            else:
                pieces.append(closed(dice.getrandbits(60), time, dice.randrange(256), dice.getrandbits(32)))
        events = sends.feed(ring(*pieces)) + sends.expire(1 << 62)
        assert len(said(events)) == count
