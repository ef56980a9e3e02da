"""How a session ended: by whom, after which message, and what was left open; and the rules about that.

`way_of` decides from a `Standing`; the rules and the verdict say the same of it. Who closed is known from the close,
why a process ended from its exit, which may come later and is the verdict's.
"""

from __future__ import annotations

import enum
import errno

from vusniff.amounts import counted
from vusniff.channel import Sender
from vusniff.checks.finding import FINE, SIDES, Said, Sayings, Side
from vusniff.checks.standing import SOON_NS, Point, Standing
from vusniff.checks.step import SessionEnd, Spoken
from vusniff.families.vhost_user.protocol import HEADER_SIZE, FrontendRequest
from vusniff.families.vhost_user.state import Refusal

F = FrontendRequest

AT_ONCE_NS = 100_000_000
"""The same once rings were started: a back-end may then end for many reasons."""
WAIT_NS = 5_000_000_000
"""How long a request must wait in a connection that is open."""


class Way(enum.Enum):
    """How a session ended, or why it does not go on."""

    OPEN = "it goes on"
    UNANSWERED = "it is open, and a request waits"
    OTHER_PROTOCOL = "a side speaks another protocol"
    NEVER_SPOKE = "the back-end never said anything"
    BEFORE_FIRST_ANSWER = "the back-end closed before it answered anything"
    WITHOUT_ANSWER = "the back-end closed instead of an answer"
    AFTER_REQUEST = "the back-end closed right after a request that has no answer"
    BACKEND_CLOSED = "the back-end closed, and nothing points at a reason"
    REFUSED = "the front-end closed after a refusal"
    GAVE_UP = "the front-end closed while a request waited"
    LEFT = "the front-end closed right after a reply, before a ring was started"
    CUT_OFF = "it ended while a request waited; who closed is not known"
    CLOSED = "it was closed"


def way_of(one: Standing) -> Way:
    """How a session ended, as far as the socket tells."""
    if foreign(one) is not None:
        return Way.OTHER_PROTOCOL
    waiting = one.waiting
    waited = one.end_ns - waiting.time_ns if waiting else 0
    if one.closed is None:
        if waiting and waited >= WAIT_NS:
            return Way.UNANSWERED if one.answered or not one.knows(waiting.number) else Way.NEVER_SPOKE
        return Way.OPEN
    if one.closed.lost or one.last is None:
        return Way.CLOSED
    if one.closer is Sender.FRONTEND:
        return _left(one, waited)
    if one.closer is Sender.BACKEND:
        return _closed_by_backend(one)
    return Way.CUT_OFF if waiting else Way.CLOSED


def _left(one: Standing, waited: int) -> Way:
    """The front-end closed."""
    assert one.last is not None
    soon = one.quiet_ns <= SOON_NS
    if one.refusal is not None and one.refusal.by == one.last.number and soon:
        return Way.REFUSED
    if one.waiting is not None:
        if not one.answered and one.knows(one.waiting.number) and waited >= SOON_NS:
            return Way.NEVER_SPOKE
        return Way.GAVE_UP if waited >= SOON_NS or not one.rings.began else Way.CLOSED
    if one.judged and one.last is one.last_reply and soon and not one.rings.began and one.knows(one.last.number):
        return Way.LEFT
    return Way.CLOSED


def _closed_by_backend(one: Standing) -> Way:
    assert one.last is not None
    if not one.answered and one.last_request is not None and one.knows(one.last_request.number):
        return Way.BEFORE_FIRST_ANSWER
    if one.waiting is not None:
        return Way.WITHOUT_ANSWER
    soon = AT_ONCE_NS if one.rings.began else SOON_NS
    last = one.last_request
    began_now = last is not None and one.rings.armed == last.number  # no ring ran before the last message
    at_once = one.quiet_ns <= soon and (one.timed or began_now or not one.rings.began)
    if one.judged and one.last is one.last_request and at_once and not _tears_down(one):
        return Way.AFTER_REQUEST
    return Way.BACKEND_CLOSED


def _tears_down(one: Standing) -> bool:
    """The front-end had stopped the device, or was about to."""
    last = one.last_request
    if last is None or (one.rings.began and not one.rings.running):
        return True
    if last.request in (F.RESET_DEVICE, F.RESET_OWNER):
        return True
    return last.request in (F.SET_VRING_ENABLE, F.SET_STATUS) and last.value == 0


# -- other protocols --------------------------------------------------------------------------------------------------

