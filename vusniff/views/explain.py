"""What something is: a request, a feature, a protocol feature, a value, a rule, a phase. Made from the tables.

`topics` gives pages, `explain` their text; both take what people call a thing, or a message. What no table says is in
`views.prose`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence

from vusniff.channel import Channel, Sender
from vusniff.checks.finding import Key, Level, Rule, Side, Trigger
from vusniff.checks.registry import rules as all_rules
from vusniff.errors import VusniffError
from vusniff.families.phase import PhaseKind
from vusniff.families.registry import bare, channel_named, family_of
from vusniff.families.vhost_kernel.protocol import CONTROL, MAKES_DEVICES, USER, Control, KernelChannels
from vusniff.families.vhost_user.device import DEVICE_IDS, DEVICES
from vusniff.families.vhost_user.phases import PURPOSES
from vusniff.families.vhost_user.protocol import (
    PROTOCOL_FEATURE_ALIASES,
    BackendRequest,
    Channels,
    FrontendRequest,
    GpuRequest,
    ProtocolFeature,
    feature_name,
)
from vusniff.layouts import dissect
from vusniff.layouts.parts import layouts_of
from vusniff.layouts.rows import members_of, rows_of, size_of, window_rows
from vusniff.message import Alternatives, Choice, Context, Message, MessageSpec
from vusniff.printable import escape
from vusniff.views import page, prose
from vusniff.views.editions import EDITIONS
from vusniff.views.page import Items, Page, PageSection, Prose, Table
from vusniff.views.topic import Topic
from vusniff.views.words import short_name

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


LEVELS = {
    Level.MUST: "the specification says must",
    Level.SHOULD: "the specification says should",
    Level.DERIVED: "follows from layouts, or from what implementations enforce",
    Level.KNOWN: "the specification demands it, and programs in wide use break it, which is harmless",
    Level.TRAP: "a known way in which implementations do not fit together",
}
BLAMES = {Side.FRONTEND: "the front-end", Side.BACKEND: "the back-end", Side.EITHER: "whoever sent the message"}
CONFIG_SIZE = 12 + 256
"""Bytes of a reply to GET_CONFIG that has a whole config space."""
LIKE = 5
"""Close matches that are offered for a word that nothing is called."""


def explain(what: Message | str, device: str | None = None, width: int = page.WIDTH) -> str:
    """The explanation of a message's request, or of what people call a thing, as text.

    ``device`` narrows features to a device type; ``width`` is where lines are broken, in columns. Raises VusniffError
    for what nothing is called.
    """
    return "\n".join(page.text(topic.page, width) for topic in topics(what, device))


def topics(what: Message | str, device: str | None = None) -> list[Topic]:
    """Everything that is called so: all meanings of a name that has several. Raises VusniffError for none."""
    if isinstance(what, Message):
        return [_of_message(what)]
    found = named(what, device)
    if not found:
        raise VusniffError(unknown(what))
    return found


def named(what: str, device: str | None = None) -> list[Topic]:
    """Everything that is called so, or that has this number; nothing where nothing is. Raises VusniffError for a device
    type that there is not."""
    if device is not None and device not in DEVICES:
        raise VusniffError(f"--device {device}: no such device type; there are {', '.join(DEVICES)}")
    words = normal(what)
    found = _numbered(int(words, 0), device) if re.fullmatch(r"0X[0-9A-F]{1,16}|0|[1-9][0-9]{0,19}", words) else []
    return found or [
        topic for topic in _catalogue().get(words, ()) if device in (None, topic.device) or not topic.device
    ]


def everything() -> Iterator[Topic]:
    """All that can be explained, in the order of the tables."""
    return (topic for topic, _ in _all())


def normal(what: str) -> str:
    """A name as it is looked up: upper case, underscores, without the specification's prefix."""
    words = re.sub(r"[\s\-]+", "_", what.strip()).upper()
    return bare(words)


