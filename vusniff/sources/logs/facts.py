"""What a format finds in a log: messages, openings, ends and lines, each with the connection that it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from vusniff.families.vhost_user.protocol import FrontendRequest
from vusniff.sources.logs.prefix import Line
from vusniff.values import dataclass, field

BACKEND, FRONTEND = "backend", "frontend"
"""Who wrote a log, who sent a message, who closed."""


@dataclass(slots=True)
class LoggedMessage:
    """One message that the log mentions."""

    line: Line
    key: str
    """What the log calls its connection: the path of the socket where it has it."""
    request: int
    reply: bool = False
    values: dict[str, Any] = field(default_factory=dict)
    flags: int | None = None
    size: int | None = None
    descriptors: int = 0
    """Descriptors that surely came with it."""


@dataclass(slots=True)
class LoggedOpening:
    """A connection begins."""

    line: Line
    key: str
    writer_listens: bool | None = None
    """The program that wrote the log accepted the connection; False: it connected. None: not told."""


@dataclass(slots=True)
class LoggedEnd:
    """A connection ends."""

    line: Line
    key: str
    by: str | None
    """`BACKEND` or `FRONTEND`, as far as the log tells."""
    reason: str


@dataclass(slots=True)
class LoggedText:
    """A line that mentions no message."""

    line: Line
    key: str | None = None
    """None: it is about no connection in particular."""


Fact = LoggedMessage | LoggedOpening | LoggedEnd | LoggedText


class Format(Protocol):
    """One format of logs, at work on one log."""

    writer: str
    """`BACKEND` or `FRONTEND`: whose log it is."""
    program: str
    """Who writes it, where its lines do not say."""

    def feed(self, line: Line) -> list[Fact]:
        """What a line tells, together with what it completes."""

    def finish(self) -> list[Fact]:
        """What was not complete at the end of the log."""


REQUESTS: Mapping[str, int] = {
    **{request.name: int(request) for request in FrontendRequest},
    "SET_SLAVE_REQ_FD": int(FrontendRequest.SET_BACKEND_REQ_FD),
    "GET_VRING_BASE": int(FrontendRequest.GET_VRING_BASE),
}
"""Names of the main channel's requests -> numbers."""


def request_of(name: str) -> int | None:
    """The number of a request by its name, with or without VHOST_USER_."""
    return REQUESTS.get(name.upper().removeprefix("VHOST_USER_"))
