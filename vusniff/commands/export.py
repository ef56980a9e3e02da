"""``vusniff export``: a capture in another form, for those who do not have vusniff, or may not see all of it."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from vusniff import terminal

if TYPE_CHECKING:
    from vusniff.views.export.chosen import Chosen

FORMATS = {
    "jsonl": (".jsonl", ".ndjson"),
    "csv": (".csv",),
    "text": (".txt",),
    "markdown": (".md",),
    "html": (".html", ".htm"),
    "mermaid": (".mmd",),
    "svg": (".svg",),
    "pcapng": (".pcapng",),
    "perfetto": (".pftrace", ".perfetto-trace"),
    "otlp": (".otlp",),
    "parquet": (".parquet",),
    "folded": (".folded",),
    "flamegraph": (".flame.svg",),
}
"""Format -> endings of file names that mean it."""
_JSON = ("jsonl", "otlp")
_BINARY = ("pcapng", "perfetto", "parquet")
_EPILOG = """jsonl: one object a message (docs/jsonl.md). markdown: a bug report. html: one page for any browser,
without network. mermaid, svg: sequence diagrams. pcapng: the capture again, with findings as packet comments, which
Wireshark shows; also of one that is being recorded: vusniff capture -w - | vusniff export - --format pcapng |
wireshark -k -i -. perfetto: a trace for ui.perfetto.dev. otlp: OpenTelemetry traces, a line of JSON a session.
parquet: a table, where pyarrow is installed. flamegraph: who called whom (capture --stacks) as a picture, folded: the
same as text, a stack and its messages a line, as flamegraph.pl and speedscope read it. OUT is written compressed when
its name ends in .gz or .zst. --redact works with every format; SECURITY.md says what it removes and what it leaves."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff export``."""
    parser.epilog = _EPILOG
    parser.add_argument("files", metavar="FILE", nargs="+", help="capture files, merged by time; - is standard input")
    parser.add_argument(
        "--format",
        type=lambda form: "jsonl" if form == "json" else form,
        choices=FORMATS,
        help="how (default: by the ending of -o, before .gz or .zst); json is jsonl",
    )
    parser.add_argument("--json", dest="format", action="store_const", const="jsonl", help="as --format jsonl")
    parser.add_argument("-o", "--output", metavar="OUT", help="where to (default: standard output)")
    parser.add_argument("--force", action="store_true", help="replace OUT if it is there already")
    parser.add_argument("--session", type=int, metavar="N", help="only session N")
    parser.add_argument("--filter", metavar="EXPR", help="only messages that pass this filter")
    parser.add_argument("--limit", type=int, metavar="N", help="most messages in a document, steps in a diagram")
    parser.add_argument("--redact", action="store_true", help="leave out guest data, paths and names of the host")
    parser.add_argument("--device", metavar="TYPE", help="device type (net, blk, fs, ...) instead of the deduced one")


def run(args: argparse.Namespace) -> int:
    """Export; 0, or 1 when there was no message."""
    from vusniff.errors import VusniffError

    form = args.format or _by_ending(args.output)
    if form is None:
        raise VusniffError(f"say how to export: --format {'|'.join(FORMATS)}, or an output file with such an ending")
    if args.limit is not None and args.limit < 1:
        raise VusniffError(f"--limit {args.limit}: at least 1")
    _protect(args)
    if form in _BINARY and args.output in (None, "-") and sys.stdout.isatty():
        raise VusniffError(f"{form} is not for a terminal: name a file with -o, or send standard output to one")
    if "-" in args.files:
        return _annotate_stream(args, form)
    with _source(args) as files:
        names = ["capture"] if args.redact else args.files
        chosen = _choose(files, names, args)
        _write(args.output, form, chosen, _replaces(args))
    if not len(chosen.rows):
        terminal.tell("no messages: there is nothing to export")
        return 1
    return 0


def _annotate_stream(args: argparse.Namespace, form: str) -> int:
    """What comes through standard input, with what can be said of it so far; raises VusniffError for all else."""
    from vusniff.errors import VusniffError
    from vusniff.views.export.annotated import annotate_live

    if form != "pcapng" or len(args.files) > 1 or args.redact or args.filter or args.session is not None:
        raise VusniffError(
            "standard input can only be exported as pcapng, whole and alone: save it first, or use read --json"
        )
    for note in annotate_live("-", args.output or "-", args.device, replaces=_replaces(args)):
        terminal.say(note)
    return 0


