"""``vusniff rings --dump``: what is available and not used in the rings of running devices, read from their memory now.

A capture that is being recorded, or that was, says where the rings are; the processes that held the ends of its
connections must still run. Nothing of it is written anywhere but where ``--store`` says.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vusniff import terminal
from vusniff.printable import escape
from vusniff.values import replace

if TYPE_CHECKING:
    from vusniff.analysis.timeline import Timeline
    from vusniff.families.places import Places, RingPlace
    from vusniff.record import Ends, RingDump
    from vusniff.sources.rings.chains import DeviceMemory

MOST = 65536
_MODERN = 1 << 32 | 1 << 15
"""VIRTIO_F_VERSION_1, VIRTIO_NET_F_MRG_RXBUF: with either the header of a packet has 12 bytes, else 10."""


def count(words: str) -> int:
    """The argument of --dump."""
    if not words.isascii() or not words.isdigit() or not 0 < int(words) <= MOST:
        raise argparse.ArgumentTypeError(f"{words!r} is not a number of requests: give 1 to {MOST}")
    return int(words)


def dump(timeline: Timeline, sessions: list[int], args: argparse.Namespace) -> int:
    """Print what waits in the rings of open sessions, and store it where that is asked for; 1 where nothing could be
    read."""
    from vusniff.files import check_output
    from vusniff.views import chains, jsonl

    if args.store is not None:
        check_output(args.store)
    found: list[RingDump] = []
    for number, one in _dumps(timeline, sessions, args):
        found.append(one)
        if args.json:
            terminal.put_json(jsonl.encode({"session": number, **chains.values(one)}) + b"\n")
        else:
            for line in chains.lines(one):
                terminal.put(escape(f"session {number}: {line}") + "\n")
    if args.store is not None and found:
        _store(timeline, args.store, found)
    return 0 if found else 1


def _dumps(timeline: Timeline, sessions: list[int], args: argparse.Namespace) -> Iterator[tuple[int, RingDump]]:
    """Session, and what waits in one of its rings."""
    from vusniff.sources.rings.access import Access
    from vusniff.sources.rings.chains import DeviceMemory

    access = Access()
    try:
        for number in (one for one in sessions if one > 0):
            session = timeline.sessions[number - 1]
            rows = timeline.rows_of(number)
            find = session.family.places
            if session.closed is not None or find is None or not len(rows):
                terminal.tell(f"session {number}: it has ended, so nobody holds its rings")
                continue
            state = timeline.session_state(number, rows[-1])
            places = find(state)
            for index, why in places.unreadable:
                terminal.tell(escape(f"session {number}: ring {index} is not readable: {why}"))
            if places.why is not None:
                terminal.tell(escape(f"session {number}: {places.why}"))
            ends, pids = _ends(timeline, number)
            memory = DeviceMemory(places, access, pids)
            device = timeline.ring_history.device(number)
            features = getattr(getattr(state, "features", None), "value", 0)
            for one in _dumped(places, memory, device, features, args):
                yield number, replace(one, ends=ends)
    finally:
        access.close()


def _store(timeline: Timeline, target: str, dumps: list[RingDump]) -> None:
    """A copy of the capture so far, with what was found behind it."""
    from vusniff.capture import dumps as stored
    from vusniff.views.export.annotated import copy

    copy(timeline, target, [piece for one in dumps for piece in stored.pieces(one)])
    terminal.tell(escape(f"{target}: a copy of the capture, with the headers of what waits"))


def _ends(timeline: Timeline, number: int) -> tuple[Ends, list[int]]:
    """The front-end's end of a session's main connection, and the processes at both, the front-end's first."""
    session = timeline.sessions[number - 1]
    main, front = timeline.tracker.sides(session)
    ends = (main.ends[front], main.ends[1 - front])
    return ((main.id, front),), [end.process.pid for end in ends if end.process is not None]


def _dumped(
    places: Places, memory: DeviceMemory, device: str | None, features: int, args: argparse.Namespace
) -> Iterator[RingDump]:
    from vusniff.record import RingDump
    from vusniff.sources.rings.access import UnreadableError
    from vusniff.sources.rings.chains import waiting

    for place in places.rings:
        if args.ring not in (None, place.index):
            continue
        size = header_size(place, device, features)
        try:
            there, found = waiting(place, memory, args.dump, size)
        except (UnreadableError, OSError) as error:
            why = getattr(error, "strerror", None) or str(error)
            terminal.tell(escape(f"ring {place.index} is not readable: {why}"))
            continue
        kind = device if size and device else ""
        yield RingDump(time.time_ns(), place.index, place.packed, there, 0, tuple(found), kind, place.order)


def header_size(place: RingPlace, device: str | None, features: int) -> int:
    """Bytes with which a request of a ring begins; 0 for a ring with other requests."""
    from vusniff.families.vhost_user.protocol import Channels
    from vusniff.families.vhost_user.queues import Purpose, purpose
    from vusniff.layouts import dissect
    from vusniff.layouts.parts import tree

    if purpose(device, place.index) is not Purpose.REQUESTS or (device == "scsi" and place.index < 2):
        return 0
    layout = dissect.load()[Channels.MAIN].headers.get(device or "")
    if layout is None:
        return 0
    return 10 if device == "net" and not features & _MODERN else tree(layout, place.order).size or 0
