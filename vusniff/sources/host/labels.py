"""What the user calls a process and its socket: read from the command line of QEMU, testpmd and similar programs.

Knows command lines; must not know sockets beyond their path. Any command line gives a name or None.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from itertools import pairwise

from vusniff.families.registry import FIRST, families
from vusniff.sources.host import ovs
from vusniff.values import dataclass, field

_LIMIT = 1 << 20
"""Bytes of a command line that are read."""
_VHOST_USER_NETDEV = "vhost-user"
_VHOST_USER_DEVICE = re.compile(r"vhost-user|vhost-vdpa-device")
_NAMES = {"vpp_main": "vpp"}
"""Programs that serve many sockets and are known by a name."""
_SWITCHES = ("ovs-vswitchd", "ovs-vswitchd-dpdk")
_STORAGE_DAEMON = "qemu-storage-daemon"
_CRYPTODEV = "cryptodev-vhost-user"
_DRIVER = re.compile(r"vhost-user-([a-z0-9]+)")
_TYPES = {"snd": "sound", "vga": "gpu", "rng": "rng", "bridge": "net"}
"""Words in the names of QEMU's devices that are not those of their types."""
_UNTYPED = frozenset({"device", "base", "test"})
"""QEMU's devices of any type: ``virtio-id`` says which."""
_VIRTIO_IDS = {
    1: "net",
    2: "blk",
    3: "console",
    4: "rng",
    8: "scsi",
    9: "9p",
    16: "gpu",
    17: "rtc",
    18: "input",
    19: "vsock",
    20: "crypto",
    24: "mem",
    25: "sound",
    26: "fs",
    28: "rpmb",
    32: "scmi",
    34: "i2c",
    36: "can",
    40: "bluetooth",
    41: "gpio",
    45: "spi",
    48: "media",
}
"""Numbers of device types (virtio specification, "Device Types")."""


@dataclass(frozen=True, slots=True)
class Chardev:
    """A socket of QEMU: a character device, or one that a device has without one (`Family.qemu`)."""

    id: str
    path: str | None
    fd: int | None
    """Number of the descriptor, where the socket was handed to QEMU."""
    users: tuple[str, ...] = ()
    """Ids of the netdevs and devices that speak `family` over it."""
    family: str | None = None
    """The protocol that is spoken over it; None for a character device that nothing of the kind uses."""
    type: str | None = None
    """Type of the device that uses it, where the command line tells."""


@dataclass(frozen=True, slots=True)
class Qemu:
    """What a QEMU command line says of sockets that a family is spoken on."""

    name: str | None
    chardevs: tuple[Chardev, ...] = field(default=())


def command_line(pid: int) -> tuple[str, ...]:
    """Arguments of a process; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            data = file.read(_LIMIT)
    except OSError:
        return ()
    return tuple(part.decode(errors="backslashreplace") for part in data.rstrip(b"\0").split(b"\0")) if data else ()


def parse_qemu(arguments: tuple[str, ...]) -> Qemu | None:
    """The VM's name and its vhost-user sockets; None when this is not QEMU."""
    if not arguments or not os.path.basename(arguments[0]).startswith(("qemu-system", "qemu-kvm", "kvm")):
        return None
    name: str | None = None
    chardevs: dict[str, dict[str, str]] = {}
    users: dict[str, list[str]] = {}
    types: dict[str, str | None] = {}
    vhost_user: set[str] = set()
    direct: list[Chardev] = []
    devices = {device: (family.name, path) for family in families().values() for device, path in family.qemu.items()}
    for option, value in qemu_options(arguments):
        properties = qemu_properties(value)
        if option == "name":
            name = properties.get("guest") or properties.get("") or None
        elif option == "chardev" and properties.get("", properties.get("backend")) == "socket" and "id" in properties:
            chardevs[properties["id"]] = properties
        elif option == "device" and (kind := properties.get("") or properties.get("driver", "")) in devices:
            family, path = devices[kind]
            key = properties.get("id") or kind
            direct.append(Chardev(key, properties.get(path), None, (key,), family))
        elif option in ("netdev", "device", "object") and "chardev" in properties:
            kind = properties.get("") or properties.get("type") or properties.get("driver") or ""
            kind = kind or properties.get("qom-type", "")
            if kind in (_VHOST_USER_NETDEV, _CRYPTODEV) or (option == "device" and _VHOST_USER_DEVICE.match(kind)):
                vhost_user.add(properties["chardev"])
                types.setdefault(properties["chardev"], _type_of(option, kind, properties))
                users.setdefault(properties["chardev"], []).append(properties.get("id") or kind)
    return Qemu(
        name,
        tuple(
            Chardev(
                key,
                _path(value),
                _number(value.get("fd") or value.get("addr.str")),
                tuple(users.get(key, ())),
                FIRST if key in vhost_user else None,
                types.get(key),
            )
            for key, value in chardevs.items()
        )
        + tuple(direct),
    )


