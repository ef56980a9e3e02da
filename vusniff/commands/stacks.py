"""What commands that record have in common about call stacks: whether and how much of them is copied."""

from __future__ import annotations

import argparse
import platform
from typing import TYPE_CHECKING

from vusniff.errors import SourceError

if TYPE_CHECKING:
    from vusniff.sources.stacks.unwinder import Unwinder

SIZES = (4, 16, 32)
DEFAULT_KIB = 16


def add_stack_argument(parser: argparse.ArgumentParser) -> None:
    """Whether call stacks are recorded."""
    parser.add_argument(
        "--stacks",
        nargs="?",
        const=DEFAULT_KIB,
        type=int,
        choices=SIZES,
        help="record who called whom at each send; of a stack this many KiB are looked at (default: 16), and what it "
        "holds is not kept. Needs libdw (elfutils)",
    )


def check_stack_argument(args: argparse.Namespace) -> None:
    """Refuse what this machine cannot do. Raises SourceError."""
    if args.stacks is None:
        return
    from vusniff.sources.stacks import libdw

    if platform.machine() != "x86_64":
        raise SourceError(f"--stacks works on x86-64 only so far, and this is {platform.machine()}: leave it out")
    libdw.load()


def stack_words(args: argparse.Namespace) -> list[str]:
    """For the source's command line."""
    return [] if args.stacks is None else [f"--stacks={args.stacks}"]


def unwinder_of(args: argparse.Namespace) -> Unwinder | None:
    """What unwinds, where stacks are recorded."""
    if args.stacks is None:
        return None
    from vusniff.sources.stacks.unwinder import Unwinder

    return Unwinder(args.stacks)
