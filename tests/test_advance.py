"""What each request does to the state of a device."""

from __future__ import annotations

from pathlib import Path

import pytest
from talk import Talk, eventfd, memfd, region, socket, u32, u64

from vusniff.families.vhost_user.protocol import BackendRequest as B
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.families.vhost_user.state import (
    MAX_ENTRIES,
    MAX_VRINGS,
    DeviceState,
    Postcopy,
    RegionOffset,
    RingState,
    Seen,
    initial,
    translate,
    vring,
)
from vusniff.message import Context
from vusniff.views.state import no_regions, state_dict

PROTOCOL = 1 << 30
USER = 0x7F0000000000


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path / "talk.pcapng")


def last(talk: Talk) -> DeviceState:
    timeline = talk.timeline()
    state = timeline.state(len(timeline) - 1)
    assert isinstance(state, DeviceState)
    return state


def test_a_new_connection_is_off_and_a_late_one_unknown(talk: Talk) -> None:
    assert vring(initial(True), 0).life == Seen(RingState.STOPPED, 0)
    assert vring(initial(True), 0).enabled == Seen(False, 0)
    assert vring(initial(False), 0).life is None
    assert initial(False).regions is None
    peers = talk.connect(late=True)
    peers.ask(F.SET_VRING_NUM, u32(0, 256))
    state = last(talk)
    assert not state.fresh
    assert state.vrings[0].num == Seen(256, 1)
    assert state.vrings[0].enabled is None


def test_memory_that_was_there_before_stays_unknown(talk: Talk) -> None:
    """Of a session joined late: a region added is not all there is, and one removed does not leave none."""
    peers = talk.connect(late=True)
    peers.ask(F.ADD_MEM_REG, u64(0) + region(0, 1 << 30, USER), memfd(51))
    state = last(talk)
    assert state.regions is not None
    assert len(state.regions) == 1
    assert state.regions_part
    assert not state.memory_unknown
    values = state_dict(state, Context())
    assert (len(values["regions"]), values["regions_complete"]) == (1, False)
    peers.ask(F.REM_MEM_REG, u64(0) + region(0, 1 << 30, USER))
    state = last(talk)
    assert state.memory_unknown
    assert no_regions(state) == "unknown"
    assert state_dict(state, Context())["regions"] is None
    peers.ask(F.SET_MEM_TABLE, u32(1, 0) + region(0, 1 << 30, USER), memfd(51))
    assert not last(talk).regions_part
    peers = talk.connect()
    peers.ask(F.ADD_MEM_REG, u64(0) + region(0, 1 << 30, USER), memfd(51))
    peers.ask(F.REM_MEM_REG, u64(0) + region(0, 1 << 30, USER))
    state = last(talk)
    assert not state.memory_unknown
    assert no_regions(state) == "no regions"
    assert state_dict(state, Context())["regions_complete"]


def test_features_are_offered_then_acknowledged(talk: Talk) -> None:
    peers = talk.connect()
    peers.ask(F.GET_FEATURES)
    peers.answer(F.GET_FEATURES, u64(0x1C0000000))
    peers.ask(F.SET_FEATURES, u64(0x140000000))
    peers.ask(F.GET_PROTOCOL_FEATURES)
    peers.answer(F.GET_PROTOCOL_FEATURES, u64(0xFF))
    peers.ask(F.SET_PROTOCOL_FEATURES, u64(0x29))
    state = last(talk)
    assert state.features_offered == Seen(0x1C0000000, 2)
    assert state.features == Seen(0x140000000, 3)
    assert state.protocol_features_offered == Seen(0xFF, 5)
    assert state.protocol_features == Seen(0x29, 6)


