"""Two sessions compared, as a page and as JSON: what was negotiated differently first, then what was said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from vusniff.amounts import counted, ranges
from vusniff.analysis.compare import DifferenceKind, Pair, SessionDifference, compare, pairs
from vusniff.analysis.exchanges import LIMIT, STAGES, Exchange, Stage, of_a_process, stages
from vusniff.analysis.timeline import Timeline
from vusniff.families.family import Family, ShownState, State
from vusniff.families.phase import Phase
from vusniff.families.vhost_kernel.protocol import KERNEL_NAME, NAMES, USER
from vusniff.families.vhost_user.protocol import NAME as USER_NAME
from vusniff.families.vhost_user.protocol import Channels
from vusniff.families.vhost_user.state import DeviceState, Seen
from vusniff.message import Context
from vusniff.values import dataclass
from vusniff.views import account, page, phases, state, summary, words
from vusniff.views.page import Items, Page, PageSection, Table

OF_ONE_RUN = frozenset({"descriptor", "eventfds"})
"""Columns of a state's tables that differ from run to run of the same programs."""
LINES = 80
"""Differences that are listed in text."""
TARGETS = 8
"""Rings or regions that are named where many have the same difference."""
OF_TRANSPORT = frozenset({DifferenceKind.NEED_REPLY, DifferenceKind.DESCRIPTORS})
"""What always differs between another process and the kernel, which knows the memory of who calls it."""
SETTLED_BY = {
    "features offered": ("GET_FEATURES",),
    "features acknowledged": ("SET_FEATURES",),
    "protocol features offered": ("GET_PROTOCOL_FEATURES",),
    "protocol features acknowledged": ("SET_PROTOCOL_FEATURES",),
    "queues": ("GET_QUEUE_NUM",),
    "memory slots": ("GET_MAX_MEM_SLOTS",),
}
"""What a negotiated difference says already of these requests' values and answers."""


@dataclass(frozen=True, slots=True)
class ComparedSession:
    """One session of a capture, ready to be compared."""

    label: str
    files: Sequence[str]
    known: dict[str, Any]
    """As `account.overview` tells of sessions."""
    state: State
    context: Context
    stages: Sequence[Stage]
    phases: Sequence[Phase]
    family: Family


