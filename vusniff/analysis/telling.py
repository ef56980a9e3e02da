"""What a log tells of a message, as a decoded message has it. Pure.

Values that make a whole payload are read like one, so that fields, names of bits and layouts are those of any message;
fewer stay as they are, and the rest is unknown. Nothing that is decoded here becomes bytes of a message.
"""

from __future__ import annotations

from vusniff.channel import Channel
from vusniff.errors import DissectorError
from vusniff.layouts import dissect
from vusniff.layouts.parts import layouts_of
from vusniff.message import Context
from vusniff.meta import REPLY
from vusniff.told import REST_UNKNOWN, Told


def flags_of(told: Told) -> int:
    """The header's flags; only whether it is a reply where the log tells no more."""
    return told.flags if told.flags is not None else REPLY if told.reply else 0


def decode(told: Told, channel: Channel, context: Context) -> dissect.Decoded:
    """Its payload as far as it is known: in full, or with `REST_UNKNOWN` as what is malformed."""
    from vusniff.layouts.build import build  # needed only where a log is read

    spec = dissect.spec_of(channel, told.request)
    bare = dissect.payload(channel, told.request, told.reply, b"", 0, context)
    if spec is None:
        return bare._replace(payload=dict(told.values), malformed=REST_UNKNOWN)
    if not told.values:
        if told.size == 0 or not (told.reply or layouts_of(spec.payload)):
            return bare
        return bare._replace(payload={}, layout=None, malformed=REST_UNKNOWN, trailing=b"")
    acknowledgement = dissect.load()[channel].ack
    layouts = [*layouts_of(spec.reply if told.reply else spec.payload)]
    if told.reply and acknowledgement is not None:
        layouts.append(acknowledgement)
    for layout in layouts:
        try:
            data = build(layout, told.values, context)
        except DissectorError:
            continue
        read = dissect.payload(channel, told.request, told.reply, data, 0, context)
        if read.malformed is None and not read.trailing and read.payload:
            return read
    return bare._replace(payload=dict(told.values), layout=None, malformed=REST_UNKNOWN, trailing=b"")
