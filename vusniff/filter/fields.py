"""Every field of the filter language, in one table: the names that filters, their completion, their reference page and
the Wireshark dissector use.

Fields of payloads come from the tables of messages (`payload`); the others stand here. A name begins with ``vhost`` or
``vring`` for what a message says, ``call`` for how a call to the kernel went (and why not: ``errno``), ``fd`` for its
descriptors, ``proc`` for its sender, ``sock`` for its connection, ``stack`` for the functions that sent it,
``finding`` for what is wrong with it, ``log`` for lines of logs, ``ring`` for the positions of rings after it, and
``state`` for the device before it (`state`).
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Iterator
from typing import Any

from vusniff.analysis.rings import Doing, RingSpan
from vusniff.channel import Header, Sender
from vusniff.checks.finding import Severity, Side
from vusniff.families.family import Family
from vusniff.families.registry import FIRST, bare, channels, families, family_of
from vusniff.filter import payload, state
from vusniff.filter.field import Field, MessageLike, Origin, Surroundings, ValueKind
from vusniff.layouts import dissect
from vusniff.record import DescriptorKind
from vusniff.values import replace

RANKS = {severity.value: rank for rank, severity in enumerate(reversed(Severity))}
"""Severities as numbers, so that ``finding.severity >= warning`` means what it says."""


def _of_header(name: str) -> Any:
    def read(message: MessageLike, _: Surroundings) -> Any:
        return None if message.request is None else getattr(message, name)

    return read


def _of_versioned(name: str) -> Any:
    """Of headers that have a version: what the flags of another family mean is told by fields of its own."""

    def read(message: MessageLike, _: Surroundings) -> Any:
        return None if message.request is None or not message.channel.header.version else getattr(message, name)

    return read


def _of_headers(header: Header, read: Callable[[MessageLike], Any]) -> Any:
    """What only messages with one kind of header have."""

    def of_headers(message: MessageLike, _: Surroundings) -> Any:
        return read(message) if message.channel.header is header and message.request is not None else None

    return of_headers


def _header_of(family: Family) -> Iterator[Field]:
    """The fields of a header that is not vhost-user's, such as ``vfio.command`` and ``vfio.id``."""
    prefix, name, origin = family.own or family.fields, "calls" if family.own else family.name, Origin.HEADER
    header = family.main.header
    about = f"{name}: command, by name or number"
    yield Field(f"{prefix}.command", ValueKind.REQUEST, origin, about, _of_headers(header, lambda m: m.request))
    yield Field(
        f"{prefix}.flags", ValueKind.NUMBER, origin, f"{name}: header flags", _of_headers(header, lambda m: m.flags)
    )
    about = f"{name}: it failed" if family.own else f"{name}: it is a reply that says that its command failed"
    yield Field(
        f"{prefix}.failed", ValueKind.BOOLEAN, origin, about, _of_headers(header, lambda m: header.is_failed(m.flags))
    )
    for one in header.more:
        read = _of_headers(header, functools.partial(_more, one))
        yield Field(f"{prefix}.{one}", ValueKind.NUMBER, origin, f"{name}: {one} in the header", read)


def _more(name: str, message: MessageLike) -> int | None:
    return message.more.get(name)


def _errno(message: MessageLike, _: Surroundings) -> Any:
    """Of a call to the kernel that failed; only such headers hold a result."""
    return message.more.get("error") or None if "result" in message.channel.header.more else None


def _process(name: str) -> Any:
    def read(message: MessageLike, _: Surroundings) -> Any:
        process = message.process
        return getattr(process, name) if process is not None else None

    return read


def _descriptors(name: str) -> Any:
    def read(message: MessageLike, _: Surroundings) -> list[Any]:
        values = [getattr(descriptor, name) for descriptor in message.descriptors]
        return [value for value in values if value is not None]

    return read


