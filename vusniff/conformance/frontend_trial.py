"""Plays one scenario to a front-end: a back-end that answers what it is asked, but for what the row says.

A front-end asks in its own order and as long as it likes; so the play ends when the goal is reached, when it cannot be
any more, or after ``patience`` seconds. It must not know processes.
"""

from __future__ import annotations

import os
import select
import struct
import sys
import time

from vusniff.conformance import words
from vusniff.conformance.conversation import Meet, TrialOver, TrialResult, message
from vusniff.conformance.good_backend import GoodBackend
from vusniff.conformance.manners import Act, Departure, Goal
from vusniff.conformance.scenario import Demand, P, Result
from vusniff.demo.wire import PeerError
from vusniff.errors import SourceError
from vusniff.families.vhost_user.protocol import (
    FLAG_NEED_REPLY,
    FLAG_REPLY,
    HEADER_SIZE,
    HEADERS,
    VERSION,
    Channels,
    FrontendRequest,
    request_name,
)
from vusniff.replay.link import Arrival, ReplaySocket

F = FrontendRequest
HEADER = HEADERS[sys.byteorder]
LATE_S = 0.5


class FrontendTrial(GoodBackend):
    """One play of one scenario."""

    def play(self) -> TrialResult:
        """From the first connection to the end of the last."""
        began = time.monotonic()
        try:
            self._open(self._meet)
            self._converse(began + self._patience)
        except TrialOver as over:
            self.outcome.result, self.outcome.why = over.result, str(over)
        finally:
            self.close()
            self.outcome.seconds = time.monotonic() - began
        return self.outcome

    def close(self) -> None:
        """Leave the front-end."""
        self._leave(True)
        self._rings.close()
        self._things.close()

    def _open(self, meet: Meet) -> None:
        sock, connected = meet()
        self._link = ReplaySocket(sock, Channels.MAIN)
        if self._capture is not None:
            self._capture.opened(Channels.MAIN, connected, (os.fstat(sock.fileno()).st_ino, None))

    def _miss(self, why: str, demand: Demand | None = None) -> TrialOver:
        must = (demand or self._row.demand) is Demand.MUST
        return TrialOver(Result.FAIL if must else Result.INCONCLUSIVE, why)

    # The conversation.

    def _converse(self, deadline: float) -> None:
        reached: float | None = None
        while True:
            now = time.monotonic()
            if reached is None and self._is_reached():
                reached = now + (0.0 if self._row.own else self._linger)
            if reached is not None and now >= reached:
                self._conclude()
            if self._wrong and self._row.goal is Goal.LEAVES:
                deadline = min(deadline, self._wrong_until)
            if now >= deadline:
                self._give_up()
            self._turn(min(deadline, reached or deadline) - now)

    def _is_reached(self) -> bool:
        row, rings = self._row, self._rings
        match row.goal:
            case Goal.MOVES:
                return rings.moved > 0
            case Goal.LEAVES | Goal.RETURNS:
                return False
            case _:
                return self._ran and all(index in self._done for index in range(len(row.turns)))

    def _conclude(self) -> None:
        """The rings run, and for a moment nothing was wrong."""
        row = self._row
        if missing := row.needs & ~self._taken:
            names = ", ".join(one.name or "" for one in P if missing & one)
            raise TrialOver(Result.NOT_APPLICABLE, f"the front-end does not take protocol feature {names}")
        if row.asks is not None and not self._asked:
            raise TrialOver(Result.NOT_APPLICABLE, f"it does not say {request_name(Channels.MAIN, row.asks)}")
        if row.own is not None:
            self._ask_own()
        raise TrialOver(Result.PASS, "")

    def _give_up(self) -> None:
        """The time is over."""
        row, seconds = self._row, self._patience
        if row.goal is Goal.LEAVES and self._wrong:
            raise self._miss(
                f"the front-end did not close the connection for {self._reply_patience:g} s: {self._wrong}"
            )
        if self._taken and (missing := row.needs & ~self._taken):
            names = ", ".join(one.name or "" for one in P if missing & one)
            raise TrialOver(Result.NOT_APPLICABLE, f"the front-end does not take protocol feature {names}")
        if row.goal is Goal.ENDURES:
            raise TrialOver(Result.PASS, "")
        undone = [one for index, one in enumerate(row.turns) if index not in self._done]
        if self._ran and undone:
            raise TrialOver(Result.NOT_APPLICABLE, f"it does not say {request_name(Channels.MAIN, undone[0].request)}")
        if row.goal in (Goal.RUNS, Goal.MOVES):
            what = "no ring was started and enabled" if row.goal is Goal.RUNS else "no request came through a ring"
            raise TrialOver(Result.INCONCLUSIVE, f"{what} within {seconds:g} s")
        if row.turns and not self._done:
            name = request_name(Channels.MAIN, row.turns[0].request)
            raise TrialOver(Result.NOT_APPLICABLE, f"it did not say {name} within {seconds:g} s")
        raise TrialOver(Result.INCONCLUSIVE, f"no ring was started and enabled within {seconds:g} s")

    def _turn(self, seconds: float) -> None:
        """Wait for the next thing, and do what is to be done."""
        link = self._link
        assert link is not None
        poll = select.poll()
        poll.register(link, select.POLLIN)
        if self._channel is not None:
            poll.register(self._channel, select.POLLIN)
        kicks = self._rings.kicks()
        for fd in kicks:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(max(0.0, seconds) * 1000):
            if fd in kicks:
                self._kick(kicks[fd], fd)
        if (arrival := link.receive()) is not None:
            try:
                self._take(arrival)
            finally:
                arrival.close()
            self._ran = self._ran or self._rings.running
        if self._link is link and link.ended:
            self._left(link.ended)
        self._listen_on_channel()

    def _kick(self, index: int, fd: int) -> None:
        try:
            self._rings.kick(index, fd)
        except PeerError as error:
            self.outcome.notes.append(str(error))
            self._rings.vrings[index].stop()

    def _listen_on_channel(self) -> None:
        """What the front-end says on the back-end channel, without waiting."""
        channel = self._channel
        if channel is None:
            return
        while (arrival := channel.receive()) is not None:
            if self._capture is not None:
                self._capture.heard(Channels.BACKEND, arrival.data, arrival.fds)
            self._replies.append(arrival.data)
            arrival.close()
        if channel.ended:
            channel.close()
            self._channel = None
            if self._capture is not None:
                self._capture.closed(Channels.BACKEND, False)

    def _left(self, how: str) -> None:
        """The front-end closed the connection."""
        self.outcome.left = True
        self._listen_on_channel()
        self._leave(False)
        if self._asking:
            return  # what it has answered before decides
        goal = self._row.goal
        if goal in (Goal.RUNS, Goal.MOVES) and self._is_reached():
            self._conclude()
        undone = [one for index, one in enumerate(self._row.turns) if index not in self._done]
        if goal is Goal.ENDURES or (goal is Goal.LEAVES and not undone):
            raise TrialOver(Result.PASS, "")
        if undone:
            raise TrialOver(Result.NOT_APPLICABLE, f"it left before {request_name(Channels.MAIN, undone[0].request)}")
        if self._taken and self._row.needs & ~self._taken:
            raise TrialOver(Result.NOT_APPLICABLE, "the front-end does not take what the scenario is about")
        if self._row.own is not None:
            raise TrialOver(Result.INCONCLUSIVE, f"the front-end {how} before a ring was started and enabled")
        raise self._miss(f"the front-end {how} before {goal.value}")

    # Requests.

    def _take(self, arrival: Arrival) -> None:
        request, flags, _ = HEADER.unpack_from(arrival.data)
        payload = arrival.data[HEADER_SIZE:]
        self.outcome.heard += 1
        if self._capture is not None:
            self._capture.heard(Channels.MAIN, arrival.data, arrival.fds)
        if self._wrong and self._row.goal is Goal.LEAVES and self._grace > 0:
            self._grace -= self._waits(request, flags, payload)
        elif self._wrong and self._row.goal is Goal.LEAVES:
            raise self._miss(f"the front-end went on with {request_name(Channels.MAIN, request)}: {self._wrong}")
        self._asked = self._asked or request == self._row.asks
        self._note(request, payload, arrival)
        index = next((n for n, one in enumerate(self._row.turns) if one.request == request and n not in self._done), -1)
        if index >= 0:
            self._done.add(index)
            self._act(self._row.turns[index], request, flags, payload)
        else:
            self._answer(request, flags, payload)

    def _act(self, turn: Departure, request: int, flags: int, asked: bytes) -> None:
        """Otherwise than a good back-end does."""
        own = self._payload(request, asked)
        waits = self._waits(request, flags, asked)
        payload, fds = own if own is not None else (bytes(8), ())
        name = request_name(Channels.MAIN, request)
        if not waits and turn.act not in (Act.CLOSE, Act.DEAF, Act.UNASKED):
            raise TrialOver(Result.NOT_APPLICABLE, f"it did not ask for an acknowledgement of {name}")
        good = message(request, payload, VERSION | FLAG_REPLY)
        wrong = f"{name} was answered "
        match turn.act:
            case Act.VALUE:
                self._send(message(request, struct.pack("=Q", turn.value), VERSION | FLAG_REPLY))
            case Act.REFUSE:
                self._send(message(request, struct.pack("=Q", 1), VERSION | FLAG_REPLY))
            case Act.OTHER_REQUEST:
                self._say_wrong(message(F.SET_OWNER, payload, VERSION | FLAG_REPLY), wrong + "under another request")
            case Act.NO_REPLY_FLAG:
                self._say_wrong(message(request, payload, VERSION), wrong + "without the reply flag")
            case Act.VERSION_0:
                self._say_wrong(message(request, payload, FLAG_REPLY), wrong + "with version 0")
            case Act.SHORT:
                self._say_wrong(message(request, payload[:-4], VERSION | FLAG_REPLY), wrong + "with 4 bytes too few")
            case Act.LONG:
                data = message(request, payload + bytes(8), VERSION | FLAG_REPLY)
                self._say_wrong(data, wrong + "with 8 bytes too many")
            case Act.EMPTY:
                self._say_wrong(message(request, b"", VERSION | FLAG_REPLY), wrong + "without a payload")
            case Act.HUGE:
                data = message(request, payload, VERSION | FLAG_REPLY, 1 << 20)
                self._say_wrong(data, wrong + "with a header that promises 1 MiB")
            case Act.TWICE:
                self._send(good, fds)
                self._grace = 1
                self._say_wrong(good, wrong + "twice")
            case Act.UNASKED:
                stray = message(F.GET_QUEUE_NUM, bytes(8), VERSION | FLAG_REPLY)
                self._say_wrong(stray, "a reply came that nobody waits for")
                self._answer(request, flags, asked)
            case Act.LATE:
                time.sleep(LATE_S)
                self._send(good, fds)
            case Act.BYTES:
                self._send(good, fds, 1)
            case Act.TWO_SENDS:
                self._send(good, fds, HEADER_SIZE)
            case Act.DEAF:
                time.sleep(LATE_S)
                self._answer(request, flags, asked)
            case Act.SILENT:
                return
            case Act.CLOSE:
                self._close_and_wait()
            case Act.HALF:
                self._send(good[: HEADER_SIZE + 3])
                self._close_and_wait()

    def _say_wrong(self, data: bytes, what: str) -> None:
        self._send(data)
        self._wrong = what
        self._wrong_until = time.monotonic() + self._reply_patience

    def _close_and_wait(self) -> None:
        """We leave; a front-end may connect again."""
        self._leave(True)
        try:
            self._open(self._meet_again)
        except SourceError as error:
            raise TrialOver(Result.NOT_APPLICABLE, f"the front-end does not connect again: {error}") from None
        raise TrialOver(Result.PASS, "")

    # What we ask.

    def _ask_own(self) -> None:
        own, row = self._row.own, self._row
        assert own is not None
        if self._channel is None:
            raise TrialOver(Result.NOT_APPLICABLE, "the front-end opened no back-end channel")
        name = request_name(Channels.BACKEND, own.request)
        flags = VERSION | (FLAG_NEED_REPLY if own.need_reply else 0) if own.flags is None else own.flags
        data = message(own.request, words.payload(own.body, {}), flags, own.claims)
        fds = [self._things.fd(one) for one in own.fds]
        if self._capture is not None:
            self._capture.said(Channels.BACKEND, data, fds)
        deadline = time.monotonic() + self._reply_patience
        self._asking = True
        self._replies.clear()
        self._channel.send(data, fds, deadline)
        if own.then_close:
            self._channel.close()
            self._channel = None
            if self._capture is not None:
                self._capture.closed(Channels.BACKEND, True)
        if row.goal in (Goal.QUIET, Goal.ENDURES):
            deadline = time.monotonic() + self._linger
        reply = self._reply_on_channel(deadline)
        if row.goal is Goal.QUIET and reply is not None:
            raise self._miss(f"the front-end answered {name}, which asked for no answer")
        if row.goal in (Goal.QUIET, Goal.ENDURES):
            raise TrialOver(Result.PASS, "")
        if reply is None:
            raise self._miss(f"the front-end did not answer {name} for {self._reply_patience:g} s")
        self._judge_reply(reply, own.request, name)
        raise TrialOver(Result.PASS, "")

    def _reply_on_channel(self, deadline: float) -> bytes | None:
        while not self._replies and self._link is not None and (left := deadline - time.monotonic()) > 0:
            self._turn(left)
        return self._replies[0] if self._replies else None

    def _judge_reply(self, reply: bytes, request: int, name: str) -> None:
        got, flags, size = HEADER.unpack_from(reply)
        if got != request or not flags & FLAG_REPLY or size != 8:
            raise self._miss(f"the front-end answered {name} with {reply[:32].hex(' ')}")
        value = int.from_bytes(reply[HEADER_SIZE:], sys.byteorder)
        if self._row.goal is Goal.REFUSES and not value:
            raise self._miss(f"the front-end answered {name} with 0: it says that it did what it cannot do")
        if self._row.goal is Goal.ANSWERS and value:
            raise self._miss(f"the front-end refused {name}: {value:#x}")
