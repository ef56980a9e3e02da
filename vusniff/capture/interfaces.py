"""The interfaces of a file and the connections that they are: numbered over all files of a capture.

Owns which interface is one of ours, and which connection goes on in an interface of a later section.
"""

from __future__ import annotations

from array import array
from typing import Any

from vusniff.capture import facts, pcapng
from vusniff.capture.batch import Batch
from vusniff.capture.options import own, parse
from vusniff.capture.packet import INTERFACE_LIMIT
from vusniff.capture.skipped import Skipped
from vusniff.capture.stacks import Stacks
from vusniff.errors import CaptureError
from vusniff.families.registry import FIRST
from vusniff.meta import pack_meta
from vusniff.record import Connection, FrameKind
from vusniff.values import dataclass

CONNECTION_LIMIT = 1 << 20
"""Connections of a capture: about 1 KiB is kept of each. Packets of further ones are skipped and counted."""
_HELD_LIMIT = 1 << 17
"""Descriptors that were held before a source joined, of all connections: few have any, a few hundred bytes each."""
_MORE_HELD = f"list{{s}} of descriptors that a process held before: there are more than {_HELD_LIMIT} in all"
_SAID: dict[str, Any] = {"vusniff": facts.FORMAT_VERSION}
"""Replaces what an interface of ours said, once it has become a connection."""


@dataclass(slots=True)
class Interface:
    """An interface of the present section."""

    linktype: int
    path: str
    resolution: int
    offset: int
    facts: dict[str, Any]
    """Our option; empty for an interface of somebody else."""
    connection: int | None = None
    """None until it is known to be ours."""


class Ids:
    """The connections of all files of a capture, numbered in the order they are met."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.orders: list[str] = []
        """Byte order of the messages of each."""
        self.stacks = Stacks()
        self.room_for_held = _HELD_LIMIT
        """Held descriptors that are still kept."""

    def order(self, connection: int) -> str:
        """Byte order of a connection's messages."""
        return self.orders[connection - 1]

    def add(self, stated: dict[str, Any], path: str, order: str) -> Connection | None:
        """The connection an interface stands for; None when there are too many."""
        if len(self.connections) >= CONNECTION_LIMIT:
            return None
        connection = facts.parse_connection(stated, len(self.connections) + 1, path, self.room_for_held)
        self.room_for_held -= sum(len(end.held) for end in connection.ends)
        self.connections.append(connection)
        own = stated.get("order")
        self.orders.append(str(own) if own in ("little", "big") else order)
        return connection


class Interfaces:
    """Those of one file, which is called ``name``. Raises CaptureError for one of a newer format."""

    def __init__(self, name: str, ids: Ids, skipped: Skipped) -> None:
        self._name = name
        self._ids = ids
        self._skipped = skipped
        self._begun = array("I")
        """The connections of this file, by their order in it: what interfaces of later sections continue."""
        self.found = False
        """One of ours was found so far."""
        self.begin("little")

    def begin(self, order: str) -> None:
        """A section of this byte order begins."""
        self.order = order
        self.all: list[Interface] = []
        self.bases: dict[int, int] = {}
        """Interfaces whose packets can be the common ones -> what the connection is in the ``meta`` column."""

    def add(self, body: bytes, batch: Batch) -> None:
        """The next interface of this section, by the body of its block."""
        if len(self.all) >= INTERFACE_LIMIT:
            self._skipped.add("interface{s} beyond the 65536th")
            return
        options = parse(self.order, body[8:], self._skipped)
        found = dict(options)
        interface = Interface(
            pcapng.structs(self.order, "H").unpack_from(body)[0],
            found.get(pcapng.IF_NAME, b"").decode("utf-8", "replace")[: facts.TEXT_LIMIT],
            found.get(pcapng.IF_TSRESOL, b"\x06")[:1].ljust(1, b"\x06")[0],
            int.from_bytes(found.get(pcapng.IF_TSOFFSET, b""), "little" if self.order == "little" else "big"),
            next((said for said in own(self.order, options) if "vusniff" in said), {}),
        )
        refuse_newer(interface.facts, self._name)
        self.all.append(interface)
        if interface.facts and interface.linktype == pcapng.LINKTYPE_UPPER_PDU:
            self.adopt(len(self.all) - 1, batch)
        # What is read of JSON may be many times as large: only what a connection keeps of it is kept.
        interface.facts = _SAID if interface.facts else {}

    def adopt(self, number: int, batch: Batch) -> int | None:
        """An interface turns out to be one of ours: it becomes a connection, unless there are too many."""
        interface = self.all[number]
        if interface.connection is None:
            identity = self._continued(interface)
            if identity is None:
                late = {"joined_late": True} if "continues" in interface.facts else {}
                connection = self._ids.add(interface.facts | late, interface.path, self.order)
                if connection is None:
                    return None
                identity = connection.id
                if not self._ids.room_for_held and facts.says_held(interface.facts):
                    self._skipped.add(_MORE_HELD)
                if interface.facts:
                    self._begun.append(identity)
                batch.events.append((len(batch), connection))
            interface.connection = identity
            self.found = True
            same_order = self._ids.order(identity) == self.order
            usual = self._ids.connections[identity - 1].family == FIRST
            if usual and same_order and (interface.resolution, interface.offset) == (pcapng.NANOSECONDS, 0):
                self.bases[number] = pack_meta(identity, FrameKind.MESSAGE, 0, 0, 0)
        return interface.connection

    def _continued(self, interface: Interface) -> int | None:
        """The connection that goes on in this interface of a later section; None when it is a new one."""
        which = facts.integer(interface.facts.get("continues"), 1, len(self._begun))
        if which is None:
            return None
        identity = self._begun[which - 1]
        known = self._ids.connections[identity - 1]
        return identity if known.path == interface.path else None

    def nth(self, ordinal: int) -> int | None:
        """The id of the n-th connection of this file."""
        return self._begun[ordinal - 1] if 0 < ordinal <= len(self._begun) else None


def refuse_newer(stated: dict[str, Any], name: str) -> None:
    """Raises CaptureError where a section or interface of a file says that its format is newer than ours."""
    version = facts.newer(stated)
    if version is not None:
        raise CaptureError(
            f"{name} is a capture of format {version} by a newer vusniff, and this one reads up to "
            f"format {facts.FORMAT_VERSION}: read it with a newer vusniff"
        )
