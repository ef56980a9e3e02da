"""Rules about requests and replies: which reply answers what, and what is never answered."""

from __future__ import annotations

from vusniff.amounts import counted, duration
from vusniff.channel import Sender
from vusniff.checks.finding import FINE, SIDES, Said, Sayings, Severity, Side
from vusniff.checks.peers import Implementation
from vusniff.checks.recall import listening, suspended
from vusniff.checks.standing import drawn
from vusniff.checks.step import SessionEnd, Step, Waiting
from vusniff.families.pairing import Pairing
from vusniff.families.vhost_user.protocol import (
    F_PROTOCOL_FEATURES,
    HEADER_SIZE,
    BackendRequest,
    Channels,
    FrontendRequest,
    ProtocolFeature,
)
from vusniff.message import Message

F, B, P = FrontendRequest, BackendRequest, ProtocolFeature

GRACE_NS = 5_000_000_000
"""How long a connection must have stayed open for an answer to count as missing: a program that ends closes sooner."""


def _sender(step: Step) -> Side:
    return SIDES[step.message.sender]


def wrong_reply(step: Step) -> Sayings:
    """A reply has the code of a request that waits for it"""
    if step.pairing != Pairing.WRONG:
        return FINE
    message = step.message
    waiting = [entry.message for entry in step.link.waiting if entry.must]
    if waiting:
        there = f"{waiting[0].name} (#{waiting[0].number}) waits for its answer"
        return (
            Said(
                f"reply to {message.name}, which was not requested, while {there}", (waiting[0].number,), _sender(step)
            ),
        )
    return (Said(f"reply to {message.name}, which was not requested; no request waits", (), _sender(step)),)


def out_of_order(step: Step) -> Sayings:
    """Replies come in the order of their requests"""
    if step.pairing != Pairing.OUT_OF_ORDER or step.request is None:
        return FINE
    oldest = step.skipped[0]
    sentence = (
        f"{step.message.name} (#{step.request.number}) is answered while the older {oldest.name} (#{oldest.number}) "
        "still waits"
    )
    return (Said(sentence, (step.request.number, oldest.number), _sender(step)),)


def sent_while_waiting(step: Step) -> Sayings:
    """A request that needs an answer is sent when no other one waits

    QEMU takes the next reply for that to its last request and gives up when it is another one: "Received unexpected
    msg type. Expected 11 received 5". Back-ends answer in order, so that nothing else is wrong with it.
    """
    if step.pairing != Pairing.DUE or not step.skipped or step.message.channel is not Channels.MAIN:
        return FINE
    if step.link.unread.get(Sender.BACKEND) is not None:
        return FINE  # what could not be read may be the answer
    older = step.skipped[0]
    is_qemu = step.memory.frontend.may_be(Implementation.QEMU)
    known = "; QEMU takes the next reply for that to its last request" if is_qemu else ""
    return (
        Said(
            f"{step.message.name} needs an answer and is sent while {older.name} (#{older.number}) waits for its own"
            + known,
            (older.number,),
            _sender(step),
        ),
    )


def acknowledgement_not_counted(step: Step) -> Sayings:
    """An acknowledgement is asked for when the back-end counts REPLY_ACK as negotiated

    By the specification it is once SET_PROTOCOL_FEATURES has it. rust-vmm's vhost up to 0.13 also wants
    GET_PROTOCOL_FEATURES to have been asked, and before June 2021 bit 30 to be acknowledged; it stays silent else.
    """
    before, backend = step.before, step.memory.backend
    if step.message.channel is not Channels.MAIN or not step.memory.complete or not before.has(P.REPLY_ACK):
        return FINE
    if _reply_of_its_own(step.message) or backend.program not in (Implementation.RUST_VMM, Implementation.UNKNOWN):
        return FINE
    severity = None if backend.program is Implementation.RUST_VMM else Severity.NOTE
    name = f"{step.message.name} asks for an acknowledgement"
    by = before.protocol_features.by if before.protocol_features else 0
    if before.protocol_features_offered is None and F.GET_PROTOCOL_FEATURES not in step.link.asked:
        words = f"{name} and GET_PROTOCOL_FEATURES was never asked: rust-vmm's vhost up to 0.13 does not answer then"
        return (Said(words, (by,), severity=severity),)
    if before.features is not None and not before.features.value & F_PROTOCOL_FEATURES:
        words = f"{name} and SET_FEATURES left out bit 30: rust-vmm's vhost of before June 2021 does not answer then"
        return (Said(words, (before.features.by, by), severity=severity),)
    return FINE


def log_base_reply_empty(step: Step) -> Sayings:
    """The reply to SET_LOG_BASE has a payload

    QEMU takes any, and DPDK sends none. rust-vmm's front-end waits for a u64 before 0.16, and for the log since.
    """
    if step.message.size or step.memory.frontend.program is not Implementation.CLOUD_HYPERVISOR:
        return FINE
    words = f"the reply to SET_LOG_BASE has no payload; {step.memory.frontend} waits for one"
    return (Said(words, (step.request.number,) if step.request else ()),)


def _reply_of_its_own(request: Message) -> bool:
    return request.spec is not None and request.spec.answered


