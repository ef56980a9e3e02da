"""Rings of the demo's back-end: what the front-end told of one, and frames sent from a transmit to a receive ring.

Owns the path of data. It knows nothing of messages but the names of the requests that bring descriptors.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Sequence

from vusniff.demo.memory import GuestMemory, InflightBuffer, SplitRing
from vusniff.demo.wire import PeerError
from vusniff.families.vhost_user.protocol import FrontendRequest
from vusniff.values import dataclass, field

FRAME_LIMIT = 65536
"""Longest frame that is taken from a ring."""


@dataclass(slots=True)
class VringSetup:
    """What the front-end told about one ring."""

    size: int = 0
    base: int = 0
    addresses: tuple[int, int, int] | None = None
    """Descriptor table, available ring, used ring: user addresses."""
    descriptors: dict[FrontendRequest, int] = field(default_factory=dict)
    """The kick, call and err descriptor under the request that set it."""
    ring: SplitRing | None = None
    enabled: bool = False

    def set_descriptor(self, request: FrontendRequest, fd: int | None) -> None:
        """Take over the descriptor that a request brought, None for none; the one before it is closed."""
        with contextlib.suppress(KeyError):
            os.close(self.descriptors.pop(request))
        if fd is not None:
            self.descriptors[request] = fd

    def start(self, memory: GuestMemory) -> None:
        """Open the ring in guest memory, again if it is. Raises PeerError when that cannot be with what was told."""
        if self.ring is not None:
            self.ring.close()
            self.ring = None
        if self.addresses is None or not self.size:
            raise PeerError("SET_VRING_KICK came before the size and the addresses of the ring")
        self.ring = SplitRing(memory, self.size, *self.addresses)

    def stop(self) -> None:
        """Close the ring and its descriptors."""
        if self.ring is not None:
            self.ring.close()
            self.ring = None
        for request in tuple(self.descriptors):
            self.set_descriptor(request, None)


def loop_back(vrings: Sequence[VringSetup], transmit: int, inflight: InflightBuffer | None) -> int:
    """Send every waiting frame of a transmit ring back on the receive ring of its pair; without room it is lost.

    Returns how many were sent back.
    """
    source, target = vrings[transmit], vrings[transmit - 1]
    frames = 0
    if source.ring is None:
        return frames
    for _ in range(source.ring.pending(source.base)):
        head = _take(transmit, source, source.ring, inflight)
        frame = b"".join(bytes(part[:FRAME_LIMIT]) for part, writable in source.ring.chain(head) if not writable)
        if source.enabled and target.enabled and target.ring and target.ring.pending(target.base):
            into = _take(transmit - 1, target, target.ring, inflight)
            written = 0
            for part, writable in target.ring.chain(into):
                rest = frame[written : written + len(part)] if writable else b""
                part[: len(rest)] = rest
                written += len(rest)
            _give_back(transmit - 1, target, target.ring, into, written, inflight)
            frames += 1
        _give_back(transmit, source, source.ring, head, 0, inflight)
    return frames


def _take(index: int, vring: VringSetup, ring: SplitRing, inflight: InflightBuffer | None) -> int:
    head = ring.head(vring.base)
    vring.base = (vring.base + 1) & 0xFFFF
    if inflight is not None:
        inflight.begin(index, head)
    return head


def _give_back(
    index: int, vring: VringSetup, ring: SplitRing, head: int, written: int, inflight: InflightBuffer | None
) -> None:
    used = ring.give_back(head, written)
    if inflight is not None:
        inflight.finish(index, head, used)
    call = vring.descriptors.get(FrontendRequest.SET_VRING_CALL)
    if call is not None and _writable(call):
        with contextlib.suppress(OSError):
            os.write(call, (1).to_bytes(8, "little"))


def _writable(fd: int) -> bool:
    """Whether a write would not block: a call descriptor may be a full pipe."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))
