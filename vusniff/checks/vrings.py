"""Rules about rings: setting them up, starting, stopping, enabling, and what they were told before."""

from __future__ import annotations

from vusniff.amounts import listed
from vusniff.checks.finding import FINE, Said, Sayings, Severity
from vusniff.checks.peers import Implementation
from vusniff.checks.recall import suspended
from vusniff.checks.step import SessionEnd, Step
from vusniff.families.vhost_user.protocol import (
    F_ACCESS_PLATFORM,
    F_PROTOCOL_FEATURES,
    FrontendRequest,
    ProtocolFeature,
)
from vusniff.families.vhost_user.state import RingState, Vring, running, translate, vring

QUEUE_SIZE = 32768
RESERVED_WORD = ~0x1FF
SPLIT_RESERVED = 0xFFFF0000
RESET_BASES = (0, 0x8000, 0x80008000)
"""What a ring begins with after the guest has reset it: split, packed by DPDK's virtio-user, packed."""
SETTLED_NS = 1_000_000_000
"""How long a session must have gone on for what did not come to count as missing."""


def _queues(step: Step) -> int | None:
    """How many ring indexes there may be."""
    told = step.before.queue_num
    if told is None:
        return None
    return told.value * 2 if step.memory.device in (None, "net") else told.value + 2 * (step.memory.device == "scsi")


def index_in_range(step: Step) -> Sayings:
    """Ring indexes are below the number of queues

    QEMU and DPDK count pairs for network devices, libvhost-user counts rings: an index is too large only when it is so
    by either. SCSI has two rings that are not counted as queues.
    """
    told, index = step.before.queue_num, step.values["index"]
    if told is None or index < told.value or index < (_queues(step) or 0):
        return FINE
    return (Said(f"{step.message.name} is for vring {index}; GET_QUEUE_NUM told {told.value}", (told.by,)),)


def addresses_in_memory(step: Step) -> Sayings:
    """Ring addresses lie in an active memory region

    Not judged with VIRTIO_F_ACCESS_PLATFORM: they are I/O addresses then, and may be mapped later.
    """
    state, values = step.before, step.values
    if state.regions is None or (state.features is not None and state.features.value & F_ACCESS_PLATFORM):
        return FINE
    if not state.regions:
        return FINE  # a front-end may send memory later; that a ring is kicked without any is a finding of its own
    num = vring(state, values["index"]).num
    count = num.value if num else 1
    packed = bool(state.packed)
    areas = (
        ("descriptor", 16 * count),
        ("available", 4 if packed else 4 + 2 * count),
        ("used", 4 if packed else 4 + 8 * count),
    )
    for name, length in areas:
        if translate(state, values[name], length) is None:
            words = f"vring {values['index']}: {name} area {values[name]:#x}+{length} is in no memory region"
            return (Said(words, (state.regions_by,)),)
    return FINE


ALIGNMENTS = (("descriptor", 16), ("available", 2), ("used", 4))


def addresses_aligned(step: Step) -> Sayings:
    """Descriptor, available and used addresses are aligned to 16, 2 and 4 bytes"""
    for name, alignment in ALIGNMENTS:
        if step.values[name] % alignment:
            words = f"vring {step.values['index']}: {name} address {step.values[name]:#x} is not aligned to {alignment}"
            return (Said(words),)
    return FINE


def queue_size(step: Step) -> Sayings:
    """A queue size is 1 to 32768, and a power of two on split rings"""
    index, num = step.values["index"], step.values["num"]
    if not 0 < num <= QUEUE_SIZE:
        return (Said(f"vring {index} has size {num}; 1 to {QUEUE_SIZE} are possible"),)
    if step.before.packed is False and num & num - 1:
        return (Said(f"vring {index} is a split ring of size {num}, which is not a power of two"),)
    return FINE


ADDRESS_FLAGS = 1
"""VHOST_VRING_F_LOG."""


def address_flags(step: Step) -> Sayings:
    """Flags of SET_VRING_ADDR are 0 or VHOST_VRING_F_LOG"""
    unknown = step.values["flags"] & ~ADDRESS_FLAGS
    if not unknown:
        return FINE
    return (
        Said(
            f"SET_VRING_ADDR of vring {step.values['index']} has unassigned flags {unknown:#x}; rust-vmm refuses them"
        ),
    )


