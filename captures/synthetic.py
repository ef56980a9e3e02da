"""Synthetic captures: made-up sessions that say what is in them, the same bytes every time.

usage: synthetic.py every FILE            every request of every channel, with replies, acknowledgements, descriptors
       synthetic.py million FILE [COUNT]  COUNT messages (1,000,000) of devices that are set up, run and go away

Owns invented peers only; layouts of payloads are those of the specification, section "Message Specification".
"""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from vusniff.capture.facts import Host
from vusniff.capture.writer import CaptureWriter
from vusniff.families.vhost_user.protocol import (
    F_ACCESS_PLATFORM,
    F_LOG_ALL,
    F_PROTOCOL_FEATURES,
    FLAG_NEED_REPLY,
    FLAG_REPLY,
    HEADERS,
    VERSION,
    VRING_NOFD,
    BackendRequest,
    FrontendRequest,
    GpuRequest,
    ProtocolFeature,
)
from vusniff.record import Closed, Connection, Descriptor, DescriptorKind, End, Facts, Frame, Process

START_NS = 1_700_000_000_000_000_000
HOST = Host("synthetic", "00000000-0000-4000-8000-000000000001", "Linux", "x86_64")
FEATURES = 1 << 32 | F_ACCESS_PLATFORM | F_PROTOCOL_FEATURES | F_LOG_ALL | 1 << 16 | 1 << 22 | 1 << 5
PROTOCOL_FEATURES = (1 << 23) - 1 & ~ProtocolFeature.XEN_MMAP & ~ProtocolFeature.GPA_ADDRESSES
PAGE = 4096
GIB = 1 << 30

Q = struct.Struct("<Q").pack
II = struct.Struct("<II").pack
_header = HEADERS["little"].pack
Request = FrontendRequest
Fds = tuple[Descriptor, ...]


def writer_of(target: str | Path) -> CaptureWriter:
    """A writer whose file depends on nothing but what is written."""
    return CaptureWriter(target, source="synthetic", order="little", host=HOST, application="vusniff (synthetic)")


def eventfd(number: int) -> Descriptor:
    """An eventfd by its id."""
    return Descriptor(DescriptorKind.EVENTFD, f"eventfd:{number}", 20 + number % 200)


def memfd(inode: int, name: str, size: int) -> Descriptor:
    """A memfd by its inode."""
    return Descriptor(DescriptorKind.MEMFD, f"memfd:{inode}", 20 + inode % 200, name, size)


def socket(inode: int) -> Descriptor:
    """A socket by its inode."""
    return Descriptor(DescriptorKind.SOCKET, f"socket:{inode}", 20 + inode % 200)


def memory_table(regions: int, where: int = 0) -> tuple[bytes, Fds]:
    """SET_MEM_TABLE: payload and one memfd per region."""
    payload = II(regions, 0)
    fds = []
    for region in range(regions):
        payload += struct.pack("<QQQQ", region << 30, GIB, 0x7F00_0000_0000 + where + (region << 30), 0)
        fds.append(memfd(5000 + (where >> 32) * 8 + region, f"guest-ram{region}", GIB))
    return payload, tuple(fds)


def vring_addresses(index: int, where: int = 0) -> bytes:
    """SET_VRING_ADDR: a split ring of 256 in the first region."""
    ring = 0x7F00_0000_0000 + where + 0x10_0000 + index * 4 * PAGE
    return struct.pack("<IIQQQQ", index, 0, ring, ring + 2 * PAGE, ring + PAGE, 0)


def iotlb(iova: int, kind: int, where: int = 0) -> bytes:
    """IOTLB_MSG of one page."""
    return struct.pack("<QQQBB6x", iova, PAGE, 0x7F00_0000_0000 + where + iova, 3, kind)


def net_config(mac: int = 1) -> bytes:
    """The config space of a network device with link up and two queue pairs."""
    return struct.pack("<6sHHH", b"\x52\x54\x00\x00\x00" + bytes([mac & 0xFF]), 1, 2, 1500)


