"""Messages as text: one line each, or all fields of one. What ``read`` prints and the screens show in rows.

Lines are built from batches of columns without making a `Message` of each, because a capture may have a million; the
words are those of `views.words`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vusniff import dissect
from vusniff.capture.batch import Batch, said
from vusniff.message import Context, Message
from vusniff.protocol import FLAG_NEED_REPLY, FLAG_REPLY, HEADER_SIZE, HEADERS, Channel, Sender
from vusniff.record import Descriptor
from vusniff.session import Pending, Place
from vusniff.views import words

TITLE_WIDTH = 30
CACHED = 32768
"""Wordings remembered; equal messages are worded once."""
CACHED_SIZE = 512
"""Bytes of the largest message whose wording is remembered."""

ARROWS = {Sender.FRONTEND: "front -> back", Sender.BACKEND: "front <- back"}


def arrow(sender: Sender | None, end: int = 0) -> str:
    """Who speaks to whom: the front-end always stands on the left."""
    return ARROWS[sender] if sender else ("end 0 -> end 1", "end 0 <- end 1")[end]


def since(nanoseconds: int) -> str:
    """A time since the start of the capture, in seconds with microseconds."""
    sign, nanoseconds = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    return f"{sign}{nanoseconds // 1_000_000_000}.{nanoseconds // 1000 % 1_000_000:06d}"


def clock(time_ns: int) -> str:
    """A time of day with microseconds, local: ``12:00:00.000000``."""
    return f"{time.strftime('%H:%M:%S', time.localtime(time_ns // 1_000_000_000))}.{time_ns // 1000 % 1_000_000:06d}"


class Lines:
    """Makes lines from batches of columns, remembering the wording of equal messages."""

    def __init__(self) -> None:
        self.first_ns: int | None = None
        """When the first message was sent: times count from it."""
        self._worded: dict[tuple[int, str, bytes], str] = {}
        self._contexts: dict[int, Context] = {}
        """Keeps alive what `_worded` knows by its id."""
        self._arrows: dict[tuple[str, int | None], tuple[str, str]] = {}

    def lines(
        self, first: int, batch: Batch, places: Sequence[Place], answers: Sequence[Pending | None]
    ) -> Iterator[str]:
        """The messages of a batch that was read with data, numbered from ``first``, each in one line."""
        worded, arrows = self._worded, self._arrows
        if self.first_ns is None and len(batch):
            self.first_ns = batch.time_ns[0]
        first_ns = self.first_ns or 0
        columns = zip(batch.time_ns, batch.meta, batch.data, batch.options, places, answers, strict=True)
        for number, (time_ns, meta, data, options, place, answer) in enumerate(columns, first):
            if meta & 0xC0 or batch.missing:
                row = number - first
                said = self._words(place, data, batch.missing.get(row, 0), bool(meta & 0xC0))
            else:
                known = worded.get((id(place.context), place.channel._value_, data))
                said = known if known is not None else self._words(place, data)
            directions = arrows.get((place.channel._value_, place.requester)) or self._directions(place)
            since_ns = time_ns - first_ns
            fds = f" {words.descriptors(described)}" if options and (described := descriptors_of(options)) else ""
            reply = f" (to #{answer.number} after {words.duration(time_ns - answer.time_ns)})" if answer else ""
            yield (
                f"{number:>6} {since_ns // 1000000000:>4}.{since_ns // 1000 % 1000000:06d} {place.session:>3} "
                f"{directions[meta >> 5 & 1]} {said}{fds}{reply}\n"
            )

    def _words(self, place: Place, data: bytes, missing: int = 0, raw: bool = False) -> str:
        """Title and values of a message: ``SET_VRING_NUM                  vring 0 size 256``."""
        if raw or len(data) < HEADER_SIZE:
            return f"{'(no header)':<{TITLE_WIDTH}} {words.raw(data, missing)}"
        request, flags, _ = HEADERS[place.context.order].unpack_from(data)
        reply = bool(flags & FLAG_REPLY)
        decoded = dissect.payload(place.channel, request, reply, data[HEADER_SIZE:], missing, place.context)
        title = words.title(decoded.name, decoded.layout, reply, bool(flags & FLAG_NEED_REPLY))
        said = f"{title:<{TITLE_WIDTH}} {words.values(decoded, request, reply)}"
        if not missing and len(data) <= CACHED_SIZE:
            if len(self._worded) >= CACHED:
                self._worded.clear()
                self._contexts.clear()
            self._contexts[id(place.context)] = place.context
            self._worded[id(place.context), place.channel._value_, data] = said
        return said

    def _directions(self, place: Place) -> tuple[str, str]:
        both = (arrow(place.sender(0), 0), arrow(place.sender(1), 1))
        self._arrows[place.channel._value_, place.requester] = both
        return both


@functools.lru_cache(maxsize=4096)
def descriptors_of(options: bytes) -> tuple[Descriptor, ...]:
    """The descriptors that a packet's options name."""
    return said(options)[0]


