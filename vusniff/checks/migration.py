"""Rules about the dirty log, postcopy, and the transfer of the back-end's state."""

from __future__ import annotations

from typing import Any

from vusniff.amounts import counted
from vusniff.amounts import size as size_words
from vusniff.checks.finding import FINE, Said, Sayings
from vusniff.checks.recall import VRING_F_LOG, listening, logged_end
from vusniff.checks.step import Step
from vusniff.families.vhost_user.protocol import F_LOG_ALL, FLAG_NEED_REPLY, Channels, FrontendRequest, ProtocolFeature
from vusniff.families.vhost_user.state import DeviceState, Postcopy, running, vring

F = FrontendRequest

LOG_PAGE = 4096
NO_FD = 0x100


def log_descriptor(step: Step) -> Sayings:
    """With LOG_SHMFD SET_LOG_BASE has one descriptor"""
    if not step.before.has(ProtocolFeature.LOG_SHMFD):
        return FINE
    there = len(step.message.descriptors)
    if there == 1:
        return FINE
    return (Said(f"SET_LOG_BASE has {there or 'no'} descriptors instead of one, and LOG_SHMFD is negotiated"),)


def _covered(state: DeviceState) -> int | None:
    """The first guest address that the log has no bit for."""
    if state.log is None or state.log.value.size is None:
        return None
    return state.log.value.size * 8 * LOG_PAGE


def log_covers(step: Step) -> Sayings:
    """The log covers the highest guest address and the logged end of each used ring"""
    state = step.after
    covered = _covered(state)
    logging = step.message.request == F.SET_LOG_BASE or (
        state.features is not None and bool(state.features.value & F_LOG_ALL)
    )
    if covered is None or not logging or state.log is None:
        return FINE
    size = size_words(state.log.value.size or 0)
    highest = max((region.guest_address + region.size for region in state.regions or ()), default=0)
    if highest > covered:
        words = f"the log of {size} ends at guest address {covered:#x}, and memory at {highest:#x}"
        return (Said(words, tuple({state.log.by, state.regions_by} - {0})),)
    own = step.values["index"] if step.message.request == F.SET_VRING_ADDR else None
    rings = [index for _, index in step.memory.logged[-2:] if index != own]
    for index in [*rings[-1:], *([] if own is None else [own])]:
        ring = state.vrings.get(index)
        end = logged_end(ring)
        if end is not None and end > covered:
            used = f"the used ring of vring {index} at {end:#x}"
            words = f"the log of {size} ends at guest address {covered:#x}, and {used}"
            return (Said(words, (state.log.by, ring.addresses.by)),)
    return FINE


def log_before_features(step: Step) -> Sayings:
    """While rings run VHOST_F_LOG_ALL and a ring's log flag are set only after SET_LOG_BASE

    A front-end that starts rings during a migration sends the features first and the log last, before the guest runs:
    QEMU does so, so only running rings count.
    """
    if step.before.log is not None:
        return FINE
    values = step.values
    if step.message.request == F.SET_FEATURES:
        ring = step.before.vrings.running
        if not values["u64"] & F_LOG_ALL or ring is None:
            return FINE
        return (Said(f"SET_FEATURES starts logging while vring {ring.index} runs, and SET_LOG_BASE had not come"),)
    if not values["flags"] & VRING_F_LOG or not running(vring(step.before, values["index"])):
        return FINE
    return (Said(f"SET_VRING_ADDR has vring {values['index']} logged, and SET_LOG_BASE had not come"),)


def postcopy_order(step: Step) -> Sayings:
    """POSTCOPY_ADVISE, POSTCOPY_LISTEN and POSTCOPY_END come in this order"""
    stage = step.before.postcopy.value if step.before.postcopy else None
    if step.message.request == F.POSTCOPY_LISTEN:
        if stage is not Postcopy.ADVISED:
            return (Said(f"POSTCOPY_LISTEN was sent {_after(step.before)}, not after POSTCOPY_ADVISE"),)
    elif step.message.request == F.POSTCOPY_END:
        # A migration that fails after ADVISE ends without LISTEN.
        if stage not in (Postcopy.ADVISED, Postcopy.LISTENING):
            return (Said(f"POSTCOPY_END was sent {_after(step.before)}, not after POSTCOPY_LISTEN"),)
    elif stage is Postcopy.LISTENING:
        return (Said(f"POSTCOPY_ADVISE was sent {_after(step.before)}"),)
    return FINE


def postcopy_with_slots(step: Step) -> Sayings:
    """POSTCOPY_ADVISE, POSTCOPY_LISTEN and POSTCOPY_END are not sent once CONFIGURE_MEM_SLOTS is negotiated

    Demanded since September 2026; QEMU up to 11.1 sends them, and back-ends answer.
    """
    if not step.before.has(ProtocolFeature.CONFIGURE_MEM_SLOTS):
        return FINE
    by = step.before.protocol_features
    return (Said(f"{step.message.name} is sent with CONFIGURE_MEM_SLOTS negotiated", (by.by,) if by else ()),)


