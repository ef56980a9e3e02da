"""One message as JSON: the documented, stable form of ``read --json``, ``decode --json`` and exports.

Numbers are JSON integers, unknown is null. Keys: number, time_ns, session, connection, channel, sender, request, name,
flags, version, reply, need_reply, size, payload, payload_hex (on demand), fds, process, answers, answered_by,
latency_ns, malformed, what else the header of a family holds (of vfio-user: id, error), trailing_hex (only where bytes
are left over), stack (only where it was recorded).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from vusniff.analysis.compose import Other, compose
from vusniff.analysis.session import Place
from vusniff.capture.batch import Batch, remembered, said
from vusniff.message import Message
from vusniff.meta import NO_MESSAGE, REPLY, end_of
from vusniff.printable import escape_json
from vusniff.record import Descriptor, Process
from vusniff.views.repeated import OfPlace, Repeated
from vusniff.views.stacks import stack_dict


def descriptor_dict(descriptor: Descriptor) -> dict[str, Any]:
    """A descriptor: number, kind, identity, name, size; and ``late`` where it came behind its message's first byte."""
    said: dict[str, Any] = {"late": True} if descriptor.late else {}
    return {
        "number": descriptor.number,
        "kind": descriptor.kind.value,
        "identity": descriptor.identity,
        "name": descriptor.name,
        "size": descriptor.size,
        **said,
    }


def process_dict(process: Process | None) -> dict[str, Any] | None:
    """A process: pid, tid, comm, label."""
    if process is None:
        return None
    return {"pid": process.pid, "tid": process.tid, "comm": process.comm, "label": process.label}


def message_dict(message: Message, hexadecimal: bool = False) -> dict[str, Any]:
    """All of one message; ``hexadecimal`` adds ``payload_hex``."""
    result: dict[str, Any] = {
        "number": message.number,
        "time_ns": message.time_ns,
        "session": message.session,
        "connection": message.connection,
        "channel": str(message.channel),
        "sender": message.sender.value if message.sender else None,
        "request": message.request,
        "name": message.name,
        "flags": message.flags,
        "version": message.version,
        "reply": message.reply,
        "need_reply": message.need_reply,
        "size": message.size,
        "payload": message.payload,
        "fds": [descriptor_dict(descriptor) for descriptor in message.descriptors],
        "process": process_dict(message.process),
        "answers": message.answers,
        "answered_by": message.answered_by,
        "latency_ns": message.latency_ns,
        "malformed": message.malformed,
    }
    if message.told is not None:
        told = message.told
        result["told"] = {"where": told.where, "line": told.line}
        result |= {"flags": told.flags, "size": told.size}
    if hexadecimal:
        data = message.data if message.request is None else message.data[message.channel.header.size :]
        result["payload_hex"] = data.hex()
    result.update(message.more)
    if message.trailing:
        result["trailing_hex"] = message.trailing.hex()
    if message.stack is not None:
        result["stack"] = stack_dict(message.stack)
    if message.restated:
        result["restated"] = True
    return result


_dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


@functools.cache
def _encoder() -> Callable[[Any], bytes]:
    """The fastest JSON encoder there is: msgspec of the extra ``fast``, else the standard library's. Found when JSON is
    first written: text does not pay for it."""
    try:
        import msgspec
    except ImportError:
        return lambda value: _dump(value).encode()
    return msgspec.json.Encoder().encode


def encode(value: Any) -> bytes:
    """Any of the dictionaries above -> one line of JSON, UTF-8, without a newline and without what cannot be seen."""
    try:
        made = _encoder()(value)
    except UnicodeEncodeError:  # a lone surrogate: a name of a file that is no UTF-8
        return escape_json(_dump(value)).encode()
    return made if made.isascii() and b"\x7f" not in made else escape_json(made.decode()).encode()


class _Common(NamedTuple):
    """What the JSON lines of one place have in common."""

    left: tuple[str, str]
    """Session to sender, by the end that sent."""
    processes: tuple[str, str]
    """The process at each end."""
    header_size: int


class _Own(NamedTuple):
    """What follows from the bytes of a message."""

    body: str
    """Request to payload."""
    tail: str
    """What stands behind latency_ns."""


