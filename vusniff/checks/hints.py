"""What usually lies behind an ending that no finding explains, by the message it came after: words for the verdict."""

from __future__ import annotations

import signal

from vusniff.amounts import counted
from vusniff.channel import Sender
from vusniff.checks.limits import CONFIG_BYTES, QUEUE_SIZE, SLOTS, TABLE_REGIONS, VRINGS, Limit, Most
from vusniff.checks.peers import Implementation
from vusniff.checks.standing import MAPS, SOON_NS, Point, Standing
from vusniff.families.vhost_user.protocol import FrontendRequest, ProtocolFeature

F = FrontendRequest

LEFT_HINTS: dict[int, tuple[str, str]] = {
    F.GET_QUEUE_NUM: (
        "It probably wants more queues than the back-end has.",
        "ask for fewer queues (num-queues=, queues=), or give the back-end more",
    ),
    F.GET_FEATURES: (
        "It probably needs a feature that the back-end does not offer.",
        "compare the features that are offered with those the front-end wants; its log names what is missing",
    ),
    F.GET_PROTOCOL_FEATURES: (
        "It probably needs a protocol feature that the back-end does not offer.",
        "compare the protocol features that are offered with what the device needs (CONFIG, MQ, REPLY_ACK)",
    ),
    F.GET_CONFIG: (
        "It probably does not accept what the config space says.",
        "look at the config space that was answered: its size, the number of queues in it, the capacity",
    ),
    F.GET_MAX_MEM_SLOTS: (
        "It probably needs more memory slots than the back-end has.",
        "give the guest fewer memory slots, or use a back-end that takes more",
    ),
    F.GET_INFLIGHT_FD: (
        "It probably could not use the inflight area.",
        "check the front-end's log, and the size and the descriptor that were answered",
    ),
    F.GET_STATUS: (
        "It probably did not get the device status it expected.",
        "look at the bits of the status: FEATURES_OK missing means that the back-end does not take the features",
    ),
    F.SET_FEATURES: ("", "check the front-end's log: the features were taken, and it left"),
}
"""Request -> what a front-end probably misses that leaves after its reply, and what to try."""

MOST_QUEUES = 1024
"""No device of QEMU has more (QEMU 10.2, include/hw/virtio/virtio.h, VIRTIO_QUEUE_MAX)."""
FEATURES_OK, FAILED = 0x08, 0x80
"""Bits of the device status (virtio 1.2, 2.1)."""


def _missing(features: int) -> str:
    """Which of the features that many front-ends insist on are not offered, as a sentence."""
    if not features:
        return "None is offered."
    gone = [
        f"{name} (bit {bit})" for bit, name in ((30, "PROTOCOL_FEATURES"), (32, "VERSION_1")) if not features >> bit & 1
    ]
    return f"{' and '.join(gone)} {'are' if gone[1:] else 'is'} not offered." if gone else ""


def left_hint(one: Standing, reply: Point) -> tuple[str, str]:
    """What a front-end probably misses that leaves after this reply, and what to try; empty where nobody knows."""
    hint, advice = LEFT_HINTS.get(reply.request, ("", ""))
    value = reply.value
    if value is None:
        return hint, advice
    is_qemu = one.frontend.may_be(Implementation.QEMU)
    if reply.request == F.GET_FEATURES and (missing := _missing(value)):
        hint += f" {missing}"
    if reply.request == F.GET_PROTOCOL_FEATURES and not value & ProtocolFeature.CONFIG and is_qemu:
        hint += " CONFIG is not offered: QEMU's block devices do not start without it."
    if reply.request == F.GET_QUEUE_NUM and value >= MOST_QUEUES:
        return "", ""  # nobody wants more
    if reply.request == F.GET_STATUS and value & FAILED:
        return "", advice  # a finding of its own says that
    if reply.request == F.GET_STATUS and (one.status_written or 0) & ~value & FEATURES_OK:
        hint = "The back-end does not confirm FEATURES_OK, which was written before."
    return hint, advice


AFTER_QUEUES = frozenset({F.SET_OWNER, F.SET_VRING_CALL, F.SET_VRING_ERR})
"""What QEMU's network devices have sent when they compare the number of queues (QEMU 10.0, net/vhost-user.c,
vhost_user_start: "you are asking more queues than supported"; vhost_dev_init came before)."""


