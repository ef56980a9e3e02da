"""The device behind our back-end, when a front-end is tested: rings in its memory, and what is done with requests.

Disks read as zeros, frames go back where they came from, random bytes are random. Knows no sockets.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Mapping

from vusniff.demo.memory import GuestMemory, GuestRegion
from vusniff.demo.rings import VringSetup, loop_back
from vusniff.demo.wire import REGION, TABLE_HEAD, VRING_ADDR, VRING_STATE, PeerError
from vusniff.families.vhost_user.protocol import VRING_INDEX_MASK, VRING_NOFD, FrontendRequest
from vusniff.values import dataclass

F = FrontendRequest
RING_LIMIT = 64
SECTORS = 2048
CHAINS = 256
"""Requests that are served for one kick."""
RANDOM_LIMIT = 1 << 16
"""Random bytes for one request."""


@dataclass(frozen=True, slots=True)
class ServedDevice:
    """What our back-end offers of one kind of device."""

    features: int
    config: bytes
    serve: Callable[[list[VringSetup], int], int]
    """Serves what waits on a ring; how many requests."""


def _serve_one(parts: list[tuple[memoryview, bool]]) -> int:
    """One request of a disk: data read as zeros, status 0. Bytes written."""
    written = 0
    for view, writable in parts:
        if writable:
            view[:] = bytes(len(view))
            written += len(view)
    return written


def _random(parts: list[tuple[memoryview, bool]]) -> int:
    """One request of an entropy device. Bytes written."""
    written = 0
    for view, writable in parts:
        size = min(len(view), RANDOM_LIMIT - written) if writable else 0
        view[:size] = os.urandom(size)
        written += size
    return written


def _each(serve: Callable[[list[tuple[memoryview, bool]]], int], vrings: list[VringSetup], index: int) -> int:
    """Every request of a ring, each by itself; how many there were."""
    vring = vrings[index]
    served = 0
    if vring.ring is None:
        return 0
    for _ in range(min(vring.ring.pending(vring.base), CHAINS)):
        head = vring.ring.head(vring.base)
        vring.base = vring.base + 1 & 0xFFFF
        written = serve(list(vring.ring.chain(head)))
        vring.ring.give_back(head, written)
        served += 1
    if served and (call := vring.descriptors.get(F.SET_VRING_CALL)) is not None:
        with contextlib.suppress(OSError):
            os.set_blocking(call, False)
            os.write(call, (1).to_bytes(8, "little"))
    return served


def _loop(vrings: list[VringSetup], index: int) -> int:
    return loop_back(vrings, index, None) if index & 1 else 0


_BLK = SECTORS.to_bytes(8, "little") + bytes(4) + (126).to_bytes(4, "little") + bytes(4) + (512).to_bytes(4, "little")
_NET = bytes.fromhex("525400123456") + bytes((1, 0, 1, 0)) + (1500).to_bytes(2, "little")
SERVED: Mapping[str, ServedDevice] = {
    "blk": ServedDevice(1 << 2 | 1 << 6 | 1 << 9, _BLK, functools.partial(_each, _serve_one)),
    "net": ServedDevice(1 << 5 | 1 << 15 | 1 << 16 | 1 << 22, _NET, _loop),
    "fs": ServedDevice(0, b"shared".ljust(36, b"\0") + (1).to_bytes(4, "little"), lambda vrings, index: 0),
    "rng": ServedDevice(0, b"", functools.partial(_each, _random)),
    "other": ServedDevice(0, b"", lambda vrings, index: 0),
}


class ServedRings:
    """The rings and the memory that the front-end told of. What it says wrongly raises PeerError."""

    def __init__(self, device: ServedDevice) -> None:
        self._device = device
        self._memory = GuestMemory()
        self._regions: list[tuple[GuestRegion, int]] = []
        self.vrings = [VringSetup() for _ in range(RING_LIMIT)]
        self.kicked: set[int] = set()
        """Rings that SET_VRING_KICK has started."""
        self.all_enabled = False
        self.moved = 0
        """Requests that came through a ring."""

    def close(self) -> None:
        """Let go of everything."""
        for vring in self.vrings:
            vring.stop()
        self._memory.close()
        for _, fd in self._regions:
            os.close(fd)
        self._regions.clear()

    @property
    def running(self) -> bool:
        """Whether a ring is started and enabled."""
        return any(self.all_enabled or self.vrings[index].enabled for index in self.kicked)

    def kicks(self) -> dict[int, int]:
        """Kick descriptor -> ring, of those that can be served."""
        return {
            vring.descriptors[F.SET_VRING_KICK]: index
            for index, vring in enumerate(self.vrings)
            if vring.ring is not None and F.SET_VRING_KICK in vring.descriptors
        }

    def kick(self, index: int, fd: int) -> None:
        """A ring was kicked."""
        with contextlib.suppress(BlockingIOError, OSError):
            os.set_blocking(fd, False)
            os.read(fd, 8)
        self.moved += self._device.serve(self.vrings, index)

    def take(self, request: int, payload: bytes, fds: list[int]) -> None:
        """What a request says of memory and rings; takes the descriptors that it needs out of ``fds``."""
        match request:
            case F.SET_MEM_TABLE:
                self._table(payload, fds)
            case F.ADD_MEM_REG if len(payload) >= 40 and fds:
                self._regions.append((GuestRegion(*REGION.unpack_from(payload, 8)), fds.pop(0)))
                self._map()
            case F.REM_MEM_REG if len(payload) >= 40:
                gone = REGION.unpack_from(payload, 8)[:3]
                for one in [one for one in self._regions if (one[0].guest, one[0].size, one[0].user) == gone]:
                    self._regions.remove(one)
                    os.close(one[1])
                self._map()
            case F.SET_VRING_NUM if len(payload) == 8:
                index, size = VRING_STATE.unpack(payload)
                self._vring(index).size = size
            case F.SET_VRING_BASE if len(payload) == 8:
                index, base = VRING_STATE.unpack(payload)
                self._vring(index).base = base & 0xFFFF
            case F.SET_VRING_ADDR if len(payload) == 40:
                index, _, descriptors, used, available, _ = VRING_ADDR.unpack(payload)
                self._vring(index).addresses = descriptors, available, used
            case F.SET_VRING_KICK | F.SET_VRING_CALL | F.SET_VRING_ERR if len(payload) == 8:
                self._descriptor(FrontendRequest(request), int.from_bytes(payload[:8], "little"), fds)
            case F.SET_VRING_ENABLE if len(payload) == 8:
                index, enable = VRING_STATE.unpack(payload)
                self._vring(index).enabled = bool(enable)
            case F.GET_VRING_BASE if len(payload) == 8:
                index = VRING_STATE.unpack(payload)[0]
                self._vring(index).stop()
                self.kicked.discard(index)
            case _:
                return

    def _vring(self, index: int) -> VringSetup:
        if index >= RING_LIMIT:
            raise PeerError(f"there is no ring {index}: rings are numbered from 0 to {RING_LIMIT - 1}")
        return self.vrings[index]

    def _table(self, payload: bytes, fds: list[int]) -> None:
        for _, fd in self._regions:
            os.close(fd)
        self._regions = []
        rows = list(REGION.iter_unpack(payload[TABLE_HEAD.size :][: (len(payload) - TABLE_HEAD.size) // 32 * 32]))
        for row in rows[: len(fds)]:
            self._regions.append((GuestRegion(*row), fds.pop(0)))
        self._map()

    def _map(self) -> None:
        memory = GuestMemory()
        for region, fd in self._regions:
            with contextlib.suppress(PeerError):
                memory.add(region, fd)
        for vring in self.vrings:
            if vring.ring is not None:
                vring.start(memory)
        self._memory.close()
        self._memory = memory

    def _descriptor(self, request: FrontendRequest, word: int, fds: list[int]) -> None:
        index = word & VRING_INDEX_MASK
        vring = self._vring(index)
        vring.set_descriptor(request, None if word & VRING_NOFD or not fds else fds.pop(0))
        if request is F.SET_VRING_KICK:
            self.kicked.add(index)
            with contextlib.suppress(PeerError):
                vring.start(self._memory)
