"""Rules about the back-end channel: notifiers, shared objects, mappings into shared memory regions."""

from __future__ import annotations

from vusniff.amounts import size as size_words
from vusniff.checks.finding import FINE, Said, Sayings
from vusniff.checks.memory import span
from vusniff.checks.step import Step
from vusniff.families.vhost_user.protocol import Channels, ProtocolFeature

MAX_DESCRIPTORS = 8
SHMEM_READ_WRITE = 1
MAX_SHMEM = 256
NO_OBJECT = (bytes(16), b"\xff" * 16)
"""UUIDs that name nothing: the nil and the max UUID of RFC 9562."""
PAGE = 4096
"""The smallest page there is; arm64 hosts may have 16 or 64 KiB."""


def channel_open(step: Step) -> Sayings:
    """Back-end requests come only after SET_BACKEND_REQ_FD"""
    if step.before.backend_channel is not None:
        return FINE
    return (Said(f"{step.message.name} was sent before SET_BACKEND_REQ_FD"),)


def descriptors_negotiated(step: Step) -> Sayings:
    """Descriptors come on the back-end channel only with BACKEND_SEND_FD, and at most 8 with a message"""
    message, there = step.message, len(step.message.descriptors)
    if message.channel is not Channels.BACKEND or message.reply or not there:
        return FINE
    if there > MAX_DESCRIPTORS:
        return (Said(f"{message.name} carries {there} descriptors; 8 are the most"),)
    if not step.lacks(ProtocolFeature.BACKEND_SEND_FD):
        return FINE
    return (Said(f"{message.name} carries a descriptor, and BACKEND_SEND_FD is not negotiated"),)


def notifier(step: Step) -> Sayings:
    """A host notifier has the page size, and a descriptor if and only if bit 8 is clear"""
    values, there = step.values, len(step.message.descriptors)
    name = f"{step.message.name} of vring {values['index']}"
    if values["no_fd"] and there:
        return (Said(f"{name} says there is no descriptor, and carries {there}"),)
    if not values["no_fd"] and not there:
        return (Said(f"{name} has no descriptor, and bit 8 does not say so"),)
    size = values["size"]
    if there and (size < PAGE or size & size - 1):
        return (Said(f"{name} has size {size_words(size)}, which is not the size of a page"),)
    return FINE


def object_named(step: Step) -> Sayings:
    """A shared object has a UUID other than the nil and the max UUID"""
    uuid = step.values["uuid"]
    if bytes.fromhex(uuid.replace("-", "")) not in NO_OBJECT:
        return FINE
    return (Said(f"{step.message.name} names {uuid}, which is not a known object; rust-vmm refuses it"),)


def object_known(step: Step) -> Sayings:
    """SHARED_OBJECT_REMOVE names an object that this back-end has added"""
    uuid = step.values["uuid"]
    if uuid in step.memory.objects or (step.memory.previous and uuid in step.memory.previous.objects):
        return FINE
    return (Said(f"BACKEND_SHARED_OBJECT_REMOVE names {uuid}, which was not added"),)


def lookup_reply(step: Step) -> Sayings:
    """The answer to SHARED_OBJECT_LOOKUP has a descriptor if and only if its value is 0

    QEMU 10.2 writes the descriptor to the main connection instead.
    """
    value, there = step.values["u64"], len(step.message.descriptors)
    if (value == 0) == (there > 0):
        return FINE
    evidence = (step.request.number,) if step.request else ()
    return (Said(f"SHARED_OBJECT_LOOKUP was answered with {value:#x} and {there or 'no'} descriptors", evidence),)


def shmem_map(step: Step) -> Sayings:
    """SHMEM_MAP has one descriptor, a length and known flags, overlaps no mapping and stays in its region"""
    values, there = step.values, len(step.message.descriptors)
    shmid, start, length = values["shmid"], values["shm_offset"], values["len"]
    if there != 1:
        return (Said(f"SHMEM_MAP has {there or 'no'} descriptors instead of one"),)
    if not length:
        return (Said(f"SHMEM_MAP at {start:#x} of region {shmid} has length 0"),)
    if unknown := values["flags"] & ~SHMEM_READ_WRITE:
        return (Said(f"SHMEM_MAP has unassigned flags {unknown:#x}; 0 is read-only, 1 is read-write"),)
    if step.memory.complete:
        for (other_id, offset), size in step.before.shmem.items():
            if other_id == shmid and offset < start + length and start < offset + size:
                words = (
                    f"SHMEM_MAP of {span(start, length)} in region {shmid} overlaps the mapping {span(offset, size)}"
                )
                return (Said(words),)
    shmem = step.memory.shmem
    if shmem is None or shmid >= len(shmem.value) or start + length <= shmem.value[shmid]:
        return FINE
    size = shmem.value[shmid]
    words = f"SHMEM_MAP of {span(start, length)} is outside of region {shmid} with {size_words(size)}"
    return (Said(words, (shmem.by,)),)


def shmem_unmap(step: Step) -> Sayings:
    """SHMEM_UNMAP names exactly one mapping"""
    values = step.values
    place = (values["shmid"], values["shm_offset"])
    if step.before.shmem.get(place) == values["len"]:
        return FINE
    where = f"{span(values['shm_offset'], values['len'])} in region {values['shmid']}"
    words = f"SHMEM_UNMAP names {where}, which is not mapped"
    if place in step.before.shmem:
        words += f" in this size but in {size_words(step.before.shmem[place])}"
    return (Said(words),)


def shmem_config(step: Step) -> Sayings:
    """The shared memory regions are as many as told, multiples of a page, and the same for a whole connection"""
    sizes = tuple(step.values.get("mem_size") or ())
    told, there = step.values.get("num_regions", 0), sum(1 for size in sizes if size)
    if told > MAX_SHMEM:
        return (Said(f"GET_SHMEM_CONFIG was answered with {told} regions; {MAX_SHMEM} are the most"),)
    if sizes and told != there:
        return (Said(f"GET_SHMEM_CONFIG was answered with num_regions {told}, and {there} sizes are not 0"),)
    for shmid, size in enumerate(sizes):
        if size % PAGE:
            return (Said(f"shared memory region {shmid} has {size} bytes, which is not a multiple of the page size"),)
    before = step.memory.shmem
    if before is None or before.value == sizes:
        return FINE
    return (Said(f"GET_SHMEM_CONFIG was answered differently in #{before.by}", (before.by,)),)
