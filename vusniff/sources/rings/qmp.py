"""Rings of a device that was set up before anybody watched: QEMU's monitor tells where they are in its own memory.

``x-query-virtio``, ``x-query-virtio-status`` and ``x-query-virtio-vhost-queue-status`` (QEMU 7.2 and later, marked
unstable there; qapi/virtio.json) give the features by name, and of each ring of a device that vhost serves its size and
the addresses of its three areas in QEMU's own space. What the monitor says of indexes is not live and not used. A
monitor speaks to one client at a time: libvirt is asked for those that it has (`libvirt`); one that another program has
does not answer, which is told.

What a monitor says is believed only in form: numbers in range, a bounded answer in bounded time.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from vusniff.families.places import SIZE_LIMIT, MemoryRegion, Places, RingPlace, Spot
from vusniff.record import Descriptor
from vusniff.sources.host import labels
from vusniff.sources.rings import libvirt

SECONDS = 2.0
"""How long an answer may take."""
MONITOR_SECONDS = 5.0
"""How long all answers of a monitor may take: thousands are asked for."""
MONITORS = 8
"""Monitors of a process that are asked: its command line may name any number."""
ANSWER_LIMIT = 4 << 20
"""Bytes of an answer, with the events before it."""
DEVICES = 64
QUEUES = 1024
_NAME_LIMIT = 1024
"""Characters of a name that anything has."""
_ADDRESS_LIMIT = 1 << 47
_BACKEND = "/virtio-backend"


class MonitorError(Exception):
    """A monitor that cannot be asked, and why: the end of a sentence that begins with its path."""


class MonitoredDevice(NamedTuple):
    """A device that vhost serves, as a monitor tells of it."""

    pid: int
    """Of its QEMU."""
    name: str
    """Its path in QEMU's object tree."""
    users: frozenset[str]
    """Ids of its netdev and its character device."""
    places: Places


class Monitor:
    """A connection to a monitor. Raises `MonitorError`."""

    def __init__(self, path: str, pid: int | None = None) -> None:
        """``pid``: who must listen there. Nothing is said to anybody else, whatever a command line names."""
        self._link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._rest = b""
        self._until = time.monotonic() + MONITOR_SECONDS
        try:
            self._link.settimeout(SECONDS)
            self._link.connect("\0" + path[1:] if path.startswith("@") else path)
            who = self._link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            self.pid: int = struct.unpack("3i", who)[0]
            """Of QEMU."""
            if pid not in (None, self.pid):
                raise MonitorError("another process listens there")
            self._line(time.monotonic() + SECONDS)
            self.ask("qmp_capabilities")
        except (OSError, ValueError) as error:
            self.close()
            why = "it does not answer; another program may use it" if isinstance(error, TimeoutError) else str(error)
            raise MonitorError(why) from None
        except MonitorError:
            self.close()
            raise

    def close(self) -> None:
        """Leave it to others."""
        self._link.close()

    def ask(self, command: str, **arguments: object) -> Any:
        """What it answers; None for an error."""
        end, taken = min(time.monotonic() + SECONDS, self._until), 0
        try:
            self._link.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            while taken <= ANSWER_LIMIT:
                line = self._line(end)
                taken += len(line)
                answer = json.loads(line)
                if isinstance(answer, dict) and ("return" in answer or "error" in answer):
                    return answer.get("return")
        except TimeoutError:
            raise MonitorError("it does not answer; another program may use it") from None
        except (OSError, ValueError, RecursionError) as error:
            raise MonitorError(str(error)) from None
        raise MonitorError("its answer is too long")

    def _line(self, end: float) -> bytes:
        while b"\n" not in self._rest:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._link.settimeout(left)
            data = self._link.recv(1 << 16)
            if not data or len(self._rest) > ANSWER_LIMIT:
                raise MonitorError("it is not a monitor, or was closed")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line


def monitors(pid: int) -> Iterator[str]:
    """Paths of the monitors that a QEMU's command line gives, as they are from here: the first few of them."""
    return itertools.islice(_monitors(pid), MONITORS)


def _monitors(pid: int) -> Iterator[str]:
    arguments = labels.command_line(pid)
    if labels.parse_qemu(arguments) is None:
        return
    sockets: dict[str, str] = {}
    controls: list[str] = []
    for option, value in labels.qemu_options(arguments):
        said = labels.qemu_properties(value)
        if option == "qmp" and value.startswith("unix:"):
            yield _from(pid, value.removeprefix("unix:").partition(",")[0])
        elif option == "chardev" and said.get("", said.get("backend")) == "socket" and said.get("path"):
            sockets[said.get("id", "")] = said["path"]
        elif option == "mon" and said.get("mode") == "control":
            controls.append(said.get("chardev") or said.get("", ""))
    yield from (_from(pid, sockets[name]) for name in controls if name in sockets)


