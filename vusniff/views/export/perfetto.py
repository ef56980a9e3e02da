"""A capture as a native Perfetto trace, which ui.perfetto.dev opens: a track a side, arrows from requests to replies.

A request that is answered is a slice on its sender's track, as long as the answer takes; everything else is an instant.
Phases and what rings are at stand on tracks of their own, findings beside the message they stand at. Slices of a track
must not overlap without one lying in the other: a request that is sent while another waits goes to a second track.

The protobuf messages are written here, field by field (perfetto/trace/perfetto_trace.proto): Trace.packet 1;
TracePacket.timestamp 8, trusted_packet_sequence_id 10, track_event 11, track_descriptor 60; TrackDescriptor.uuid 1,
name 2, parent_uuid 5; TrackEvent.debug_annotations 4, type 9, track_uuid 11, categories 22, name 23, flow_ids 47;
DebugAnnotation.string_value 6, int_value 4, name 10.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator

from vusniff.analysis.driver import Steps
from vusniff.channel import Sender
from vusniff.families.vhost_user.state import DeviceState
from vusniff.message import Message
from vusniff.printable import escape
from vusniff.values import dataclass, field
from vusniff.views import evidence, words
from vusniff.views.export.chosen import Chosen, result
from vusniff.views.state import enabled_words, life_words

PIECE = 1 << 16
"""Bytes of a piece, about."""
TEXT = 400
"""Characters of a value, at most."""
_SIDES = {Sender.FRONTEND: "front-end", Sender.BACKEND: "back-end", None: "unknown side"}
_VARINT, _FIXED, _BYTES = 0, 1, 2
"""Wire types."""


class Event(enum.IntEnum):
    """TrackEvent.Type."""

    BEGIN = 1
    END = 2
    INSTANT = 3


def _varint(number: int) -> bytes:
    out = bytearray()
    number &= (1 << 64) - 1
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _number(place: int, number: int) -> bytes:
    return _varint(place << 3 | _VARINT) + _varint(number)


def _bytes(place: int, data: bytes) -> bytes:
    return _varint(place << 3 | _BYTES) + _varint(len(data)) + data


def _text(place: int, text: str) -> bytes:
    text = escape(text)
    return _bytes(place, (text if len(text) <= TEXT else text[:TEXT] + " ...").encode())


def _fixed(place: int, number: int) -> bytes:
    return _varint(place << 3 | _FIXED) + struct.pack("<Q", number)


@dataclass(slots=True)
class _Lanes:
    """The tracks of one side of a channel."""

    title: str
    parent: int
    tracks: list[int] = field(default_factory=list)
    free_ns: list[int] = field(default_factory=list)
    """When the last slice of each ends."""


class _Trace:
    """Packets so far, and the tracks they have named."""

    def __init__(self) -> None:
        self._out = bytearray()
        self._tracks = 0

    def take(self) -> bytes:
        """The packets since the last call."""
        data = bytes(self._out)
        self._out.clear()
        return data

    @property
    def size(self) -> int:
        """Bytes that `take` would give."""
        return len(self._out)

    def track(self, name: str, parent: int = 0) -> int:
        """A new track."""
        self._tracks += 1
        said = _number(1, self._tracks) + _text(2, name)
        self._packet(_bytes(60, said + (_number(5, parent) if parent else b"")))
        return self._tracks

    def event(
        self,
        time_ns: int,
        kind: Event,
        track: int,
        name: str = "",
        category: str = "",
        notes: tuple[tuple[str, str | int], ...] = (),
        flow: int = 0,
    ) -> None:
        """Something on a track; events that have the same ``flow`` are joined by an arrow."""
        said = [_number(9, kind), _number(11, track)]
        for key, value in notes:
            shown = _number(4, value) if isinstance(value, int) else _text(6, value)
            said.append(_bytes(4, _text(10, key) + shown))
        if category:
            said.append(_text(22, category))
        if name:
            said.append(_text(23, name))
        if flow:
            said.append(_fixed(47, flow))
        self._packet(_number(8, time_ns) + _bytes(11, b"".join(said)))

    def slice(self, start_ns: int, end_ns: int, track: int, name: str, category: str) -> None:
        """Something that lasts."""
        self.event(start_ns, Event.BEGIN, track, name, category)
        self.event(end_ns, Event.END, track)

    def lane(self, lanes: _Lanes, start_ns: int, end_ns: int) -> int:
        """The track of a side where something that lasts so long has room."""
        for at, free_ns in enumerate(lanes.free_ns):
            if free_ns <= start_ns:
                lanes.free_ns[at] = end_ns
                return lanes.tracks[at]
        more = f" ({len(lanes.tracks) + 1})" if lanes.tracks else ""
        lanes.tracks.append(self.track(lanes.title + more, lanes.parent))
        lanes.free_ns.append(end_ns)
        return lanes.tracks[-1]

    def _packet(self, said: bytes) -> None:
        self._out += _bytes(1, said + _number(10, 1))


def perfetto(chosen: Chosen) -> Iterator[bytes]:
    """Pieces of the trace."""
    trace = _Trace()
    of_session: dict[int, int] = {}
    for session in result(chosen.sessions()):
        about = chosen.timeline.sessions[session - 1]
        device = f" ({about.guess.device})" if about.guess else ""
        of_session[session] = trace.track(f"session {session} {about.path}{device}", 0)
        phases = trace.track("phases", of_session[session])
        for phase in result(chosen.phases(session)):
            trace.slice(phase.start_ns, phase.end_ns, phases, phase.kind.value, "phase")
    yield from _messages(chosen, trace, of_session)
    tracker = chosen.timeline.tracker
    for _, one in chosen.evidence():
        sessions = [tracker.session_of(connection) or 0 for connection, _ in one.ends]
        parent = next((of_session[session] for session in sessions if session in of_session), 0)
        trace.event(one.time_ns, Event.INSTANT, parent or trace.track("processes"), evidence.sentence(one), "process")
    yield trace.take()


def _messages(chosen: Chosen, trace: _Trace, of_session: dict[int, int]) -> Iterator[bytes]:
    lanes: dict[tuple[int, str, Sender | None], _Lanes] = {}
    rings = _RingTracks(chosen, trace, of_session)
    for message in chosen.messages():
        key = message.session, str(message.channel), message.sender
        side = lanes.get(key)
        if side is None:
            title = f"{message.channel}: {_SIDES[message.sender]}"
            side = lanes[key] = _Lanes(title, of_session[message.session])
        _message(chosen, trace, side, message)
        rings.follow(message)
        if trace.size > PIECE:
            yield trace.take()
    rings.end()


def _message(chosen: Chosen, trace: _Trace, side: _Lanes, message: Message) -> None:
    answered = message.answered_by
    start = message.time_ns
    end = max(chosen.timeline.time_ns(answered - 1), start) if answered else start
    track = trace.lane(side, start, end) if answered or not side.tracks else side.tracks[0]
    notes: tuple[tuple[str, str | int], ...] = (("message", message.number), ("values", words.summary(message)))
    if message.descriptors:
        notes += (("descriptors", ", ".join(map(words.descriptor, message.descriptors))),)
    name = f"{message.name} reply" if message.reply else message.name
    flow = message.answers or (message.number if answered else 0)
    trace.event(start, Event.BEGIN if answered else Event.INSTANT, track, name, "message", notes, flow)
    for found in chosen.findings(message.number):
        said = f"{found.severity}: {found.sentence}"
        trace.event(start, Event.INSTANT, track, said, "finding", (("rule", found.rule),))
    if answered:
        trace.event(end, Event.END, track)


class _RingTracks:
    """A track for each ring: what it is at, from the message that says so on. Only where all messages are exported."""

    def __init__(self, chosen: Chosen, trace: _Trace, of_session: dict[int, int]) -> None:
        self._chosen, self._trace, self._of_session = chosen, trace, of_session
        self._whole = not chosen.picked
        self._steps = Steps(chosen.timeline.tracker)
        self._tracks: dict[tuple[int, int], int] = {}
        self._shown: dict[tuple[int, int], str] = {}
        self._last_ns: dict[int, int] = {}

    def follow(self, message: Message) -> None:
        """What the message changes."""
        if not self._whole:
            return
        session = message.session
        before, state = self._steps.step(message)
        self._last_ns[session] = message.time_ns
        if state is before or not isinstance(state, DeviceState):
            return
        rings = state.vrings
        for ring in rings.changed_from(before.vrings) if isinstance(before, DeviceState) else rings.values():
            key = session, ring.index
            said = f"{life_words(state, ring)}, {enabled_words(state, ring)}"
            if said == self._shown.get(key):
                continue
            track = self._tracks.get(key)
            if track is None:
                parent = self._of_session[session]
                track = self._tracks[key] = self._trace.track(f"vring {ring.index}", parent)
            else:
                self._trace.event(message.time_ns, Event.END, track)
            self._trace.event(message.time_ns, Event.BEGIN, track, said, "vring")
            self._shown[key] = said

    def end(self) -> None:
        """What rings are at, they are at up to the last message."""
        for (session, _), track in self._tracks.items():
            self._trace.event(self._last_ns[session], Event.END, track)