_BEGINNINGS = (
    (b"HTTP/", "HTTP"),
    (b"GET /", "HTTP"),
    (b"POST /", "HTTP"),
    (b"PUT /", "HTTP"),
    (b"PRI * HTTP/2", "HTTP/2"),
    (b'{"QMP"', "QMP, QEMU's monitor protocol"),
    (b"QEMU ", "HMP, QEMU's human monitor"),
    (b"(qemu)", "HMP, QEMU's human monitor"),
    (b'{"execute"', "QMP, QEMU's monitor protocol"),
    (b'{"return"', "QMP, QEMU's monitor protocol"),
    (b"NBDMAGIC", "NBD"),
    (b"REDQ", "SPICE"),
    (b"SSH-", "SSH"),
    (b"RFB 0", "VNC"),
    (b"\x16\x03", "TLS"),
    (b'{"jsonrpc"', "JSON-RPC"),
    (b'{"id"', "JSON-RPC"),
    (b'{"method"', "JSON-RPC, as OVSDB and SPDK speak it"),
    (b"{", "JSON"),
    (b"l\x01", "D-Bus"),
    (b"\0AUTH ", "D-Bus"),
)
"""What other protocols begin with."""


def protocol_of(data: bytes) -> str | None:
    """The protocol that bytes are the beginning of; ``text`` for a line of text, None for what may be anything."""
    told = data.lstrip()
    for beginning, name in _BEGINNINGS:
        if told.startswith(beginning):
            return name
    line = told.splitlines()[0] if told else b""
    is_text = len(line) >= 2 and all(32 <= byte < 127 or byte in (9, ESCAPE) for byte in line)
    return "text" if is_text else None


ESCAPE = 0x1B
"""Begins what a terminal draws: the console of a machine says that."""


def _begins_message(data: bytes) -> bool:
    """A header of vhost-user may begin so: a request number that there is."""
    number = int.from_bytes(data[:4].ljust(4, b"\0"), "little")
    return 0 < number <= max(F) and not any(data[1:4])


def foreign(one: Standing) -> tuple[Spoken, str] | None:
    """What a side said that is another protocol, and which, empty where that is not known; only of a session that never
    got anywhere."""
    if one.answered and one.last_request is not None:
        return None
    for spoken in one.spoken:
        name = protocol_of(spoken.data)
        if name is not None:
            return spoken, name
    if one.answered or not one.fresh:
        return None
    for spoken in one.spoken:
        foreign = len(spoken.data) >= HEADER_SIZE or (one.judged and not _begins_message(spoken.data))
        if foreign and (spoken.side is Sender.BACKEND or one.last_request is None):
            return spoken, ""
    return None


def _quoted(data: bytes) -> str:
    """The first words of a text, or bytes as numbers where they are none."""
    line = data.strip().splitlines()[0] if data.strip() else b""
    words = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line[:40])
    return data[:HEADER_SIZE].hex(" ") if words.count(".") * 2 > len(words) else f'"{words}"'


# -- sentences --------------------------------------------------------------------------------------------------------


def name_of(one: Standing, side: Sender | None) -> str:
    """A side by its role and its process: ``the back-end (virtiofsd)``. A process that was gone before it could be
    looked at is known by its end."""
    peer = one.peer(side)
    comm = peer.comm if peer is not None else ""
    comm = comm or next((exit.comm for where, exit in one.exits if side is not None and where is side), "")
    return f"{one.role(side)} ({comm})" if comm else one.role(side)


def while_words(one: Standing) -> str:
    """What the rings did: ``while 2 rings ran``; only of a session in which some were started."""
    served = 0 if one.asks_enabling and not one.rings.enabled else one.rings.served
    if served:
        return f"while {counted(served, 'ring')} ran"
    return (
        f"while {counted(one.rings.running, 'ring')} {'was' if one.rings.running == 1 else 'were'} started, not enabled"
    )


def refused_words(one: Standing, refusal: Refusal) -> str:
    """What was refused, and how: ``SET_STATUS (#8) was refused with 0x1 (#9)``; the request may not have been seen."""
    asked = f" (#{refusal.request})" if refusal.request else ""
    value = f"{refusal.value:#x}" if one.judged else errno.errorcode.get(refusal.value, str(refusal.value))
    return f"{refusal.name}{asked} was refused with {value} (#{refusal.by})"


def reply_words(reply: Point, number: int) -> str:
    """A reply and what it said: ``GET_QUEUE_NUM said 1``."""
    if reply.value is None or reply.request == F.GET_CONFIG:
        return f"the reply to {reply.name} (#{number})"
    masks = (F.GET_FEATURES, F.GET_PROTOCOL_FEATURES, F.GET_STATUS)
    value = f"{reply.value:#x}" if reply.request in masks else str(reply.value)
    return f"{reply.name} said {value} (#{number})"