def _stack(name: str) -> Any:
    def read(message: MessageLike, _: Surroundings) -> list[Any]:
        stack = message.stack
        return [] if stack is None else [value for entry in stack.entries if (value := getattr(entry, name))]

    return read


def _calls(message: MessageLike, _: Surroundings) -> str | None:
    """All functions in one text, innermost first: a search finds a call as well as a name."""
    stack = message.stack
    return None if stack is None else " < ".join(entry.function or f"{entry.file}" for entry in stack.entries)


def _cut(message: MessageLike, _: Surroundings) -> str | None:
    return message.stack.cut or None if message.stack is not None else None


def _findings(name: str) -> Any:
    def read(message: MessageLike, around: Surroundings) -> list[Any]:
        return [getattr(finding, name) for finding in around.findings(message.number)]

    return read


def _logs(name: str) -> Any:
    def read(message: MessageLike, around: Surroundings) -> list[Any]:
        return [value for one in around.logs(message.number) if (value := getattr(one, name))]

    return read


def _severities(message: MessageLike, around: Surroundings) -> list[int]:
    return [RANKS[finding.severity.value] for finding in around.findings(message.number)]


def _rings(read: Callable[[RingSpan], Any]) -> Any:
    """One value for each ring that was sampled behind the message, as far as the ring has it."""

    def values(message: MessageLike, around: Surroundings) -> list[Any]:
        found = [read(span) for span in around.rings(message.number)]
        return [value for value in found if value is not None]

    return values


def _position(name: str) -> Any:
    return _rings(lambda span: getattr(span.last.position, name))


def _ring_fields() -> Iterator[Field]:
    """Where the rings stood before the next message of the session, by samples."""
    numbers = {
        "index": ("ring", "index of the ring"),
        "size": ("size", "descriptors"),
        "available": ("available", "what the driver makes available next"),
        "used": ("used", "what the device uses next"),
        "in_flight": ("in_flight", "made available and not used"),
        "tracked": ("tracked", "in flight by the in-flight buffer"),
        "unread_kicks": ("unread_kicks", "count of the kick descriptor while it waits"),
        "kicks": ("kicks", "how often it was kicked, where that is counted"),
        "calls": ("calls", "how often it was called, where that is counted"),
    }
    for name, (attribute, about) in numbers.items():
        yield Field(f"ring.{name}", _NUMBER, Origin.RING, about, _position(attribute), several=True)
    about = "what it did, in words"
    words = tuple(map(str, Doing))
    yield Field("ring.state", _TEXT, Origin.RING, about, _rings(lambda span: str(span.last.doing)), True, words=words)
    flags: dict[str, tuple[str, Callable[[RingSpan], bool]]] = {
        "stalled": ("it was not served for a second or more", lambda span: span.stalled),
        "no_interrupt": ("the driver suppresses calls", lambda span: span.last.position.no_interrupt),
        "no_notify": ("the device suppresses kicks", lambda span: span.last.position.no_notify),
    }
    for name, (about, holds) in flags.items():
        read = _rings(functools.partial(_true, holds))
        yield Field(f"ring.{name}", ValueKind.BOOLEAN, Origin.RING, f"{about}; only there where it is so", read, True)
    about = "how long it was not served, of rings that were not"
    read = _rings(lambda span: span.waited_ns or None)
    yield Field("ring.waited", ValueKind.NANOSECONDS, Origin.RING, about, read, True)


def _true(holds: Callable[[RingSpan], bool], span: RingSpan) -> bool | None:
    """So that a field alone asks whether it is so: it is not there where it is not."""
    return holds(span) or None


def _bytes(message: MessageLike, _: Surroundings) -> bytes | None:
    data = message.data if message.request is None else message.data[message.channel.header.size :]
    return data or None


def _sender(message: MessageLike, _: Surroundings) -> str | None:
    return None if message.sender is None else message.sender.value