def _first_reply(step: Step, request: Message) -> int:
    """Number of the reply to a request that is answered again."""
    return step.link.answered.get(request.request or 0, 0)


def acknowledged_twice(step: Step) -> Sayings:
    """A request with need_reply gets exactly one reply"""
    request = step.request
    if step.pairing != Pairing.AGAIN or request is None or _reply_of_its_own(request):
        return FINE
    first = _first_reply(step, request)
    return (Said(f"{request.name} (#{request.number}) is acknowledged again", (request.number, first), _sender(step)),)


def own_reply_twice(step: Step) -> Sayings:
    """A request with a reply of its own is not acknowledged a second time"""
    request = step.request
    if step.pairing != Pairing.AGAIN or request is None or not _reply_of_its_own(request):
        return FINE
    first = _first_reply(step, request)
    return (
        Said(
            f"{request.name} (#{request.number}) has its reply already, and is answered again",
            (request.number, first),
            _sender(step),
        ),
    )


def not_asked(step: Step) -> Sayings:
    """No reply comes to a request that has none and did not ask for an acknowledgement"""
    if step.pairing != Pairing.NOT_ASKED or step.request is None:
        return FINE
    request = step.request
    sentence = f"{request.name} (#{request.number}) has no reply and did not ask for one, and is answered"
    return (Said(sentence, (request.number,), _sender(step)),)


def acknowledgement_form(step: Step) -> Sayings:
    """An acknowledgement is a u64"""
    request, message = step.request, step.message
    if request is None or request.spec is None or request.spec.answered or request.spec.reply is not None:
        return FINE
    if message.channel is Channels.GPU or message.size == 8 or len(message.data) < HEADER_SIZE:
        return FINE
    size = counted(message.size, "byte")
    return (Said(f"acknowledgement of {request.name} has {size} instead of 8", (request.number,)),)


def goes_on_after_wrong_reply(step: Step) -> Sayings:
    """A front-end that got a wrong reply closes the connection"""
    return (
        Said(
            f"{step.message.name} is sent although the reply #{step.link.wrong_reply} was to no request that waits",
            (step.link.wrong_reply,),
        ),
    )


def need_reply_not_negotiated(step: Step) -> Sayings:
    """need_reply is set only when REPLY_ACK is negotiated

    QEMU sets it on POSTCOPY_LISTEN, POSTCOPY_END and IOTLB_MSG in any case, so this is only a remark. The request that
    negotiates REPLY_ACK may have it already: libblkio asks for replies to everything.
    """
    message = step.message
    if message.channel is Channels.GPU or not step.lacks(P.REPLY_ACK) or step.after.has(P.REPLY_ACK):
        return FINE
    known = ""
    usual = message.request in (F.POSTCOPY_LISTEN, F.POSTCOPY_END, F.IOTLB_MSG)
    if message.channel is Channels.MAIN and usual and step.memory.frontend.may_be(Implementation.QEMU):
        known = "; QEMU does that on this request"
    return (Said(f"{message.name} has need_reply set, and REPLY_ACK is not negotiated{known}"),)


def refused(step: Step) -> Sayings:
    """An acknowledgement, or a reply that says how it went, says success"""
    message, request = step.message, step.request
    value = step.values.get("error", step.values.get("u64", 0))
    if message.request == F.CREATE_CRYPTO_SESSION and message.channel is Channels.MAIN:
        value = min(step.values.get("session_id", 0), 0)
    if not value:
        return FINE
    number = f" (#{request.number})" if request else ""
    optional = message.channel is Channels.BACKEND and message.request == B.BACKEND_VRING_HOST_NOTIFIER_MSG
    known = "; the ring works without it, by its kick descriptor" if optional else ""
    who = step.memory.backend if message.sender is Sender.BACKEND else step.memory.frontend
    return (
        Said(
            f"{message.name}{number} is refused by {who} with {value if value < 0 else hex(value)}{known}",
            (request.number,) if request else (),
            severity=Severity.NOTE if optional else None,
        ),
    )


def waits_too_long(step: Step) -> Sayings:
    """A request is answered within seconds"""
    late = step.late
    assert late is not None
    waited = duration(step.message.time_ns - late.time_ns)
    answered = " until it is answered now" if step.request is late else " and the session goes on without its answer"
    side = Side.BACKEND if late.sender is Sender.FRONTEND else Side.FRONTEND
    return (Said(f"{late.name} (#{late.number}) waits {waited}{answered}", (late.number,), side, number=late.number),)


def _unanswered(end: SessionEnd) -> list[Waiting]:
    """Requests that were due an answer and had the time to get one, of a session in which nothing was lost."""
    if end.closed is not None and end.closed.lost:
        return []
    return [
        entry
        for link in end.memory.links.values()
        for entry in link.waiting
        if entry.must and not drawn(entry.message) and end.time_ns - entry.message.time_ns >= GRACE_NS
    ]


def _how(end: SessionEnd, request: Message) -> str:
    waited = duration(end.time_ns - request.time_ns)
    if end.closed is None:
        return f"had no answer after {waited}, when the capture ended"
    if end.closer is not None:
        return f"had no answer after {waited}, when the {end.closer.words} closed the connection"
    return f"had no answer after {waited}, when the connection was closed ({end.closed.reason})"


