"""Rules about the vhost-user-gpu socket (QEMU's vhost-user-gpu document)."""

from __future__ import annotations

from vusniff.amounts import counted
from vusniff.checks.finding import FINE, Said, Sayings
from vusniff.checks.step import Step, decoded
from vusniff.families.vhost_user.protocol import GpuRequest
from vusniff.message import Message

EDID, DMABUF2 = 1 << 0, 1 << 1
NEEDS = {GpuRequest.GPU_GET_EDID: (EDID, "EDID"), GpuRequest.GPU_DMABUF_SCANOUT2: (DMABUF2, "DMABUF2")}


def requests(step: Step) -> Sayings:
    """GET_EDID needs EDID, DMABUF_SCANOUT2 needs DMABUF2, and DMABUF_UPDATE waits for its empty reply"""
    message = step.message
    if message.request in NEEDS:
        features = step.memory.gpu_features
        bit, name = NEEDS[GpuRequest(message.request)]
        if features is None and not step.memory.complete:
            return FINE
        if features is not None and features.value & bit:
            return FINE
        evidence = (features.by,) if features else ()
        return (Said(f"{message.name} needs the GPU protocol feature {name}, which is not negotiated", evidence),)
    if message.reply:
        if not message.size:
            return FINE
        return (Said(f"{message.name} was answered with {counted(message.size, 'byte')}; its reply is empty"),)
    # Its own entry is the last that waits.
    waiting = [entry.message for entry in step.link.waiting if entry.message.request == message.request]
    earlier = [
        other for other in waiting if other.number != message.number and _scanout(other) == step.values["scanout_id"]
    ]
    if not earlier:
        return FINE
    words = f"{message.name} of scanout {step.values['scanout_id']} was sent before #{earlier[0].number} was answered"
    return (Said(words, (earlier[0].number,)),)


def _scanout(message: Message) -> int | None:
    return (decoded(message) or {}).get("scanout_id")
