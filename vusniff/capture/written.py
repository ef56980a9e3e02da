"""The connections that are written: what each carries, its tags in front of each packet, and what was lost on it.

It must not know blocks or the file.
"""

from __future__ import annotations

from vusniff.amounts import counted
from vusniff.capture.packet import DISSECTOR_DATA, dissector_of, lead
from vusniff.channel import Channel
from vusniff.families.family import HEAD, Family
from vusniff.families.registry import FIRST, family_named, recognised
from vusniff.passed_sockets import PassedSockets
from vusniff.record import Connection, Descriptor, Frame, FrameKind, Process
from vusniff.told import parse as parse_told
from vusniff.values import replace

COUNT_LIMIT = (1 << 64) - 1
"""Most that a count in the file can say."""
_LEADS_LIMIT = 4096
"""Tags that are kept of each end."""
_ENDED = 1024
"""Connections that have ended and can still be named by evidence."""


class WrittenConnection:
    """What the writer knows of one connection."""

    __slots__ = (
        "channel",
        "closed",
        "connection",
        "dropped",
        "family",
        "kind",
        "leads",
        "lost",
        "lost_ns",
        "number",
        "ordinal",
        "process",
        "process_texts",
        "written",
    )

    def __init__(self, connection: Connection, channel: Channel | None) -> None:
        self.connection = connection
        self.channel = channel
        self.family: Family | None = None
        """Known with the first frame at the latest, and the channel with it."""
        self.kind = slice(0)
        """The bytes of a message that tell request and flags."""
        self.number: int | None = None
        """Of its interface in this section; None while it has none there."""
        self.ordinal = 0
        """How many connections of the file had an interface when it got its first; 0 for one without."""
        self.leads: tuple[dict[bytes, bytes], dict[bytes, bytes]] = ({}, {})
        """By end: request, flags and, if there are any, number of descriptors -> the tags of such a message."""
        self.process: list[Process | None] = [end.process for end in connection.ends]
        """The process that spoke last for each end, and the option that names it; empty for the one that opened it."""
        self.process_texts = [b"", b""]
        self.lost = 0
        """Messages lost since the last packet; ``dropped``: of all."""
        self.dropped = 0
        self.lost_ns = 0
        self.written = 0
        """Messages; those in several packets once."""
        self.closed = False

    def join(self, family: Family) -> None:
        """It is one of this family."""
        self.family = family
        self.channel = self.channel or family.main
        self.kind = family.main.header.kind

    @property
    def inodes(self) -> list[int]:
        """The inodes of its ends, where they are known."""
        return [end.inode for end in self.connection.ends if end.inode is not None]

    def recognise(self, data: bytes, order: str) -> None:
        """Finds its family by its first frame; vhost-user where that does not tell."""
        found = recognised(data, order) if len(data) >= HEAD else None
        if found is not None:
            self.connection = replace(self.connection, family=found.name)
        self.join(found or family_named(FIRST))

    def lose(self, count: int, time_ns: int) -> None:
        """Messages of it are lost, the first of them at this time."""
        if not self.lost:
            self.lost_ns = time_ns
        self.lost = min(self.lost + count, COUNT_LIMIT)
        self.dropped = min(self.dropped + count, COUNT_LIMIT)

    def tags(self, frame: Frame, order: str) -> tuple[bytes, Channel | None]:
        """The tags of a frame, and what the socket carries that it passes, where it says so.

        Those of messages are kept, by end, request, flags and number of descriptors.
        """
        data, family, channel = frame.data, self.family, self.channel
        assert family is not None
        assert channel is not None
        header, dissector = family.main.header, dissector_of(family.name)
        if frame.kind is not FrameKind.MESSAGE or len(data) < header.size:
            words = _without_header(frame, family, channel)
            return lead(frame.end, words, DISSECTOR_DATA if frame.kind else dissector, family.name), None
        count = len(frame.descriptors)
        key = data[header.kind] + count.to_bytes(4, "little") if count else data[header.kind]
        tags = self.leads[frame.end].get(key)
        if tags is not None:
            return tags, None
        request, flags, _ = header.read[order](data, 0)
        info = family.request_name(channel, request)
        is_reply = header.is_reply(flags)
        if is_reply:
            info += " reply"
        elif header.version and header.is_need_reply(flags):
            info += ", need_reply"
        if count:
            info += f", {counted(count, 'fd')}"
        tags = lead(frame.end, info, dissector, family.name)
        opened = family.openings.get((channel, request, is_reply)) if count else None
        if opened is not None:
            return tags, opened  # not kept: each of them passes another channel
        leads = self.leads[frame.end]
        if len(leads) >= _LEADS_LIMIT:
            leads.clear()
        leads[key] = tags
        return tags, None