def _after(state: DeviceState) -> str:
    if state.postcopy is None:
        return "first"
    names = {Postcopy.ADVISED: "POSTCOPY_ADVISE", Postcopy.LISTENING: "POSTCOPY_LISTEN", Postcopy.ENDED: "POSTCOPY_END"}
    return f"after {names[state.postcopy.value]} (#{state.postcopy.by})"


def advise_reply(step: Step) -> Sayings:
    """The reply to POSTCOPY_ADVISE has one descriptor and no payload"""
    there, size = len(step.message.descriptors), step.message.size
    if there == 1 and not size:
        return FINE
    return (
        Said(f"reply to POSTCOPY_ADVISE has {there or 'no'} descriptors and {size} bytes; one and none belong there"),
    )


def _regions(values: dict[str, Any]) -> list[tuple[int, int]]:
    table = values.get("regions", [values] if "guest_address" in values else [])
    return [(region["guest_address"], region["size"]) for region in table]


def bases_reply(step: Step) -> Sayings:
    """After POSTCOPY_LISTEN memory messages are answered by the same regions with the back-end's addresses"""
    request, asked = step.request, step.asked
    if request is None or not listening(step.before) or not asked or not request.descriptors:
        return FINE
    if step.message.size != request.size:
        sent, came = counted(request.size, "byte"), counted(step.message.size, "byte")
        words = f"{request.name} (#{request.number}) of {sent} was answered with {came}"
        return (Said(words, (request.number,)),)
    if _regions(step.values) != _regions(asked):
        return (Said(f"{request.name} (#{request.number}) was answered with other regions", (request.number,)),)
    return FINE


def bases_acknowledged(step: Step) -> Sayings:
    """After POSTCOPY_LISTEN memory messages have need_reply clear, and the front-end acknowledges the addresses"""
    message, memory = step.message, step.memory
    if message.channel is not Channels.MAIN or message.reply:
        return FINE
    if message.request in (F.SET_MEM_TABLE, F.ADD_MEM_REG):
        if listening(step.before) and message.flags & FLAG_NEED_REPLY:
            return (Said(f"{message.name} has need_reply set between POSTCOPY_LISTEN and POSTCOPY_END"),)
        return FINE
    if not memory.table_reply:
        return FINE
    return (
        Said(
            f"{message.name} was sent, and the addresses in #{memory.table_reply} were not acknowledged by "
            "SET_MEM_TABLE",
            (memory.table_reply,),
        ),
    )


def listen_without_regions(step: Step) -> Sayings:
    """POSTCOPY_LISTEN comes while no regions are set"""
    regions = step.before.regions
    if not regions:
        return FINE
    return (
        Said(
            f"POSTCOPY_LISTEN was sent while {len(regions)} region{'s were' if len(regions) > 1 else ' was'} set; "
            "libvhost-user and DPDK refuse it",
            (step.before.regions_by,),
        ),
    )


def device_state_stopped(step: Step) -> Sayings:
    """SET_DEVICE_STATE_FD comes with one descriptor, while all rings are stopped"""
    there = len(step.message.descriptors)
    if there != 1:
        return (Said(f"SET_DEVICE_STATE_FD has {there or 'no'} descriptors instead of one"),)
    if not step.memory.complete:
        return FINE
    ring = step.before.vrings.running
    if ring is None or ring.life is None:
        return FINE
    return (Said(f"SET_DEVICE_STATE_FD was sent while vring {ring.index} ran", (ring.life.by,)),)


def device_state_values(step: Step) -> Sayings:
    """The direction of a state transfer is 0 or 1 and its phase is 0"""
    direction, phase = step.values["transfer_direction"], step.values["migration_phase"]
    if direction in (0, 1) and phase == 0:
        return FINE
    return (Said(f"SET_DEVICE_STATE_FD has direction {direction} and phase {phase}; 0 or 1, and 0 are possible"),)


def device_state_reply(step: Step) -> Sayings:
    """The reply to SET_DEVICE_STATE_FD has an error or a descriptor, and bit 8 agrees"""
    value, there = step.values["u64"], len(step.message.descriptors)
    error, no_fd = value & 0xFF, bool(value & NO_FD)
    if error and there:
        return (Said(f"reply to SET_DEVICE_STATE_FD has error {error} and a descriptor"),)
    if no_fd == (there == 0):
        return FINE
    says = "no descriptor" if no_fd else "a descriptor"
    return (Said(f"reply to SET_DEVICE_STATE_FD ({value:#x}) says {says}, and {there or 'none'} came"),)


def check_after_set(step: Step) -> Sayings:
    """CHECK_DEVICE_STATE follows a SET_DEVICE_STATE_FD"""
    if step.memory.device_state:
        return FINE
    return (Said("CHECK_DEVICE_STATE was sent, and no SET_DEVICE_STATE_FD before it"),)
