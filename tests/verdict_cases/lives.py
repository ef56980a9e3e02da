"""Sessions that live, wait, or lived with a fault; and several on one path."""

from __future__ import annotations

from checks_cases.script import (
    FEATURES,
    MEMORY,
    PROTOCOL,
    USER,
    Again,
    B,
    Close,
    F,
    Gap,
    Gone,
    P,
    Wait,
    back,
    be,
    call,
    channel,
    enable,
    fe,
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
from verdict_cases.ends import ASKED, BE, FE, TABLE_ASKS, queues
from vusniff.checks.outcome import Outcome

NO_MEMORY = hello(protocol=PROTOCOL | P.CONFIGURE_MEM_SLOTS)
PACKED = 1 << 34
MORE = fe(F.SET_MEM_TABLE, table(region(), region(1 << 32, user=USER + (1 << 40))), memfd(), memfd(52), flags=9)

FINE = [
    Expected("runs", [*up(), *ring(1)], Outcome.RUNNING, "", ("Running: 2 rings run.",)),
    Expected("stops", [*up(), *stop(), Close(0)], Outcome.STOPPED, "", ("Stopped cleanly: the front-end",)),
    Expected("not yet", [*hello(), *MEMORY], Outcome.IDLE, "", ("Idle: no ring was started yet", "SET_MEM_TABLE (#8)")),
    Expected(
        "the next begins without an end of the one before",
        [*up(), Wait(3), Again(), *up()],
        Outcome.RUNNING,
        "",
        ("1 ring runs.", "The end of session 1 was not seen; session 2 begins on the same path."),
    ),
    Expected("not now", [*up(), *stop()], Outcome.IDLE, "", ("Idle: every ring is stopped",)),
    Expected(
        "joined late",
        [fe(F.SET_VRING_CALL, u64(0x100))],
        Outcome.UNKNOWN,
        "",
        ("Unknown",),
        late=True,
        caveat="joined late",
    ),
    Expected(
        "joined late, runs", ring(), Outcome.RUNNING, "", ("Running: 1 ring runs",), late=True, caveat="joined late"
    ),
    Expected("lossy", [*up(), Gap(), *stop(), Close(0)], Outcome.STOPPED, "", ("Stopped",), caveat="what follows #14"),
    Expected(
        "the back-end is replaced",
        [*up(), Wait(5), Close(1), Again(), *up(), *stop(), Close(0)],
        Outcome.STOPPED,
        "",
        ("Stopped cleanly: the front-end (qemu-system-x86) closed the connection.",),
    ),
    Expected(
        "the back-end ends a stopped device",
        [*up(), *stop(), Close(1)],
        Outcome.STOPPED,
        "",
        ("Stopped cleanly: the back-end",),
    ),
    Expected("nobody says who closed", [*up(), *stop(), Close(None)], Outcome.STOPPED, "", ("Stopped cleanly.",)),
]

MEMORY_FAULTS = [
    Expected(
        f"no memory, closed at the addresses of ring {index}",
        [*NO_MEMORY, *set_up(index, 64), Close(1)],
        Outcome.NEVER_STARTED,
        "nothing-shared",
        (
            f"after SET_VRING_ADDR (#{10})",
            f"The probable cause: vring {index} gets addresses and no memory region was sent",
        ),
        FE,
        10,
        "memory",
        "share=on",
    )
    for index in (0, 1, 6)
] + [
    Expected(
        "no memory, and nothing moves",
        [*NO_MEMORY, *ring(), Wait(30)],
        Outcome.NEVER_STARTED,
        "nothing-shared",
        ("Never started: vring 0 gets addresses and no memory region was sent",),
        FE,
        10,
        "memory",
        "share=on",
    ),
    Expected(
        "no memory, and QEMU leaves",
        [*hello(), call(), call(1), Wait(2), Close(0)],
        Outcome.NEVER_STARTED,
        "memory-never-came",
        ("Never started", "no memory"),
        FE,
        step="memory",
        advice="share=on",
    ),
]

WAITING = [
    Expected(
        f"{name} waits",
        [*hello(protocol=PROTOCOL | P.CONFIG), *before, asks, Wait(seconds), *after],
        Outcome.WAITING,
        "request-never-answered",
        (f"Waiting for an answer: {name} (#{number})", words),
        BE,
        number,
        advice="stack",
    )
    for name, before, asks, seconds, after, number, words in (
        ("GET_VRING_BASE", [*MEMORY, *ring()], fe(F.GET_VRING_BASE, u32(0, 0)), 7, [], 15, "no answer for 7.00 s"),
        (
            "SET_MEM_TABLE",
            [],
            TABLE_ASKS,
            9,
            [Close(0)],
            8,
            "had no answer after 9.00 s, when the front-end",
        ),
        ("GET_CONFIG", [], fe(F.GET_CONFIG, u32(0, 8, 0) + bytes(8)), 2, [Close(0)], 8, "when the front-end"),
    )
] + [
    Expected(
        "acknowledgements without bit 30",
        [*hello(accept=1 << 32), TABLE_ASKS, Wait(7), Close(0)],
        Outcome.WAITING,
        "acknowledgement-not-counted",
        ("SET_MEM_TABLE (#8) had no answer after 7.00 s", "bit 30"),
        FE,
        comms=("qemu-system-x86", "vhost-device-rp"),
    ),
    Expected(
        "protocol features that were never asked for",
        [*hello()[:2], *hello()[4:], TABLE_ASKS, Wait(7), Close(0)],
        Outcome.WAITING,
        "acknowledgement-not-counted",
        ("SET_MEM_TABLE (#6) had no answer", "GET_PROTOCOL_FEATURES was never asked"),
        FE,
        comms=("cloud-hyperviso", "virtiofsd"),
    ),
    Expected(
        "the front-end does not answer",
        [
            *up(protocol=PROTOCOL | P.CONFIG),
            channel(),
            back(B.BACKEND_CONFIG_CHANGE_MSG, flags=9),
            Wait(8),
            enable(0, 1),
        ],
        Outcome.WAITING,
        "backend-request-waits",
        ("BACKEND_CONFIG_CHANGE_MSG (#16) of the back-end",),
        FE,
        16,
    ),
]

LATER = [
    Expected(
        "never enabled",
        [*hello(protocol=PROTOCOL), *MEMORY, *set_up(), kick(), call(), Wait(2), Close(0)],
        Outcome.NEVER_STARTED,
        "vring-never-enabled",
        ("Never started: vring 0 is kicked and SET_VRING_ENABLE never came",),
        FE,
        step="enabling the rings",
        advice="SET_VRING_ENABLE",
    ),
    Expected(
        "slow",
        [*hello(), TABLE_ASKS, Wait(3.2), be(F.SET_MEM_TABLE, u64(0)), *ring(), *stop(), Close(0)],
        Outcome.STOPPED,
        "slow-answer",
        ("Stopped cleanly", "But the back-end (backend) took 3.20 s to answer SET_MEM_TABLE (#8)"),
        BE,
        8,
        advice="huge pages",
    ),
    Expected(
        "half a pair is enabled",
        [*ASKED, *queues(2), *hello()[5:], *MEMORY, *ring(2), *ring(3), Wait(1), Close(0)],
        Outcome.ENDED,
        "pair-half-enabled",
        ("Ended", "But vring 2 is enabled before vring 3"),
        FE,
        comms=("cloud-hyperviso", "dpdk-vgw"),
    ),
    Expected(
        "a packed ring begins at 0",
        [*up(FEATURES | PACKED), Wait(1), Close(0)],
        Outcome.ENDED,
        "packed-ring-first-base",
        ("But packed vring 0 begins at base 0x0",),
        FE,
        comms=("cloud-hyperviso", "reactor_0"),
    ),
    Expected(
        "crashes when memory is replaced",
        [*up(), *ring(1), Wait(1), MORE, Close(1), Gone(1, signal=11)],
        Outcome.DIED,
        "memory-replaced-while-running",
        (
            "was killed by SIGSEGV",
            "after SET_MEM_TABLE (#21), while 2 rings ran",
            "The probable cause: memory is replaced",
        ),
        BE,
        21,
        comms=("qemu-system-x86", "reactor_3"),
    ),
]

STORIES = [
    Expected(
        "worked, and then has fewer queues",
        [*ASKED, *queues(4), *up()[5:], Wait(1), Close(1), Again(), *ASKED, *queues(1), Close(0)],
        Outcome.NEVER_STARTED,
        "left-after-reply",
        ("GET_QUEUE_NUM said 1", "Session 1 on this path worked; different then: 4 queues instead of 1."),
        None,
        step="negotiation",
    ),
    Expected(
        "a crash before it works again",
        [*up(), Close(1), Gone(1, signal=11), Again(), *up(), *stop(), Close(0)],
        Outcome.STOPPED,
        "",
        ("Stopped cleanly", "Before it, session 1: peer died", "SIGSEGV"),
    ),
    Expected(
        "an end that was not seen",
        [*up(), Wait(3), Again(), *hello(), Close(0)],
        Outcome.NEVER_STARTED,
        "memory-never-came",
        ("no memory", "Session 1 on this path worked"),
        FE,
        step="memory",
    ),
]

LIVES = [*FINE, *MEMORY_FAULTS, *WAITING, *LATER, *STORIES]