class Talk:
    """One connection of ``every``: says a message, and what is answered, a microsecond later each time."""

    clock = START_NS

    def __init__(self, writer: CaptureWriter, connection: Connection, asker: int, version: int = VERSION) -> None:
        self._writer = writer
        self.connection = connection
        self._asker = asker
        self._version = version

    def _send(self, end: int, request: int, flags: int, payload: bytes, fds: Fds) -> None:
        Talk.clock += 1000
        data = _header(request, flags | self._version, len(payload)) + payload
        self._writer.frame(Frame(self.connection.id, end, Talk.clock, data, Facts(fds)))

    def ask(self, request: int, payload: bytes = b"", *fds: Descriptor) -> None:
        """A request that is not answered."""
        self._send(self._asker, request, 0, payload, fds)

    def acknowledged(self, request: int, payload: bytes = b"", *fds: Descriptor) -> None:
        """A request that wants an acknowledgement, and it."""
        self._send(self._asker, request, FLAG_NEED_REPLY, payload, fds)
        self.answer(request, Q(0))

    def answer(self, request: int, payload: bytes = b"", *fds: Descriptor) -> None:
        """A reply."""
        self._send(1 - self._asker, request, FLAG_REPLY, payload, fds)

    def close(self) -> None:
        """End of the connection."""
        self._writer.close_connection(Closed(self.connection.id, Talk.clock + 1000, "eof", 0))


def open_session(writer: CaptureWriter, path: str, number: int, comm: str) -> Talk:
    """The session of a device that opens now; ``number`` tells its processes and sockets from others."""
    ends = (
        End(100 + 2 * number, Process(1000 + number, "qemu-system-x86")),
        End(101 + 2 * number, Process(2000 + number, comm)),
    )
    return Talk(writer, writer.open(path, ends, Talk.clock), 0)


def _channel(writer: CaptureWriter, main: Talk, inode: int, version: int = VERSION) -> Talk:
    """The connection whose other end was passed to the back-end: end 1 asks."""
    front, back = main.connection.ends
    ends = (End(inode - 1, front.process), End(inode, back.process))
    return Talk(writer, writer.open(f"pair:{inode - 1}-{inode}", ends, Talk.clock), 1, version)


def greet(talk: Talk) -> None:
    """What a front-end says first, up to the acknowledged features."""
    talk.ask(Request.GET_FEATURES)
    talk.answer(Request.GET_FEATURES, Q(FEATURES))
    talk.ask(Request.GET_PROTOCOL_FEATURES)
    talk.answer(Request.GET_PROTOCOL_FEATURES, Q(PROTOCOL_FEATURES))
    talk.ask(Request.SET_PROTOCOL_FEATURES, Q(PROTOCOL_FEATURES))
    talk.acknowledged(Request.SET_OWNER)
    talk.acknowledged(Request.SET_FEATURES, Q(FEATURES & ~F_LOG_ALL))


def every(target: str | Path) -> int:
    """Every request of the three channels at least once; returns the number of messages."""
    Talk.clock = START_NS
    with writer_of(target) as writer:
        main = open_session(writer, "/run/vm1/net0.sock", 1, "dpdk-testpmd")
        greet(main)
        _net_set_up(main)
        main.acknowledged(Request.SET_BACKEND_REQ_FD, b"", socket(901))
        backend = _channel(writer, main, 901)
        _backend_requests(backend)
        _net_run(main)
        _net_migrate(main)
        backend.close()
        main.close()
        _gpu(writer)
        _crypto(writer)
        return writer.number


def _net_set_up(main: Talk) -> None:
    for request, value in ((Request.GET_QUEUE_NUM, 2), (Request.GET_MAX_MEM_SLOTS, 32), (Request.GET_STATUS, 0)):
        main.ask(request)
        main.answer(request, Q(value))
    config = net_config()
    main.ask(Request.GET_CONFIG, struct.pack("<III", 0, len(config), 0) + bytes(len(config)))
    main.answer(Request.GET_CONFIG, struct.pack("<III", 0, len(config), 0) + config)
    main.acknowledged(Request.SET_CONFIG, struct.pack("<III", 0, 6, 0) + config[:6])
    main.acknowledged(Request.NET_SET_MTU, Q(1500))
    main.acknowledged(Request.SET_STATUS, Q(0x0B))
    payload, fds = memory_table(2)
    main.acknowledged(Request.SET_MEM_TABLE, payload, *fds)
    inflight = struct.pack("<QQHH4x", 2 * PAGE, 0, 2, 256)
    main.ask(Request.GET_INFLIGHT_FD, inflight)
    main.answer(Request.GET_INFLIGHT_FD, inflight, memfd(6000, "vhost-inflight", 2 * PAGE))
    main.acknowledged(Request.SET_INFLIGHT_FD, inflight, memfd(6000, "vhost-inflight", 2 * PAGE))
    for index in (0, 1):
        main.acknowledged(Request.SET_VRING_ENDIAN, II(index, 0))
        main.acknowledged(Request.SET_VRING_NUM, II(index, 256))
        main.acknowledged(Request.SET_VRING_BASE, II(index, 0))
        main.acknowledged(Request.SET_VRING_ADDR, vring_addresses(index))
        main.acknowledged(Request.SET_VRING_ERR, Q(index | VRING_NOFD))
        main.acknowledged(Request.SET_VRING_CALL, Q(index), eventfd(400 + index))
        main.acknowledged(Request.SET_VRING_KICK, Q(index), eventfd(500 + index))
        main.acknowledged(Request.SET_VRING_ENABLE, II(index, 1))


