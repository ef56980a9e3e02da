"""Rules about calls to vhost in the kernel: what the kernel refused and why, as far as what was seen tells.

A call that means what a request of vhost-user means is also asked the rules of that request that hold for both
(`APPLIES`). Source of the reasons: drivers/vhost/vhost.c, net.c and vsock.c of Linux 6.18.
"""

from __future__ import annotations

import errno

from vusniff.checks import memory, negotiation, vrings
from vusniff.checks.finding import FINE, Said, Sayings, Side
from vusniff.checks.step import Step, decoded
from vusniff.families.vhost_kernel.advance import ring_of
from vusniff.families.vhost_kernel.protocol import KERNEL_NAME, Ioctl
from vusniff.families.vhost_kernel.state import KernelState
from vusniff.families.vhost_user.state import RingState, translate
from vusniff.message import Message

APPLIES = frozenset(
    {
        vrings.addresses_in_memory,
        vrings.addresses_aligned,
        vrings.queue_size,
        vrings.address_flags,
        memory.guest_overlap,
        memory.user_overlap,
        memory.region_sane,
        negotiation.features_subset,
    }
)
"""Rules of vhost-user's requests that hold for the calls, too."""
MAX_REGIONS = 64
"""max_mem_regions of the module vhost, unless it was loaded with another."""
HARMLESS = frozenset({errno.EAGAIN, errno.EINTR})
I = Ioctl  # noqa: E741


def failed(step: Step) -> Sayings:
    """A call to the kernel succeeds"""
    message = step.message
    error = message.more.get("error", 0)
    if not message.failed or error in HARMLESS or not isinstance(step.before, KernelState):
        return FINE
    name = errno.errorcode.get(error, str(error))
    why, side, evidence = _reason(message, step.before, error)
    return (Said(f"{_full(message)} failed: {name}{', ' if why else ''}{why}", evidence, side),)


def _full(message: Message) -> str:
    return message.name if message.name.startswith("VDUSE_") else f"VHOST_{message.name}"


def _reason(message: Message, before: KernelState, error: int) -> tuple[str, Side | None, tuple[int, ...]]:
    """Why the kernel refused a call, whose fault that is, and the messages that prove it."""
    payload, request = decoded(message) or {}, message.request
    if request == I.SET_MEM_TABLE and error == errno.E2BIG:
        count = payload.get("num_regions")
        return f"{count} regions, max_mem_regions is {MAX_REGIONS} unless vhost was loaded with another", None, ()
    if error == errno.EPERM:
        return _not_owner(message, before)
    if error == errno.EBUSY:
        return _busy(message, before)
    if request == I.NET_SET_BACKEND and error == errno.EFAULT:
        return _not_set_up(message, before)
    if request == I.SET_VRING_NUM and error == errno.EINVAL:
        return f"size {payload.get('num')} is not a power of two, or more than 32768", None, ()
    if request == I.SET_FEATURES and error in (errno.EOPNOTSUPP, errno.EINVAL) and before.features_offered is not None:
        extra = payload.get("u64", 0) & ~before.features_offered.value
        if extra:
            return f"bits {extra:#x} were not offered", None, (before.features_offered.by,)
    if request == I.VSOCK_SET_GUEST_CID and error == errno.EADDRINUSE:
        return f"another guest has CID {payload.get('u64')}", None, ()
    return "", Side.EITHER, ()


def _not_owner(message: Message, before: KernelState) -> tuple[str, Side | None, tuple[int, ...]]:
    owner = before.owners.get(message.more.get("fd", 0))
    if owner is None or not owner.value:
        evidence = (owner.by,) if owner is not None else ()
        return f"SET_OWNER was not done on descriptor {message.more.get('fd')}", None, evidence
    return "the process that calls is not the owner, which SET_OWNER made another one", None, (owner.by,)


def _busy(message: Message, before: KernelState) -> tuple[str, Side | None, tuple[int, ...]]:
    if message.request == I.SET_OWNER:
        owner = before.owners.get(message.more.get("fd", 0))
        return "the device has an owner already", None, (owner.by,) if owner is not None else ()
    index = (decoded(message) or {}).get("index")
    if index is None:
        return "", Side.EITHER, ()
    ring = before.vrings.get(ring_of(before, message, index))
    if ring is not None and ring.life is not None and ring.life.value is RingState.STARTED:
        return f"vring {index} runs", None, (ring.life.by,)
    return "", Side.EITHER, ()


def _not_set_up(message: Message, before: KernelState) -> tuple[str, Side | None, tuple[int, ...]]:
    """What a ring lacks that is bound to its tap (vhost_vq_access_ok)."""
    index = (decoded(message) or {}).get("index", 0)
    ring = before.vrings.get(ring_of(before, message, index))
    if ring is None or ring.num is None or ring.addresses is None:
        lacks = [name for name in ("num", "addresses") if ring is None or getattr(ring, name) is None]
        words = " and ".join({"num": "SET_VRING_NUM", "addresses": "SET_VRING_ADDR"}[name] for name in lacks)
        return f"vring {index} is not set up: {words} was not seen", None, ()
    if before.regions == ():
        failed_table = [one.by for one in before.refused if one.name == "SET_MEM_TABLE"]
        return f"vring {index} has addresses and there is no memory table", None, (ring.addresses.by, *failed_table)
    if before.regions and translate(before, ring.addresses.value.descriptor) is None:
        return f"the addresses of vring {index} are outside the memory table", None, (ring.addresses.by,)
    return f"the kernel cannot read vring {index}", Side.EITHER, (ring.addresses.by,)


def backend_before_ring(step: Step) -> Sayings:
    """A ring is bound to its tap only when it is set up"""
    message, before = step.message, step.before
    if message.request != I.NET_SET_BACKEND or message.failed or step.values.get("fd", -1) < 0:
        return FINE
    if message.channel.family != KERNEL_NAME or not isinstance(before, KernelState):
        return FINE
    index = step.values["index"]
    ring = before.vrings.get(ring_of(before, message, index))
    if ring is not None and ring.kick is not None and ring.kick.value is None:
        return (Said(f"vring {index} is bound without a kick descriptor: nothing tells the kernel of buffers"),)
    return FINE
