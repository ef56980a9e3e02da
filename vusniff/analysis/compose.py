"""A frame and its place -> the decoded message. Pure: the same frame in the same place is always the same message."""

from __future__ import annotations

from typing import Any

from vusniff.analysis.session import Place
from vusniff.layouts import dissect
from vusniff.message import Message
from vusniff.record import Frame, FrameFields, FrameKind

REMEMBERED = 1024
"""Messages of which the decoded fields are remembered."""
REMEMBERED_BYTES = 32
"""Longest of them: longer messages hold addresses, and hardly repeat."""

_new, _set = object.__new__, object.__setattr__
_known: dict[tuple[int, int, bytes], tuple[Place, dict[str, Any]]] = {}
"""Id of the place, end and bytes -> the place, which keeps its id, and the fields that follow from these three."""
dissect.derived.append(_known)


def compose(number: int, frame: Frame | FrameFields, place: Place, other: int = 0, other_time_ns: int = 0) -> Message:
    """Decode message ``number``; ``other`` numbers its request or reply (0: none), sent at ``other_time_ns``."""
    data = frame.data
    if frame.kind is not FrameKind.MESSAGE or len(data) < place.channel.header.size:
        return Message(
            number=number,
            time_ns=frame.time_ns,
            session=place.session,
            connection=place.connection,
            channel=place.channel,
            sender=place.sender(frame.end),
            request=None,
            name=FrameKind(frame.kind).name,
            flags=0,
            size=len(data) + frame.missing,
            payload=None,
            data=data,
            descriptors=frame.descriptors,
            process=frame.process or place.ends[frame.end].process,
            malformed=f"no {place.channel.family} header" if frame.kind is not FrameKind.CONTINUATION else None,
            trailing=data,
        )
    missing, end = frame.missing, frame.end
    if missing or len(data) > REMEMBERED_BYTES:
        values = _decoded(data, missing, end, place)
    else:
        key = (id(place), end, data)
        known = _known.get(key)
        if known is None:
            if len(_known) >= REMEMBERED:
                _known.clear()
            known = _known[key] = place, _decoded(data, 0, end, place)
        values = known[1].copy()
    # What Message(...) would do, in a third of the time.
    values["number"] = number
    values["time_ns"] = time_ns = frame.time_ns
    values["descriptors"] = frame.descriptors
    if frame.process:
        values["process"] = frame.process
    if other:
        values["answers" if place.channel.header.is_reply(values["flags"]) else "answered_by"] = other
        values["latency_ns"] = abs(time_ns - other_time_ns)
    message = _new(Message)
    _set(message, "__dict__", values)
    return message


def _decoded(data: bytes, missing: int, end: int, place: Place) -> dict[str, Any]:
    """The fields of a message, as far as its bytes and its place tell them."""
    context, header = place.context, place.channel.header
    request, flags, size = header.read[context.order](data, 0)
    decoded = dissect.payload(place.channel, request, header.is_reply(flags), data[header.size :], missing, context)
    return {
        "number": 0,
        "time_ns": 0,
        "session": place.session,
        "connection": place.connection,
        "channel": place.channel,
        "sender": place.sender(end),
        "request": request,
        "name": decoded.name,
        "flags": flags,
        "size": size,
        "payload": decoded.payload,
        "data": data,
        "descriptors": (),
        "process": place.ends[end].process,
        "answers": None,
        "answered_by": None,
        "latency_ns": None,
        "malformed": decoded.malformed,
        "trailing": decoded.trailing,
        "layout": decoded.layout,
        "spec": decoded.spec,
    }
