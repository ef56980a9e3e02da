"""What is asked of a message: by its header, once for all messages that have the same, and by how it looks.

Owns which rules a header brings up, and which `Trigger` a message that differs from nearly all others is. It must not
ask a rule, and changes nothing: `vusniff.checks.checker` does both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from vusniff.channel import Channel, Sender
from vusniff.checks.finding import Rule, Sayings, Trigger
from vusniff.checks.header import FLAGS_AS_EXPECTED
from vusniff.checks.recall import Handler, handler_of
from vusniff.checks.step import Step
from vusniff.families.pairing import Pairing
from vusniff.families.vhost_user.protocol import (
    CHANNELS,
    F_PROTOCOL_FEATURES,
    FLAG_NEED_REPLY,
    FLAG_REPLY,
    Channels,
    ProtocolFeature,
)
from vusniff.families.vhost_user.state import DeviceState, Postcopy
from vusniff.message import Message
from vusniff.values import dataclass

_REPLY_ACK = int(ProtocolFeature.REPLY_ACK)
_FITS = Pairing.FITS

WRONG_WAY = frozenset(
    (channel, sender, FLAG_REPLY if sender is channel.requester else 0)
    for channel in CHANNELS
    if channel.requester is not None
    for sender in Sender
)
"""Channel, sender and reply flag of messages that come from the side that does not send such."""

Keyed = Mapping[tuple[Channel, int | None, int], Sequence[Rule]]
"""Channel, request and reply flag -> the rules about such messages."""


Question = tuple[Callable[[Step], Sayings], str, Rule]
"""A rule that is asked at a message: its function, its slug where it is said once in a session, else nothing, and it.
A tuple without names, as every message takes some apart (bench_check.py)."""
READABLE = 1
"""The message can be read."""
Questions = tuple[tuple[Question, ...], ...]
"""What is asked, by what is known: `READABLE`, and 2 where all of the session is."""


def questions(rules: Iterable[Rule]) -> Questions:
    """The rules that can be judged, by what is known."""
    return tuple(
        tuple(
            (rule.judge, rule.slug if rule.once else "", rule)
            for rule in rules
            if rule.judge is not None and (complete or not rule.complete_only) and (readable or rule.unread)
        )
        for complete in (False, True)
        for readable in (False, True)
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done with messages of one channel, sender, request and flags."""

    framed: bool
    """They have a header, and come from the side that sends such."""
    odd: bool
    """Rules about headers may mind them."""
    looked_at: bool
    """Their looks bring further rules up."""
    reply: bool
    need_reply: bool
    """They are requests that want a reply."""
    takes_one: bool
    """They are main requests that define a descriptor."""
    main: bool
    """They are on the main connection."""
    asked: Questions
    handler: Handler | None
    """What is remembered of them."""


def plan_of(message: Message, keyed: Keyed) -> Plan:
    """What to do with messages that have the channel, sender, flags and request of this one."""
    flags, request, channel = message.flags, message.request, message.channel
    reply, spec = FLAG_REPLY * message.reply, message.spec
    wrong_way = (channel, message.sender, reply) in WRONG_WAY
    framed = request is not None and not wrong_way
    main = framed and channel is Channels.MAIN
    odd = request is not None and (wrong_way or (channel, message.sender, flags) not in FLAGS_AS_EXPECTED)
    return Plan(
        framed=framed,
        odd=odd,
        looked_at=odd or spec is None,
        reply=bool(reply),
        need_reply=bool(flags & FLAG_NEED_REPLY) and not reply,
        takes_one=main and not reply and spec is not None and spec.fds[1] > 0,
        main=main,
        asked=questions(keyed.get((channel, request, reply), ())),
        handler=handler_of(channel, request, bool(reply)) if framed and request is not None else None,
    )


def counts_replies(state: DeviceState) -> bool:
    """Acknowledgements are negotiated, and in the way in which most front-ends do it."""
    features, own = state.features, state.protocol_features
    return (
        own is not None
        and own.value & _REPLY_ACK != 0
        and state.protocol_features_offered is not None
        and (features is None or features.value & F_PROTOCOL_FEATURES != 0)
    )


def by_standing(step: Step) -> Iterator[Trigger]:
    """The triggers of a message that follow from where its session stands."""
    if step.message.channel is not Channels.MAIN or step.message.flags & FLAG_REPLY:
        return
    if step.link.wrong_reply:
        yield Trigger.WRONG_BEFORE
    if step.before.owned is None:
        yield Trigger.UNOWNED
    if step.before.postcopy is not None and step.before.postcopy.value is Postcopy.LISTENING:
        yield Trigger.POSTCOPY


def by_looks(step: Step, plan: Plan) -> Iterator[Trigger]:
    """The triggers of a message that follow from how it looks."""
    message, before = step.message, step.before
    passed = len(message.descriptors)
    if passed and not (plan.takes_one and passed == 1 and not message.descriptors[0].late):
        yield Trigger.DESCRIPTORS
    if step.pairing > _FITS or step.skipped:
        yield Trigger.PAIRING
    if plan.odd:
        yield Trigger.HEADER
    if message.malformed is not None or message.trailing:
        yield Trigger.PAYLOAD
    if message.spec is None:
        yield Trigger.UNKNOWN
    if message.flags & FLAG_REPLY:
        if step.values.get("success") is False:
            yield Trigger.FAILED
    elif message.flags & FLAG_NEED_REPLY:
        if not before.has(ProtocolFeature.REPLY_ACK):
            yield Trigger.NEED_REPLY
        elif not counts_replies(before):
            yield Trigger.UNCOUNTED
