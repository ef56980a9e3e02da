"""Calls of vhost in the kernel: the numbers against the system's headers, what a call does to the device, strace."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vusniff.analysis.devices import DeviceTable, ListedDevice
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.packet import NAME_LIMIT
from vusniff.capture.writer import CaptureWriter
from vusniff.checks.story import session_verdict
from vusniff.cli import main
from vusniff.families.places import Spot
from vusniff.families.registry import families, family_named
from vusniff.families.vhost_kernel.call import frame
from vusniff.families.vhost_kernel.places import VDUSE_WORDS, places, vdpa_places, vduse_places
from vusniff.families.vhost_kernel.protocol import (
    HEADER,
    HEADER_SIZE,
    KERNEL_NAME,
    NAMES,
    USER,
    VDPA_NAME,
    VDUSE_NAME,
    Control,
    Ioctl,
    KernelChannels,
    head,
)
from vusniff.families.vhost_kernel.setting import setting
from vusniff.families.vhost_kernel.state import KernelState
from vusniff.families.vhost_user.places import IOMMU_WORDS
from vusniff.families.vhost_user.state import RingState, evolve
from vusniff.filter import compile_filter
from vusniff.layouts import dissect
from vusniff.record import Call, Closed, Descriptor, DescriptorKind, End, Facts, Frame, Process
from vusniff.sources.host.kernel_devices import kernel_side, vduse_node
from vusniff.sources.host.kernel_nodes import is_open
from vusniff.sources.rings.access import Access
from vusniff.sources.rings.reader import RingReader
from vusniff.views import verdict
from vusniff.views.state import peers
from vusniff.views.text import details as text_details
from vusniff.views.tui.details import details
from vusniff.views.tui.state import ending

E2BIG, EFAULT = 7, 14
GIB = 1 << 30
I = Ioctl  # noqa: E741


class Device:
    """Writes the calls of one process on one device."""

    def __init__(self, writer: CaptureWriter, path: str, family: str, program: str = "qemu") -> None:
        self._writer = writer
        self._now = 1_000_000_000
        who = Process(7, program, 7)
        node, _, detail = path.removesuffix(")").partition(" (")
        ends = End(process=who), End(process=kernel_side(node, detail, "qemu-storage-daemon"))
        self._connection = writer.open(path, ends, self._now, False, family).id

    def call(
        self,
        request: int,
        data: bytes = b"",
        error: int = 0,
        fd: int = 26,
        back: bool = False,
        passed: int | None = None,
    ) -> None:
        self._now += 1_000_000
        descriptors = () if passed is None else (Descriptor(DescriptorKind.EVENTFD, f"eventfd:{passed}", passed),)
        call = Call(
            self._connection,
            self._now,
            request,
            data,
            back and not error,
            -1 if error else 0,
            error,
            fd,
            900,
            Facts(descriptors),
        )
        self._writer.frame(frame(call, "little"))

    def close(self) -> None:
        """The process closes it."""
        self._writer.close_connection(Closed(self._connection, self._now, "eof", 0, 0))


Make = Callable[[str, str], tuple[Device, Callable[[], Timeline]]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    path = tmp_path / "calls.pcapng"

    def made(node: str, family: str) -> tuple[Device, Callable[[], Timeline]]:
        writer = CaptureWriter(path, source="test", order="little")

        def read() -> Timeline:
            writer.close()
            timeline = Timeline(Index(path))
            read_all(timeline, judge=True)
            return timeline

        return Device(writer, node, family), read

    return made


def state(index: int, num: int) -> bytes:
    return struct.pack("<II", index, num)


def file(index: int, fd: int) -> bytes:
    return struct.pack("<Ii", index, fd)


def table(*regions: tuple[int, int, int]) -> bytes:
    return struct.pack("<II", len(regions), 0) + b"".join(struct.pack("<QQQQ", *one, 0) for one in regions)


def address(index: int, base: int) -> bytes:
    return struct.pack("<II4Q", index, 0, base, base + 0x2000, base + 0x1000, 0)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


@pytest.mark.skipif(
    shutil.which("gcc") is None or not Path("/usr/include/linux/vduse.h").exists(), reason="no gcc or kernel headers"
)
def test_numbers_are_those_of_the_systems_headers(tmp_path: Path) -> None:
    source = ["#include <stdio.h>", "#include <sys/ioctl.h>", "#include <linux/vhost.h>", "#include <linux/vduse.h>"]
    source += ["int main(void) {"]
    for one in Ioctl:
        name = one.name if one.name.startswith("VDUSE_") else f"VHOST_{one.name}"
        source += [f"#ifdef {name}", f'printf("{one.name} %lu\\n", (unsigned long){name});', "#endif"]
    (tmp_path / "numbers.c").write_text("\n".join([*source, "return 0; }"]))
    program = tmp_path / "numbers"
    subprocess.run(["gcc", "-o", program, tmp_path / "numbers.c"], check=True)
    told = dict(line.split() for line in subprocess.run([program], capture_output=True, text=True).stdout.splitlines())
    assert {name: int(number) for name, number in told.items()} == {name: int(Ioctl[name]) for name in told}
    assert len(told) >= 58


def test_every_call_has_a_row_and_every_row_is_a_call() -> None:
    rows = {
        code: spec.name for name in ("kernel", "vdpa", "vduse") for code, spec in dissect.load()[name].specs.items()
    }
    assert rows == NAMES
    assert set(USER) <= set(rows)


def test_wireshark_finds_every_family_by_its_whole_name() -> None:
    assert max(len(name) for name in families()) <= NAME_LIMIT


def test_the_header_is_what_it_says() -> None:
    data = head("little", I.GET_FEATURES, 7, 8, 22, -1, 26, 900)
    assert len(data) == HEADER_SIZE
    assert HEADER.read["little"](data, 0) == (int(I.GET_FEATURES), 7, 8)
    assert HEADER.others(data, "little") == {"error": 22, "result": -1, "fd": 26, "duration_ns": 900}


def test_a_net_device_is_followed_from_owner_to_stop(make: Make) -> None:
    device, read = make("/dev/vhost-net (tap0)", KERNEL_NAME)
    for fd in (26, 27):
        device.call(I.SET_OWNER, fd=fd)
        device.call(I.GET_FEATURES, u64(0x130008000), fd=fd, back=True)
    for fd in (26, 27):
        device.call(I.SET_FEATURES, u64(1 << 32), fd=fd)
        device.call(I.SET_MEM_TABLE, table((0, GIB, 0x7F0000000000)), fd=fd)
        for ring in (0, 1):
            device.call(I.SET_VRING_NUM, state(ring, 256), fd=fd)
            device.call(I.SET_VRING_BASE, state(ring, 0), fd=fd)
            device.call(I.SET_VRING_ADDR, address(ring, 0x7F0000100000 + 0x10000 * ring + 0x100000 * fd), fd=fd)
            device.call(I.SET_VRING_KICK, file(ring, 40 + ring), fd=fd, passed=40 + ring)
            device.call(I.NET_SET_BACKEND, file(ring, 30), fd=fd, passed=30)
    device.call(I.NET_SET_BACKEND, file(1, -1), fd=27)
    device.call(I.GET_VRING_BASE, state(1, 17), fd=27, back=True)
    timeline = read()
    (session,) = timeline.sessions
    after = timeline.session_state(1, len(timeline) - 1)
    assert isinstance(after, KernelState)
    assert after.files == (26, 27)
    assert after.features is not None
    assert after.features.value == 1 << 32
    assert list(after.vrings) == [0, 1, 2, 3]
    lives = [ring.life.value for ring in after.vrings.values() if ring.life]
    assert lives == [*[RingState.STARTED] * 3, RingState.STOPPED]
    assert after.vrings[3].base is not None
    assert after.vrings[3].base.value == 17
    assert after.backends[3].value is None
    assert [message.name for message in timeline.messages()][:2] == ["SET_OWNER", "GET_FEATURES"]
    assert session.family.name == KERNEL_NAME
    assert [phase.kind.value for phase in timeline.phases(1)][:2] == ["connect", "feature negotiation"]
    devices = DeviceTable(timeline)  # what is listed of the session is not shown twice
    devices.list(ListedDevice(f"/dev/vhost-net (tap{pid - 7})", (), "qemu", "kernel vhost", pid=pid) for pid in (7, 8))
    assert [(one.path, len(one.rings)) for one in devices.devices()] == [
        ("/dev/vhost-net (tap0)", 4),
        ("/dev/vhost-net (tap1)", 0),
    ]


def test_a_call_that_failed_changes_nothing_and_is_told(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device, read = make("/dev/vhost-net", KERNEL_NAME)
    device.call(I.SET_OWNER)
    device.call(I.SET_MEM_TABLE, table((0, GIB, 0x7F0000000000)), error=E2BIG)
    device.call(I.NET_SET_BACKEND, file(0, 30), error=EFAULT, passed=30)
    timeline = read()
    after = timeline.session_state(1, 2)
    assert isinstance(after, KernelState)
    assert after.regions == ()
    assert [(one.name, one.value) for one in after.refused] == [("SET_MEM_TABLE", E2BIG), ("NET_SET_BACKEND", EFAULT)]
    numbers = {
        text: [row + 1 for row in compile_filter(text).rows(timeline)]
        for text in ("call.result < 0", "errno == EFAULT", "vhost.transport == kernel", "call.fd == 26 && !errno")
    }
    assert numbers == {
        "call.result < 0": [2, 3],
        "errno == EFAULT": [3],
        "vhost.transport == kernel": [1, 2, 3],
        "call.fd == 26 && !errno": [1],
    }
    assert main(["read", "--json", str(tmp_path / "calls.pcapng")]) == 0
    one = [json.loads(line) for line in capsys.readouterr().out.splitlines()][1]
    assert (one["name"], one["error"], one["result"], one["fd"]) == ("SET_MEM_TABLE", E2BIG, -1, 26)
    assert main(["read", str(tmp_path / "calls.pcapng")]) == 0
    assert "FAILED (E2BIG) 1 region" in capsys.readouterr().out


def test_vdpa_starts_with_its_status(make: Make) -> None:
    device, read = make("/dev/vhost-vdpa-0", VDPA_NAME)
    device.call(I.SET_OWNER)
    device.call(I.VDPA_GET_DEVICE_ID, struct.pack("<I", 2), back=True)
    device.call(I.VDPA_SET_STATUS, b"\x03")
    device.call(I.SET_FEATURES, u64(1 << 33 | 1 << 32))
    message = struct.pack("<IIQQQBB", 2, 0, 0x1000, 0x10000, 0x7F0000000000, 3, 2).ljust(72, b"\0")
    device.call(Control.IOTLB_MSG_V2, message)
    device.call(I.SET_VRING_NUM, state(0, 128))
    device.call(I.SET_VRING_ADDR, address(0, 0x1000))
    device.call(I.VDPA_SET_VRING_ENABLE, state(0, 1))
    device.call(I.VDPA_SET_STATUS, b"\x0f")
    device.call(I.VDPA_SET_STATUS, b"\x00")
    timeline = read()
    running, reset = (timeline.session_state(1, row) for row in (8, 9))
    assert isinstance(running, KernelState)
    assert isinstance(reset, KernelState)
    ring = running.vrings[0]
    assert ring.life is not None
    assert ring.life.value is RingState.STARTED
    assert ring.enabled is not None
    assert ring.enabled.value
    assert dict(running.iotlb.items()) == {0x1000: (0x10000, 0x7F0000000000, 3)}
    stopped = reset.vrings[0].life
    assert stopped is not None
    assert stopped.value is RingState.STOPPED
    guess = timeline.sessions[0].guess
    assert guess is not None
    assert guess.device == "blk"


def asks_status(number: int, status: int) -> bytes:
    """struct vduse_dev_request of VDUSE_SET_STATUS."""
    return struct.pack("<II16xB", 1, number, status).ljust(152, b"\0")


def set_up(device: Device) -> None:
    """One ring of a vhost-vdpa device, as far as DRIVER_OK."""
    device.call(I.SET_OWNER)
    device.call(I.VDPA_SET_STATUS, b"\x0b")
    device.call(I.SET_VRING_NUM, state(0, 128))
    device.call(I.SET_VRING_ADDR, address(0, 0x1000))
    device.call(I.SET_VRING_KICK, file(0, 9), passed=1)
    device.call(I.VDPA_SET_VRING_ENABLE, state(0, 1))


def test_what_starts_a_device_is_not_its_kick(make: Make) -> None:
    """DRIVER_OK starts one on the vDPA bus, NET_SET_BACKEND one of vhost-net; phases and verdict go by that."""
    verdicts = []
    for rest in (b"", b"\x0f", b"\x0f\0"):
        device, read = make("/dev/vhost-vdpa-0", VDPA_NAME)
        set_up(device)
        for status in rest:
            device.call(I.VDPA_SET_STATUS, bytes([status]))
        timeline = read()
        verdict = session_verdict(timeline.checker, 1, timeline.index.time_ns[-1])
        assert verdict is not None
        verdicts.append((str(verdict.outcome), verdict.trouble, [str(phase.kind) for phase in timeline.phases(1)]))
    start = ["connect", "feature negotiation", "start"]
    assert verdicts == [
        ("idle", False, start),
        ("running", False, [*start, "running"]),
        ("idle", False, [*start, "running", "stop"]),
    ]
    device, read = make("/dev/vhost-net", KERNEL_NAME)
    device.call(I.SET_OWNER)
    device.call(I.SET_VRING_KICK, file(0, 9), passed=1)
    device.call(I.NET_SET_BACKEND, file(0, 3), error=EFAULT)
    timeline = read()
    verdict = session_verdict(timeline.checker, 1, timeline.index.time_ns[-1])
    assert verdict is not None
    assert str(verdict.outcome) == "refused"


def test_vduse_makes_devices_and_starts_them(make: Make) -> None:
    name = b"blk0\0left over of a name before"
    made = name.ljust(256, b"\0") + struct.pack("<IIQIIII", 1, 2, 1 << 32, 1, 4096, 1, 1).ljust(76, b"\0") + bytes(4)
    said = []
    for calls in (
        [(I.VDUSE_SET_API_VERSION, u64(0))],
        [(I.VDUSE_SET_API_VERSION, u64(0)), (I.VDUSE_CREATE_DEV, made)],
        [(I.VDUSE_CREATE_DEV, made), (I.VDUSE_DESTROY_DEV, name.ljust(256, b"\0"))],
    ):
        device, read = make("/dev/vduse/control", VDUSE_NAME)
        for request, data in calls:
            device.call(request, data)
        timeline = read()
        verdict = session_verdict(timeline.checker, 1, timeline.index.time_ns[-1])
        assert verdict is not None
        said.append((verdict.sentence, verdict.trouble))
    assert said == [
        ("Idle: no VDUSE device is made.", False),
        ("Running: the VDUSE device blk0 is made.", False),
        ("Idle: no VDUSE device is made.", False),
    ]
    device, read = make("/dev/vduse/blk0", VDUSE_NAME)
    device.call(I.VDUSE_VQ_SETUP, struct.pack("<IH", 0, 128).ljust(32, b"\0"))
    device.call(Control.VDUSE_SET_STATUS, asks_status(1, 15))
    device.call(I.VDUSE_VQ_GET_INFO, struct.pack("<II3Q8xB7x", 0, 128, 0x1000, 0x2000, 0x3000, 1), back=True)
    device.call(I.VDUSE_VQ_SETUP_KICKFD, file(0, 9), passed=1)
    device.call(Control.VDUSE_SET_STATUS, asks_status(2, 0))
    timeline = read()
    rings = [timeline.session_state(1, row).vrings[0] for row in (2, 3, 4)]
    assert [ring.life and ring.life.value for ring in rings] == [*[RingState.STARTED] * 2, RingState.STOPPED]
    verdict = session_verdict(timeline.checker, 1, timeline.index.time_ns[-1])
    assert verdict is not None
    assert not verdict.trouble


def test_of_two_nodes_the_device_is_told_first_and_a_file_is_closed(tmp_path: Path) -> None:
    name = b"blk0".ljust(256, b"\0")
    path = tmp_path / "c.pcapng"
    with CaptureWriter(path, source="test", order="little") as writer:
        control = Device(writer, "/dev/vduse/control", VDUSE_NAME, "daemon")
        control.call(I.VDUSE_CREATE_DEV, name + struct.pack("<IIQIIII", 1, 2, 1 << 32, 1, 4096, 1, 0).ljust(80, b"\0"))
        device = Device(writer, "/dev/vduse/blk0", VDUSE_NAME, "daemon")
        device.call(I.VDUSE_VQ_SETUP, struct.pack("<IH", 0, 128).ljust(32, b"\0"))
        device.call(Control.VDUSE_SET_STATUS, asks_status(1, 15))
        device.call(I.VDUSE_VQ_GET_INFO, struct.pack("<II3Q8xB7x", 0, 128, 4096, 8192, 12288, 1), back=True)
        device.call(I.VDUSE_VQ_SETUP_KICKFD, file(0, 9), passed=1)
        device.call(Control.VDUSE_SET_STATUS, asks_status(2, 0))
        device.close()
        control.call(I.VDUSE_DESTROY_DEV, name)
        control.close()
    timeline = Timeline(Index(path))
    read_all(timeline, judge=True)
    told = verdict.of(timeline)
    assert [one.path for one in told] == ["/dev/vduse/blk0", "/dev/vduse/control"]
    assert [str(one.outcome) for one in told] == ["stopped cleanly"] * 2
    for one in told:
        assert "(daemon) closed the device file" in one.sentence
        assert "connection" not in one.sentence
    ended = ending(timeline, timeline.tracker.sessions[1])
    assert ended.startswith("The session ends here, 0 ns after its last message: ")


def test_details_say_in_words_what_the_header_of_a_call_holds(make: Make) -> None:
    device, read = make("/dev/vhost-net", KERNEL_NAME)
    device.call(I.SET_OWNER, fd=26)
    device.call(I.SET_OWNER, fd=27)
    device.call(I.SET_VRING_NUM, state(1, 100), error=errno.EINVAL, fd=27)
    timeline = read()
    shown = [one.text for one in details(timeline, 2, timeline.session_state(1, 2), 80)]
    assert "  index 1  vring 3 of the device" in shown
    assert "  flags       0x3  returned, failed" in shown
    assert "  error       22 (EINVAL)" in shown
    assert [one for one in shown if "duration_ns" in one] == ["  duration_ns 900 (900 ns)"]
    first = next(text_details(timeline.message(2)))
    assert "flags 0x3 (returned, failed)" in first
    assert "error 22 (EINVAL)" in first
    assert "duration_ns 900 (900 ns)" in first


def test_a_reset_is_kept_beside_the_status_after_it() -> None:
    """A file that begins in the middle repeats both: else what the reset has ended would come back."""
    statuses = (0, 3, 15, 0)
    for request, said in (
        (I.VDPA_SET_STATUS, [bytes([status]) for status in statuses]),
        (Control.VDUSE_SET_STATUS, [asks_status(1, status) for status in statuses]),
    ):
        heads = head("little", request, 1, 1, fd=3)
        items = [setting(KernelChannels.VDPA, request, heads + data, "little").item for data in said]
        assert items[0] == items[3] != items[1] == items[2]
    names = [b"vduse0", b"vduse1", b"vduse0\0rest"]
    made = [
        setting(
            KernelChannels.VDUSE,
            I.VDUSE_DESTROY_DEV,
            head("little", I.VDUSE_DESTROY_DEV, 1, 256) + name.ljust(256, b"\0"),
            "little",
        ).item
        for name in names
    ]
    assert made[0] == made[2] != made[1]


def started(make: Make, base: int, features: int = 1 << 32, *before: tuple[int, bytes]) -> KernelState:
    """The state of a /dev/vhost-net with one ring of eight, at these addresses."""
    device, read = make("/dev/vhost-net", KERNEL_NAME)
    device.call(I.SET_OWNER)
    device.call(I.SET_FEATURES, u64(features))
    for request, data in before:
        device.call(request, data)
    device.call(I.SET_VRING_NUM, state(0, 8))
    device.call(I.SET_VRING_ADDR, address(0, base))
    device.call(I.SET_VRING_KICK, file(0, 40), passed=40)
    device.call(I.NET_SET_BACKEND, file(0, 30), passed=30)
    timeline = read()
    known = timeline.session_state(1, len(timeline) - 1)
    assert isinstance(known, KernelState)
    return known


def mapped(iova: int, size: int, user: int) -> tuple[int, bytes]:
    """An update of the IOTLB."""
    return Control.IOTLB_MSG_V2, struct.pack("<IIQQQBB", 2, 0, iova, size, user, 3, 2).ljust(72, b"\0")


def test_rings_are_read_in_the_memory_of_who_opened_the_device(make: Make) -> None:
    with mmap.mmap(-1, 0x4000) as memory:
        memory[0x1002:0x1004], memory[0x2002:0x2004] = b"\7\0", b"\5\0"
        start = ctypes.addressof((ctypes.c_char * 0x4000).from_buffer(memory))
        found = places(started(make, start))
        positions = RingReader(found, Access(), [os.getpid(), 0]).positions()
        assert [(one.ring, one.size, one.available, one.used) for one in positions] == [(0, 8, 7, 5)]
        outside = replace(found, regions=tuple(replace(one, user_address=1) for one in found.regions))
        reader = RingReader(outside, Access(), [os.getpid(), 0])
        assert "which cannot be read: Bad address" in reader.reasons[0]


def test_addresses_of_rings_are_looked_up_as_the_kernel_does(make: Make) -> None:
    by_table = places(started(make, 0x7F0000100000, 1 << 32, (I.SET_MEM_TABLE, table((0, GIB, 0x7F0000000000)))))
    (region,) = by_table.regions
    assert (region.user_address, region.guest_address, region.size) == (0x7F0000000000, 0, GIB)
    assert by_table.rings[0].available == Spot(0, 0x101000)
    assert family_named(KERNEL_NAME).places is places


def test_io_addresses_are_those_of_the_iotlb(make: Make) -> None:
    pieces = mapped(0x1000, 0x1800, 0x7F0000000000), mapped(0x2800, 0x4000, 0x7F0000001800)
    known = started(make, 0x1000, 1 << 32 | 1 << 33, *pieces)
    for find in (places, vdpa_places):  # the ring's parts lie in pieces that follow each other
        (region,) = find(known).regions
        assert (region.user_address, region.guest_address, region.size) == (0x7F0000000000, 0x1000, 0x5800)
        assert find(known).rings[0].used == Spot(0, 0x2000)
    gone = evolve(known, iotlb=known.iotlb.invalidated(0x2000, 0x1000))
    assert places(gone).unreadable == ((0, IOMMU_WORDS),)
    assert vduse_places(evolve(known, owned=None)).why == VDUSE_WORDS
    assert vduse_places(known) == vdpa_places(known)


def test_both_sides_of_vduse_are_one_session(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whichever node is seen first; another device of the same capture has a session of its own."""
    for first in ("back", "front"):
        path = tmp_path / f"{first}.pcapng"
        with CaptureWriter(path, source="test", order="little") as writer:
            nodes = {
                "back": ("/dev/vduse/blk0", VDUSE_NAME, "qemu-storage-da"),
                "front": ("/dev/vhost-vdpa-0 (blk0, vduse)", VDPA_NAME, "qemu-system-x86"),
            }
            devices = {side: Device(writer, *nodes[side]) for side in (first, *(one for one in nodes if one != first))}
            other = Device(writer, "/dev/vhost-vdpa-1 (vdpa1, vp_vdpa)", VDPA_NAME, "other")
            front, back = devices["front"], devices["back"]
            if first == "back":
                back.call(I.VDUSE_VQ_SETUP, bytes(32))
            set_up(front)
            back.call(Control.VDUSE_SET_STATUS, asks_status(1, 15))
            front.call(I.VDPA_SET_STATUS, b"\x0f")
            back.call(I.VDUSE_VQ_SETUP_KICKFD, file(0, 7), passed=2)
            other.call(I.SET_OWNER)
        timeline = Timeline(Index(path))
        read_all(timeline, judge=True)
        assert [list(session.connections.values()) for session in timeline.sessions] == [
            ["vduse", "vdpa"] if first == "back" else ["vdpa", "vduse"],
            ["vdpa"],
        ]
        assert peers(timeline, timeline.sessions[0]) == ("qemu-system-x86 (7)", "VDUSE blk0 (qemu-storage-daemon)")
        after = timeline.session_state(1, len(timeline) - 2)
        ring = after.vrings[0]
        assert ring.life is not None
        assert ring.life.value is RingState.STARTED
        assert ring.kick is not None
        assert ring.kick.value is not None
        assert ring.kick.value.identity == "eventfd:1"
        rows = {
            text: len(list(compile_filter(f"vhost.transport == {text}").rows(timeline))) for text in ("vdpa", "vduse")
        }
        assert sum(rows.values()) == len(timeline)
        assert rows["vduse"] == 3 - (first == "front")
        verdict = session_verdict(timeline.checker, 1, timeline.index.time_ns[-1])
        assert verdict is not None
        assert str(verdict.outcome) == "running"
        assert {number: found.comm for number, (found, _) in timeline.checker.peers.items()}[1] == "qemu-system-x86"
        assert main(["summary", str(path)]) == 0
        assert "VDUSE blk0 (qemu-storage-daemon)" in capsys.readouterr().out


