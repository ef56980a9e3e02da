"""Which findings can be why a device does not work, how likely against each other, and what to try then.

A table by the slugs of rules. What is not in it is a cause only where it is an error; and never, where it only says
how a session ended (`SYMPTOMS`).
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from typing import NamedTuple

from vusniff.checks.finding import Finding, Severity, Side
from vusniff.checks.hints import STALL_ADVICE


class Cause(NamedTuple):
    """What a finding means for the device."""

    rank: int
    """Lower is said first."""
    advice: str
    """What to try next."""
    step: str = ""
    """How far a session came that has it: no ring can work with it. Empty where some can."""
    noted: bool = False
    """It counts also where its finding is only a note."""
    side: Side | None = None
    """Whose fault it is, where not the finding's; `Side.EITHER` where that is not to be known."""
    ends: bool = False
    """It says where a session stopped, so it explains no end that has a reason of its own."""
    last: bool = False
    """It counts only where the front-end said nothing after it."""
    idle: bool = False
    """With it nothing flows; it is no reason to close the connection."""

    @property
    def stops(self) -> bool:
        """No ring can work with it."""
        return bool(self.step)


SHARE = (
    "share the guest's memory: share=on on its memory-backend (memory-backend-memfd or -file), and "
    "-machine memory-backend=... or -numa node,memdev=... to use it; cloud-hypervisor has --memory shared=on, "
    "DPDK's virtio-user shares hugepages"
)
LIMITS = "let the front-end ask for less, or use a back-end that takes more"
UPDATE = {
    Side.FRONTEND: "the front-end breaks the protocol here: update it, or report it with this capture",
    Side.BACKEND: "the back-end breaks the protocol here: update it, or report it with this capture",
    Side.EITHER: "report it with this capture",
}

