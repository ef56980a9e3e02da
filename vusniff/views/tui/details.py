"""One message as lines: exchange, findings, fields, descriptors, header. Knows no screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vusniff.analysis.timeline import Timeline
from vusniff.channel import Sender
from vusniff.checks.finding import Finding, Side
from vusniff.families.family import State
from vusniff.families.registry import family_of
from vusniff.families.vhost_user.state import DeviceState, translate
from vusniff.layouts import dissect
from vusniff.layouts.spans import spans
from vusniff.message import Context, Message
from vusniff.printable import escape
from vusniff.record import Stack
from vusniff.views import stacks, text, words
from vusniff.views.tui.line import Part, TextLine, line, wrapped
from vusniff.views.tui.marks import MARKS
from vusniff.views.tui.passed import Passed
from vusniff.views.tui.rows import ROLES, day, since

BLAMED = {Side.FRONTEND: "front-end", Side.BACKEND: "back-end"}
LABEL = 12
ALSO = 6
"""Messages that are listed for a descriptor that was passed more than once."""


def details(
    timeline: Timeline,
    row: int,
    state: State | None,
    width: int,
    lost: int = 0,
    passed: Passed | None = None,
    behind: Sequence[str] = (),
) -> list[TextLine]:
    """Everything about the message of a row, in lines of ``width`` cells.

    ``state`` is the one after it: it says where addresses lie and what descriptors are for. ``lost`` messages were
    lost before it. ``passed`` says where else its descriptors were passed, ``behind`` what was seen between it and the
    next.
    """
    message = timeline.message(row)
    lines = [*_what(message, width)]
    if lost:
        many = "one message was" if lost == 1 else f"{lost:,} messages were"
        lines.append(line((f"! {many} lost before this one", "bad"), key="lost"))
    for sentence in behind:
        said = f"R{sentence[1:]}." if sentence.startswith("rule ") else f"Then {sentence}."
        lines += [TextLine(parts, key="then") for parts in wrapped(said.split(), width, "", "  ", "warn")]
    for finding in timeline.findings_at(row):
        lines += _finding(timeline, finding, width)
    where = _spans(message, timeline.place(row).context)
    if message.payload:
        lines.append(line(("Fields", "heading")))
        lines += _fields(message.payload, "  ", "", where, state, message)
    if message.descriptors:
        lines.append(line(("Descriptors", "heading")))
        for position, descriptor in enumerate(message.descriptors):
            number = "" if descriptor.number is None else f"  fd {descriptor.number} in the sender"
            lines.append(
                line("  ", (f"{position} ", "dim"), words.descriptor(descriptor), (number, "dim"), key=f"fd{position}")
            )
            for use, by in uses(state, descriptor.identity) if state else ():
                there = "" if by == message.number else f"  #{by}"
                lines.append(line(("      is ", "dim"), use, (there, "link"), jump=0 if by == message.number else by))
            others = [number for number in (passed.numbers(descriptor.identity) if passed else ()) if number != row + 1]
            if others:
                lines.append(_also(others, row + 1, position))
    if message.stack is not None:
        lines.append(line(("Called by", "heading")))
        lines += _called(message.stack, width)
    if message.trailing:
        start = len(message.data) - len(message.trailing)
        many = f"{len(message.trailing)} byte{'s' if len(message.trailing) > 1 else ''} left over"
        shown = message.trailing[:16].hex(" ") + (" …" if len(message.trailing) > 16 else "")
        lines.append(line((many, "warn"), f"  {shown}", span=(start, len(message.data)), key="trailing"))
    lines.append(line(("Message", "heading")))
    lines += _header(timeline, message)
    return lines


def _what(message: Message, width: int) -> Iterator[TextLine]:
    if message.request is None:
        yield line((f"Bytes without a {message.channel.family} header", "bad"))
        return
    title, spans_of = words.title_of(message), message.channel.header.spans
    yield line((title, "strong"), (f"   request {message.request}", "dim"), span=spans_of["request"], key="name")
    other = message.answers or message.answered_by
    if other:
        label = "answers " if message.answers else "answered by "
        yield line(
            label, (f"#{other}", "link"), f" after {words.duration(message.latency_ns or 0)}", jump=other, key="other"
        )
    if message.told is not None:
        told = f"{escape(message.told.where)}: {escape(message.told.line)}".split()
        for number, parts in enumerate(wrapped(told, width, "told by ", "  ", "dim")):
            yield TextLine(parts, key=f"told{number}")
    if message.malformed:
        first, style = ("not told: ", "dim") if message.told is not None else ("MALFORMED: ", "bad")
        if message.missing:
            first, style = "", "warn"
        for number, parts in enumerate(wrapped(message.malformed.split(), width, first, "  ", style)):
            yield TextLine(parts, key=f"malformed{number}")
    if message.spec is None:
        yield line(("Not in any dissector: shown as bytes", "warn"))
    elif message.spec.about:
        for number, parts in enumerate(wrapped(message.spec.about.split(), width, "", "", "dim")):
            yield TextLine(parts, key=f"about{number}")


def _called(stack: Stack, width: int) -> Iterator[TextLine]:
    """Who called whom, innermost first; what is not the program's own is dim."""
    for number, entry in enumerate(stack.entries):
        style = "" if stacks.is_own(entry) else "dim"
        there = stacks.where(entry)
        name = stacks.name_of(entry)
        room = width - len(name) - 4
        shown = there if len(there) <= room else "…" + there[len(there) - room + 1 :] if room > 8 else ""
        yield line("  ", (name, style), (f"  {shown}", "dim"), key=f"stack{number}")
    if stack.cut:
        for number, parts in enumerate(wrapped(f"({escape(stack.cut)})".split(), width, "  ", "  ", "warn")):
            yield TextLine(parts, key=f"cut{number}")


