"""What a bit is, or a device type: features, protocol features, states of a device."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from vusniff.channel import Channel
from vusniff.families.vhost_user.device import DEVICES
from vusniff.families.vhost_user.protocol import (
    Channels,
    FrontendRequest,
    ProtocolFeature,
)
from vusniff.layouts import dissect
from vusniff.layouts.parts import layouts_of
from vusniff.layouts.rows import members_of, size_of, window_rows
from vusniff.message import Alternatives, Context
from vusniff.views import page, prose
from vusniff.views.explain_requests import editions
from vusniff.views.page import Items, Page, PageSection, Prose, Table
from vusniff.views.topic import Topic
from vusniff.views.words import short_name

CONFIG_SIZE = 12 + 256
"""Bytes of a reply to GET_CONFIG that has a whole config space."""


def members(request: int, channel: Channel, device: str | None = None) -> dict[str, int]:
    """Names of the bits of a request's u64, with their bit numbers."""
    spec = dissect.spec_of(channel, request)
    layouts = layouts_of(spec.payload) if spec else ()
    if not layouts or "u64" not in layouts[0].names:
        return {}
    members = members_of(layouts[0].names["u64"], Context(device=device))
    return {name: value.bit_length() - 1 for name, value in members.items()}


@functools.cache
def features() -> Sequence[tuple[str | None, str, int]]:
    """(device type, name, bit) of every feature; None for those that every device has."""
    common = members(FrontendRequest.SET_FEATURES, Channels.MAIN)
    found: list[tuple[str | None, str, int]] = [(None, name, bit) for name, bit in common.items()]
    for device in DEVICES:
        own = members(FrontendRequest.SET_FEATURES, Channels.MAIN, device)
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


def protocol_feature(name: str, bit: int, others: Sequence[str]) -> Topic:
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
    sections += editions(short)
    return Topic("protocol feature", short, Page(f"{name}: protocol feature, bit {bit}", sections))


def gpu_feature(name: str, bit: int) -> Topic:
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


def feature(device: str | None, name: str, bit: int) -> Topic:
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
    sections += editions(name)
    return Topic("feature", name, Page(f"{name}: feature of {whose}, bit {bit}", sections), device)


def status(name: str, bit: int) -> Topic:
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


def device_type(device: str, number: int) -> Topic:
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
    bits = [f"{name}: bit {bit}" for kind, name, bit in features() if kind == device]
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
    sections += editions(device)
    return Topic("device type", device, Page(f"{device}: device type {number}", sections))