CAUSES: dict[str, Cause] = {
    "other-protocol": Cause(
        0, "find out which program serves this path: it is the socket of another service", "connecting"
    ),
    "two-front-ends": Cause(
        1,
        "connect a back-end to this path: two front-ends (virtual machines, virtio-user) cannot serve each other",
        "connecting",
        side=Side.EITHER,
    ),
    "nothing-shared": Cause(10, SHARE, "memory"),
    "memory-never-came": Cause(11, SHARE, "memory", ends=True),
    "memory-not-shared": Cause(12, SHARE, "memory"),
    "memory-file-too-short": Cause(
        12,
        "make the file as long as the memory in it (size= of the memory-backend, space for huge pages), or correct the "
        "region's offset: who touches what lies beyond the end is killed by SIGBUS",
    ),
    "stream-lost": Cause(13, UPDATE[Side.EITHER]),
    "message-unfinished": Cause(14, "find out why that side ended, or what sits between the two and cuts messages"),
    "vring-never-enabled": Cause(
        15,
        "a front-end that acknowledges feature bit 30 must send SET_VRING_ENABLE: update it, or do not acknowledge the "
        "bit",
        "enabling the rings",
    ),
    "vring-address-outside-memory": Cause(16, "look at the memory table: the rings are not in what was shared"),
    "acknowledgement-not-counted": Cause(
        17,
        "let the front-end ask GET_PROTOCOL_FEATURES and acknowledge feature bit 30 before it wants acknowledgements; "
        "or update the back-end",
        noted=True,
        last=True,
    ),
    "need-reply-not-negotiated": Cause(
        17,
        "let the front-end acknowledge protocol feature REPLY_ACK (bit 3) before it asks for acknowledgements, or not "
        "wait for them",
        noted=True,
        last=True,
    ),
    "regions-more-than-peer": Cause(18, "give the guest fewer memory regions (DIMMs, NUMA nodes), or " + LIMITS),
    "descriptors-more-than-peer": Cause(18, "give the guest fewer memory regions (DIMMs, NUMA nodes), or " + LIMITS),
    "memory-slots-exceeded": Cause(18, "give the guest fewer memory slots, or " + LIMITS),
    "request-unknown": Cause(
        19,
        "find out which program connects to this path; if it is a front-end, update one of the two: the other does not "
        "know this request",
        last=True,
    ),
    "features-not-offered": Cause(
        20, "let the front-end acknowledge only what is offered: update it, or switch it off"
    ),
    "protocol-features-not-offered": Cause(20, "let the front-end acknowledge only what is offered: update it"),
    "vring-index": Cause(21, "ask for fewer queues (num-queues=, queues=), or give the back-end more"),
    "log-base-reply-empty": Cause(22, "update the front-end: it waits for a payload that this back-end does not send"),
    "memory-replaced-while-running": Cause(
        23,
        "update the back-end: it must take the rings' addresses anew after the memory table changed",
        side=Side.BACKEND,
    ),
    "packed-ring-first-base": Cause(24, "update the front-end, or switch packed rings off (packed=off)"),
    "pair-half-enabled": Cause(
        25, "update the front-end: it must set up both rings of a pair before it enables one", idle=True
    ),
    "inflight-before-rings": Cause(26, "update one of the two: this back-end wants a ring before SET_INFLIGHT_FD"),
    "iotlb-miss-unanswered": Cause(
        24,
        "check the front-end's log, as it could not translate the address: the guest's IOMMU does not map it "
        '("Fail to lookup the translated address"); or switch the device\'s iommu_platform off',
        idle=True,
    ),
    "rings-announced-not-set-up": Cause(27, "use as many queues as were announced, or update the back-end", idle=True),
    "request-while-waiting": Cause(28, UPDATE[Side.FRONTEND]),
    "vring-size": Cause(30, "use a queue size that is a power of two and at most 32768"),
    "vring-address-alignment": Cause(30, UPDATE[Side.FRONTEND]),
    "queue-size-more-than-peer": Cause(31, "use a smaller queue size (queue-size), or raise the back-end's maximum"),
    "vring-lost-after-reconnect": Cause(34, "reset the device in the guest, or update the front-end"),
    **{rule: Cause(33, advice) for rule, advice in STALL_ADVICE.items()},
    "features-shrink": Cause(35, "start the back-end with the features it had, or restart the VM"),
    "protocol-features-shrink": Cause(36, "start the back-end with the features it had", noted=True),
    "config-refused": Cause(45, "check the back-end's log: it does not serve the config space asked for"),
    "device-gave-up": Cause(
        44, "look for the reason in the log of the side that gave up: the guest's driver (dmesg), or the back-end"
    ),
    "request-refused": Cause(50, "check the back-end's log: it says why it refused"),
    **dict.fromkeys(
        (
            "memory-table-descriptors",
            "add-region-descriptor",
            "vring-no-fd-bit",
            "log-descriptor",
            "descriptor-missing",
        ),
        Cause(32, "look for a relay between the two that does not pass descriptors on, or update the front-end"),
    ),
    "queue-num-zero": Cause(29, "give the back-end a queue (num-queues=, queues=): it says that it has none"),
    "descriptor-of-two-rings": Cause(46, UPDATE[Side.FRONTEND]),
    "postcopy-with-memory-slots": Cause(
        55, "switch postcopy off, or update the front-end: newer editions forbid it with memory slots", noted=True
    ),
}
SYMPTOMS = frozenset(
    {
        "peer-never-spoke",
        "closed-before-first-answer",
        "closed-after-request",
        "left-after-reply",
        "refused-then-closed",
        "refused-by-closing",
        "pending-at-close",
        "request-never-answered",
        "request-waits",
        "need-reply-one-reply",
        "log-base-unanswered",
        "iotlb-unanswered",
        "protocol-features-before-features",
        "suspended-device-silent",
    }
)
"""Rules that say how a session ended, or what did not come: the verdict says that by itself."""
REFUSED = "request-refused"
"""The rule about what either side refuses."""
GUESSES = frozenset({"queue-size-more-than-peer", "memory-never-came"})
"""Rules that guess from how a session ended."""
OF_SIGNAL: dict[int, frozenset[str]] = {
    **dict.fromkeys((signal.SIGSYS, signal.SIGILL, signal.SIGPIPE, signal.SIGXCPU, signal.SIGXFSZ), frozenset()),
    signal.SIGBUS: frozenset({"memory-file-too-short", "memory-not-shared"}),
}
"""Signal -> the rules that may explain it, of signals that say themselves why they came; any may explain others."""
OTHERS = Cause(40, "")
"""An error of another rule."""


def cause_of(finding: Finding, ended_at: int = 0) -> Cause | None:
    """What a finding means for the device; None where it is no cause.

    ``ended_at``: number of the message at which the session came to its end. Whatever is wrong with that one can be
    why.
    """
    if finding.rule in SYMPTOMS:
        return None
    known = CAUSES.get(finding.rule)
    if known is None:
        wrong = finding.severity is Severity.ERROR or finding.number == ended_at
        return OTHERS._replace(advice=UPDATE[finding.side]) if wrong and finding.severity is not Severity.NOTE else None
    if finding.rule == REFUSED and finding.side is Side.FRONTEND:
        known = known._replace(advice="check the front-end's log: it says why it refused")
    if finding.rule in GUESSES and finding.sentence.endswith("?"):
        known = known._replace(rank=known.rank + OTHERS.rank)
    return known if known.noted or finding.severity is not Severity.NOTE else None


class Likely(NamedTuple):
    """A finding that can be a cause."""

    cause: Cause
    finding: Finding


def causes(findings: Iterable[Finding], ended_at: int = 0) -> list[Likely]:
    """The findings that can be causes, the likeliest first; ``ended_at`` as in `cause_of`."""
    found = [Likely(cause, finding) for finding in findings if (cause := cause_of(finding, ended_at)) is not None]
    return sorted(found, key=lambda one: (one.cause.rank, one.finding.number))
