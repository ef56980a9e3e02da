"""Logs of programs in Rust on rust-vmm (env_logger): vhost-device, virtiofsd and others.

``vhost-user: request Ok(NAME)`` and the like name the requests that a back-end has read; virtiofsd and vhost-device
tell of connections and of the error that ended them, and of no message.
"""

from __future__ import annotations

import re

from vusniff.sources.logs.facts import (
    BACKEND,
    FRONTEND,
    Fact,
    LoggedEnd,
    LoggedMessage,
    LoggedOpening,
    LoggedText,
    request_of,
)
from vusniff.sources.logs.prefix import Line

MARK = re.compile(rb"vhost|virtiofsd|request|Client |daemon", re.I)
KEY = "rust-vmm"
_REQUEST = re.compile(r"(?:vhost-user: )?request:? (?:Ok\()?(?:FrontendReq::|MasterReq::)?([A-Z][A-Z_]{3,40})\)?$")
_OPENED = re.compile(r"Client connected, servicing requests$")
_LEFT = re.compile(r"Client disconnected")
_FAILED = re.compile(r"Waiting for daemon failed: |Fatal error: |Error running daemon: ")


class RustVmm:
    """One log."""

    writer = BACKEND
    program = "rust-vmm"

    def feed(self, line: Line) -> list[Fact]:
        """What a line tells."""
        key = f"{KEY} {line.pid}" if line.pid is not None else KEY
        found = _REQUEST.match(line.text)
        request = request_of(found[1]) if found else None
        if request is not None:
            return [LoggedMessage(line, key, request)]
        said: list[Fact] = [LoggedText(line, key)]
        if _OPENED.match(line.text):
            return [LoggedOpening(line, key, True), *said]
        if _LEFT.match(line.text):
            return [*said, LoggedEnd(line, key, FRONTEND, "eof")]
        if _FAILED.match(line.text):
            return [*said, LoggedEnd(line, key, BACKEND, f'after it wrote "{line.text[:200]}"')]
        return said

    def finish(self) -> list[Fact]:
        """Nothing waits."""
        return []
