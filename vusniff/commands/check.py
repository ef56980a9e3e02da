"""``vusniff check``: what is wrong in captures, whose fault it is, and the evidence; for people and for CI."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vusniff import terminal
from vusniff.commands.forms import add_color, add_format
from vusniff.commands.times import some_seconds
from vusniff.errors import VusniffError

if TYPE_CHECKING:
    from vusniff.checks.finding import Rule
    from vusniff.filter import Filter
    from vusniff.views.findings import Judged

FORMATS = ("text", "json", "sarif", "junit")
FAIL_ON = ("error", "warning", "note", "never")
ROWS = 4096
"""Messages between two looks at what was found."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff check``."""
    parser.add_argument("files", metavar="FILE", nargs="*", help="capture files, merged by time; - is standard input")
    parser.add_argument(
        "--fail-on",
        choices=FAIL_ON,
        default="error",
        help="exit with 1 for findings this bad, and for a capture that is cut (default: error)",
    )
    for option, words in (("--rule", "ask only this rule"), ("--ignore", "do not ask this rule")):
        parser.add_argument(
            option, metavar="SLUG", action="append", default=[], help=f"{words}; repeat it, or separate by commas"
        )
    add_format(parser, FORMATS, "text (default), JSON lines, SARIF or JUnit")
    add_color(parser, "findings")
    parser.add_argument(
        "--wait", type=some_seconds, default=5.0, metavar="SECONDS", help="how long a request may wait (5)"
    )
    parser.add_argument("--follow", action="store_true", help="go on as the capture grows, until interrupted")
    parser.add_argument("--device", metavar="TYPE", help="device type (net, blk, fs, ...) instead of the deduced one")
    parser.add_argument("--filter", metavar="EXPR", help="only findings at messages that pass this filter")
    parser.add_argument("--list", action="store_true", help="list the rules and exit")


def run(args: argparse.Namespace) -> int:
    """Judge captures; 1 when a finding is as bad as ``--fail-on`` or a capture is cut, else 0."""
    from vusniff.views import findings

    rules = _rules(args.rule, args.ignore)
    if args.list:
        _write("".join(f"{line}\n" for line in findings.rule_lines(rules)), "text")
        return 0
    if not args.files:
        raise VusniffError("no capture to check: give one or more files, or --list for the rules")
    if args.follow and args.format in ("sarif", "junit"):
        raise VusniffError(f"--format {args.format} is one document and does not go with --follow: use text or json")
    chosen = _filter(args)
    judged = _judge(args, rules, chosen)
    if args.format in ("sarif", "junit"):
        from vusniff.views import reports

        sarif = args.format == "sarif"
        _write(reports.sarif(judged, args.files) if sarif else reports.junit(judged, args.fail_on), args.format)
    if not judged.times:
        terminal.tell("no messages: there is nothing to judge")
    if (judged.cuts or not judged.times) and args.fail_on != "never":
        return 1  # what was not seen is not called good
    return 1 if any(finding.severity.rank <= _worst(args.fail_on) for finding in judged.checker.findings) else 0


def _worst(fail_on: str) -> int:
    return FAIL_ON.index(fail_on) if fail_on != "never" else -1


def _rules(wanted: Sequence[str], ignored: Sequence[str]) -> tuple[Rule, ...]:
    """The rules to ask. Raises VusniffError for a slug that is none."""
    from vusniff.checks.registry import rules

    only, without = _slugs("--rule", wanted), _slugs("--ignore", ignored)
    return tuple(rule for rule in rules() if (not only or rule.slug in only) and rule.slug not in without)


def _slugs(option: str, words: Sequence[str]) -> set[str]:
    from vusniff.checks.registry import rules

    known = {word: rule.slug for rule in rules() for word in (rule.slug, rule.id, rule.id.lower())}
    slugs = set()
    for word in (part.strip() for words_ in words for part in words_.split(",")):
        if not word:
            continue
        if word not in known:
            close = _close(word, [rule.slug for rule in rules()])
            hint = f"did you mean {', '.join(close)}?" if close else "vusniff check --list shows them all"
            raise VusniffError(f"{option} {word}: there is no such rule; {hint}")
        slugs.add(known[word])
    return slugs


def _close(word: str, slugs: Sequence[str]) -> list[str]:
    """The slugs that resemble a word most, part by part."""
    from difflib import get_close_matches

    parts = word.lower().split("-")
    scores = {slug: sum(bool(get_close_matches(part, slug.split("-"), 1, 0.7)) for part in parts) for slug in slugs}
    best = max(scores.values())
    return [slug for slug, score in scores.items() if score == best][:3] if best else []


def _filter(args: argparse.Namespace) -> Filter | None:
    """The filter of ``--filter``. Raises FilterError, and VusniffError for what cannot be read twice."""
    if args.filter is None:
        return None
    from vusniff.filter import compile_filter

    chosen = compile_filter(args.filter)
    if args.follow or "-" in args.files:
        raise VusniffError(
            "--filter needs captures that are finished: leave out --follow, and save what comes by a pipe"
        )
    return chosen


def _keep(judged: Judged, chosen: Filter, args: argparse.Namespace) -> None:
    """Forget the findings at messages that do not pass."""
    from collections import Counter

    from vusniff.analysis.timeline import Timeline, read_all
    from vusniff.capture.index import Index

    timeline = Timeline(Index(args.files), args.device)
    read_all(timeline, judge=chosen.needs_findings)
    if chosen.needs_findings:
        timeline.conclude()
    sieve, checker = chosen.sieve(timeline), judged.checker
    checker.findings[:] = [one for one in checker.findings if sieve.rows(one.number - 1, one.number)]
    checker.counts = Counter((one.session, one.rule, one.side) for one in checker.findings)


def _judge(args: argparse.Namespace, rules: Sequence[Rule], chosen: Filter | None) -> Judged:
    """Read captures and ask the rules. Of what still grows, text and JSON are written while that goes on; of a file the
    verdict is written first."""
    from vusniff.capture.reader import CaptureReader
    from vusniff.checks.rulings import KEPT
    from vusniff.progress import reading
    from vusniff.views.findings import Judged, Writer

    # With a filter all findings are kept until it has been asked: those beyond the usual number may be the ones wanted.
    kept = sys.maxsize if chosen else KEPT
    judged = Judged(rules, args.device, wait_ns=int(args.wait * 1e9), kept=kept)
    reader = CaptureReader(args.files)
    writer = Writer(judged, args.format)
    grows = args.follow or "-" in args.files
    try:
        with reading(args.files[0]) as progress:
            for batch in reader.batches(data=True, follow=args.follow, max_rows=ROWS):
                # Of the batches before: a short capture is told as a whole, in the order of its sessions.
                news = writer.news() if grows else ""
                if news and progress:
                    progress.pause()
                _write(news, args.format)
                judged.take(batch, reader.order)
                if args.follow:
                    _write(writer.news(), args.format)
                elif progress:
                    progress(*reader.progress)
    except KeyboardInterrupt:
        judged.notes = reader.notes
        _write(writer.rest() if grows else writer.whole(), args.format)
        raise
    judged.notes, judged.cuts = reader.notes, reader.cuts
    judged.conclude()
    if chosen:
        _keep(judged, chosen, args)
    _write(writer.rest() if grows else writer.whole(), args.format)
    return judged


def _write(text: str, form: str) -> None:
    if text:
        (terminal.put_folded if form == "text" else terminal.put)(text)
        terminal.flush()
