"""A message with other values in it: what ``vusniff edit --set`` and the actions of fault rules mean.

Names of fields are those of the layouts, and of the header. Pure.
"""

from __future__ import annotations

from vusniff.analysis.session import Place
from vusniff.channel import Header
from vusniff.errors import DissectorError
from vusniff.layouts import dissect
from vusniff.layouts.build import close, replaced
from vusniff.layouts.spans import spans
from vusniff.message import Layout
from vusniff.record import Frame
from vusniff.values import replace

HEADER_FIELDS = ("request", "flags", "size")
SIZES = frozenset({"size", "header.size"})
"""A change of one of these says what the header's size is."""


def set_field(frame: Frame, place: Place, path: str, value: str, sized: bool = False) -> Frame:
    """The message with one field set to what ``value`` says.

    ``path`` names a field of the payload (``num``, ``regions[0].size``) or of the header (``request``, ``flags``,
    ``size``), or is ``payload`` (hex digits) or ``fds`` (only ``none``). Where the payload becomes longer or shorter,
    the size in the header does too, unless it was ``sized`` before. Raises DissectorError.
    """
    changed = _set(frame, place, path, value)
    if len(changed.data) == len(frame.data) or sized or path in SIZES:
        return changed
    header = place.channel.header
    told = {"size": len(changed.data) - header.size + header.counts}
    head = header.written(changed.data[: header.size], place.context.order, told)
    return replace(changed, data=head + changed.data[header.size :])


def _set(frame: Frame, place: Place, path: str, value: str) -> Frame:
    if path == "fds":
        if value != "none":
            raise DissectorError(f"descriptors can only be left out: fds=none, not {value!r}")
        return replace(frame, facts=frame.facts.without_descriptors())
    if path == "payload":
        try:
            body = bytes.fromhex(value.removeprefix("0x"))
        except ValueError:
            raise DissectorError(f"a payload is given as hex digits, two for each byte, not {value!r}") from None
        return replace(frame, data=frame.data[: place.channel.header.size] + body, missing=0)
    names = header_names(place.channel.header)
    where, _, inner = path.partition(".")
    if where == "header" or (path in names and not _has_field(frame, place, path)):
        return _set_header(frame, place, inner or path, value)
    if path in names:
        raise DissectorError(
            f"both the header and the payload have a field {path}: say header.{path} or payload.{path}"
        )
    return _set_field(frame, place, inner if where == "payload" else path, value)


def header_names(header: Header) -> tuple[str, ...]:
    """The fields of a header."""
    return (*HEADER_FIELDS, *header.more)


def layout_of(frame: Frame, place: Place) -> Layout | None:
    header = place.channel.header
    request, flags, _ = header.read[place.context.order](frame.data, 0)
    size = len(frame.data) - header.size + frame.missing
    reply = place.channel.is_reply(flags, place.sender(frame.end))
    return dissect.layout_of(place.channel, request, reply, size, place.context)


def _has_field(frame: Frame, place: Place, path: str) -> bool:
    layout = layout_of(frame, place)
    return layout is not None and path in spans(layout, frame.data[place.channel.header.size :], place.context.order)


def _set_header(frame: Frame, place: Place, name: str, value: str) -> Frame:
    header = place.channel.header
    if name not in header_names(header):
        raise DissectorError(f"the header has no field {name}{close(name, header_names(header))}")
    at = header.spans.get(name)
    size = header.more[name][1] if at is None else at[1] - at[0]
    try:
        number = int(value, 0)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 8 * size:
        raise DissectorError(f"{name} is a number of {8 * size} bits, not {value!r}")
    head = header.written(frame.data[: header.size], place.context.order, {name: number})
    return replace(frame, data=head + frame.data[header.size :])


def _set_field(frame: Frame, place: Place, path: str, value: str) -> Frame:
    layout = layout_of(frame, place)
    if layout is None:
        names = (*header_names(place.channel.header), "payload", "fds")
        raise DissectorError(f"there is no field {path}, for its payload is not decoded{close(path, names)}")
    head = place.channel.header.size
    body = frame.data[head:]
    known = spans(layout, body, place.context.order)
    if path not in known:
        names = (*known, *header_names(place.channel.header), "payload", "fds")
        raise DissectorError(f"there is no field {path}{close(path, names)}")
    return replace(frame, data=frame.data[:head] + replaced(layout, body, path, value, place.context))
