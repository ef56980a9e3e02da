"""Passed sockets are remembered, the oldest are forgotten, and ten thousand reconnects keep their back-end channels."""

from __future__ import annotations

import struct
from pathlib import Path

from talk import START_NS, Talk, socket

from vusniff.analysis.driver import Driver
from vusniff.capture.reader import CaptureReader
from vusniff.capture.writer import CaptureWriter
from vusniff.families.vhost_user.protocol import BackendRequest, Channels, FrontendRequest
from vusniff.passed_sockets import LIMIT, PassedSockets
from vusniff.record import Closed, Descriptor, DescriptorKind, End, Facts, Frame

RECONNECTS = 10_000


def test_only_sockets_are_kept_the_oldest_goes_first_and_what_is_closed_is_forgotten() -> None:
    passed: PassedSockets[str] = PassedSockets()
    for identity in (None, "memfd:7", "socket:", "socket:x", "socket:²", f"socket:{'9' * 4096}", "eventfd:3"):
        assert passed.note(Descriptor(DescriptorKind.SOCKET, identity), "nothing") is None
    assert len(passed) == 0
    for inode in range(1, LIMIT + 1):
        assert passed.note(socket(inode), "channel") == inode
    passed.note(socket(1), "again")
    passed.note(socket(LIMIT + 1), "new")
    assert len(passed) == LIMIT
    assert (passed.get(1), passed.get(2), passed.get(3), passed.get(LIMIT + 1)) == ("again", None, "channel", "new")
    passed.forget(3)
    assert (passed.get(3), passed.get(None)) == (None, None)


def test_back_end_channels_stay_in_their_session_over_ten_thousand_reconnects(tmp_path: Path) -> None:
    """Half of the channels never speak; sessions are as many as main connections, and infos have the right names."""
    talk = Talk(tmp_path / "reconnects.pcapng")
    spoken = 0
    for number in range(RECONNECTS):
        peers = talk.connect(inodes=(4 * number + 1, 4 * number + 2))
        passed = 4 * number + 4
        peers.ask(FrontendRequest.SET_BACKEND_REQ_FD, b"", socket(passed))
        if number % 2 or number == RECONNECTS - 1:
            channel = talk.connect(f"pair:{passed - 1}-{passed}", 1, (passed - 1, passed))
            channel.say(1, BackendRequest.BACKEND_CONFIG_CHANGE_MSG)
            channel.close()
            spoken += 1
        peers.close()
    talk.writer.close()
    driver = Driver()
    with CaptureReader(talk.path) as reader:
        for batch in reader.batches():
            places = driver.place_batch(batch, reader.order).places
            assert all(place.channel in (Channels.MAIN, Channels.BACKEND) for place in places)
    tracker = driver.tracker
    assert len(tracker.sessions) == RECONNECTS
    assert sum(len(session.connections) == 2 for session in tracker.sessions) == spoken
    named = talk.path.read_bytes().count(b"BACKEND_CONFIG_CHANGE_MSG")
    assert named == spoken


def test_a_writer_forgets_the_sockets_of_a_connection_that_has_ended(tmp_path: Path) -> None:
    """The inode may be another socket's by then."""
    path = tmp_path / "again.pcapng"
    with CaptureWriter(path, source="test", order="little") as writer:
        main = writer.open("/run/x", (End(1), End(2)), START_NS)
        body = struct.pack("<III", FrontendRequest.SET_BACKEND_REQ_FD, 1, 0)
        writer.frame(Frame(main.id, 0, START_NS, body, Facts((socket(4),))))
        channel = writer.open("pair:3-4", (End(3), End(4)), START_NS)
        writer.frame(Frame(channel.id, 1, START_NS, struct.pack("<III", 4, 1, 0)))
        writer.close_connection(Closed(channel.id, START_NS, "eof"))
        other = writer.open("/run/y", (End(5), End(4)), START_NS)
        writer.frame(Frame(other.id, 0, START_NS, struct.pack("<III", 4, 1, 0)))
    assert path.read_bytes().count(b"BACKEND_VRING_CALL") == 1
    assert path.read_bytes().count(b"RESET_OWNER") == 1
