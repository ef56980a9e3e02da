"""Known ways in which implementations do not fit together, and what a session loses to the next.

Not rules of the specification: each says which implementation is affected as far as the peer can be recognised.
"""

from __future__ import annotations

from vusniff.amounts import descriptor as descriptor_words
from vusniff.amounts import listed
from vusniff.channel import Sender
from vusniff.checks.finding import FINE, Said, Sayings, Severity, Side
from vusniff.checks.limits import DESCRIPTORS, QUEUE_SIZE, TABLE_REGIONS
from vusniff.checks.negotiation import SHMEM_DRAFTS, bits, shmem_by_draft
from vusniff.checks.peers import Implementation
from vusniff.checks.step import SessionEnd, Step, decoded
from vusniff.families.vhost_user.protocol import Channels, FrontendRequest, ProtocolFeature
from vusniff.families.vhost_user.state import running
from vusniff.message import Message

F, P = FrontendRequest, ProtocolFeature

SOON_NS = 1_000_000_000
"""How soon after a message a close counts as its answer."""
LONG_NS = 5_000_000_000
"""How long a session must last for rings that did not come back to count as lost."""


def regions_more_than_peer(step: Step) -> Sayings:
    """A memory table has no more regions than the back-end takes"""
    count, backend = step.values.get("num_regions", 0), step.memory.backend
    most = TABLE_REGIONS.of(backend)
    if count <= most:
        return FINE
    who = str(backend) if backend.program in TABLE_REGIONS.known else "libvhost-user and DPDK"
    verb = "takes" if backend.program in TABLE_REGIONS.known else "take"
    return (Said(f"SET_MEM_TABLE has {count} regions; {who} {verb} {most}"),)


def descriptors_more_than_peer(step: Step) -> Sayings:
    """A message carries no more descriptors than the back-end takes"""
    message, backend = step.message, step.memory.backend
    most = DESCRIPTORS.of(backend)
    if message.sender is not Sender.FRONTEND or len(message.descriptors) <= most:
        return FINE
    effects = {
        Implementation.LIBVHOST_USER: "ends its process",
        Implementation.RUST_VMM: "silently drops the rest",
        Implementation.CROSVM: "silently drops the rest",
    }
    effect = effects.get(backend.program, "refuses the message")
    who = str(backend) if backend.program in DESCRIPTORS.known else "libvhost-user or DPDK"
    return (Said(f"{message.name} carries {len(message.descriptors)} descriptors; {who} takes {most} and {effect}"),)


def shmem_bit(step: Step) -> Sayings:
    """SHMEM is bit 22 for both sides

    Drafts had bit 20, rust-vmm vhost 0.16 has bit 21; those are GET_VRING_BASE_INFLIGHT and GPA_ADDRESSES now.
    """
    message, state = step.message, step.before
    if message.request == F.GET_PROTOCOL_FEATURES and message.channel is Channels.MAIN:
        value = step.values["u64"]
        if step.memory.backend.program is not Implementation.RUST_VMM or value & P.SHMEM or not value & P.GPA_ADDRESSES:
            return FINE
        return (
            Said(
                f"{step.memory.backend} offers bit 21 and not bit 22: rust-vmm vhost 0.16 means SHMEM by it, "
                "the specification GPA_ADDRESSES",
                side=Side.BACKEND,
            ),
        )
    if not shmem_by_draft(state) or state.protocol_features is None:
        return FINE
    used = state.protocol_features.value & SHMEM_DRAFTS
    return (
        Said(
            f"{message.name} is sent without SHMEM (bit 22); {bits(used)} is negotiated, which drafts and "
            "rust-vmm vhost 0.16 had for it",
            (state.protocol_features.by,),
        ),
    )


def queue_size_refused(step: Step) -> Sayings:
    """A queue size is one that the back-end takes"""
    request, asked = step.request, step.asked
    if step.message.layout != "ack" or step.values["u64"] == 0 or request is None or not asked:
        return FINE
    index, num, backend = asked["index"], asked["num"], step.memory.backend
    most = QUEUE_SIZE.told(backend)
    if most is not None and num <= most.number:
        return FINE
    why = "is it above its maximum?" if most is None else f"it takes {most.number} ({most.source})"
    words = f"{backend} refuses size {num} of vring {index} (#{request.number}); {why}"
    return (Said(words, (request.number,), Side.FRONTEND),)