def _net_run(main: Talk) -> None:
    main.acknowledged(Request.IOTLB_MSG, iotlb(0x1000, 2))
    main.acknowledged(Request.VRING_KICK, II(0, 0))
    main.acknowledged(Request.SEND_RARP, b"\x52\x54\x00\x00\x00\x01\0\0")
    region = struct.pack("<QQQQQ", 0, 4 << 30, GIB, 0x7F01_0000_0000, 0)
    main.acknowledged(Request.ADD_MEM_REG, region, memfd(7000, "dimm0", GIB))
    main.acknowledged(Request.REM_MEM_REG, region)
    main.ask(Request.GET_SHARED_OBJECT, bytes(range(16)))
    main.answer(Request.GET_SHARED_OBJECT, b"", Descriptor(DescriptorKind.DMABUF, "dmabuf:77", 40, None, 8 << 20))
    main.ask(Request.GET_SHMEM_CONFIG)
    main.answer(Request.GET_SHMEM_CONFIG, struct.pack("<II256Q", 1, 0, GIB, *[0] * 255))


def _net_migrate(main: Talk) -> None:
    main.ask(Request.SET_LOG_BASE, struct.pack("<QQ", 64 << 10, 0), memfd(8000, "vhost-log", 64 << 10))
    main.answer(Request.SET_LOG_BASE, Q(0))
    main.acknowledged(Request.SET_LOG_FD, b"", eventfd(600))
    main.acknowledged(Request.SET_FEATURES, Q(FEATURES))
    main.ask(Request.POSTCOPY_ADVISE)
    main.answer(Request.POSTCOPY_ADVISE, b"", Descriptor(DescriptorKind.USERFAULTFD, "userfaultfd:88", 41))
    main.acknowledged(Request.POSTCOPY_LISTEN)
    main.ask(Request.POSTCOPY_END)
    main.answer(Request.POSTCOPY_END, Q(0))
    for index in (0, 1):
        stops = Request.GET_VRING_BASE_SKIP_DRAIN if index else Request.GET_VRING_BASE
        main.ask(stops, II(index, 0))
        main.answer(stops, II(index, 17))
    main.ask(Request.SET_DEVICE_STATE_FD, II(0, 0), Descriptor(DescriptorKind.PIPE, "pipe:990", 42))
    main.answer(Request.SET_DEVICE_STATE_FD, Q(VRING_NOFD))
    main.ask(Request.CHECK_DEVICE_STATE)
    main.answer(Request.CHECK_DEVICE_STATE, Q(0))
    main.acknowledged(Request.RESET_DEVICE)
    main.acknowledged(Request.RESET_OWNER)


def _backend_requests(backend: Talk) -> None:
    kind = BackendRequest
    backend.acknowledged(kind.BACKEND_IOTLB_MSG, iotlb(0x1000, 1))
    backend.acknowledged(kind.BACKEND_CONFIG_CHANGE_MSG)
    notifier = Descriptor(DescriptorKind.DEVICE, "device:511:0", 43, "/dev/vfio/0")
    backend.acknowledged(kind.BACKEND_VRING_HOST_NOTIFIER_MSG, struct.pack("<QQQ", 0, PAGE, 0), notifier)
    backend.ask(kind.BACKEND_VRING_CALL, II(0, 0))
    backend.ask(kind.BACKEND_VRING_ERR, II(1, 0))
    backend.acknowledged(kind.BACKEND_SHARED_OBJECT_ADD, bytes(range(16)))
    backend.ask(kind.BACKEND_SHARED_OBJECT_LOOKUP, bytes(range(16)))
    backend.answer(
        kind.BACKEND_SHARED_OBJECT_LOOKUP, Q(0), Descriptor(DescriptorKind.DMABUF, "dmabuf:77", 44, None, 8 << 20)
    )
    backend.acknowledged(kind.BACKEND_SHARED_OBJECT_REMOVE, bytes(range(16)))
    area = struct.pack("<B7xQQQQ", 0, 0, PAGE, 16 * PAGE, 1)
    backend.acknowledged(
        kind.BACKEND_SHMEM_MAP, area, Descriptor(DescriptorKind.FILE, "file:8:1:99", 45, "/srv/f", GIB)
    )
    backend.acknowledged(kind.BACKEND_SHMEM_UNMAP, area)


