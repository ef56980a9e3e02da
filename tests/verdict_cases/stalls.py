"""Sessions whose rings stand still, as samples tell, and rings that are disabled."""

from __future__ import annotations

from dataclasses import replace

from checks_cases.rings import (
    AHEAD,
    ANSWERED,
    BEHIND,
    EMPTY,
    JUMPED,
    LEFT,
    MASKED,
    MOVES,
    SECOND,
    STILL,
    STUCK,
    WANTED,
    look,
    migrates,
    reconnected,
    restarted,
)
from checks_cases.script import Again, Close, Gone, Look, Wait, enable, kick, ring, set_up, stop, up

from verdict_cases import Expected
from verdict_cases.ends import BE, FE
from vusniff.checks.outcome import Outcome
from vusniff.families.vhost_user.device import Sure

KICKED = replace(STUCK, unread_kicks=1)
GOES_ON = replace(STILL, in_flight=0, used=700, moved_ns=SECOND // 1000)

STALLED = [
    Expected(
        f"a ring is not served{name}",
        [*up(), look(KICKED), Wait(20), *more],
        Outcome.STALLED,
        "vring-not-served",
        ("Stalled: vring 0 is not served: 10 in flight, nothing used for 26.0 s; its kick has not been read.",),
        BE,
        14,
        advice="kick descriptor",
        sure=Sure.LIKELY,
    )
    for name, more in (("", []), (", and QEMU leaves", [Close(0)]))
] + [
    Expected(
        "three rings are not served",
        [*up(), *ring(1), *ring(2), look(*(replace(KICKED, ring=index) for index in range(3)))],
        Outcome.STALLED,
        "vring-not-served",
        ("Stalled: vring 0 is not served", "The same is true of vrings 1 and 2."),
        BE,
    ),
    Expected(
        "a ring that the guest uses is disabled",
        [*up(), *ring(1), enable(1, 0), look(replace(STUCK, ring=1, waiting_ns=2 * SECOND)), Wait(9)],
        Outcome.STALLED,
        "vring-used-while-disabled",
        ("Stalled: vring 1 is disabled, and 10 in flight wait",),
        FE,
        advice="SET_VRING_ENABLE 1",
    ),
    Expected(
        "the used index is ahead",
        [*up(), look(AHEAD), Wait(6)],
        Outcome.STALLED,
        "vring-used-ahead",
        ("Stalled: the used index of vring 0 is 3 ahead",),
        BE,
        advice="reset",
    ),
    Expected(
        "the available index jumped",
        [*up(), look(JUMPED), Wait(6)],
        Outcome.STALLED,
        "vring-index-jump",
        ("Stalled: the indexes of vring 0 are 29310 apart",),
        FE,
        advice="reset the device",
    ),
    Expected(
        "a ring was started ahead of its driver",
        [*restarted(700), look(BEHIND), Wait(6)],
        Outcome.STALLED,
        "vring-base-ahead",
        ("Stalled: vring 0 was started at base 700, and its driver is at index 10",),
        FE,
        advice="at 0",
    ),
    Expected(
        "the next back-end does not take up what is in flight",
        reconnected(look(LEFT), Wait(9)),
        Outcome.STALLED,
        "vring-inflight-left",
        ("Stalled: vring 0 has 3 in flight by the in-flight buffer",),
        BE,
        advice="takes up the requests of the in-flight buffer",
        device="blk",
    ),
    Expected(
        "the driver gives no buffers any more",
        [*up(), look(EMPTY), Wait(9)],
        Outcome.STALLED,
        "vring-without-buffers",
        (
            "Stalled: ",
            "vring 0",
        ),
        None,
        advice="its driver no longer gives the ring any buffers",
        device="net",
    ),
    Expected(
        "the driver stops in the middle of its work",
        [*up(), look(WANTED), look(MASKED), look(replace(ANSWERED, in_flight=4, available=700, used=696)), Wait(9)],
        Outcome.STALLED,
        "vring-interrupts-masked",
        ("Stalled: the driver masks interrupts of vring 0 for 9.00 s and does nothing",),
        None,
        advice="soft lockups",
        device="blk",
    ),
    Expected(
        "the dirty log is not written",
        migrates(Look((), 0), Wait(7), look(MOVES), Wait(1)),
        Outcome.RUNNING,
        "dirty-pages-not-set",
        ("no page of the dirty log was set",),
        BE,
        advice="stop this migration",
    ),
    Expected(
        "it was not served for a while",
        [*up(), look(KICKED), Wait(1), look(GOES_ON), Wait(3)],
        Outcome.RUNNING,
        "vring-not-served",
        ("Running: 1 ring runs. But earlier: vring 0 is not served", "nothing used for 6.00 s"),
        BE,
        sure=Sure.PERHAPS,
    ),
    Expected(
        "a ring that was started anew after it stood still",
        [*up(), look(KICKED), *stop(), *set_up(), kick(), Wait(9)],
        Outcome.RUNNING,
        "vring-not-served",
        ("But earlier",),
        BE,
    ),
    Expected(
        "the base is behind",
        [*up(), look(STILL), *stop(base=7), Close(0)],
        Outcome.STOPPED,
        "vring-base-behind",
        ("Stopped cleanly", "But the base of vring 0 is answered as 7", "683 would be used again"),
        BE,
    ),
    Expected(
        "the back-end is killed while a ring waits",
        [*up(), look(KICKED), Wait(9), Close(1), Gone(1, signal=9), Again(), *up(), Wait(9)],
        Outcome.RUNNING,
        "",
        ("Running", "Before it, session 1: peer died"),
    ),
]

MOVING = [
    Expected(
        "a ring that waits for a moment", [*up(), look(replace(KICKED, waiting_ns=SECOND))], Outcome.RUNNING, "", ()
    ),
    Expected("an empty ring of an unknown device", [*up(), look(EMPTY), Wait(9)], Outcome.RUNNING, "", ()),
    Expected(
        "all rings are disabled",
        [*up(), enable(0, 0), Wait(9)],
        Outcome.IDLE,
        "",
        ("every ring that was started is disabled",),
    ),
    Expected(
        "one of two rings is disabled",
        [*up(), *ring(1), enable(1, 0)],
        Outcome.RUNNING,
        "",
        ("Running: 1 ring runs, and 1 more set up and disabled.",),
    ),
    Expected(
        "nothing was used: memory that is not shared looks so",
        [*up(), *ring(1), Wait(50), *stop(base=0), *stop(1, base=0), Close(0)],
        Outcome.STOPPED,
        "",
        ("Stopped cleanly", "Nothing was used: every ring was stopped at the base it began with."),
        advice="share=on",
    ),
    Expected(
        "nothing was used of a front-end that has no guest",
        [*up(), *ring(1), Wait(50), *stop(base=0), *stop(1, base=0), Close(0)],
        Outcome.STOPPED,
        "",
        ("Nothing was used",),
        advice="huge pages, not --no-huge",
        comms=("dpdk-testpmd", "backend"),
    ),
    Expected(
        "one of two rings was used",
        [*up(), *ring(1), Wait(50), *stop(base=0), *stop(1, base=9), Close(0)],
        Outcome.STOPPED,
        "",
        ("Stopped cleanly: the front-end (qemu-system-x86) closed the connection.",),
    ),
    Expected(
        "the front-end ends and stops nothing",
        [*up(), *ring(1), Wait(9), Close(0), Gone(0, status=0)],
        Outcome.ENDED,
        "",
        ("Ended: the front-end (qemu-system-x86) closed the connection while 2 rings ran.",),
    ),
    Expected(
        "the front-end fails while rings run",
        [*up(), Wait(9), Close(0), Gone(0, status=1)],
        Outcome.HUNG_UP,
        "frontend-failed",
        ("Hung up: the front-end (qemu-system-x86)", "while 1 ring ran", "exited with status 1"),
        FE,
    ),
]

STALLS = [*STALLED, *MOVING]
