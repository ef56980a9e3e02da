"""Messages as text: one line each, or all fields of one. What ``read`` prints and the screens show in rows.

Lines are built from batches of columns without making a `Message` of each, because a capture may have a million; the
words are those of `views.words`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vusniff import dissect
from vusniff.message import Message
from vusniff.protocol import FLAG_NEED_REPLY, FLAG_REPLY, HEADER_SIZE, Channel, Sender
from vusniff.record import Descriptor
from vusniff.session import Pending, Place
from vusniff.views import words

TITLE_WIDTH = 30
CACHED = 32768
"""Wordings remembered; equal messages are worded once."""

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
    """Words messages, remembering what it worded."""

    def __init__(self) -> None:
        self._titles: dict[tuple[int, str, int, bytes], str] = {}
        self._arrows: dict[tuple[str, int | None], tuple[str, str]] = {}

    def words(self, place: Place, request: int, flags: int, data: bytes, missing: int = 0) -> str:
        """Title and values of a framed message: ``SET_VRING_NUM                  vring 0 size 256``."""
        key = (id(place.context), place.channel._value_, flags, data)
        known = None if missing else self._titles.get(key)
        if known is None:
            reply = bool(flags & FLAG_REPLY)
            decoded = dissect.payload(place.channel, request, reply, data[HEADER_SIZE:], missing, place.context)
            title = words.title(decoded.name, decoded.layout, reply, bool(flags & FLAG_NEED_REPLY))
            known = f"{title:<{TITLE_WIDTH}} {words.values(decoded, request, reply)}"
            if len(self._titles) >= CACHED:
                self._titles.clear()
            if not missing:
                self._titles[key] = known
        return known

    def arrow(self, place: Place, end: int) -> str:
        """Who speaks to whom."""
        key = (place.channel._value_, place.requester)
        known = self._arrows.get(key)
        if known is None:
            known = self._arrows[key] = (arrow(place.sender(0), 0), arrow(place.sender(1), 1))
        return known[end]


def line(
    number: int, since_ns: int, place: Place, arrow_words: str, said: str, fds: Sequence[Descriptor], answer: str
) -> str:
    """One message in one line."""
    shown = f" {words.descriptors(fds)}" if fds else ""
    seconds, rest = divmod(since_ns, 1_000_000_000)
    return f"{number:>6} {seconds:>4}.{rest // 1000:06d} {place.session:>3} {arrow_words} {said}{shown}{answer}"


def answer_words(answer: Pending | None, time_ns: int) -> str:
    """Which request a reply answers, and how long it took: `` (to #12 after 35.2 us)``."""
    return f" (to #{answer.number} after {words.duration(time_ns - answer.time_ns)})" if answer else ""


def message_line(message: Message, first_ns: int) -> str:
    """One decoded message in the same line as `line`."""
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
        yield f"    request {message.request}, flags {message.flags:#x} ({', '.join(meaning)}), size {message.size}{channel}"
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
