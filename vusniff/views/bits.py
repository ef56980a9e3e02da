"""What the bits of a number say: features of a device type, protocol features. One row a bit, unknown ones too."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from vusniff.errors import VusniffError
from vusniff.families.vhost_user.device import DEVICES
from vusniff.families.vhost_user.protocol import Channels, FrontendRequest, ProtocolFeature
from vusniff.layouts import dissect
from vusniff.layouts.parts import layouts_of
from vusniff.layouts.rows import members_of
from vusniff.message import Context
from vusniff.printable import escape
from vusniff.views import page, prose
from vusniff.views.page import Items, Page, PageSection, Prose
from vusniff.views.topic import Topic
from vusniff.views.words import short_name

NEEDS = {
    ProtocolFeature.INBAND_NOTIFICATIONS: ProtocolFeature.BACKEND_REQ | ProtocolFeature.REPLY_ACK,
    ProtocolFeature.BACKEND_SEND_FD: ProtocolFeature.BACKEND_REQ,
    ProtocolFeature.HOST_NOTIFIER: ProtocolFeature.BACKEND_REQ,
    ProtocolFeature.GET_VRING_BASE_INFLIGHT: ProtocolFeature.INFLIGHT_SHMFD,
    ProtocolFeature.GET_VRING_BASE_SKIP_DRAIN: ProtocolFeature.INFLIGHT_SHMFD | ProtocolFeature.GET_VRING_BASE_INFLIGHT,
}
"""Protocol feature -> those it makes no sense without: vhost-user, Protocol features."""


def number_of(words: str, option: str) -> int:
    """The u64 that was written: decimal, 0x, 0b, with underscores. Raises VusniffError for anything else."""
    text = words.strip().replace("_", "").lower()
    if re.fullmatch(r"0x[0-9a-f]{1,16}|0b[01]{1,64}|[0-9]{1,20}", text):
        value = int(text, 0) if not text.isdigit() else int(text)
        if value < 1 << 64:
            return value
    raise VusniffError(f"{option} {escape(words)[:60]}: give a number of at most 64 bits, such as 0x140003446")


def features(value: int, device: str | None) -> Topic:
    """The feature bits of a device type, or of any. Raises VusniffError for a type that is not known."""
    if device is not None and device not in DEVICES:
        raise VusniffError(f"--device {device}: no such device type; there are {', '.join(DEVICES)}")
    common = _names(FrontendRequest.SET_FEATURES, None)
    rows = []
    for bit in _set_bits(value):
        if bit in common:
            rows.append((str(bit), common[bit], _about(common[bit])))
        elif device is not None:
            name = _names(FrontendRequest.SET_FEATURES, device).get(bit)
            rows.append((str(bit), name or "unknown", _about(name) if name else f"No feature of {device} devices."))
        else:
            rows.append((str(bit), *_any_device(bit)))
    remarks = list(_feature_remarks(value))
    whose = f"{device} devices" if device else "any device (--device TYPE says which)"
    title = f"{value:#x}: features of {whose}, {_count(value)}"
    return Topic("features", f"{value:#x}", _page(title, rows, remarks), device)


def protocol_features(value: int) -> Topic:
    """The protocol feature bits."""
    known = _names(FrontendRequest.SET_PROTOCOL_FEATURES, None)
    rows = []
    for bit in _set_bits(value):
        name = short_name(known[bit]) if bit in known else "unknown"
        rows.append((str(bit), name, prose.PROTOCOL_FEATURES.get(name, "No protocol feature of the specification.")))
    remarks = [
        f"{feature.name} needs {' and '.join(_missing(value, needed))} as well."
        for feature, needed in NEEDS.items()
        if value & feature and needed & ~value
    ]
    if value & ProtocolFeature.GPA_ADDRESSES and not value & ProtocolFeature.SHMEM:
        remarks.append("Back-ends built on rust-vmm's vhost 0.16 mean SHMEM by bit 21.")
    title = f"{value:#x}: protocol features, {_count(value)}"
    return Topic("features", f"{value:#x}", _page(title, rows, remarks))


def _page(title: str, rows: list[tuple[str, str, str]], remarks: list[str]) -> Page:
    shown = page.facts(*((f"{bit:>2} {name}", about) for bit, name, about in rows)) if rows else Prose(["None."])
    sections = [PageSection("Bits that are set", [shown])]
    if remarks:
        sections.append(PageSection("Remarks", [Items(remarks)]))
    return Page(title, sections)


def _count(value: int) -> str:
    count = value.bit_count()
    return f"{count} bit{'' if count == 1 else 's'} set"


def _set_bits(value: int) -> Iterator[int]:
    return (bit for bit in range(64) if value >> bit & 1)


def known_names(context: Context, protocol: bool) -> Mapping[int, str]:
    """All bits that a session's feature word can have, with their names; by its device type where that is known."""
    request = FrontendRequest.SET_PROTOCOL_FEATURES if protocol else FrontendRequest.SET_FEATURES
    return dict(sorted(_names(request, context.device).items()))


def _names(request: int, device: str | None) -> Mapping[int, str]:
    """Bit -> name."""
    spec = dissect.spec_of(Channels.MAIN, request)
    layouts = layouts_of(spec.payload) if spec else ()
    if not layouts or "u64" not in layouts[0].names:
        return {}
    members = members_of(layouts[0].names["u64"], Context(device=device))
    return {value.bit_length() - 1: name for name, value in members.items()}


def _about(name: str) -> str:
    return prose.FEATURES.get(name, "See the virtio specification.")


def _any_device(bit: int) -> tuple[str, str]:
    common = _names(FrontendRequest.SET_FEATURES, None)
    found = {device: _names(FrontendRequest.SET_FEATURES, device).get(bit) for device in DEVICES}
    known = [f"{device} {short_name(name)}" for device, name in found.items() if name and name not in common.values()]
    if not known:
        return "unknown", "No feature of the specification."
    return "depends on the device", ", ".join(known)


def _missing(value: int, needed: ProtocolFeature) -> list[str]:
    return [str(one.name) for one in ProtocolFeature if one & needed & ~value]


def _feature_remarks(value: int) -> Iterator[str]:
    if not value >> 30 & 1:
        yield (
            "VHOST_USER_F_PROTOCOL_FEATURES (bit 30) is not set: no protocol features, one queue, and rings are "
            "enabled as soon as they are started. No guest sees this bit, so a value from a guest does not have it."
        )
    if not value >> 32 & 1:
        yield "VIRTIO_F_VERSION_1 (bit 32) is not set: a legacy device, which libvhost-user refuses."
    if value >> 26 & 1:
        yield "VHOST_F_LOG_ALL (bit 26) is set: offered, it can be migrated; acknowledged, it is being migrated."