def _without_header(frame: Frame, family: Family, channel: Channel) -> str:
    """What the tags say of bytes that have no header."""
    if frame.kind is FrameKind.TOLD and (told := parse_told(frame.data)) is not None:
        return f"{family.request_name(channel, told.request)}{' reply' if told.reply else ''}, told by a log"
    words = "more of the message before" if frame.kind is FrameKind.CONTINUATION else "not framed"
    return f"{len(frame.data)} bytes, {words}"


class WrittenConnections:
    """Those of one capture. With ``keeps_ended`` none is freed when it ends."""

    def __init__(self, keeps_ended: bool) -> None:
        self._keeps_ended = keeps_ended
        self._opened = 0
        self.going: dict[int, WrittenConnection] = {}
        """By id: those that have not ended."""
        self._by_inode: dict[int, WrittenConnection] = {}
        """The same by the sockets of their ends."""
        self._ended: dict[int, int] = {}
        """Id -> ordinal, of the last that have ended: a process ends after its connections."""
        self._passed: PassedSockets[Channel] = PassedSockets()

    def open(self, stated: Connection, keep: bool = True) -> Connection:
        """A connection begins: gives it its id, and its family where that is empty and is known. Nothing may follow of
        one that is not kept."""
        self._opened += 1
        channels = [channel for end in stated.ends if (channel := self._passed.get(end.inode)) is not None]
        known = stated.family or (channels[0].family if channels else None)
        connection = replace(stated, id=self._opened, family=known or FIRST)
        one = WrittenConnection(connection, channels[0] if channels else None)
        if known is not None:
            one.join(family_named(known))
        if keep:
            self.going[connection.id] = one
            for inode in one.inodes:
                self._by_inode[inode] = one
        return connection

    def carried(self, connection: int) -> tuple[Family, Channel] | None:
        """What a connection carries; None before its first frame."""
        one = self.going.get(connection)
        if one is None or one.family is None or one.channel is None:
            return None
        return one.family, one.channel

    def passed(self, *inodes: int) -> Channel | None:
        """What a socket carries that was passed as a descriptor in a message that says so; None for any other."""
        return next(filter(None, map(self._passed.get, inodes)), None)

    def note_passed(self, channel: Channel, descriptor: Descriptor) -> None:
        """Remembers that a passed socket is a channel, so that its connection's requests get the right names."""
        inode = self._passed.note(descriptor, channel)
        one = None if inode is None else self._by_inode.get(inode)
        if one is not None:
            one.channel = channel
            one.leads = ({}, {})

    def ordinal(self, connection: int) -> int:
        """Which connection of the file it is, 0 for none."""
        one = self.going.get(connection)
        return one.ordinal if one is not None else self._ended.get(connection, 0)

    def close(self, one: WrittenConnection) -> bool:
        """A connection ends; whether it is forgotten."""
        for inode in one.inodes:
            self._passed.forget(inode)
        if self._keeps_ended:
            return False
        del self.going[one.connection.id]
        if one.ordinal:
            if len(self._ended) >= _ENDED:
                del self._ended[next(iter(self._ended))]
            self._ended[one.connection.id] = one.ordinal
        for inode in one.inodes:
            if self._by_inode.get(inode) is one:
                del self._by_inode[inode]
        return True
