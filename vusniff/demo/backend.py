"""The demo's back-end: a net device with two queue pairs that sends every frame back on the pair it came from.

It answers what a front-end such as QEMU asks of a net device, maps guest memory, serves rings when they are kicked,
keeps the inflight buffer, and has words of its own on the back-end channel. What a front-end sends that it cannot
take ends the session with one sentence; the next session starts from nothing, as the specification wants it.

Replies are written as libvhost-user writes them: the header in one send, the payload in another.
"""

from __future__ import annotations

import mmap
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from vusniff.demo import wire
from vusniff.demo.memory import GuestMemory, GuestRegion, InflightBuffer, inflight_size
from vusniff.demo.rings import VringSetup, loop_back
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

QUEUES = 4
F_MTU, F_MAC, F_MRG_RXBUF, F_STATUS, F_CTRL_VQ, F_MQ, F_VERSION_1 = (1 << bit for bit in (3, 5, 15, 16, 17, 22, 32))
FEATURES = F_MTU | F_MAC | F_MRG_RXBUF | F_STATUS | F_CTRL_VQ | F_MQ | F_VERSION_1 | F_PROTOCOL_FEATURES
PROTOCOL_FEATURES = (
    ProtocolFeature.MQ
    | ProtocolFeature.RARP
    | ProtocolFeature.REPLY_ACK
    | ProtocolFeature.MTU
    | ProtocolFeature.BACKEND_REQ
    | ProtocolFeature.CONFIG
    | ProtocolFeature.BACKEND_SEND_FD
    | ProtocolFeature.HOST_NOTIFIER
    | ProtocolFeature.INFLIGHT_SHMFD
    | ProtocolFeature.STATUS
)
CONFIG = bytes.fromhex("525400123456") + (0).to_bytes(2, "little") + (2).to_bytes(2, "little") + b"\xdc\x05"
"""virtio_net_config up to mtu: MAC 52:54:00:12:34:56, link down, two queue pairs, MTU 1500."""
CONFIG_STATUS = 6
"""Offset of the link status in it."""
DRIVER_OK = 4
RING_LIMIT = 32768
POLL_S = 0.002
"""Between two looks at a ring that has no kick descriptor."""
INFLIGHT_LIMIT = 1 << 24
"""Largest inflight buffer that is handed out."""


