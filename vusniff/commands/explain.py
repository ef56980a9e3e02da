"""``vusniff explain``: what a request, feature, rule or phase is."""

from __future__ import annotations

import argparse

from vusniff import terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff explain``."""
    parser.add_argument(
        "what",
        metavar="WHAT",
        nargs="+",
        help="a request (GET_FEATURES, or its number), a feature (MRG_RXBUF), a protocol feature (MQ), a rule (R48 or "
        "its name) or a phase (start)",
    )
    parser.add_argument("--device", metavar="TYPE", help="device type: a number is then its feature bit")
    parser.add_argument("--json", action="store_true", help="print JSON, one object for each meaning")


def run(args: argparse.Namespace) -> int:
    """Print all meanings of a name."""
    from vusniff.views import explain, page

    topics = explain.topics(" ".join(args.what), args.device)
    if args.json:
        from vusniff.views import jsonl

        for topic in topics:
            told = {"kind": topic.kind, "name": topic.name, "device": topic.device, **page.as_dict(topic.page)}
            terminal.put_json(jsonl.encode(told) + b"\n")
        return 0
    terminal.put("\n".join(page.text(topic.page) for topic in topics))
    return 0