def unknown(what: str) -> str:
    """What to say of a word that nothing is called."""
    words = normal(what)
    import difflib

    like = difflib.get_close_matches(words, _catalogue(), n=LIKE, cutoff=0.6)
    like += [known for known in _catalogue() if len(words) > 2 and words in known and known not in like][:LIKE]
    names = list(dict.fromkeys(topic.name for word in like for topic in _catalogue()[word]))[:LIKE]
    shown = escape(what)[:60]
    if names:
        return f"nothing is called '{shown}'; did you mean {' or '.join(names)}?"
    return (
        f"nothing is called '{shown}': give a request (GET_FEATURES or its number), a feature, a protocol feature, "
        "a rule (R48 or its slug), a phase, or an error text"
    )


def _of_message(message: Message) -> Topic:
    spec = message.spec
    if spec is not None:
        return _request(message.channel, spec)
    if message.request is None:
        words = f"These bytes have no {message.channel.family} header: they are kept as they were seen."
    else:
        words = "No dissector knows this request: its payload is shown as bytes."
    return Topic("request", message.name, Page(message.name, [PageSection("What it is for", [Prose([words])])]))


@functools.cache
def _catalogue() -> Mapping[str, tuple[Topic, ...]]:
    """Everything by everything it is called, normalised."""
    found: dict[str, list[Topic]] = {}
    for topic, names in _all():
        for name in dict.fromkeys(map(normal, names)):
            found.setdefault(name, []).append(topic)
    return {name: tuple(topics) for name, topics in found.items()}


def _all() -> Iterator[tuple[Topic, list[str]]]:
    told: set[int] = set()
    for channel, dissector in dissect.load().items():
        for spec in dissector.specs.values():
            if channel in NODES and (spec.code in USER or spec.code in told):
                continue  # of the first the page of vhost-user's request tells
            told |= {spec.code} if channel in NODES else set()
            own = spec.name.removeprefix(f"{channel.upper()}_") if channel != Channels.MAIN else spec.name
            calls = [call.name for _, call in _calls(spec.code)] if channel == Channels.MAIN else []
            yield _request(channel_named(channel), spec), [spec.name, own, *spec.aliases, *calls]
    for name, bit in _members(FrontendRequest.SET_PROTOCOL_FEATURES, Channels.MAIN).items():
        short = short_name(name)
        others = [alias for alias, known in PROTOCOL_FEATURE_ALIASES.items() if known == short]
        names = [f"PROTOCOL_F_{one}" for one in (short, *others)]
        yield _protocol_feature(name, bit, others), [name, short, *others, *names]
    for name, bit in _members(GpuRequest.GPU_SET_PROTOCOL_FEATURES, Channels.GPU).items():
        yield _gpu_feature(name, bit), [name, short_name(name)]
    for device, name, bit in _features():
        short = short_name(name)
        yield _feature(device, name, bit), [name, short, name.removeprefix("VIRTIO_"), f"F_{short}"]
    for name, mask in _members(FrontendRequest.SET_STATUS, Channels.MAIN).items():
        yield _status(name, mask), [name, f"VIRTIO_CONFIG_S_{name}"]
    for rule in all_rules():
        yield _rule(rule), [rule.id, rule.slug]
    for kind in PhaseKind:
        yield _phase(kind), [kind.value, kind.name]
    for device, number in DEVICE_IDS.items():
        yield _device(device, number), [device, f"{device} device", f"virtio-{device}"]


def _calls(request: int) -> Iterator[tuple[Channel, MessageSpec]]:
    """The calls to the kernel that mean the same as a request of vhost-user's main channel."""
    for channel in NODES:
        dissector = dissect.load().get(channel)
        for spec in dissector.specs.values() if dissector else ():
            if USER.get(spec.code) == request:
                yield channel_named(channel), spec


# --- requests ---------------------------------------------------------------------------------------------------------


def _numbered(number: int, device: str | None) -> list[Topic]:
    """The requests of that code; with a device type its feature bit."""
    if device is not None:
        bits = [topic for topics in _catalogue().values() for topic in topics if topic.kind == "feature"]
        wanted = {name for kind, name, bit in _features() if bit == number and kind in (None, device)}
        return list(
            {topic.name: topic for topic in bits if topic.name in wanted and topic.device in (None, device)}.values()
        )
    specs = ((channel, dissector.specs.get(number)) for channel, dissector in dissect.load().items())
    return [_request(channel_named(channel), spec) for channel, spec in specs if spec is not None]


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