class JsonLines:
    """Makes JSON lines from batches of columns: the text of `message_dict`, put together from pieces.

    Most messages of a long capture repeat one another but for number, time and answer, and to encode a dictionary of
    twenty values costs more than to decode the message (`views.repeated`).
    """

    def __init__(self, hexadecimal: bool = False) -> None:
        self._hexadecimal = hexadecimal
        self._repeated: Repeated[_Common, _Own] = Repeated(_common)
        self._stacks: dict[str, str] = {}
        """Id -> what stands for it at the end of a line."""

    def lines(self, first: int, batch: Batch, places: Sequence[Place], others: Sequence[Other]) -> list[str]:
        """The messages of a batch that was read with data, numbered from ``first``.

        ``others`` holds for each message number and time of its request or reply, or None.
        """
        made: list[str] = []
        append, known, missing = made.append, self._repeated.known, batch.missing
        columns = zip(batch.time_ns, batch.meta, batch.data, batch.options, places, others, strict=True)
        for number, (time_ns, meta, data, options, place, other) in enumerate(columns, first):
            of_place = known.get(place) or self._repeated.of(place)
            left, processes, header_size = of_place[1]
            if meta & NO_MESSAGE or missing or len(data) < header_size:
                append(self._odd(number, batch, number - first, place, other))
                continue
            own = of_place[2].get(data) or self._own(number, batch, number - first, of_place)
            end = end_of(meta)
            fds, process, stack, restated = spoken_of(options) if options else ("[]", None, None, "")
            called = self._stack(stack, batch) if stack else ""
            if other is None:
                answer = NO_ANSWER
            elif meta & REPLY:
                answer = f'"answers":{other[0]},"answered_by":null,"latency_ns":{abs(time_ns - other[1])}'
            else:
                answer = f'"answers":null,"answered_by":{other[0]},"latency_ns":{abs(time_ns - other[1])}'
            append(
                f'{{"number":{number},"time_ns":{time_ns},{left[end]}{own[0]},"fds":{fds},'
                f'"process":{process or processes[end]},{answer}{own[1]}{called}{restated}}}\n'
            )
        return made

    def _stack(self, identity: str, batch: Batch) -> str:
        known = self._stacks.get(identity)
        if known is None:
            said = encode(stack_dict(batch.stacks.get(identity))).decode()
            known = self._stacks[identity] = f',"stack":{said}'
        return known

    def _odd(self, number: int, batch: Batch, row: int, place: Place, other: Other) -> str:
        message = compose(number, batch.frame(row), place, other)
        return encode(message_dict(message, self._hexadecimal)).decode() + "\n"

    def _own(self, number: int, batch: Batch, row: int, of_place: OfPlace[_Common, _Own]) -> _Own:
        frame = batch.frame(row)
        values = message_dict(compose(number, frame, of_place.place), self._hexadecimal)
        values.pop("stack", None)
        values.pop("restated", None)
        names = list(values)
        request, payload, malformed = map(names.index, ("request", "payload", "malformed"))
        body = {name: values[name] for name in names[request : payload + 1]}
        tail = {name: values[name] for name in names[malformed:]}
        own = _Own(encode(body)[1:-1].decode(), "," + encode(tail)[1:-1].decode())
        self._repeated.keep(of_place.words, frame.data, own)
        return own


def _common(place: Place) -> _Common:
    left = []
    for end in (0, 1):
        sender = place.sender(end)
        who = f'"{sender.value}"' if sender else "null"
        left.append(
            f'"session":{place.session},"connection":{place.connection},"channel":"{place.channel}","sender":{who},'
        )
    processes = [encode(process_dict(end.process)).decode() for end in place.ends]
    return _Common((left[0], left[1]), (processes[0], processes[1]), place.channel.header.size)


NO_ANSWER = '"answers":null,"answered_by":null,"latency_ns":null'


@remembered
def spoken_of(options: bytes) -> tuple[str, str | None, str | None, str]:
    """Descriptors and, where it is said, the process that a packet's options name, as JSON; the id of the stack;
    and what ends the line of a restated message."""
    facts, stack, restated = said(options)
    fds = encode([descriptor_dict(one) for one in facts.descriptors]).decode()
    sender = encode(process_dict(facts.process)).decode() if facts.process else None
    return fds, sender, stack, ',"restated":true' if restated else ""
