"""What came of a replay, as lines and as JSON: recorded against live, like ``vusniff diff`` shows two captures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vusniff.message import Message
from vusniff.replay.differences import Change, Difference, What
from vusniff.replay.script import Script
from vusniff.replay.stage import Outcome
from vusniff.views import jsonl, words
from vusniff.views.text import field_value


def lines(script: Script, outcome: Outcome) -> Iterator[str]:
    """Everything there is to say, differences first; ``-`` is recorded, ``+`` is live."""
    for difference in outcome.differences:
        yield from _difference(difference)
    if outcome.more:
        yield f"... and {outcome.more} more differences"
    if outcome.ended:
        yield words.clean(outcome.ended)
    count = len(outcome.differences) + outcome.more
    verdict = "all as recorded" if outcome.same else f"{count} difference{'' if count == 1 else 's'}"
    end = "" if outcome.ended is None else ", not played to the end"
    yield (
        f"session {script.session}: {outcome.said} messages sent, {outcome.heard} received, "
        f"{outcome.compared} compared: {verdict}{end}"
    )


def _title(message: Message) -> str:
    return words.title(message.name, message.layout, message.reply, message.need_reply)


def _difference(difference: Difference) -> Iterator[str]:
    recorded, live = difference.recorded, difference.live
    if recorded is None and live is not None:
        yield f"+ {_title(live)} {words.summary(live)}".rstrip() + ", not in the recording"
    elif recorded is not None and live is None:
        yield f"- #{recorded.number} {_title(recorded)} {words.summary(recorded)}".rstrip() + ", did not come"
    elif recorded is not None and live is not None:
        yield f"  #{recorded.number} {_title(recorded)}"
        for change in difference.changes:
            yield from _change(change)


def _change(change: Change) -> Iterator[str]:
    for sign, value in (("-", change.recorded), ("+", change.live)):
        shown = "absent" if value is None else field_value(change.path, value)
        yield f"    {sign} {change.path} {words.clean(shown)}"
    if change.removed:
        yield f"      without {words.names(change.removed)}"
    if change.added:
        yield f"      with {words.names(change.added)}"


def outcome_dict(script: Script, outcome: Outcome) -> dict[str, Any]:
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


def _difference_dict(difference: Difference) -> dict[str, Any]:
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