class BackendSession:
    """One connection with a front-end, from accept to end of file."""

    handlers: ClassVar[Mapping[int, Callable[[Any, Incoming], Reply | None]]] = {}
    """By request: what does it. A test plants a fault in a copy."""

    def __init__(self, sock: socket.socket, timeout: float = wire.TIMEOUT) -> None:
        """Takes over ``sock``; ``timeout`` is in seconds."""
        self.link = DemoSocket(sock, "the front-end", timeout)
        self.requests = 0
        self.frames = 0
        """Frames that were sent back to the guest."""
        self._channel: DemoSocket | None = None
        self._protocol_features = ProtocolFeature(0)
        self._memory = GuestMemory()
        self.vrings = [VringSetup() for _ in range(QUEUES)]
        self._config = bytearray(CONFIG)
        self._status = 0
        self._inflight: InflightBuffer | None = None
        self._doorbell = -1

    def run(self) -> None:
        """Serve until the front-end closes the connection.

        Raises:
            PeerError: the front-end did what this back-end cannot take.
        """
        try:
            while True:
                kicks = {
                    vring.descriptors[FrontendRequest.SET_VRING_KICK]: index
                    for index, vring in enumerate(self.vrings)
                    if vring.ring and FrontendRequest.SET_VRING_KICK in vring.descriptors
                }
                ready = self._wait([self.link.fileno(), *kicks])
                for fd in ready:
                    if fd in kicks:
                        self._kicked(kicks[fd], fd)
                if self.link.fileno() in ready:
                    message = self.link.receive()
                    if message is None:
                        return
                    self._answer(message)
        finally:
            self._close()

    def _wait(self, fds: list[int]) -> list[int]:
        """Which can be read; meanwhile the rings without a kick descriptor are polled."""
        deadline = time.monotonic() + self.link.timeout
        while True:
            polled = [
                index
                for index, vring in enumerate(self.vrings)
                if index & 1 and vring.ring and FrontendRequest.SET_VRING_KICK not in vring.descriptors
            ]
            if ready := wire.readable(fds, POLL_S if polled else self.link.timeout):
                return ready
            for transmit in polled:
                self.frames += loop_back(self.vrings, transmit, self._inflight)
            if time.monotonic() >= deadline:
                raise PeerError(f"the front-end said nothing for {self.link.timeout:g} s")

    def _close(self) -> None:
        for vring in self.vrings:
            vring.stop()
        self._memory.close()
        if self._inflight is not None:
            self._inflight.close()
        if self._doorbell >= 0:
            os.close(self._doorbell)
        if self._channel is not None:
            self._channel.close()
        self.link.close()

    def _answer(self, message: Incoming) -> None:
        """Do what one request asks, and reply or acknowledge."""
        self.requests += 1
        wants_ack = bool(message.flags & FLAG_NEED_REPLY) and bool(self._protocol_features & ProtocolFeature.REPLY_ACK)
        try:
            handler = self.handlers.get(message.request)
            if handler is None:
                raise PeerError(f"request {message.request} is none that this back-end knows")
            reply = handler(self, message)
            if message.descriptors:
                raise PeerError(f"request {message.request} came with descriptors that it does not define")
        except PeerError:
            if wants_ack:
                self._reply(message.request, wire.U64.pack(1))
            raise
        finally:
            message.close()
        if reply is not None:
            payload, descriptors = reply
            try:
                self._reply(message.request, payload, descriptors)
            finally:
                for fd in descriptors:
                    os.close(fd)
        elif wants_ack:
            self._reply(message.request, wire.U64.pack(0))

    def _reply(self, request: int, payload: bytes, descriptors: tuple[int, ...] = ()) -> None:
        self.link.send(request, VERSION | FLAG_REPLY, payload, descriptors, split=True)

    def _vring(self, index: int) -> VringSetup:
        if index >= QUEUES:
            raise PeerError(f"ring {index} is not one of the {QUEUES} rings of this back-end")
        return self.vrings[index]

    # Words of the back-end's own.

    def _say(
        self, request: BackendRequest, payload: bytes = b"", descriptors: tuple[int, ...] = (), ask: bool = False
    ) -> bool:
        """Send a request on the back-end channel; with ``ask`` wait for the answer. Whether it was not refused."""
        if self._channel is None:
            return True
        self._channel.send(request, VERSION | (FLAG_NEED_REPLY if ask else 0), payload, descriptors)
        if not ask:
            return True
        answer = self._channel.receive()
        if answer is None:
            raise PeerError(f"the front-end closed the back-end channel instead of answering {request.name}")
        answer.close()
        if not wire.is_reply(answer, request):
            raise PeerError(f"the front-end answered {request.name} with request {answer.request}")
        return answer.unpack(wire.U64) == (0,)

    def _offer_doorbell(self, index: int) -> None:
        """Offer a page to ring instead of the kick descriptor, as hardware back-ends do; once, as QEMU may refuse."""
        wanted = ProtocolFeature.HOST_NOTIFIER | ProtocolFeature.BACKEND_SEND_FD
        if self._doorbell >= 0 or self._protocol_features & wanted != wanted or self._channel is None:
            return
        self._doorbell = os.memfd_create("doorbell")
        os.ftruncate(self._doorbell, mmap.PAGESIZE)
        area = wire.VRING_AREA.pack(index, mmap.PAGESIZE, 0)
        self._say(BackendRequest.BACKEND_VRING_HOST_NOTIFIER_MSG, area, (self._doorbell,), ask=True)

    # The data path.

    def _kicked(self, index: int, fd: int) -> None:
        try:
            if not os.read(fd, 8):
                raise PeerError(f"the kick descriptor of ring {index} is at its end")
        except BlockingIOError:
            return
        except OSError as error:
            raise PeerError(f"the kick descriptor of ring {index} cannot be read: {error.strerror}") from None
        transmit = index | 1
        if index == transmit:
            self.frames += loop_back(self.vrings, transmit, self._inflight)

    # One method for each request: its own reply (payload and descriptors, which are closed once sent), or None.

    def get_features(self, message: Incoming) -> Reply:
        return wire.U64.pack(FEATURES), ()

    def set_features(self, message: Incoming) -> None:
        (features,) = message.unpack(wire.U64)
        if features & ~FEATURES:
            raise PeerError(f"SET_FEATURES holds bits that were not offered: {features & ~FEATURES:#x}")
        if not features & F_PROTOCOL_FEATURES:
            for vring in self.vrings:
                vring.enabled = True

    def set_owner(self, message: Incoming) -> None:
        return None

    def reset_owner(self, message: Incoming) -> None:
        """Nothing, as the specification recommends."""
        return

    def get_protocol_features(self, message: Incoming) -> Reply:
        return wire.U64.pack(PROTOCOL_FEATURES), ()

    def set_protocol_features(self, message: Incoming) -> None:
        (features,) = message.unpack(wire.U64)
        if features & ~PROTOCOL_FEATURES:
            raise PeerError(f"SET_PROTOCOL_FEATURES holds bits that were not offered: {features:#x}")
        self._protocol_features = ProtocolFeature(features)

    def get_queue_num(self, message: Incoming) -> Reply:
        return wire.U64.pack(QUEUES), ()

    def set_backend_req_fd(self, message: Incoming) -> None:
        fd = message.take()
        try:
            sock = socket.socket(fileno=fd)
        except OSError:
            os.close(fd)
            raise PeerError("SET_BACKEND_REQ_FD came with a descriptor that is not a socket") from None
        if self._channel is not None:
            self._channel.close()
        self._channel = DemoSocket(sock, "the front-end's back-end channel", self.link.timeout)

    def set_mem_table(self, message: Incoming) -> None:
        if len(message.payload) < wire.TABLE_HEAD.size:
            raise PeerError(f"SET_MEM_TABLE has {len(message.payload)} bytes of payload")
        count, _ = wire.TABLE_HEAD.unpack_from(message.payload)
        if len(message.payload) != wire.TABLE_HEAD.size + count * wire.REGION.size:
            raise PeerError(f"SET_MEM_TABLE speaks of {count} regions in {len(message.payload)} bytes of payload")
        if len(message.descriptors) != count:
            raise PeerError(f"SET_MEM_TABLE has {count} regions and {len(message.descriptors)} descriptors")
        memory = GuestMemory()
        try:
            for region in wire.REGION.iter_unpack(message.payload[wire.TABLE_HEAD.size :]):
                fd = message.take()
                try:
                    guest, size, user, offset = region
                    memory.add(GuestRegion(guest, size, user, offset), fd)
                finally:
                    os.close(fd)
        except PeerError:
            memory.close()
            raise
        for vring in self.vrings:
            if vring.ring is not None:
                vring.start(memory)
        self._memory.close()
        self._memory = memory

    def set_vring_num(self, message: Incoming) -> None:
        index, size = message.unpack(wire.VRING_STATE)
        if not 0 < size <= RING_LIMIT or size & (size - 1):
            raise PeerError(f"SET_VRING_NUM says {size}: a split ring has a power of two up to {RING_LIMIT}")
        self._vring(index).size = size

    def set_vring_base(self, message: Incoming) -> None:
        index, base = message.unpack(wire.VRING_STATE)
        self._vring(index).base = base & 0xFFFF

    def set_vring_addr(self, message: Incoming) -> None:
        index, _, descriptors, used, available, _ = message.unpack(wire.VRING_ADDR)
        for address in (descriptors, available, used) if self._memory else ():
            self._memory.user(address, 1).release()
        self._vring(index).addresses = descriptors, available, used

    def set_vring_descriptor(self, message: Incoming) -> None:
        """SET_VRING_KICK, SET_VRING_CALL and SET_VRING_ERR."""
        (word,) = message.unpack(wire.U64)
        request = FrontendRequest(message.request)
        vring = self._vring(word & VRING_INDEX_MASK)
        fd = None if word & VRING_NOFD else message.take()
        vring.set_descriptor(request, fd)
        if request is FrontendRequest.SET_VRING_KICK:
            vring.start(self._memory)

    def get_vring_base(self, message: Incoming) -> Reply:
        index, _ = message.unpack(wire.VRING_STATE)
        vring = self._vring(index)
        vring.stop()
        return wire.VRING_STATE.pack(index, vring.base), ()

    def set_vring_enable(self, message: Incoming) -> None:
        index, enable = message.unpack(wire.VRING_STATE)
        if enable not in (0, 1):
            raise PeerError(f"SET_VRING_ENABLE of ring {index} says {enable}, neither 0 nor 1")
        self._vring(index).enabled = bool(enable)
        if enable and index & 1:
            self._offer_doorbell(index)

    def send_rarp(self, message: Incoming) -> None:
        message.unpack(wire.U64)

    def net_set_mtu(self, message: Incoming) -> None:
        (mtu,) = message.unpack(wire.U64)
        if not 68 <= mtu <= 65535:
            raise PeerError(f"NET_SET_MTU says {mtu}")

    def get_config(self, message: Incoming) -> Reply:
        offset, size = self._config_access(message)
        return wire.CONFIG_HEAD.pack(offset, size, 0) + self._config[offset : offset + size], ()

    def set_config(self, message: Incoming) -> None:
        offset, size = self._config_access(message)
        self._config[offset : offset + size] = message.payload[wire.CONFIG_HEAD.size :]
        self._say(BackendRequest.BACKEND_CONFIG_CHANGE_MSG, ask=True)

    def _config_access(self, message: Incoming) -> tuple[int, int]:
        if len(message.payload) < wire.CONFIG_HEAD.size:
            raise PeerError(f"request {message.request} has {len(message.payload)} bytes of payload")
        offset, size, _ = wire.CONFIG_HEAD.unpack_from(message.payload)
        if len(message.payload) != wire.CONFIG_HEAD.size + size or offset + size > len(self._config):
            raise PeerError(f"request {message.request} wants {size} bytes at {offset} of a config of {len(CONFIG)}")
        return offset, size

    def get_inflight_fd(self, message: Incoming) -> Reply:
        _, _, queues, size = message.unpack(wire.INFLIGHT)
        total = queues * inflight_size(size)
        if not 0 < total <= INFLIGHT_LIMIT:
            raise PeerError(f"GET_INFLIGHT_FD wants {queues} queues of {size}")
        fd = os.memfd_create("inflight")
        os.ftruncate(fd, total)
        return wire.INFLIGHT.pack(total, 0, queues, size), (fd,)

    def set_inflight_fd(self, message: Incoming) -> None:
        size, offset, queues, ring_size = message.unpack(wire.INFLIGHT)
        fd = message.take()
        try:
            inflight = InflightBuffer(fd, size, offset, queues, ring_size)
        finally:
            os.close(fd)
        if self._inflight is not None:
            self._inflight.close()
        self._inflight = inflight

    def set_status(self, message: Incoming) -> None:
        (status,) = message.unpack(wire.U64)
        came_up = status & ~self._status & DRIVER_OK
        self._status = status
        if came_up:
            self._config[CONFIG_STATUS] |= 1
            self._say(BackendRequest.BACKEND_CONFIG_CHANGE_MSG)

    def get_status(self, message: Incoming) -> Reply:
        return wire.U64.pack(self._status), ()


