"""``vusniff rings --dump``: what is available and not used in the rings of running devices, read from their memory now.

A capture that is being recorded, or that was, says where the rings are; the processes that held the ends of its
connections must still run. Nothing of it is written anywhere.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vusniff import terminal
from vusniff.printable import escape

if TYPE_CHECKING:
    from vusniff.analysis.timeline import Timeline
    from vusniff.families.places import Places, RingPlace
    from vusniff.message import Layout
    from vusniff.sources.rings.chains import DeviceMemory

MOST = 65536
_MODERN = 1 << 32 | 1 << 15
"""VIRTIO_F_VERSION_1, VIRTIO_NET_F_MRG_RXBUF: with either the header of a packet has 12 bytes, else 10."""


def count(words: str) -> int:
    """The argument of --dump."""
    if not words.isascii() or not words.isdigit() or not 0 < int(words) <= MOST:
        raise argparse.ArgumentTypeError(f"{words!r} is no number of requests: give 1 to {MOST}")
    return int(words)


def dump(timeline: Timeline, sessions: list[int], args: argparse.Namespace) -> int:
    """Print what waits in the rings of open sessions; 1 where nothing could be read."""
    from vusniff.sources.rings.access import Access
    from vusniff.sources.rings.chains import DeviceMemory

    done = 0
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
            memory = DeviceMemory(places, access, _pids(timeline, number))
            device = timeline.ring_history.device(number)
            features = getattr(getattr(state, "features", None), "value", 0)
            for one in _dumped(places, memory, device, features, args):
                terminal.put_json(one) if isinstance(one, bytes) else terminal.put(
                    escape(f"session {number}: {one}") + "\n"
                )
                done += 1
    finally:
        access.close()
    return 0 if done else 1


def _pids(timeline: Timeline, number: int) -> list[int]:
    session = timeline.sessions[number - 1]
    main = timeline.tracker.connections(session)[0]
    sender = timeline.tracker.sender(main.id, 0)
    ends = main.ends if sender is None or sender is sender.FRONTEND else main.ends[::-1]
    return [end.process.pid for end in ends if end.process is not None]


def _dumped(
    places: Places, memory: DeviceMemory, device: str | None, features: int, args: argparse.Namespace
) -> Iterator[Any]:
    from vusniff.sources.rings.access import UnreadableError
    from vusniff.sources.rings.chains import waiting
    from vusniff.views import chains, jsonl

    for place in places.rings:
        if args.ring not in (None, place.index):
            continue
        layout, size = header_of(place, device, features)
        try:
            there, found = waiting(place, memory, args.dump, size)
        except (UnreadableError, OSError) as error:
            why = getattr(error, "strerror", None) or str(error)
            terminal.tell(escape(f"ring {place.index} is not readable: {why}"))
            continue
        told = [(chain, chains.header_values(layout, chain.header, place.order)) for chain in found]
        if args.json:
            values = {"ring": place.index, "waiting": there, "chains": [chains.chain_dict(*one) for one in told]}
            yield jsonl.encode(values) + b"\n"
            continue
        what = "descriptors" if place.packed else "requests"
        yield f"ring {place.index}: {there} {what} available and not used"
        for one in told:
            yield from chains.lines(*one)


def header_of(place: RingPlace, device: str | None, features: int) -> tuple[Layout | None, int]:
    """How a request of a ring begins, and how many bytes that are; of rings with other requests None and 0."""
    from vusniff.families.vhost_user.protocol import Channels
    from vusniff.families.vhost_user.queues import Purpose, purpose
    from vusniff.layouts import dissect
    from vusniff.layouts.parts import tree

    if purpose(device, place.index) is not Purpose.REQUESTS or (device == "scsi" and place.index < 2):
        return None, 0
    layout = dissect.load()[Channels.MAIN].headers.get(device or "")
    if layout is None:
        return None, 0
    size = tree(layout, place.order).size or 0
    return layout, 10 if device == "net" and not features & _MODERN else size
