"""Sessions that a side ended, by what it did and by what the other side said last."""

from __future__ import annotations

from checks_cases.script import (
    FEATURES,
    MEMORY,
    Again,
    Close,
    F,
    Gone,
    P,
    Part,
    Wait,
    acked,
    be,
    call,
    enable,
    fe,
    hello,
    kick,
    memfd,
    raw,
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
from vusniff.checks.finding import Side
from vusniff.checks.outcome import Outcome
from vusniff.families.vhost_user.device import Sure

FE, BE = Side.FRONTEND, Side.BACKEND
MQ = P.MQ | P.REPLY_ACK
SLOTS = MQ | P.CONFIGURE_MEM_SLOTS
ASKED = hello(protocol=MQ)[:5]
TABLE_ASKS = fe(F.SET_MEM_TABLE, table(region()), memfd(), flags=9)
HTTP = b"HTTP/1.1 404 Not Found\r\n\r\n"
QMP = b'{"QMP": {"version": {"qemu": {"micro": 0}}, "capabilities": []}}\r\n'


def queues(number: int) -> list[Part]:
    return [fe(F.GET_QUEUE_NUM), be(F.GET_QUEUE_NUM, u64(number))]


def config(size: int) -> list[Part]:
    return [fe(F.GET_CONFIG, u32(0, size, 0) + bytes(size)), be(F.GET_CONFIG, u32(0, size, 0) + bytes(size))]


def loop(session: list[Part], times: int) -> list[Part]:
    return [*session, *[part for _ in range(times - 1) for part in (Wait(1), Again(), *session)]]


LEFT = [
    Expected(
        f"too few queues: {number}, {times} times",
        loop([*ASKED, *queues(number), Close(0)], times),
        Outcome.NEVER_STARTED,
        "left-after-reply",
        (
            "Never started: the front-end (qemu-system-x86) left 1.00 ms after GET_QUEUE_NUM said",
            f" {number} (#7)",
            again,
            "It probably wants more queues than the back-end has.",
        ),
        None,
        7,
        "negotiation",
        "num-queues",
    )
    for number, times, again in (
        (1, 1, "."),
        (1, 4, ", four times in a row."),
        (2, 2, ", twice in a row."),
        (6, 7, "7 times"),
    )
] + [
    Expected(
        "a feature is missing",
        [*hello(features=1 << 30)[:2], Close(0)],
        Outcome.NEVER_STARTED,
        "left-after-reply",
        ("GET_FEATURES said 0x40000000 (#2)", "needs a feature"),
        number=2,
        step="the first question",
    ),
    Expected(
        "a protocol feature is missing",
        [*hello(protocol=P.MQ)[:4], Close(0)],
        Outcome.NEVER_STARTED,
        "left-after-reply",
        ("GET_PROTOCOL_FEATURES said 0x1 (#4)", "needs a protocol feature"),
        number=4,
        step="negotiation",
    ),
    Expected(
        "the config space does not please",
        [*hello(protocol=MQ | P.CONFIG)[:5], *config(60), Close(0), Gone(0, status=1)],
        Outcome.NEVER_STARTED,
        "left-after-reply",
        (
            "the reply to GET_CONFIG (#7)",
            "does not accept what the config space says",
            "qemu-system-x86 exited with status 1",
        ),
        number=7,
        step="the config space",
    ),
    Expected(
        "too few memory slots",
        [*hello(protocol=SLOTS)[:5], fe(F.GET_MAX_MEM_SLOTS), be(F.GET_MAX_MEM_SLOTS, u64(3)), Close(0)],
        Outcome.NEVER_STARTED,
        "left-after-reply",
        ("GET_MAX_MEM_SLOTS said 3 (#7)", "more memory slots"),
        number=7,
        step="negotiation",
    ),
]

CLOSED = [
    Expected(
        f"closed after {name}",
        [*session, Close(1), Gone(1, status=status)],
        outcome,
        "closed-after-request",
        (
            f"the back-end (backend) closed the connection 1.00 ms after {name}",
            "asks for no answer",
            f"exited with status {status}",
        ),
        BE,
        step=step,
        sure=Sure.PERHAPS,
    )
    for name, session, outcome, step, status in (
        ("SET_OWNER", hello()[:6], Outcome.NEVER_STARTED, "negotiation", 0),
        ("SET_FEATURES", hello(), Outcome.NEVER_STARTED, "negotiation", 1),
        ("SET_MEM_TABLE", [*hello(), *MEMORY], Outcome.NEVER_STARTED, "memory", 0),
        ("SET_VRING_BASE", [*hello(), *MEMORY, *set_up(1)[:2]], Outcome.NEVER_STARTED, "setting up the rings", 0),
        ("SET_VRING_ADDR", [*hello(), *MEMORY, *set_up(3)], Outcome.NEVER_STARTED, "setting up the rings", 0),
        ("SET_VRING_CALL", [*hello(), *MEMORY, *set_up(), call()], Outcome.NEVER_STARTED, "setting up the rings", 0),
        ("SET_VRING_KICK", [*hello(), *MEMORY, *set_up(), kick()], Outcome.HUNG_UP, "", 0),
        ("SET_VRING_ENABLE", up(), Outcome.HUNG_UP, "", 0),
    )
] + [
    Expected(
        "closed before its first answer",
        [fe(F.GET_FEATURES), Close(1), Gone(1, status=0)],
        Outcome.NEVER_STARTED,
        "closed-before-first-answer",
        ("closed the connection 1.00 ms after GET_FEATURES (#1), before it answered anything", "exited with status 0"),
        BE,
        1,
        "connecting",
        "seccomp",
    ),
    Expected(
        "closed before its first answer, again and again",
        loop([fe(F.SET_OWNER), fe(F.GET_FEATURES), Close(1)], 3),
        Outcome.NEVER_STARTED,
        "closed-before-first-answer",
        ("after GET_FEATURES (#2)", "three times in a row"),
        BE,
        2,
        "connecting",
    ),
    Expected(
        "closed instead of an answer",
        [*hello(), *MEMORY, fe(F.GET_VRING_BASE, u32(0, 0)), Close(1)],
        Outcome.NEVER_STARTED,
        "refused-by-closing",
        ("1.00 ms after GET_VRING_BASE (#9) and did not answer it",),
        BE,
        9,
        "after GET_VRING_BASE",
    ),
    Expected(
        "an earlier request may be the reason",
        [*hello(), *MEMORY, *set_up(), Wait(0.5), Close(1)],
        Outcome.NEVER_STARTED,
        "closed-after-request",
        ("501 ms after SET_VRING_ADDR (#11)", "nothing since #4: an earlier request may be the reason"),
        BE,
        11,
        "setting up the rings",
    ),
    Expected(
        "the back-end ended long after",
        [*up(), *ring(1), Wait(60), Close(1)],
        Outcome.HUNG_UP,
        "backend-closed",
        ("closed the connection while 2 rings ran, 60.0 s after the last message", "Nobody has connected again."),
        BE,
        advice="reconnect",
    ),
]

KILLED = [
    Expected(
        f"killed by {name} as the {role}",
        [*session, Close(end), Gone(end, signal=number)],
        Outcome.DIED,
        "killed-by-signal",
        (f"Peer died: {comm} ({11 + end}), the {role}, was killed by {name}", after),
        side,
        advice=advice,
    )
    for name, number, end, comm, role, side, session, after, advice in (
        (
            "SIGKILL",
            9,
            1,
            "backend",
            "back-end",
            None,
            [*up(protocol=MQ | P.STATUS), fe(F.GET_STATUS)],
            "after GET_STATUS (#15), while 1 ring ran",
            "dmesg",
        ),
        ("SIGSEGV", 11, 1, "backend", "back-end", BE, [*hello(), *MEMORY], "after SET_MEM_TABLE (#8)", "coredumpctl"),
        (
            "SIGSYS",
            31,
            1,
            "backend",
            "back-end",
            BE,
            [fe(F.GET_FEATURES)],
            "1.00 ms after GET_FEATURES (#1)",
            "seccomp",
        ),
        ("SIGABRT", 6, 1, "backend", "back-end", BE, up(), "after SET_VRING_ENABLE (#14)", "assertion"),
        ("SIGBUS", 7, 1, "backend", "back-end", BE, up(), "while 1 ring ran", "huge pages"),
        ("SIGSEGV", 11, 0, "qemu-system-x86", "front-end", FE, up(), "after SET_VRING_ENABLE (#14)", "coredumpctl"),
        ("signal 40", 40, 1, "backend", "back-end", None, up(), "", "log"),
    )
] + [
    Expected(
        "killed, as seen before the close",
        [*up(), Gone(1, signal=9), Close(1)],
        Outcome.DIED,
        "killed-by-signal",
        ("was killed by SIGKILL", "Nobody has connected again."),
    ),
    Expected(
        "asked to end",
        [*up(), *stop(), Close(0), Gone(0, signal=15)],
        Outcome.STOPPED,
        "",
        ("Stopped cleanly",),
    ),
    Expected(
        "killed long after it had left",
        [*up(), *stop(), Close(0), Wait(9), Gone(1, signal=9)],
        Outcome.STOPPED,
        "",
        ("Stopped cleanly",),
    ),
]

STRANGERS = [
    Expected(
        "HTTP",
        [fe(F.GET_FEATURES), raw(HTTP, 1), Close(1)],
        Outcome.NEVER_STARTED,
        "other-protocol",
        ('the back-end (backend) says "HTTP/1.1 404 Not Found" (#2): that is HTTP, not vhost-user',),
        BE,
        2,
        "connecting",
        "another service",
        "could not be read",
        sure=Sure.CERTAIN,
    ),
    Expected(
        "QMP",
        [raw(QMP, 1), fe(F.GET_FEATURES), Wait(8), Close(0)],
        Outcome.NEVER_STARTED,
        "other-protocol",
        ("that is QMP, QEMU's monitor protocol, not vhost-user",),
        BE,
        1,
        "connecting",
        caveat="",
    ),
    Expected(
        "an answer that cannot be read",
        [*hello(), *MEMORY, fe(F.GET_VRING_BASE, u32(0, 0)), raw(b"\xff" * 12, 1), Wait(5), Close(0)],
        Outcome.WAITING,
        "stream-lost",
        (
            "GET_VRING_BASE (#9) had no answer after 5.00 s",
            "The probable cause: nothing that the back-end sent from #10",
        ),
        BE,
        10,
        caveat="could not be read",
    ),
    Expected(
        "a peer that is silent",
        [fe(F.GET_FEATURES), Wait(3), Close(0)],
        Outcome.NEVER_STARTED,
        "peer-never-spoke",
        ("never sent a byte: GET_FEATURES (#1) had no answer after 3.00 s", "probably not a vhost-user back-end"),
        BE,
        1,
        "connecting",
    ),
    Expected(
        "a peer that is silent while the capture goes on",
        [fe(F.SET_OWNER), fe(F.GET_FEATURES), Wait(30)],
        Outcome.NEVER_STARTED,
        "peer-never-spoke",
        ("GET_FEATURES (#2) had no answer after 30.0 s", "when the capture ended"),
        BE,
        2,
        "connecting",
    ),
]

REFUSED = [
    Expected(
        "the log is refused",
        [*up(), fe(F.SET_LOG_BASE, u64(1 << 21, 0), memfd()), be(F.SET_LOG_BASE, u64(1)), Close(0)],
        Outcome.REFUSED,
        "request-refused",
        (
            "Refused: SET_LOG_BASE (#15) was refused with 0x1 (#16), and the front-end",
            "closed the connection 1.00 ms later",
        ),
        BE,
    ),
    Expected(
        "memory is refused",
        [*hello(), *acked(TABLE_ASKS, 1 << 63), Close(0)],
        Outcome.REFUSED,
        "request-refused",
        ("SET_MEM_TABLE (#8) was refused with 0x8000000000000000",),
        BE,
        9,
    ),
    Expected(
        "a ring is refused, and nothing follows",
        [*hello(), *MEMORY, *acked(fe(F.SET_VRING_NUM, u32(0, 1024)), 1), *set_up()[1:], Wait(3), Close(0)],
        Outcome.REFUSED,
        "queue-size-more-than-peer",
        ("SET_VRING_NUM (#9) was refused with 0x1 (#10), and no ring was started after it",),
        FE,
    ),
]

FEATURE = 1 << 2
GUESSED = Expected(
    "a queue size may be too large",
    [*hello(), *MEMORY, *set_up(5, 2048)[:1], Close(1)],
    Outcome.NEVER_STARTED,
    "queue-size-more-than-peer",
    ("after SET_VRING_NUM (#9)", "A possible cause: ", "gave vring 5 size 2048: is that above its maximum?"),
    FE,
    9,
    "setting up the rings",
    sure=Sure.PERHAPS,
)
EXPLAINED = [
    Expected(
        f"a feature that was not offered explains the close after {len(more)} more messages",
        [*hello(accept=FEATURES | FEATURE), *more, Close(1)],
        Outcome.NEVER_STARTED,
        "features-not-offered",
        ("closed the connection", "The probable cause: SET_FEATURES"),
        FE,
        7,
        comms=("qemu-system-x86", "vhost-device-sc"),
        step=step,
    )
    for more, step in (
        ([], "negotiation"),
        ([*MEMORY, *set_up(0, 128)[:1]], "setting up the rings"),
        ([enable()], "enabling the rings"),
    )
]

ENDS = [*LEFT, *CLOSED, *KILLED, *STRANGERS, *REFUSED, GUESSED, *EXPLAINED]
