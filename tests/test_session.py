"""Who is who, and which reply answers which request."""

from __future__ import annotations

from pathlib import Path

import pytest
from talk import STEP_NS, Talk, socket, u32, u64

from vusniff.analysis.session import Tracker
from vusniff.channel import Sender
from vusniff.errors import VusniffError
from vusniff.families.pairing import MAX_WAITING
from vusniff.families.vhost_user.device import Sure
from vusniff.families.vhost_user.protocol import BackendRequest as B
from vusniff.families.vhost_user.protocol import Channels
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.families.vhost_user.protocol import GpuRequest as G

NET = 0x140618000


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path / "talk.pcapng")


@pytest.mark.parametrize("front", [0, 1])
def test_front_end_is_who_asks_whichever_end_listened(talk: Talk, front: int) -> None:
    peers = talk.connect(front=front)
    peers.ask(F.GET_FEATURES)
    peers.answer(F.GET_FEATURES, u64(NET))
    timeline = talk.timeline()
    assert [message.sender for message in timeline.messages()] == [Sender.FRONTEND, Sender.BACKEND]
    assert timeline.tracker.sender(peers.connection.id, front) is Sender.FRONTEND


def test_who_speaks_first_asks_whatever_its_flags_say(talk: Talk) -> None:
    peers = talk.connect()
    peers.say(0, F.GET_FEATURES, flags=5)
    peers.answer(F.GET_FEATURES, u64(NET))
    assert [message.sender for message in talk.timeline().messages()] == [Sender.FRONTEND, Sender.BACKEND]


def test_a_capture_that_begins_with_a_reply_still_knows_the_front_end(talk: Talk) -> None:
    peers = talk.connect(late=True)
    peers.answer(F.GET_FEATURES, u64(NET))
    peers.ask(F.SET_OWNER)
    senders = [message.sender for message in talk.timeline().messages()]
    assert senders == [Sender.BACKEND, Sender.FRONTEND]


def test_replies_and_acknowledgements_are_paired_with_latency(talk: Talk) -> None:
    peers = talk.connect()
    asked = peers.ask(F.GET_FEATURES)
    second = peers.ask(F.SET_OWNER, need_reply=True)
    unasked = peers.ask(F.SET_FEATURES, u64(NET))
    answered = peers.answer(F.GET_FEATURES, u64(NET))
    acked = peers.answer(F.SET_OWNER, u64(0))
    messages = {message.number: message for message in talk.timeline().messages()}
    assert messages[answered].answers == asked
    assert messages[asked].answered_by == answered
    assert messages[answered].latency_ns == 3 * STEP_NS == messages[asked].latency_ns
    assert messages[acked].answers == second
    assert messages[acked].payload == {"u64": 0, "success": True}
    assert messages[unasked].answered_by is None


def test_a_reply_out_of_order_answers_the_request_with_its_code(talk: Talk) -> None:
    peers = talk.connect()
    first = peers.ask(F.GET_FEATURES)
    second = peers.ask(F.GET_PROTOCOL_FEATURES)
    late = peers.answer(F.GET_PROTOCOL_FEATURES, u64(1))
    timeline = talk.timeline()
    assert timeline.message(late - 1).answers == second
    assert [pending.number for pending in timeline.tracker.pending()] == [first]


def test_a_reply_that_nobody_asked_for_answers_nothing(talk: Talk) -> None:
    peers = talk.connect()
    peers.ask(F.GET_FEATURES)
    stray = peers.answer(F.GET_STATUS, u64(0))
    assert talk.timeline().message(stray - 1).answers is None


def test_set_log_base_is_answered_only_with_log_shmfd(talk: Talk) -> None:
    peers = talk.connect()
    peers.ask(F.SET_PROTOCOL_FEATURES, u64(2))
    asked = peers.ask(F.SET_LOG_BASE, u64(4096, 0))
    timeline = talk.timeline()
    assert [pending.number for pending in timeline.tracker.pending()] == [asked]
    other = talk.connect("/run/other.sock")
    other.ask(F.SET_LOG_BASE, u64(4096))
    assert [pending.number for pending in talk.timeline().tracker.pending()] == [asked]


