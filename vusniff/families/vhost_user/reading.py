"""What decides how the bytes of a vhost-user session are read, and what its bits are called.

It follows only that, because every line that is printed needs it. The state of the device is in `state`.
"""

from __future__ import annotations

import functools

from vusniff.families.vhost_user.device import Guess, Sure, deduce
from vusniff.families.vhost_user.protocol import F_RING_PACKED, FrontendRequest, ProtocolFeature
from vusniff.message import Context
from vusniff.values import dataclass, replace

_F = FrontendRequest
_CONFIG_HEAD = 12
"""Bytes of GET_CONFIG's payload before the configuration space: offset u32, size u32, flags u32."""

READS = frozenset(
    {
        *((request, False) for request in (_F.SET_FEATURES, _F.SET_PROTOCOL_FEATURES)),
        *((request, False) for request in (_F.POSTCOPY_LISTEN, _F.POSTCOPY_END)),
        *((request, False) for request in (_F.SEND_RARP, _F.NET_SET_MTU, _F.CREATE_CRYPTO_SESSION, _F.GPU_SET_SOCKET)),
        *((request, True) for request in (_F.GET_FEATURES, _F.GET_CONFIG)),
    }
)
"""Request, and whether it is the reply, of the messages that `VhostUserReading.after` learns from."""


@dataclass(frozen=True, slots=True)
class VhostUserReading:
    """What the messages of the main channel have said so far."""

    order: str = "little"
    device: str | None = None
    """Given by the user; else deduced."""
    offered: int | None = None
    features: int | None = None
    protocol_features: int | None = None
    postcopy: bool = False
    """POSTCOPY_LISTEN was sent and POSTCOPY_END was not."""
    config_size: int | None = None
    """Bytes of configuration space that were read."""
    requests: frozenset[int] = frozenset()
    """Requests that tell the type of a device."""
    programs: tuple[str, ...] = ()

    @property
    def context(self) -> Context:
        """What the dissectors are given."""
        return _context(self)

    def has(self, feature: ProtocolFeature, fresh: bool) -> bool | None:
        """Whether a protocol feature is negotiated, in a session that is followed from its first byte or not; None when
        that is unknown."""
        if self.protocol_features is None:
            return False if fresh else None
        return bool(self.protocol_features & feature)

    @property
    def guess(self) -> Guess | None:
        """The device type."""
        return _guess(self)

    def after(self, request: int, is_reply: bool, payload: bytes) -> VhostUserReading:
        """What is known after a message of `READS`; this where it says nothing new."""
        order = "little" if self.order == "little" else "big"
        u64 = int.from_bytes(payload[:8], order) if len(payload) == 8 else None  # type: ignore[arg-type]
        if is_reply:
            if request == _F.GET_FEATURES and u64 is not None:
                return self._with("offered", u64)
            if request == _F.GET_CONFIG and len(payload) > _CONFIG_HEAD:
                end = int.from_bytes(payload[:4], order) + len(payload) - _CONFIG_HEAD  # type: ignore[arg-type]
                return self._with("config_size", max(end, self.config_size or 0))
            return self
        if request == _F.SET_FEATURES:
            return self if u64 is None else self._with("features", u64)
        if request == _F.SET_PROTOCOL_FEATURES:
            return self if u64 is None else self._with("protocol_features", u64)
        if request in (_F.POSTCOPY_LISTEN, _F.POSTCOPY_END):
            return self._with("postcopy", request == _F.POSTCOPY_LISTEN)
        return self._with("requests", self.requests | {request})

    def _with(self, name: str, value: object) -> VhostUserReading:
        """With another value of a field."""
        return self if getattr(self, name) == value else replace(self, **{name: value})  # type: ignore[arg-type]


@functools.lru_cache(maxsize=4096)
def _guess(reading: VhostUserReading) -> Guess | None:
    if reading.device is not None:
        return Guess(reading.device, Sure.GIVEN, ("given by --device",))
    return deduce(reading.offered, reading.config_size, reading.requests, reading.programs)


@functools.lru_cache(maxsize=4096)
def _context(reading: VhostUserReading) -> Context:
    protocol = reading.protocol_features or 0
    guess = _guess(reading)
    return Context(
        order=reading.order,
        xen_mmap=bool(protocol & ProtocolFeature.XEN_MMAP),
        log_shmfd=bool(protocol & ProtocolFeature.LOG_SHMFD),
        packed=None if reading.features is None else bool(reading.features & F_RING_PACKED),
        postcopy=reading.postcopy,
        device=guess.device if guess else None,
    )
