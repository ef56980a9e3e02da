"""What a request or a call is: its page."""

from __future__ import annotations

from collections.abc import Iterator

from vusniff.channel import Channel, Sender
from vusniff.checks.finding import Key, Rule
from vusniff.checks.registry import rules as all_rules
from vusniff.families.registry import channel_named, family_of
from vusniff.families.vhost_kernel.protocol import CONTROL, MAKES_DEVICES, USER, Control, KernelChannels
from vusniff.families.vhost_user.phases import PURPOSES
from vusniff.families.vhost_user.protocol import (
    Channels,
    feature_name,
)
from vusniff.layouts import dissect
from vusniff.layouts.parts import layouts_of
from vusniff.layouts.rows import rows_of, size_of
from vusniff.message import Choice, MessageSpec
from vusniff.views import page
from vusniff.views.editions import EDITIONS
from vusniff.views.page import Items, Page, PageSection, Prose, Table
from vusniff.views.topic import Topic

CHANNELS: dict[str, str] = {
    Channels.MAIN: "main channel",
    Channels.BACKEND: "back-end channel",
    Channels.GPU: "GPU socket",
}
NODES: dict[str, str] = {
    KernelChannels.KERNEL: "/dev/vhost-net, /dev/vhost-vsock, /dev/vhost-scsi",
    KernelChannels.VDPA: "/dev/vhost-vdpa-N",
    KernelChannels.VDUSE: "/dev/vduse/NAME",
}
"""On which files the calls of a channel are made."""


def node_of(channel: str, code: int) -> str | None:
    """On which files a call is made; None for a message that is no call."""
    return CONTROL if code in MAKES_DEVICES else NODES.get(channel)


def calls_like(request: int) -> Iterator[tuple[Channel, MessageSpec]]:
    """The calls to the kernel that mean the same as a request of vhost-user's main channel."""
    for channel in NODES:
        dissector = dissect.load().get(channel)
        for spec in dissector.specs.values() if dissector else ():
            if USER.get(spec.code) == request:
                yield channel_named(channel), spec


def _descriptors(limits: tuple[int, int], meaning: str) -> str:
    fewest, most = limits
    if not most:
        return "none"
    return f"{fewest if fewest == most else f'{fewest} to {most}'}: {meaning}"


def _answer(spec: MessageSpec, acknowledged: bool, unusual: str) -> str:
    if spec.answered:
        return "always, whatever need_reply says" if unusual == "need_reply" else f"always, unless {unusual} is set"
    if not acknowledged:
        return "none"
    only = "an acknowledgement if need_reply is set and REPLY_ACK is negotiated (u64, 0 is success)"
    return f"{only}; in some states a reply of its own" if spec.may_answer else only


def _layout_sections(title: str, choice: Choice) -> Iterator[PageSection]:
    seen: set[tuple[object, ...]] = set()
    for layout in layouts_of(choice):
        fields = [field for field in rows_of(layout) if layout.name != "config" or field.kind != "worked out"]
        key = (layout.name, *((field.offset, field.size, field.name) for field in fields))
        if key in seen:
            continue
        again = "or " if seen else ""
        seen.add(key)
        rows = [(field.offset, field.size, field.name, field.kind, field.values) for field in fields]
        columns = ["offset", "size", "field", "kind", "values"]
        if not any(row[4] for row in rows):
            columns, rows = columns[:4], [row[:4] for row in rows]  # type: ignore[misc]
        yield PageSection(
            f"{title}: {again}{layout.name}, {size_of(fields)}",
            [Table(columns, rows)],
        )


def _needs(spec: MessageSpec, channel: Channel) -> str:
    needs = []
    if channel is Channels.BACKEND:
        needs.append("the back-end channel (SET_BACKEND_REQ_FD)")
    if channel is Channels.GPU:
        needs.append("the GPU socket (GPU_SET_SOCKET)")
    if spec.requires is not None:
        needs.append(f"protocol feature {feature_name(spec.requires)} (bit {int(spec.requires).bit_length() - 1})")
    if spec.requires_feature:
        needs.append(spec.requires_feature)
    return ", ".join(needs) or "nothing"