def _type_of(option: str, kind: str, properties: dict[str, str]) -> str | None:
    """The type of a device that speaks vhost-user: of a netdev it is net, others have it in their name."""
    if option == "netdev":
        return "net"
    if option == "object":
        return "crypto"
    match = _DRIVER.match(kind)
    if match is None or match[1] in _UNTYPED:
        return _VIRTIO_IDS.get(_number(properties.get("virtio-id")) or 0)
    return _TYPES.get(match[1], match[1])


def label(pid: int, path: str | None, fds: frozenset[int] = frozenset()) -> str | None:
    """``vm1 hostnet1 (net)``, ``ovs-vswitchd vhost1``, ``testpmd net_vhost0``; None when the command line says nothing.

    The type in parentheses is that of QEMU's device, by its command line.
    """
    arguments = command_line(pid)
    if not arguments:
        return None
    if (qemu := parse_qemu(arguments)) is not None:
        for chardev in qemu.chardevs:
            if same_path(chardev.path, path, pid) or chardev.fd in fds:
                user = " ".join(chardev.users) or chardev.id
                user += f" ({chardev.type})" if chardev.type else ""
                return f"{qemu.name} {user}" if qemu.name else user
        return qemu.name
    program = os.path.basename(arguments[0])
    if program in _SWITCHES:
        return ovs.port_label(pid, arguments, path)
    if program in _NAMES:
        return _NAMES[program]
    for device in vdevs(arguments):
        if same_path(device.get("iface") or device.get("path"), path, pid):
            return f"{program.removeprefix('dpdk-')} {device['']}"
    return None


def vdevs(arguments: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The virtual devices of a DPDK command line; the name is under the empty key."""
    for i, argument in enumerate(arguments):
        if argument == "--vdev" and i + 1 < len(arguments):
            yield qemu_properties(arguments[i + 1])
        elif argument.startswith("--vdev="):
            yield qemu_properties(argument.removeprefix("--vdev="))


def vm_name(pid: int) -> str | None:
    """Name of the VM that this process runs."""
    qemu = parse_qemu(command_line(pid))
    return qemu.name if qemu else None


def names_path(arguments: tuple[str, ...], path: str) -> str | None:
    """The family that is spoken over this socket, by a command line of a known program; None: nothing says so."""
    if not arguments:
        return None
    if (qemu := parse_qemu(arguments)) is not None:
        return next((one.family for one in qemu.chardevs if one.family and same_path(one.path, path)), None)
    if os.path.basename(arguments[0]).startswith(_STORAGE_DAEMON):  # its monitor and its NBD server have sockets too
        arguments = tuple(value for option, value in _pairs(arguments) if option == "export")
    text = "\n".join(arguments)
    known = path in text and re.search(r"vhost|virtio_user|virtiofsd|--socket-path|--vhost-user", text)
    return FIRST if known else None


def names_otherwise(arguments: tuple[str, ...], path: str | None) -> bool:
    """Whether QEMU's command line, or that of its storage daemon, has this socket for something else: a monitor."""
    if not path or not arguments or not os.path.basename(arguments[0]).startswith("qemu-"):
        return False
    named = any(re.search(rf"(?:^|[=:]){re.escape(path)}(?:,|$)", one) for one in arguments)
    return named and names_path(arguments, path) is None


def _pairs(arguments: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Options with their values, as ``--name value`` or ``--name=value``."""
    for word, following in pairwise((*arguments[1:], "")):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            yield name, value if equals else following


def same_path(named: str | None, path: str | None, pid: int | None = None) -> bool:
    """Whether a path on a command line, perhaps relative to the process, is the bound path."""
    if not named or not path:
        return False
    if named == path:
        return True
    if pid is None or path.startswith("@"):
        return False
    try:
        return os.path.normpath(os.path.join(os.readlink(f"/proc/{pid}/cwd"), named)) == os.path.normpath(path)
    except OSError:
        return False


def qemu_options(arguments: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """QEMU's options with their values."""
    for option, value in pairwise((*arguments[1:], "")):
        if option.startswith("-") and not value.startswith("-"):
            yield option.lstrip("-"), value


def qemu_properties(value: str) -> dict[str, str]:
    """``key=value`` pairs, the first word without one under the empty key; or the same as a JSON object."""
    if value.startswith("{"):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return {}
        return {str(key): str(inner) for key, inner in _flat(found, "").items()} if isinstance(found, dict) else {}
    out: dict[str, str] = {}
    for i, part in enumerate(re.split(r"(?<!,),(?!,)", value)):
        key, equals, rest = part.replace(",,", ",").partition("=")
        if equals:
            out[key] = rest
        elif i == 0:
            out[""] = key
    return out


def _flat(value: dict[str, object], prefix: str, depth: int = 0) -> dict[str, object]:
    out: dict[str, object] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and depth < 4:
            out |= _flat(inner, f"{prefix}{key}.", depth + 1)
        else:
            out[f"{prefix}{key}"] = inner
    return out


def _path(properties: dict[str, str]) -> str | None:
    path = properties.get("path") or properties.get("addr.path")
    if path and properties.get("abstract") in ("on", "True", "true"):
        return "@" + path
    return path


def _number(value: str | None) -> int | None:
    return int(value) if value and value.isdecimal() and len(value) < 8 else None
