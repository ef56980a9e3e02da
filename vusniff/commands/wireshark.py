"""``vusniff wireshark``: put the dissector and the entry for live capture into Wireshark's folders."""

from __future__ import annotations

import argparse
from itertools import chain

from vusniff import terminal

_EPILOG = """Live capture shows findings as expert information; so does the copy of a file that vusniff export FILE -o
OUT.pcapng writes. tshark says at a request what answers it, and when, with -2 -R vhost_user."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff wireshark``."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "action",
        choices=("install", "uninstall"),
        help="write both files, or remove them; after an update of vusniff or its dissectors install them again",
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--directory", metavar="DIR", help="use DIR/plugins and DIR/extcap, not the folders of Wireshark for this user"
    )
    place.add_argument(
        "--global",
        dest="common",
        action="store_true",
        help="use Wireshark's folders for all users (as root); run as root, Wireshark 4.4 reads no others",
    )
    parser.add_argument("--print", action="store_true", help="show the files instead of writing them")


def run(args: argparse.Namespace) -> int:
    """Install or remove; 0."""
    from vusniff.wireshark import folders
    from vusniff.wireshark.lua import generate

    where = folders.folders(args.directory, common=args.common)
    if args.action == "uninstall":
        if args.print:
            terminal.put_line(f"would remove {where.lua}")
            terminal.put_line(f"would remove {where.program}")
            return 0
        said = folders.uninstall(where)
    elif args.print:
        terminal.put_line(f"-- {where.lua}")
        terminal.put(f"{generate()}\n")
        terminal.put_line(f"# {where.program}")
        terminal.put(folders.wrapper())
        return 0
    else:
        said = chain(folders.install(where, generate()), () if args.directory else folders.unread(where))
    for sentence in said:
        terminal.put_line(sentence)
    return 0
