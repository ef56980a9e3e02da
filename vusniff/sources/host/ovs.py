"""Which port of Open vSwitch a vhost-user socket is: asked of its database, else told by the socket's place.

The database is the one that ovs-vswitchd itself was given on its command line, seen from that process. Anybody may
call a program so, and the probe is root: nothing is said to a socket that another user than the program's listens on. A
database answers at once or is not asked again; what it says is bounded and never believed to be well formed.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from typing import Any

PROGRAM = "ovs-vswitchd"
TIMEOUT_SECONDS = 0.2
"""A database that has not answered by then is not asked again."""
_LIMIT = 4 << 20
"""Bytes of an answer that are read."""
_CREDENTIALS = struct.Struct("3i")
_QUESTION = {
    "id": 0,
    "method": "transact",
    "params": [
        "Open_vSwitch",
        {"op": "select", "table": "Interface", "where": [], "columns": ["name", "type", "options"]},
    ],
}
_silent: set[str] = set()
"""Databases that did not answer."""


def port_label(pid: int, arguments: tuple[str, ...], path: str | None) -> str:
    """``ovs-vswitchd vhost1``: the port by the database; else, of a socket that Open vSwitch itself made in its run
    directory, which it names like the port, by its name; else the name of the socket."""
    if not path:
        return PROGRAM
    database = next((one.removeprefix("unix:") for one in arguments[1:] if one.startswith("unix:")), None)
    found = _by_database(pid, database, path) if database else None
    return f"{PROGRAM} {found or os.path.basename(path)}"


def _by_database(pid: int, database: str, path: str) -> str | None:
    place = f"/proc/{pid}/root{database}"
    if place in _silent:
        return None
    try:
        rows = _interfaces(place, os.stat(f"/proc/{pid}").st_uid)
    except (OSError, ValueError, RecursionError):
        if len(_silent) < 1024:
            _silent.add(place)
        return None
    return next((name for name, server in rows if server == path), None)


def _interfaces(place: str, owner: int) -> list[tuple[str, str]]:
    """Name and vhost-user path of each interface that has one. Raises OSError and ValueError."""
    until = time.monotonic() + TIMEOUT_SECONDS
    with socket.socket(socket.AF_UNIX) as database:
        database.settimeout(TIMEOUT_SECONDS)
        # A path below /proc may be longer than the name of a socket can be: it is reached by its directory.
        directory = os.open(os.path.dirname(place), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            database.connect(f"/proc/self/fd/{directory}/{os.path.basename(place)}")
        finally:
            os.close(directory)
        _, listens, _ = _CREDENTIALS.unpack(database.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if listens != owner:
            raise ValueError("another user listens there")
        database.sendall(json.dumps(_QUESTION).encode())
        answer = bytearray()
        while len(answer) < _LIMIT and (left := until - time.monotonic()) > 0:
            database.settimeout(left)
            piece = database.recv(1 << 18)
            if not piece:
                break
            answer += piece
            if answer.endswith(b"}") and answer.count(b"{") == answer.count(b"}"):
                return _rows(json.loads(answer))
    raise ValueError("no whole answer")


def _rows(answer: Any) -> list[tuple[str, str]]:
    """Of an answer: ``{"result": [{"rows": [{"name": ..., "options": ["map", [[key, value], ...]]}]}]}``."""
    found: list[tuple[str, str]] = []
    results = answer.get("result") if isinstance(answer, dict) else None
    for result in results if isinstance(results, list) else ():
        rows = result.get("rows") if isinstance(result, dict) else None
        for row in rows if isinstance(rows, list) else ():
            if not isinstance(row, dict) or not isinstance(name := row.get("name"), str):
                continue
            options = row.get("options")
            pairs = options[1] if isinstance(options, list) and len(options) == 2 else []
            found += [
                (name, str(pair[1]))
                for pair in (pairs if isinstance(pairs, list) else ())
                if isinstance(pair, list) and len(pair) == 2 and pair[0] == "vhost-server-path"
            ]
    return found
