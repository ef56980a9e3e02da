"""``vusniff explain``: what a request, feature, rule, phase, word or error text means."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from vusniff import terminal
from vusniff.commands.forms import add_json
from vusniff.errors import VusniffError

if TYPE_CHECKING:
    from vusniff.views.topic import Topic

TEXT_LIMIT = 1 << 20
"""Bytes of standard input that are read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff explain``."""
    parser.add_argument(
        "what",
        metavar="WHAT",
        nargs="*",
        help="a request (GET_FEATURES, or its number), a feature (MRG_RXBUF), a protocol feature (MQ), a rule (R48 or "
        "its name), a phase (start), a word of the screens (armed) or of a verdict (refused), or an error text of "
        "QEMU, DPDK, libvhost-user, rust-vmm and others, also several lines; - reads them from standard input",
    )
    parser.add_argument("--device", metavar="TYPE", help="device type: a number is then its feature bit")
    parser.add_argument("--features", metavar="NUMBER", help="name the bits of features (of --device TYPE)")
    parser.add_argument("--protocol-features", metavar="NUMBER", help="name the bits of protocol features")
    parser.add_argument(
        "--capture",
        metavar="FILE",
        help="a capture with call stacks (capture --stacks): say also who sent the request, or the requests of the "
        "phase, beside who is known to send them",
    )
    add_json(parser, "print JSON, one object for each meaning")


def run(args: argparse.Namespace) -> int:
    """Print all meanings of what was asked."""
    topics = _topics(args)
    if args.capture is not None:
        topics = _with_callers(topics, args.capture)
    from vusniff.views import page

    if args.json:
        from vusniff.views import jsonl

        for topic in topics:
            told = {"kind": topic.kind, "name": topic.name, "device": topic.device, **page.as_dict(topic.page)}
            terminal.put_json(jsonl.encode(told) + b"\n")
        return 0
    terminal.put("\n".join(page.text(topic.page, terminal.width()) for topic in topics))
    return 0


def _with_callers(topics: list[Topic], file: str) -> list[Topic]:
    from vusniff.analysis.timeline import Timeline, read_all
    from vusniff.capture.index import Index
    from vusniff.progress import reading, tell
    from vusniff.views.sent_by import with_callers

    timeline = Timeline(Index([file]))
    with reading(file) as progress:
        read_all(timeline, progress)
    tell(timeline.index.notes)
    return with_callers(topics, timeline)


def _topics(args: argparse.Namespace) -> list[Topic]:
    found: list[Topic] = []
    if args.features is not None or args.protocol_features is not None:
        from vusniff.views import bits

        if args.features is not None:
            found.append(bits.features(bits.number_of(args.features, "--features"), args.device))
        if args.protocol_features is not None:
            value = bits.number_of(args.protocol_features, "--protocol-features")
            found.append(bits.protocol_features(value))
        if not args.what:
            return found
        args.device = None  # it was for the features
    if not args.what and args.device is not None:
        args.what, args.device = [args.device], None
    if not args.what:
        raise VusniffError(
            "explain: say what: a request, feature, rule, phase, word or error text, or --features NUMBER"
        )
    from vusniff.views import asked

    words = [_input()] if args.what == ["-"] else args.what
    return found + asked.topics(words, args.device)


def _input() -> str:
    import sys

    text = sys.stdin.buffer.read(TEXT_LIMIT).decode("utf-8", "replace")
    if not text.strip():
        raise VusniffError("explain -: standard input is empty; paste the error text there")
    return text