def _request(channel: Channel, spec: MessageSpec) -> Topic:
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
    sections += _editions(spec.name)
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
    found = {spec.code: spec for _, spec in _calls(request)}
    for channel, spec in _calls(request):
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


def _editions(name: str) -> list[PageSection]:
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


# --- bits -------------------------------------------------------------------------------------------------------------


def _members(request: int, channel: Channel, device: str | None = None) -> dict[str, int]:
    """Names of the bits of a request's u64, with their bit numbers."""
    spec = dissect.spec_of(channel, request)
    layouts = layouts_of(spec.payload) if spec else ()
    if not layouts or "u64" not in layouts[0].names:
        return {}
    members = members_of(layouts[0].names["u64"], Context(device=device))
    return {name: value.bit_length() - 1 for name, value in members.items()}


@functools.cache
def _features() -> Sequence[tuple[str | None, str, int]]:
    """(device type, name, bit) of every feature; None for those that every device has."""
    common = _members(FrontendRequest.SET_FEATURES, Channels.MAIN)
    found: list[tuple[str | None, str, int]] = [(None, name, bit) for name, bit in common.items()]
    for device in DEVICES:
        own = _members(FrontendRequest.SET_FEATURES, Channels.MAIN, device)
        found += [(device, name, bit) for name, bit in own.items() if name not in common]
    return found


def _bit(bit: int) -> str:
    return f"bit {bit} ({1 << bit:#x})"


def _gated(feature: ProtocolFeature) -> list[str]:
    return [
        f"{spec.name}: {spec.about}"
        for dissector in dissect.load().values()
        for spec in dissector.specs.values()
        if spec.requires is not None and int(spec.requires) == int(feature)
    ]


def _protocol_feature(name: str, bit: int, others: Sequence[str]) -> Topic:
    short = short_name(name)
    gated = _gated(ProtocolFeature(1 << bit))
    known = page.facts(
        ("where", f"{_bit(bit)} of GET_PROTOCOL_FEATURES and SET_PROTOCOL_FEATURES"),
        ("also called", ", ".join(others)),
        ("specified", "Protocol features"),
    )
    sections = [
        PageSection("What it is for", [Prose([prose.PROTOCOL_FEATURES.get(short, "A protocol feature.")]), known])
    ]
    if gated:
        sections.append(PageSection("Requests that need it", [Items(gated)]))
    sections += _editions(short)
    return Topic("protocol feature", short, Page(f"{name}: protocol feature, bit {bit}", sections))


def _gpu_feature(name: str, bit: int) -> Topic:
    words = prose.GPU_PROTOCOL_FEATURES.get(short_name(name), "A protocol feature of the GPU socket.")
    known = page.facts(
        ("where", f"{_bit(bit)} of GPU_GET_PROTOCOL_FEATURES and GPU_SET_PROTOCOL_FEATURES"),
        ("specified", "vhost-user-gpu, Communication"),
    )
    made = Page(
        f"{name}: protocol feature of the GPU socket, bit {bit}",
        [PageSection("What it is for", [Prose([words]), known])],
    )
    return Topic("protocol feature", name, made)


def _feature(device: str | None, name: str, bit: int) -> Topic:
    whose = f"{device} devices" if device else "every device"
    words = prose.FEATURES.get(name, f"A feature of {whose}, see the virtio specification.")
    specs = (spec for dissector in dissect.load().values() for spec in dissector.specs.values())
    gated = [
        f"{spec.name}: {spec.about}"
        for spec in specs
        if spec.requires_feature and name in spec.requires_feature.split()
    ]
    vhost = name.startswith("VHOST_")
    where = f"{_bit(bit)} of GET_FEATURES and SET_FEATURES"
    beyond = "" if bit < 64 else ", beyond the 64 bits that vhost-user can negotiate"
    known = page.facts(
        ("where", where + beyond),
        ("of", whose),
        (
            "specified",
            "Feature bits" if vhost else f"virtio, {'Reserved Feature Bits' if not device else f'{device} device'}",
        ),
    )
    sections = [PageSection("What it is for", [Prose([words]), known])]
    if gated:
        sections.append(PageSection("Requests that need it", [Items(gated)]))
    sections += _editions(name)
    return Topic("feature", name, Page(f"{name}: feature of {whose}, bit {bit}", sections), device)


