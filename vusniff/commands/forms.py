"""How a command prints: ``--json`` and ``--format`` mean the same for all of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from vusniff import terminal

COMMON = (
    *("session", "at", "device", "filter", "follow", "verbose", "hex"),
    *("json", "format", "color", "force", "quiet"),
)
"""Options that several commands have: they stand behind a command's own, in this order."""
Options = argparse._ActionsContainer
"""A parser, or a group of one."""


def in_order(parser: argparse.ArgumentParser) -> None:
    """Put the options that several commands have where `COMMON` says."""
    for actions in (parser._actions, parser._optionals._group_actions):
        actions.sort(key=_place)


def _place(action: argparse.Action) -> int:
    name = max(action.option_strings, key=len, default="").removeprefix("--")
    return COMMON.index(name) + 1 if name in COMMON else 0


class _Form(argparse.Action):
    """Sets the truth of ``--json`` by the name of a form."""

    def __call__(self, parser: object, namespace: object, values: object, option: str | None = None) -> None:
        setattr(namespace, self.dest, values == "json")


def add_json(options: Options, words: str) -> None:
    """``--json``, and ``--format`` for those who expect that: both set ``json``."""
    options.add_argument("--json", action="store_true", help=words)
    options.add_argument(
        "--format", dest="json", action=_Form, choices=("text", "json"), default=argparse.SUPPRESS, help="text or json"
    )


def add_format(options: Options, forms: Sequence[str], words: str, json: str = "json") -> None:
    """``--format``, text where nothing is said, and ``--json`` for the form of that name: both set ``format``."""
    options.add_argument("--format", choices=forms, default="text", help=words)
    options.add_argument(
        "--json", dest="format", action="store_const", const=json, default=argparse.SUPPRESS, help="as --format json"
    )


def add_color(options: Options, lines: str) -> None:
    """``--color``, which means the same for all commands that print lines; ``lines`` names what is painted in them,
    in `vusniff.views.paint`."""
    options.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="colours (auto: on a terminal)"
    )
    options.set_defaults(lines=lines)


def paint(args: argparse.Namespace) -> None:
    """Let what is printed have colours, where that is asked for and it is text."""
    wanted = getattr(args, "lines", None) is not None and terminal.wants_color(args.color)
    if not wanted or getattr(args, "json", False) or getattr(args, "format", "text") != "text":
        terminal.paint_with(None)
        return
    from vusniff.views import paint

    terminal.paint_with(paint.painter(paint.KINDS[args.lines]))