_H, _C, _A, _B = Origin.HEADER, Origin.CONNECTION, Origin.ANSWER, Origin.BYTES
_D, _P, _F, _S, _L = Origin.DESCRIPTOR, Origin.PROCESS, Origin.FINDING, Origin.STACK, Origin.LOG
_NUMBER, _BOOLEAN, _TEXT = ValueKind.NUMBER, ValueKind.BOOLEAN, ValueKind.TEXT

STATIC: tuple[Field, ...] = (
    Field("vhost.request", ValueKind.REQUEST, _H, "request, by name or number", lambda m, _: m.request),
    Field("vhost.name", _TEXT, _H, "name of the request", lambda m, _: m.name),
    Field("vhost.flags", _NUMBER, _H, "header flags", _of_versioned("flags")),
    Field("vhost.version", _NUMBER, _H, "flag bits 0-1", _of_versioned("version")),
    Field("vhost.reply", _BOOLEAN, _H, "flag bit 2: it is a reply", _of_header("reply")),
    Field("vhost.need_reply", _BOOLEAN, _H, "flag bit 3: an acknowledgement is wanted", _of_header("need_reply")),
    Field("vhost.size", _NUMBER, _H, "payload bytes by the header", lambda m, _: m.size),
    Field("vhost.number", _NUMBER, _H, "number of the message in its capture", lambda m, _: m.number),
    Field("vhost.time", ValueKind.SECONDS, _H, "time since the first message", lambda m, w: m.time_ns - w.first_ns),
    Field(
        "vhost.channel",
        _TEXT,
        _C,
        "what the connection carries",
        lambda m, _: m.channel,
    ),
    Field("vhost.sender", _TEXT, _C, "who sent it", _sender, words=tuple(sender.value for sender in Sender)),
    Field("vhost.session", _NUMBER, _C, "number of the session", lambda m, _: m.session),
    Field("vhost.answers", _NUMBER, _A, "of a reply: number of its request", lambda m, _: m.answers),
    Field("vhost.answered_by", _NUMBER, _A, "of a request: number of its reply", lambda m, _: m.answered_by),
    Field(
        "vhost.latency", ValueKind.NANOSECONDS, _A, "time between request and reply, on both", lambda m, _: m.latency_ns
    ),
    Field("vhost.data", ValueKind.BYTES, _B, "bytes behind the header", _bytes),
    Field("vhost.trailing", ValueKind.BYTES, Origin.PAYLOAD, "bytes left over", lambda m, _: m.trailing or None),
    Field(
        "vhost.restated", ValueKind.BOOLEAN, _S, "sent before its file begins, see capture -C", lambda m, _: m.restated
    ),
    Field("vhost.malformed", _TEXT, Origin.PAYLOAD, "what does not fit, as a sentence", lambda m, _: m.malformed),
    Field("vhost.layout", _TEXT, Origin.PAYLOAD, "name of the layout the payload was read by", lambda m, _: m.layout),
    Field(
        "vhost.transport",
        _TEXT,
        _C,
        "who serves the device: another process, the kernel, vDPA, or VDUSE",
        lambda m, _: family_of(m.channel).transport or None,
        words=("user", "kernel", "vdpa", "vduse"),
    ),
    Field(
        "errno",
        _NUMBER,
        _H,
        "of a call to the kernel that failed: why",
        _errno,
        names={name: number for number, name in errno.errorcode.items()},
    ),
    Field("sock.path", _TEXT, _C, "path of the socket", lambda m, w: w.path(m.connection)),
    Field("sock.connection", _NUMBER, _C, "number of the connection", lambda m, _: m.connection),
    Field("fd.count", _NUMBER, _D, "how many descriptors came with it", lambda m, _: len(m.descriptors)),
    Field(
        "fd.kind",
        _TEXT,
        _D,
        "what a descriptor is",
        lambda m, _: [descriptor.kind.value for descriptor in m.descriptors],
        several=True,
        words=tuple(kind.value for kind in DescriptorKind),
    ),
    Field("fd.identity", _TEXT, _D, 'which object it is, such as "eventfd:392"', _descriptors("identity"), True),
    Field("fd.name", _TEXT, _D, "name of a memfd, path of a file", _descriptors("name"), True),
    Field("fd.size", _NUMBER, _D, "its bytes", _descriptors("size"), True),
    Field("fd.number", _NUMBER, _D, "its number in the sending process", _descriptors("number"), True),
    Field("proc.pid", _NUMBER, _P, "process that sent it", _process("pid")),
    Field("proc.tid", _NUMBER, _P, "thread that sent it, where known", _process("tid")),
    Field("proc.comm", _TEXT, _P, "name of the process that sent it", _process("comm")),
    Field("proc.label", _TEXT, _P, "name that the sender's user gave it", _process("label")),
    Field("stack", _TEXT, _S, 'who called whom, innermost first: "vhost_dev_start < vhost_net_start"', _calls),
    Field("stack.function", _TEXT, _S, "function that was being called when it was sent", _stack("function"), True),
    Field("stack.file", _TEXT, _S, "executable or library of such a function", _stack("file"), True),
    Field("stack.source", _TEXT, _S, "source file and line of such a function", _stack("source"), True),
    Field("stack.cut", _TEXT, _S, "why outer functions are missing", _cut),
    Field("log.text", _TEXT, _L, "what a program wrote into its log before the next message", _logs("text"), True),
    Field("log.program", _TEXT, _L, "who wrote it, as far as the line says", _logs("program"), True),
    Field("log.level", _TEXT, _L, "how bad it is", _logs("level"), True, words=("error", "warning", "info", "debug")),
    Field("finding.severity", _NUMBER, _F, "severity of what is wrong with it", _severities, several=True, names=RANKS),
    Field("finding.rule", _TEXT, _F, "slug of the rule that is broken", _findings("rule"), True),
    Field(
        "finding.side",
        _TEXT,
        _F,
        "who is to blame",
        lambda m, w: [finding.side.value for finding in w.findings(m.number)],
        several=True,
        words=tuple(side.value for side in Side),
    ),
    Field("finding.sentence", _TEXT, _F, "what happened", _findings("sentence"), True),
    *_ring_fields(),
)