def _gpu(writer: CaptureWriter) -> None:
    main = open_session(writer, "/run/vm1/gpu0.sock", 2, "vhost-user-gpu")
    greet(main)
    main.acknowledged(Request.GPU_SET_SOCKET, b"", socket(911))
    gpu = _channel(writer, main, 911, version=0)
    kind = GpuRequest
    dmabuf = Descriptor(DescriptorKind.DMABUF, "dmabuf:78", 46, None, 640 * 480 * 4)
    gpu.ask(kind.GPU_GET_PROTOCOL_FEATURES)
    gpu.answer(kind.GPU_GET_PROTOCOL_FEATURES, Q(3))
    gpu.ask(kind.GPU_SET_PROTOCOL_FEATURES, Q(3))
    gpu.ask(kind.GPU_GET_DISPLAY_INFO)
    control = struct.pack("<IIQII", 0x1101, 0, 0, 0, 0)
    displays = struct.pack("<IIIIII", 0, 0, 640, 480, 1, 0) + bytes(15 * 24)
    gpu.answer(kind.GPU_GET_DISPLAY_INFO, control + displays)
    gpu.ask(kind.GPU_GET_EDID, struct.pack("<I", 0))
    edid = b"\x00\xff\xff\xff\xff\xff\xff\x00".ljust(1024, b"\0")
    gpu.answer(kind.GPU_GET_EDID, struct.pack("<IIQII", 0x1104, 0, 0, 0, 0) + II(128, 0) + edid)
    gpu.ask(kind.GPU_SCANOUT, struct.pack("<III", 0, 640, 480))
    gpu.ask(kind.GPU_UPDATE, struct.pack("<IIIII", 0, 8, 8, 4, 2) + bytes(range(32)))
    gpu.ask(kind.GPU_CURSOR_UPDATE, struct.pack("<IIIII", 0, 10, 20, 1, 2) + bytes(16384))
    gpu.ask(kind.GPU_CURSOR_POS, struct.pack("<III", 0, 11, 21))
    gpu.ask(kind.GPU_CURSOR_POS_HIDE, struct.pack("<III", 0, 11, 21))
    scanout = struct.pack("<IIIIIIIIII", 0, 0, 0, 640, 480, 640, 480, 2560, 0, 0x34325258)
    gpu.ask(kind.GPU_DMABUF_SCANOUT, scanout, dmabuf)
    gpu.ask(kind.GPU_DMABUF_SCANOUT2, scanout + Q(0), dmabuf)
    gpu.ask(kind.GPU_DMABUF_UPDATE, struct.pack("<IIIII", 0, 0, 0, 640, 480))
    gpu.answer(kind.GPU_DMABUF_UPDATE)
    gpu.close()
    main.close()


def _crypto(writer: CaptureWriter) -> None:
    main = open_session(writer, "@crypto0", 3, "vhost-crypto")
    greet(main)
    session = struct.pack("<QII", 2, 1, 16) + bytes(1048)
    main.ask(Request.CREATE_CRYPTO_SESSION, session + struct.pack("<q", 0))
    main.answer(Request.CREATE_CRYPTO_SESSION, session + struct.pack("<q", 7))
    main.acknowledged(Request.CLOSE_CRYPTO_SESSION, Q(7))
    main.close()


# -- many messages ----------------------------------------------------------------------------------------------------

Said = tuple[int, bytes, Fds]
"""End that speaks, message, descriptors."""


def _ask(request: int, payload: bytes = b"", fds: Fds = (), flags: int = VERSION) -> Said:
    return 0, _header(request, flags, len(payload)) + payload, fds


def _answer(request: int, payload: bytes) -> Said:
    return 1, _header(request, VERSION | FLAG_REPLY, len(payload)) + payload, ()


