"""Rules about streams: bytes that are no message, and messages of which their sender did not send all."""

from __future__ import annotations

from vusniff.channel import Sender
from vusniff.checks.finding import FINE, SIDES, Said, Sayings, Severity
from vusniff.checks.step import ConnectionHistory, SessionEnd, Step
from vusniff.message import Message
from vusniff.record import UNDIVIDED, FrameKind

SHOWN = 12
"""Bytes of an unreadable stretch that are shown: as many as a header has."""


def is_raw(message: Message) -> bool:
    """Bytes that no header was found for."""
    return message.request is None and message.name == FrameKind.RAW.name


def lacking(message: Message) -> int:
    """Bytes of its payload that its sender did not send."""
    if message.request is None or len(message.data) >= UNDIVIDED:
        return 0
    return max(message.channel.header.size + message.size - len(message.data) - message.missing, 0)


def follow(link: ConnectionHistory, message: Message) -> None:
    """Remember what a side said last, as long as that is not a whole message."""
    unread = link.unread
    if message.name == FrameKind.CONTINUATION.name:
        return
    if is_raw(message) and message.data and not message.missing:
        before = unread.get(message.sender)
        if before is None or not is_raw(before):
            unread[message.sender] = message
    elif lacking(message):
        unread[message.sender] = message
    else:
        unread.pop(message.sender, None)


def _who(message: Message) -> str:
    return "somebody" if message.sender is None else f"the {message.sender.words}"


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"


def no_message(step: Step) -> Sayings:
    """All that a side sends is messages

    Not judged where the capture may be the reason: behind a loss, and before the first header of a stream that was
    joined late.
    """
    message, link = step.message, step.link
    if not is_raw(message) or message.sender is None or len(message.data) < SHOWN or message.missing:
        return FINE
    before = link.unread.get(message.sender)
    if link.lost or (step.memory.late and not link.asked) or (before is not None and is_raw(before)):
        return FINE
    begin = message.data[:SHOWN].hex(" ")
    words = f"{_who(message)} sends {_bytes(len(message.data))} that do not begin a message: {begin}"
    return (Said(words + (" ..." if len(message.data) > SHOWN else "")),)


def not_finished(step: Step) -> Sayings:
    """A payload is as long as its header says"""
    message = step.message
    before = step.link.unread.get(message.sender)
    if before is None or is_raw(before) or message.name == FrameKind.CONTINUATION.name:
        return FINE
    there = len(before.data) - before.channel.header.size
    words = f"{before.name} says that {_bytes(before.size)} of payload follow; {_bytes(there)} came"
    return (Said(f"{words} before #{message.number}", (message.number,), SIDES[before.sender], number=before.number),)


def stopped_within(end: SessionEnd) -> Sayings:
    """A side ends its stream with a whole message"""
    if end.closed is None or end.closed.lost:
        return FINE
    said = []
    for link in end.memory.links.values():
        for sender, message in link.unread.items():
            if sender is None or link.lost or (is_raw(message) and len(message.data) >= message.channel.header.size):
                continue
            said.append(_stopped(end, sender, message))
    return tuple(said)


def _stopped(end: SessionEnd, sender: Sender, message: Message) -> Said:
    size = message.channel.header.size
    if is_raw(message):
        what = f"{len(message.data)} of {size} bytes of a header"
    elif len(message.data) == size:
        what = f"the header of {message.name} and before its {_bytes(message.size)} of payload"
    else:
        what = f"{len(message.data) - size} of {_bytes(message.size)} of {message.name}'s payload"
    if end.closer is sender.other:
        # Who closed may have had its own reasons, and the rest may have been on its way.
        words = f"the {end.closer.words} closed when the {sender.words} had sent {what}"
        return Said(words, side=SIDES[sender], severity=Severity.NOTE, number=message.number)
    return Said(f"the {sender.words} closed after {what}", side=SIDES[sender], number=message.number)


def never_found_again(end: SessionEnd) -> Sayings:
    """What a side sends can be read to its end"""
    said = []
    for link in end.memory.links.values():
        for sender, message in link.unread.items():
            if sender is None or link.lost or not is_raw(message) or len(message.data) < message.channel.header.size:
                continue
            words = f"nothing that the {sender.words} sent from #{message.number} on could be read as a message"
            said.append(Said(words, side=SIDES[sender], number=message.number))
    return tuple(said)