Reply = tuple[bytes, tuple[int, ...]]

BackendSession.handlers = {
    FrontendRequest.GET_FEATURES: BackendSession.get_features,
    FrontendRequest.SET_FEATURES: BackendSession.set_features,
    FrontendRequest.SET_OWNER: BackendSession.set_owner,
    FrontendRequest.RESET_OWNER: BackendSession.reset_owner,
    FrontendRequest.SET_MEM_TABLE: BackendSession.set_mem_table,
    FrontendRequest.SET_VRING_NUM: BackendSession.set_vring_num,
    FrontendRequest.SET_VRING_ADDR: BackendSession.set_vring_addr,
    FrontendRequest.SET_VRING_BASE: BackendSession.set_vring_base,
    FrontendRequest.GET_VRING_BASE: BackendSession.get_vring_base,
    FrontendRequest.SET_VRING_KICK: BackendSession.set_vring_descriptor,
    FrontendRequest.SET_VRING_CALL: BackendSession.set_vring_descriptor,
    FrontendRequest.SET_VRING_ERR: BackendSession.set_vring_descriptor,
    FrontendRequest.GET_PROTOCOL_FEATURES: BackendSession.get_protocol_features,
    FrontendRequest.SET_PROTOCOL_FEATURES: BackendSession.set_protocol_features,
    FrontendRequest.GET_QUEUE_NUM: BackendSession.get_queue_num,
    FrontendRequest.SET_VRING_ENABLE: BackendSession.set_vring_enable,
    FrontendRequest.SEND_RARP: BackendSession.send_rarp,
    FrontendRequest.NET_SET_MTU: BackendSession.net_set_mtu,
    FrontendRequest.SET_BACKEND_REQ_FD: BackendSession.set_backend_req_fd,
    FrontendRequest.GET_CONFIG: BackendSession.get_config,
    FrontendRequest.SET_CONFIG: BackendSession.set_config,
    FrontendRequest.GET_INFLIGHT_FD: BackendSession.get_inflight_fd,
    FrontendRequest.SET_INFLIGHT_FD: BackendSession.set_inflight_fd,
    FrontendRequest.SET_STATUS: BackendSession.set_status,
    FrontendRequest.GET_STATUS: BackendSession.get_status,
}


def serve(
    path: str, *, connect: bool, count: int, timeout: float = wire.TIMEOUT, say: Callable[[str], None] = print
) -> int:
    """Hold ``count`` sessions at ``path`` one after another; the exit code: 0 when no front-end did wrong.

    Raises:
        SourceError: it cannot listen at the path.
        PeerError: nobody came within ``timeout`` seconds.
    """
    failed = 0
    listener = None if connect else listen_at(ProxySide(True, path))
    try:
        for number in range(1, count + 1):
            sock = wire.connect(path, timeout) if listener is None else wire.accept(listener.sock, path, timeout)
            session = BackendSession(sock, timeout)
            try:
                session.run()
                say(f"back-end: session {number}: {session.requests} requests, {session.frames} frames sent back")
            except PeerError as error:
                failed += 1
                say(f"back-end: session {number} closed after {session.requests} requests: {error}")
    finally:
        if listener is not None:
            listener.close()
    return 1 if failed else 0
