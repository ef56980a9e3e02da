"""The phases of a session of calls: those of vhost-user, by the requests that mean the same.

Binding a ring to its tap starts it, as SET_VRING_KICK does there; unbinding it stops it, as GET_VRING_BASE does there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from vusniff.channel import Channel
from vusniff.families.vhost_kernel.protocol import USER, Control, Ioctl
from vusniff.families.vhost_user.phases import Phase, Phases
from vusniff.families.vhost_user.protocol import Channels, FrontendRequest

_I, _F = Ioctl, FrontendRequest
_NO_FD = 0xFFFFFFFF
_SECOND = frozenset({_I.NET_SET_BACKEND, _I.VDPA_SET_VRING_ENABLE})
"""Calls whose value is the second word: the descriptor, or whether it is enabled."""
_MEANS = {
    **USER,
    _I.GET_BACKEND_FEATURES: _F.GET_PROTOCOL_FEATURES,
    _I.SET_BACKEND_FEATURES: _F.SET_PROTOCOL_FEATURES,
    _I.SCSI_SET_ENDPOINT: _F.SET_VRING_KICK,
    _I.SCSI_CLEAR_ENDPOINT: _F.GET_VRING_BASE,
    _I.VDPA_SUSPEND: _F.GET_VRING_BASE,
    _I.VDPA_RESUME: _F.SET_VRING_KICK,
    _I.VDUSE_CREATE_DEV: _F.GET_QUEUE_NUM,
    _I.VDUSE_VQ_SETUP: _F.SET_OWNER,
    _I.VDUSE_DEV_GET_FEATURES: _F.SET_FEATURES,
    _I.VDUSE_VQ_GET_INFO: _F.SET_VRING_ADDR,
    _I.VDUSE_VQ_SETUP_KICKFD: _F.SET_VRING_KICK,
    Control.VDUSE_SET_STATUS: _F.SET_STATUS,
    Control.VDUSE_GET_VQ_STATE: _F.GET_VRING_BASE,
}


def value_of(request: int, payload: bytes, order: str) -> int | None:
    """The number that a call sets; of NET_SET_BACKEND and VDPA_SET_VRING_ENABLE the second word, of a control message
    of VDUSE the word behind its head."""
    byte_order = "little" if order == "little" else "big"
    piece = payload[4:8] if request in _SECOND else payload[24:25] if request in tuple(Control) else payload[:8]
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
            elif request == _I.GET_VRING_BASE:
                user = 0  # it stops nothing
            elif request == _I.SET_VRING_KICK:
                user = _F.SET_VRING_ADDR
            yield number, time_ns, user, 0, Channels.MAIN

    def phases(self, now_ns: int = 0, closed_ns: int | None = None) -> tuple[Phase, ...]:
        """All so far."""
        return self._phases.phases(now_ns, closed_ns)