def _status(name: str, bit: int) -> Topic:
    words = f"The driver or the device says {name} by it; no bit set is a reset."
    known = page.facts(
        ("where", f"{_bit(bit)} of SET_STATUS and GET_STATUS"),
        ("needs", "protocol feature STATUS"),
        ("specified", "virtio, Device Status Field"),
    )
    return Topic(
        "value",
        name,
        Page(f"{name}: device status, bit {bit}", [PageSection("What it is for", [Prose([words]), known])]),
    )


# --- rules and phases -------------------------------------------------------------------------------------------------


REQUEST_NAMES = {Channels.MAIN: FrontendRequest, Channels.BACKEND: BackendRequest, Channels.GPU: GpuRequest}


def _asked_at(rule: Rule) -> str:
    asked = []
    for on in rule.on:
        if isinstance(on, Trigger):
            asked.append(on.value)
        else:
            spec = dissect.spec_of(on.channel, on.request)
            asked.append(f"{spec.name if spec else on.request}{' reply' if on.reply else ''}")
    if rule.at_end:
        asked.append("the end of the session")
    if rule.at_sample:
        asked.append("each sample of a ring")
    return ", ".join(dict.fromkeys(asked)) or "never"


def _rule(rule: Rule) -> Topic:
    function = rule.function
    documented = (function.__doc__ if function else None) or rule.remark
    paragraphs = [" ".join(part.split()) for part in documented.split("\n\n")]
    known = page.facts(
        ("severity", f"{rule.severity}: {LEVELS[rule.level]}"),
        ("to blame", BLAMES[rule.side]),
        ("asked at", _asked_at(rule)),
        ("judged", "only in sessions seen whole from their first byte" if rule.complete_only else "in every session"),
        ("specified", rule.section),
    )
    sections = [PageSection("What it demands", [Prose(paragraphs), known]), *_editions(rule.slug)]
    made = Page(f"{rule.id} {rule.slug}: rule", sections)
    return Topic("rule", rule.slug, made)


def _phase(kind: PhaseKind) -> Topic:
    what, worth = prose.PHASES[kind]
    requests = [FrontendRequest(code).name for code, purpose in PURPOSES.items() if purpose is kind]
    known = page.facts(("told by", ", ".join(requests)), ("shown by", "vusniff read --phases, state, summary"))
    made = Page(f"{kind.value}: phase of a session", [PageSection("What it is", [Prose([what, worth]), known])])
    return Topic("phase", kind.value, made)


# --- device types -----------------------------------------------------------------------------------------------------


def _device(device: str, number: int) -> Topic:
    known = page.facts(
        ("number", f"{number} ({number:#x})"),
        (
            "on the wire",
            "not said: requests of all types look alike, so the type is deduced or given",
        ),
        ("given by", f"--device {device}"),
        ("specified", "virtio, Device Types"),
    )
    sections = [PageSection("What it is", [Prose([f"What a session with a {device} device may say."]), known])]
    bits = [f"{name}: bit {bit}" for kind, name, bit in _features() if kind == device]
    sections.append(PageSection("Features of its own" + ("" if bits else ": none"), [Items(bits)] if bits else []))
    spec = dissect.spec_of(Channels.MAIN, FrontendRequest.GET_CONFIG)
    choice = spec.reply if spec else None
    layout = choice.pick(Context(device=device), CONFIG_SIZE) if isinstance(choice, Alternatives) else None
    fields = window_rows(layout) if layout is not None else []
    if fields:
        rows = [(field.offset, field.size, field.name, field.kind) for field in fields]
        title = f"Config space (GET_CONFIG, SET_CONFIG), {size_of(fields)} with every optional field"
        sections.append(PageSection(title, [Table(["offset", "size", "field", "kind"], rows)]))
    else:
        sections.append(PageSection("Config space: none", []))
    sections += _editions(device)
    return Topic("device type", device, Page(f"{device}: device type {number}", sections))
