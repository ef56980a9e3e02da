"""Feature negotiation as lines: a summary for the state pane, and the matrix of every bit. Knows no screen."""

from __future__ import annotations

from collections.abc import Iterator

from vusniff.analysis.timeline import Timeline
from vusniff.families.vhost_user.state import DeviceState, Seen
from vusniff.message import Context
from vusniff.views import words
from vusniff.views.bits import known_names
from vusniff.views.state import NEGOTIATED, NOT_ACKNOWLEDGED, NOT_OFFERED, became_of, feature_names
from vusniff.views.tui.line import Part, Reference, TextLine, fit, line, wrapped


def names_at(timeline: Timeline, row: int, value: int, protocol: bool) -> list[str]:
    """Names of the bits of a feature word, as the row's session reads them."""
    return feature_names(timeline.place(row).context, value, protocol)


def summary(
    timeline: Timeline, row: int, before: DeviceState, state: DeviceState, width: int, refer: Reference
) -> Iterator[TextLine]:
    """The names of what was acknowledged, or else offered."""
    words_ = (
        ("Features", "features", state.features_offered, state.features, before.features, before.features_offered),
        (
            "Protocol",
            "protocol",
            state.protocol_features_offered,
            state.protocol_features,
            before.protocol_features,
            before.protocol_features_offered,
        ),
    )
    for title, key, offered, taken, was, was_offered in words_:
        changed = taken != was or offered != was_offered
        mark = Part("*" if changed else " ", "changed")
        seen = taken or offered
        if seen is None:
            unknown = "nothing offered yet" if state.fresh else "unknown"
            yield line(mark, (title, "heading"), f"  {unknown}", key=key)
            continue
        what = "acknowledged" if taken else "offered, not acknowledged yet"
        yield line(
            mark,
            (title, "heading"),
            f"  {what} {seen.value:#x}",
            (f"  {refer(seen.by)}" if seen.by else "", "link"),
            ("   F: all" if key == "features" else "", "dim"),
            jump=seen.by,
            key=key,
        )
        names = names_at(timeline, row, seen.value, key == "protocol")
        short = [words.short_name(name) for name in names]
        for number, parts in enumerate(wrapped(short or ["none"], width, "  ", "  ", "changed" if changed else "")):
            yield TextLine(parts, jump=seen.by, key=f"{key} {number}")


def matrix(timeline: Timeline, row: int, state: DeviceState, width: int, refer: Reference) -> list[TextLine]:
    """Every bit that was offered or acknowledged, and what became of it; then what the back-end did not offer."""
    place = timeline.place(row)
    guess = timeline.sessions[place.session - 1].guess
    device = f"{guess.device} ({guess.sure})" if guess else "device type unknown (nothing seen identifies it)"
    lines: list[TextLine] = [line((f"Session {place.session}", "strong"), f", {device}, after #{row + 1}")]
    if guess:
        lines += [line((f"  because {reason}", "dim")) for reason in dict.fromkeys(guess.reasons)]
    for title, offered, taken, protocol in (
        ("Features", state.features_offered, state.features, False),
        ("Protocol features", state.protocol_features_offered, state.protocol_features, True),
    ):
        lines.append(line())
        lines.append(line((title, "heading")))
        lines += [_origin("offered", offered, refer, state.fresh), _origin("acknowledged", taken, refer, state.fresh)]
        lines += _bits(timeline, row, offered, taken, protocol, state.fresh, width)
        if offered is not None:
            lines += _absent(place.context, offered.value | (taken.value if taken else 0), protocol, width)
    return lines


def _origin(name: str, seen: Seen[int] | None, refer: Reference, fresh: bool) -> TextLine:
    if seen is None:
        return line((f"  {name:<13} ", "dim"), ("not yet" if fresh else "unknown", "warn"))
    return line((f"  {name:<13} ", "dim"), f"{seen.value:#x}", (f"  {refer(seen.by)}", "link"), jump=seen.by)


TONES = {NEGOTIATED: "good", NOT_OFFERED: "bad"}
"""Of what became of a bit."""


def _bits(
    timeline: Timeline,
    row: int,
    offered: Seen[int] | None,
    taken: Seen[int] | None,
    protocol: bool,
    fresh: bool,
    width: int,
) -> Iterator[TextLine]:
    both = (offered.value if offered else 0) | (taken.value if taken else 0)
    if not both:
        yield line("  no bits")
        return
    found = []
    for bit in range(both.bit_length()):
        if both >> bit & 1:
            name = names_at(timeline, row, 1 << bit, protocol)[0]
            found.append((bit, words.short_name(name), became_of(bit, offered, taken, protocol, fresh)))
    size = max(len(name) for _, name, _ in found)
    yield line((f"  bit  {'name':<{size}}  what became of it", "dim"))
    for bit, name, became in found:
        yield line(
            f"  {bit:>3}  ",
            (fit(name, min(size, max(8, width - 7 - len(became) - 2))), "strong" if became == NEGOTIATED else ""),
            "  ",
            (became, TONES.get(became, "warn" if became.startswith(NOT_ACKNOWLEDGED) else "")),
            key=f"{protocol} {bit}",
        )


def _absent(context: Context, seen: int, protocol: bool, width: int) -> Iterator[TextLine]:
    """The features of such a device that the back-end did not offer."""
    absent = [words.short_name(name) for bit, name in known_names(context, protocol).items() if not seen >> bit & 1]
    if absent:
        for parts in wrapped(absent, width, "  not offered by the back-end: ", "    ", "dim"):
            yield TextLine(parts)
