"""QEMU's monitor where libvirt has it: a monitor speaks to one client, so libvirt is asked, by virsh.

Only of a process of which libvirt itself says, in the file that it keeps of its number, that it is this domain: a
command line may claim any name. libvirt notes in its log that somebody asked ("tainted: custom-monitor").
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from vusniff.sources.host import labels

VIRSH = "/usr/bin/virsh"
PID_FILES = Path("/run/libvirt/qemu")
SECONDS = 2.0
"""How long an answer may take."""
ALL_SECONDS = 5.0
"""How long all answers of a domain may take."""
ANSWER_LIMIT = 4 << 20
"""Bytes of an answer."""
_NAME_LIMIT = 255


class LibvirtError(Exception):
    """A domain that cannot be asked, and why: the end of a sentence that begins with its name."""


def domain(pid: int) -> str | None:
    """The domain that a QEMU is, by libvirt; None for one that it has not started."""
    qemu = labels.parse_qemu(labels.command_line(pid))
    name = qemu.name if qemu else None
    if not name or len(name) > _NAME_LIMIT or "/" in name or "\0" in name:
        return None
    with contextlib.suppress(OSError, ValueError), open(PID_FILES / f"{name}.pid", encoding="ascii") as file:
        return name if int(file.read(32)) == pid else None
    return None


class Domain:
    """A domain's monitor. Raises `LibvirtError`."""

    def __init__(self, name: str, pid: int) -> None:
        self.pid = pid
        """Of QEMU."""
        self._name = name
        self._until = time.monotonic() + ALL_SECONDS
        if not os.access(VIRSH, os.X_OK):
            raise LibvirtError(f"libvirt has its monitor, and {VIRSH}, which asks it, is not there")

    def close(self) -> None:
        """Nothing is open between two questions."""

    def ask(self, command: str, **arguments: object) -> Any:
        """What it answers; None for an error of QEMU."""
        question = json.dumps({"execute": command, "arguments": arguments})
        words = [VIRSH, "--connect", "qemu:///system", "qemu-monitor-command", "--domain", self._name, question]
        left = min(SECONDS, self._until - time.monotonic())
        if left <= 0:
            raise LibvirtError("its monitor does not answer")
        try:
            data = _said(words, left)
            answer = json.loads(data) if data else None
        except (OSError, ValueError, RecursionError) as error:
            raise LibvirtError(str(error)) from None
        if not isinstance(answer, dict):
            raise LibvirtError("virsh does not reach its monitor")
        return answer.get("return")


def _said(words: list[str], seconds: float) -> bytes:
    """What a program prints; it is ended where it takes longer, or says more than `ANSWER_LIMIT`."""
    null = subprocess.DEVNULL
    with subprocess.Popen(words, stdin=null, stdout=subprocess.PIPE, stderr=null, env={"LC_ALL": "C"}) as child:
        late = threading.Timer(seconds, child.kill)
        late.start()
        assert child.stdout is not None
        data = child.stdout.read(ANSWER_LIMIT + 1)
        if len(data) > ANSWER_LIMIT:
            child.kill()
        ended = child.wait()
        late.cancel()
    if ended < 0:
        raise LibvirtError("its monitor does not answer")
    return data
