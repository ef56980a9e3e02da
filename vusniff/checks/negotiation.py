"""Rules about owner, features and protocol features, and about what may be sent because of them."""

from __future__ import annotations

from vusniff.checks.finding import FINE, Said, Sayings, Side
from vusniff.checks.peers import Implementation
from vusniff.checks.step import Step
from vusniff.families.vhost_user.protocol import (
    F_ACCESS_PLATFORM,
    F_LOG_ALL,
    F_PROTOCOL_FEATURES,
    STOPS_RING,
    BackendRequest,
    FrontendRequest,
    ProtocolFeature,
    feature_name,
)
from vusniff.families.vhost_user.state import DeviceState, Seen

F, P = FrontendRequest, ProtocolFeature

F_MTU = 1 << 3
"""VIRTIO_NET_F_MTU."""


RESERVED = {
    24: "NOTIFY_ON_EMPTY",
    26: "LOG_ALL",
    27: "ANY_LAYOUT",
    28: "INDIRECT_DESC",
    29: "EVENT_IDX",
    30: "PROTOCOL_FEATURES",
    32: "VERSION_1",
    33: "ACCESS_PLATFORM",
    34: "RING_PACKED",
    35: "IN_ORDER",
    36: "ORDER_PLATFORM",
    37: "SR_IOV",
    38: "NOTIFICATION_DATA",
    39: "NOTIF_CONFIG_DATA",
    40: "RING_RESET",
}
"""Feature bits that are the same for every type of device: virtio 1.3, 6 and 6.3; vhost's are LOG_ALL and
PROTOCOL_FEATURES."""


def bits(value: int, names: type[ProtocolFeature] | None = None) -> str:
    """The bits of a number in words: ``MQ, BIT_23`` or ``bit 5, bit 32 (VERSION_1)``."""
    words = []
    while value > 0:
        bit = value & -value
        value ^= bit
        try:
            name = names(bit).name if names else None
        except ValueError:
            name = None
        number = bit.bit_length() - 1
        known = f" ({RESERVED[number]})" if names is None and number in RESERVED else ""
        words.append(name or f"bit {number}{known}")
    return ", ".join(words)


def by(*values: Seen[int] | None) -> tuple[int, ...]:
    """The messages that set these values."""
    return tuple(value.by for value in values if value is not None)


AFTER_OWNER = frozenset(
    {
        *(F.SET_MEM_TABLE, F.ADD_MEM_REG, F.REM_MEM_REG, F.SET_VRING_NUM, F.SET_VRING_ADDR, F.SET_VRING_BASE),
        *(*STOPS_RING, F.SET_VRING_KICK, F.SET_VRING_CALL, F.SET_VRING_ERR, F.SET_VRING_ENABLE),
        *(F.SET_VRING_ENDIAN, F.VRING_KICK),
    }
)
"""Memory and ring messages."""


def owner_first(step: Step) -> Sayings:
    """SET_OWNER comes once in a connection, before memory and ring messages

    "Issued when a new connection is established", so also after a reconnect, where DPDK's virtio-user leaves it out:
    that is its fault, and a warning as DPDK's own back-end does not mind.
    """
    if step.message.request not in AFTER_OWNER:
        return FINE
    return (Said(f"{step.message.name} was sent before SET_OWNER, which must come first"),)


def owner_again(step: Step) -> Sayings:
    """SET_OWNER is not repeated without RESET_OWNER"""
    owned = step.before.owned
    if owned is None or not owned.value:
        return FINE
    return (Said(f"SET_OWNER was sent again after #{owned.by}; rust-vmm refuses that", (owned.by,)),)


def reset_owner(step: Step) -> Sayings:
    """RESET_OWNER is not used"""
    return (
        Said(
            "RESET_OWNER is deprecated: libvhost-user disables all rings, DPDK drops the device's state, "
            "rust-vmm forgets owner and features"
        ),
    )


def _protocol_features_offered(step: Step) -> Sayings:
    offered = step.before.features_offered
    if offered is None:
        if not step.memory.complete:
            return FINE
        return (Said(f"{step.message.name} was sent before GET_FEATURES had told whether it is supported"),)
    if offered.value & F_PROTOCOL_FEATURES:
        return FINE
    return (
        Said(f"{step.message.name} is sent, but the back-end offers {offered.value:#x} without bit 30", by(offered)),
    )