def queue_size_closed(end: SessionEnd) -> Sayings:
    """A queue size is one that the back-end takes

    Daemons of rust-vmm end the session when it is above their maximum, SPDK does not start the device. Where that
    maximum is not known it is a guess: only when the back-end closed within a second after SET_VRING_NUM and before
    the ring was kicked.
    """
    backend = end.memory.backend
    most = QUEUE_SIZE.told(backend)
    if most is None and backend.program not in (Implementation.RUST_VMM, Implementation.UNKNOWN):
        return FINE
    if end.explained or end.closer is not Sender.BACKEND:
        return FINE
    link = max(end.memory.links.values(), key=lambda link: len(link.asked), default=None)
    request = link.asked.get(F.SET_VRING_NUM) if link else None
    values = decoded(request)
    if request is None or not values or end.time_ns - request.time_ns > SOON_NS:
        return FINE
    after = f"closed the connection {end.apart(end.time_ns - request.time_ns)}after SET_VRING_NUM"
    size = f"gave vring {values['index']} size {values['num']}"
    if most is not None:
        if values["num"] <= most.number:
            return FINE
        words = f"SET_VRING_NUM {size}; {backend} takes {most.number} ({most.source})"
        return (Said(words, side=Side.FRONTEND, number=request.number),)
    started = any(ring.life is not None and ring.life.by for ring in end.state.vrings.values())
    last = end.memory.last_main is request or backend.program is Implementation.RUST_VMM
    if started or not last or request.channel is not Channels.MAIN:
        return FINE
    return (Said(f"{backend} {after} {size}: is that above its maximum?", side=Side.FRONTEND, number=request.number),)


def rings_lost(end: SessionEnd) -> Sayings:
    """After a reconnect the rings that ran before are started again"""
    previous = end.memory.previous
    if previous is None or not previous.running or end.state.features is None:
        return FINE
    if end.silent_ns < LONG_NS:
        return FINE
    there = {ring.index for ring in end.state.vrings.values() if ring.kick is not None or running(ring)}
    lost = [(index, by) for index, by in previous.running if index not in there]
    if not lost:
        return FINE
    names = listed("vring", [index for index, _ in lost[:8]])
    return (
        Said(
            f"{names} ran in session {previous.session} and {'is' if len(lost) == 1 else 'are'} not started "
            "after the reconnect",
            tuple(by for _, by in lost[:4]),
            severity=None if there else Severity.NOTE,
            number=end.memory.last_main.number if end.memory.last_main else 0,
        ),
    )


def features_shrink(step: Step) -> Sayings:
    """The back-end offers the features that were negotiated in the session before

    QEMU keeps what the guest has acknowledged; a back-end that comes back with less does not get the device back.
    """
    previous = step.memory.previous
    if previous is None or previous.offered is None:
        return FINE
    value = step.values["u64"]
    gone = previous.offered.value & ~value
    if not gone:
        return FINE
    used = gone & previous.features.value if previous.features else 0
    if used:
        words = f"features {value:#x} lack {bits(used)}, which was negotiated in session {previous.session}"
        return (Said(words, (previous.features.by,) if previous.features else ()),)
    words = f"features {value:#x} lack {bits(gone)}, which was offered in session {previous.session}"
    return (Said(words, (previous.offered.by,), severity=Severity.NOTE),)


def protocol_features_shrink(step: Step) -> Sayings:
    """The back-end offers the protocol features that it offered in the session before"""
    previous = step.memory.previous
    if previous is None or previous.protocol_offered is None:
        return FINE
    gone = previous.protocol_offered.value & ~step.values["u64"]
    if not gone:
        return FINE
    words = f"protocol features lack {bits(gone, P)}, offered in session {previous.session}"
    return (Said(words, (previous.protocol_offered.by,), severity=Severity.NOTE),)


def descriptor_of_two_rings(step: Step) -> Sayings:
    """Each ring has a kick and a call descriptor of its own

    Rings may share a call descriptor on purpose, as they share an interrupt vector: a note. A shared kick descriptor
    is read by one of the rings only.
    """
    if not step.message.descriptors:
        return FINE
    mine = step.message.descriptors[0]
    others = step.memory.notified.get(mine.identity) if mine.identity is not None else None
    if not others:
        return FINE
    kick = step.message.request == F.SET_VRING_KICK
    index = step.values["index"]
    ring, is_kick, by = next(((*place, by) for place, by in others.items() if place != (index, kick)), (0, False, 0))
    if not by:
        return FINE
    what = "kick" if kick else "call"
    words = f"vring {index} has {descriptor_words(mine)} as its {what} descriptor"
    if is_kick == kick:
        return (Said(f"{words}, as vring {ring} (#{by})", (by,), severity=None if kick else Severity.NOTE),)
    return (Said(f"{words}, which is the {'call' if kick else 'kick'} of vring {ring} (#{by})", (by,)),)


def descriptor_missing(step: Step) -> Sayings:
    """A message that must carry a descriptor has one

    A relay that does not pass descriptors on is a usual reason.
    """
    message: Message = step.message
    spec = message.spec
    if spec is None or message.descriptors or not spec.fds[0]:
        return FINE
    return (Said(f"{message.name} has no descriptor; does something between the peers lose them?"),)


def unknown_request(step: Step) -> Sayings:
    """A request is in the specification"""
    message = step.message
    if message.request is None or message.channel is Channels.UNKNOWN:
        return FINE
    return (Said(f"request {message.request} on the {message.channel} channel is not in the specification"),)
