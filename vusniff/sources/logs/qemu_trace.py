"""QEMU's tracing of vhost-user (``-trace 'vhost_user*'``): its log, or a simple trace as text; pid@time or not.

Events: hw/virtio/trace-events, the same from QEMU 2.12 to 10.0: vhost_user_write and vhost_user_read (request and flags
of each message), vhost_user_set_mem_table_withfd (regions, before the SET_MEM_TABLE they are of, in postcopy only after
it is filled), vhost_user_create_notifier. Several devices of one QEMU cannot be told apart.
"""

from __future__ import annotations

import re

from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.sources.logs.facts import FRONTEND, Fact, LoggedMessage, LoggedText
from vusniff.sources.logs.prefix import Line

MARK = re.compile(rb"vhost|qemu")
REGIONS = 64
_EVENT = re.compile(
    r"(?:^|\s)vhost_user_(read|write) (?:[\d.]+ pid=\d+ )?req[:=](0x[0-9a-f]{1,8}|\d{1,10}) flags[:=]0x([0-9a-f]{1,8})$"
)
_REGION = re.compile(
    r"(?:^|\s)vhost_user_set_mem_table_withfd (?P<index>\d+):.{1,200}: size:0x(?P<size>[0-9a-f]+) "
    r"GPA:0x(?P<guest>[0-9a-f]+) QVA/userspace:0x(?P<user>[0-9a-f]+) RB offset:0x(?P<offset>[0-9a-f]+)$"
)
REPLY = 0x4


class QemuTrace:
    """One log."""

    writer = FRONTEND
    program = "QEMU"

    def __init__(self) -> None:
        self._regions: list[dict[str, int]] = []

    def feed(self, line: Line) -> list[Fact]:
        """What a line tells."""
        key = f"QEMU {line.pid}" if line.pid is not None else "QEMU"
        found = _REGION.search(line.text)
        if found:
            if found["index"] == "0":
                self._regions = []
            if len(self._regions) < REGIONS:
                names = {"guest_address": "guest", "size": "size", "user_address": "user", "mmap_offset": "offset"}
                self._regions.append({name: int(found[group], 16) for name, group in names.items()})
            return []
        found = _EVENT.search(line.text)
        if found is None:
            return [LoggedText(line, key)]
        request, flags = int(found[2], 0), int(found[3], 16)
        if request > 0xFFFFFFFF or flags > 0xFFFFFFFF:
            return [LoggedText(line, key)]
        message = LoggedMessage(line, key, request, found[1] == "read" and bool(flags & REPLY), flags=flags)
        if request == F.SET_MEM_TABLE and not message.reply and self._regions:
            regions, self._regions = self._regions, []
            message.values = {"num_regions": len(regions), "padding": 0, "regions": regions}
            message.descriptors = len(regions)
        return [message]

    def finish(self) -> list[Fact]:
        """Nothing waits."""
        return []
