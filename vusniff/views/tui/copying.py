"""Messages for the clipboard, and pictures for a file. Knows no screen."""

from __future__ import annotations

import time

from vusniff.analysis.timeline import Timeline
from vusniff.errors import ExistsError, OutputError
from vusniff.files import open_output
from vusniff.message import Message
from vusniff.views import jsonl, text


def copied(timeline: Timeline, row: int, form: str) -> str:
    """A message as ``text`` (its line and all its fields, as ``read -v`` prints them), ``json`` (as ``read --json``),
    ``hex``, or a ``filter`` that such messages pass."""
    message = timeline.message(row)
    if form == "json":
        return jsonl.encode(jsonl.message_dict(message, hexadecimal=True)).decode("utf-8", "surrogatepass")
    if form == "filter":
        return filter_like(message)
    if form == "hex":
        return message.data.hex(" ")
    return "\n".join([text.message_line(message, timeline.time_ns(0)), *text.details(message)])


def filter_like(message: Message) -> str:
    """A filter for the messages of the same session that say the same about the same vring."""
    named = f"vhost.request == {message.name}" if message.spec else f"vhost.request == {message.request}"
    parts = [named if message.request is not None else "!vhost.request", f"vhost.session == {message.session}"]
    if message.payload and "index" in message.payload and (message.layout or "").startswith("vring"):
        parts.append(f"vring.index == {message.payload['index']}")
    return " && ".join(parts)


def keep_picture(svg: str) -> str:
    """Write a picture into the working directory; the file's name, which has the time in it and was free.

    Raises OutputError when it cannot be written.
    """
    began, number = time.strftime("vusniff-%Y%m%d-%H%M%S"), 1
    while True:
        name = f"{began}.svg" if number == 1 else f"{began}-{number}.svg"
        try:
            keep(name, svg)
        except ExistsError:
            number += 1
        except OSError as error:
            raise OutputError(f"{name} cannot be written: {error.strerror}") from error
        else:
            return name


def keep(path: str, text: str, replaces: bytes | None = None) -> None:
    """Write a text file; ``replaces`` as in `vusniff.files.open_output`. Raises OSError and OutputError."""
    with open(open_output(path, replaces).fd, "w", encoding="utf-8") as file:
        file.write(text)
