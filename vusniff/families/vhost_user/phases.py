"""A session divided as people think of it: connect, negotiate, initialise, start, run, stop. From headers, in order.

Pure: it is fed numbers, times and request codes, and asks for a value where a code alone does not tell (whether
SET_VRING_ENABLE, SET_STATUS or SET_FEATURES switches off). A phase is closed by what follows it:

* Requests say what is being done (`PURPOSES`); replies, other channels and requests that are sent at any time belong
  to the phase they fall into. A front-end that repeats the steps for each queue pair stays in one phase.
* Running and idle are what lies between: they last until something is done, and may have no message at all. After a
  pause of `SETTLE_NS` a start is over; without one, what follows belongs to it.
* A phase ends with its last message, and what follows is waiting: a pause of `WAIT_NS` divides what is done as well,
  and a migration or postcopy is over with the message that ends it.
* Of a session joined late it is unknown whether it runs: it is taken to, until what is said shows that it is set up.
* What a front-end sends just before the request that tells (SET_VRING_ENABLE 0 and SET_STATUS 0 before GET_VRING_BASE,
  SET_VRING_ENABLE 1 before SET_FEATURES, GET_FEATURES before GET_PROTOCOL_FEATURES) belongs to what it announces.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from vusniff.channel import Channel
from vusniff.families.phase import LASTING, Phase, PhaseKind
from vusniff.families.vhost_user.protocol import F_LOG_ALL, FLAG_REPLY, STOPS_RING, Channels, FrontendRequest
from vusniff.values import dataclass

SETTLE_NS = 100_000_000
"""A pause that ends what was being done, nanoseconds."""
WAIT_NS = 1_000_000_000
"""A pause in what is done that is not part of it, nanoseconds: the front-end waits for something else."""
ANNOUNCED = 4096
"""Messages that may be taken over into the phase they announce."""


K, F = PhaseKind, FrontendRequest

PURPOSES: dict[int, PhaseKind] = {
    **dict.fromkeys(
        (
            F.GET_PROTOCOL_FEATURES,
            F.SET_PROTOCOL_FEATURES,
            F.GET_QUEUE_NUM,
            F.GET_MAX_MEM_SLOTS,
            F.GET_SHMEM_CONFIG,
            F.SET_BACKEND_REQ_FD,
        ),
        K.NEGOTIATION,
    ),
    **dict.fromkeys((F.SET_OWNER, F.SET_VRING_CALL, F.SET_VRING_ERR, F.GET_CONFIG, F.GPU_SET_SOCKET), K.INITIALISATION),
    **dict.fromkeys(
        (
            F.SET_FEATURES,
            F.NET_SET_MTU,
            F.SET_MEM_TABLE,
            F.ADD_MEM_REG,
            F.REM_MEM_REG,
            F.GET_INFLIGHT_FD,
            F.SET_INFLIGHT_FD,
            F.SET_VRING_NUM,
            F.SET_VRING_BASE,
            F.SET_VRING_ADDR,
            F.SET_VRING_ENDIAN,
            F.SET_VRING_KICK,
        ),
        K.START,
    ),
    **dict.fromkeys(STOPS_RING, K.STOP),
    **dict.fromkeys((F.RESET_DEVICE, F.RESET_OWNER), K.RESET),
    **dict.fromkeys((F.SET_LOG_BASE, F.SET_LOG_FD, F.SET_DEVICE_STATE_FD, F.CHECK_DEVICE_STATE), K.MIGRATION),
    **dict.fromkeys((F.POSTCOPY_ADVISE, F.POSTCOPY_LISTEN, F.POSTCOPY_END), K.POSTCOPY),
}
"""What the front-end is doing when it sends a request; one that is not here is sent at any time."""

PREPARES_RING = frozenset(
    {F.SET_VRING_NUM, F.SET_VRING_BASE, F.SET_VRING_ENDIAN, F.SET_VRING_KICK, F.GET_INFLIGHT_FD, F.SET_INFLIGHT_FD}
)
"""What starts a ring while others run; memory and addresses may also change under running rings."""
BEGINS_AGAIN = frozenset({F.GET_PROTOCOL_FEATURES, F.SET_PROTOCOL_FEATURES, F.SET_OWNER})
"""What says that a front-end negotiates from the start on the same connection."""
ALSO_LATER = frozenset({F.SET_VRING_CALL, F.SET_VRING_ERR, F.GET_CONFIG, F.GPU_SET_SOCKET})
"""Initialisation that is also done later, for a reason of its own."""
RUNS = frozenset({F.VRING_KICK, F.SEND_RARP, F.GET_SHARED_OBJECT, F.CREATE_CRYPTO_SESSION, F.CLOSE_CRYPTO_SESSION})
"""What is sent to a device that runs. SEND_RARP and others also come earlier, as after a migration."""
ENDS_LOGGING = frozenset({F.SET_FEATURES, F.SET_VRING_ADDR, F.GET_FEATURES})
"""What takes dirty logging back, for one queue pair after the other."""
SETS_UP = frozenset({F.SET_FEATURES, F.SET_MEM_TABLE, F.ADD_MEM_REG, F.SET_VRING_ADDR})
"""What comes before a ring is prepared, but also while rings run."""
LEADS_TO_RUNNING = frozenset({K.START, K.MIGRATION, K.POSTCOPY})
"""After these a device runs, where a ring was kicked."""
ANNOUNCES = frozenset({F.SET_VRING_ENABLE, F.SET_STATUS, F.GET_FEATURES}) | SETS_UP
"""What may belong to the phase after it."""
MARKS = frozenset({F.GET_FEATURES, F.VRING_KICK})
"""Requests without a purpose that say something of what comes later."""
FLOWING = frozenset({K.START, K.RUNNING})
STEADY = frozenset(F) - PURPOSES.keys() - RUNS - MARKS - ANNOUNCES | {F.SET_VRING_CALL, F.SET_VRING_ERR}
"""What changes nothing in these phases, when it comes without a pause."""


def value_of(request: int, payload: bytes, order: str) -> int | None:
    """What a request sets: num of SET_VRING_ENABLE, else its u64; None where the payload is too short."""
    piece = payload[4:8] if request == F.SET_VRING_ENABLE else payload[:8]
    if len(piece) < (4 if request == F.SET_VRING_ENABLE else 8):
        return None
    return int.from_bytes(piece, "little" if order == "little" else "big")


_tuple = tuple.__new__


@dataclass(slots=True)
class _OpenPhase:
    """The phase that has not ended."""

    kind: PhaseKind
    first: int
    last: int
    count: int
    start_ns: int
    end_ns: int
    """When its last message was sent."""

    def ended(self, end_ns: int, goes_on: bool = False) -> Phase:
        """The phase as it is when it has ended."""
        return Phase(self.kind, self.first, self.last, self.count, self.start_ns, end_ns, goes_on)


class _Announcer(NamedTuple):
    """A message that may belong to the phase after it, and what its phase was without it."""

    number: int
    time_ns: int
    request: int
    last: int
    messages: int
    end_ns: int


class Phases:
    """The phases of one session, fed with its messages in their order."""

    def __init__(
        self,
        value: Callable[[int], int | None],
        opened_ns: int | None = None,
        *,
        previous_end_ns: int | None = None,
        joined_late: bool = False,
    ) -> None:
        """``value(number)`` is `value_of` a message; ``previous_end_ns`` says when the session before it ended."""
        self._value = value
        self._opened_ns = opened_ns
        self._previous_end_ns = previous_end_ns
        self._late = joined_late
        self._done: list[Phase] = []
        self._now: _OpenPhase | None = None
        self._announcers: deque[_Announcer] = deque(maxlen=ANNOUNCED)
        self._asked = False
        """Features were asked for."""
        self._kicked = False
        self._rings = False
        """The start has gone beyond SET_FEATURES."""
        self._ending = False
        """What ends migration or postcopy was sent."""

    def feed(self, number: int, time_ns: int, request: int, reply: bool, channel: Channel) -> None:
        """The next message of the session; ``request`` 0 for bytes without a header."""
        now = self._now
        if reply or channel is not Channels.MAIN or not request:
            if now is None:
                if channel is Channels.UNKNOWN:
                    return
                now = self._begin(self._answered(request) if channel is Channels.MAIN else K.RUNNING, number, time_ns)
            elif now.kind is K.START and self._kicked and not reply and time_ns - now.end_ns > SETTLE_NS:
                now = self._begin(K.RUNNING, number, time_ns)
        else:
            kind = self._next(now, request, number, time_ns)
            if now is None or kind is not now.kind or self._again(now, time_ns):
                now = self._turn(kind, number, time_ns)
            if request in ANNOUNCES:
                self._announcers.append(_Announcer(number, time_ns, request, now.last, now.count, now.end_ns))
            elif self._announcers:
                self._announcers.clear()
            if request in PURPOSES or request in MARKS:
                self._note(request)
        now.last, now.end_ns = number, time_ns
        now.count += 1

    def follow(self, messages: Iterable[tuple[int, int, int, int, Channel]]) -> None:
        """Many messages as `feed` takes one; of each number, time, request, flags and channel."""
        announcers, main, enable = self._announcers, Channels.MAIN, int(F.SET_VRING_ENABLE)
        now, settled_ns = _OpenPhase(K.IDLE, 0, 0, 0, 0, 0), -1
        for number, time_ns, request, flags, channel in messages:
            if time_ns <= settled_ns:
                steady = True
                if flags & FLAG_REPLY or channel is not main:
                    pass
                elif request in STEADY:
                    if announcers:
                        announcers.clear()
                elif request == enable:
                    announcers.append(_tuple(_Announcer, (number, time_ns, request, now.last, now.count, now.end_ns)))
                else:
                    steady = False
                if steady:
                    now.last, now.end_ns, settled_ns = number, time_ns, time_ns + SETTLE_NS
                    now.count += 1
                    continue
            self.feed(number, time_ns, request, bool(flags & FLAG_REPLY), channel)
            settled_ns = -1
            if self._now is not None and self._now.kind in FLOWING:
                now, settled_ns = self._now, time_ns + SETTLE_NS

    @property
    def kind(self) -> PhaseKind | None:
        """The phase that the last message belongs to, as far as is known by now; None before the first."""
        return self._now.kind if self._now is not None else None

    def phases(self, now_ns: int = 0, closed_ns: int | None = None) -> tuple[Phase, ...]:
        """All so far. ``now_ns`` is the latest time in the capture, ``closed_ns`` when the session ended."""
        now = self._now
        if now is None:
            return ()
        goes_on = closed_ns is None
        end_ns = max(now.end_ns, now_ns if closed_ns is None else closed_ns)
        if now.kind in LASTING and not self._ending:
            return (*self._done, now.ended(end_ns, goes_on))
        if end_ns - now.end_ns <= SETTLE_NS and not (now.kind is K.START and self._kicked and not goes_on):
            return (*self._done, now.ended(now.end_ns, goes_on))
        after = K.RUNNING if now.kind in LEADS_TO_RUNNING and self._kicked else K.IDLE
        rest = Phase(after, now.last + 1, now.last, 0, now.end_ns, end_ns, goes_on)
        return (*self._done, now.ended(now.end_ns), rest)

    def _again(self, now: _OpenPhase, time_ns: int) -> bool:
        """The front-end does now what it did before a pause."""
        if now.kind in LASTING:
            return False
        return time_ns - now.end_ns > (SETTLE_NS if now.kind is K.START and self._kicked else WAIT_NS)

    def _answered(self, request: int) -> PhaseKind:
        """Where a session stood that was joined late and begins with a reply: where its request was sent."""
        purpose = K.NEGOTIATION if request == F.GET_FEATURES else PURPOSES.get(request)
        return purpose if self._late and purpose in (K.NEGOTIATION, K.INITIALISATION, K.STOP) else K.RUNNING

    def _note(self, request: int) -> None:
        """Remember what a request says of what comes later."""
        if request == F.GET_FEATURES:
            self._asked = True
        elif request in (F.SET_VRING_KICK, F.VRING_KICK):
            self._kicked = self._rings = True
        elif request in (*STOPS_RING, F.RESET_DEVICE, F.RESET_OWNER):
            self._kicked = False
        elif request == F.POSTCOPY_END:
            self._ending = True
        elif request != F.SET_FEATURES and PURPOSES.get(request) is K.START:
            self._rings = True

    # -- where a request leads ----------------------------------------------------------------------------------------

    def _next(self, now: _OpenPhase | None, request: int, number: int, time_ns: int) -> PhaseKind:
        """The phase that a request of the front-end belongs to."""
        purpose = PURPOSES.get(request)
        if now is None:
            if request in (F.SET_OWNER, F.GET_FEATURES):
                return K.NEGOTIATION
            return purpose or (K.RUNNING if self._late else K.IDLE)
        kind = now.kind
        if kind is K.RUNNING:
            return self._after_running(request, purpose, number)
        paused = time_ns - now.end_ns > SETTLE_NS
        if kind is K.MIGRATION:
            return self._after_migration(request, purpose, number, paused)
        if kind is K.START:
            return self._after_start(request, purpose, number, paused)
        if purpose is kind:
            return kind
        if kind in (K.NEGOTIATION, K.INITIALISATION):
            return self._after_negotiation(request, purpose, kind)
        if kind is K.POSTCOPY:
            return self._after_postcopy(request, purpose)
        return self._after_stop(request, purpose, kind, number, paused)

    def _after_negotiation(self, request: int, purpose: PhaseKind | None, kind: PhaseKind) -> PhaseKind:
        if purpose is None:
            return K.IDLE if request == F.SET_VRING_ENABLE else K.RUNNING if self._runs(request) else kind
        # Questions are asked again for each queue pair, and some front-ends begin with SET_OWNER.
        if purpose is K.NEGOTIATION or (request == F.SET_OWNER and not self._asked):
            return kind
        return purpose

    def _after_start(self, request: int, purpose: PhaseKind | None, number: int, paused: bool) -> PhaseKind:
        if purpose in (K.STOP, K.RESET, K.POSTCOPY):
            return purpose
        if not self._rings and self._done and self._done[-1].kind in (K.NEGOTIATION, K.INITIALISATION):
            # Some front-ends set features first and ask the rest then: that was no start yet.
            if purpose is K.NEGOTIATION or request in (F.SET_OWNER, F.GET_CONFIG):
                return self._done[-1].kind
        elif request in BEGINS_AGAIN:
            return K.NEGOTIATION
        if not self._kicked or (not paused and request not in RUNS):
            return K.START
        return self._after_running(request, purpose, number)

    def _after_running(self, request: int, purpose: PhaseKind | None, number: int) -> PhaseKind:
        if purpose is None:
            return K.RUNNING
        if request in BEGINS_AGAIN or (purpose is K.NEGOTIATION and not self._kicked):
            return K.NEGOTIATION
        if request == F.SET_FEATURES:
            return K.MIGRATION if self._logs(number) else K.RUNNING
        if request in PREPARES_RING or purpose in (K.STOP, K.RESET, K.MIGRATION, K.POSTCOPY):
            return purpose
        return K.RUNNING

    def _after_migration(self, request: int, purpose: PhaseKind | None, number: int, paused: bool) -> PhaseKind:
        if purpose in (K.STOP, K.RESET, K.POSTCOPY):
            return purpose
        if request in BEGINS_AGAIN:
            return K.NEGOTIATION
        if purpose is K.MIGRATION:
            self._ending = False
            return K.MIGRATION
        if self._ending and (paused or request not in ENDS_LOGGING):
            return K.RUNNING if self._kicked else K.IDLE
        if not self._kicked and purpose is K.START:
            return K.START
        if request == F.SET_FEATURES:
            self._ending = not self._logs(number)
        return K.MIGRATION

    def _after_postcopy(self, request: int, purpose: PhaseKind | None) -> PhaseKind:
        if request in BEGINS_AGAIN:
            return K.NEGOTIATION
        if purpose in (K.STOP, K.RESET, K.MIGRATION) or (purpose is K.START and not self._kicked):
            return purpose
        if not self._ending:
            return K.POSTCOPY
        return K.RUNNING if self._kicked else K.IDLE

    def _after_stop(
        self, request: int, purpose: PhaseKind | None, kind: PhaseKind, number: int, paused: bool
    ) -> PhaseKind:
        """After idle, stop and reset."""
        if request in ALSO_LATER:
            if not any(done.kind is K.INITIALISATION for done in self._done[:8]):
                return K.INITIALISATION
            return K.IDLE if paused else kind
        if purpose is not None:
            return purpose
        if self._runs(request):
            return K.RUNNING
        return K.IDLE if paused or (request == F.SET_VRING_ENABLE and self._value(number)) else kind

    def _runs(self, request: int) -> bool:
        """The request says that the device runs: it does only with a ring that was kicked, as far as that was seen."""
        return request in RUNS and (self._kicked or self._late or request == F.VRING_KICK)

    def _logs(self, number: int) -> bool:
        """SET_FEATURES switches dirty logging on."""
        return bool((self._value(number) or 0) & F_LOG_ALL)

    # -- from one to the next -----------------------------------------------------------------------------------------

    def _turn(self, kind: PhaseKind, number: int, time_ns: int) -> _OpenPhase:
        """Enter another phase, together with the messages that announced it."""
        now = self._now
        if now is None:
            return self._begin(kind, number, time_ns)
        if now.kind is K.START and not self._rings and kind in (K.NEGOTIATION, K.INITIALISATION) and self._done:
            before = self._done[-1]
            if before.kind is kind and time_ns - now.end_ns <= WAIT_NS:
                del self._done[-1]
                self._now = _OpenPhase(
                    kind, before.first, now.last, before.count + now.count, before.start_ns, now.end_ns
                )
                return self._now
        first, first_ns, all_of_it = number, time_ns, now.count
        for one in reversed(self._announcers):
            if one.number < now.first or not self._announces(one, kind, first_ns):
                break
            first, first_ns = one.number, one.time_ns
            now.last, now.count, now.end_ns = one.last, one.messages, one.end_ns
        taken = all_of_it - now.count
        began = self._begin(kind, first, first_ns)
        began.count = taken
        return began

    def _announces(self, one: _Announcer, kind: PhaseKind, before_ns: int) -> bool:
        if before_ns - one.time_ns > SETTLE_NS:
            return False
        if one.request == F.GET_FEATURES:
            return kind is K.NEGOTIATION
        if kind in (K.STOP, K.RESET):
            return one.request not in SETS_UP and self._value(one.number) == 0
        if kind is not K.START:
            return False
        return one.request in SETS_UP or (one.request == F.SET_VRING_ENABLE and self._value(one.number) == 1)

    def _begin(self, kind: PhaseKind, number: int, time_ns: int) -> _OpenPhase:
        """End the phase that goes on, and what is left of time before the next one."""
        now, done = self._now, self._done
        if now is not None and now.count:
            done.append(now.ended(time_ns if now.kind in LASTING and not self._ending else now.end_ns))
        elif now is None:
            self._before_first(number, time_ns)
        rest = kind in (K.RUNNING, K.IDLE)
        end_ns = done[-1].end_ns if done else time_ns
        if not rest and done:
            before = done[-1].kind
            pause = WAIT_NS if (before, kind) == (K.NEGOTIATION, K.INITIALISATION) else SETTLE_NS
            if before in LEADS_TO_RUNNING and self._kicked and end_ns < time_ns:
                done.append(Phase(K.RUNNING, number, number - 1, 0, end_ns, time_ns))
            elif before not in (K.CONNECT, K.RECONNECT) and end_ns + pause < time_ns:
                done.append(Phase(K.IDLE, number, number - 1, 0, end_ns, time_ns))
        self._rings = self._ending = False
        self._now = _OpenPhase(kind, number, number - 1, 0, end_ns if rest else time_ns, time_ns)
        return self._now

    def _before_first(self, number: int, time_ns: int) -> None:
        opened_ns, previous_ns = self._opened_ns, self._previous_end_ns
        # A front-end may connect again before the end of the connection before it is seen.
        if previous_ns is not None and previous_ns <= time_ns:
            self._done.append(Phase(K.RECONNECT, number, number - 1, 0, previous_ns, time_ns))
        elif opened_ns is not None and opened_ns <= time_ns and not self._late:
            self._done.append(Phase(K.CONNECT, number, number - 1, 0, opened_ns, time_ns))
