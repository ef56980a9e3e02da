"""The demo's front-end: what QEMU does with a net device of two queue pairs, and a guest driver that sends two frames.

The order of messages is QEMU's (initialisation pair by pair at connect, start pair by pair when the driver is ready,
stop at the end), with two differences on purpose: rings are enabled after SET_FEATURES, as the specification asks,
and the inflight buffer and the config space are used, which QEMU does for other devices only. Every step waits for
what answers it, on either channel, so the messages are the same, in the same order, in every run.

The first session asks the back-end for an inflight buffer; after a reconnect the front-end brings that buffer along.
Guest memory stays from session to session, and so do the rings' indices in it.
"""

from __future__ import annotations

import mmap
import os
import socket
import time
from collections.abc import Callable, Sequence

from vusniff.demo import wire
from vusniff.demo.memory import GuestMemory, GuestRegion, RingLayout, SplitRing
from vusniff.demo.wire import DemoSocket, Incoming, PeerError
from vusniff.families.vhost_user.protocol import (
    F_PROTOCOL_FEATURES,
    FLAG_NEED_REPLY,
    FLAG_REPLY,
    VERSION,
    VRING_INDEX_MASK,
    VRING_NOFD,
    BackendRequest,
    FrontendRequest,
    ProtocolFeature,
)
from vusniff.sources.host.endpoints import ProxySide
from vusniff.sources.host.endpoints import listen as listen_at

PAIRS = 2
RINGS = 2 * PAIRS
RING_SIZE = 256
MTU = 1500
MAC = bytes.fromhex("52540012ab01")
"""What the front-end writes into the config space."""
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK = 1, 2, 4, 8
FEATURES = sum(1 << bit for bit in (3, 15, 16, 22, 32)) | F_PROTOCOL_FEATURES
"""What the guest driver takes: MTU, MRG_RXBUF, STATUS, MQ, VERSION_1."""
PROTOCOL_FEATURES = (
    ProtocolFeature.MQ
    | ProtocolFeature.REPLY_ACK
    | ProtocolFeature.MTU
    | ProtocolFeature.BACKEND_REQ
    | ProtocolFeature.CONFIG
    | ProtocolFeature.BACKEND_SEND_FD
    | ProtocolFeature.HOST_NOTIFIER
    | ProtocolFeature.INFLIGHT_SHMFD
    | ProtocolFeature.STATUS
)
CONFIG_SIZE = 12

REGION_SIZE = 2 << 20
USER_BASE = 0x7F00_0000_0000
"""Where the front-end says that it mapped guest memory. Only differences of user addresses mean anything to a
back-end, so the demo says the same in every run."""
REGIONS = (
    GuestRegion(guest=0, size=REGION_SIZE, user=USER_BASE, offset=0),
    GuestRegion(guest=1 << 32, size=REGION_SIZE, user=USER_BASE + REGION_SIZE, offset=REGION_SIZE),
)
"""Memory below and above 4 GiB of a PC, from one memfd. Pair n uses region n."""
RING_STEP = 1 << 16
BUFFERS = 1 << 20
"""Offset of the packet buffers in a region."""
BUFFER_SIZE = 2048
NET_HEADER = bytes(12)
"""virtio_net_hdr with num_buffers, all zero."""

Pause = Callable[[], None]


