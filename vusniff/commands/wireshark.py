"""``vusniff wireshark``: put the dissector and the entry for live capture into Wireshark's folders."""

from __future__ import annotations

import argparse

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
    parser.add_argument(
        "--directory", metavar="DIR", help="use DIR/plugins and DIR/extcap, not Wireshark's own folders"
    )
    parser.add_argument("--print", action="store_true", help="show the files instead of writing them")


def run(args: argparse.Namespace) -> int:
    """Install or remove; 0."""
    from vusniff.wireshark import folders
    from vusniff.wireshark.lua import generate

    where = folders.folders(args.directory)
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
        said = folders.install(where, generate())
    for sentence in said:
        terminal.put_line(sentence)
    return 0