def _by_ending(output: str | None) -> str | None:
    name = output or ""
    if name.removesuffix(".gz").removesuffix(".zst").lower().endswith(".flame.svg"):
        return "flamegraph"
    ending = os.path.splitext(name.removesuffix(".gz").removesuffix(".zst"))[1].lower()
    return next((form for form, endings in FORMATS.items() if ending in endings), None)


def _protect(args: argparse.Namespace) -> None:
    """Refuse to write over something by mistake, before the work."""
    from vusniff.errors import VusniffError
    from vusniff.files import check_output

    output = args.output
    if output is None or output == "-":
        return
    if os.path.exists(output) and any(os.path.exists(file) and os.path.samefile(file, output) for file in args.files):
        raise VusniffError(f"{output} is the capture itself: name another output file")
    check_output(output, _replaces(args))


def _replaces(args: argparse.Namespace) -> bytes | None:
    return b"" if args.force else None


@contextlib.contextmanager
def _source(args: argparse.Namespace) -> Iterator[Sequence[str]]:
    """The files to export from: with --redact a redacted copy, which nobody else can read and which goes away."""
    if not args.redact:
        yield args.files
        return
    from vusniff.progress import tell
    from vusniff.views.export.redact import redact

    with tempfile.TemporaryDirectory(prefix="vusniff-") as folder:
        path = os.path.join(folder, "redacted.pcapng")
        tell(redact(args.files, path, args.device))
        yield [path]


def _choose(files: Sequence[str], names: Sequence[str], args: argparse.Namespace) -> Chosen:
    """Read, judge, select."""
    from vusniff.analysis.timeline import Timeline, read_all
    from vusniff.capture.index import Index
    from vusniff.errors import VusniffError
    from vusniff.filter import compile_filter
    from vusniff.progress import reading, tell
    from vusniff.views.export.chosen import Chosen

    wanted = compile_filter(args.filter) if args.filter else None
    timeline = Timeline(Index(files), args.device)
    with reading(args.files[0]) as progress:
        read_all(timeline, progress)
    tell(timeline.index.notes)
    count = len(timeline.sessions)
    if args.session is not None and not 1 <= args.session <= count:
        raise VusniffError(f"--session {args.session}: there are sessions 1 to {count}")
    with reading("what was said") as progress:
        while timeline.analyse():
            if progress:
                progress(timeline.analysed, len(timeline))
    timeline.conclude()
    rows: Sequence[int] = range(len(timeline))
    if wanted is not None:
        rows = wanted.rows(timeline)
    if args.session is not None:
        rows = [row for row in rows if timeline.place(row).session == args.session]
    return Chosen(timeline, rows, names, args.limit, wanted is not None)


def _write(output: str | None, form: str, chosen: Chosen, replaces: bytes | None) -> None:
    if form == "pcapng":
        from vusniff.views.export.annotated import annotate

        annotate(chosen, output or "-", replaces)
        return
    pieces = _makers()[form](chosen)
    if output in (None, "-") and form not in _BINARY:
        for piece in pieces:
            (terminal.put_json if form in _JSON else terminal.put)(str(piece))
        return
    from vusniff.capture.output import open_path
    from vusniff.errors import VusniffError

    out, why = open_path(output or "-", replaces), None
    for piece in pieces:
        data = piece if isinstance(piece, bytes) else piece.encode("utf-8", "backslashreplace")
        _, why = out.write(data)
        if why is not None:
            break
    why = why or out.finish()
    out.close()
    if why is not None:
        raise VusniffError(f"cannot write {out.name}: {why.strerror}")


def _makers() -> dict[str, Callable[[Chosen], Iterable[str] | Iterable[bytes]]]:
    from vusniff.views.export import flamegraph, lines, mermaid, otlp, parquet, perfetto, report, svg, webpage

    return {
        "jsonl": lines.json_lines,
        "csv": lines.comma_separated,
        "text": lines.text,
        "markdown": report.report,
        "html": webpage.webpage,
        "mermaid": mermaid.mermaid,
        "svg": svg.svg,
        "perfetto": perfetto.perfetto,
        "otlp": otlp.otlp,
        "parquet": parquet.parquet,
        "folded": flamegraph.folded,
        "flamegraph": flamegraph.svg,
    }