def sentence(one: Standing, way: Way) -> str:
    """What happened at the end, as a clause with its values; empty for an end that needs none."""
    last, waiting, backend, frontend = (
        one.last,
        one.waiting,
        name_of(one, Sender.BACKEND),
        name_of(one, Sender.FRONTEND),
    )
    if way is Way.OTHER_PROTOCOL:
        found = foreign(one)
        assert found is not None
        side = found[0].side
        who = name_of(one, side) if side is not None else found[0].comm or one.role(None)
        if not found[1]:
            begin, size = found[0].data[:HEADER_SIZE].hex(" "), len(found[0].data)
            what = f"bytes that are not a {one.family} message (#{found[0].number})"
            return f"{who} sends {what}, {'which begin with' if size >= HEADER_SIZE else 'and no more'}: {begin}"
        said = f"{_quoted(found[0].data)} (#{found[0].number})"
        return f"{who} says {said}: that is {found[1]}, not {one.family}"
    if last is None:
        return ""
    quiet = one.apart(one.quiet_ns)
    waited = one.apart(max(one.end_ns - waiting.time_ns, 0)) if waiting else ""
    after = f" after {waited.rstrip()}" if waited else ""
    match way:
        case Way.UNANSWERED:
            return f"{waiting} has had no answer for {waited.rstrip()}"
        case Way.NEVER_SPOKE:
            until = "when the capture ended" if one.closed is None else f"when {frontend} closed {one.link}"
            part = next((spoken for spoken in one.spoken if spoken.side is Sender.BACKEND), None)
            said = (
                "never sent a byte" if part is None else f"sent {counted(len(part.data), 'byte')} and no whole message"
            )
            if one.asked_back is not None:
                said = f"sent {one.asked_back}, which is no answer"
            return f"{backend} {said}: {waiting} had no answer{after}, {until}"
        case Way.BEFORE_FIRST_ANSWER:
            return f"{backend} closed {one.link} {quiet}after {last}, before it answered anything"
        case Way.WITHOUT_ANSWER:
            return f"{backend} closed {one.link} {waited}after {waiting} and did not answer it"
        case Way.AFTER_REQUEST:
            return f"{backend} closed {one.link} {quiet}after {last}, which asks for no answer"
        case Way.BACKEND_CLOSED:
            rings = f" {while_words(one)}" if one.rings.running else ""
            return f"{backend} closed {one.link}{rings}, {quiet}after the last message, {last}"
        case Way.REFUSED:
            assert one.refusal is not None
            refused = refused_words(one, one.refusal)
            if not quiet:
                return f"{refused}, and then {frontend} closed {one.link}"
            return f"{refused}, and {frontend} closed {one.link} {quiet}later"
        case Way.GAVE_UP:
            return f"{waiting} had no answer{after}, when {frontend} closed {one.link}"
        case Way.LEFT:
            return f"{frontend} left {quiet}after {reply_words(last, last.number)}"
        case Way.CUT_OFF:
            return f"{one.link} ended while {waiting} waited for its answer{after and ','}{after}"
        case Way.CLOSED:
            who = f"{name_of(one, one.closer)} closed {one.link}" if one.closer else f"{one.link} was closed"
            told = one.judged and last is one.last_reply
            return f"{who} {quiet}after {reply_words(last, last.number) if told else last}"
    return ""


# -- rules ------------------------------------------------------------------------------------------------------------


def _rule(end: SessionEnd, way: Way, number: int | None, side: Side | None = None) -> Sayings:
    if end.standing is None or way_of(end.standing) is not way:
        return FINE
    return (Said(sentence(end.standing, way), number=number, side=side),)


def closed_after_request(end: SessionEnd) -> Sayings:
    """A back-end does not close the connection right after a request that asks for no answer"""
    one = end.standing
    return _rule(end, Way.AFTER_REQUEST, one.last_request.number if one and one.last_request else None)


def closed_before_first_answer(end: SessionEnd) -> Sayings:
    """A back-end answers something before it closes the connection"""
    one = end.standing
    return _rule(end, Way.BEFORE_FIRST_ANSWER, one.last_request.number if one and one.last_request else None)


def left_after_reply(end: SessionEnd) -> Sayings:
    """A front-end goes on after a reply instead of leaving before a ring was started

    Not said where another finding explains it: who gets a wrong reply is right to leave.
    """
    if end.explained:
        return FINE
    one = end.standing
    return _rule(end, Way.LEFT, one.last_reply.number if one and one.last_reply else None)


def never_spoke(end: SessionEnd) -> Sayings:
    """A back-end says something"""
    one = end.standing
    return _rule(end, Way.NEVER_SPOKE, one.waiting.number if one and one.waiting else None)


def other_protocol(end: SessionEnd) -> Sayings:
    """Both sides speak vhost-user"""
    found = foreign(end.standing) if end.standing is not None else None
    if found is None:
        return FINE
    side = found[0].side or (Sender.BACKEND if end.memory.last_main else None)
    return _rule(end, Way.OTHER_PROTOCOL, found[0].number, SIDES[side])


def refused_then_closed(end: SessionEnd) -> Sayings:
    """A front-end goes on after a refusal"""
    one = end.standing
    return _rule(end, Way.REFUSED, one.refusal.by if one and one.refusal else None)
