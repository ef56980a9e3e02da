"""The same kinds with other ends: loops that go on, front-ends that are ended while they wait, both sides at fault."""

from __future__ import annotations

from checks_cases.script import (
    FEATURES,
    MEMORY,
    PROTOCOL,
    Again,
    B,
    Close,
    F,
    Gone,
    P,
    Part,
    Say,
    Wait,
    acked,
    back,
    be,
    call,
    channel,
    enable,
    fe,
    front,
    gpu,
    gpu_socket,
    hello,
    kick,
    memfd,
    region,
    ring,
    set_up,
    stop,
    table,
    u32,
    u64,
    up,
)

from verdict_cases import Expected
from verdict_cases.ends import BE, FE
from vusniff.checks.outcome import Outcome
from vusniff.families.vhost_user.device import Sure

QEMU = "qemu-system-x86"
REFUSED: list[Part] = [*hello(), *MEMORY, Gone(1, status=1), Close(1), Wait(2), Again()]
"""A back-end that ends at the memory table."""
UNCOUNTED: list[Part] = [*hello(accept=1 << 32), fe(F.SET_MEM_TABLE, table(region()), memfd(), flags=9), Wait(20)]
DIES: list[Part] = [*up(), Wait(2), Gone(1, signal=11), Close(1), Again()]
BOTH_WAIT: list[Part] = [
    *up(protocol=PROTOCOL | P.CONFIG),
    channel(),
    Wait(1),
    fe(F.GET_VRING_BASE, u32(0, 0)),
    back(B.BACKEND_CONFIG_CHANGE_MSG, flags=9),
]