def message_line(message: Message, first_ns: int) -> str:
    """One decoded message, worded as `Lines` does."""
    title = words.title(message.name, message.layout, message.reply, message.need_reply)
    answer = ""
    if message.answers and message.latency_ns is not None:
        answer = f" (to #{message.answers} after {words.duration(message.latency_ns)})"
    shown = f" {words.descriptors(message.descriptors)}" if message.descriptors else ""
    return (
        f"{message.number:>6} {since(message.time_ns - first_ns):>11} {message.session:>3} {arrow(message.sender)} "
        f"{title:<{TITLE_WIDTH}} {words.summary(message)}{shown}{answer}"
    )


def field_lines(values: Mapping[str, Any], indent: str = "    ") -> Iterator[str]:
    """The fields of a payload, one a line; names of bits and values beside the number."""
    for name, value in values.items():
        if name.endswith("_name") and name[:-5] in values:
            continue
        if name.endswith("_names") and name[:-6] in values:
            for bit in value:
                yield f"{indent}    {bit}"
            continue
        if isinstance(value, dict):
            yield f"{indent}{name}:"
            yield from field_lines(value, indent + "    ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for position, element in enumerate(value):
                yield f"{indent}{name}[{position}]:"
                yield from field_lines(element, indent + "    ")
        else:
            yield f"{indent}{name}: {field_value(name, value, values.get(f'{name}_name'))}"


def field_value(name: str, value: Any, value_name: str | None = None) -> str:
    """One value: numbers in decimal, and in hex where that is how people read them; sizes in units too."""
    if isinstance(value, bool) or not isinstance(value, int):
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if value_name:
        return f"{value} ({value_name})"
    if value > 9 and ("size" in name or name in ("len", "length")):
        return f"{value} ({words.size(value)})" if value % 1024 == 0 else str(value)
    return f"{value:#x}" if value > 0xFFFF else str(value)


def hex_lines(data: bytes, indent: str = "    ") -> Iterator[str]:
    """Offset, sixteen bytes, and what of them can be printed."""
    for offset in range(0, len(data), 16):
        piece = data[offset : offset + 16]
        printed = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        yield f"{indent}{offset:04x}  {piece[:8].hex(' '):<23}  {piece[8:].hex(' '):<23}  {printed}"


def details(message: Message, hexadecimal: bool = False) -> Iterator[str]:
    """All of a message below its line: header, fields, descriptors, what is wrong, what is left over, its bytes."""
    if message.request is not None:
        meaning = [f"version {message.version}"]
        meaning += ["reply"] if message.reply else []
        meaning += ["need_reply"] if message.need_reply else []
        meaning += [f"reserved bits {message.flags & ~0xF:#x}"] if message.flags & ~0xF else []
        channel = "" if message.channel is Channel.MAIN else f", {message.channel} channel"
        flags = f"{message.flags:#x} ({', '.join(meaning)})"
        yield f"    request {message.request}, flags {flags}, size {message.size}{channel}"
    if message.process:
        thread = f" thread {message.process.tid}" if message.process.tid else ""
        yield f"    sent by {message.process.comm} ({message.process.pid}){thread}"
    if message.answers:
        yield f"    answers #{message.answers}" + (
            f" after {words.duration(message.latency_ns)}" if message.latency_ns is not None else ""
        )
    if message.answered_by:
        yield f"    answered by #{message.answered_by}" + (
            f" after {words.duration(message.latency_ns)}" if message.latency_ns is not None else ""
        )
    if message.payload:
        yield from field_lines(message.payload)
    for position, descriptor in enumerate(message.descriptors):
        number = "" if descriptor.number is None else f" (number {descriptor.number} in the sender)"
        yield f"    descriptor {position}: {words.descriptor(descriptor)}{number}"
    if message.malformed:
        yield f"    malformed: {message.malformed}"
    if message.trailing and not hexadecimal:
        yield f"    left over, {len(message.trailing)} bytes:"
        yield from hex_lines(message.trailing[:256], "        ")
        if len(message.trailing) > 256:
            yield f"        ... {len(message.trailing) - 256} more; -x shows all"
    if hexadecimal:
        yield from hex_lines(message.data)
