"""Feature negotiation as lines: a summary for the state pane, and the matrix of every bit. Knows no screen."""

from __future__ import annotations

from collections.abc import Iterator

from vusniff.analysis.timeline import Timeline
from vusniff.families.vhost_user.state import DeviceState, Seen
from vusniff.views import words
from vusniff.views.state import feature_names
from vusniff.views.tui.line import Part, Reference, TextLine, line, wrapped

WIDE = 86
"""Width in cells from which the longest name fits behind a column called ``acknowledged``."""


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
            unknown = "not negotiated yet" if state.fresh else "not witnessed"
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
    """Every bit that was offered or asked for: offered, acknowledged, refused."""
    place = timeline.place(row)
    guess = timeline.sessions[place.session - 1].guess
    device = f"{guess.device} ({guess.sure})" if guess else "device type unknown"
    lines: list[TextLine] = [line((f"Session {place.session}", "strong"), f", {device}, after #{row + 1}")]
    if guess:
        lines += [line((f"  because {reason}", "dim")) for reason in dict.fromkeys(guess.reasons)]
    for title, offered, taken, protocol in (
        ("Features", state.features_offered, state.features, False),
        ("Protocol features", state.protocol_features_offered, state.protocol_features, True),
    ):
        lines.append(line())
        lines.append(line((title, "heading")))
        lines += [_origin("offered", offered, refer), _origin("acknowledged", taken, refer)]
        lines += _bits(timeline, row, offered, taken, protocol, "acknowledged" if width >= WIDE else "ack.")
    return lines


def _origin(name: str, seen: Seen[int] | None, refer: Reference) -> TextLine:
    if seen is None:
        return line((f"  {name:<13} ", "dim"), ("not seen", "warn"))
    return line((f"  {name:<13} ", "dim"), f"{seen.value:#x}", (f"  {refer(seen.by)}", "link"), jump=seen.by)


def _bits(
    timeline: Timeline, row: int, offered: Seen[int] | None, taken: Seen[int] | None, protocol: bool, ack: str
) -> Iterator[TextLine]:
    both = (offered.value if offered else 0) | (taken.value if taken else 0)
    if not both:
        yield line("  no bits")
        return
    yield line((f"  bit  offered  {ack}  refused  name", "heading"))
    for bit in range(both.bit_length()):
        mask = 1 << bit
        if not both & mask:
            continue
        given = "?" if offered is None else "yes" if offered.value & mask else "never"
        accepted = "?" if taken is None else "yes" if taken.value & mask else "-"
        refused = "yes" if given == "yes" and accepted == "-" else "-" if "?" not in (given, accepted) else "?"
        wrong = given == "never" and accepted == "yes"
        yield line(
            f"  {bit:>3}  ",
            (f"{given:<9}", "bad" if wrong else ""),
            (f"{accepted:<{len(ack) + 2}}", "bad" if wrong else "good" if accepted == "yes" else ""),
            (f"{refused:<9}", "warn" if refused == "yes" else ""),
            (names_at(timeline, row, mask, protocol)[0], "strong" if accepted == "yes" else ""),
            key=f"{protocol} {bit}",
        )
