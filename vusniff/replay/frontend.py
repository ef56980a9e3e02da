"""Plays the recorded front-end to a real back-end.

Says the recorded requests in their order, and goes on where the recorded front-end went on: after the reply to what it
asked, and after the back-end's own requests that came before its next one. What the back-end asks on its channel is
answered when it comes, as it was answered then. Guest memory is zero, so all rings are empty; before a ring starts its
indices are set to the base that the recorded front-end gave, so that it is empty there, too.

Rebased is what the back-end chose: an inflight buffer and a crypto session that it made are given back as it made
them. A last message that nothing answers is followed by GET_FEATURES, as QEMU makes sure of such messages: only so
can it be told whether the back-end survived it.
"""

from __future__ import annotations

import os
import socket
import sys
import time

from vusniff.channel import Channel
from vusniff.families.vhost_user.advance import advance
from vusniff.families.vhost_user.protocol import (
    FLAG_NEED_REPLY,
    FLAG_REPLY,
    HEADER_SIZE,
    VERSION,
    Channels,
    FrontendRequest,
    ProtocolFeature,
)
from vusniff.families.vhost_user.state import DeviceState, initial, translate
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
from vusniff.values import dataclass

PATIENCE_S = 2.0
"""Seconds a request of the back-end's own is waited for: data that would cause it may not flow in a replay."""
ORDER = sys.byteorder
_F = FrontendRequest
RING_REQUESTS = frozenset({_F.SET_VRING_BASE, _F.SET_VRING_ADDR, _F.SET_VRING_KICK, _F.VRING_KICK})
SESSION_ID = 8
"""Bytes of a crypto session's id, the last of the reply that makes it."""


@dataclass(slots=True)
class _AwaitedReply:
    """A request that went out and whose reply is awaited."""

    request: int
    line: ScriptLine | None
    """None for the one that is not in the script."""