def closed_hint(one: Standing) -> tuple[str, str]:
    """What a side probably missed that closed before a ring was started and not right after a reply, and what to try;
    empty where nobody knows."""
    last, queues = one.last, one.queue_num
    if last is None or one.rings.began or one.closer is Sender.BACKEND:
        return "", ""
    if one.rings.addressed:
        return "SET_VRING_KICK, which starts a ring, had not come.", ""
    if one.quiet_ns > SOON_NS:
        return "", ""
    if one.closer is None and last is one.last_reply:
        hint, advice = left_hint(one, last)
        return (f"If the front-end closed it: {hint[0].lower()}{hint[1:]}", advice) if hint else ("", "")
    waits = one.features is None and last.request in AFTER_QUEUES and one.frontend.may_be(Implementation.QEMU)
    if waits and queues is not None and 0 < queues.value < MOST_QUEUES:
        words = f"GET_QUEUE_NUM said {queues.value}: QEMU's network devices leave here if they want more queues."
        return words, LEFT_HINTS[F.GET_QUEUE_NUM][1]
    return "", ""


LOOK = {
    Sender.FRONTEND: "check the front-end's log for the reason",
    Sender.BACKEND: "check the back-end's log for the reason",
    None: "check the logs of both sides for the reason",
}
"""What to try where only the side that closed is known."""

_CLOSED_ADVICE: dict[int, str] = {
    F.SET_FEATURES: "compare the features that were acknowledged with those offered; the back-end's log says which it "
    "does not take",
    F.SET_PROTOCOL_FEATURES: "compare the protocol features with those offered; the back-end's log says which "
    "it refuses",
    F.SET_MEM_TABLE: "check the back-end's log: it could not map the memory (huge pages, permissions, limits), or "
    "takes fewer regions",
    F.ADD_MEM_REG: "check the back-end's log: it could not map the memory (huge pages, permissions, limits), or "
    "takes fewer regions",
    F.SET_VRING_NUM: "use a smaller queue size, or raise the back-end's maximum",
    F.SET_VRING_ADDR: "check the back-end's log: it could not find the ring in the memory it was given",
    F.SET_VRING_BASE: "check the back-end's log: it did not take where the ring is to go on",
    F.SET_VRING_KICK: "check the back-end's log: it failed when the ring started",
    F.SET_VRING_CALL: "check the back-end's log; it may have fewer rings than the front-end sets up",
    F.SET_VRING_ENABLE: "check the back-end's log: it failed when the ring was enabled",
    F.SET_LOG_BASE: "check the back-end's log: it could not map the dirty log",
    F.SET_INFLIGHT_FD: "check the back-end's log: it could not use the inflight area",
    F.GET_CONFIG: "check the back-end's log: it may not serve a config space of this size",
}


def asked_for(one: Standing, at: Point) -> str:
    """What a request asked for that may be too much, with the limit that the back-end has told or that is known of its
    program; or empty."""
    value, ring = at.value, f"vring {at.vring}"
    if at.vring is not None and (most := VRINGS.told(one.backend)) is not None and at.vring >= most.number:
        return f"{at.name} is for {ring}{_takes(one, most, 'rings')}."
    if at.request == F.ADD_MEM_REG and one.regions is not None:
        told = _takes(one, SLOTS.told(one.backend))
        if one.slots is not None:
            enough = ", which is enough" if one.slots.value >= one.regions else ""
            told = f", and the back-end said that it has {counted(one.slots.value, 'slot')}{enough}"
        return f"It would have been region {one.regions}{told}."
    if at.request == F.SET_MEM_TABLE and value is not None and value > 1:
        return f"{at.name} has {counted(value, 'region')}{_takes(one, TABLE_REGIONS.told(one.backend))}."
    words = _ASKED.get(at.request)
    if words is None or value is None:
        return ""
    limit = _LIMITED.get(at.request)
    takes = _takes(one, limit.told(one.backend)) if limit is not None else ""
    return f"{at.name} {words.format(value=value, ring=ring)}{takes}."


def _takes(one: Standing, most: Most | None, what: str = "") -> str:
    """The limit of the back-end's program as the end of a sentence; empty where none is known."""
    if most is None:
        return ""
    return f"; {one.backend} takes up to {most.number}{' ' if what else ''}{what} ({most.source})"


_LIMITED: dict[int, Limit] = {F.SET_VRING_NUM: QUEUE_SIZE, F.GET_CONFIG: CONFIG_BYTES, F.SET_CONFIG: CONFIG_BYTES}
"""Request -> the limit of its one number."""
_ASKED: dict[int, str] = {
    F.SET_VRING_NUM: "gives {ring} the size {value}",
    F.SET_VRING_BASE: "gives {ring} the base {value:#x}",
    F.SET_FEATURES: "acknowledges {value:#x}",
    F.SET_PROTOCOL_FEATURES: "acknowledges {value:#x}",
    F.SET_STATUS: "writes {value:#x}",
    F.NET_SET_MTU: "sets an MTU of {value}",
    F.GET_CONFIG: "asks for {value} bytes",
    F.SET_CONFIG: "writes {value} bytes",
}
"""Request -> what its one number is."""


