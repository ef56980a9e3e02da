"""Which bytes of a message a field is made of, asked from the construct declaration that its values came from.

It parses ever longer beginnings of a declaration and notes how far each got, so a layout needs no offsets beside it.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

from vusniff.families.vhost_user.protocol import HEADER_SIZE
from vusniff.message import Context, Layout, Message

FIELD_LIMIT = 64
ELEMENT_LIMIT = 256

Span = tuple[int, int]


def layout_of(message: Message, context: Context) -> Layout | None:
    """The layout a message was read by, found again through its table row."""
    from vusniff.layouts import dissect

    spec = message.spec
    if spec is None or message.layout is None:
        return None
    choice: Any = spec.reply if message.reply else spec.payload
    if choice is not None and not isinstance(choice, Layout):
        choice = choice(context, message.size)
    if choice is None and message.reply:
        dissector = dissect.load().get(message.channel)
        choice = dissector.ack if dissector else None
    return choice if isinstance(choice, Layout) and choice.name == message.layout else None


def spans(message: Message, context: Context) -> dict[str, Span]:
    """Path of a field (``regions[1].size``) -> first byte and byte behind the last, in the message's bytes.

    Fields that are worked out from others have no entry. Never raises for what the bytes hold.
    """
    layout = layout_of(message, context)
    if layout is None:
        return {}
    found: dict[str, Span] = {}
    with contextlib.suppress(Exception):  # bytes that do not fit: what was found until there is right
        _walk(layout.construct(context.order), message.data[HEADER_SIZE:], found)
    return found


def _walk(declaration: Any, data: bytes, found: dict[str, Span]) -> None:
    fields = list(getattr(declaration, "subcons", ()))
    start = 0
    for count, field in enumerate(fields[:FIELD_LIMIT], 1):
        stream = io.BytesIO(data)
        value = type(declaration)(*fields[:count]).parse_stream(stream)[field.name]
        stop = stream.tell()
        if stop > start:
            _note(field.name, getattr(field, "subcon", field), value, start, stop, found)
        start = stop


def _note(path: str, declaration: Any, value: Any, start: int, stop: int, found: dict[str, Span]) -> None:
    found[path] = (start + HEADER_SIZE, stop + HEADER_SIZE)
    element = getattr(declaration, "subcon", None)
    if isinstance(value, list) and value and element is not None:
        size = (stop - start) // len(value)
        for position, one in enumerate(value[:ELEMENT_LIMIT]):
            first = start + position * size
            _note(f"{path}[{position}]", element, one, first, first + size, found)
    elif isinstance(value, dict):
        for field in getattr(declaration, "subcons", ()):
            size = field.sizeof()
            if size and field.name:
                _note(
                    f"{path}.{field.name}",
                    getattr(field, "subcon", field),
                    value[field.name],
                    start,
                    start + size,
                    found,
                )
            start += size
