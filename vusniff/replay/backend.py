"""Plays the recorded back-end to a real front-end.

A front-end asks what it likes, when it likes: its requests are answered with the recorded reply to the same request
(and ring, or part of config space), else to the nearest one, however often it asks. Its requests are compared as a
set: a request is a difference when no recorded one says the same, and one that was recorded is missing when the
front-end went on without it. What comes after the part that is played is answered and not compared. The recorded
back-end's own requests are sent where they stood among the front-end's.

No ring is ever processed: a guest that waits for its device waits for ever.
"""

from __future__ import annotations

import socket
import sys
import time
from collections import deque
from collections.abc import Hashable, Mapping

from vusniff.channel import Channel
from vusniff.families.vhost_user.protocol import (
    FLAG_NEED_REPLY,
    FLAG_REPLY,
    HEADER_SIZE,
    STOPS_RING,
    VERSION,
    Channels,
    FrontendRequest,
)
from vusniff.message import Message
from vusniff.replay.differences import MessageDifference, What, signature
from vusniff.replay.link import Arrival
from vusniff.replay.objects import Objects
from vusniff.replay.script import Script, ScriptLine
from vusniff.replay.stage import (
    PASSED_BY,
    OverError,
    ReplayResult,
    ReplayRun,
    acknowledgement,
    header,
    is_answered,
    parts,
)

ORDER = sys.byteorder
_F = FrontendRequest
CONFIG_HEAD = 12
"""Bytes of a config payload before the config space: offset, size, flags, 4 each."""
CONFIG_LIMIT = 4096
"""Bytes of config space that anybody asks for at once."""

Key = tuple[int, Hashable]


def _key(message: Message) -> Key:
    """What a request is about: its code, and which ring or which part of config space."""
    values = message.payload or {}
    about = (values.get("offset"), values.get("size")) if message.layout == "config" else values.get("index")
    return message.request or 0, about


