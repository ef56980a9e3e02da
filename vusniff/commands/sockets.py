"""``vusniff sockets``: which unix stream connections there are, who is at both ends, and which may be vhost-user."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from typing import TYPE_CHECKING

from vusniff import terminal
from vusniff.amounts import counted
from vusniff.commands.forms import add_color, add_json
from vusniff.printable import cell

if TYPE_CHECKING:
    from vusniff.sources.host.kernel_nodes import OpenDevice
    from vusniff.sources.host.sockets import SocketRow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff sockets``."""
    parser.add_argument("-a", "--all", action="store_true", help="also those that do not look like vhost-user")
    add_json(parser, "print JSON lines, one object a connection")
    add_color(parser, "table")


def run(args: argparse.Namespace) -> int:
    """Print the connections; 0, or 1 when there is none to print."""
    from vusniff.sources.host.kernel_nodes import open_devices
    from vusniff.sources.host.sockets import list_connections

    devices = open_devices()
    found = list_connections()
    shown = [row for row in found if row.likely or args.all]
    if args.json:
        for row in shown:
            terminal.put_json(json.dumps(as_json(row), ensure_ascii=False) + "\n")
        for device in devices:
            terminal.put_json(json.dumps(device_as_json(device), ensure_ascii=False) + "\n")
    else:
        if shown:
            _print_table(shown)
        if devices:
            _print_devices(devices)
    if not args.json:
        connected = sum(row.connected for row in found)
        likely = sum(row.likely and row.connected for row in found)
        hint = "" if args.all or len(shown) == len(found) else " (--all shows them)"
        look = "looks" if 1 in (likely, connected) else "look"
        terminal.tell(f"{likely} of {counted(connected, 'unix stream connection')} {look} like vhost-user{hint}")
    return 0 if shown or devices else 1


def device_as_json(device: OpenDevice) -> dict[str, object]:
    """A device of the kernel as plain values."""
    return {
        "path": device.path,
        "state": "open",
        "detail": device.detail or None,
        "pid": device.pid,
        "comm": device.comm,
        "fds": list(device.fds),
    }


def _print_devices(devices: list[OpenDevice]) -> None:
    """The vhost devices of the kernel, and who has them open."""
    columns = ("STATE", "DEVICE", "OPENED BY", "FDS", "WHAT IT IS")
    rows = [
        ("open", one.path, f"{one.comm} {one.pid}", " ".join(map(str, one.fds)), one.detail or "-") for one in devices
    ]
    _print_cells([columns, *(tuple(map(cell, row)) for row in rows)])


def as_json(row: SocketRow) -> dict[str, object]:
    """A row as plain values."""
    return {
        "path": row.path,
        "state": row.state,
        "likely": row.likely,
        "evidence": row.evidence or None,
        "label": row.label,
        "inodes": list(row.inodes),
        "ends": [
            [
                {"pid": party.pid, "comm": party.comm, "name": party.name, "label": party.label, "fd": party.fd}
                for party in side
            ]
            for side in row.parties
        ],
        "listener": row.listener.pid if row.listener else None,
    }


_COLUMNS = ("STATE", "PATH", "CONNECTED BY", "ACCEPTED BY", "LISTENER", "INODES", "WHY VHOST-USER")


def _print_table(rows: list[SocketRow]) -> None:
    _print_cells([_COLUMNS, *(tuple(map(cell, _cells(row))) for row in rows)])


def _print_cells(table: list[tuple[str, ...]]) -> None:
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    if sys.stdout.isatty() and sum(widths) + 2 * len(widths) - 2 > shutil.get_terminal_size().columns:
        _print_stacked(table)
        return
    for line in table:
        terminal.put_line("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _print_stacked(table: list[tuple[str, ...]]) -> None:
    """Where a table is wider than the terminal: state and path in a line, below them what is known, a line each."""
    (_, _, *names), *rows = table
    width = max(map(len, names))
    for state, path, *others in rows:
        terminal.put_line(f"{state}  {path}")
        for name, text in zip(names, others, strict=True):
            if text != "-":
                terminal.put_line(f"    {name.lower():<{width}}  {text}")


def _cells(row: SocketRow) -> tuple[str, ...]:
    sides = [
        ", ".join(
            f"{party.words} ({party.name} {party.pid})" if party.label else f"{party.name} {party.pid}" for party in s
        )
        for s in row.parties
    ]
    if row.state == "listening":
        sides[0] = ""
    listener = f"{row.listener.words} {row.listener.pid}" if row.listener else ""
    inodes = "-".join(str(inode) for inode in row.inodes if inode)
    return (
        row.state,
        row.path or "(none)",
        sides[0] or "-",
        sides[1] or "-",
        listener or "-",
        inodes,
        row.evidence or "-",
    )