def test_a_vduse_device_goes_on_with_its_next_driver(tmp_path: Path) -> None:
    """Its back-end's node stays open: what is said there belongs to the session of the driver that is there."""
    path = tmp_path / "calls.pcapng"
    with CaptureWriter(path, source="test", order="little") as writer:
        first = Device(writer, "/dev/vhost-vdpa-0 (blk0, vduse)", VDPA_NAME, "first")
        back = Device(writer, "/dev/vduse/blk0", VDUSE_NAME, "qemu-storage-da")
        first.call(I.SET_OWNER)
        back.call(Control.VDUSE_SET_STATUS, asks_status(1, 1))
        first.close()
        second = Device(writer, "/dev/vhost-vdpa-0 (blk0, vduse)", VDPA_NAME, "second")
        second.call(I.SET_OWNER)
        back.call(Control.VDUSE_SET_STATUS, asks_status(2, 1))
    timeline = Timeline(Index(path))
    read_all(timeline)
    assert [message.session for message in timeline.messages()] == [1, 1, 2, 2]
    assert [peers(timeline, session)[0] for session in timeline.sessions] == ["first (7)", "second (7)"]


def test_the_process_is_the_back_end_of_a_vduse_device(make: Make) -> None:
    device, read = make("/dev/vduse/blk0", VDUSE_NAME)
    device.call(Control.VDUSE_SET_STATUS, struct.pack("<II16xB", 1, 1, 3).ljust(152, b"\0"))
    device.call(Control.VDUSE_RESPONSE, struct.pack("<II", 1, 0).ljust(152, b"\0"))
    device.call(I.VDUSE_VQ_SETUP, struct.pack("<IH", 0, 128).ljust(32, b"\0"))
    messages = list(read().messages())
    assert [message.sender and message.sender.value for message in messages] == ["frontend", "backend", "backend"]
    assert messages[0].payload is not None
    assert messages[0].payload["u64_names"] == ["ACKNOWLEDGE", "DRIVER"]


