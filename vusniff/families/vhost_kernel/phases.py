"""The phases of a session of calls: those of vhost-user, by the requests that mean the same.

Binding a ring to its tap starts it, as SET_VRING_KICK does there; unbinding it stops it, as GET_VRING_BASE does there.
A vDPA device starts with DRIVER_OK in its status, and stops when that is taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from vusniff.channel import Channel
from vusniff.families.phase import Phase, PhaseKind
from vusniff.families.vhost_kernel.protocol import USER, Control, Ioctl
from vusniff.families.vhost_user.phases import Phases
from vusniff.families.vhost_user.protocol import Channels, FrontendRequest

_I, _F, _C = Ioctl, FrontendRequest, Control
_NO_FD = 0xFFFFFFFF
_DRIVER_OK = 4
_SECOND = frozenset({_I.NET_SET_BACKEND, _I.VDPA_SET_VRING_ENABLE})
"""Calls whose value is the second word: the descriptor, or whether it is enabled."""
_CONTROLS = frozenset(Control)
_STATUS = frozenset({_I.VDPA_SET_STATUS, _C.VDUSE_SET_STATUS})
_MEANS = {
    **USER,
    _I.GET_VRING_BASE: 0,
    _I.SET_VRING_KICK: _F.SET_VRING_ADDR,
    _I.GET_BACKEND_FEATURES: _F.GET_PROTOCOL_FEATURES,
    _I.SET_BACKEND_FEATURES: _F.SET_PROTOCOL_FEATURES,
    _I.SCSI_SET_ENDPOINT: _F.SET_VRING_KICK,
    _I.SCSI_CLEAR_ENDPOINT: _F.GET_VRING_BASE,
    _I.VDPA_SUSPEND: _F.GET_VRING_BASE,
    _I.VDPA_RESUME: _F.SET_VRING_KICK,
    _I.VDUSE_GET_API_VERSION: _F.GET_PROTOCOL_FEATURES,
    _I.VDUSE_SET_API_VERSION: _F.SET_PROTOCOL_FEATURES,
    _I.VDUSE_CREATE_DEV: _F.SET_OWNER,
    _I.VDUSE_DESTROY_DEV: _F.GET_VRING_BASE,
    _I.VDUSE_VQ_SETUP: _F.SET_OWNER,
    _I.VDUSE_DEV_GET_FEATURES: _F.GET_FEATURES,
}
"""Call -> the request of vhost-user by which its phase is found; 0, as of any other, is one sent at any time."""


def value_of(request: int, payload: bytes, order: str) -> int | None:
    """The number that a call sets; of NET_SET_BACKEND and VDPA_SET_VRING_ENABLE the second word, of a control message
    of VDUSE the byte behind its head."""
    byte_order = "little" if order == "little" else "big"
    piece = payload[4:8] if request in _SECOND else payload[24:25] if request in _CONTROLS else payload[:8]
    return int.from_bytes(piece, byte_order) if piece else None  # type: ignore[arg-type]


class KernelPhases:
    """The phases of one session, fed with its calls in their order."""

    def __init__(
        self,
        value: Callable[[int], int | None],
        opened_ns: int | None = None,
        *,
        previous_end_ns: int | None = None,
        joined_late: bool = False,
    ) -> None:
        """As `vusniff.families.vhost_user.phases.Phases`."""
        self._value = value
        self._driven = joined_late
        """The device status has DRIVER_OK, or may have."""
        self._phases = Phases(value, opened_ns, previous_end_ns=previous_end_ns, joined_late=joined_late)

    def follow(self, messages: Iterable[tuple[int, int, int, int, Channel]]) -> None:
        """Number, time in nanoseconds, request, flags and channel of each call."""
        self._phases.follow(self._as_user(messages))

    def _as_user(
        self, messages: Iterable[tuple[int, int, int, int, Channel]]
    ) -> Iterator[tuple[int, int, int, int, Channel]]:
        for number, time_ns, request, _, _ in messages:
            user: int = _MEANS.get(request, 0)
            if request == _I.NET_SET_BACKEND:
                user = _F.GET_VRING_BASE if self._value(number) == _NO_FD else _F.SET_VRING_KICK
            elif request == _I.VSOCK_SET_RUNNING:
                user = _F.SET_VRING_KICK if self._value(number) else _F.GET_VRING_BASE
            elif request in _STATUS:
                user = self._by_status(self._value(number) or 0)
            yield number, time_ns, user, 0, Channels.MAIN

    def _by_status(self, status: int) -> int:
        """What a device status means: DRIVER_OK starts the device, and 0 stops one that was started."""
        driven, self._driven = self._driven, bool(status & _DRIVER_OK)
        if self._driven != driven:
            return _F.SET_VRING_KICK if self._driven else _F.GET_VRING_BASE
        return _F.SET_STATUS

    @property
    def kind(self) -> PhaseKind | None:
        """The phase that the last call belongs to."""
        return self._phases.kind

    def phases(self, now_ns: int = 0, closed_ns: int | None = None) -> tuple[Phase, ...]:
        """All so far."""
        return self._phases.phases(now_ns, closed_ns)