class BackendPlayer:
    """One play."""

    def __init__(self, script: Script, sock: socket.socket, objects: Objects, speed: float, timeout: float) -> None:
        """Takes over ``sock`` and ``objects``."""
        self._stage = ReplayRun(script, sock, objects, speed, timeout)
        self._script = script
        self._asked = [line for line in script.lines if line.place.channel is Channels.MAIN and not line.mine]
        self._position = {line.message.number: position for position, line in enumerate(script.lines)}
        self._by_signature: dict[Hashable, deque[ScriptLine]] = {}
        self._by_key: dict[Key, deque[ScriptLine]] = {}
        self._by_code: dict[int, deque[ScriptLine]] = {}
        for line in self._asked:
            self._by_signature.setdefault(signature(line.message), deque()).append(line)
            self._by_key.setdefault(_key(line.message), deque()).append(line)
            self._by_code.setdefault(line.message.request or 0, deque()).append(line)
        self._unseen = {signature(line.message): line for line in reversed(self._asked)}
        """What the recorded front-end said and the live one has not, with the first line that says it."""
        self._used: set[int] = set()
        self._reached = -1
        """Position of the furthest line that was matched."""
        self._own = deque(
            line
            for line in script.lines
            if line.mine and not (line.message.reply or line.place.channel is Channels.MAIN)
        )
        """Own requests that were not sent yet."""
        self._open: list[ScriptLine] = []
        """Own requests whose recorded reply has not come yet."""
        self._config = _config_space(script)

    def play(self) -> ReplayResult:
        """The whole play: it ends when the front-end closes the connection, or says nothing for the time given."""
        stage = self._stage
        ended = None
        try:
            while stage.listen(time.monotonic() + stage.timeout, self._take):
                continue
            ended = f"{stage.who} said nothing for {stage.timeout:g} s{stage.after}"
        except OverError as over:
            ended = str(over)
        finally:
            stage.close()
        return stage.outcome(self._conclusion(ended))

    def _conclusion(self, ended: str) -> str | None:
        """What never came is noted; the end is one before its time when the front-end did not get to its last."""
        to_come = sorted((self._position[line.message.number], line) for line in self._unseen.values())
        later = [line for position, line in to_come if position > self._reached]
        skipped = [line for position, line in to_come if position < self._reached]
        for line in [*skipped, *self._open]:
            reply = self._script.by_number.get(line.reply or 0)
            self._stage.note(
                MessageDifference(What.MISSING, reply.message if line.mine and reply else line.message, None)
            )
        if not later:
            return None
        more = f" and {len(later) - 1} more" if len(later) > 1 else ""
        return f"{ended}; recorded next is {later[0].title}{more}"

    def _take(self, arrival: Arrival) -> None:
        if arrival.channel is Channels.MAIN:
            self._take_request(arrival)
        else:
            self._take_reply(arrival)

    def _take_request(self, arrival: Arrival) -> None:
        stage = self._stage
        request, flags, _ = parts(arrival.data, ORDER)
        near = self._by_code.get(request)
        live = stage.decode(arrival, near[0] if near else None)
        line = self._match(live)
        if not self._unseen and not self._script.whole:
            stage.last = live.name  # beyond what was to be played: answered, not compared
        elif line is None:
            stage.note(MessageDifference(What.UNEXPECTED, None, live))
            stage.last = live.name
        else:
            stage.judge(line, live)
            stage.last = line.title
            self._used.add(line.message.number)
            self._unseen.pop(signature(line.message), None)
            self._reached = max(self._reached, self._position[line.message.number])
        channel = PASSED_BY.get(request)
        if channel is not None and arrival.fds:
            self._open_channel(channel, arrival)
        self._reply(request, flags, live, line)
        self._say_own()

    def _open_channel(self, channel: Channel, arrival: Arrival) -> None:
        fd = arrival.fds.pop(0)
        try:
            sock = socket.socket(fileno=fd)
        except OSError:
            arrival.fds.append(fd)  # no socket: closed with the message
        else:
            self._stage.open(channel, sock)

    def _match(self, live: Message) -> ScriptLine | None:
        """The recorded request that this one is: not used yet before used, equal before like."""
        for known in (
            self._by_signature.get(signature(live)),
            self._by_key.get(_key(live)),
            self._by_code.get(live.request or 0),
        ):
            if not known:
                continue
            while len(known) > 1 and known[0].message.number in self._used:
                known.popleft()
            return known[0]
        return None

    def _reply(self, request: int, flags: int, live: Message, line: ScriptLine | None) -> None:
        """Answers as the recorded back-end did, if the front-end waits for an answer."""
        stage = self._stage
        own = is_answered(line or self._asked[0], Channels.MAIN, request)
        if not own and not flags & FLAG_NEED_REPLY:
            return
        recorded = self._recorded_reply(live, line)
        if recorded is not None:
            request_ns = self._script.by_number[recorded.message.answers or 0].message.time_ns
            time.sleep(stage.pause(request_ns, recorded.message.time_ns))
            data = self._fitted(recorded.message.data, live, line)
            stage.send(Channels.MAIN, data, stage.objects.of(recorded.message), recorded.title)
        elif line is None or not own:
            stage.send(Channels.MAIN, self._made_up(request, live), [], f"an answer to {live.name}")

    def _recorded_reply(self, live: Message, line: ScriptLine | None) -> ScriptLine | None:
        """The reply to the recorded request, else to the nearest that was answered."""
        if line is None:
            return None
        position = self._position[line.message.number]
        if line.reply is None:
            same = [one for one in self._asked if one.reply is not None and one.message.request == live.request]
            alike = [one for one in same if _key(one.message) == _key(live)] or same
            if not alike:
                return None
            line = min(alike, key=lambda one: abs(self._position[one.message.number] - position))
        return self._script.by_number.get(line.reply or 0)

    def _fitted(self, data: bytes, live: Message, line: ScriptLine | None) -> bytes:
        """A recorded reply for the ring, or the part of config space, that is asked for."""
        if line is None or _key(line.message) == _key(live):
            return data
        if live.request in STOPS_RING and len(data) == HEADER_SIZE + 8 and len(live.data) >= HEADER_SIZE + 4:
            return data[:HEADER_SIZE] + live.data[HEADER_SIZE : HEADER_SIZE + 4] + data[HEADER_SIZE + 4 :]
        if live.request == _F.GET_CONFIG:
            return self._made_up(_F.GET_CONFIG, live)
        return data

    def _made_up(self, request: int, live: Message) -> bytes:
        """An answer to what was never answered in the recording: what is known of config space, else zero."""
        values = live.payload or {}
        if request == _F.GET_CONFIG and live.layout == "config" and live.malformed is None:
            offset, size = values["offset"], min(values["size"], CONFIG_LIMIT)
            body = live.data[HEADER_SIZE : HEADER_SIZE + CONFIG_HEAD]
            body += bytes(self._config.get(at, 0) for at in range(offset, offset + size))
            return header(ORDER, request, VERSION | FLAG_REPLY, len(body)) + body
        if request in STOPS_RING and "index" in values:
            return acknowledgement(ORDER, request, values["index"] if ORDER == "little" else values["index"] << 32)
        return acknowledgement(ORDER, request)

    # What the back-end says of its own.

    def _say_own(self) -> None:
        """Sends what the recorded back-end asked before the front-end's next request."""
        stage, lines = self._stage, self._script.lines
        while self._own:
            line = self._own[0]
            position = self._position[line.message.number]
            between = lines[self._reached + 1 : position]
            if any(one.place.channel is Channels.MAIN and not one.mine for one in between):
                return
            self._own.popleft()
            channel = line.place.channel
            if not stage.has(channel):
                continue  # the request that would have opened it is a difference already
            time.sleep(stage.pause(lines[position - 1].message.time_ns, line.message.time_ns))
            stage.send(channel, line.message.data, stage.objects.of(line.message), line.title)
            if line.reply is not None:
                self._open.append(line)

    def _take_reply(self, arrival: Arrival) -> None:
        """The front-end answers on a channel."""
        stage = self._stage
        request, flags, _ = parts(arrival.data, ORDER)
        line = next((one for one in self._open if one.message.request == request and flags & FLAG_REPLY), None)
        reply = self._script.by_number.get(line.reply or 0) if line else None
        live = stage.decode(arrival, reply)
        if line is None or reply is None:
            stage.note(MessageDifference(What.UNEXPECTED, None, live))
            return
        self._open.remove(line)
        stage.judge(reply, live)


def _config_space(script: Script) -> Mapping[int, int]:
    """Every byte of config space that the recorded back-end told, the first time it did."""
    known: dict[int, int] = {}
    for line in script.lines:
        message = line.message
        values = message.payload or {}
        if message.reply and message.request == _F.GET_CONFIG and message.layout == "config" and "payload" in values:
            for at, byte in enumerate(bytes.fromhex(values["payload"]), values["offset"]):
                known.setdefault(at, byte)
    return known