LOOPS = [
    Expected(
        "a loop in which one more session has just begun",
        [*REFUSED * 3, *hello()[:4]],
        Outcome.NEVER_STARTED,
        "closed-after-request",
        (
            "after SET_MEM_TABLE (#8), which asks for no answer, three times in a row. It had answered nothing",
            "Session 4 has just begun: its last message is GET_PROTOCOL_FEATURES (#28).",
        ),
        BE,
        8,
        "memory",
    ),
    Expected(
        "a crash after which a session has just begun",
        [*DIES, *hello()],
        Outcome.DIED,
        "killed-by-signal",
        ("killed by SIGSEGV", "while 1 ring ran. Session 2 has just begun: its last message is SET_FEATURES (#21)."),
        BE,
        14,
    ),
    Expected(
        "a crash after which a session does not get further",
        [*DIES, *hello()[:6], Wait(10)],
        Outcome.IDLE,
        "",
        ("no ring was started yet", "Before it, session 1: peer died"),
    ),
]
WAITS = (
    [
        Expected(
            f"a front-end that waits for what does not come is ended by {name}",
            [*UNCOUNTED, Gone(0, signal=number), Close(0)],
            Outcome.WAITING,
            "acknowledgement-not-counted",
            ("SET_MEM_TABLE (#8) had no answer after 20.0 s", "SET_FEATURES left out bit 30", f"was ended by {name}."),
            FE,
            8,
            comms=(QEMU, "vhost-device-gp"),
        )
        for name, number in (("SIGTERM", 15), ("SIGINT", 2), ("SIGKILL", 9))
    ]
    + [
        Expected(
            f"each side waits for the other{name}",
            [*BOTH_WAIT, Wait(30), *end],
            Outcome.WAITING,
            "request-never-answered",
            ("GET_VRING_BASE (#16)", "BACKEND_CONFIG_CHANGE_MSG (#17) of the back-end has no answer either"),
            None,
            16,
            advice="the back-end at GET_VRING_BASE, the front-end at BACKEND_CONFIG_CHANGE_MSG",
        )
        for name, end in (("", []), (", and one leaves", [Close(0)]))
    ]
    + [
        Expected(
            "a question to QEMU's display has no answer",
            [*hello(), gpu_socket(), *MEMORY, *ring(), gpu(3), Wait(20)],
            Outcome.WAITING,
            "backend-request-waits",
            ("GPU_GET_DISPLAY_INFO (#16) of the back-end (vhost-user-gpu) has no answer after 20.0 s",),
            FE,
            16,
            comms=(QEMU, "vhost-user-gpu"),
        ),
        Expected(
            "nobody looks at the display",
            [*hello(), gpu_socket(), *MEMORY, *ring(), gpu(10, u32(0, 0, 0, 64, 64)), Wait(20)],
            Outcome.RUNNING,
            "",
            ("1 ring runs",),
            comms=(QEMU, "vhost-user-gpu"),
        ),
        Expected(
            "the request before the one that waits has to do with memory",
            [*hello(), *MEMORY, fe(F.GET_FEATURES), Wait(30)],
            Outcome.WAITING,
            "request-never-answered",
            ("GET_FEATURES (#9) has had no answer for 30.0 s. SET_MEM_TABLE (#8) came before it",),
            BE,
            9,
        ),
        Expected(
            "the request before the one that was slow has to do with memory",
            [*hello(), *MEMORY, fe(F.GET_FEATURES), Wait(9), be(F.GET_FEATURES, u64(FEATURES)), *ring()],
            Outcome.RUNNING,
            "slow-answer",
            ("to answer GET_FEATURES (#9), and may have been at SET_MEM_TABLE (#8), which asked for no answer",),
            BE,
            9,
            advice="huge pages",
        ),
        Expected(
            "nobody knows who ended it at the first question",
            [fe(F.GET_FEATURES), Close(None)],
            Outcome.WAITING,
            "request-never-answered",
            ("the connection ended while GET_FEATURES (#1) waited",),
            None,
            1,
            advice="logs of both sides",
        ),
        Expected(
            "memory is not missed by who waits for another answer",
            [*hello(protocol=PROTOCOL | P.STATUS), fe(F.SET_STATUS, u64(11), flags=9), Wait(3), Close(0)],
            Outcome.WAITING,
            "request-never-answered",
            ("SET_STATUS (#8) had no answer after 3.00 s",),
            BE,
            8,
            comms=(QEMU, "dpdk-testpmd"),
        ),
    ]
)
SIDES = [
    Expected(
        f"two front-ends meet, and {name}",
        [*said, *end],
        outcome,
        "two-front-ends",
        (words, "both sides ask as front-ends do", "no back-end is there to answer"),
        None,
        2,
        step,
        "connect a back-end",
        comms=(QEMU, "cloud-hyperviso"),
    )
    for name, said, end, outcome, step, words in (
        (
            "both wait",
            [fe(F.GET_FEATURES), be(F.GET_FEATURES, flags=1)],
            [Wait(20)],
            Outcome.NEVER_STARTED,
            "connecting",
            "the back-end (cloud-hyperviso) sent GET_FEATURES (#2), which is no answer: ",
        ),
        (
            "one leaves",
            [fe(F.SET_OWNER), be(F.SET_OWNER, flags=1), fe(F.GET_FEATURES)],
            [Close(0)],
            Outcome.WAITING,
            "",
            "",
        ),
    )
] + [
    Expected(
        f"what is missing of {value:#x}",
        [fe(F.GET_FEATURES), be(F.GET_FEATURES, u64(value)), Close(0)],
        Outcome.NEVER_STARTED,
        "left-after-reply",
        (f"GET_FEATURES said {value:#x} (#2). It probably needs a feature", f". {words}"),
        None,
        2,
        "the first question",
    )
    for value, words in (
        (0x104000000, "PROTOCOL_FEATURES (bit 30) is not offered."),
        (0x44000000, "VERSION_1 (bit 32) is not offered."),
        (0x4000000, "PROTOCOL_FEATURES (bit 30) and VERSION_1 (bit 32) are not offered."),
        (0, "None is offered."),
    )
]
RINGS = [
    Expected(
        "a ring is not enabled, as that is refused",
        [*hello(), *MEMORY, *set_up(), kick(), call(), *acked(enable(), 1), Wait(20)],
        Outcome.REFUSED,
        "request-refused",
        ("SET_VRING_ENABLE (#14) was refused with 0x1 (#15), and no ring is enabled.",),
        BE,
        15,
    ),
    Expected(
        "one of two rings is not enabled, as that is refused",
        [*hello(), *MEMORY, *ring(), *set_up(1), kick(1), *acked(enable(1), 1), Wait(20)],
        Outcome.RUNNING,
        "request-refused",
        ("1 ring runs, and 1 more set up and disabled. But SET_VRING_ENABLE (#19) is refused",),
        BE,
    ),
    Expected(
        "it ended before a ring was enabled, and nobody says who closed",
        [*hello(), *MEMORY, *set_up(), kick(), Close(None)],
        Outcome.NEVER_STARTED,
        "closed",
        ("the connection was closed 1.00 ms after SET_VRING_KICK (#12)",),
        None,
        12,
        "enabling the rings",
    ),
    Expected(
        "half a pair was enabled, and it was used all the same",
        [
            *hello(),
            fe(F.GET_QUEUE_NUM),
            be(F.GET_QUEUE_NUM, u64(1)),
            *MEMORY,
            *ring(),
            *ring(1),
            Wait(9),
            *stop(),
            *stop(1),
            Close(0),
        ],
        Outcome.STOPPED,
        "",
        ("Stopped cleanly",),
        comms=("cloud-hyperviso", "dpdk-testpmd"),
    ),
    Expected(
        "the notifier of a ring is not taken by QEMU, which does no harm",
        [
            *up(protocol=PROTOCOL | P.HOST_NOTIFIER),
            channel(),
            back(3, u64(0x100, 0, 0), flags=9),
            front(3, u64(1)),
            Wait(3),
        ],
        Outcome.RUNNING,
        "",
        ("Running: 1 ring runs.",),
        comms=(QEMU, "dpdk-vdpa"),
    ),
    Expected(
        "what the front-end refuses is told by its log",
        [
            *up(protocol=PROTOCOL | P.CONFIG),
            channel(),
            back(B.BACKEND_CONFIG_CHANGE_MSG, flags=9),
            front(B.BACKEND_CONFIG_CHANGE_MSG, u64(1)),
            Wait(3),
        ],
        Outcome.RUNNING,
        "request-refused",
        ("BACKEND_CONFIG_CHANGE_MSG (#16) is refused by qemu-system-x86",),
        FE,
        advice="the front-end's log",
        sure=Sure.PERHAPS,
        comms=(QEMU, "backend"),
    ),
]
RINGS += [
    Expected(
        f"nothing of the back-end was seen, {name}",
        [*(part for part in up() if isinstance(part, Say) and not part.end), Wait(9), *end],
        Outcome.UNKNOWN,
        "",
        ("the front-end went on after GET_FEATURES (#1) as if it had been answered",),
        number=1,
        advice="capture what the back-end sends too",
        caveat="joined late" if late else "",
        comms=(QEMU, "dpdk-testpmd"),
        late=late,
    )
    for name, end, late in (("and it is open", [], False), ("and it ends", [Close(0)], False), ("late", [], True))
]
VARIANTS = [*LOOPS, *WAITS, *SIDES, *RINGS]