@pytest.mark.parametrize("stops", [F.GET_VRING_BASE, F.GET_VRING_BASE_SKIP_DRAIN])
def test_a_ring_from_setup_to_stop(talk: Talk, stops: F) -> None:
    peers = talk.connect()
    peers.ask(F.SET_FEATURES, u64(PROTOCOL))
    peers.ask(F.SET_MEM_TABLE, u32(1, 0) + region(0, 1 << 30, USER), memfd(51))
    peers.ask(F.SET_VRING_NUM, u32(3, 256))
    peers.ask(F.SET_VRING_BASE, u32(3, 7))
    peers.ask(F.SET_VRING_ADDR, u32(3, 1) + u64(USER + 0x1000, USER + 0x3000, USER + 0x2000, 0x3000))
    peers.ask(F.SET_VRING_KICK, u64(3), eventfd(10))
    peers.ask(F.SET_VRING_CALL, u64(3), eventfd(11))
    peers.ask(F.SET_VRING_ERR, u64(3 | 0x100))
    peers.ask(F.SET_VRING_ENABLE, u32(3, 1))
    state = last(talk)
    ring = state.vrings[3]
    assert ring.num == Seen(256, 3)
    assert ring.base == Seen(7, 4)
    assert ring.addresses is not None
    assert ring.addresses.value.flags == 1
    assert translate(state, ring.addresses.value.available) == RegionOffset(0, 0x2000)
    assert translate(state, ring.addresses.value.used) == RegionOffset(0, 0x3000)
    assert ring.kick == Seen(eventfd(10), 6)
    assert ring.call == Seen(eventfd(11), 7)
    assert ring.err == Seen(None, 8)
    assert ring.enabled == Seen(True, 9)
    assert ring.life == Seen(RingState.KICK_SET, 6)
    peers.ask(stops, u32(3, 0))
    peers.answer(stops, u32(3, 42))
    ring = last(talk).vrings[3]
    assert ring.life == Seen(RingState.STOPPED, 10)
    assert ring.kick == Seen(None, 10)
    assert ring.base == Seen(42, 11)
    assert ring.enabled == Seen(True, 9)


def test_rings_start_in_band_or_without_a_descriptor(talk: Talk) -> None:
    peers = talk.connect()
    peers.ask(F.VRING_KICK, u32(0, 0))
    peers.ask(F.SET_VRING_KICK, u64(1 | 0x100))
    state = last(talk)
    assert state.vrings[0].life == Seen(RingState.STARTED, 1)
    assert state.vrings[1].life == Seen(RingState.STARTED, 2)
    assert state.vrings[1].kick == Seen(None, 2)


def test_features_without_protocol_features_enable_all_rings(talk: Talk) -> None:
    peers = talk.connect()
    peers.ask(F.SET_VRING_NUM, u32(0, 256))
    peers.ask(F.SET_FEATURES, u64(0))
    peers.ask(F.SET_VRING_NUM, u32(1, 256))
    state = last(talk)
    assert state.vrings[0].enabled == Seen(True, 2)
    assert state.vrings[1].enabled == Seen(True, 2)


@pytest.mark.parametrize("request_code", [F.RESET_OWNER, F.RESET_DEVICE])
def test_reset_disables_rings(talk: Talk, request_code: F) -> None:
    peers = talk.connect()
    peers.ask(F.SET_VRING_ENABLE, u32(0, 1))
    peers.ask(request_code)
    assert last(talk).vrings[0].enabled == Seen(False, 2)


def test_memory_slots_are_added_and_removed(talk: Talk) -> None:
    peers = talk.connect()
    peers.ask(F.ADD_MEM_REG, u64(0) + region(0, 4096, USER), memfd(1))
    peers.ask(F.ADD_MEM_REG, u64(0) + region(4096, 4096, USER + 4096), memfd(2))
    peers.ask(F.REM_MEM_REG, u64(0) + region(0, 4096, USER, 99))
    regions = last(talk).regions
    assert regions is not None
    assert [(one.guest_address, one.descriptor, one.by) for one in regions] == [(4096, memfd(2), 2)]


def test_postcopy_keeps_the_table_and_learns_the_back_ends_addresses(talk: Talk) -> None:
    peers = talk.connect()
    peers.ask(F.POSTCOPY_ADVISE)
    peers.ask(F.POSTCOPY_LISTEN)
    peers.ask(F.SET_MEM_TABLE, u32(1, 0) + region(0, 4096, USER), memfd(1))
    peers.answer(F.SET_MEM_TABLE, u32(1, 0) + region(0, 4096, 0x1234000))
    peers.ask(F.SET_MEM_TABLE, u64(0))
    state = last(talk)
    assert state.postcopy == Seen(Postcopy.LISTENING, 2)
    assert state.regions is not None
    (one,) = state.regions
    assert (one.user_address, one.backend_address, one.by) == (USER, 0x1234000, 3)


