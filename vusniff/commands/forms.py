"""How a command prints: ``--json`` and ``--format`` mean the same for all of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

Options = argparse._ActionsContainer
"""A parser, or a group of one."""


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