def queues_there(step: Step) -> Sayings:
    """A back-end has a queue"""
    if step.values["u64"]:
        return FINE
    return (Said("GET_QUEUE_NUM was answered with 0, which is too few queues for any front-end"),)


def packed_first_base(step: Step) -> Sayings:
    """A packed ring that begins at its first descriptor begins with its wrap counters at 1

    Both counters are 1 on a new ring, so that a base of 0 is one that a front-end gave which thinks in split rings.
    A ring that goes on after a migration or a reconnect may stand at 0 in its second round.
    """
    value = step.values["num"]
    if not step.before.packed or value & 0xFFFF or step.memory.previous is not None:
        return FINE
    ring = vring(step.before, step.values["index"])
    if ring.base is not None:
        return FINE
    return (
        Said(
            f"packed vring {ring.index} begins at base {value:#x}, with the driver's wrap counter 0; a new ring begins "
            "at 0x8000 or 0x80008000, else descriptors seem used before",
            (step.before.features.by,) if step.before.features else (),
        ),
    )


def pair_half_enabled(step: Step) -> Sayings:
    """A network ring is enabled once the other ring of its pair is set up

    Of a ring that is not set up itself it says nothing: QEMU enables pairs before it sets them up.
    """
    index, backend = step.values["index"], step.memory.backend
    if not step.values["num"] or backend.program is not Implementation.DPDK or step.memory.device not in (None, "net"):
        return FINE
    ring, other = vring(step.before, index), vring(step.before, index ^ 1)
    if not running(ring) or other.addresses is not None or running(other) or ring.life is None:
        return FINE
    told = step.before.queue_num
    pairs = told.value if told is not None else int(step.memory.device == "net")
    if pairs * 2 <= other.index:
        return FINE
    return (
        Said(
            f"vring {index} is enabled before vring {other.index}, the other of its pair, is set up; programs that use "
            "DPDK look for both",
            (ring.life.by,),
        ),
    )


def announced(end: SessionEnd) -> Sayings:
    """Rings that SET_VRING_CALL announces are set up

    DPDK before 20.08, which does not offer STATUS, starts none before all of them are ready; later ones wait for all
    rings of devices that are no network devices.
    """
    memory, offered = end.memory, end.state.protocol_features_offered
    if memory.backend.program is not Implementation.DPDK or end.silent_ns < SETTLED_NS:
        return FINE
    old = offered is None or not offered.value & ProtocolFeature.STATUS
    if not old and memory.device in (None, "net"):
        return FINE
    rings = list(end.state.vrings.values())
    ready = [ring for ring in rings if running(ring)]
    missing = [ring for ring in rings if ring.call is not None and ring.call.by and ring.addresses is None]
    if not ready or not missing:
        return FINE
    listed = ", ".join(str(ring.index) for ring in missing[:8])
    which = f"{memory.backend}, older than 20.08 as it offers no STATUS," if old else str(memory.backend)
    return (
        Said(
            f"vring {listed} {'was' if len(missing) == 1 else 'were'} announced by SET_VRING_CALL and never set up; "
            f"{which} waits for all rings before it starts any",
            tuple(ring.call.by for ring in missing[:4] if ring.call),
            number=ready[0].life.by if ready[0].life else None,
        ),
    )


def no_fd_bit(step: Step) -> Sayings:
    """Bit 8 of SET_VRING_KICK, CALL and ERR is set if and only if no descriptor is attached"""
    no_fd, count = step.values["no_fd"], len(step.message.descriptors)
    name, index = step.message.name, step.values["index"]
    if no_fd and count:
        return (Said(f"{name} of vring {index} says there is no descriptor, and carries {count}"),)
    if not no_fd and not count:
        return (Said(f"{name} of vring {index} has no descriptor, and bit 8 does not say so"),)
    return FINE


def fd_word_reserved(step: Step) -> Sayings:
    """Bits 9 to 63 of the word in SET_VRING_KICK, CALL and ERR are 0"""
    extra = step.values["u64"] & RESERVED_WORD
    if not extra:
        return FINE
    return (Said(f"{step.message.name} of vring {step.values['index']} has unassigned bits {extra:#x}"),)


