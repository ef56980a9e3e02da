"""The debug dump of libvhost-user (DEBUG of libvhost-user.c; vhost-user-bridge, contrib, qemu-storage-daemon).

Each message begins with a line of ``=`` and ``Vhost user message``, then its request, flags, size and descriptors, and
what its handler prints: subprojects/libvhost-user/libvhost-user.c of QEMU 5.2 to 10.0. There are no times. When the
front-end hangs up, the message that did not come is printed with request, flags and size 0.
"""

from __future__ import annotations

import re

from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.sources.logs.facts import BACKEND, FRONTEND, Fact, LoggedEnd, LoggedMessage, LoggedText
from vusniff.sources.logs.prefix import Line

MARK = None
"""All of it is about vhost-user."""
REGIONS = 600
LINES = 256
NOTHING = 0
"""VHOST_USER_NONE."""
KEY = "libvhost-user"
_BEGIN = re.compile(r"=+ Vhost user message =+$")
_REQUEST = re.compile(r"Request: \w+ \((\d{1,9})\)$")
_FLAGS = re.compile(r"Flags: +0x([0-9a-f]{1,8})$")
_SIZE = re.compile(r"Size: +(\d{1,9})$")
_FDS = re.compile(r"Fds:((?: -?\d+)+)$")
_REPLY = re.compile(r"Sending back to guest u64: 0x([0-9a-f]{1,16})$")
_U64 = re.compile(r"u64: +0x([0-9a-f]{1,16})$")
_STATE = re.compile(r"State\.(index|num|enable): +(\d{1,10})$")
_ADDRESS = re.compile(r"(index|flags|(?:desc|used|avail)_user_addr|log_guest_addr): +(0x[0-9a-f]{1,16}|\d{1,10})$")
_REGION = re.compile(r"(guest_phys_addr|memory_size|userspace_addr|(?:old )?mmap_offset):? +0x([0-9a-f]{1,16})$")
_COUNT = re.compile(r"Nregions: (\d{1,5})$")
_FILE = re.compile(r"Got (kick|call)_fd: (-?\d+) for vq: (\d{1,5})$")
_LOG = re.compile(r"Log mmap_(offset|size): +(\d{1,19})$")
_INFLIGHT = re.compile(
    r"(?:set_inflight_fd|(send) inflight) (mmap_size|mmap[_ ]offset|num_queues|queue_size): (\d{1,19})$"
)
_ADDRESSES = {
    "index": "index",
    "flags": "flags",
    "desc_user_addr": "descriptor",
    "used_user_addr": "used",
    "avail_user_addr": "available",
    "log_guest_addr": "log",
}
_REGIONS = {
    "guest_phys_addr": "guest_address",
    "memory_size": "size",
    "userspace_addr": "user_address",
    "mmap_offset": "mmap_offset",
    "old mmap_offset": "mmap_offset",
}
TAKES_U64 = frozenset({F.SET_FEATURES, F.SET_PROTOCOL_FEATURES, F.SET_VRING_KICK, F.SET_VRING_CALL, F.SET_VRING_ERR})
GIVES_U64 = frozenset({F.GET_PROTOCOL_FEATURES, F.GET_QUEUE_NUM, F.GET_MAX_MEM_SLOTS})


class LibvhostUser:
    """One log."""

    writer = BACKEND
    program = "libvhost-user"

    def __init__(self) -> None:
        self._message: LoggedMessage | None = None
        self._reply: LoggedMessage | None = None
        self._said: list[Fact] = []
        self._begun: Line | None = None
        """The line that begins a message whose request has not come yet."""

    def feed(self, line: Line) -> list[Fact]:
        """What a line tells, together with what it completes."""
        text = line.text
        if _BEGIN.search(text):
            done = self.finish()
            self._begun = line
            return done
        found = _REQUEST.match(text)
        if found and self._begun is not None:
            self._message, self._begun = LoggedMessage(self._begun, KEY, int(found[1])), None
            return []
        message = self._message
        if message is None:
            return [LoggedText(line)] if text else []
        if not self._tells(message, text, line) and text and len(self._said) < LINES:
            self._said.append(LoggedText(line, KEY))
        return []

    def finish(self) -> list[Fact]:
        """The last message with its reply, and the lines behind it."""
        message, reply, said = self._message, self._reply, self._said
        self._message, self._reply, self._said = None, None, []
        if message is None:
            return said
        if message.request == NOTHING and not message.flags and not message.size:
            return [*said, LoggedEnd(message.line, KEY, FRONTEND, "eof")]
        regions = message.values.get("regions")
        if message.request == F.SET_MEM_TABLE and regions is not None:
            whole = message.values.get("num_regions") == len(regions) and all(len(one) == 4 for one in regions)
            message.values |= {"padding": 0} if whole else {}
        return [message, *([reply] if reply else []), *said]

    def _tells(self, message: LoggedMessage, text: str, line: Line) -> bool:
        """Whether a line says something of the message."""
        values = message.values
        for pattern, base, name in ((_FLAGS, 16, "flags"), (_SIZE, 10, "size")):
            if found := pattern.match(text):
                setattr(message, name, int(found[1], base))
                return True
        if found := _FDS.match(text):
            message.descriptors = min(len(found[1].split()), 64)
        elif found := _REPLY.match(text):
            self._answer(message, line, int(found[1], 16))
        elif (found := _U64.match(text)) and message.request in TAKES_U64:
            values["u64"] = int(found[1], 16)
        elif found and message.request in GIVES_U64:
            self._answer(message, line, int(found[1], 16))
        elif found := _STATE.match(text):
            values["num" if found[1] == "enable" else found[1]] = int(found[2])
        elif message.request == F.SET_VRING_ADDR and (found := _ADDRESS.match(text)):
            values[_ADDRESSES[found[1]]] = int(found[2], 0)
        elif message.request == F.SET_MEM_TABLE and (found := _COUNT.match(text)):
            values |= {"num_regions": int(found[1]), "regions": []}
        elif found := _REGION.match(text):
            self._region(message, _REGIONS[found[1]], int(found[2], 16))
        elif found := _FILE.match(text):
            values.setdefault("u64", int(found[3]) | (0 if message.descriptors else 0x100))
        elif message.request == F.SET_LOG_BASE and (found := _LOG.match(text)):
            values[f"log_{found[1]}"] = int(found[2])
        elif found := _INFLIGHT.match(text):
            if found[1] and self._reply is None:
                self._reply = LoggedMessage(line, KEY, message.request, True)
            said_of = self._reply.values if found[1] and self._reply else values
            said_of[found[2].replace(" ", "_")] = int(found[3])
        else:
            return text.startswith(("Adding region", "vhost_vring_addr:", "Removing region"))
        return True

    def _answer(self, message: LoggedMessage, line: Line, value: int) -> None:
        self._reply = LoggedMessage(line, KEY, message.request, True, {"u64": value})

    def _region(self, message: LoggedMessage, name: str, value: int) -> None:
        if message.request in (F.ADD_MEM_REG, F.REM_MEM_REG):
            message.values.setdefault(name, value)
            message.values.setdefault("padding", 0)
        elif message.request == F.SET_MEM_TABLE:
            regions = message.values.setdefault("regions", [])
            if (not regions or name in regions[-1]) and len(regions) < REGIONS:
                regions.append({})
            if regions:
                regions[-1].setdefault(name, value)
