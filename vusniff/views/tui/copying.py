"""One message as text, JSON or hex, for a clipboard. Knows no screen."""

from __future__ import annotations

from vusniff.timeline import Timeline
from vusniff.views import jsonl, text


def copied(timeline: Timeline, row: int, form: str) -> str:
    """``text``: its line and all its fields, as ``read -v`` prints them; ``json``: as ``read --json``; ``hex``."""
    message = timeline.message(row)
    if form == "json":
        return jsonl.encode(jsonl.message_dict(message, hexadecimal=True)).decode("utf-8", "surrogatepass")
    if form == "hex":
        return message.data.hex(" ")
    return "\n".join([text.message_line(message, timeline.time_ns(0)), *text.details(message)])