def kick_before_setup(step: Step) -> Sayings:
    """A ring has size, base and addresses before SET_VRING_KICK"""
    ring = vring(step.before, step.values["index"])
    there = {"SET_VRING_NUM": ring.num, "SET_VRING_BASE": ring.base, "SET_VRING_ADDR": ring.addresses}
    missing = [name for name, seen in there.items() if seen is None]
    if not missing:
        return FINE
    return (Said(f"{step.message.name} of vring {ring.index} was sent before {' and '.join(missing)}"),)


def get_base_num(step: Step) -> Sayings:
    """num is 0 in a GET_VRING_BASE request

    Demanded since 2023 (QEMU 8.2), and back-ends do not look at it. DPDK's virtio-user (seen: 22.11) sends what was
    in its memory: its fault, but one that breaks nothing, so it is a remark. QEMU 11.1.3 let it be 1 with
    GET_VRING_BASE_INFLIGHT, to leave requests in flight; since September 2026 there is GET_VRING_BASE_SKIP_DRAIN.
    """
    num = step.values["num"]
    if not num:
        return FINE
    words = f"{step.message.name} of vring {step.values['index']} has num {num} instead of 0"
    inflight = step.before.has(ProtocolFeature.GET_VRING_BASE_INFLIGHT)
    if num == 1 and inflight and step.message.request == FrontendRequest.GET_VRING_BASE:
        words += ", as QEMU 11.1.3 allowed to leave requests in flight; the newest edition has a request for it"
    return (Said(words),)


def get_base_index(step: Step) -> Sayings:
    """The reply to GET_VRING_BASE names the same ring"""
    request = step.request
    if request is None or not step.asked:
        return FINE
    asked, told = step.asked["index"], step.values["index"]
    if asked == told:
        return FINE
    return (Said(f"{request.name} asked for vring {asked}, the reply is for vring {told}", (request.number,)),)


def _stopped_for_sure(ring: Vring) -> bool:
    """Stopped, and the back-end knew: it has answered GET_VRING_BASE, or the ring was never started."""
    if ring.life is None or running(ring):
        return False
    return not ring.life.by or (ring.base is not None and ring.base.by > ring.life.by)


def stopped_silent(step: Step) -> Sayings:
    """A stopped ring causes no VRING_CALL or VRING_ERR"""
    ring = vring(step.before, step.values["index"])
    if not _stopped_for_sure(ring):
        return FINE
    by = ring.life.by if ring.life else 0
    how = f"was stopped by #{by}" if by else "was never started"
    return (Said(f"{step.message.name} of vring {ring.index}, which {how}", (by,) if by else ()),)


def _set_up_again(ring: Vring) -> bool:
    """Stopped once, and given its addresses again since."""
    if ring.life is None or running(ring) or not ring.life.by:
        return False
    return ring.addresses is not None and ring.addresses.by > ring.life.by


def used_without_kick(end: SessionEnd) -> Sayings:
    """A stopped ring is used again only after SET_VRING_KICK or VRING_KICK

    Seen only from what the front-end says: the ring was set up and enabled again, and the session went on without the
    message that starts it.
    """
    if end.silent_ns < SETTLED_NS:
        return FINE
    said = []
    for ring in end.state.vrings.values():
        if not _set_up_again(ring) or ring.addresses is None or ring.life is None:
            continue
        if ring.enabled is None or not ring.enabled.value or ring.enabled.by < ring.addresses.by:
            continue
        said.append(
            Said(
                f"vring {ring.index} was stopped (#{ring.life.by}), set up (#{ring.addresses.by}) and enabled "
                f"(#{ring.enabled.by}) again, and never kicked: it stays stopped",
                (ring.life.by, ring.addresses.by),
                number=ring.enabled.by,
            )
        )
    return tuple(said)


def not_restarted(end: SessionEnd) -> Sayings:
    """A ring that was stopped and enabled again is kicked again

    Not when all rings were stopped together: a reset enables them, and the driver that comes may never start them.
    """
    said = []
    if end.state.vrings.running is None:
        return FINE
    for ring in end.state.vrings.values():
        if running(ring) or ring.life is None or not ring.life.by or _set_up_again(ring):
            continue
        if ring.enabled is None or not ring.enabled.value or ring.enabled.by < ring.life.by:
            continue
        said.append(
            Said(
                f"vring {ring.index} was stopped by GET_VRING_BASE (#{ring.life.by}) and enabled again "
                f"(#{ring.enabled.by}), but never kicked: it stays stopped, whatever its enabled state",
                (ring.life.by,),
                severity=Severity.NOTE,
                number=ring.enabled.by,
            )
        )
    return tuple(said)


