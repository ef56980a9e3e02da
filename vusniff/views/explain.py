"""What something is: a request, a feature, a protocol feature, a value, a rule, a phase. Made from the tables.

`topics` gives pages, `explain` their text; both take what people call a thing, or a message. What no table says is in
`views.prose`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping

from vusniff.checks.finding import Level, Rule, Side, Trigger
from vusniff.checks.registry import rules as all_rules
from vusniff.errors import VusniffError
from vusniff.families.phase import PhaseKind
from vusniff.families.registry import bare, channel_named
from vusniff.families.vhost_kernel.protocol import USER
from vusniff.families.vhost_user.device import DEVICE_IDS, DEVICES
from vusniff.families.vhost_user.phases import PURPOSES
from vusniff.families.vhost_user.protocol import (
    PROTOCOL_FEATURE_ALIASES,
    BackendRequest,
    Channels,
    FrontendRequest,
    GpuRequest,
)
from vusniff.layouts import dissect
from vusniff.message import Message
from vusniff.printable import escape
from vusniff.views import page, prose
from vusniff.views.explain_bits import device_type, feature, features, gpu_feature, members, protocol_feature, status
from vusniff.views.explain_requests import NODES, calls_like, editions, request_topic
from vusniff.views.page import Page, PageSection, Prose
from vusniff.views.topic import Topic
from vusniff.views.words import short_name

LEVELS = {
    Level.MUST: "the specification says must",
    Level.SHOULD: "the specification says should",
    Level.DERIVED: "follows from layouts, or from what implementations enforce",
    Level.KNOWN: "the specification demands it, and programs in wide use break it, which is harmless",
    Level.TRAP: "a known way in which implementations do not fit together",
}
BLAMES = {Side.FRONTEND: "the front-end", Side.BACKEND: "the back-end", Side.EITHER: "whoever sent the message"}
LIKE = 5
"""Close matches that are offered for a word that nothing is called."""


def explain(what: Message | str, device: str | None = None, width: int | None = None) -> str:
    """The explanation of a message's request, or of what people call a thing, as text.

    ``device`` narrows features to a device type; ``width`` is that of the screen, in columns. Raises VusniffError for
    what nothing is called.
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
        return request_topic(message.channel, spec)
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
            calls = [call.name for _, call in calls_like(spec.code)] if channel == Channels.MAIN else []
            yield request_topic(channel_named(channel), spec), [spec.name, own, *spec.aliases, *calls]
    for name, bit in members(FrontendRequest.SET_PROTOCOL_FEATURES, Channels.MAIN).items():
        short = short_name(name)
        others = [alias for alias, known in PROTOCOL_FEATURE_ALIASES.items() if known == short]
        names = [f"PROTOCOL_F_{one}" for one in (short, *others)]
        yield protocol_feature(name, bit, others), [name, short, *others, *names]
    for name, bit in members(GpuRequest.GPU_SET_PROTOCOL_FEATURES, Channels.GPU).items():
        yield gpu_feature(name, bit), [name, short_name(name)]
    for device, name, bit in features():
        short = short_name(name)
        yield feature(device, name, bit), [name, short, name.removeprefix("VIRTIO_"), f"F_{short}"]
    for name, mask in members(FrontendRequest.SET_STATUS, Channels.MAIN).items():
        yield status(name, mask), [name, f"VIRTIO_CONFIG_S_{name}"]
    for rule in all_rules():
        yield _rule(rule), [rule.id, rule.slug]
    for kind in PhaseKind:
        yield _phase(kind), [kind.value, kind.name]
    for device, number in DEVICE_IDS.items():
        yield device_type(device, number), [device, f"{device} device", f"virtio-{device}"]


def _numbered(number: int, device: str | None) -> list[Topic]:
    """The requests of that code; with a device type its feature bit."""
    if device is not None:
        bits = [topic for topics in _catalogue().values() for topic in topics if topic.kind == "feature"]
        wanted = {name for kind, name, bit in features() if bit == number and kind in (None, device)}
        return list(
            {topic.name: topic for topic in bits if topic.name in wanted and topic.device in (None, device)}.values()
        )
    specs = ((channel, dissector.specs.get(number)) for channel, dissector in dissect.load().items())
    return [request_topic(channel_named(channel), spec) for channel, spec in specs if spec is not None]


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
    sections = [PageSection("What it demands", [Prose(paragraphs), known]), *editions(rule.slug)]
    made = Page(f"{rule.id} {rule.slug}: rule", sections)
    return Topic("rule", rule.slug, made)


def _phase(kind: PhaseKind) -> Topic:
    what, worth = prose.PHASES[kind]
    requests = [FrontendRequest(code).name for code, purpose in PURPOSES.items() if purpose is kind]
    known = page.facts(("told by", ", ".join(requests)), ("shown by", "vusniff read --phases, state, summary"))
    made = Page(f"{kind.value}: phase of a session", [PageSection("What it is", [Prose([what, worth]), known])])
    return Topic("phase", kind.value, made)
