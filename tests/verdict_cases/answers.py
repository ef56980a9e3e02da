"""Sessions that turn on what was answered, or was not to be answered: queues, states, acknowledgements, kicks."""

from __future__ import annotations

from checks_cases.script import (
    MEMORY,
    PIPE,
    PROTOCOL,
    Again,
    Close,
    F,
    P,
    Say,
    Wait,
    acked,
    be,
    call,
    enable,
    fe,
    hello,
    kick,
    ring,
    set_up,
    stop,
    u32,
    u64,
    up,
)

from verdict_cases import Expected
from verdict_cases.ends import ASKED, BE, FE, MQ, TABLE_ASKS, loop, queues
from vusniff.checks.outcome import Outcome
from vusniff.families.vhost_user.device import Sure

NEVER = Outcome.NEVER_STARTED
STATUS = PROTOCOL | P.STATUS
STATE = PROTOCOL | P.DEVICE_STATE
SAVES = [
    *up(protocol=STATE),
    *stop(),
    fe(F.SET_DEVICE_STATE_FD, u32(0, 0), PIPE),
]

QUEUES = [
    Expected(
        "a network device leaves later than at the answer",
        loop([*ASKED, *queues(1), fe(F.SET_OWNER), call(0), call(1), Close(0)], 3),
        NEVER,
        "closed",
        ("three times in a row. GET_QUEUE_NUM said 1: QEMU's network devices leave here if they want more queues.",),
        None,
        step="setting up the rings",
        advice="fewer queues",
    ),
    Expected(
        "more queues than any device has",
        [*ASKED, *queues(1 << 40), Close(0)],
        NEVER,
        "left-after-reply",
        ("left 1.00 ms after GET_QUEUE_NUM said 1099511627776 (#7).",),
        None,
        7,
        "negotiation",
        "front-end's log",
    ),
    Expected(
        "another number of queues is another trouble",
        [*ASKED, *queues(2), Close(0), Wait(1), Again(), *ASKED, *queues(1), Close(0)],
        NEVER,
        "left-after-reply",
        ("left 1.00 ms after GET_QUEUE_NUM said 1 (#14). It probably",),
        None,
        14,
        "negotiation",
    ),
    Expected(
        "too few queues, and nobody says who closed",
        [*ASKED, *queues(1), Close(None)],
        NEVER,
        "closed",
        ("after GET_QUEUE_NUM said 1 (#7). If the front-end closed it: it probably wants more queues",),
        None,
        7,
        "negotiation",
        "fewer queues",
    ),
    Expected(
        "a ring that was not announced is refused",
        [*ASKED, *queues(1), *hello()[5:], *MEMORY, *ring(), *acked(fe(F.SET_VRING_NUM, u32(3, 256)), 1), Close(0)],
        Outcome.REFUSED,
        "vring-index",
        ("was refused with 0x1", "The probable cause: SET_VRING_NUM is for vring 3; GET_QUEUE_NUM told 1"),
        FE,
        advice="fewer queues",
    ),
    Expected(
        "CONFIG is missing of a back-end for another device",
        [*hello(protocol=MQ)[:4], Close(0)],
        NEVER,
        "left-after-reply",
        ("a protocol feature that the back-end does not offer. CONFIG is not offered: QEMU's block devices",),
        None,
        step="negotiation",
        device="net",
    ),
]

ACKNOWLEDGED = [
    Expected(
        f"need_reply is set where REPLY_ACK is not negotiated, {name}",
        [*hello(protocol=P.MQ, offer=offer), TABLE_ASKS, *end],
        outcome,
        "need-reply-not-negotiated",
        (says, "SET_MEM_TABLE has need_reply set, and REPLY_ACK is not negotiated"),
        FE,
        8,
        step,
        "REPLY_ACK",
        sure=Sure.PERHAPS,
    )
    for name, offer, end, outcome, step, says in (
        ("and it leaves", P.MQ, [Wait(3), Close(0)], NEVER, "memory", "A possible cause: "),
        ("and it waits", PROTOCOL, [Wait(8)], Outcome.IDLE, "", "But "),
    )
] + [
    Expected(
        "need_reply without REPLY_ACK does no harm where it goes on",
        [*hello(protocol=P.MQ), TABLE_ASKS, *ring(), Wait(3), Close(0)],
        Outcome.ENDED,
        "",
        ("Ended",),
    ),
]

ACKNOWLEDGED += [
    Expected(
        f"the reply flag on the very first message, {name}",
        [fe(F.GET_FEATURES, flags=5), *more],
        outcome,
        "header-reply-flag",
        (says, "the front-end sends GET_FEATURES with the reply flag, which only answers have."),
        FE,
        1,
        step,
        caveat="could not be read",
    )
    for name, more, outcome, step, says in (
        ("and the back-end closes", [Close(1)], NEVER, "connecting", "Never started: "),
        ("and nothing comes", [Wait(6)], NEVER, "connecting", "Never started: "),
        ("and it works", [*hello()[1:], *MEMORY, *ring(), Wait(2)], Outcome.RUNNING, "", "But "),
    )
] + [
    Expected(
        "who asks refuses nothing",
        [*(part._replace(flags=5) if isinstance(part, Say) and not part.end else part for part in hello()), Close(0)],
        NEVER,
        "header-reply-flag",
        ("the front-end sends GET_FEATURES with the reply flag",),
        FE,
        1,
        "negotiation",
        caveat="could not be read",
    ),
]

