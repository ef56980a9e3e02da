"""What both players stand on: the links to the peer, the clock, and the notes of what differed.

Knows channels and messages; which message comes when is the players' business.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from vusniff.analysis.compose import compose
from vusniff.analysis.session import Place
from vusniff.channel import Channel, Sender
from vusniff.families.vhost_user.protocol import (
    CHANNEL_PASSED_BY,
    FLAG_REPLY,
    HEADER_SIZE,
    HEADERS,
    VERSION,
    Channels,
)
from vusniff.layouts import dissect
from vusniff.message import Message
from vusniff.record import Facts, Frame
from vusniff.replay.differences import FieldDifference, MessageDifference, What, compare
from vusniff.replay.link import Arrival, ReplaySocket, wait
from vusniff.replay.objects import Objects
from vusniff.replay.script import Script, ScriptLine
from vusniff.sources.host.descriptors import describe
from vusniff.values import dataclass, replace

DIFFERENCE_LIMIT = 1000
"""Differences that are kept; more are counted."""
KEPT_LIMIT = 64 << 20
"""Bytes of live messages that are kept with them."""

PASSED_BY: dict[int, Channel] = {int(request): channel for request, channel in CHANNEL_PASSED_BY.items()}
"""Main-channel requests whose descriptor is a socket, and the channel it opens."""


class OverError(Exception):
    """The play ends before the script does: one sentence. Never leaves this folder."""


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What came of a replay."""

    said: int
    """Messages of the played side that went out."""
    heard: int
    """Messages of the peer."""
    compared: int
    """Of these, those that have a counterpart in the recording."""
    differences: tuple[MessageDifference, ...]
    more: int
    """Differences beyond those that are kept."""
    ended: str | None
    """Why the play ended before the script did; None when it did not."""

    @property
    def same(self) -> bool:
        """The peer did what the recorded one did, to the end."""
        return not self.differences and self.ended is None


