"""A frame and its place -> the decoded message. Pure: the same frame in the same place is always the same message.

`decode` is the one place where the payload of a frame is given to the dissectors, `header_of` where its header is read.

Three speed tricks stay, for `summary`, `check` (bench_check.py) and filters on payloads (bench_filter.py): short
messages are remembered by place and bytes, longer ones by place and header, and a message is made past its constructor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vusniff.analysis import telling
from vusniff.analysis.session import Place
from vusniff.channel import Channel, Sender
from vusniff.layouts import dissect
from vusniff.message import Context, Message
from vusniff.record import NO_FACTS, UNDIVIDED, Frame, FrameFields, FrameKind, fields_of
from vusniff.told import parse as parse_told

REMEMBERED = 1024
"""Frames whose decoded fields are remembered."""
REMEMBERED_BYTES = 32
"""Longest of them: longer messages hold addresses, and hardly repeat."""

_NO_MORE: dict[str, int] = {}
_new, _set = object.__new__, object.__setattr__
_MESSAGE, _TOLD = FrameKind.MESSAGE, FrameKind.TOLD
_Parse = Callable[[bytes], dict[str, Any] | None]
_Head = tuple[int, _Parse, dict[str, Any]] | None
_known: dict[tuple[Place, int, bytes], dict[str, Any]] = {}
"""Place, end and bytes -> the fields that follow from these three."""
_NOT_MET: _Head = (0, lambda _: None, {})
_heads: dict[tuple[Place, int, bytes], _Head] = {}
"""Place, end and header -> how messages that begin so are read."""
dissect.derived += [_known, _heads]


def decode(
    data: bytes, missing: int, kind: FrameKind, channel: Channel, context: Context, sender: Sender | None
) -> tuple[int | None, int, int, dissect.Decoded]:
    """Request, flags and size by the header of a frame, and its payload; ``missing`` more bytes were not captured.

    Bytes without a header have the request None, and all of them are left over. Never raises for what the bytes hold;
    DissectorError when the dissectors cannot be loaded.
    """
    if kind is _TOLD and (told := parse_told(data)) is not None:
        return told.request, telling.flags_of(told), told.size or 0, telling.decode(told, channel, context)
    head = header_of(data, kind, channel, context)
    if head is None:
        malformed = None if kind is FrameKind.CONTINUATION else f"no {channel.family} header"
        return None, 0, len(data) + missing, dissect.Decoded(kind.name, None, None, malformed, data, None)
    request, flags, size = head
    header = channel.header
    cut = header.size + size - len(data) - missing
    if cut > 0 and len(data) >= UNDIVIDED:
        missing += cut  # the file ends within it
    decoded = dissect.payload(channel, request, channel.is_reply(flags, sender), data[header.size :], missing, context)
    if len(data) + missing < header.size + size and len(data) < UNDIVIDED:
        there = len(data) - header.size
        decoded = decoded._replace(malformed=f"its header says that {size} bytes of payload follow, and {there} came")
    return request, flags, size, decoded


def header_of(data: bytes, kind: FrameKind, channel: Channel, context: Context) -> tuple[int, int, int] | None:
    """Request, flags and size by the header of a frame; None where it has none."""
    header = channel.header
    if kind is _TOLD and (told := parse_told(data)) is not None:
        return told.request, telling.flags_of(told), told.size or 0
    if kind is not _MESSAGE or len(data) < header.size:
        return None
    return header.read[context.order](data, 0)


Other = tuple[int, ...] | None
"""Of a reply number and time of the request that it answers, of a request those of the reply to it, where there is one.
Time in nanoseconds; a `vusniff.families.pairing.Pending` is one too."""


def compose(number: int, frame: Frame, place: Place, other: Other = None) -> Message:
    """Decode message ``number``."""
    return compose_fields(number, fields_of(frame), place, other)


def compose_fields(number: int, frame: FrameFields, place: Place, other: Other = None) -> Message:
    """As `compose`, for a frame that is given by its fields (`record.FrameFields`)."""
    _, end, time_ns, data, facts, kind, missing, restated = frame
    if kind is _MESSAGE and not missing and len(data) > REMEMBERED_BYTES:
        values = _by_head(data, end, place)
    else:
        values = fields(data, missing, kind, end, place).copy()
    # What Message(...) would do, in a third of the time.
    values["number"], values["time_ns"], values["facts"] = number, time_ns, facts
    if restated:
        values["restated"] = True
    if other:
        values["answers" if other[0] < number else "answered_by"] = other[0]  # a reply comes after its request
        values["latency_ns"] = abs(time_ns - other[1])
    message = _new(Message)
    _set(message, "__dict__", values)
    return message


def fields(data: bytes, missing: int, kind: FrameKind, end: int, place: Place) -> dict[str, Any]:
    """The fields of a message, as far as its bytes and its place tell them. They are shared: never change them.

    Those that few messages have are left out where they are as by default: with two of them a dict of 21 entries is
    filled, and one more would take twice the memory.
    """
    if kind is not _MESSAGE or missing:
        return _fields(data, missing, kind, end, place)
    if len(data) > REMEMBERED_BYTES:
        return _by_head(data, end, place)
    key = (place, end, data)
    known = _known.get(key)
    if known is None:
        if len(_known) >= REMEMBERED:
            _known.clear()
        known = _known[key] = _by_head(data, end, place)
    return known


def _by_head(data: bytes, end: int, place: Place) -> dict[str, Any]:
    """As `_fields`, of a message that is there in full. What its header and its place tell is kept, as messages with
    the same header differ in their payload only."""
    header = place.channel.header
    size = header.size
    key = (place, end, data[:size])
    head = _heads.get(key, _NOT_MET)
    if head is _NOT_MET:
        if len(_heads) >= REMEMBERED:
            _heads.clear()
        head = _heads[key] = _head(data, end, place)
    if head is not None and len(data) == head[0] and (payload := head[1](data[size:])) is not None:
        values = head[2].copy()
        values["payload"], values["data"] = payload, data
        return values
    return _fields(data, 0, _MESSAGE, end, place)


def _head(data: bytes, end: int, place: Place) -> _Head:
    """What is the same in all messages with this header: their size, the parser of their payload, and all other fields.
    None where each message has to be looked at, as when its header has a number of its own."""
    header = place.channel.header
    found = header_of(data, _MESSAGE, place.channel, place.context)
    if header.more or found is None or header.size + found[2] != len(data):
        return None
    request, flags, size = found
    is_reply = place.channel.is_reply(flags, place.sender(end))
    parse = dissect.parser(place.channel, request, is_reply, size, place.context)
    if parse is None or parse(data[header.size :]) is None:
        return None
    return len(data), parse, _fields(data, 0, _MESSAGE, end, place) | {"payload": None, "data": b""}


def _fields(data: bytes, missing: int, kind: FrameKind, end: int, place: Place) -> dict[str, Any]:
    sender = place.sender(end)
    request, flags, size, decoded = decode(data, missing, kind, place.channel, place.context, sender)
    header = place.channel.header
    told = parse_told(data) if kind is _TOLD else None
    rare: dict[str, Any] = {} if told is None else {"told": told}
    if missing:
        rare["missing"] = missing
    return rare | {
        "number": 0,
        "time_ns": 0,
        "session": place.session,
        "connection": place.connection,
        "channel": place.channel,
        "sender": sender,
        "request": request,
        "name": decoded.name,
        "flags": flags,
        "size": size,
        "payload": decoded.payload,
        "data": b"" if told is not None else data,
        "facts": NO_FACTS,
        "speaker": place.ends[end].process,
        "malformed": decoded.malformed,
        "trailing": decoded.trailing,
        "layout": decoded.layout,
        "spec": decoded.spec,
        "more": header.others(data, place.context.order)
        if header.more and request is not None and told is None
        else _NO_MORE,
    }
