"""What programs call: open a capture, go through it step by step, decode one message."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vusniff.analysis.compose import compose
from vusniff.analysis.session import Place
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.batch import Event
from vusniff.capture.index import Index
from vusniff.channel import Channel, Sender
from vusniff.checks.finding import Finding
from vusniff.errors import DissectorError
from vusniff.families.family import State
from vusniff.families.registry import channel_named
from vusniff.message import Context, Message
from vusniff.record import End, Frame


def open_capture(*paths: str | Path, device: str | None = None) -> Timeline:
    """Open one capture, or several merged by time, and read what is there.

    ``device`` names the device type where it is not to be deduced. Raises `CaptureError` for what is not a capture.
    """
    timeline = Timeline(Index(paths), device)
    read_all(timeline)
    return timeline


def evidence(timeline: Timeline) -> Iterator[tuple[int, Event]]:
    """All that a capture holds besides messages, in order: connections, their ends, losses, ends of processes, and
    evidence of kinds that this version does not know. Each with the number of the message that it stands before; what
    comes behind the last message has the number that the next would have."""
    for row, event in timeline.index.events:
        yield row + 1, event


class Analyzed(NamedTuple):
    """One step of a capture."""

    message: Message
    state: State
    """The device after the message."""
    findings: tuple[Finding, ...]
    """What the rules say of it; a finding about what never came stands at the message that should have followed."""


def analyze(timeline: Timeline) -> Iterator[Analyzed]:
    """Go through a capture message by message, with the state after each and what the rules found.

    The capture is taken to end with its last message: what its open sessions are left with is judged too.
    """
    while timeline.analyse():
        pass
    timeline.conclude()
    for message, _, _, _, after in timeline.steps():
        yield Analyzed(message, after, timeline.findings_at(message.number - 1))


def decode(
    data: bytes,
    channel: Channel | str = "main",
    sender: Sender | str | None = None,
    context: Context | None = None,
) -> Message:
    """Decode one message, header and payload. Raises `DissectorError` when it is shorter than a header."""
    channel = channel_named(channel)
    if len(data) < channel.header.size:
        raise DissectorError(f"a message has at least {channel.header.size} bytes, this one {len(data)}")
    requester = channel.requester or Sender.FRONTEND
    end = 0 if sender is None or Sender(sender) is requester else 1
    place = Place(1, 1, channel, 0, context or Context(), (End(), End()))
    return compose(1, Frame(1, end, 0, data), place)
