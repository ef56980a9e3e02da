"""From system calls to vhost devices of the kernel: ioctls on /dev/vhost-*, /dev/vhost-vdpa-* and /dev/vduse/*.

Owns what strace prints of such an ioctl. strace 6.1 prints the name, the address of the argument and the result; what
the argument held is unknown then. Numbers and structures that a version prints are taken (`_STRUCTURES`).

All descriptors of a node that a process has are one device: a log does not say which tap each of them is for.
"""

from __future__ import annotations

import errno
import struct

from vusniff.families.vhost_kernel.protocol import IOCTLS, Ioctl
from vusniff.record import Call, Descriptor, Facts
from vusniff.sources.host.kernel_devices import family_of_node, family_of_request
from vusniff.sources.strace.log import Fd, StringValue, TracedCall, Value, parse_fd
from vusniff.sources.strace.sockets import describe
from vusniff.values import dataclass, field

_I = Ioctl
_STATE, _FILE = (("index", "num"), "II"), (("index", "fd"), "Ii")
_STRUCTURES: dict[int, tuple[tuple[str, ...], str]] = {
    **dict.fromkeys((_I.SET_VRING_NUM, _I.SET_VRING_BASE, _I.GET_VRING_BASE, _I.SET_VRING_ENDIAN), _STATE),
    _I.VDPA_SET_VRING_ENABLE: _STATE,
    **dict.fromkeys((_I.SET_VRING_KICK, _I.SET_VRING_CALL, _I.SET_VRING_ERR, _I.NET_SET_BACKEND), _FILE),
    _I.SET_VRING_ADDR: (
        ("index", "flags", "desc_user_addr", "used_user_addr", "avail_user_addr", "log_guest_addr"),
        "II4Q",
    ),
}
"""Names of the fields as the header has them, and how they are packed."""


@dataclass(frozen=True, slots=True)
class TracedDeviceCall:
    """An ioctl on a device, and where the log has it."""

    log: int
    line: int
    time_ns: int | None
    call: Call


@dataclass(slots=True)
class TracedDevice:
    """One device as one process has it."""

    path: str
    family: str
    pid: int | None
    comm: str
    calls: list[TracedDeviceCall] = field(default_factory=list)
    open: set[int] = field(default_factory=set)
    """Numbers of its descriptors."""
    closed: tuple[int, int, int | None] | None = None
    """Log, line and time of the close of the last of them."""


class TracedDevices:
    """All devices of some logs."""

    def __init__(self, order: str) -> None:
        self.all: dict[tuple[int, str], TracedDevice] = {}
        self.unread = 0
        """Arguments that strace did not print."""
        self._order = "<" if order == "little" else ">"

    def take(self, traced: TracedCall, log: int) -> None:
        """Learn from one call of log number ``log``."""
        if traced.name == "close":
            self._close(traced, log)
            return
        fd = parse_fd(traced.args[0]) if traced.args else None
        said = traced.args[1] if len(traced.args) > 1 else ""
        if fd is None or not isinstance(said, str):
            return
        name = said.removeprefix("VHOST_")
        request = IOCTLS.get(name)
        if request is None or (said == name and not name.startswith("VDUSE_")):
            return
        device = self._device(fd, request, name, traced, log)
        argument = traced.args[2] if len(traced.args) > 2 else ""
        data, missing, passed = self._argument(request, argument)
        self.unread += missing > 0
        error = getattr(errno, traced.error, 0) if traced.error else 0
        took = (traced.ended_ns or 0) - (traced.began_ns or 0) if traced.began_ns is not None else 0
        came_back = request >> 30 == 2 and not error
        call = Call(
            0, 0, request, data, came_back, traced.result, error, fd.number, max(took, 0), Facts(passed), missing
        )
        device.calls.append(TracedDeviceCall(log, traced.began, traced.began_ns, call))
        device.open.add(fd.number)
        device.closed = None

    def _device(self, fd: Fd, request: int, name: str, traced: TracedCall, log: int) -> TracedDevice:
        path = fd.target or f"fd {fd.number}"
        family = family_of_node(path) or family_of_request(request, name)
        key = log if traced.tid is None else traced.tid
        device = self.all.get((key, path))
        if device is None:
            device = self.all[key, path] = TracedDevice(path, family, traced.tid, traced.comm)
        return device

    def _close(self, traced: TracedCall, log: int) -> None:
        fd = parse_fd(traced.args[0]) if traced.args else None
        if fd is None:
            return
        for device in self.all.values():
            same = fd.target == device.path if fd.target is not None else device.path == f"fd {fd.number}"
            if same and fd.number in device.open:
                device.open.discard(fd.number)
                if not device.open:
                    device.closed = log, traced.ended, traced.ended_ns

    def _argument(self, request: int, argument: Value) -> tuple[bytes, int, tuple[Descriptor, ...]]:
        """The bytes of an argument, how many are unknown, and the descriptor that it names."""
        size = request >> 16 & 0x3FFF
        if not size:
            return b"", 0, ()
        if isinstance(argument, StringValue):
            return argument.data[:size], max(size - len(argument.data), 0), ()
        found = _STRUCTURES.get(request)
        if isinstance(argument, dict) and found is not None:
            names, packing = found
            passed = [parse_fd(argument.get("fd", ""))] if "fd" in names else []
            numbers = [
                passed[0].number if name == "fd" and passed[0] else _number(argument.get(name)) for name in names
            ]
            if None not in numbers:
                kept = tuple(describe(one, True) for one in passed if one is not None and one.number >= 0)
                try:
                    return struct.pack(self._order + packing, *numbers), 0, kept
                except struct.error:
                    return b"", size, ()
        value = _number(argument[0]) if isinstance(argument, list) and len(argument) == 1 else None
        if value is not None and size in (1, 2, 4, 8) and 0 <= value < 1 << 8 * size:
            return value.to_bytes(size, "little" if self._order == "<" else "big"), 0, ()
        return b"", size, ()


def _number(value: Value | None) -> int | None:
    """A number as it is printed."""
    if not isinstance(value, str) or len(value) > 20:
        return None
    try:
        return int(value.split("<")[0], 0)
    except ValueError:
        return None