@dataclass(frozen=True, slots=True)
class SettingDifference:
    """Something that was negotiated or set up differently."""

    name: str
    left: str
    right: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that differs."""

    left: ComparedSession
    right: ComparedSession
    settings: Sequence[SettingDifference]
    changes: Sequence[SessionDifference]
    pairs: Sequence[Pair]
    notes: Sequence[str]

    @property
    def same(self) -> bool:
        """Nothing differs."""
        return not self.settings and not self.changes


def are_comparable(left: Family, right: Family) -> bool:
    """Whether two families may be compared by what their messages mean: both say what vhost-user does."""
    return left is not right and all(one.name == USER_NAME or one.as_user is not None for one in (left, right))


def side_of(
    timeline: Timeline, files: Sequence[str], number: int, label: str, by_meaning: bool = False
) -> ComparedSession:
    """A session of a capture; ``by_meaning``, to compare it with one of another family (`are_comparable`)."""
    session = timeline.sessions[number - 1]
    rows = timeline.rows_of(number)
    divided = timeline.phases(number)
    messages = (timeline.message(row) for row in rows)
    found = stages(messages, divided, session.initial(), session.family, by_meaning)
    last = rows[-1]
    context = timeline.place(last).context
    known = account.session_dict(timeline, session)
    return ComparedSession(
        label, files, known, timeline.session_state(number, last), context, found, divided, session.family
    )


def comparison(left: ComparedSession, right: ComparedSession, slower: float, notes: Sequence[str] = ()) -> Comparison:
    """Compare two sessions; ``notes`` say how they were chosen."""
    different = list(settings(left, right))
    across = are_comparable(left.family, right.family)
    mine, theirs = (_shared(left, right), _shared(right, left)) if across else (left.stages, right.stages)
    told = {request for setting in different for request in SETTLED_BY.get(setting.name, ())}
    changes = [
        change
        for change in compare(mine, theirs, slower)
        if (change.name not in told or change.difference not in (DifferenceKind.VALUE, DifferenceKind.ANSWER))
        and not (across and change.difference in OF_TRANSPORT)
    ]
    notes = [*notes, *_notes(left), *_notes(right)]
    if across:
        notes += [*_alone(left, right), *_alone(right, left)]
    return Comparison(left, right, different, changes, pairs(mine, theirs), notes)


def _is_shared(exchange: Exchange, other: Family) -> bool:
    """Whether the other family has anything that means the same."""
    return exchange.channel is Channels.MAIN and (other.as_user is None or exchange.name in _meant(other.name))


def _meant(family: str) -> frozenset[str]:
    """The requests of vhost-user that calls of a family can say too; only vDPA and VDUSE have those named VDPA_."""
    plain = family == KERNEL_NAME
    return frozenset(user.name for call, user in USER.items() if not plain or not NAMES[call].startswith("VDPA_"))


def _shared(side: ComparedSession, other: ComparedSession) -> list[Stage]:
    """The stages of a session without what the other family cannot say."""
    return [
        Stage(stage.phase, [one for one in stage.exchanges if _is_shared(one, other.family)], stage.left_out)
        for stage in side.stages
    ]


def _alone(side: ComparedSession, other: ComparedSession) -> Iterator[str]:
    names = [one.name for stage in side.stages for one in stage.exchanges if not _is_shared(one, other.family)]
    if names:
        yield f"only {side.family.name} has {', '.join(dict.fromkeys(names))}: not compared"


def _notes(side: ComparedSession) -> Iterator[str]:
    if side.known["joined_late"]:
        yield f"{side.label} was joined late: what came before its first message is unknown, and may seem to be missing"
    if sum(1 for phase in side.phases if phase.count) > STAGES:
        yield f"of {side.label} the first {STAGES} phases with messages are compared"
    for stage in side.stages:
        if stage.left_out:
            yield (
                f"{side.label}: of {stage.kind} ({phases.numbers_words(stage.phase)}) the first {LIMIT} requests are "
                "compared"
            )


# --- what was negotiated ----------------------------------------------------------------------------------------------


def settings(left: ComparedSession, right: ComparedSession) -> Iterator[SettingDifference]:
    """What was negotiated or set up differently, most important first."""
    mine, theirs = left.state, right.state
    if left.family is not right.family:
        yield SettingDifference("family", left.family.name, right.family.name)
        if not are_comparable(left.family, right.family):
            return
    if not isinstance(mine, DeviceState) or not isinstance(theirs, DeviceState):
        yield from _tables_apart(mine, theirs)
        return
    for name, attribute, protocol in (
        ("features offered", "features_offered", False),
        ("features acknowledged", "features", False),
        ("protocol features offered", "protocol_features_offered", True),
        ("protocol features acknowledged", "protocol_features", True),
    ):
        if protocol and left.family is not right.family:
            continue
        seen = getattr(mine, attribute), getattr(theirs, attribute)
        values = [None if one is None else one.value for one in seen]
        if values[0] != values[1]:
            yield SettingDifference(name, *_bits_apart((left, right), values, protocol))
    device = [side.known["device"] or "unknown" for side in (left, right)]
    rows: list[tuple[str, str, str]] = [("device", device[0], device[1])]
    for name, attribute in (("queues", "queue_num"), ("memory slots", "max_mem_slots"), ("MTU", "mtu")):
        rows.append((name, _number(getattr(mine, attribute)), _number(getattr(theirs, attribute))))
    rows.append(("memory", _memory(mine), _memory(theirs)))
    rows.append(("ring sizes", _sizes(mine), _sizes(theirs)))
    if left.family is not right.family:  # the others are vhost-user's own
        rows = [row for row in rows if row[0] in ("device", "memory", "ring sizes")]
    for name, attribute in (
        ("back-end channel", "backend_channel"),
        ("inflight buffer", "inflight"),
        ("dirty log", "log"),
        ("postcopy", "postcopy"),
    ):
        if left.family is not right.family and attribute != "log":
            continue
        there = ("used" if getattr(one, attribute) else "not used" for one in (mine, theirs))
        rows.append((name, *there))  # type: ignore[arg-type]
    yield from (SettingDifference(*row) for row in rows if row[1] != row[2])


def _tables_apart(mine: ShownState, theirs: ShownState) -> Iterator[SettingDifference]:
    """The rows in which the tables of two states differ. Descriptors are left out: they differ in every run."""
    sides: list[dict[str, str]] = []
    for shown in (mine, theirs):
        rows: dict[str, str] = {}
        for one in shown.tables():
            kept = [place for place, column in enumerate(one.columns) if place and column not in OF_ONE_RUN]
            for row in one.rows:
                rows[f"{one.title}, {row[0]}"] = ", ".join(row[place] for place in kept)
        sides.append(rows)
    for name in dict.fromkeys((*sides[0], *sides[1])):
        values = [side.get(name, "absent") for side in sides]
        if values[0] != values[1]:
            yield SettingDifference(name, *values)


def _number(seen: Seen[int] | None) -> str:
    return "unknown" if seen is None else str(seen.value)


def _bits_apart(
    sides: tuple[ComparedSession, ComparedSession], values: list[int | None], protocol: bool
) -> Iterator[str]:
    if values[0] is None or values[1] is None:
        for side, value in zip(sides, values, strict=True):
            yield "unknown" if value is None else words.names(state.feature_names(side.context, value, protocol))
        return
    # By name, because devices of different types call the same bit differently.
    named = [state.feature_names(side.context, value or 0, protocol) for side, value in zip(sides, values, strict=True)]
    for letter, mine, theirs in (("A", named[0], named[1]), ("B", named[1], named[0])):
        only = [name for name in mine if name not in theirs]
        yield f"only in {letter}: {words.names(only)}" if only else "nothing else"


def _memory(one: DeviceState) -> str:
    if one.regions is None or one.memory_unknown:
        return "unknown"
    shown = [
        ("" if of_a_process(region.guest_address, region.user_address) else f"{region.guest_address:#x}")
        + f"+{words.size(region.size)}"
        for region in one.regions[:TARGETS]
    ]
    more = f" and {len(one.regions) - TARGETS} more" if len(one.regions) > TARGETS else ""
    return ", ".join(shown) + more + (" and perhaps others" if one.regions_part else "") or "no regions"


def _sizes(one: DeviceState) -> str:
    found: dict[str, list[int]] = {}
    for index in sorted(one.vrings):
        num = one.vrings[index].num
        found.setdefault("not set" if num is None else str(num.value), []).append(index)
    shown = (f"{size} (vring {ranges(indexes)})" for size, indexes in found.items())
    return ", ".join(shown) or "no rings"


def _targets(targets: Iterable[str]) -> str:
    named = list(dict.fromkeys(filter(None, targets)))
    rings = [name for name in named if name.startswith("vring ") and name[6:].isdecimal()]
    if rings and len(rings) == len(named):
        return f" vring {ranges(sorted(int(name[6:]) for name in rings))}"
    shown = ", ".join(named[:TARGETS])
    return f" {shown}{f' and {len(named) - TARGETS} more' if len(named) > TARGETS else ''}" if named else ""


def _at(number: int | None) -> str:
    return f" (#{number})" if number else ""


def _sentence(change: SessionDifference, targets: str, times: int) -> str:
    what = f"{change.name}{targets}"
    again = f", {times} times" if times > 1 and not targets else ""
    mine, theirs = _at(change.left_number), _at(change.right_number)
    match change.difference:
        case DifferenceKind.PHASE:
            number = change.left_number or change.right_number
            side = f"A: {change.left} from #{number}" if change.left else f"B: {change.right} from #{number}"
            return f"the whole phase is only in {side}"
        case DifferenceKind.MISSING:
            return f"only in A: {what}{mine}{again}"
        case DifferenceKind.ADDED:
            return f"only in B: {what}{theirs}{again}"
        case DifferenceKind.MOVED:
            return f"{what} comes in another phase: A in {change.left}{mine}, B in {change.right}{theirs}"
        case DifferenceKind.ORDER:
            return f"{what} comes at another place: A {change.left}{mine}, B {change.right}{theirs}"
        case DifferenceKind.SLOWER:
            left, right = int(change.left), int(change.right)
            low, high = sorted((left, right))
            times_slower = f"{'A' if left > right else 'B'} is {high / max(low, 1):.0f} times slower"
            shown = words.duration(left), words.duration(right)
            return f"{what} answered after: A {shown[0]}{mine}, B {shown[1]}{theirs}: {times_slower}"
    label = {
        DifferenceKind.VALUE: "",
        DifferenceKind.ANSWER: " answered",
        DifferenceKind.DESCRIPTORS: " descriptors",
        DifferenceKind.NEED_REPLY: " need_reply",
    }[change.difference]
    return f"{what}{label}: A {change.left or 'nothing'}{mine}, B {change.right or 'nothing'}{theirs}{again}"


def sentences(changes: Sequence[SessionDifference]) -> list[tuple[str, str]]:
    """Phase and sentence of every difference; the same one of several rings is said once."""
    groups: dict[tuple[str, ...], list[SessionDifference]] = {}
    for change in changes:
        key = [change.difference.value, change.phase.value, change.name]
        if change.difference is DifferenceKind.PHASE:
            key.append(str(change.left_number or change.right_number))
        elif change.difference in (
            DifferenceKind.MOVED,
            DifferenceKind.VALUE,
            DifferenceKind.ANSWER,
            DifferenceKind.NEED_REPLY,
        ):
            key += [change.left, change.right]
        elif change.difference in (DifferenceKind.SLOWER, DifferenceKind.DESCRIPTORS):
            key.append(str(change.left_number))
        groups.setdefault(tuple(key), []).append(change)
    return [
        (group[0].phase.value, _sentence(group[0], _targets(change.target for change in group), len(group)))
        for group in groups.values()
    ]


def _about(side: ComparedSession) -> list[str]:
    known = side.known
    return [
        ", ".join(side.files),
        f"{known['session']}, #{known['first']} to #{known['last']}, {counted(known['messages'], 'message')}",
        known["path"],
        known["frontend"] or "unknown",
        known["backend"] or "unknown",
        known["device"] or "unknown",
        summary.lasted_words(known),
        known["ended"],
    ]


ABOUT = ("file", "session", "path", "front-end", "back-end", "device", "lasted", "ended")


def _phase_rows(found: Sequence[Pair]) -> Iterator[tuple[str, ...]]:
    for both in found:
        stage = both[0] or both[1]
        assert stage is not None
        cells: list[str] = []
        for one in both:
            cells += ("-", "-") if one is None else (phases.numbers_words(one.phase), phases.lasted_words(one.phase))
        yield (stage.kind.value, *cells)


def _apart(left: str, right: str) -> str:
    """What each side has; of features only those that the other does not have."""
    only = [said for said in (left, right) if said.startswith("only in ")]
    return "; ".join(only) or f"A: {left}; B: {right}"


def diff_page(found: Comparison) -> Page:
    """The page: what differs in negotiation, then in messages; then both sessions by their phases."""
    sides = (found.left, found.right)
    about = list(zip(ABOUT, *(map(_about, sides)), strict=True))
    sections = [PageSection("Compared", [Table(("", "A", "B"), about)])]
    if found.notes:
        sections.append(PageSection("Notes", [Items(found.notes)]))
    rows = [(setting.name, setting.left, setting.right) for setting in found.settings]
    parts: list[page.Part] = [
        page.NamedValues([(name, _apart(left, right)) for name, left, right in rows])
        if rows
        else Items(["nothing differs"])
    ]
    sections.append(PageSection("Negotiated and set up", parts))
    listed = sentences(found.changes)
    shown: dict[str, list[str]] = {}
    for phase, sentence in listed[:LINES]:
        shown.setdefault(phase, []).append(sentence)
    for phase, lines in shown.items():
        sections.append(PageSection(f"Messages of {phase}", [Items(lines)]))
    if len(listed) > LINES:
        sections.append(PageSection(f"... and {len(listed) - LINES} more differences: --format json has all", []))
    if not listed:
        sections.append(PageSection("Messages", [Items(["nothing differs"])]))
    columns = ("phase", "A messages", "A lasted", "B messages", "B lasted")
    sections.append(
        PageSection("Phases", [Table(columns, page.shortened(list(_phase_rows(found.pairs)), summary.PHASES))])
    )
    set_up = f"{counted(len(rows), 'difference')} in what was set up"
    verdict = "no difference" if found.same else f"{set_up}, {len(listed)} in messages"
    families = dict.fromkeys(side.family.name for side in sides)
    return Page(f"{' and '.join(families)} sessions A and B: {verdict}", sections)


def diff_dict(found: Comparison) -> dict[str, Any]:
    """The same as JSON; numbers are those of the messages, null where a side has none."""
    return {
        "same": found.same,
        "a": {"files": list(found.left.files), **found.left.known},
        "b": {"files": list(found.right.files), **found.right.known},
        "notes": list(found.notes),
        "settings": [{"name": one.name, "a": one.left, "b": one.right} for one in found.settings],
        "changes": [
            {
                "difference": change.difference.name.lower(),
                "phase": change.phase.value,
                "name": change.name,
                "target": change.target or None,
                "a": change.left or None,
                "b": change.right or None,
                "a_number": change.left_number,
                "b_number": change.right_number,
            }
            for change in found.changes
        ],
        "phases": [
            {
                "a": phases.phase_dict(left.phase) if left else None,
                "b": phases.phase_dict(right.phase) if right else None,
            }
            for left, right in found.pairs
        ],
    }