def _session(number: int, dice: random.Random) -> Iterator[Said]:
    """One device: set up with 1 to 4 queue pairs, run for a while, stopped."""
    where = number << 32
    rings = 2 * dice.randint(1, 4)
    yield _ask(Request.GET_FEATURES)
    yield _answer(Request.GET_FEATURES, Q(FEATURES))
    yield _ask(Request.GET_PROTOCOL_FEATURES)
    yield _answer(Request.GET_PROTOCOL_FEATURES, Q(PROTOCOL_FEATURES))
    yield _ask(Request.SET_PROTOCOL_FEATURES, Q(PROTOCOL_FEATURES))
    yield _ask(Request.GET_QUEUE_NUM)
    yield _answer(Request.GET_QUEUE_NUM, Q(rings // 2))
    yield _ask(Request.SET_OWNER)
    config = net_config(number)
    yield _ask(Request.GET_CONFIG, struct.pack("<III", 0, len(config), 0) + bytes(len(config)))
    yield _answer(Request.GET_CONFIG, struct.pack("<III", 0, len(config), 0) + config)
    yield _ask(Request.SET_FEATURES, Q(FEATURES & ~F_LOG_ALL))
    need_reply = VERSION | FLAG_NEED_REPLY
    yield _ask(Request.SET_MEM_TABLE, *memory_table(dice.randint(1, 8), where), need_reply)
    yield _answer(Request.SET_MEM_TABLE, Q(0))
    calls = [eventfd(number * 64 + ring) for ring in range(rings)]
    for ring in range(rings):
        yield _ask(Request.SET_VRING_NUM, II(ring, 256))
        yield _ask(Request.SET_VRING_BASE, II(ring, 0))
        yield _ask(Request.SET_VRING_ADDR, vring_addresses(ring, where))
        yield _ask(Request.SET_VRING_KICK, Q(ring), (eventfd(number * 64 + 32 + ring),))
        yield _ask(Request.SET_VRING_CALL, Q(ring), (calls[ring],))
        yield _ask(Request.SET_VRING_ENABLE, II(ring, 1))
    for _ in range(dice.randint(200, 3000)):
        ring = dice.randrange(rings)
        match dice.randrange(8):
            case 0:
                yield _ask(Request.SET_VRING_CALL, Q(ring), (calls[ring],))
            case 1:
                yield _ask(Request.SET_VRING_CALL, Q(ring | VRING_NOFD))
            case 2 | 3:
                yield _ask(Request.SET_VRING_ENABLE, II(ring, 0))
                yield _ask(Request.SET_VRING_ENABLE, II(ring, 1))
            case _:
                page = PAGE * dice.randrange(1 << 18)
                yield _ask(Request.IOTLB_MSG, iotlb(page, dice.choice((2, 2, 2, 3)), where), (), need_reply)
                yield _answer(Request.IOTLB_MSG, Q(0))
    for ring in range(rings):
        yield _ask(Request.GET_VRING_BASE, II(ring, 0))
        yield _answer(Request.GET_VRING_BASE, II(ring, dice.randrange(1 << 16)))


def million(target: str | Path, count: int = 1_000_000) -> int:
    """``count`` messages of sessions that come and go, four at a time; returns the number of messages."""
    dice = random.Random(1)
    time_ns = START_NS
    made = sessions = 0
    running: list[tuple[int, Iterator[Said]]] = []
    with writer_of(target) as writer:
        while made < count:
            while len(running) < 4:
                ends = (
                    End(10_000 + 2 * sessions, Process(1000 + sessions % 16, "qemu-system-x86")),
                    End(10_001 + 2 * sessions, Process(900, "dpdk-testpmd")),
                )
                opened = writer.open(f"/run/vm{sessions % 16}/net0.sock", ends, time_ns)
                running.append((opened.id, _session(sessions, dice)))
                sessions += 1
            chosen = dice.randrange(4)
            connection, session = running[chosen]
            for _ in range(min(dice.randint(1, 64), count - made)):
                said = next(session, None)
                if said is None:
                    writer.close_connection(Closed(connection, time_ns + 500, "eof", 0))
                    del running[chosen]
                    break
                time_ns += 2000
                writer.frame(Frame(connection, said[0], time_ns, said[1], Facts(said[2])))
                made += 1
            writer.flush()
    return made


def main(arguments: list[str]) -> int:
    """Runs one of the makers."""
    makers: dict[str, Callable[..., int]] = {"every": every, "million": million}
    if len(arguments) < 2 or arguments[0] not in makers:
        print(__doc__, file=sys.stderr)
        return 2
    made = makers[arguments[0]](arguments[1], *map(int, arguments[2:]))
    print(f"{arguments[1]}: {made} messages", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