def request_topic(channel: Channel, spec: MessageSpec) -> Topic:
    acknowledged = channel is not Channels.GPU
    family = family_of(channel)
    asks = channel.requester is Sender.BACKEND
    asks = asks != (channel is family.main and spec.code in family.other_way)
    named = CHANNELS.get(channel, f"{channel} channel")
    facts = page.facts(
        ("from", f"{family.roles[asks]} to {family.roles[not asks]}, {named}"),
        ("on", node_of(channel, spec.code)),
        ("sent by", spec.sent_by),
        ("handled by", spec.handled_by),
        ("needs", None if channel in NODES else _needs(spec, channel)),
        ("descriptors", None if channel in NODES else _descriptors(spec.fds, spec.fds_meaning)),
        (
            "answer",
            "its result and errno" if channel in NODES else _answer(spec, acknowledged, channel.header.unusual),
        ),
        ("with it", _descriptors(spec.reply_fds, spec.reply_fds_meaning) if spec.reply_fds[1] else None),
        ("phase", _phase_of(channel, spec.code)),
        ("also called", ", ".join(spec.aliases)),
        ("specified", f"{spec.section}" if spec.section else None),
    )
    payload = list(_layout_sections("Payload", spec.payload)) or [PageSection("Payload: none", [])]
    reply = [] if channel in NODES else list(_layout_sections("Reply", spec.reply))
    if reply and [section.parts for section in reply] == [section.parts for section in payload]:
        reply = [PageSection("Reply: the same", [])]
    rules = [f"{rule.id} {rule.slug}: {rule.words}" for rule in all_rules() if _judges(rule, channel, spec.code)]
    sections = [
        PageSection("What it is for", [Prose([spec.about or "nothing is said about it"]), facts]),
        *payload,
        *reply,
    ]
    if rules:
        sections.append(PageSection("Rules", [Items(rules)]))
    if channel is Channels.MAIN:
        sections += _in_kernel(spec.code)
    sections += editions(spec.name)
    title = _call_title(spec) if channel in NODES else f"{spec.name}: request {spec.code} of the {named}"
    return Topic("request", spec.name, Page(title, sections))


def _call_title(spec: MessageSpec) -> str:
    named = spec.name if spec.name.startswith("VDUSE_") else f"VHOST_{spec.name}"
    what = "what is written and read" if spec.code <= max(Control) else f"ioctl {spec.code:#x}"
    return f"{named}: {what}"


def _in_kernel(request: int) -> list[PageSection]:
    """The other two ways to say what a request says: to vhost in the kernel, and to a vDPA device."""
    made: list[PageSection] = []
    nodes: dict[int, list[str]] = {}
    found = {spec.code: spec for _, spec in calls_like(request)}
    for channel, spec in calls_like(request):
        nodes.setdefault(spec.code, []).append(node_of(channel, spec.code) or "")
    for code, spec in found.items():
        facts = page.facts(
            ("on", ", ".join(nodes[code])),
            ("sent by", spec.sent_by),
            ("handled by", spec.handled_by),
            ("specified", spec.section or None),
        )
        made.append(PageSection(f"The same as a call: {_call_title(spec)}", [Prose([spec.about]), facts]))
        made += _layout_sections("What the call carries", spec.payload)
    return made


def editions(name: str) -> list[PageSection]:
    """What each edition of the specification says of it, where they differ."""
    said = EDITIONS.get(name)
    return [PageSection("Editions of the specification", [page.facts(*said)])] if said else []


def _phase_of(channel: Channel, code: int) -> str | None:
    if channel is not Channels.MAIN:
        return None
    purpose = PURPOSES.get(code)
    return purpose.value if purpose else "at any time"


def _judges(rule: Rule, channel: Channel, code: int) -> bool:
    return any(isinstance(on, Key) and (on.channel, on.request) == (channel, code) for on in rule.on)