def closed_advice(one: Standing, at: Point) -> str:
    """What to try where a back-end closed after a request."""
    if one.unread:
        first = one.last_reply.number + 1 if one.last_reply is not None else 1
        return f"check the back-end's log for what it says of #{first} to #{at.number}"
    usual = f"check the {one.roles[1]}'s log for what it says of {at.name}"
    return _CLOSED_ADVICE.get(at.request, usual) if one.judged else usual


def after_request(one: Standing) -> str:
    """What is worth knowing of the request after which a back-end closed."""
    last = one.last_request
    if last is None or not one.judged:
        return ""
    if last.request in (F.SET_MEM_TABLE, F.ADD_MEM_REG, F.REM_MEM_REG) and one.rings.running:
        return "The memory was changed while rings ran."
    if one.unread:
        return "It closed with bytes unread: an earlier request may be the reason."
    unproved = one.waiting is None and one.last_reply is not None and one.last_reply.number < last.number - 1
    if unproved and one.gap_ns < one.quiet_ns and one.last_reply is not None:
        return f"It had answered nothing since #{one.last_reply.number}: an earlier request may be the reason."
    return ""


STALL_ADVICE: dict[str, str] = {
    "vring-not-served": "find out what the back-end is doing with this ring: whether the thread that serves it is "
    "alive (its log, gdb, top -H), and whether it watches the kick descriptor it was given last",
    "vring-used-while-disabled": "enable the ring: the front-end must send SET_VRING_ENABLE 1 for every ring that the "
    "guest uses; compare the queues of the guest with those enabled",
    "vring-without-buffers": "check the guest: its driver no longer gives the ring any buffers",
    "vring-used-ahead": "reset the device in the guest, and find out what else writes into the ring's memory",
    "vring-base-behind": "update the back-end: it must answer the base from the used index; requests would be done "
    "twice",
    "vring-index-jump": "reset the device in the guest; a back-end may refuse the ring (its log), or read from it what "
    "nobody wrote",
    "vring-base-ahead": "reset the device in the guest; the front-end must start a ring at the index that its memory "
    "says, and a ring that was reset at 0",
    "vring-inflight-left": "check whether the back-end takes up the requests of the in-flight buffer when it starts "
    "(its log); else reset the device in the guest",
    "vring-interrupts-masked": "check the guest: its driver has stopped in the middle of its work (soft lockups in "
    "dmesg, a vCPU that does not run)",
    "dirty-pages-not-set": "stop this migration: memory that the back-end writes would not reach the other host; "
    "update the back-end",
}
"""Slug of a rule about where rings stand -> what to try."""

_SIGNALS: dict[int, str] = {
    signal.SIGSYS: "its sandbox (seccomp) killed it for a system call that it does not allow: update it, or start it "
    "with the sandbox off to make sure (QEMU: -sandbox off; virtiofsd: --seccomp=none)",
    signal.SIGSEGV: "it crashed: look for a core (coredumpctl) and report it with this capture",
    signal.SIGBUS: "memory it had mapped was not there: huge pages that are used up, or a file that was cut short",
    signal.SIGABRT: "it ended itself by an assertion: its log says which",
    signal.SIGILL: "it ran an instruction that this processor does not have: compare how it was built",
    signal.SIGFPE: "it divided by zero: look for a size or count of 0 in what it was told, and report it",
    signal.SIGKILL: "somebody killed it, or the kernel did for lack of memory: check dmesg and the service manager",
    signal.SIGPIPE: "it wrote to a connection that was closed: find out who closed it first",
    signal.SIGXCPU: "it used up its limit of CPU time: check its limits (ulimit -t)",
}


def signal_advice(number: int) -> str:
    """What to try where a process was killed."""
    return _SIGNALS.get(number, "check its log and the journal: they may tell who sent the signal")


def before_waiting(one: Standing, waiting: Point) -> str:
    """That the request before one that waits may be what the back-end is at: it asked for no answer of its own."""
    before = one.before
    if before is None or waiting != one.last_request or before.request not in MAPS or before.need_reply:
        return ""
    if one.last_reply is not None and one.last_reply.number > before.number:
        return ""
    return f"{before} came before it and asks for no answer: the back-end may be at that."


def slow_advice(request: Point, before: Point | None = None) -> str:
    """What to try where an answer came late; ``before``: the request before it, where that may be why."""
    if request.request in (F.SET_MEM_TABLE, F.ADD_MEM_REG) or before is not None:
        return "the back-end maps and pins the memory meanwhile: larger huge pages shorten that, as does less memory"
    return "find out what the back-end is doing meanwhile: check its log and its stack"