def test_the_back_end_channel_is_found_by_the_descriptor_that_was_passed(talk: Talk) -> None:
    main = talk.connect(inodes=(1, 2))
    main.ask(F.GET_FEATURES)
    main.ask(F.SET_BACKEND_REQ_FD, b"", socket(77))
    channel = talk.connect("pair:76-77", front=0, inodes=(76, 77))
    request = channel.say(1, B.BACKEND_CONFIG_CHANGE_MSG, b"", 9)
    ack = channel.say(0, B.BACKEND_CONFIG_CHANGE_MSG, u64(0), 5)
    timeline = talk.timeline()
    message = timeline.message(request - 1)
    assert (message.channel, message.sender, message.session) == (Channels.BACKEND, Sender.BACKEND, 1)
    assert message.name == "BACKEND_CONFIG_CHANGE_MSG"
    assert timeline.message(ack - 1).answers == request
    assert len(timeline.sessions) == 1


@pytest.mark.parametrize("noise", [0x7F04, 0xFFFFFFFF, 0xC, 4])
def test_a_request_on_the_gpu_socket_is_one_whatever_its_flags(talk: Talk, noise: int) -> None:
    """contrib/vhost-user-gpu does not set them."""
    front = talk.connect()
    front.ask(F.GPU_SET_SOCKET, b"", socket(9))
    gpu = talk.connect("pair:8-9", inodes=(8, 9))
    asked = gpu.say(1, G.GPU_GET_DISPLAY_INFO, b"", noise)
    answer = gpu.say(0, G.GPU_GET_DISPLAY_INFO, bytes(408), 4)
    timeline = talk.timeline()
    request, reply = timeline.message(asked - 1), timeline.message(answer - 1)
    assert (request.reply, request.need_reply, request.answered_by) == (False, False, answer)
    assert (reply.reply, reply.answers) == (True, asked)


def test_the_gpu_socket_belongs_to_the_session_that_passed_it(talk: Talk) -> None:
    main = talk.connect()
    main.ask(F.GPU_SET_SOCKET, b"", socket(9))
    gpu = talk.connect("pair:8-9", inodes=(8, 9))
    asked = gpu.say(1, G.GPU_GET_DISPLAY_INFO, b"", 0)
    timeline = talk.timeline()
    assert timeline.message(asked - 1).channel is Channels.GPU
    assert timeline.message(asked - 1).session == 1
    assert timeline.sessions[0].guess is not None
    assert (timeline.sessions[0].guess.device, timeline.sessions[0].guess.sure) == ("gpu", Sure.CERTAIN)


def test_a_late_back_end_channel_is_told_from_a_main_one_by_its_messages(talk: Talk) -> None:
    channel = talk.connect("pair:5-6", inodes=(5, 6), late=True)
    number = channel.say(1, B.BACKEND_CONFIG_CHANGE_MSG, b"", 9)
    message = talk.timeline().message(number - 1)
    assert (message.channel, message.sender) == (Channels.BACKEND, Sender.BACKEND)


def test_a_device_state_socket_stays_raw_in_its_session(talk: Talk) -> None:
    main = talk.connect()
    main.ask(F.SET_DEVICE_STATE_FD, u32(0, 0), socket(30))
    stream = talk.connect("pair:29-30", inodes=(29, 30))
    number = stream.raw(1, b"device state bytes")
    message = talk.timeline().message(number - 1)
    assert (message.session, message.channel, message.request) == (1, Channels.UNKNOWN, None)
    assert message.trailing == b"device state bytes"


def test_a_reconnect_is_a_new_session_that_knows_the_one_before(talk: Talk) -> None:
    for _ in range(2):
        peers = talk.connect()
        peers.ask(F.GET_FEATURES)
        peers.close()
    first, second = talk.timeline().sessions
    assert (first.number, first.previous) == (1, None)
    assert (second.number, second.previous) == (2, 1)
    assert first.closed is not None
    assert first.closed.reason == "eof"


def test_garbage_before_a_header_joins_the_same_session(talk: Talk) -> None:
    peers = talk.connect(late=True)
    peers.raw(0, b"tail of something")
    number = peers.ask(F.GET_FEATURES)
    timeline = talk.timeline()
    assert len(timeline.sessions) == 1
    assert timeline.message(number - 1).sender is Sender.FRONTEND
    assert timeline.message(number - 1).name == "GET_FEATURES"


