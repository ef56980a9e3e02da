"""Our back-end in a front-end's test, when it does nothing wrong: what it offers, answers and remembers.

It must not know scenarios beyond what a row offers, nor processes.
"""

from __future__ import annotations

import os
import struct
import sys
import time

from vusniff.conformance.conversation import Meet, TrialResult, message
from vusniff.conformance.manners import Manner
from vusniff.conformance.recorder import TrialCapture
from vusniff.conformance.scenario import P, Result
from vusniff.conformance.served import ServedDevice, ServedRings
from vusniff.conformance.things import Things
from vusniff.demo.wire import PeerError
from vusniff.families.vhost_user.protocol import (
    F_PROTOCOL_FEATURES,
    FLAG_NEED_REPLY,
    FLAG_REPLY,
    HEADERS,
    VERSION,
    BackendRequest,
    Channels,
    FrontendRequest,
)
from vusniff.replay.link import Arrival, ReplaySocket

F = FrontendRequest
HEADER = HEADERS[sys.byteorder]
LINGER_S = 0.3
"""How long a front-end that has reached the goal is listened to."""
CONFIG_LIMIT = 4096
CONFIG_HEAD = 12
"""Bytes of a config payload before the config space."""
LOG_PAGE = 4096
DRIVER_OK = 4