def _from(pid: int, path: str) -> str:
    """A path of a process, as it is from here: of one in a container by its own root."""
    try:
        path = path if path.startswith("@") else os.path.join(os.readlink(f"/proc/{pid}/cwd"), path)
        apart = os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
    except OSError:
        return path
    return f"/proc/{pid}/root{path}" if apart and path.startswith("/") else path


def devices(path: str, pid: int | None = None) -> list[MonitoredDevice]:
    """The devices that vhost serves in the QEMU behind a monitor, which is process ``pid``. Raises `MonitorError`."""
    return _devices(Monitor(path, pid))


def devices_of_domain(name: str, pid: int) -> list[MonitoredDevice]:
    """The same of a QEMU whose monitor libvirt has. Raises `MonitorError`."""
    try:
        return _devices(libvirt.Domain(name, pid))
    except libvirt.LibvirtError as error:
        raise MonitorError(str(error)) from None


def _devices(monitor: Monitor | libvirt.Domain) -> list[MonitoredDevice]:
    try:
        found = monitor.ask("x-query-virtio")
        if not isinstance(found, list):
            raise MonitorError("it does not know x-query-virtio (QEMU 7.2 and later do)")
        names = [one["path"] for one in found if isinstance(one, dict) and _is_name(one.get("path"))]
        made = (_device(monitor, name) for name in names[:DEVICES])
        return [one for one in made if one is not None]
    except RecursionError:  # what can just be read may not be written any more
        raise MonitorError("its answer is nested too deep") from None
    finally:
        monitor.close()


def _is_name(said: object) -> bool:
    return isinstance(said, str) and 0 < len(said) <= _NAME_LIMIT


def _device(monitor: Monitor | libvirt.Domain, name: str) -> MonitoredDevice | None:
    status = monitor.ask("x-query-virtio-status", path=name)
    if not isinstance(status, dict) or not status.get("vhost-started"):
        return None
    count = status.get("num-vqs")
    features = json.dumps([status.get("guest-features"), _acknowledged(status)])
    rings: list[RingPlace] = []
    regions: list[MemoryRegion] = []
    for index in range(min(count, QUEUES) if type(count) is int else 0):
        said = monitor.ask("x-query-virtio-vhost-queue-status", path=name, queue=index)
        place = _ring(index, said, features, len(regions))
        if place is not None:
            rings.append(place[0])
            regions += place[1]
    parent, users = name.removesuffix(_BACKEND), set()
    for key in ("netdev", "chardev"):
        user = monitor.ask("qom-get", path=parent, property=key)
        if _is_name(user):
            users.add(user)
    why = None if rings else "QEMU's monitor does not tell where its rings are"
    return MonitoredDevice(monitor.pid, name, frozenset(users), Places(tuple(regions), tuple(rings), (), why))


def _acknowledged(status: dict[str, Any]) -> object:
    served = status.get("vhost-dev")
    return served.get("acked-features") if isinstance(served, dict) else None


def _ring(index: int, said: object, features: str, first: int) -> tuple[RingPlace, list[MemoryRegion]] | None:
    """A ring, and its areas as regions whose numbers begin with ``first``."""
    if not isinstance(said, dict):
        return None
    size, starts = said.get("num"), [said.get(key) for key in ("desc", "avail", "used")]
    if type(size) is not int or not 0 < size <= SIZE_LIMIT:
        return None
    is_packed = "VIRTIO_F_RING_PACKED" in features
    lengths = (16 * size, 4, 4) if is_packed else (16 * size, 6 + 2 * size, 6 + 8 * size)
    regions = []
    for start, length in zip(starts, lengths, strict=True):
        if type(start) is not int or not 0 < start < _ADDRESS_LIMIT:
            return None
        regions.append(MemoryRegion(Descriptor(), 0, length, start))
    place = RingPlace(
        index,
        size,
        is_packed,
        Spot(first, 0),
        Spot(first + 1, 0),
        Spot(first + 2, 0),
        "VIRTIO_RING_F_EVENT_IDX" in features or "VIRTIO_F_RING_EVENT_IDX" in features,
        "VIRTIO_F_IN_ORDER" in features,
    )
    return place, regions