def test_the_rest_of_a_device(talk: Talk) -> None:
    peers = talk.connect()
    peers.ask(F.SET_OWNER)
    peers.ask(F.SET_STATUS, u64(0xB))
    peers.ask(F.NET_SET_MTU, u64(1500))
    peers.ask(F.SET_BACKEND_REQ_FD, b"", socket(5))
    peers.ask(F.SET_LOG_BASE, u64(4096, 64), memfd(8))
    peers.ask(F.SET_LOG_FD, b"", eventfd(9))
    peers.ask(F.GET_INFLIGHT_FD, u64(0, 0) + b"\2\0\0\1" + bytes(4))
    peers.answer(F.GET_INFLIGHT_FD, u64(8192, 0) + b"\2\0\0\1" + bytes(4), memfd(7, 8192))
    peers.ask(F.GET_CONFIG, u32(4, 2, 0) + bytes(2))
    peers.answer(F.GET_CONFIG, u32(4, 2, 0) + b"\1\2")
    peers.ask(F.SET_DEVICE_STATE_FD, u32(1, 0), socket(6))
    state = last(talk)
    assert state.owned == Seen(True, 1)
    assert state.status == Seen(0xB, 2)
    assert state.mtu == Seen(1500, 3)
    assert state.backend_channel == Seen(socket(5), 4)
    assert state.log is not None
    assert (state.log.value.size, state.log.value.offset, state.log.value.descriptor) == (4096, 64, memfd(8))
    assert state.log_fd == Seen(eventfd(9), 6)
    assert state.inflight is not None
    assert (state.inflight.value.num_queues, state.inflight.value.queue_size, state.inflight.by) == (2, 256, 8)
    assert state.config is not None
    assert state.config.value.data == b"\0\0\0\0\1\2"
    assert state.config.value.known == b"\0\0\0\0\1\1"
    assert state.device_state == Seen(1, 11)


def test_the_iotlb_translates_ring_addresses(talk: Talk) -> None:
    peers = talk.connect()
    peers.ask(F.SET_FEATURES, u64(PROTOCOL | 1 << 33))
    peers.ask(F.SET_MEM_TABLE, u32(1, 0) + region(0, 1 << 20, USER), memfd(1))
    peers.ask(F.IOTLB_MSG, u64(0x5000, 0x1000, USER + 0x8000) + b"\3\2" + bytes(6), need_reply=True)
    assert translate(last(talk), 0x5010) == RegionOffset(0, 0x8010)
    peers.ask(F.IOTLB_MSG, u64(0x5000, 0x1000, 0) + b"\0\3" + bytes(6), need_reply=True)
    assert translate(last(talk), 0x5010) is None


def test_what_the_back_end_maps_and_notifies(talk: Talk) -> None:
    main = talk.connect()
    main.ask(F.SET_BACKEND_REQ_FD, b"", socket(77))
    channel = talk.connect("pair:76-77", inodes=(76, 77))
    area = u64(2, 4096, 0)
    channel.say(1, B.BACKEND_VRING_HOST_NOTIFIER_MSG, area, 1, (memfd(3),))
    mapping = b"\1" + bytes(7) + u64(0, 0x2000, 0x1000, 1)
    channel.say(1, B.BACKEND_SHMEM_MAP, mapping, 1, (memfd(4),))
    state = last(talk)
    assert state.vrings[2].notifier == Seen(memfd(3), 2)
    assert state.shmem == {(1, 0x2000): 0x1000}
    channel.say(1, B.BACKEND_SHMEM_UNMAP, mapping, 1)
    assert last(talk).shmem == {}


def test_a_negative_acknowledgement_is_kept(talk: Talk) -> None:
    peers = talk.connect()
    asked = peers.ask(F.SET_VRING_NUM, u32(0, 1024), need_reply=True)
    answer = peers.answer(F.SET_VRING_NUM, u64(1))
    (refusal,) = last(talk).refused
    assert (refusal.request, refusal.name, refusal.value, refusal.by) == (asked, "SET_VRING_NUM", 1, answer)


def test_malformed_messages_change_nothing(talk: Talk) -> None:
    peers = talk.connect()
    peers.ask(F.SET_FEATURES, b"\1\2\3")
    peers.ask(F.SET_VRING_NUM)
    peers.ask(99, u64(1))
    assert last(talk) == initial(True)


def test_hostile_numbers_of_rings_and_regions_are_bounded(talk: Talk) -> None:
    peers = talk.connect()
    for index in range(MAX_VRINGS + 5):
        peers.ask(F.SET_VRING_NUM, u32(index * 4001, 8))
    for number in range(MAX_ENTRIES + 5):
        peers.ask(F.ADD_MEM_REG, u64(0) + region(number << 12, 4096, number << 12), memfd(number))
    state = last(talk)
    assert len(state.vrings) == MAX_VRINGS
    assert state.regions is not None
    assert len(state.regions) == MAX_ENTRIES