def _enable_severity(all_of_them: bool, device: str | None) -> Severity:
    if not all_of_them:
        return Severity.NOTE
    # The specification remembers that vhost-user-net once enabled the first queue pair by itself.
    return Severity.WARNING if device in (None, "net") else Severity.ERROR


def rings_enabled(end: SessionEnd) -> Sayings:
    """With feature bit 30 negotiated each used ring is enabled

    A kicked ring need not be used, so one that was never enabled among others that were is a note: DPDK's virtio-user
    kicks all rings and enables the first pair only. That no ring at all was ever enabled or disabled is a fault.
    """
    features = end.state.features
    if features is None or not features.value & F_PROTOCOL_FEATURES:
        return FINE
    rings = [ring for ring in end.state.vrings.values() if running(ring) and ring.life]
    forgotten = [ring for ring in rings if ring.enabled is None or (not ring.enabled.value and not ring.enabled.by)]
    if not forgotten or end.silent_ns < SETTLED_NS:
        return FINE
    all_of_them = len(forgotten) == len(rings)
    names = listed("vring", [ring.index for ring in forgotten[:8]])
    ring = forgotten[0]
    assert ring.life is not None
    return (
        Said(
            f"{names} {'is' if len(forgotten) == 1 else 'are'} kicked and SET_VRING_ENABLE never came"
            + (": nothing can flow" if all_of_them else ""),
            (features.by,),
            severity=_enable_severity(all_of_them, end.memory.device),
            number=ring.life.by,
        ),
    )


def base_repeated(step: Step) -> Sayings:
    """SET_VRING_BASE after a stop repeats the value of GET_VRING_BASE, unless the guest has reset the ring"""
    ring = vring(step.before, step.values["index"])
    if ring.life is None or ring.life.value is not RingState.STOPPED or not ring.life.by or ring.base is None:
        return FINE
    value = step.values["num"]
    if ring.base.by <= ring.life.by or value == ring.base.value or value in RESET_BASES:
        return FINE
    return (
        Said(
            f"vring {ring.index} stopped at base {ring.base.value:#x} (#{ring.base.by}) and is to go on at {value:#x}",
            (ring.base.by,),
        ),
    )


def split_base(step: Step) -> Sayings:
    """Bits 16 to 31 of a split ring's base are 0"""
    value = step.values["num"]
    if step.before.packed is not False or not value & SPLIT_RESERVED:
        return FINE
    kind = "reply to " if step.message.reply else ""
    return (Said(f"{kind}{step.message.name}: base {value:#x} of split vring {step.values['index']} is over 16 bits"),)


def enable_value(step: Step) -> Sayings:
    """num of SET_VRING_ENABLE is 0 or 1"""
    if step.values["num"] in (0, 1):
        return FINE
    return (
        Said(f"SET_VRING_ENABLE of vring {step.values['index']} has num {step.values['num']}; 0 and 1 are possible"),
    )


def endian(step: Step) -> Sayings:
    """num of SET_VRING_ENDIAN is 0 or 1, and it comes before the ring starts"""
    index, num = step.values["index"], step.values["num"]
    if num not in (0, 1):
        return (Said(f"SET_VRING_ENDIAN of vring {index} has num {num}; 0 is little, 1 is big"),)
    ring = vring(step.before, index)
    if not running(ring) or ring.life is None:
        return FINE
    return (Said(f"SET_VRING_ENDIAN of vring {index} was sent while it ran", (ring.life.by,)),)


def inband_num(step: Step) -> Sayings:
    """num is 0 in VRING_KICK, VRING_CALL and VRING_ERR"""
    if not step.values["num"]:
        return FINE
    return (Said(f"{step.message.name} of vring {step.values['index']} has num {step.values['num']} instead of 0"),)


def suspended_silent(step: Step) -> Sayings:
    """A suspended device sends no back-end requests"""
    if not suspended(step.before):
        return FINE
    return (Said(f"{step.message.name} was sent while all rings were stopped", (step.memory.last_stop,)),)