class FrontendPlayer:
    """One play."""

    def __init__(self, script: Script, sock: socket.socket, objects: Objects, speed: float, timeout: float) -> None:
        """Takes over ``sock`` and ``objects``."""
        self._stage = ReplayRun(script, sock, objects, speed, timeout)
        self._script = script
        self._state: DeviceState = initial(True)
        self._asked: list[_AwaitedReply] = []
        self._answered: set[int] = set()
        """Numbers of recorded requests that got their live reply."""
        self._to_come = {
            line.message.number: line
            for line in script.lines
            if not (line.mine or line.message.reply or line.place.channel is Channels.MAIN)
        }
        """What the back-end asked on its channels and has not asked yet, by number."""
        self._given_up: set[tuple[Channel, int | None]] = set()
        self._replies: dict[tuple[Channel, int], ScriptLine] = {}
        """The recorded reply that was given last."""
        self._rebased: dict[tuple[int, bytes], bytes] = {}
        """Request and recorded payload -> the payload that means the same to this back-end."""

    def play(self) -> ReplayResult:
        """The whole play, from the first message to the end of the connection."""
        ended = None
        stage = self._stage
        try:
            before = None
            for line in self._script.lines:
                if before is not None and line.mine:
                    self._idle(stage.pause(before.message.time_ns, line.message.time_ns))
                self._turn(line)
                before = line
            self._finish()
        except OverError as over:
            ended = str(over)
        finally:
            stage.close()
        if ended is None:
            for line in self._to_come.values():
                stage.note(MessageDifference(What.MISSING, line.message, None))
        return stage.outcome(ended)

    def _turn(self, line: ScriptLine) -> None:
        message = line.message
        self._state = advance(self._state, message)
        if message.channel is not Channels.MAIN:
            self._await_request(line)
        elif line.mine:
            self._ask(line)
        elif message.answers is not None:
            self._await_reply(message.answers)

    def _idle(self, seconds: float) -> None:
        """A recorded pause, in which the back-end may speak."""
        deadline = time.monotonic() + seconds
        while seconds and self._stage.listen(deadline, self._take):
            continue

    # What the front-end says.

    def _ask(self, line: ScriptLine) -> None:
        message, stage = line.message, self._stage
        request = message.request or 0
        if request in RING_REQUESTS:
            self._empty_ring((message.payload or {}).get("index"))
        stage.send(Channels.MAIN, self._data(line), stage.objects.of(message), line.title)
        channel = PASSED_BY.get(request)
        if channel is not None and (ours := stage.objects.take_kept(message)) is not None:
            stage.open(channel, ours)
            stage.objects.hand_over(message)
        if line.reply is not None or self._owes_reply(line, request):
            self._asked.append(_AwaitedReply(request, line))

    def _owes_reply(self, line: ScriptLine, request: int) -> bool:
        """By the specification, whatever was recorded: the recording may end before the reply."""
        acknowledged = line.message.need_reply and self._state.has(ProtocolFeature.REPLY_ACK)
        return bool(acknowledged) or is_answered(line, Channels.MAIN, request)

    def _data(self, line: ScriptLine) -> bytes:
        data = line.message.data
        payload = self._rebased.get((line.message.request or 0, data[HEADER_SIZE:]))
        return data if payload is None else data[:HEADER_SIZE] + payload

    def _empty_ring(self, index: int | None) -> None:
        """Split rings: available and used index (u16 at offset 2 of each) at the base. Packed rings are empty as zeros.

        Source: VIRTIO, "The Virtqueue Available Ring" and "The Virtqueue Used Ring".
        """
        vring = self._state.vrings.get(index) if index is not None else None
        if vring is None or vring.base is None or vring.addresses is None or self._state.packed:
            return
        for address in (vring.addresses.value.available, vring.addresses.value.used):
            place = translate(self._state, address, 4)
            if place is None or self._state.regions is None:
                continue
            region = self._state.regions[place.region]
            fd = self._stage.objects.find(region.descriptor)
            offset = region.mmap_offset + place.offset + 2
            if fd is not None and offset + 2 <= os.fstat(fd).st_size:
                os.pwrite(fd, (vring.base.value & 0xFFFF).to_bytes(2, ORDER), offset)

    # What the back-end says.

    def _await_reply(self, number: int) -> None:
        """Until the live reply to a recorded request has come."""
        stage = self._stage
        line = self._script.by_number.get(number)
        deadline = time.monotonic() + stage.timeout
        while line is not None and number not in self._answered:
            if not stage.listen(deadline, self._take):
                raise OverError(f"{stage.who} did not answer {line.title} for {stage.timeout:g} s")

    def _await_request(self, line: ScriptLine) -> None:
        """Until the back-end has asked what the recorded one asked here. One that does not come is not the end."""
        stage, channel = self._stage, line.place.channel
        kind = channel, line.message.request
        deadline = time.monotonic() + min(stage.timeout, PATIENCE_S)
        while line.message.number in self._to_come and kind not in self._given_up and stage.has(channel):
            if not stage.listen(deadline, self._take):
                self._given_up.add(kind)

    def _take(self, arrival: Arrival) -> None:
        if arrival.channel is Channels.MAIN:
            self._take_reply(arrival)
        else:
            self._answer(arrival)

    def _take_reply(self, arrival: Arrival) -> None:
        stage = self._stage
        request, flags, payload = parts(arrival.data, ORDER)
        asked = next((one for one in self._asked if one.request == request and flags & FLAG_REPLY), None)
        if asked is None:
            stage.note(MessageDifference(What.UNEXPECTED, None, stage.decode(arrival, None)))
            return
        self._asked.remove(asked)
        if asked.line is None:
            return
        self._answered.add(asked.line.message.number)
        stage.last = f"the reply to {asked.line.title}"
        reply = self._script.by_number.get(asked.line.reply or 0)
        if reply is None:
            return
        stage.judge(reply, stage.decode(arrival, reply))
        recorded = reply.message.data[HEADER_SIZE:]
        if request == _F.GET_INFLIGHT_FD:
            self._rebased[_F.SET_INFLIGHT_FD, recorded] = payload
        elif request == _F.CREATE_CRYPTO_SESSION and len(payload) >= SESSION_ID <= len(recorded):
            self._rebased[_F.CLOSE_CRYPTO_SESSION, recorded[-SESSION_ID:]] = payload[-SESSION_ID:]
        stage.objects.adopt(reply.message, arrival.fds)
        arrival.fds = []

    def _answer(self, arrival: Arrival) -> None:
        """A request of the back-end's own."""
        stage, channel = self._stage, arrival.channel
        request, flags, _ = parts(arrival.data, ORDER)
        to_come = self._to_come.values()
        same = [line for line in to_come if line.place.channel is channel and line.message.request == request]
        live = stage.decode(arrival, same[0] if same else None)
        line = next((one for one in same if signature(one.message) == signature(live)), same[0] if same else None)
        if line is None:
            stage.note(MessageDifference(What.UNEXPECTED, None, live))
        else:
            del self._to_come[line.message.number]
            stage.judge(line, live)
            if reply := self._script.by_number.get(line.reply or 0):
                self._replies[channel, request] = reply
        answered = is_answered(line or self._script.lines[0], channel, request)
        if not answered and not flags & FLAG_NEED_REPLY:
            return
        known = self._replies.get((channel, request))
        if known is not None:
            stage.send(channel, known.message.data, stage.objects.of(known.message), known.title)
        elif channel is Channels.BACKEND:
            stage.send(channel, acknowledgement(ORDER, request), [], f"the acknowledgement of {live.name}")

    def _finish(self) -> None:
        """Everything was said: what is owed is waited for, and the back-end has to be there still."""
        stage = self._stage
        last = next(line for line in reversed(self._script.lines) if line.mine and line.place.channel is Channels.MAIN)
        if last.message.number not in self._answered and not any(one.line is last for one in self._asked):
            stage.send(
                Channels.MAIN, header(ORDER, _F.GET_FEATURES, VERSION, 0), [], f"GET_FEATURES after {last.title}"
            )
            self._asked.append(_AwaitedReply(_F.GET_FEATURES, None))
        deadline = time.monotonic() + stage.timeout
        while self._asked:
            if not stage.listen(deadline, self._take):
                first = self._asked[0].line
                what = first.title if first else f"GET_FEATURES after {last.title}"
                raise OverError(f"{stage.who} did not answer {what} for {stage.timeout:g} s")