@functools.cache
def fields() -> dict[str, Field]:
    """All fields by name. Raises DissectorError when dissectors or families cannot be loaded."""
    static = {one.name: one for one in STATIC}
    static["vhost.channel"] = replace(static["vhost.channel"], words=tuple(map(str, channels())))
    own = {one.name: one for family in families().values() if family.name != FIRST for one in _header_of(family)}
    of_payload = payload.fields()
    return {**static, **own, **state.fields(of_payload), **of_payload}


@functools.cache
def requests() -> dict[str, tuple[tuple[str, int], ...]]:
    """Name of a request, also an older one -> its channel and code; of several channels where they share the name."""
    found: dict[str, list[tuple[str, int]]] = {}
    for channel, dissector in dissect.load().items():
        for spec in dissector.specs.values():
            for name in (spec.name, *spec.aliases):
                known = found.setdefault(bare(name), [])
                if (channel, spec.code) not in known:
                    known.append((channel, spec.code))
    return {name: tuple(known) for name, known in found.items()}


def words_of(field: Field) -> tuple[str, ...]:
    """Words that may stand for a field's values, for completion and reference."""
    for family in families().values():
        if field.name == f"{family.fields}.command":
            own = set(family.channels)
            return tuple(name for name, known in requests().items() if any(of in own for of, _ in known))
    if field.kind is ValueKind.REQUEST or field.name == "vhost.name":
        return tuple(requests())
    if field.kind is ValueKind.BOOLEAN:
        return ("true", "false")
    if field.kind is ValueKind.BITS:
        shortest = {
            min((form for form in field.bits if field.bits[form] == names), key=len): None
            for names in field.bits.values()
        }
        return tuple(name for name in shortest if not name.startswith("BIT_"))
    return field.words or tuple(field.names)