def _of(request: Message) -> Side:
    return Side.BACKEND if request.sender is Sender.FRONTEND else Side.FRONTEND


def _never(end: SessionEnd, entries: list[Waiting], more: str = "") -> Sayings:
    return tuple(
        Said(
            f"{entry.message.name} (#{entry.message.number}) {_how(end, entry.message)}{more}",
            side=_of(entry.message),
            severity=Severity.WARNING if end.closed is None else None,
            number=entry.message.number,
        )
        for entry in entries
    )


def _ask_for_ack(entry: Waiting) -> bool:
    return not _reply_of_its_own(entry.message) and entry.message.need_reply


SPECIAL = {
    Channels.MAIN: frozenset({F.IOTLB_MSG, F.SET_LOG_BASE, F.GET_PROTOCOL_FEATURES}),
    Channels.BACKEND: frozenset({8}),
    Channels.GPU: frozenset[int](),
}
"""Requests whose missing answer has a rule of its own: SHARED_OBJECT_LOOKUP is 8."""


def never_acknowledged(end: SessionEnd) -> Sayings:
    """need_reply is answered while the connection stays open"""
    return _never(
        end,
        [
            entry
            for entry in _unanswered(end)
            if not suspended(entry.state)
            and _ask_for_ack(entry)
            and entry.message.request not in SPECIAL[entry.message.channel]
        ],
        "; REPLY_ACK is negotiated and need_reply is set",
    )


def never_answered(end: SessionEnd) -> Sayings:
    """A request that has a reply is answered while the connection stays open"""
    return _never(
        end,
        [
            entry
            for entry in _unanswered(end)
            if not suspended(entry.state)
            and not _ask_for_ack(entry)
            and entry.message.request not in SPECIAL[entry.message.channel]
        ],
    )


def suspended_still_answers(end: SessionEnd) -> Sayings:
    """A suspended device still answers the front-end"""
    return _never(
        end,
        [entry for entry in _unanswered(end) if suspended(entry.state) and entry.message.channel is Channels.MAIN],
        "; all rings were stopped, which is no reason to stay silent",
    )


def log_base_answered(end: SessionEnd) -> Sayings:
    """With LOG_SHMFD SET_LOG_BASE is answered"""
    return _never(end, [entry for entry in _unanswered(end) if _is(entry, F.SET_LOG_BASE)])


def iotlb_answered(end: SessionEnd) -> Sayings:
    """IOTLB_MSG is always answered with a u64"""
    return _never(end, [entry for entry in _unanswered(end) if _is(entry, F.IOTLB_MSG)])


def lookup_answered(end: SessionEnd) -> Sayings:
    """SHARED_OBJECT_LOOKUP is always answered"""
    return _never(
        end, [e for e in _unanswered(end) if e.message.channel is Channels.BACKEND and e.message.request == 8]
    )


def protocol_features_answered(end: SessionEnd) -> Sayings:
    """A back-end that offers protocol features answers GET_PROTOCOL_FEATURES before SET_FEATURES"""
    if end.state.features is not None:
        return FINE
    return _never(end, [entry for entry in _unanswered(end) if _is(entry, F.GET_PROTOCOL_FEATURES)])


def _is(entry: Waiting, request: FrontendRequest) -> bool:
    return not suspended(entry.state) and entry.message.channel is Channels.MAIN and entry.message.request == request


def refused_by_closing(end: SessionEnd) -> Sayings:
    """A back-end that cannot do what is asked says so instead of closing the connection"""
    if end.closer is not Sender.BACKEND or end.closed is None or end.closed.lost:
        return FINE
    waiting = [
        entry.message
        for link in end.memory.links.values()
        for entry in link.waiting
        if entry.must and entry.message.channel is Channels.MAIN
    ]
    if not waiting or not end.memory.answered:
        return FINE  # that it answered nothing at all is a finding of its own
    request = waiting[0]
    waited = end.apart(end.time_ns - request.time_ns)
    if listening(end.state):
        return FINE
    ended = any(exit.signal is not None for exit in end.memory.exits)
    known = "" if ended else "; DPDK and rust-vmm close when they refuse a request"
    return (
        Said(
            f"{end.memory.backend} closed the connection {waited}after {request.name} (#{request.number}) and did not "
            f"answer it{known}",
            number=request.number,
        ),
    )


def pending_at_close(end: SessionEnd) -> Sayings:
    """No request waits when the session ends"""
    if end.closed is None or end.closed.lost or end.closer is Sender.BACKEND:
        return FINE
    return tuple(
        Said(
            f"{entry.message.name} (#{entry.message.number}) still waited for its answer, sent "
            f"{end.apart(end.time_ns - entry.message.time_ns)}before the connection was closed",
            side=_of(entry.message),
            number=entry.message.number,
            severity=Severity.NOTE,
        )
        for link in end.memory.links.values()
        for entry in link.waiting
        if entry.must and end.time_ns - entry.message.time_ns < GRACE_NS and entry.message.channel is Channels.MAIN
    )
