"""Rules about the header, the size of a payload and the descriptors that come with a message."""

from __future__ import annotations

from vusniff.amounts import counted
from vusniff.channel import Sender
from vusniff.checks.finding import FINE, Said, Sayings, Severity
from vusniff.checks.peers import Implementation
from vusniff.checks.step import Step
from vusniff.families.vhost_user.protocol import (
    FLAG_VERSION,
    HEADER_SIZE,
    VERSION,
    BackendRequest,
    Channels,
    FrontendRequest,
)
from vusniff.record import FrameKind

F, B = FrontendRequest, BackendRequest

RESERVED_FLAGS = ~0xF


def version(step: Step) -> Sayings:
    """The version bits of the header are 1

    Not on the GPU socket: its header has no version.
    """
    message = step.message
    if message.request is None or message.channel is Channels.GPU or message.version == VERSION:
        return FINE
    return (Said(f"{message.name} has version {message.version} in its flags ({message.flags:#x}) instead of 1"),)


def reply_flag(step: Step) -> Sayings:
    """A message has the reply flag if and only if it is a reply"""
    message = step.message
    asks = message.channel.requester
    if message.request is None or message.sender is None or asks is None:
        return FINE
    who = f"the {message.sender.words}"
    if message.sender is asks and message.reply:
        return (Said(f"{who} sends {message.name} with the reply flag, which only answers have"),)
    if message.sender is not asks and not message.reply and not _asks_too(step):
        return (Said(f"{who} sends {message.name} without the reply flag, which every answer has"),)
    return FINE


_FIRST_QUESTIONS = frozenset({F.GET_FEATURES, F.SET_OWNER})


def _asks_too(step: Step) -> bool:
    """What stands in the place of the back-end begins as a front-end does, and has answered nothing: a reply to
    GET_FEATURES has a payload, and SET_OWNER has no reply."""
    message, memory = step.message, step.memory
    asks = message.channel is Channels.MAIN and message.sender is Sender.BACKEND and not message.reply
    return asks and not memory.answered and message.request in _FIRST_QUESTIONS and not message.size


def two_frontends(step: Step) -> Sayings:
    """One of the two sides is a back-end"""
    if not _asks_too(step):
        return FINE
    words = f"both sides ask as front-ends do ({step.message.name} comes from either): no back-end is there to answer"
    return (Said(words),)


def reserved_flags(step: Step) -> Sayings:
    """Bits 4 to 31 of the flags are 0

    On the GPU socket see gpu-flags-not-set.
    """
    message = step.message
    if message.request is None or not message.flags & RESERVED_FLAGS or message.channel is Channels.GPU:
        return FINE
    bits = message.flags & RESERVED_FLAGS
    return (Said(f"{message.name} has unassigned flag bits {bits:#x}; rust-vmm and crosvm refuse them"),)


def gpu_flags(step: Step) -> Sayings:
    """The flags of messages on the GPU socket are set

    contrib/vhost-user-gpu sends GPU_UPDATE with flags as they were in memory, and QEMU does not look at them.
    """
    message = step.message
    if message.request is None or message.channel is not Channels.GPU:
        return FINE
    if not message.flags & (RESERVED_FLAGS if message.reply else ~FLAG_VERSION):
        return FINE
    words = f"the flags of {message.name} are {message.flags:#x}, of which nothing has a meaning there"
    return (Said(f"{words}: they were probably never set"),)


def need_reply_in_reply(step: Step) -> Sayings:
    """A reply has need_reply clear

    The specification gives the bit no meaning in a reply. libvhost-user leaves it as it was in the request, which
    its other front-ends do not mind; QEMU and DPDK's virtio-user take flags 0x5 only.
    """
    message = step.message
    if message.request is None or not (message.reply and message.need_reply):
        return FINE
    strict = (
        step.memory.frontend.program in (Implementation.QEMU, Implementation.DPDK) and message.channel is Channels.MAIN
    )
    return (
        Said(
            f"reply to {message.name} still has need_reply set (flags {message.flags:#x}); "
            "QEMU and DPDK virtio-user refuse such a reply, libvhost-user sends it",
            severity=None if strict else Severity.NOTE,
        ),
    )