def test_the_verdict_names_the_call_that_failed(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    device, read = make("/dev/vhost-net (tap0)", KERNEL_NAME)
    device.call(I.SET_OWNER)
    device.call(I.SET_FEATURES, u64(1 << 32))
    device.call(I.SET_MEM_TABLE, table(*((n << 21, 4096, (n << 21) + (1 << 40)) for n in range(600))), error=E2BIG)
    device.call(I.SET_VRING_NUM, state(0, 256))
    device.call(I.SET_VRING_ADDR, address(0, 1 << 40))
    device.call(I.NET_SET_BACKEND, file(0, 30), error=EFAULT, passed=30)
    timeline = read()
    assert [(one.rule, one.number, one.side.value) for one in timeline.findings] == [
        ("call-failed", 3, "frontend"),
        ("call-failed", 6, "frontend"),
    ]
    assert "vring 0 has addresses and there is no memory table" in timeline.findings[1].sentence
    main(["check", str(tmp_path / "calls.pcapng")])
    told = capsys.readouterr().out
    assert told.startswith("Refused: VHOST_SET_MEM_TABLE failed: E2BIG, 600 regions, max_mem_regions is 64")
    assert "modprobe vhost max_mem_regions" in told


@pytest.mark.parametrize(
    ("calls", "says"),
    [
        ([(I.SET_VRING_NUM, state(0, 256), errno.EPERM)], "EPERM, SET_OWNER was not done on descriptor 26"),
        ([(I.SET_OWNER, b"", 0), (I.SET_OWNER, b"", errno.EBUSY)], "EBUSY, the device has an owner already"),
        (
            [(I.SET_OWNER, b"", 0), (I.SET_FEATURES, u64(1), errno.EPERM)],
            "the process that calls is not the owner, which SET_OWNER made another one",
        ),
        ([(I.SET_OWNER, b"", 0), (I.SET_VRING_NUM, state(0, 100), errno.EINVAL)], "size 100 is not a power of two"),
        ([(I.NET_SET_BACKEND, file(0, 3), EFAULT)], "vring 0 is not set up: SET_VRING_NUM and SET_VRING_ADDR was"),
        (
            [(I.NET_SET_BACKEND, file(0, 3), 0), (I.SET_VRING_BASE, state(0, 1), errno.EBUSY)],
            "VHOST_SET_VRING_BASE failed: EBUSY, vring 0 runs",
        ),
    ],
)
def test_what_the_kernel_refuses_is_said_with_its_reason(
    make: Make, calls: list[tuple[int, bytes, int]], says: str
) -> None:
    device, read = make("/dev/vhost-net", KERNEL_NAME)
    for request, data, error in calls:
        device.call(request, data, error=error)
    found = read().findings
    assert [one.rule for one in found] == ["call-failed"]
    assert says in found[0].sentence


def test_a_ring_without_a_kick_is_told_and_rules_of_vhost_user_hold(make: Make) -> None:
    device, read = make("/dev/vhost-net", KERNEL_NAME)
    device.call(I.SET_OWNER)
    device.call(I.GET_FEATURES, u64(1 << 32), back=True)
    device.call(I.SET_FEATURES, u64(1 << 32 | 1 << 36))
    device.call(I.SET_MEM_TABLE, table((0, GIB, 0x7F0000000000)))
    device.call(I.SET_VRING_NUM, state(0, 256))
    device.call(I.SET_VRING_ADDR, address(0, 0x1000))
    device.call(I.SET_VRING_KICK, file(0, -1))
    device.call(I.NET_SET_BACKEND, file(0, 30), passed=30)
    slugs = {one.rule for one in read().findings}
    assert slugs >= {"features-not-offered", "vring-address-outside-memory", "backend-before-ring"}, slugs


STRACE = """\
265 1796048991.197423 ioctl(19</dev/vhost-net<char 10:238>>, VHOST_SET_OWNER, 0) = 0 <0.044746>
265 1796048991.463137 ioctl(19</dev/vhost-net<char 10:238>>, VHOST_GET_FEATURES, 0x1102e0b60) = 0 <0.000728>
265 1796048992.601309 ioctl(19</dev/vhost-net<char 10:238>>, VHOST_SET_VRING_NUM, {index=0, num=256}) = 0 <0.002122>
265 1796048992.700000 ioctl(19</dev/vhost-net<char 10:238>>, VHOST_SET_MEM_TABLE, 0x1) = -1 E2BIG (Argument list too long) <0.01>
265 1796048993.000000 ioctl(19</dev/vhost-net<char 10:238>>, VHOST_NET_SET_BACKEND, {index=0, fd=21</dev/net/tun<char 10:200>>}) = 0 <0.1>
265 1796048993.100000 ioctl(21</dev/net/tun<char 10:200>>, TUNGETIFF, 0x7ffde39165f0) = 0 <0.000686>
265 1796048993.500000 close(19</dev/vhost-net<char 10:238>>) = 0 <0.1>
"""  # noqa: E501


def test_strace_tells_of_calls_as_far_as_it_prints_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, capture = tmp_path / "strace.txt", tmp_path / "out.pcapng"
    log.write_text(STRACE)
    assert main(["import", "strace", str(log), "-o", str(capture)]) == 0
    assert "strace did not print the arguments of 2 ioctls: what they said is unknown" in capsys.readouterr().err
    timeline = Timeline(Index(capture))
    read_all(timeline)
    messages = list(timeline.messages())
    names = ["SET_OWNER", "GET_FEATURES", "SET_VRING_NUM", "SET_MEM_TABLE", "NET_SET_BACKEND"]
    assert [message.name for message in messages] == names
    assert messages[1].missing == 8
    assert messages[2].payload == {"index": 0, "num": 256}
    assert messages[3].more["error"] == E2BIG
    assert [descriptor.name for descriptor in messages[4].descriptors] == ["/dev/net/tun"]
    assert messages[4].more["duration_ns"] == 100_000_000
    closed = timeline.sessions[0].closed
    assert closed is not None
    assert (closed.reason, closed.by) == ("eof", 0)


def test_a_device_is_open_while_the_descriptor_is_of_that_device(tmp_path: Path) -> None:
    null = os.stat("/dev/null").st_rdev
    rdev = os.major(null) << 20 | os.minor(null)
    fd = os.open("/dev/null", os.O_RDONLY)
    try:
        assert is_open(os.getpid(), fd, rdev)
        assert not is_open(os.getpid(), fd, rdev + 1)
        with open(tmp_path / "file", "wb") as file:
            os.dup2(file.fileno(), fd)
        assert not is_open(os.getpid(), fd, rdev)
    finally:
        os.close(fd)
    assert not is_open(os.getpid(), fd, rdev)


def test_the_other_side_of_a_device_is_named() -> None:
    node = "/dev/vhost-vdpa-0"
    assert vduse_node(node, "blk0, vduse") == "/dev/vduse/blk0"
    assert vduse_node("/dev/vhost-net", "tap0") == vduse_node(node, "vdpa0, vp_vdpa") == ""
    sides = (
        kernel_side("/dev/vhost-net", "tap0"),
        kernel_side(node, "vdpa0, vp_vdpa"),
        kernel_side("/dev/vhost-vdpa-3"),
        kernel_side(node, "blk0, vduse", "qemu-storage-daemon"),
        kernel_side(node, "blk0, vduse"),
    )
    assert [one.label for one in sides] == [
        "kernel vhost (tap0)",
        "vdpa0 (vp_vdpa)",
        "vdpa3",
        "VDUSE blk0 (qemu-storage-daemon)",
        "VDUSE blk0",
    ]


def test_a_session_with_the_kernel_is_compared_with_one_of_vhost_user_by_meaning(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same device set up in both ways: what only one of them has is named, and the ring's size is what differs."""
    features, memory, rings = u64(0x100008000), table((0, GIB, 0x7F0000000000)), address(0, 0x7F0000001000)
    device, read = make("/dev/vhost-net", KERNEL_NAME)
    device.call(I.SET_OWNER)
    device.call(I.GET_FEATURES, features, back=True)
    device.call(I.SET_FEATURES, features)
    device.call(I.SET_MEM_TABLE, memory)
    device.call(I.SET_VRING_NUM, state(0, 256))
    device.call(I.SET_VRING_BASE, state(0, 0))
    device.call(I.SET_VRING_ADDR, rings)
    device.call(I.SET_VRING_KICK, file(0, 9), passed=1)
    device.call(I.NET_SET_BACKEND, file(0, 11))
    read()
    user = tmp_path / "user.pcapng"
    with CaptureWriter(user, source="test", order="little") as writer:
        connection = writer.open("/run/a.sock", (End(7), End(8)), 10**9)
        said = (
            (0, 1, b"", 1),
            (1, 1, features, 5),
            (0, 3, b"", 1),
            (0, 2, features, 1),
            (0, 5, memory, 1),
            (0, 8, state(0, 1024), 1),
            (0, 10, state(0, 0), 1),
            (0, 9, rings, 1),
            (0, 12, u64(0), 1),
            (0, 18, state(0, 1), 1),
        )
        for number, (end, request, payload, flags) in enumerate(said):
            data = struct.pack("<III", request, flags, len(payload)) + payload
            passed = (Descriptor(DescriptorKind.EVENTFD, "eventfd:1", 1),) if request == 12 else ()
            writer.frame(Frame(connection.id, end, 10**9 + number * 10**6, data, Facts(passed)))
    assert main(["diff", "--device", "net", "--format", "json", str(user), str(tmp_path / "calls.pcapng")]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["a"], one["b"]) for one in found["settings"]] == [
        ("family", "vhost-user", "vhost-kernel"),
        ("ring sizes", "1024 (vring 0)", "256 (vring 0)"),
    ]
    changed = [(one["difference"], one["name"], one["a"], one["b"]) for one in found["changes"]]
    assert ("value", "SET_VRING_NUM", "num 1024", "num 256") in changed
    assert {kind for kind, _, _, _ in changed} <= {"value", "moved", "order"}
    assert {name for kind, name, _, _ in changed if kind != "value"} <= {"SET_OWNER", "GET_FEATURES"}
    assert "only vhost-user has SET_VRING_ENABLE: not compared" in found["notes"]
    assert "only vhost-kernel has NET_SET_BACKEND: not compared" in found["notes"]