class GoodBackend:
    """The connection of one scenario, and the channel on it."""

    def __init__(
        self,
        row: Manner,
        device: ServedDevice,
        meet: Meet,
        meet_again: Meet,
        patience: float,
        reply_patience: float,
        capture: TrialCapture | None = None,
        linger: float = LINGER_S,
    ) -> None:
        """``patience`` is for the goal, ``reply_patience`` for the answer to what we ask.

        A front-end that has reached the goal is listened to for ``linger``. All are seconds.
        """
        self._row = row
        self._device = device
        self._meet = meet
        self._meet_again = meet_again
        self._patience = patience
        self._reply_patience = reply_patience
        self._capture = capture
        self._linger = linger
        self._things = Things()
        self._rings = ServedRings(device)
        self._link: ReplaySocket | None = None
        self._channel: ReplaySocket | None = None
        self._done: set[int] = set()
        """Turns that were taken."""
        self._features = row.features | (0 if row.plain else device.features)
        self._taken = P(0)
        """Protocol features that the front-end has set."""
        self._status = 0
        self._wrong: str | None = None
        """What was answered wrongly."""
        self._wrong_until = 0.0
        self._grace = 0
        """Requests that it may say before it can know."""
        self._config = bytearray(device.config)
        self._asked = False
        self._replies: list[bytes] = []
        """What the front-end has said on the back-end channel."""
        self._asking = False
        """It has been asked on that channel."""
        self._ran = False
        """A ring was started and enabled."""
        self.outcome = TrialResult(Result.INCONCLUSIVE)

    def _leave(self, mine: bool) -> None:
        for link in (self._channel, self._link):
            if link is not None:
                link.close()
                if self._capture is not None:
                    self._capture.closed(link.channel, mine)
        self._channel = self._link = None

    def _note(self, request: int, payload: bytes, arrival: Arrival) -> None:
        if request == F.SET_BACKEND_REQ_FD and arrival.fds:
            self._open_channel(arrival.fds.pop(0))
        elif request == F.SET_FEATURES and len(payload) == 8:
            self._rings.all_enabled = not int.from_bytes(payload, sys.byteorder) & F_PROTOCOL_FEATURES
        elif request == F.SET_PROTOCOL_FEATURES and len(payload) == 8:
            self._taken = P(int.from_bytes(payload, sys.byteorder) & sum(P))
        elif request == F.SET_STATUS and len(payload) == 8:
            status = int.from_bytes(payload, sys.byteorder)
            came_up, self._status = status & ~self._status & DRIVER_OK, status
            if came_up:
                self._config_changed()
        elif request == F.SET_CONFIG and len(payload) > CONFIG_HEAD:
            offset, size, _ = struct.unpack_from("=III", payload)
            if offset + size <= len(self._config):
                self._config[offset : offset + size] = payload[CONFIG_HEAD : CONFIG_HEAD + size]
            self._config_changed()
        try:
            self._rings.take(request, payload, arrival.fds)
        except PeerError as error:
            self.outcome.notes.append(str(error))

    def _open_channel(self, fd: int) -> None:
        import socket

        try:
            sock = socket.socket(fileno=fd)
        except OSError:
            os.close(fd)
            return
        if self._channel is not None:
            self._channel.close()
        if self._capture is not None:
            self._capture.opened(Channels.BACKEND, True, (os.fstat(sock.fileno()).st_ino, None))
        self._channel = ReplaySocket(sock, Channels.BACKEND)

    def _config_changed(self) -> None:
        """As a device does whose link comes up, or whose config space was written."""
        if self._channel is None or not self._taken & P.CONFIG:
            return
        data = message(BackendRequest.BACKEND_CONFIG_CHANGE_MSG, b"", VERSION)
        if self._capture is not None:
            self._capture.said(Channels.BACKEND, data, [])
        self._channel.send(data, [], time.monotonic() + self._reply_patience)

    def _payload(self, request: int, asked: bytes) -> tuple[bytes, tuple[str, ...]] | None:
        """The reply that a request has of its own, and its descriptors; None for none."""
        row = self._row
        match request:
            case F.GET_FEATURES:
                return struct.pack("=Q", self._features & (1 << 64) - 1), ()
            case F.GET_PROTOCOL_FEATURES:
                return struct.pack("=Q", row.protocol), ()
            case F.GET_QUEUE_NUM:
                return struct.pack("=Q", row.queues), ()
            case F.GET_MAX_MEM_SLOTS:
                return struct.pack("=Q", 32), ()
            case F.GET_STATUS:
                return struct.pack("=Q", self._status), ()
            case F.GET_CONFIG if len(asked) >= 12:
                offset, size, _ = struct.unpack_from("=III", asked)
                held = bytes(self._config)[offset : offset + size] if offset < CONFIG_LIMIT else b""
                return asked[:12] + held.ljust(min(size, CONFIG_LIMIT), b"\0"), ()
            case F.GET_VRING_BASE if len(asked) == 8:
                index = struct.unpack_from("=I", asked)[0]
                vrings = self._rings.vrings
                return struct.pack("=II", index, vrings[index].base if index < len(vrings) else 0), ()
            case F.GET_INFLIGHT_FD if len(asked) >= 20:
                queues, size = struct.unpack_from("=HH", asked, 16)
                return struct.pack("=QQHH4x", max(queues * size * 16, 1) + LOG_PAGE & ~4095, 0, queues, size), ("ram",)
            case F.SET_LOG_BASE if self._taken & P.LOG_SHMFD:
                return b"", ()
            case F.POSTCOPY_END | F.CHECK_DEVICE_STATE | F.IOTLB_MSG:
                return bytes(8), ()
            case _:
                return None

    def _waits(self, request: int, flags: int, asked: bytes) -> bool:
        """Whether the front-end waits for something."""
        acknowledged = bool(flags & FLAG_NEED_REPLY and self._taken & P.REPLY_ACK)
        return acknowledged or self._payload(request, asked) is not None

    def _answer(self, request: int, flags: int, asked: bytes) -> None:
        """As a good back-end does."""
        own = self._payload(request, asked)
        if own is not None:
            self._send(message(request, own[0], VERSION | FLAG_REPLY), own[1])
        elif flags & FLAG_NEED_REPLY and self._taken & P.REPLY_ACK:
            self._send(message(request, bytes(8), VERSION | FLAG_REPLY))

    def _send(self, data: bytes, fds: tuple[str, ...] = (), piece: int = 0) -> None:
        link = self._link
        if link is None:
            return
        numbers = [self._things.fd(name) for name in fds]
        if self._capture is not None:
            self._capture.said(Channels.MAIN, data, numbers)
        self.outcome.said += 1
        step = piece or len(data)
        for start in range(0, len(data), step):
            sent = numbers if start == 0 else []
            if not link.send(data[start : start + step], sent, time.monotonic() + self._reply_patience):
                return  # it left, or does not read: the next wait says so