STATES = [
    Expected(
        "the device needs a reset",
        [*up(protocol=STATUS), fe(F.GET_STATUS), be(F.GET_STATUS, u64(0x4F)), Wait(5)],
        Outcome.RUNNING,
        "device-gave-up",
        ("But GET_STATUS said 0x4f, which has NEEDS_RESET",),
        BE,
        16,
        advice="log",
    ),
    Expected(
        "the driver gives up",
        [*hello(protocol=STATUS), fe(F.SET_STATUS, u64(0x83)), Wait(1), Close(0)],
        NEVER,
        "device-gave-up",
        ("The probable cause: SET_STATUS writes 0x83, which has FAILED: the driver has given the device up.",),
        FE,
        8,
        "negotiation",
        "dmesg",
    ),
    *(
        Expected(
            f"the state of the device is not {name}",
            [*SAVES, *answers, Wait(3), Close(0)],
            Outcome.STOPPED,
            "request-refused",
            (f"But {says} is refused by backend with",),
            BE,
        )
        for name, answers, says in (
            (
                "whole",
                [be(F.SET_DEVICE_STATE_FD, u64(0x100)), fe(F.CHECK_DEVICE_STATE), be(F.CHECK_DEVICE_STATE, u64(1))],
                "CHECK_DEVICE_STATE (#19)",
            ),
            ("given", [be(F.SET_DEVICE_STATE_FD, u64(0x101))], "SET_DEVICE_STATE_FD (#17)"),
        )
    ),
    Expected(
        "the state of the device is refused, and the front-end leaves",
        [*SAVES, be(F.SET_DEVICE_STATE_FD, u64(0x101)), Close(0)],
        Outcome.REFUSED,
        "request-refused",
        ("SET_DEVICE_STATE_FD (#17) was refused with 0x1 (#18)",),
        BE,
        18,
    ),
]

WRONG = [
    Expected(
        f"leaves right after a reply that is wrong: {name}",
        [*before, asks, reply, Close(0)],
        NEVER,
        cause,
        ("The probable cause: ",),
        BE,
        step=step,
        caveat=caveat,
        sure=Sure.LIKELY,
    )
    for name, before, asks, reply, cause, step, caveat in (
        (
            "too short",
            [],
            fe(F.GET_FEATURES),
            be(F.GET_FEATURES, bytes(4)),
            "payload-size",
            "the first question",
            "not be",
        ),
        (
            "an error",
            hello(protocol=MQ | P.CONFIG)[:6],
            fe(F.GET_CONFIG, u32(0, 8, 0) + bytes(8)),
            be(F.GET_CONFIG),
            "config-refused",
            "the config space",
            "",
        ),
        ("no queues", ASKED, queues(0)[0], queues(0)[1], "queue-num-zero", "negotiation", ""),
    )
]

KICKS = [
    Expected(
        "no kick comes",
        [*hello(), *MEMORY, *set_up(), call(), enable(), Wait(20)],
        Outcome.IDLE,
        "",
        ("no ring was started yet: SET_VRING_KICK, which starts one, has not come;",),
    ),
    Expected(
        "no kick came",
        [*hello(), *MEMORY, *set_up(), call(), enable(), Wait(20), Close(0)],
        NEVER,
        "closed",
        ("20.0 s after SET_VRING_ENABLE (#13). SET_VRING_KICK, which starts a ring, had not come.",),
        None,
        step="enabling the rings",
    ),
    Expected(
        "rings that are disabled do not run",
        [*up(), *ring(1), enable(0, 0), enable(1, 0), Close(0)],
        Outcome.ENDED,
        "",
        ("closed the connection while 2 rings were started, not enabled.",),
    ),
    Expected(
        "several rings are never enabled",
        [*hello(), *MEMORY, *(part for index in range(3) for part in (*set_up(index), kick(index))), Wait(9)],
        NEVER,
        "vring-never-enabled",
        ("vrings 0, 1 and 2 are kicked and SET_VRING_ENABLE never came",),
        FE,
        step="enabling the rings",
    ),
    Expected(
        "what was wrong with the last request may be why",
        [*hello(protocol=PROTOCOL | P.CONFIG), fe(F.GET_CONFIG, u32(0, 300, 0) + bytes(300)), Close(1)],
        NEVER,
        "config-size",
        ("did not answer it", "A possible cause: GET_CONFIG has 300 bytes"),
        FE,
        8,
        "the config space",
        sure=Sure.PERHAPS,
    ),
]

ANSWERS = [*QUEUES, *ACKNOWLEDGED, *STATES, *WRONG, *KICKS]
