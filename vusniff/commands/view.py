"""``vusniff view``: captures in the terminal view, or one picture of it."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import threading

from vusniff.capture.bound import Bound
from vusniff.errors import CaptureError, SourceError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``vusniff view`` takes."""
    parser.epilog = (
        "Theme (ctrl+p), columns (K) and keys are kept in view.json below $XDG_CONFIG_HOME/vusniff, or below "
        '~/.config/vusniff: {"theme": "nord", "columns": "number time request values answer", "keys": {"quit": '
        '"ctrl+x"}}.'
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="captures, merged by time; - is standard input")
    parser.add_argument("-f", "--follow", action="store_true", help="go on reading while the file grows")
    parser.add_argument("--device", metavar="TYPE", help="the device type (net, blk, ...) instead of the deduced one")
    parser.add_argument(
        "--log", action="append", default=[], metavar="LOG", help="show the lines of a peer's log between the messages"
    )
    parser.add_argument(
        "--shift", metavar="SECONDS", help="add so much to the times of the logs (default: by messages found in both)"
    )
    picture = parser.add_argument_group("a picture instead of the view")
    picture.add_argument("--screenshot", metavar="OUT.svg", help="write the screen as SVG and leave")
    picture.add_argument("--force", action="store_true", help="replace OUT.svg if it is there already")
    picture.add_argument("--size", type=_size, default=(120, 40), metavar="COLUMNSxROWS", help="its size (120x40)")
    picture.add_argument("--at", type=int, metavar="N", help="with message N selected (default: the last)")
    picture.add_argument("--keys", default="", metavar="KEYS", help="after these keys, separated by commas")


def run(args: argparse.Namespace) -> int:
    """Open the view, or write the picture."""
    if not args.log:
        if args.shift is not None:
            raise SourceError("--shift goes with --log")
        return _show(args, args.files)
    from vusniff.commands.import_ import lines_beside

    with tempfile.TemporaryDirectory(prefix="vusniff-") as folder:
        return _show(args, [*args.files, *lines_beside(args.files, args.log, args.shift, folder)])


def _show(args: argparse.Namespace, files: list[str]) -> int:
    if args.screenshot:
        from vusniff.views.tui.picture import write_picture

        replaces = b"" if args.force else None
        return write_picture(files, args.screenshot, args.size, args.at, args.keys.split(","), args.device, replaces)
    if args.at is not None or args.keys or args.force:
        raise SourceError("--at, --keys and --force go with --screenshot; in the view : goes to a number")
    from vusniff.views.tui import run_tui

    if "-" not in files:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):  # Textual paints on standard error
            raise SourceError("view needs a terminal; use vusniff read for text, or --screenshot for a picture")
        return run_tui(files, follow=args.follow, device=args.device)
    if files != ["-"]:
        raise CaptureError("- (standard input) goes alone: give either it or files")
    with _Spool() as spool:
        try:
            status = run_tui(spool.path, follow=True, device=args.device, title="standard input", cut=lambda: spool.cut)
        except CaptureError as error:
            raise CaptureError(str(error).replace(spool.path, "standard input")) from error
    if spool.cut:
        raise SourceError(spool.cut)
    return status


class _Spool:
    """Standard input copied to a file without a name while it comes; the keys then come from the terminal."""

    def __init__(self) -> None:
        self.cut: str | None = None
        """Why it is not copied to its end, as a sentence."""
        self._source = os.dup(0)
        try:
            terminal = os.open("/dev/tty", os.O_RDWR)
        except OSError as error:
            raise SourceError(f"no terminal to read keys from: {error.strerror}; use vusniff read -") from error
        os.dup2(terminal, 0)
        os.close(terminal)
        self._file = tempfile.TemporaryFile(prefix="vusniff-", buffering=0)  # noqa: SIM115 (closed by __exit__)
        self.path = f"/proc/self/fd/{self._file.fileno()}"

    def __enter__(self) -> _Spool:
        self._file.write(os.read(self._source, 1 << 16))  # there is nothing to show before the first bytes
        threading.Thread(target=self._copy, daemon=True, name="spool").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _copy(self) -> None:
        """Until its end, or until it would fill the disk: who chooses what is said on a socket chooses how much."""
        try:
            bound = Bound(self._file.fileno(), tempfile.gettempdir())
            while data := os.read(self._source, 1 << 20):
                room, why = bound.room(0)
                if len(data) > room:
                    self._stop(why)
                    break
                view = memoryview(data)
                while view:
                    view = view[self._file.write(view) :]
        except OSError as error:
            self._stop(error.strerror or str(error))
        except ValueError:  # the view was left
            pass
        os.close(self._source)  # the program that writes to us is told

    def _stop(self, why: str) -> None:
        self.cut = f"standard input was not read to its end: {why}"


def _size(words: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{2,4})x(\d{2,4})", words)
    if not found:
        raise argparse.ArgumentTypeError(f"{words!r} is not a size: give columns and rows, such as 120x40")
    return int(found[1]), int(found[2])