def _finding(timeline: Timeline, finding: Finding, width: int) -> Iterator[TextLine]:
    """What is wrong, by which rule, and the messages that prove it."""
    letter, style = MARKS[finding.severity]
    key = f"rule {finding.rule}"
    blamed = "" if finding.side is Side.EITHER else f", {BLAMED[finding.side]}"
    sentence = escape(finding.sentence).split()
    for number, parts in enumerate(wrapped(sentence, width, f"{letter} {finding.severity}{blamed}: ", "  ")):
        first = (Part(parts[0].text, style), *parts[1:]) if not number else parts
        yield TextLine(first, key=key if not number else f"{key} {number}")
    rule = f"rule {finding.rule} ({finding.section}), e explains".split()
    for number, parts in enumerate(wrapped(rule, width, "  ", "  ", "dim")):
        yield TextLine(parts, key=f"{key} rule {number}")
    for other in finding.evidence:
        if other != finding.number:
            name = timeline.message(other - 1).name
            yield line("  see also ", (f"#{other}", "link"), f" {name}", jump=other, key=f"{key} #{other}")


def _also(others: list[int], number: int, position: int) -> TextLine:
    """Where else a descriptor was passed. Enter leads to the next of these messages, from the last to the first."""
    parts: list[tuple[str, str]] = []
    for other in others[:ALSO]:
        parts += [(", ", ""), (f"#{other}", "link")]
    more = f" and {len(others) - ALSO} more" if len(others) > ALSO else ""
    following = next((other for other in others if other > number), others[0])
    return line(("      also ", "dim"), *parts[1:], more, jump=following, key=f"also{position}")


def _label(name: str) -> Part:
    return Part(f"  {name:<{LABEL}}", "dim")


def _header(timeline: Timeline, message: Message) -> Iterator[TextLine]:
    family, header = family_of(message.channel), message.channel.header
    ends = family.roles if message.sender is Sender.FRONTEND else family.roles[::-1]
    sender = " to ".join(ends) if message.sender else "unknown side"
    role = ROLES[message.sender] if message.sender else ""
    process = message.process
    yield line(_label("from"), (sender, role), key="from")
    if process:
        thread = f" thread {process.tid}" if process.tid and process.tid != process.pid else ""
        yield line(_label("process"), f"{process.label or process.comm} ({process.pid}){thread}", key="process")
    start = since(message.time_ns - timeline.time_ns(0))
    yield line(_label("at"), f"{start} s", key="at")
    yield line(_label(""), (day(message.time_ns), "dim"), key="day")
    channel = "" if message.channel is family.main else f"{message.channel} channel, "
    yield line(
        _label("session"), str(message.session), (f"  {channel}connection {message.connection}", "dim"), key="session"
    )
    if message.request is not None:
        said = (f"  {', '.join(words.flags(message))}", "dim")
        yield line(_label("flags"), f"{message.flags:#x}", said, span=header.spans["flags"], key="flags")
        for name, (at, size) in header.more.items():
            yield line(
                _label(name), words.header_value(name, message.more.get(name, "")), span=(at, at + size), key=name
            )
    yield line(
        _label("size"),
        f"{message.size} bytes",
        span=header.spans["size"] if message.request is not None else None,
        key="size",
    )