@pytest.mark.parametrize("speaks_first", ["channel", "main"])
@pytest.mark.parametrize("reply", [False, True])
def test_a_back_end_channel_joined_late_belongs_to_its_session(talk: Talk, speaks_first: str, reply: bool) -> None:
    """What passed its socket was not seen: it is known by the processes at its ends."""
    main, channel = talk.connect(late=True), talk.connect("pair:5-6", inodes=(5, 6), late=True)

    def on_channel() -> None:
        if reply:
            channel.say(0, B.BACKEND_CONFIG_CHANGE_MSG, u64(0), 5)
        else:
            channel.say(1, B.BACKEND_CONFIG_CHANGE_MSG)

    def on_main() -> None:
        main.ask(F.GET_STATUS)

    for speak in (on_channel, on_main) if speaks_first == "channel" else (on_main, on_channel):
        speak()
    timeline = talk.timeline()
    assert len(timeline.sessions) == 1
    messages = {message.channel: message for message in timeline.messages()}
    assert messages[Channels.BACKEND].sender is (Sender.FRONTEND if reply else Sender.BACKEND)
    assert messages[Channels.MAIN].sender is Sender.FRONTEND


def test_a_late_channel_of_one_of_two_devices_is_not_guessed(talk: Talk) -> None:
    """Two devices of the same two processes: nothing tells whose the channel is."""
    talk.connect("/run/vm1.sock", late=True).ask(F.GET_STATUS)
    talk.connect("/run/vm2.sock", late=True).ask(F.GET_STATUS)
    talk.connect("pair:5-6", inodes=(5, 6), late=True).say(1, B.BACKEND_CONFIG_CHANGE_MSG)
    assert len(talk.timeline().sessions) == 3


def test_features_decide_how_later_messages_are_read(talk: Talk) -> None:
    peers = talk.connect()
    before = peers.ask(F.SET_VRING_BASE, u32(0, 0x80008000))
    peers.ask(F.SET_FEATURES, u64(1 << 34))
    after = peers.ask(F.SET_VRING_BASE, u32(0, 0x80008000))
    timeline = talk.timeline()
    assert timeline.place(before - 1).context.packed is None
    assert timeline.place(after - 1).context.packed is True
    payload = timeline.message(after - 1).payload
    assert payload is not None
    assert payload["available_wrap"]


def test_requests_that_are_never_answered_are_bounded(talk: Talk) -> None:
    peers = talk.connect()
    for _ in range(MAX_WAITING + 10):
        peers.ask(F.GET_FEATURES)
    pending = talk.timeline().tracker.pending()
    assert len(pending) == MAX_WAITING
    assert pending[0].number == 11


def test_the_device_can_be_given(talk: Talk) -> None:
    talk.connect().ask(F.GET_FEATURES)
    guess = talk.timeline("fs").sessions[0].guess
    assert guess is not None
    assert (guess.device, guess.sure) == ("fs", Sure.GIVEN)
    with pytest.raises(VusniffError, match="no such device type"):
        Tracker("toaster")


@pytest.mark.parametrize(
    ("offered", "config", "program", "device"),
    [
        (NET, None, "backend", "net"),
        (0x150001246, 60, "qemu-storage-da", "blk"),
        (1 << 32, None, "virtiofsd", "fs"),
        (1 << 32, 8, "vhost-device-vs", "vsock"),
        (1 << 32, None, "backend", None),
    ],
)
def test_the_device_is_deduced_from_evidence(
    talk: Talk, offered: int, config: int | None, program: str, device: str | None
) -> None:
    peers = talk.connect(comms=("qemu-system-x86", program))
    peers.ask(F.GET_FEATURES)
    peers.answer(F.GET_FEATURES, u64(offered))
    if config:
        peers.ask(F.GET_CONFIG, u32(0, config, 0) + bytes(config))
        peers.answer(F.GET_CONFIG, u32(0, config, 0) + bytes(config))
    guess = talk.timeline().sessions[0].guess
    assert (guess.device if guess else None) == device
    assert guess is None or guess.reasons
