"""Messages as text: one line each, or all fields of one. What ``read`` prints and the screens show in rows.

Lines are built from batches of columns without making a `Message` of each, because a capture may have a million; the
words are those of `views.words`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vusniff.analysis.compose import Other, decode
from vusniff.analysis.session import Place
from vusniff.capture.batch import Batch, remembered, said
from vusniff.channel import Channel, Sender
from vusniff.families.registry import family_of
from vusniff.message import Message
from vusniff.meta import NO_MESSAGE, end_of, kind_of
from vusniff.printable import escape
from vusniff.record import Descriptor, FrameKind
from vusniff.told import parse as parse_told
from vusniff.views import stacks, words
from vusniff.views.repeated import OfPlace, Repeated

TITLE_WIDTH = 30
RESTATED = "(restated)"
"""Behind a message that was sent before its file begins."""


def arrow(channel: Channel, sender: Sender | None, end: int = 0) -> str:
    """Who speaks to whom, as the channel's family calls them: the front-end always stands on the left."""
    left, right = (role.removesuffix("-end") for role in family_of(channel).roles) if sender else ("end 0", "end 1")
    forth = sender is Sender.FRONTEND if sender else not end
    return f"{left} {'->' if forth else '<-'} {right}"


def since(nanoseconds: int) -> str:
    """A time since the start of the capture, in seconds with microseconds."""
    return f"{nanoseconds / 1e9:.6f}"


def clock(time_ns: int) -> str:
    """A time of day with microseconds, local: ``12:00:00.000000``."""
    return f"{time.strftime('%H:%M:%S', time.localtime(time_ns // 1_000_000_000))}.{time_ns // 1000 % 1_000_000:06d}"


class Lines:
    """Makes lines from batches of columns, remembering the wording of equal messages (`views.repeated`)."""

    def __init__(self) -> None:
        self.first_ns: int | None = None
        """When the first message was sent: times count from it."""
        self._repeated: Repeated[tuple[str, str], str] = Repeated(_left)

    def lines(self, first: int, batch: Batch, places: Sequence[Place], answers: Sequence[Other]) -> list[str]:
        """The messages of a batch that was read with data, numbered from ``first``, each in one line."""
        made: list[str] = []
        append, known, missing = made.append, self._repeated.known, batch.missing
        if self.first_ns is None and len(batch):
            self.first_ns = batch.time_ns[0]
        first_ns = self.first_ns or 0
        columns = zip(batch.time_ns, batch.meta, batch.data, batch.options, places, answers, strict=True)
        for number, (time_ns, meta, data, options, place, answer) in enumerate(columns, first):
            of_place = known.get(place) or self._repeated.of(place)
            line = of_place[2].get(data)
            if line is None or missing or meta & NO_MESSAGE:
                line = self._words(of_place, data, missing.get(number - first, 0), meta)
            if options:
                line += remarks_of(options)
            if answer:
                line += f" (to #{answer[0]} after {words.duration(time_ns - answer[1])})"
            left = of_place[1][end_of(meta)]
            append("%6d %11.6f %s%s\n" % (number, (time_ns - first_ns) / 1e9, left, line))  # noqa: UP031
        return made

    def _words(self, of_place: OfPlace[tuple[str, str], str], data: bytes, missing: int, meta: int) -> str:
        """Title and values of a message: ``SET_VRING_NUM                  vring 0 size 256``."""
        place = of_place.place
        sender = place.sender(end_of(meta))
        request, flags, _, decoded = decode(data, missing, kind_of(meta), place.channel, place.context, sender)
        if request is None:
            return f"{'(no header)':<{TITLE_WIDTH}} {words.raw(data, missing)}"
        header = place.channel.header
        reply = place.channel.is_reply(flags, sender)
        title = words.title(decoded.name, decoded.layout, reply, header.remark(flags))
        values = words.values(decoded, request, reply)
        if header.is_failed(flags):
            values = f"{words.failure(header.others(data, place.context.order))} {values}".rstrip()
        line = f"{title:<{TITLE_WIDTH}} {values}"
        if kind_of(meta) is FrameKind.TOLD and (told := parse_told(data)) is not None:
            return f"{line.rstrip()} {words.origin(told)}"
        if not missing:
            self._repeated.keep(of_place.words, data, line)
        return line


def _left(place: Place) -> tuple[str, str]:
    """Session and arrow, by the end that sent."""
    zero, one = (f"{place.session:>3} {arrow(place.channel, place.sender(end), end)} " for end in (0, 1))
    return zero, one


@remembered
def remarks_of(options: bytes) -> str:
    """What a packet's options add to its line: descriptors, and that it is restated."""
    facts, _, restated = said(options)
    return _remarks(facts.descriptors, restated)


def _remarks(descriptors: Sequence[Descriptor], restated: bool) -> str:
    shown = f" {words.descriptors(descriptors)}" if descriptors else ""
    return f"{shown} {RESTATED}" if restated else shown


def message_line(message: Message, first_ns: int) -> str:
    """One decoded message, worded as `Lines` does."""
    title = words.title_of(message)
    answer = ""
    if message.answers and message.latency_ns is not None:
        answer = f" (to #{message.answers} after {words.duration(message.latency_ns)})"
    shown = _remarks(message.descriptors, message.restated)
    who = arrow(message.channel, message.sender)
    return (
        f"{message.number:>6} {since(message.time_ns - first_ns):>11} {message.session:>3} {who} "
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
        return escape(", ".join(map(str, value)) if isinstance(value, list) else str(value))
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
        meaning = words.flags(message)
        channel = "" if message.channel is family_of(message.channel).main else f", {message.channel} channel"
        flags = f"{message.flags:#x} ({', '.join(meaning)})" if meaning else f"{message.flags:#x}"
        more = "".join(f", {name} {words.header_value(name, value)}" for name, value in message.more.items())
        if message.told is None or message.told.flags is not None:
            yield f"    request {message.request}, flags {flags}, size {message.size}{more}{channel}"
        else:
            yield f"    request {message.request}, flags and size not told{channel}"
    if message.process:
        thread = f" thread {message.process.tid}" if message.process.tid else ""
        yield f"    sent by {escape(message.process.comm)} ({message.process.pid}){thread}"
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
    if message.restated:
        yield "    restated: sent before this file begins, and part of the state since then"
    if message.stack is not None:
        yield "    called by:"
        yield from stacks.lines(message.stack, "        ")
    if message.told is not None:
        yield f"    told by: {escape(message.told.where)}: {escape(message.told.line)}"
    if message.malformed:
        label = "not told: " if message.told else "" if message.missing else "malformed: "
        yield f"    {label}{message.malformed}"
    if message.trailing and not hexadecimal:
        yield f"    left over, {len(message.trailing)} bytes:"
        yield from hex_lines(message.trailing[:256], "        ")
        if len(message.trailing) > 256:
            yield f"        ... {len(message.trailing) - 256} more; -x shows all"
    if hexadecimal:
        yield from hex_lines(message.data)