def _fields(
    values: Mapping[str, Any],
    indent: str,
    path: str,
    where: Mapping[str, tuple[int, int]],
    state: State | None,
    message: Message,
) -> Iterator[TextLine]:
    plain = [len(name) for name, value in values.items() if not isinstance(value, (dict, list))]
    pad = min(20, max((size for size in plain if size <= 20), default=0))
    for name, value in values.items():
        if name.endswith("_name") and name[:-5] in values:
            continue
        if name.endswith("_names") and name[:-6] in values:
            for bit in value:
                yield line(f"{indent}  ", (words.short_name(bit), ""), key=f"{path}{name}.{bit}")
            continue
        full = f"{path}{name}"
        if isinstance(value, dict):
            yield line(indent, (name, "dim"), span=where.get(full), key=full)
            yield from _fields(value, indent + "  ", f"{full}.", where, state, message)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for position, element in enumerate(value):
                inner = f"{full}[{position}]"
                yield line(indent, (f"{name}[{position}]", "dim"), span=where.get(inner), key=inner)
                yield from _fields(element, indent + "  ", f"{inner}.", where, state, message)
        else:
            shown = text.field_value(name, value, values.get(f"{name}_name"))
            there = _place(name, value, state, message)
            yield line(indent, (f"{name:<{pad}} ", "dim"), shown, (there, "dim"), span=where.get(full), key=full)


def _spans(message: Message, context: Context) -> dict[str, tuple[int, int]]:
    """Path of a field -> first byte and byte behind the last, in the message's bytes with its header."""
    if message.request is None or message.layout is None:
        return {}
    layout = dissect.layout_of(message.channel, message.request, message.reply, message.size, context)
    if layout is None or layout.name != message.layout:
        return {}
    head = message.channel.header.size
    found = spans(layout, message.data[head:], context.order).values()
    return {span.path: (span.start + head, span.stop + head) for span in found}


RING_ADDRESSES = frozenset({"descriptor", "used", "available"})


def _place(name: str, value: Any, state: State | None, message: Message) -> str:
    """Where a ring's address lies, or which ring of the whole device is meant."""
    if name == "index" and state is not None and isinstance(value, int):
        ring = family_of(message.channel).ring_of(state, message, value)
        return f"  vring {ring} of the device" if ring != value else ""
    if state is None or message.layout != "vring_addr" or name not in RING_ADDRESSES or not isinstance(value, int):
        return ""
    place = translate(state, value)
    return f"  region {place.region} + {place.offset:#x}" if place else "  in no region"


def uses(state: State, identity: str | None) -> Iterator[tuple[str, int]]:
    """What a descriptor is used for in a state, with the number of the message that said so."""
    if identity is None or not isinstance(state, DeviceState):
        return
    for ring in state.vrings.values():
        for kind in ("kick", "call", "err", "notifier"):
            seen = getattr(ring, kind)
            if seen is not None and seen.value is not None and seen.value.identity == identity:
                yield f"{kind} of vring {ring.index}", seen.by
    for position, region in enumerate(state.regions or ()):
        if region.descriptor is not None and region.descriptor.identity == identity:
            yield f"memory of region {position}", region.by
    for name, seen in (
        ("back-end channel", state.backend_channel),
        ("GPU socket", state.gpu_socket),
        ("log's eventfd", state.log_fd),
    ):
        if seen is not None and seen.value is not None and seen.value.identity == identity:
            yield f"the {name}", seen.by
    for name, held in (("inflight area", state.inflight), ("dirty log", state.log)):
        if held is not None and held.value.descriptor is not None and held.value.descriptor.identity == identity:
            yield f"the {name}", held.by