def payload_size(step: Step) -> Sayings:
    """The payload has the size of its layout

    Bytes behind a whole layout are refused by rust-vmm and ignored by others (user-mode Linux sends a memory table with
    room for a second region), so they are a warning.
    """
    message = step.message
    if message.request is None or message.spec is None or message.channel is Channels.UNKNOWN:
        return FINE
    if len(message.data) < HEADER_SIZE + message.size:
        return FINE  # not captured in full: nothing can be said
    kind = "reply to " if message.reply else ""
    if message.malformed is not None:
        return (Said(f"{kind}{message.name} cannot be read: {message.malformed}"),)
    if message.trailing:
        left = len(message.trailing)
        layout = f"that {message.layout or 'an empty payload'} has"
        used = message.size - left
        sentence = f"{kind}{message.name} has {counted(message.size, 'byte')}, {left} more than the {used} {layout}"
        return (Said(sentence, severity=Severity.ERROR if used == 0 else Severity.WARNING),)
    return FINE


def padding_zero(step: Step) -> Sayings:
    """Padding is 0

    Nobody looks at it, and programs that do not clear their memory send what was there: a remark.
    """
    padding = step.values.get("padding") or step.values.get("unused")
    if not padding or (isinstance(padding, str) and not padding.strip("0")):
        return FINE
    value = padding if isinstance(padding, str) else f"{padding:#x}"
    return (Said(f"{step.message.name} has {value} in its padding"),)


def descriptors_late(step: Step) -> Sayings:
    """Descriptors come with the first byte of the header

    libvhost-user (vu_message_read_default) and DPDK (read_vhost_message) receive the header with room for descriptors
    and then read the payload without: what comes later is lost.
    """
    message = step.message
    if message.request is None:
        late = len(message.descriptors) if message.name == FrameKind.CONTINUATION.name else 0
    else:
        late = sum(descriptor.late for descriptor in message.descriptors)
    if not late:
        return FINE
    come = "1 descriptor comes" if late == 1 else f"{late} descriptors come"
    of = f"{message.name}" if message.request is not None else "a message"
    reads = "" if message.sender is Sender.BACKEND else "; libvhost-user and DPDK look for them only there"
    return (Said(f"{come} in the middle of {of}, not with its first byte{reads}"),)


OWN_RULE = frozenset({F.SET_MEM_TABLE, F.REM_MEM_REG, F.ADD_MEM_REG, F.SET_DEVICE_STATE_FD})
"""Main requests whose descriptors have rules of their own."""


def descriptors_unexpected(step: Step) -> Sayings:
    """Descriptors come only with messages that define them

    SHARED_OBJECT_LOOKUP: rust-vmm's back-end attaches the object to its request, where the specification has it in
    the reply.
    """
    message = step.message
    spec, count = message.spec, len(message.descriptors)
    if message.request is None or spec is None or not count:
        return FINE
    if message.channel is Channels.MAIN and not message.reply and message.request in OWN_RULE:
        return FINE
    most = spec.reply_fds[1] if message.reply else spec.fds[1]
    if count <= most:
        return FINE
    kind = "reply to " if message.reply else ""
    lookup = (Channels.BACKEND, B.BACKEND_SHARED_OBJECT_LOOKUP, False)
    known = (
        "; rust-vmm does that, the specification has it in the reply"
        if (message.channel, message.request, message.reply) == lookup
        else ""
    )
    carried = counted(count, "descriptor")
    return (Said(f"{kind}{message.name} carries {carried} instead of {most or 'none'}{known}"),)


FLAGS_AS_EXPECTED = frozenset(
    [(Channels.MAIN, Sender.FRONTEND, flags) for flags in (1, 9)]
    + [(Channels.MAIN, Sender.BACKEND, 5)]
    + [(Channels.BACKEND, Sender.BACKEND, flags) for flags in (1, 9)]
    + [(Channels.BACKEND, Sender.FRONTEND, 5)]
    + [(Channels.GPU, Sender.BACKEND, flags) for flags in (0, 1)]
    + [(Channels.GPU, Sender.FRONTEND, flags) for flags in (4, 5)]
)
"""Channel, sender and flags of headers that break no rule of this module: all others are looked at."""