class ReplayRun:
    """The links to one peer."""

    def __init__(self, script: Script, sock: socket.socket, objects: Objects, speed: float, timeout: float) -> None:
        """Takes over ``sock`` and ``objects``; ``speed`` 0 leaves out pauses; ``timeout`` is in seconds."""
        self.script = script
        self.objects = objects
        self.timeout = timeout
        self.peer = Sender.BACKEND if script.role is Sender.FRONTEND else Sender.FRONTEND
        self.who = "the back-end" if self.peer is Sender.BACKEND else "the front-end"
        self.said = self.heard = self.compared = self.more = 0
        self.differences: list[MessageDifference] = []
        self._kept = 0
        self.last = ""
        """What was said or heard last, for sentences."""
        self._links = {Channels.MAIN: ReplaySocket(sock, Channels.MAIN)}
        self._speed = speed
        self._places: dict[Channel, Place] = {}
        for line in script.lines:
            self._places.setdefault(line.place.channel, line.place)

    def open(self, channel: Channel, sock: socket.socket) -> None:
        """A channel of the session begins; one that was there before ends."""
        if before := self._links.pop(channel, None):
            before.close()
        self._links[channel] = ReplaySocket(sock, channel)

    def has(self, channel: Channel) -> bool:
        """Whether a channel is open."""
        return channel in self._links

    def close(self) -> None:
        """Ends the session."""
        for link in self._links.values():
            link.close()
        self.objects.close()

    def send(self, channel: Channel, data: bytes, fds: list[int], title: str) -> None:
        """Says one message. Raises OverError when the peer is gone or does not read; a lost side channel is no end."""
        link = self._links[channel]
        if link.send(data, fds, time.monotonic() + self.timeout):
            self.said += 1
            self.last = title
        elif link.ended is None:
            raise OverError(f"{self.who} did not read {title} for {self.timeout:g} s")
        elif channel is Channels.MAIN:
            raise OverError(f"{self.who} {link.ended} before {title} could be sent{self.after}")
        else:
            self._links.pop(channel).close()

    @property
    def after(self) -> str:
        """`` (the last message was #12 SET_MEM_TABLE)``."""
        return f" (the last message was {self.last})" if self.last else ""

    def listen(self, deadline: float, take: Callable[[Arrival], None]) -> bool:
        """Waits for the peer, and hands over what it says; False when ``deadline`` passes.

        Raises OverError when the peer has ended and all it said was handed over before: an end after the last word that
        is waited for is none before its time.
        """
        if ended := self._links[Channels.MAIN].ended:
            while self._hear(take):
                continue
            raise OverError(f"{self.who} {ended}{self.after}")
        # A peer that never stops speaking has a deadline, too.
        if time.monotonic() > deadline or not wait(list(self._links.values()), deadline):
            return False
        self._hear(take)
        return True

    def _hear(self, take: Callable[[Arrival], None]) -> int:
        """At most one message of each link, so that none of them is kept waiting by another; how many there were."""
        count = 0
        for link in list(self._links.values()):
            if self._links.get(link.channel) is not link:
                continue  # replaced by what the one before said
            arrival = link.receive()
            if arrival is not None:
                count += 1
                self.heard += 1
                try:
                    take(arrival)
                finally:
                    arrival.close()
            elif link.ended and link.channel is not Channels.MAIN:
                self._links.pop(link.channel).close()
        return count

    def decode(self, arrival: Arrival, like: ScriptLine | None) -> Message:
        """A live message, read in the context of its recorded counterpart, or of its channel's beginning."""
        place = like.place if like else self._places.get(arrival.channel)
        if place is None:
            place = replace(self._places[Channels.MAIN], channel=arrival.channel, requester=0)
        asks = arrival.channel.requester is self.peer
        end = (place.requester or 0) if asks else 1 - (place.requester or 0)
        descriptors = tuple(describe(fd) for fd in arrival.fds)
        return compose(0, Frame(place.connection, end, arrival.time_ns, arrival.data, Facts(descriptors)), place)

    def judge(self, line: ScriptLine, live: Message) -> tuple[FieldDifference, ...]:
        """Compares a live message with its recorded counterpart, and notes what differs."""
        self.compared += 1
        changes = compare(line.message, live)
        if changes:
            self.note(MessageDifference(What.CHANGED, line.message, live, changes))
        return changes

    def note(self, difference: MessageDifference) -> None:
        """Keeps a difference."""
        size = len(difference.live.data) if difference.live else 0
        if len(self.differences) < DIFFERENCE_LIMIT and self._kept + size <= KEPT_LIMIT:
            self._kept += size
            self.differences.append(difference)
        else:
            self.more += 1

    def pause(self, since_ns: int, until_ns: int) -> float:
        """Seconds that a recorded pause takes at the speed of this play."""
        return max(0, until_ns - since_ns) / 1e9 / self._speed if self._speed else 0.0

    def outcome(self, ended: str | None) -> ReplayResult:
        """What came of it."""
        return ReplayResult(self.said, self.heard, self.compared, tuple(self.differences), self.more, ended)


def is_answered(line: ScriptLine, channel: Channel, request: int) -> bool:
    """Whether the specification gives a request a reply of its own."""
    spec = dissect.spec_of(channel, request)
    return spec is not None and spec.has_reply(line.place.context)


def header(order: str, request: int, flags: int, size: int) -> bytes:
    """A message header."""
    return HEADERS[order].pack(request, flags, size)


def acknowledgement(order: str, request: int, value: int = 0) -> bytes:
    """The acknowledgement of a request; 0 is success."""
    return header(order, request, VERSION | FLAG_REPLY, 8) + value.to_bytes(8, "little" if order == "little" else "big")


def parts(data: bytes, order: str) -> tuple[int, int, bytes]:
    """Request, flags and payload of a whole message."""
    request, flags, _ = HEADERS[order].unpack_from(data)
    return request, flags, data[HEADER_SIZE:]
