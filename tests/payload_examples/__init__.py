"""Payloads of every request and reply as bytes written by hand, with the values they must decode to."""

from __future__ import annotations

from typing import Any, NamedTuple

from vusniff.channel import Channel
from vusniff.families.vhost_user.protocol import Channels
from vusniff.message import Context

MAIN, BACKEND, GPU = Channels.MAIN, Channels.BACKEND, Channels.GPU
REQUEST, REPLY = False, True

PLAIN = Context()
NET = Context(device="net", packed=False)
PACKED = Context(packed=True)
SPLIT = Context(packed=False)
XEN = Context(xen_mmap=True)
LOG_SHMFD = Context(log_shmfd=True)
POSTCOPY = Context(postcopy=True)
BLK = Context(device="blk")

ACK = ("00000000 00000000", {"u64": 0, "success": True})
NACK = ("01000000 00000000", {"u64": 1, "success": False})
UUID = "a1b2c3d4 e5f6 4718 8192 0a0b0c0d0e0f"
UUID_TEXT = "a1b2c3d4-e5f6-4718-8192-0a0b0c0d0e0f"


class Example(NamedTuple):
    channel: Channel
    request: int
    reply: bool
    context: Context
    hex: str
    payload: dict[str, Any]
    layout: str | None


def example(
    channel: Channel,
    request: int,
    reply: bool,
    text: str,
    payload: dict[str, Any],
    layout: str | None = None,
    context: Context = PLAIN,
) -> Example:
    """Channel, number, `REQUEST` or `REPLY`, the payload in hexadecimal, what it must decode to, and the name of its
    layout, as `example(MAIN, 8, REQUEST, "01000000 00010000", {"index": 1, "num": 256}, "vring_state")`."""
    return Example(channel, request, reply, context, text, payload, layout)


def empty(channel: Channel, request: int, reply: bool = REQUEST) -> Example:
    """A message without a payload."""
    return example(channel, request, reply, "", {}, None)


def ack(channel: Channel, request: int, context: Context = PLAIN) -> Example:
    """The acknowledgement of a request that has no reply of its own."""
    return example(channel, request, REPLY, *ACK, "ack", context)
