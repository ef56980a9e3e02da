"""Connections are made of sockets that speak: which two belong together, what is lost, how they end."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_sends import closed, done, opened, passed, ring, sent

from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.record import FrameKind
from vusniff.sources.probe.links import Links
from vusniff.sources.probe.sends import NewSocket, Send, Sends, Shut

HELLO = bytes.fromhex("01000000 01000000 00000000")


class Watched:
    """Links that are fed with records, and the capture that they write."""

    def __init__(self, path: Path, existed: frozenset[int] = frozenset()) -> None:
        self.path = path
        self.writer = CaptureWriter(path, source="probe", order="little")
        nobody = frozenset[str]()
        self.links = Links(self.writer, lambda time: time, existed, nobody, lambda _pid, _path: None, lambda _pid: "")

    def feed(self, *made: bytes) -> None:
        sends = Sends()
        for event in sends.feed(ring(*made)) + sends.expire(1 << 62):
            if isinstance(event, NewSocket):
                self.links.meet(event)
            elif isinstance(event, Send):
                self.links.send(event)
            elif isinstance(event, Shut) and (known := self.links.find(event.inode)) is not None:
                self.links.end(known[0], known[1], event.time, "eof")

    def read(self) -> Index:
        self.writer.close()
        index = Index([self.path])
        index.update()
        return index


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "a.pcapng")


def test_both_ends_are_one_connection_and_the_one_with_a_path_accepted(watched: Watched) -> None:
    watched.feed(opened(51, 50, path=b"/run/a"), sent(HELLO, 1, inode=51), opened(50, 51, peer_path=b"/run/a"))
    watched.feed(sent(HELLO, 2), closed(50, 3))
    assert (watched.links.connections, watched.links.messages, watched.links.all()) == (1, 2, [])
    frames = list(watched.read().frames())
    assert [(frame.end, frame.data) for frame in frames] == [(1, HELLO), (0, HELLO)]


def test_losses_of_either_kind_are_counted_once(watched: Watched) -> None:
    watched.feed(opened(50, 51), sent(HELLO, 1), sent(HELLO, 2, lost=3))
    watched.links.settle(50, 3, 3)
    assert watched.links.lost == 3
    watched.links.settle(50, 5, 3)
    assert watched.links.lost == 5
    assert len(list(watched.read().frames())) == 2


def test_a_connection_that_was_there_before_is_joined_late(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "a.pcapng", frozenset({50}))
    watched.feed(opened(50, 51), sent(b"the rest of a payload", 1), sent(HELLO, 2))
    assert [frame.kind for frame in watched.read().frames()] == [FrameKind.RAW, FrameKind.MESSAGE]


def test_a_failed_send_is_not_there_and_one_in_part_waits_for_its_rest(watched: Watched) -> None:
    watched.feed(opened(50, 51), sent(HELLO, 1), done(1, -32), sent(HELLO, 2), done(2, 5), sent(HELLO[5:], 3))
    assert watched.links.failed == 1
    assert [frame.data for frame in watched.read().frames()] == [HELLO]


def test_bytes_of_another_protocol_and_garbage_are_raw(watched: Watched) -> None:
    watched.feed(opened(50, 51), sent(b"\0" * 16, 1), sent(b"\xff" * 40, 2))
    frames = list(watched.read().frames())
    assert {frame.kind for frame in frames} == {FrameKind.RAW}
    assert b"".join(frame.data for frame in frames) == b"\0" * 16 + b"\xff" * 40


def test_descriptors_arrive_and_lost_ones_are_unknown(watched: Watched) -> None:
    watched.feed(opened(50, 51), passed(1, 5, 6), sent(HELLO, 1, fds=2), sent(HELLO, 2, fds=1))
    first, second = watched.read().frames()
    assert [descriptor.number for descriptor in first.descriptors] == [5, 6]
    assert [descriptor.number for descriptor in second.descriptors] == [None]


def test_sockets_that_nobody_introduced_are_passed_over(watched: Watched) -> None:
    watched.feed(sent(HELLO, 1, inode=99), closed(98, 2))
    watched.links.lose(99, 4, 5)
    watched.links.amend(99)
    assert (watched.links.connections, watched.links.lost) == (0, 0)
    assert list(watched.read().frames()) == []
