"""Pages about error texts: what happened, with the values of the text; usual causes; what to capture."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from vusniff.families.vhost_user.protocol import BackendRequest, FrontendRequest
from vusniff.views import page, texts
from vusniff.views.page import Items, Page, PageSection, Prose
from vusniff.views.texts import FoundText, requests
from vusniff.views.topic import Topic

TITLE = 100
"""Characters of a text in the title of its page."""
ERRNO = {
    errno.EIO: "in QEMU also: the back-end acknowledged the request with an error",
    errno.EPROTO: "in QEMU: the answer could not be read or was not one",
    errno.EINVAL: "in QEMU also: there was no connection any more",
    errno.EPIPE: "the other side had closed the connection",
    errno.ECONNRESET: "the other side closed the connection with bytes unread",
}
"""What an error number says here besides its name."""


def topics(text: str) -> list[Topic]:
    """A page for each known text in it; none for a text without any."""
    return [_topic(found) for found in texts.find(text)]


def _topic(found: FoundText) -> Topic:
    row = found.row

    def said(sentence: str) -> str:
        return texts.said(found, sentence, lambda kind, value: spoken(kind, value))

    values = [(name, meaning(found.kinds[name], value)) for name, value in found.values.items()]
    facts = page.facts(("printed by", row.by), *values)
    sections = [PageSection("What happened", [Prose([said(row.happened)]), facts])]
    causes = [*_unanswered(found), *map(said, row.causes)]
    if causes:
        sections.append(PageSection("Usual causes, the most frequent first", [Items(causes)]))
    sections.append(PageSection("What to capture", [Prose([row.capture])]))
    title = found.said if len(found.said) <= TITLE else f"{found.said[:TITLE]} ..."
    return Topic("error text", found.text, Page(f"{title}: error text", sections))


def _unanswered(found: FoundText) -> Iterator[str]:
    number = _request_of(found) if found.row.waits else None
    if number is not None:
        yield from requests.UNANSWERED.get(number, requests.DIED)


def _request_of(found: FoundText) -> int | None:
    for name, value in found.values.items():
        if found.kinds[name] == "request":
            return int(value)
        if found.kinds[name] == "name":
            return getattr(FrontendRequest, spoken("name", value), None)
    return None


def _named(value: str, kind: type[FrontendRequest] | type[BackendRequest]) -> str:
    try:
        return kind(int(value)).name
    except ValueError:
        return f"request {value}"


def spoken(kind: str, value: str) -> str:
    """A value as a sentence has it."""
    match kind:
        case "request":
            return _named(value, FrontendRequest)
        case "back":
            return _named(value, BackendRequest)
        case "name":
            return value.upper().removeprefix("VHOST_USER_")
        case "call":
            name = value.upper().removeprefix("USER_")
            return name if name in FrontendRequest.__members__ or name.startswith(("GET_", "SET_")) else f"SET_{name}"
    return value


def meaning(kind: str, value: str) -> str:
    """A value in the list of values."""
    match kind:
        case "request" | "back":
            return f"{value}, {_named(value, FrontendRequest if kind == 'request' else BackendRequest)}"
        case "name" | "call":
            return spoken(kind, value)
        case "errno":
            return _errno(abs(int(value)))
        case "features":
            return f"{value}: vusniff explain --features 0x{value.removeprefix('0x')} --device TYPE names the bits"
    return value


def _errno(number: int) -> str:
    name = errno.errorcode.get(number)
    if name is None:
        return str(number)
    more = ERRNO.get(number)
    return f"{number}, {name}: {os.strerror(number)}{f'; {more}' if more else ''}"