def get_protocol_features_offered(step: Step) -> Sayings:
    """GET_PROTOCOL_FEATURES comes only after feature bit 30 was offered"""
    return _protocol_features_offered(step)


def set_protocol_features_offered(step: Step) -> Sayings:
    """SET_PROTOCOL_FEATURES comes only after feature bit 30 was offered"""
    return _protocol_features_offered(step)


def protocol_features_early(step: Step) -> Sayings:
    """A back-end that offers bit 30 takes protocol features before SET_FEATURES"""
    if step.before.features is not None or step.message.layout != "ack" or step.values["u64"] == 0:
        return FINE
    value = step.values["u64"]
    return (Said(f"{step.message.name} before SET_FEATURES is refused with {value:#x}", (step.message.answers or 0,)),)


def features_subset(step: Step) -> Sayings:
    """SET_FEATURES acknowledges only offered bits

    Bit 30 and VHOST_F_LOG_ALL belong to the front-end's own dealings with the back-end: they count as well, as DPDK
    and rust-vmm refuse what was not offered.
    """
    offered = step.before.features_offered
    if offered is None:
        return FINE
    extra = step.values["u64"] & ~offered.value
    if not extra:
        return FINE
    return (Said(f"SET_FEATURES acknowledges {bits(extra)}, which the back-end does not offer", by(offered)),)


def protocol_features_subset(step: Step) -> Sayings:
    """SET_PROTOCOL_FEATURES acknowledges only offered bits"""
    offered = step.before.protocol_features_offered
    if offered is None:
        return FINE
    extra = step.values["u64"] & ~offered.value
    if not extra:
        return FINE
    return (
        Said(f"SET_PROTOCOL_FEATURES acknowledges {bits(extra, P)}, which the back-end does not offer", by(offered)),
    )


def features_change(step: Step) -> Sayings:
    """Features do not change while rings run, but for VHOST_F_LOG_ALL"""
    features = step.before.features
    if features is None:
        return FINE
    changed = (features.value ^ step.values["u64"]) & ~F_LOG_ALL
    if not changed:
        return FINE
    ring = step.before.vrings.running
    if ring is None:
        return FINE
    evidence = (features.by, *([ring.life.by] if ring.life else []))
    return (Said(f"SET_FEATURES changes {bits(changed)} while vring {ring.index} runs", evidence),)


def inband_needs(step: Step) -> Sayings:
    """INBAND_NOTIFICATIONS is negotiated only together with BACKEND_REQ and REPLY_ACK

    QEMU takes over every offered bit it has a number for; a back-end that offers the one without the others is why.
    """
    value = step.values["u64"]
    missing = (P.BACKEND_REQ | P.REPLY_ACK) & ~value
    if not value & P.INBAND_NOTIFICATIONS or not missing:
        return FINE
    return (
        Said(
            f"SET_PROTOCOL_FEATURES has INBAND_NOTIFICATIONS without {bits(missing, P)}; the back-end should close",
            by(step.before.protocol_features_offered),
        ),
    )


def base_inflight_needs(step: Step) -> Sayings:
    """GET_VRING_BASE_INFLIGHT needs INFLIGHT_SHMFD, GET_VRING_BASE_SKIP_DRAIN needs both"""
    value = step.values["u64"]
    for feature, needs in (
        (P.GET_VRING_BASE_SKIP_DRAIN, P.INFLIGHT_SHMFD | P.GET_VRING_BASE_INFLIGHT),
        (P.GET_VRING_BASE_INFLIGHT, P.INFLIGHT_SHMFD),
    ):
        missing = needs & ~value
        if value & feature and missing:
            return (
                Said(
                    f"SET_PROTOCOL_FEATURES has {feature.name} without {bits(missing, P)}",
                    by(step.before.protocol_features_offered),
                ),
            )
    return FINE


SHMEM_DRAFTS = P.GET_VRING_BASE_INFLIGHT | P.GPA_ADDRESSES
"""Bits 20 and 21, which were the bit of SHMEM in drafts and in rust-vmm vhost 0.16."""


