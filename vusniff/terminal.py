"""The door: everything that is written to standard output or standard error goes through here.

It is the last place that looks: whatever comes by, no control character but a line end goes out, and colours only of
what says that it is coloured. It cannot tell a line end of ours from that of a name, so that who builds a line escapes
the names in it (`vusniff.printable`). A capture on standard output is not text and does not come by
(`vusniff.capture.output`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from vusniff.errors import FilterError, RuleError
from vusniff.printable import escape, escape_json, escape_lines, escape_styled, folded

_paint: Callable[[str], str] | None = None
"""What puts colours into lines, after they were escaped."""


def wants_color(choice: str) -> bool:
    """Whether standard output is to have colours: ``always``, ``never``, or ``auto``, which asks what it is.

    A terminal that knows colours has them, unless the environment variable NO_COLOR says something (no-color.org).
    """
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout is not None and sys.stdout.isatty()


def paint_with(paint: Callable[[str], str] | None) -> None:
    """Let every line that `put` and `put_line` write have colours, None for none."""
    global _paint
    _paint = paint


def put(text: str) -> None:
    """Lines on standard output."""
    text = escape_lines(text)
    _write(_paint(text) if _paint else text)


def width() -> int | None:
    """Columns of the terminal that standard output is; None where it is none."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    import shutil

    return shutil.get_terminal_size().columns


def put_folded(text: str) -> None:
    """Lines on standard output; on a terminal they are broken between words where it ends."""
    room = width()
    put(text if room is None else "\n".join(line for one in text.split("\n") for line in folded(one, room)))


def put_line(text: str = "") -> None:
    """One line on standard output."""
    put(f"{escape(text)}\n")


def put_styled(text: str) -> None:
    """Lines on standard output that hold colours of ours."""
    _write(escape_styled(text))


def put_json(text: str | bytes) -> None:
    """JSON on standard output, always UTF-8."""
    if isinstance(text, bytes):
        if text.isascii() and b"\x7f" not in text:
            _write_bytes(text)
            return
        text = text.decode("utf-8", "backslashreplace")
    _write_bytes(escape_json(text).encode("utf-8", "backslashreplace"))


def say(*sentences: str) -> None:
    """Sentences on standard error, each in a line that says who speaks."""
    tell(*(f"vusniff: {sentence}" for sentence in sentences))


def tell(*lines: str) -> None:
    """Lines on standard error."""
    _error("".join(f"{escape(line)}\n" for line in lines))


def ask(words: str) -> None:
    """A question on standard error; what the user types follows in its line."""
    _error(escape(words))


def tell_lines(text: str) -> None:
    """Text of several lines on standard error, such as what another program said."""
    _error(escape_lines(text))


def complain(error: Exception) -> None:
    """Why a command ends: one sentence, and below it the place in a filter or rule that is wrong."""
    if isinstance(error, FilterError | RuleError):
        tell_lines(f"vusniff: {error}\n")
    else:
        say(str(error))


def flush() -> None:
    """Let what was written be seen now, before something else is."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _write(text: str) -> None:
    if sys.stdout is not None:
        _write_bytes(text.encode(sys.stdout.encoding or "utf-8", "backslashreplace"))


def _write_bytes(data: bytes) -> None:
    if sys.stdout is not None:
        out = sys.stdout.buffer
        out.write(data)
        if sys.stdout.line_buffering:
            out.flush()


def _error(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(text)
        sys.stderr.flush()