class Guest:
    """The virtual machine: its memory, its rings, and the inflight buffer, which outlive a connection."""

    def __init__(self) -> None:
        self.ram = os.memfd_create("guest-ram")
        os.ftruncate(self.ram, REGION_SIZE * len(REGIONS))
        self.memory = GuestMemory()
        for region in REGIONS:
            self.memory.add(region, self.ram)
        self.layouts = [RingLayout(RING_STEP * (1 + index % 2), RING_SIZE) for index in range(RINGS)]
        self.rings = [
            SplitRing(self.memory, RING_SIZE, *(self.user(index, at) for at in (it.descriptors, it.available, it.used)))
            for index, it in enumerate(self.layouts)
        ]
        self.bases = [0] * RINGS
        self.inflight: tuple[bytes, int] | None = None
        """Payload and descriptor of the inflight buffer, once the back-end made one."""
        self._frames = 0

    def close(self) -> None:
        """Switch the machine off."""
        for ring in self.rings:
            ring.close()
        self.memory.close()
        os.close(self.ram)
        if self.inflight is not None:
            os.close(self.inflight[1])

    @staticmethod
    def user(index: int, offset: int) -> int:
        """User address of an offset in the region of ring ``index``."""
        return REGIONS[index // 2].user + offset

    @staticmethod
    def guest(index: int, offset: int) -> int:
        """Guest physical address of an offset in the region of ring ``index``."""
        return REGIONS[index // 2].guest + offset

    def send_frame(self, pair: int) -> tuple[bytes, memoryview]:
        """Offer a receive buffer, then a frame to send, on one pair; gives the frame and the receive buffer."""
        self._frames += 1
        body = f"vusniff demo, pair {pair}, frame {self._frames}".encode()
        frame = NET_HEADER + b"\xff" * 6 + MAC + b"\x88\xb5" + body.ljust(46, b"\0")
        into, out = (self.guest(2 * pair, BUFFERS + BUFFER_SIZE * n) for n in (0, 1))
        buffer = self.memory.guest(into, BUFFER_SIZE)
        buffer[:] = bytes(BUFFER_SIZE)
        self.memory.guest(out, len(frame))[:] = frame
        self.rings[2 * pair].offer(into, BUFFER_SIZE, writable=True)
        self.rings[2 * pair + 1].offer(out, len(frame), writable=False)
        return frame, buffer


class FrontendSession:
    """One connection with a back-end, from GET_FEATURES to the end of file."""

    def __init__(self, sock: socket.socket, guest: Guest, pause: Pause, timeout: float = wire.TIMEOUT) -> None:
        """Takes over ``sock``; ``timeout`` is in seconds; ``pause`` is called before each request."""
        self.link = DemoSocket(sock, "the back-end", timeout)
        self.requests = 0
        self.frames = 0
        """Frames that came back."""
        self._guest = guest
        self._pause = pause
        self._channel: DemoSocket | None = None
        self._features = 0
        self._protocol_features = ProtocolFeature(0)
        self._status = 0
        self._heard: list[int] = []
        """Requests of the back-end that have been answered and not yet waited for."""
        self._doorbell: mmap.mmap | None = None
        self._eventfds: dict[tuple[FrontendRequest, int], int] = {}
        """The descriptors the back-end has of each ring."""
        self._masked: list[int] = []
        """Call descriptors of before the start; QEMU keeps its masked notifiers, too."""

    def run(self) -> None:
        """Bring the device up, send frames, stop it, disconnect.

        Raises:
            PeerError: the back-end did not do what it should.
        """
        try:
            for pair in range(PAIRS):
                self._initialise(pair)
            self._start()
            for pair in range(PAIRS):
                self._exchange(pair)
            self._stop()
        finally:
            self._close()

    def _close(self) -> None:
        for fd in (*self._eventfds.values(), *self._masked):
            os.close(fd)
        if self._doorbell is not None:
            self._doorbell.close()
        if self._channel is not None:
            self._channel.close()
        self.link.close()

    # The steps, in QEMU's order.

    def _initialise(self, pair: int) -> None:
        offered = self._get(FrontendRequest.GET_FEATURES)
        if not offered & F_PROTOCOL_FEATURES:
            raise PeerError("the back-end does not offer VHOST_USER_F_PROTOCOL_FEATURES")
        self._features = FEATURES & offered
        self._protocol_features = PROTOCOL_FEATURES & ProtocolFeature(
            self._get(FrontendRequest.GET_PROTOCOL_FEATURES) & PROTOCOL_FEATURES
        )
        self._tell(FrontendRequest.SET_PROTOCOL_FEATURES, wire.U64.pack(self._protocol_features))
        if pair == 0:
            if self._has(ProtocolFeature.MQ) and self._get(FrontendRequest.GET_QUEUE_NUM) < PAIRS:
                raise PeerError(f"the back-end has fewer than {PAIRS} queue pairs")
            if self._has(ProtocolFeature.BACKEND_REQ):
                self._open_channel()
            self._tell(FrontendRequest.SET_OWNER)
        self._get(FrontendRequest.GET_FEATURES)
        for index in (2 * pair, 2 * pair + 1):
            self._pass_eventfd(FrontendRequest.SET_VRING_CALL, index)
            self._pass_eventfd(FrontendRequest.SET_VRING_ERR, index)

    def _open_channel(self) -> None:
        ours, theirs = socket.socketpair()
        self._channel = DemoSocket(ours, "the back-end on its channel", self.link.timeout)
        with theirs:
            self._tell(FrontendRequest.SET_BACKEND_REQ_FD, descriptors=(theirs.fileno(),), ack=True)

    def _start(self) -> None:
        for pair in range(PAIRS):
            self._tell(FrontendRequest.SET_FEATURES, wire.U64.pack(self._features))
            if pair == 0:
                self._add_status(FEATURES_OK)
                if self._has(ProtocolFeature.MTU):
                    self._tell(FrontendRequest.NET_SET_MTU, wire.U64.pack(MTU), ack=True)
                if self._has(ProtocolFeature.INFLIGHT_SHMFD):
                    self._share_inflight()
                self._share_memory()
            for index in (2 * pair, 2 * pair + 1):
                self._start_ring(index)
        self._add_status(ACKNOWLEDGE | DRIVER | DRIVER_OK)
        if self._has(ProtocolFeature.CONFIG):
            if self._has(ProtocolFeature.STATUS | ProtocolFeature.BACKEND_REQ):
                self._wait_for(BackendRequest.BACKEND_CONFIG_CHANGE_MSG)
            self._read_config()
            self._tell(FrontendRequest.SET_CONFIG, wire.CONFIG_HEAD.pack(0, len(MAC), 0) + MAC, ack=True)
            if self._has(ProtocolFeature.BACKEND_REQ):
                self._wait_for(BackendRequest.BACKEND_CONFIG_CHANGE_MSG)
            if self._read_config()[: len(MAC)] != MAC:
                raise PeerError("the back-end acknowledged SET_CONFIG and did not do it")
        for index in range(RINGS):
            self._tell(FrontendRequest.SET_VRING_ENABLE, wire.VRING_STATE.pack(index, 1), ack=True)

    def _share_inflight(self) -> None:
        if self._guest.inflight is None:
            answer = self._ask(FrontendRequest.GET_INFLIGHT_FD, wire.INFLIGHT.pack(0, 0, RINGS, RING_SIZE))
            try:
                answer.unpack(wire.INFLIGHT)
                self._guest.inflight = answer.payload, answer.take()
            finally:
                answer.close()
        payload, fd = self._guest.inflight
        self._tell(FrontendRequest.SET_INFLIGHT_FD, payload, (fd,))

    def _share_memory(self) -> None:
        table = wire.TABLE_HEAD.pack(len(REGIONS), 0)
        for region in REGIONS:
            table += wire.REGION.pack(region.guest, region.size, region.user, region.offset)
        self._tell(FrontendRequest.SET_MEM_TABLE, table, [self._guest.ram] * len(REGIONS), ack=True)

    def _start_ring(self, index: int) -> None:
        guest, layout = self._guest, self._guest.layouts[index]
        self._tell(FrontendRequest.SET_VRING_NUM, wire.VRING_STATE.pack(index, RING_SIZE))
        self._tell(FrontendRequest.SET_VRING_BASE, wire.VRING_STATE.pack(index, guest.bases[index]))
        parts = (guest.user(index, at) for at in (layout.descriptors, layout.used, layout.available))
        log = guest.guest(index, layout.used)
        self._tell(FrontendRequest.SET_VRING_ADDR, wire.VRING_ADDR.pack(index, 0, *parts, log))
        self._pass_eventfd(FrontendRequest.SET_VRING_KICK, index)
        self._pass_eventfd(FrontendRequest.SET_VRING_CALL, index)
        os.eventfd_write(self._eventfds[FrontendRequest.SET_VRING_KICK, index], 1)

    def _exchange(self, pair: int) -> None:
        """Send a frame and see it come back: kicks and calls only, no message."""
        transmit = 2 * pair + 1
        frame, buffer = self._guest.send_frame(pair)
        for index in (transmit - 1, transmit):
            os.eventfd_write(self._eventfds[FrontendRequest.SET_VRING_KICK, index], 1)
        for index in (transmit - 1, transmit):
            call = self._eventfds[FrontendRequest.SET_VRING_CALL, index]
            if not wire.readable([call], self.link.timeout):
                raise PeerError(f"the back-end did not call ring {index} for {self.link.timeout:g} s")
            os.eventfd_read(call)
        _, _, length = self._guest.rings[transmit - 1].used()
        if bytes(buffer[:length]) != frame:
            raise PeerError(f"the frame sent on pair {pair} came back different, or not at all")
        self.frames += 1

    def _stop(self) -> None:
        for index in range(RINGS):
            answer = self._ask(FrontendRequest.GET_VRING_BASE, wire.VRING_STATE.pack(index, 0))
            answer.close()
            ring, base = answer.unpack(wire.VRING_STATE)
            used, _, _ = self._guest.rings[index].used()
            if ring != index or base != used:
                raise PeerError(f"the back-end stopped ring {ring} at {base}; ring {index} was used up to {used}")
            self._guest.bases[index] = base
        if self._has(ProtocolFeature.STATUS):
            self._tell(FrontendRequest.SET_STATUS, wire.U64.pack(0))

    def _add_status(self, bits: int) -> None:
        if self._has(ProtocolFeature.STATUS):
            self._status = self._get(FrontendRequest.GET_STATUS) | bits
            self._tell(FrontendRequest.SET_STATUS, wire.U64.pack(self._status))

    def _read_config(self) -> bytes:
        access = wire.CONFIG_HEAD.pack(0, CONFIG_SIZE, 0)
        answer = self._ask(FrontendRequest.GET_CONFIG, access + bytes(CONFIG_SIZE))
        answer.close()
        if len(answer.payload) != len(access) + CONFIG_SIZE:
            raise PeerError(f"the back-end answered GET_CONFIG with {len(answer.payload)} bytes")
        return answer.payload[len(access) :]

    def _pass_eventfd(self, request: FrontendRequest, index: int) -> None:
        """Give the back-end a new eventfd for one ring, instead of the one it has."""
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        if (request, index) in self._eventfds:
            self._masked.append(self._eventfds[request, index])
        self._eventfds[request, index] = fd
        self._tell(request, wire.U64.pack(index), (fd,), ack=True)

    # Messages.

    def _has(self, wanted: ProtocolFeature) -> bool:
        return self._protocol_features & wanted == wanted

    def _tell(
        self, request: FrontendRequest, payload: bytes = b"", descriptors: Sequence[int] = (), ack: bool = False
    ) -> None:
        """Send a request without a reply of its own; with ``ack`` ask for an acknowledgement, where negotiated."""
        ack = ack and self._has(ProtocolFeature.REPLY_ACK)
        if not ack:
            self._send(request, VERSION, payload, descriptors)
            return
        self._send(request, VERSION | FLAG_NEED_REPLY, payload, descriptors)
        answer = self._reply_to(request)
        answer.close()
        (result,) = answer.unpack(wire.U64)
        if result:
            raise PeerError(f"the back-end refused {request.name}")

    def _get(self, request: FrontendRequest) -> int:
        answer = self._ask(request)
        answer.close()
        (value,) = answer.unpack(wire.U64)
        return value

    def _ask(self, request: FrontendRequest, payload: bytes = b"") -> Incoming:
        self._send(request, VERSION, payload)
        return self._reply_to(request)

    def _send(self, request: int, flags: int, payload: bytes, descriptors: Sequence[int] = ()) -> None:
        self._pause()
        self.requests += 1
        self.link.send(request, flags, payload, descriptors)

    def _reply_to(self, request: FrontendRequest) -> Incoming:
        """The reply on the main channel; what the back-end asks meanwhile on its channel is answered."""
        while True:
            if self.link.fileno() not in self._serve_channel():
                continue
            answer = self.link.receive()
            if answer is None:
                raise PeerError(f"the back-end closed the connection instead of answering {request.name}")
            if not wire.is_reply(answer, request):
                answer.close()
                raise PeerError(f"the back-end answered {request.name} with request {answer.request}")
            return answer

    def _wait_for(self, request: BackendRequest) -> None:
        """Wait until the back-end has sent ``request`` on its channel."""
        while request not in self._heard:
            if self.link.fileno() in self._serve_channel():
                raise PeerError(f"the back-end spoke on the main channel instead of sending {request.name}")
        self._heard.remove(request)

    def _serve_channel(self) -> list[int]:
        """Wait for either channel; answer one message of the back-end's. Gives the descriptors that are readable."""
        fds = [self.link.fileno()] + ([] if self._channel is None else [self._channel.fileno()])
        ready = wire.readable(fds, self.link.timeout)
        if not ready:
            raise PeerError(f"the back-end said nothing for {self.link.timeout:g} s")
        if self._channel is not None and self._channel.fileno() in ready:
            self._answer(self._channel)
        return ready

    def _answer(self, channel: DemoSocket) -> None:
        message = channel.receive()
        if message is None:
            channel.close()
            self._channel = None
            return
        result = 0
        try:
            if message.request == BackendRequest.BACKEND_VRING_HOST_NOTIFIER_MSG:
                result = int(not self._map_doorbell(message))
            elif message.request != BackendRequest.BACKEND_CONFIG_CHANGE_MSG:
                result = 1
        finally:
            message.close()
        self._heard.append(message.request)
        if message.flags & FLAG_NEED_REPLY:
            channel.send(message.request, VERSION | FLAG_REPLY, wire.U64.pack(result))

    def _map_doorbell(self, message: Incoming) -> bool:
        """Map the page that a ring is kicked by; False where that cannot be."""
        word, size, offset = message.unpack(wire.VRING_AREA)
        if word & VRING_INDEX_MASK >= RINGS or size != mmap.PAGESIZE:
            return False
        if self._doorbell is not None:
            self._doorbell.close()
            self._doorbell = None
        if word & VRING_NOFD:
            return True
        if not message.descriptors:
            return False
        fd = message.take()
        try:
            self._doorbell = mmap.mmap(fd, size, offset=offset)
        except (OSError, ValueError, OverflowError):
            return False
        finally:
            os.close(fd)
        return True


def run(
    path: str,
    *,
    listen: bool,
    count: int,
    pause: float = 0.0,
    timeout: float = wire.TIMEOUT,
    say: Callable[[str], None] = print,
) -> int:
    """Hold ``count`` sessions at ``path`` one after another; the exit code: 0 when the back-end did all it should.

    ``pause`` is the time in seconds before each request, for those who watch.

    Raises:
        SourceError: it cannot listen at the path.
        PeerError: nobody came within ``timeout`` seconds.
    """
    guest = Guest()
    listener = None
    try:
        listener = listen_at(ProxySide(True, path)) if listen else None
        for number in range(1, count + 1):
            sock = wire.connect(path, timeout) if listener is None else wire.accept(listener.sock, path, timeout)
            session = FrontendSession(sock, guest, lambda: time.sleep(pause) if pause else None, timeout)
            try:
                session.run()
            except PeerError as error:
                say(f"front-end: session {number} failed after {session.requests} requests: {error}")
                return 1
            say(f"front-end: session {number}: {session.requests} requests, {session.frames} frames came back")
    finally:
        if listener is not None:
            listener.close()
        guest.close()
    return 0
