"""One message as JSON: the documented, stable form of ``read --json``, ``decode --json`` and exports.

Numbers are JSON integers, unknown is null. Keys: number, time_ns, session, connection, channel, sender, request, name,
flags, version, reply, need_reply, size, payload, payload_hex (on demand), fds, process, answers, answered_by,
latency_ns, malformed, trailing_hex (only where bytes are left over).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from vusniff.message import Message
from vusniff.protocol import HEADER_SIZE
from vusniff.record import Descriptor, Process


def descriptor_dict(descriptor: Descriptor) -> dict[str, Any]:
    """A descriptor: number, kind, identity, name, size."""
    return {
        "number": descriptor.number,
        "kind": descriptor.kind.value,
        "identity": descriptor.identity,
        "name": descriptor.name,
        "size": descriptor.size,
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
        "channel": message.channel.value,
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
    if hexadecimal:
        data = message.data if message.request is None else message.data[HEADER_SIZE:]
        result["payload_hex"] = data.hex()
    if message.trailing:
        result["trailing_hex"] = message.trailing.hex()
    return result


def _encoder() -> Callable[[Any], bytes]:
    """The fastest JSON encoder there is: msgspec of the extra ``fast``, else the standard library's."""
    try:
        import msgspec
    except ImportError:
        dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
        return lambda value: dump(value).encode("utf-8", "surrogatepass")
    return msgspec.json.Encoder().encode


encode = _encoder()
"""Any of the dictionaries above -> one line of JSON, UTF-8, without a newline."""
