"""What came of a replay, as lines and as JSON: recorded against live, like ``vusniff diff`` shows two captures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vusniff.message import Message
from vusniff.printable import escape
from vusniff.replay.differences import FieldDifference, MessageDifference, What
from vusniff.replay.script import Script
from vusniff.replay.stage import ReplayResult
from vusniff.views import jsonl, words
from vusniff.views.text import field_value

NUMBERS = 6
"""Numbers of messages with the same difference that are listed."""


def lines(script: Script, outcome: ReplayResult) -> Iterator[str]:
    """Everything there is to say, differences first; ``-`` is recorded, ``+`` is live."""
    alike: dict[tuple[str, ...], list[int | None]] = {}
    for difference in outcome.differences:
        number = difference.recorded.number if difference.recorded else None
        alike.setdefault(tuple(_difference(difference)), []).append(number)
    for (sign, title, *changes), numbers in alike.items():
        yield f"{sign} {_numbers(numbers)}{title}"
        yield from changes
    if outcome.more:
        yield f"... and {outcome.more} more differences"
    if outcome.ended:
        yield escape(outcome.ended)
    count = len(outcome.differences) + outcome.more
    verdict = "all as recorded" if outcome.same else f"{count} difference{'' if count == 1 else 's'}"
    end = "" if outcome.ended is None else ", not played to the end"
    yield (
        f"session {script.session}: {outcome.said} messages sent, {outcome.heard} received, "
        f"{outcome.compared} compared: {verdict}{end}"
    )


def _numbers(numbers: Sequence[int | None]) -> str:
    """``#2, #12 and 3 more ``; of what was not recorded how often it came, if more than once."""
    known = [f"#{number}" for number in numbers if number is not None]
    if not known:
        return f"{len(numbers)} times " if len(numbers) > 1 else ""
    more = f" and {len(known) - NUMBERS} more" if len(known) > NUMBERS else ""
    return f"{', '.join(known[:NUMBERS])}{more} "


def _difference(difference: MessageDifference) -> Iterator[str]:
    """Sign, what it is about, and a line for each thing that is said of it."""
    recorded, live = difference.recorded, difference.live
    if recorded is not None and live is not None:
        yield " "
        yield _title(recorded)
        for change in difference.changes:
            yield from _change(change)
        return
    one = recorded or live
    if one is not None:
        yield "-" if recorded else "+"
        yield f"{_title(one)} {words.summary(one)}".rstrip() + (
            ", did not come" if recorded else ", not in the recording"
        )


def _title(message: Message) -> str:
    return words.title_of(message)


def _change(change: FieldDifference) -> Iterator[str]:
    for sign, value in (("-", change.recorded), ("+", change.live)):
        shown = "absent" if value is None else field_value(change.path, value)
        yield f"    {sign} {change.path} {escape(shown)}"
    if change.removed:
        yield f"      without {words.names(change.removed)}"
    if change.added:
        yield f"      with {words.names(change.added)}"


def outcome_dict(script: Script, outcome: ReplayResult) -> dict[str, Any]:
    """The same for programs."""
    return {
        "session": script.session,
        "played": script.role.value,
        "sent": outcome.said,
        "received": outcome.heard,
        "compared": outcome.compared,
        "same": outcome.same,
        "ended": outcome.ended,
        "differences": [_difference_dict(one) for one in outcome.differences],
        "more_differences": outcome.more,
    }


def _difference_dict(difference: MessageDifference) -> dict[str, Any]:
    recorded, live = difference.recorded, difference.live
    known = recorded or live
    return {
        "what": difference.what.value,
        "name": known.name if known else None,
        "reply": known.reply if known else None,
        "changes": [
            {
                "field": change.path,
                "recorded": change.recorded,
                "live": change.live,
                "removed": change.removed,
                "added": change.added,
            }
            for change in difference.changes
        ],
        "recorded": jsonl.message_dict(recorded) if recorded else None,
        "live": jsonl.message_dict(live) if live and difference.what is not What.MISSING else None,
    }
