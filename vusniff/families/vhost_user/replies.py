"""Which requests of vhost-user are answered, by the tables of the dissectors and what the session has negotiated.

Sources are sections of the specification: "Communication" for requests with a reply of their own,
"VHOST_USER_PROTOCOL_F_REPLY_ACK" for need_reply, "Front-end message types" for postcopy.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from vusniff.channel import Channel
from vusniff.families.pairing import Due, Pairing
from vusniff.families.vhost_user.protocol import Channels, FrontendRequest, ProtocolFeature
from vusniff.families.vhost_user.reading import VhostUserReading
from vusniff.layouts import dissect
from vusniff.message import Context, MessageSpec

ACKNOWLEDGE_ADDRESSES = ((Channels.MAIN, FrontendRequest.SET_MEM_TABLE), (Channels.MAIN, FrontendRequest.ADD_MEM_REG))
"""In postcopy the front-end sends these once more, without descriptors, to acknowledge the back-end's addresses: that
is no request (QEMU vhost_user_set_mem_table_postcopy, vhost_user_add_remove_regions)."""


def due(channel: Channel, reading: VhostUserReading, fresh: bool) -> Due:
    """Which of a channel's requests are answered. See `vusniff.families.family.Family.due`."""
    log_shmfd = reading.has(ProtocolFeature.LOG_SHMFD, fresh)
    return _due(channel, log_shmfd, reading.postcopy, reading.has(ProtocolFeature.REPLY_ACK, fresh))


@functools.lru_cache(maxsize=256)
def _due(channel: Channel, log_shmfd: bool | None, postcopy: bool, reply_ack: bool | None) -> Due:
    dissector = dissect.load().get(channel)
    specs = dissector.specs.values() if dissector else ()
    return dict(entry for spec in specs for entry in _entries(channel, spec, log_shmfd, postcopy, reply_ack))


def _entries(
    channel: Channel, spec: MessageSpec, log_shmfd: bool | None, postcopy: bool, reply_ack: bool | None
) -> Iterator[tuple[int, Pairing]]:
    own = Pairing.UNASKED
    if spec.has_reply(Context(log_shmfd=bool(log_shmfd), postcopy=postcopy)):
        again = postcopy and (channel, spec.code) in ACKNOWLEDGE_ADDRESSES
        own = Pairing.DUE_WITH_DESCRIPTORS if again else Pairing.DUE
    elif spec.may_answer is not None and log_shmfd is None:
        own = Pairing.OPTIONAL
    yield spec.code << 1, own
    # need_reply means something only where REPLY_ACK is negotiated; QEMU sets it without on three requests.
    asked = Pairing.DUE if reply_ack else Pairing.OPTIONAL
    yield spec.code << 1 | 1, asked if own is Pairing.UNASKED else own