def shmem_by_draft(state: DeviceState) -> bool:
    """SHMEM is not negotiated, but a bit is that drafts used for it."""
    value = state.protocol_features.value if state.protocol_features else 0
    return not value & P.SHMEM and bool(value & SHMEM_DRAFTS)


def _gated(step: Step) -> Sayings:
    spec = step.message.spec
    if spec is None or spec.requires is None or not step.lacks(spec.requires):
        return FINE
    if spec.requires == P.SHMEM and shmem_by_draft(step.before):
        return FINE  # the trap about its bit says it
    features = step.before.protocol_features
    negotiated = (
        f"of which {features.value:#x} are negotiated"
        if features and features.value
        else "of which none are negotiated"
    )
    return (
        Said(f"{step.message.name} needs protocol feature {feature_name(spec.requires)}, {negotiated}", by(features)),
    )


def frontend_gated(step: Step) -> Sayings:
    """A request that a protocol feature brings is sent only once that feature is negotiated"""
    return _gated(step)


def backend_gated(step: Step) -> Sayings:
    """A back-end request is sent only once its protocol feature is negotiated"""
    if step.message.request == BackendRequest.BACKEND_IOTLB_MSG:
        return _gated(step) or iotlb_negotiated(step)
    return _gated(step)


def iotlb_negotiated(step: Step) -> Sayings:
    """IOTLB messages come only with VIRTIO_F_ACCESS_PLATFORM negotiated"""
    features = step.before.features
    if features is None:
        if not step.memory.complete:
            return FINE
        return (Said(f"{step.message.name} was sent before SET_FEATURES had negotiated VIRTIO_F_ACCESS_PLATFORM"),)
    if features.value & F_ACCESS_PLATFORM:
        return FINE
    return (Said(f"{step.message.name} is sent, and {features.value:#x} lacks VIRTIO_F_ACCESS_PLATFORM", by(features)),)


def mtu_negotiated(step: Step) -> Sayings:
    """NET_SET_MTU comes only with VIRTIO_NET_F_MTU negotiated

    QEMU sends it before the first SET_FEATURES, when guest and QEMU have agreed and the socket does not show it yet:
    then it is measured against that SET_FEATURES.
    """
    mtu, features = step.before.mtu, step.before.features
    if step.message.request == F.NET_SET_MTU:
        if features is None or features.value & F_MTU:
            return FINE
        return (Said(f"NET_SET_MTU is sent, and {features.value:#x} lacks VIRTIO_NET_F_MTU", by(features)),)
    if features is not None or mtu is None or step.values["u64"] & F_MTU:
        return FINE
    return (Said("NET_SET_MTU was sent, and VIRTIO_NET_F_MTU is not acknowledged now", by(mtu), number=mtu.by),)


def enable_negotiated(step: Step) -> Sayings:
    """SET_VRING_ENABLE comes only with feature bit 30 negotiated

    QEMU's network devices enable rings when the guest writes its features, before they send SET_FEATURES; DPDK's
    virtio-user disables them first thing after a reconnect. Both work with their usual back-ends: a remark, once.
    """
    features = step.before.features
    if features is None:
        if not step.memory.complete:
            return FINE
        known = "; QEMU's net devices do that" if step.memory.frontend.may_be(Implementation.QEMU) else ""
        return (Said(f"SET_VRING_ENABLE was sent before SET_FEATURES had negotiated bit 30{known}"),)
    if features.value & F_PROTOCOL_FEATURES:
        return FINE
    return (Said(f"SET_VRING_ENABLE was sent, and {features.value:#x} lacks bit 30", by(features)),)


STRICT_ENABLE = (Implementation.RUST_VMM, Implementation.CROSVM)


def enable_before_features(step: Step) -> Sayings:
    """A back-end of rust-vmm or crosvm gets SET_VRING_ENABLE only after SET_FEATURES with bit 30"""
    features = step.before.features
    backend = step.memory.backend
    if backend.program not in STRICT_ENABLE or (features is None and not step.memory.complete):
        return FINE
    if features is not None and features.value & F_PROTOCOL_FEATURES:
        return FINE
    return (
        Said(
            f"SET_VRING_ENABLE was sent before SET_FEATURES with bit 30, and {backend} refuses it until then",
            by(features),
            Side.FRONTEND,
        ),
    )
