"""Sessions that ended for a reason outside of them: signals, strangers on the path, processes that went away."""

from __future__ import annotations

import signal

from checks_cases.script import (
    GIB,
    MEMORY,
    Again,
    Close,
    F,
    Gone,
    Wait,
    fe,
    hello,
    memfd,
    raw,
    region,
    ring,
    table,
    up,
)

from verdict_cases import Expected
from verdict_cases.ends import BE, FE
from verdict_cases.kinds import DPDK
from vusniff.checks.outcome import Outcome
from vusniff.families.vhost_user.device import Sure

OVS = ("cloud-hyperviso", "dpdk-testpmd")
NEVER = Outcome.NEVER_STARTED

SIGNALS = [
    Expected(
        f"{signal.Signals(number).name} says itself why it came",
        [*DPDK, Wait(20), Gone(1, signal=number), Close(1)],
        Outcome.DIED,
        "killed-by-signal",
        (f"was killed by {signal.Signals(number).name} 20.0 s after", "while 1 ring ran. Nobody"),
        BE,
        advice=advice,
        comms=OVS,
    )
    for number, advice in (
        (signal.SIGSYS, "seccomp"),
        (signal.SIGBUS, "huge pages"),
        (signal.SIGILL, "processor"),
        (signal.SIGXCPU, "limit"),
    )
] + [
    Expected(
        "a crash long after a guess gives the advice for both",
        [*DPDK, Wait(20), Gone(1, signal=11), Close(1)],
        Outcome.DIED,
        "pair-half-enabled",
        ("was killed by SIGSEGV", "A possible cause: vring 0 is enabled before vring 1"),
        FE,
        advice="coredumpctl",
        comms=OVS,
        sure=Sure.PERHAPS,
    ),
    Expected(
        "memory that the file does not have",
        [*hello(), fe(F.SET_MEM_TABLE, table(region()), memfd(size=1 << 20)), *ring(), Wait(3), Gone(1, signal=7)],
        Outcome.DIED,
        "memory-file-too-short",
        ("was killed by SIGBUS", "The probable cause: region 0x0+1G needs 1G of its file", "has only 1M"),
        FE,
        8,
        advice="size=",
    ),
    *(
        Expected(
            f"somebody sends {signal.Signals(number).name}",
            [*DPDK, Wait(2), Gone(1, signal=number), Close(1)],
            Outcome.DIED,
            "killed-by-signal",
            (f"was killed by {signal.Signals(number).name}", "while 1 ring ran. Nobody"),
            None,
            advice="who sent the signal",
            comms=OVS,
        )
        for number in (signal.SIGQUIT, signal.SIGUSR1)
    ),
    Expected(
        "somebody ends the back-end before it answered",
        [fe(F.GET_FEATURES), Gone(1, signal=15), Close(1)],
        NEVER,
        "closed-before-first-answer",
        ("before it answered anything. backend was ended by SIGTERM.",),
        None,
        step="connecting",
        advice="who ended it",
    ),
    Expected(
        "somebody ends a back-end that is not blamed for old guesses",
        [*DPDK, Wait(9), Gone(1, signal=15), Close(1)],
        Outcome.HUNG_UP,
        "backend-closed",
        ("while 1 ring ran", "dpdk-testpmd was ended by SIGTERM. Nobody"),
        None,
        advice="who ended it",
        comms=OVS,
    ),
    Expected(
        "somebody ends the front-end before memory",
        [*hello(), Gone(0, signal=2), Close(0)],
        NEVER,
        "closed",
        ("closed the connection 2.00 ms after SET_FEATURES (#7). qemu-system-x86 was ended by SIGINT.",),
        None,
        step="negotiation",
        advice="who ended it",
    ),
    Expected(
        "the front-end crashes before memory",
        [*hello(), Gone(0, signal=11), Close(0)],
        Outcome.DIED,
        "killed-by-signal",
        ("qemu-system-x86 (11), the front-end, was killed by SIGSEGV 1.00 ms after SET_FEATURES (#7).",),
        FE,
        advice="coredumpctl",
    ),
    Expected(
        "crashes at another place",
        [*up(), Wait(5), Gone(1, signal=11), Close(1), Wait(2), Again(), *hello(), Gone(1, signal=11), Close(1)],
        Outcome.DIED,
        "killed-by-signal",
        ("was killed by SIGSEGV 1.00 ms after SET_FEATURES (#21).",),
        BE,
    ),
    Expected(
        "a process ended and its connection did not",
        [*up(), Wait(5), Gone(1, status=3)],
        Outcome.RUNNING,
        "",
        ("Running: 1 ring runs; backend exited with status 3, and the connection was not seen to end.",),
    ),
]

STRANGERS = (
    [
        Expected(
            f"a greeting: {data!r}",
            [raw(data, 1), fe(F.GET_FEATURES), Wait(6)],
            NEVER,
            "other-protocol",
            (says,),
            BE,
            1,
            "connecting",
            "which program serves this path",
        )
        for data, says in (
            (b"OK\n", 'says "OK" (#1): that is text, not vhost-user'),
            (b"\n\nDebian GNU/Linux ttyS0\n", 'says "Debian GNU/Linux ttyS0" (#1)'),
            (b"\x1b[2J\x1b[1;1HSeaBIOS", "that is text"),
            (b"\x16\x03\x01\x00\xa5\x01", "says 16 03 01 00 a5 01 (#1): that is TLS"),
            (b'{"return": {}}\r\n', "that is QMP"),
            (b"REDQ\2\0\0\0", "that is SPICE"),
            (b"\xff\xff\xff\xff", "that are not a vhost-user message (#1), and no more: ff ff ff ff"),
            (bytes(12), "which begin with: 00 00"),
        )
    ]
    + [
        Expected(
            f"a stranger connects and says {data!r}",
            [raw(data, 0), Close(1)],
            NEVER,
            "other-protocol",
            ("curl",),
            None,
            1,
            "connecting",
            "curl does not speak vhost-user",
            comms=("curl", "virtiofsd"),
        )
        for data in (b"OK\n", b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff\xff\xff")
    ]
    + [
        Expected(
            "text instead of an answer",
            [fe(F.GET_FEATURES), raw(b"-ERR\r\n", 1), Close(1)],
            NEVER,
            "other-protocol",
            ('says "-ERR" (#2)',),
            BE,
            2,
            "connecting",
            caveat="could not be read",
        ),
        Expected(
            "who says a part of a header has said something",
            [raw(b"\4\0\0\0\1\0\0\0", 1), fe(F.GET_FEATURES), Wait(6)],
            NEVER,
            "peer-never-spoke",
            ("sent 8 bytes and no whole message: GET_FEATURES (#2) had no answer",),
            BE,
            2,
            "connecting",
        ),
        Expected(
            "less than a header",
            [raw(b"\1", 0), Close(0)],
            Outcome.UNKNOWN,
            "",
            ("no message could be read: curl sent 1 byte and no whole header.",),
            comms=("curl", "virtiofsd"),
        ),
        Expected(
            "a table beyond the end of its file",
            [*hello(), *MEMORY[:0], fe(F.SET_MEM_TABLE, table(region(offset=GIB)), memfd()), Close(1)],
            NEVER,
            "memory-file-too-short",
            ("region 0x0+1G at offset 1G needs 2G of its file", "has only 1G"),
            FE,
            8,
            "memory",
            "offset",
        ),
    ]
)

OUTSIDE = [*SIGNALS, *STRANGERS]
