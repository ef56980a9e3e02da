"""The device after a message as lines: vrings, memory, features, the rest. Knows no screen."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from vusniff.amounts import counted
from vusniff.analysis.session import Session
from vusniff.analysis.timeline import Timeline
from vusniff.families.family import ShownState, State
from vusniff.families.registry import family_of
from vusniff.families.vhost_user.protocol import NAME, Channels, FrontendRequest
from vusniff.families.vhost_user.state import Config, DeviceState, DirtyLog, Inflight
from vusniff.layouts import dissect
from vusniff.message import Context
from vusniff.printable import escape
from vusniff.record import Descriptor
from vusniff.views import account, evidence, words
from vusniff.views.tui import features, vrings
from vusniff.views.tui.line import Part, Reference, TextLine, cut, line, wrapped
from vusniff.views.tui.live import Live


def reference_to(timeline: Timeline) -> Reference:
    """How lines refer to the messages of a capture."""

    def refer(number: int) -> str:
        channel = timeline.place(number - 1).channel
        request_name = functools.partial(family_of(channel).request_name, channel)
        reply = " reply" if timeline.index.meta[number - 1] & 4 else ""
        return f"#{number} {request_name(timeline.index.request[number - 1])}{reply}"

    return refer


def vring_of(timeline: Timeline, row: int) -> int | None:
    """The vring that a message, or the request it answers, names."""
    message = timeline.message(row)
    if message.channel.family != NAME:
        return None
    index = (message.payload or {}).get("index")
    if index is None and message.answers:
        index = (timeline.message(message.answers - 1).payload or {}).get("index")
    return index if isinstance(index, int) else None


def state_lines(
    timeline: Timeline, row: int, before: State, state: State, chosen: int | None, width: int
) -> list[TextLine]:
    """The state after a row in lines of ``width`` cells; ``chosen`` is the vring whose card is shown."""
    refer = reference_to(timeline)
    lines: list[TextLine] = []
    session = timeline.sessions[timeline.place(row).session - 1]
    if session.closed is not None and row + 1 == session.last:
        lines += [
            TextLine(parts, key="end") for parts in wrapped(ending(timeline, session).split(), width, "", "", "strong")
        ]
    if not state.fresh:
        lines.append(line(("Joined late: ? is what was set before the capture began.", "warn"), key="late"))
    if not isinstance(state, DeviceState):
        return [*lines, *table_lines(before, state, width)]
    live = Live(timeline, row, session.number, timeline.standings(session.number, row, state))
    lines += rings(before, state, chosen, width, refer, live)
    lines.append(line())
    lines += memory(before, state, width, refer)
    lines.append(line())
    lines += features.summary(timeline, row, before, state, width, refer)
    lines += others(before, state, refer)
    return lines


def table_lines(before: ShownState, state: ShownState, width: int) -> Iterator[TextLine]:
    """A state that says itself how it is shown: its tables, each row with the message that set it."""
    known = {(one.title, row, by) for one in before.tables() for row, by in zip(one.rows, one.by, strict=True)}
    for number, one in enumerate(state.tables()):
        if number:
            yield line()
        many = f"  {len(one.rows)}" if one.rows else "  nothing seen"
        yield line((one.title, "heading"), many, key=one.title)
        sizes = [
            max(len(head), *(len(escape(row[n])) for row in one.rows)) if one.rows else 0
            for n, head in enumerate(one.columns)
        ]
        if one.rows:
            heads = "  ".join(f"{head:<{size}}" for head, size in zip(one.columns, sizes, strict=True))
            yield line((cut(f"  {heads}".rstrip(), width), "dim"))
        for place, (row, by_) in enumerate(zip(one.rows, one.by, strict=True)):
            fresh = (one.title, row, by_) not in known
            text = "  ".join(f"{escape(cell):<{size}}" for cell, size in zip(row, sizes, strict=True)).rstrip()
            yield line(
                Part("* " if fresh else "  ", "changed"),
                (text, "changed" if fresh else ""),
                (f"  #{by_}" if by_ else "", "link"),
                jump=by_,
                key=f"{one.title} {place}",
            )


def rings(
    before: DeviceState, state: DeviceState, chosen: int | None, width: int, refer: Reference, live: Live
) -> Iterator[TextLine]:
    """All vrings, and the card of one; the card stands first where the others fill the screen."""
    many = len(state.vrings)
    card = list(vrings.card(before, state, chosen, width, refer, live)) if chosen is not None else []
    if many > vrings.DENSE and card:
        yield from card
        yield line()
        card = []
    if many:
        shape = {None: "", True: ", packed", False: ", split"}[state.packed]
        yield line((f"Vrings  {many}{shape}", "heading"), key="vrings")
        if many <= vrings.DENSE:
            yield from vrings.table(before, state, chosen, width, live)
        else:
            yield from vrings.dense(before, state, chosen, width)
    else:
        yield line(("Vrings", "heading"), "  none set up yet", key="vrings")
    if card:
        yield line()
        yield from card


def ending(timeline: Timeline, session: Session) -> str:
    """How a session ended, and by whom where that is known."""
    closed = session.closed
    if closed is None:
        return "Still open."
    is_call = family_of(timeline.tracker.channel(closed.connection)).own == "call"
    link = "device file" if is_call else "connection"
    if closed.reason == "capture ended":
        exits = evidence.sentences(timeline.exits(next(iter(session.connections))))
        return f"The capture ends here; the {link} was still open{escape(exits)}."
    after = ""
    if session.last:
        after = f", {words.duration(closed.time_ns - timeline.time_ns(session.last - 1))} after its last message"
    ended = escape(account.ending(timeline, closed, session))
    return f"The {'session' if is_call else 'connection'} ends here{after}: {ended}."


def star(before: object, after: object) -> Part:
    """The mark of what the last message changed."""
    return Part("*" if before != after else " ", "changed")


def by(number: int, refer: Reference) -> tuple[str, str]:
    """A reference to the message that set something."""
    return (f"  {refer(number)}" if number else "", "link")


def memory(before: DeviceState, state: DeviceState, width: int, refer: Reference) -> Iterator[TextLine]:
    """The regions."""
    regions = state.regions
    mark = star((before.regions, before.regions_by), (state.regions, state.regions_by))
    if not regions:
        text = "unknown" if state.memory_unknown else "no regions"
        yield line(
            mark, ("Memory", "heading"), f"  {text}", by(state.regions_by, refer), jump=state.regions_by, key="mem"
        )
        return
    many = f"{len(regions)} region{'s' if len(regions) > 1 else ''}{' or more' if state.regions_part else ''}"
    total = words.size(sum(region.size for region in regions))
    yield line(
        mark,
        ("Memory", "heading"),
        f"  {many}, {total}",
        by(state.regions_by, refer),
        ("   M: map", "dim"),
        jump=state.regions_by,
        key="mem",
    )
    rows = []
    for position, region in enumerate(regions):
        descriptor = words.descriptor(region.descriptor) if region.descriptor else "-"
        offset = f" @{region.mmap_offset:#x}" if region.mmap_offset else ""
        rows.append(
            (
                f"r{position}",
                f"{region.guest_address:#x}",
                f"+{words.size(region.size)}",
                f"{region.user_address:#x}",
                escape(descriptor + offset),
            )
        )
    heads = ("", "guest", "size", "user", "descriptor")
    sizes = [max(len(head), *(len(row[n]) for row in rows)) for n, head in enumerate(heads)]
    yield line(("  " + "  ".join(f"{head:<{size}}" for head, size in zip(heads, sizes, strict=True)).rstrip(), "dim"))
    known = before.regions or ()
    for position, (region, row) in enumerate(zip(regions, rows, strict=True)):
        text = "  ".join(f"{cell:<{size}}" for cell, size in zip(row, sizes, strict=True)).rstrip()
        fresh = region not in known
        yield line(
            Part("* " if fresh else "  ", "changed"),
            (text, "changed" if fresh else ""),
            jump=region.by,
            key=f"region {position}",
        )


OTHERS = (
    ("owner", "owned"),
    ("queues", "queue_num"),
    ("memory slots", "max_mem_slots"),
    ("MTU", "mtu"),
    ("status", "status"),
    ("config", "config"),
    ("inflight", "inflight"),
    ("dirty log", "log"),
    ("log eventfd", "log_fd"),
    ("back-end ch.", "backend_channel"),
    ("GPU socket", "gpu_socket"),
    ("postcopy", "postcopy"),
    ("device state", "device_state"),
)
"""Names on the screen and in `DeviceState`."""


def others(before: DeviceState, state: DeviceState, refer: Reference) -> Iterator[TextLine]:
    """A line for each other value that was set."""
    shown = [(label, name, seen) for label, name in OTHERS if (seen := getattr(state, name)) is not None]
    if shown or state.refused or state.iotlb or state.shmem:
        yield line()
        yield line((" Also", "heading"), key="also")
    for label, name, seen in shown:
        mark, value = star(getattr(before, name), seen), escape(value_words(name, seen.value))
        yield line(mark, (f" {label:<13}", "dim"), value, by(seen.by, refer), jump=seen.by, key=name)
    if state.iotlb:
        yield line(
            star(before.iotlb, state.iotlb), (f" {'IOTLB':<13}", "dim"), f"{len(state.iotlb)} entries", key="iotlb"
        )
    if state.shmem:
        yield line(star(before.shmem, state.shmem), (f" {'shared mem.':<13}", "dim"), f"{len(state.shmem)} mappings")
    for refusal in state.refused:
        yield line(
            Part("*" if refusal not in before.refused else " ", "changed"),
            (f" {'refused':<13}", "dim"),
            (f"#{refusal.request} {refusal.name}", "bad"),
            f" with {refusal.value:#x}",
            (f"  #{refusal.by}", "link"),
            jump=refusal.by,
            key=f"refused {refusal.by}",
        )


def status_names(value: int) -> list[str]:
    """Names of the bits of a device status."""
    data = value.to_bytes(8, "little")
    decoded = dissect.payload(Channels.MAIN, FrontendRequest.SET_STATUS, False, data, 0, Context())
    return list((decoded.payload or {}).get("u64_names", ()))


def value_words(name: str, value: object) -> str:
    """A single value of the state in words; ``name`` is that of the field of `DeviceState`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Descriptor):
        return words.descriptor(value)
    if isinstance(value, Config):
        return f"{counted(len(value.data), 'byte')}, {sum(value.known)} of them seen"
    if isinstance(value, Inflight):
        held = f", {words.descriptor(value.descriptor)}" if value.descriptor else ""
        return f"{counted(value.num_queues, 'queue')} of {value.queue_size}, {words.size(value.mmap_size)}{held}"
    if isinstance(value, DirtyLog):
        size = f"{words.size(value.size)} " if value.size is not None else ""
        held = f", {words.descriptor(value.descriptor)}" if value.descriptor else ""
        return f"{size}at {value.offset:#x}{held}"
    if name == "status" and isinstance(value, int):
        return f"{value:#x} {' '.join(status_names(value))}".rstrip()
    if name == "device_state":
        return {0: "save", 1: "load"}.get(value, str(value))  # type: ignore[call-overload,no-any-return]
    return str(value)
