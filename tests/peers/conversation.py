"""What a capture says was said, in a form that captures of the same run by different witnesses have in common."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

Said = tuple[int, int, str, tuple[tuple[str, str | None], ...]]
"""Request, flags, payload in hex, and kind and name of each descriptor: what cannot depend on who looked."""
Conversation = dict[tuple[int, str, str], list[Said]]
"""Which session, channel and sender -> what was said, in order."""


def read(capture: Path) -> list[dict[str, Any]]:
    """Every message of a capture, by `vusniff read --json -x`."""
    command = [sys.executable, "-m", "vusniff", "read", "--json", "--hex", str(capture)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [row for row in map(json.loads, done.stdout.splitlines()) if "kind" not in row]


def conversation(messages: list[dict[str, Any]]) -> Conversation:
    """Sorted by who said it to whom. Memory names are kept; numbers of descriptors differ between processes."""
    said: Conversation = defaultdict(list)
    for message in messages:
        fds = tuple((fd["kind"], fd["name"] if fd["kind"] == "memfd" else None) for fd in message["fds"])
        what = (message["request"], message["flags"], message["payload_hex"], fds)
        said[message["session"], message["channel"], message["sender"]].append(what)
    return dict(said)


def requests(messages: list[dict[str, Any]]) -> list[str]:
    """Names of what the front-end asked on the main channel, in order."""
    asked = (m for m in messages if m["channel"] == "main" and m["sender"] == "frontend")
    return [str(message["name"]) for message in asked]


def import_log(log: Path, capture: Path) -> list[dict[str, Any]]:
    """What a log of a program tells of messages."""
    command = [sys.executable, "-m", "vusniff", "import", "log", str(log), "-o", str(capture)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return read(capture)


def disagree(told: list[dict[str, Any]], seen: list[dict[str, Any]]) -> list[str]:
    """Where what a log tells is not what was seen: values that both have, of messages in the same place."""
    found = []
    for one, other in zip(told, seen, strict=True):
        own = {name: value for name, value in (one["payload"] or {}).items() if not name.endswith("_names")}
        real = other["payload"] or {}
        wrong = {name: (value, real.get(name)) for name, value in own.items() if real.get(name) != value}
        found += [f"#{other['number']} {other['name']} by {one['told']['where']}: {wrong}"] if wrong else []
    return found


def import_logs(logs: list[Path], capture: Path) -> None:
    """Turn strace's logs of one role into a capture."""
    command = [sys.executable, "-m", "vusniff", "import", "strace", *map(str, logs), "-o", str(capture)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
