"""Rules about the buffer in which a back-end notes what is in flight."""

from __future__ import annotations

from vusniff.checks.finding import FINE, Said, Sayings
from vusniff.checks.peers import Implementation
from vusniff.checks.step import Step


def inflight_queues(step: Step) -> Sayings:
    """An inflight buffer is for one queue or more"""
    values = step.values
    if values["num_queues"] and values["queue_size"]:
        return FINE
    name = "num_queues" if not values["num_queues"] else "queue_size"
    return (Said(f"{step.message.name} has {name} 0; rust-vmm refuses it"),)


def inflight_before_rings(step: Step) -> Sayings:
    """SET_INFLIGHT_FD comes after the first message about a ring

    DPDK makes a ring when a message names it, and before 22.03 gave the buffer only to the rings that were there.
    """
    backend = step.memory.backend
    if backend.program is not Implementation.DPDK or len(step.before.vrings):
        return FINE
    return (
        Said(
            f"SET_INFLIGHT_FD was sent before any ring message; {backend} before 22.03 gives the buffer to the "
            "rings that it knows, which are none"
        ),
    )


def inflight_geometry(step: Step) -> Sayings:
    """SET_INFLIGHT_FD has one descriptor and the geometry got before"""
    there = len(step.message.descriptors)
    if there != 1:
        return (Said(f"SET_INFLIGHT_FD has {there or 'no'} descriptors instead of one"),)
    got, values = step.before.inflight, step.values
    if got is None or not step.memory.complete:
        return FINE
    wrong = [
        f"{name} {values[name]} instead of {getattr(got.value, name)}"
        for name in ("mmap_size", "mmap_offset", "num_queues", "queue_size")
        if values[name] != getattr(got.value, name)
    ]
    if not wrong:
        return FINE
    return (Said(f"SET_INFLIGHT_FD has {', '.join(wrong)} (#{got.by})", (got.by,)),)


def inflight_reply(step: Step) -> Sayings:
    """The reply to GET_INFLIGHT_FD has a descriptor if and only if mmap_size is not 0"""
    size, there = step.values["mmap_size"], len(step.message.descriptors)
    if bool(size) == (there == 1) and there <= 1:
        return FINE
    return (Said(f"reply to GET_INFLIGHT_FD has mmap_size {size} and {there or 'no'} descriptors"),)
