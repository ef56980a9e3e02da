"""A relay that does to messages what somebody has decided, instead of passing them on.

It is only there when rules were given. What it adds to a relay: messages are passed on whole, each is shown to the
decider first, and what is not passed on at once waits in the outbox of its direction, in order. The capture says of
each message that is not passed on as it came which rule took it (before the message), and what was sent in its place
(`vusniff.record.Fault`); a message without such a word was passed on as it is.

Memory: while much waits in one direction (`FaultDirection.is_full`), nothing more is read from its sender. Time: what
waits is woken by timers; other connections never wait.

Reset. The kernel tells a peer a reset when its connection is closed with bytes of it unread (unix_release_sock in
net/unix/af_unix.c). So where a rule may want one, the last byte of a message is looked at, and taken only when it is
decided.
"""

from __future__ import annotations

import array
import functools
import os
import select
import socket
import time
from collections.abc import Sequence
from typing import Any, cast

from vusniff.amounts import duration
from vusniff.channel import Channel
from vusniff.printable import escape
from vusniff.record import NO_FACTS, Chunk, Descriptor, DescriptorKind, Facts, Fault, FaultAct, Frame, FrameKind
from vusniff.sources.proxy.outbox import (
    FaultDirection,
    SparingSocket,
    Unit,
    close_all,
    difference,
    duplicates,
    sent_words,
)
from vusniff.sources.proxy.plan import ALONE_SECONDS, Breaking, FaultPlan, Order, RelayHost
from vusniff.sources.proxy.relay import Relay

PIECE_SECONDS = 0.001
"""Between two pieces of a message that is split."""


class FaultRelay(Relay):
    """A connection between two sockets that it owns, with somebody who decides about its messages."""

    _directions: tuple[FaultDirection, FaultDirection]

    def __init__(self, host: RelayHost, *args: Any) -> None:
        self._host = host
        self._decider = host.decider
        self._number = 0
        self._introduced = False
        self._ended_by = 0
        """The rule that has ended this connection."""
        super().__init__(*args)

    def _direction(
        self, end: int, source: socket.socket, target: socket.socket, channel: Channel | None
    ) -> FaultDirection:
        if not self._number:
            self._number = self._decider.opened(self.connection)
        if self._decider.spares:
            source = cast(socket.socket, SparingSocket(source))
        return FaultDirection(end, source, target, channel)

    def finish(self, reason: str | None = None) -> None:
        if not self.finished:
            super().finish(reason)
            self._decider.closed(self._number)

    # -- what comes in ------------------------------------------------------------------------------------------------

    def _record_received(  # type: ignore[override]
        self, direction: FaultDirection, data: bytes, descriptors: tuple[Descriptor, ...], dropped: bool
    ) -> None:
        if self.finished:
            if self._ended_by:
                rest = Frame(self.connection.id, direction.end, time.time_ns(), data, Facts(descriptors))
                self._recorder.announce(rest)
                words = "is not sent: the connection has ended"
                self._say(rest, self._host.next_fault(), FaultAct.TAKES, self._ended_by, words=words)
            super()._record_received(direction, data, descriptors, dropped)
            return
        framer, number, end, now = direction.framer, self.connection.id, direction.end, time.time_ns()
        back = self._directions[1 - end]
        if held := back.framer.release():
            for frame in held:
                self._come(back, frame, self._decided(back, frame))
            self._arrange(back)
            self._pump(back)
        facts = Facts(descriptors) if descriptors else NO_FACTS
        if framer.is_message(data):
            frame = Frame(number, end, now, data, facts)
            plan = direction.last = self._decider.decide(self._number, frame)
            if plan is None and direction.is_empty and not (direction.silent or direction.fds or direction.spares):
                if not self._introduced:
                    self._introduce(frame)
                self._record([frame])
                direction.passes = True
                return
            self._come(direction, frame, plan)
        else:
            for frame in framer.feed(Chunk(number, end, now, data, facts)):
                self._come(direction, frame, self._decided(direction, frame))
        direction.fresh = True
        resets = any(plan is not None and plan.end is Breaking.RESET for _, plan, _ in direction.arrived)
        if isinstance(direction.source, SparingSocket) and not resets:
            direction.source.settle()
        if dropped:
            self._lose_descriptors()

    def _introduce(self, frame: Frame) -> None:
        """Tells, before the first message of the connection, that there are rules."""
        self._introduced = True
        self._recorder.announce(frame)
        self._say(frame, self._host.next_fault(), FaultAct.RULES, 0, text=self._decider.text)

    def _record_end(self, direction: FaultDirection) -> None:  # type: ignore[override]
        for frame in direction.framer.end(time.time_ns(), closed=True):
            self._come(direction, frame, self._decided(direction, frame))
        self._arrange(direction)
        self._pump(direction)

    def _record_rest(self, direction: FaultDirection) -> None:  # type: ignore[override]
        source = direction.source
        if not isinstance(source, SparingSocket) or not source.owed:
            super()._record_rest(direction)

    def _decided(self, direction: FaultDirection, frame: Frame) -> FaultPlan | None:
        """What is to be done with a frame."""
        if frame.kind is FrameKind.CONTINUATION:
            return direction.rest(frame)
        direction.last = self._decider.decide(self._number, frame)
        return direction.last

    def _come(self, direction: FaultDirection, frame: Frame, plan: FaultPlan | None) -> None:
        """A frame has come: records it, and by which rule it is not passed on as it is."""
        if not self._introduced:
            self._introduce(frame)
        if plan is not None and plan.is_plain:
            plan = None
        fault = 0
        comments: tuple[bytes, ...] = ()
        if plan is not None or direction.waits:
            fault, comments = self._take(direction, frame, plan)
        self._record([frame], comments)
        direction.arrived.append((frame, plan, fault))

    def _take(self, direction: FaultDirection, frame: Frame, plan: FaultPlan | None) -> tuple[int, tuple[bytes, ...]]:
        """Tells that a frame is not passed on as it is, before it: gives its `Fault.id`, and the same for Wireshark."""
        fault = self._host.next_fault()
        text, words = "", "waits behind one that it holds up"
        actions: tuple[str, ...] = ()
        if plan is not None:
            direction.rule, text, actions, words = plan.rule, plan.text, plan.actions, ""
        elif direction.silent:
            words = "is not sent: nothing more goes out in this direction"
        self._recorder.announce(frame)
        self._say(frame, fault, FaultAct.TAKES, direction.rule, text=text, actions=actions, words=words)
        return fault, (f"vusniff proxy, rule {direction.rule}: {escape(text or words)}".encode("utf-8", "replace"),)

    def _arrange(self, direction: FaultDirection) -> None:
        """Puts what has arrived into the outbox."""
        now = time.monotonic()
        for frame, plan, fault in direction.arrived:
            count = len(frame.descriptors)
            unit = Unit(frame, direction.fds[:count], plan, fault, now)
            direction.fds = direction.fds[count:]
            if direction.silent:
                close_all(unit.descriptors, self._closer)
                continue
            direction.outbox.append(unit)
            if plan is not None and plan.hold:
                unit.holding = True
                self._host.hold(frame, plan, functools.partial(self._go_on, direction, unit))
        direction.arrived.clear()
        self._pause(direction)

    def _go_on(self, direction: FaultDirection, unit: Unit, plan: FaultPlan) -> bool:
        """The user has said what is to be done with a message that is held; False where that is too late."""
        if self.finished or not unit.holding:
            return False
        self._does(unit, f"has held it for {duration(int((time.monotonic() - unit.since) * 1e9))}")
        unit.holding = False
        unit.since = time.monotonic()
        unit.take(plan)
        self._wake(direction)
        return True

    # -- what goes out ------------------------------------------------------------------------------------------------

    def _send(self, direction: FaultDirection) -> None:  # type: ignore[override]
        if direction.passes:
            direction.passes = False
            super()._send(direction)
            return
        if direction.fresh:
            direction.fresh = False
            direction.fds.extend(direction.descriptors)
            direction.data, direction.descriptors = b"", array.array("i")
            self._arrange(direction)
        self._pump(direction)

    def _pump(self, direction: FaultDirection) -> None:
        """Sends what may go out now, and sees to it that the rest is woken."""
        while not self.finished and not direction.done:
            if direction.data or direction.stalled:
                if direction.stalled:
                    return
                super()._send(direction)
                if direction.data or direction.stalled or direction.done:
                    return
            unit = direction.current
            if unit is None:
                unit = self._next(direction)
                if unit is None:
                    break
                direction.current = unit
                self._begin(direction, unit)
            elif unit.due > time.monotonic():
                self._wake_at(direction, unit.due)
                return
            elif not self._load(direction, unit):
                direction.current = None
                self._after(direction, unit)
        if not self.finished and not direction.done:
            super()._send(direction)  # passes an end on
            self._pause(direction)

    def _next(self, direction: FaultDirection) -> Unit | None:
        """The next message whose turn it is."""
        outbox = direction.outbox
        if not outbox or outbox[0].holding:
            return None
        first, now = outbox[0], time.monotonic()
        if first.due > now:
            self._wake_at(direction, first.due)
            return None
        if first.order is not Order.IN_TURN and not direction.ended:
            alone_at = first.due + ALONE_SECONDS
            if len(outbox) == 1 and now < alone_at:
                self._wake_at(direction, alone_at)
                return None
        if first.order is Order.BEHIND:
            first.order = Order.IN_TURN
            if len(outbox) > 1 and not outbox[1].holding:
                first.has_next = True
                outbox[0], outbox[1] = outbox[1], first
                return self._next(direction)
        return outbox.popleft()

    def _begin(self, direction: FaultDirection, unit: Unit) -> None:
        """It is a message's turn: does what comes before it is sent."""
        plan = unit.plan
        if plan is None:
            if unit.fault:
                late = duration(int((time.monotonic() - unit.since) * 1e9))
                self._give(direction, unit, direction.rule, f"sends it {late} later")
            return
        if plan.answer is not None:
            self._answer(direction, unit, plan)
        if plan.signal is not None:
            self._does(unit, self._host.kill(plan.signal))
        kept, extra = unit.descriptors, []
        if plan.kept is not None:
            kept = array.array("i", [unit.descriptors[at] for at in plan.kept])
            close_all(array.array("i", [fd for fd in unit.descriptors if fd not in kept]), self._closer)
        for _ in range(plan.extra if plan.times else 0):
            try:
                extra.append(os.eventfd(0, os.EFD_CLOEXEC))
            except OSError:
                break
        unit.descriptors = array.array("i", [*kept, *extra])
        if not plan.times:
            if plan.answer is None and plan.end is None:
                self._does(unit, "does not send it")
        else:
            self._give(direction, unit, plan.rule, sent_words(plan, unit, extra, bool(direction.outbox)), extra)

    def _give(self, direction: FaultDirection, unit: Unit, rule: int, words: str, extra: Sequence[int] = ()) -> None:
        plan, came = unit.plan, unit.frame.descriptors
        descriptors: tuple[Descriptor, ...] | None = None
        if plan is not None and (plan.kept is not None or extra):
            kept = range(len(came)) if plan.kept is None else plan.kept
            descriptors = (*(came[at] for at in kept), *(Descriptor(DescriptorKind.EVENTFD) for _ in extra))
        size = len(unit.data) if len(unit.data) != len(unit.frame.data) else None
        changes = difference(unit.frame.data, unit.data)
        self._say(
            *(unit.frame, unit.fault, FaultAct.GIVES, rule),
            words=words,
            to=1 - direction.end,
            times=unit.copies,
            size=size,
            changes=changes,
            descriptors=descriptors,
        )

    def _answer(self, direction: FaultDirection, unit: Unit, plan: FaultPlan) -> None:
        """Gives the sender an answer in the other's place."""
        assert plan.answer is not None
        end, back = direction.end, self._directions[1 - direction.end]
        changes = ((0, plan.answer),)
        self._say(
            *(unit.frame, unit.fault, FaultAct.GIVES, plan.rule),
            words="answers it in the place of the other side",
            to=end,
            size=len(plan.answer),
            changes=changes,
            made=True,
        )
        if not back.ended and not back.done:
            made = Frame(self.connection.id, back.end, time.time_ns(), plan.answer)
            back.outbox.append(Unit(made, array.array("i"), None, 0, time.monotonic()))
            self._pump(back)

    def _load(self, direction: FaultDirection, unit: Unit) -> bool:
        """Hands the next send of a message to the direction; False when nothing is left of it."""
        if unit.copies <= 0 or not unit.data:
            return False
        plan, size = unit.plan, len(unit.data)
        step = plan.piece if plan is not None and plan.piece else size
        data = unit.data[unit.at : unit.at + step]
        last_copy, first_piece = unit.copies == 1, unit.at == 0
        unit.at += step
        if first_piece and unit.descriptors:
            direction.descriptors = unit.descriptors
            unit.descriptors = array.array("i") if last_copy else duplicates(direction.descriptors)
        if unit.order is Order.JOINED and unit.at >= size and last_copy and direction.outbox:
            data += self._joined(direction)
        direction.data = data
        if unit.at >= size:
            unit.at, unit.copies = 0, unit.copies - 1
        elif plan is not None and plan.piece:
            unit.due = time.monotonic() + PIECE_SECONDS
        return True

    def _joined(self, direction: FaultDirection) -> bytes:
        """The next message, which goes out in the same send."""
        other = direction.outbox[0]
        if other.holding or (other.plan is not None and other.plan.data is not other.frame.data):
            return b""
        direction.outbox.popleft()
        self._give(direction, other, direction.rule, "sends it in one piece with the one before it")
        direction.descriptors = array.array("i", [*direction.descriptors, *other.descriptors])
        return other.data

    def _after(self, direction: FaultDirection, unit: Unit) -> None:
        """A message is on its way: does what comes behind it."""
        close_all(unit.descriptors, self._closer)
        unit.descriptors = array.array("i")
        plan = unit.plan
        if plan is None:
            return
        if plan.stall:
            direction.stall_until = time.monotonic() + plan.stall
            self._does(unit, f"reads nothing from its sender for {duration(int(plan.stall * 1e9))}")
            self._pause(direction)
        if plan.most is not None:
            direction.silent = True
            for one in direction.outbox:
                close_all(one.descriptors, self._closer)
            direction.outbox.clear()
        if plan.end is not None:
            self._does(unit, "closes the connection" + (" with a reset" if plan.end is Breaking.RESET else ""))
            self._ended_by = plan.rule
            self.finish(f"{'reset' if plan.end is Breaking.RESET else 'cut'} by rule {plan.rule} of the proxy")
        elif plan.most is not None:
            self._does(unit, "sends nothing more to that side")

    # -- waiting ------------------------------------------------------------------------------------------------------

    def _pause(self, direction: FaultDirection) -> None:
        """Reads or does not read, by what there is to wait for."""
        if direction.room_at is not None:
            return
        now = time.monotonic()
        stalled = direction.stall_until > now
        if stalled:
            self._wake_at(direction, direction.stall_until)
        owed = isinstance(direction.source, SparingSocket) and direction.source.owed
        direction.paused = stalled or direction.is_full or owed

    def _wake_at(self, direction: FaultDirection, when: float) -> None:
        now = time.monotonic()
        if direction.wake_at <= now or when < direction.wake_at:
            direction.wake_at = when
            self._loop.after(max(when - now, 0), functools.partial(self._wake, direction))

    def _wake(self, direction: FaultDirection) -> None:
        if self.finished:
            return
        try:
            self._pump(direction)
            self._pause(direction)
            if not self.finished and not direction.paused:
                self._read(direction, False)
            self._wait()
        except OSError as error:
            self._fail(error)

    def _act(self, end: int, events: int) -> None:
        forth = self._directions[end]
        if events & (select.EPOLLHUP | select.EPOLLERR) and forth.stall_until:
            forth.stall_until = 0.0  # whoever is not read from has gone
            self._pause(forth)
        super()._act(end, events)
        if forth.paused or forth.stall_until or self._directions[1 - end].data:
            self._wait()

    def _wait(self) -> None:
        super()._wait()
        if self.finished:
            return
        for end in (0, 1):
            forth, back = self._directions[end], self._directions[1 - end]
            if forth.stall_until and not forth.ended and not back.data:
                # Nothing is read, but its end is to be seen.
                self._loop.watch(self._sockets[end].fileno(), 0 if forth.paused else select.EPOLLIN, self._ready[end])

    # -- what is told -------------------------------------------------------------------------------------------------

    def _does(self, unit: Unit, words: str) -> None:
        assert unit.plan is not None
        self._say(unit.frame, unit.fault, FaultAct.DOES, unit.plan.rule, actions=unit.plan.actions, words=words)

    def _say(self, frame: Frame, fault: int, act: FaultAct, rule: int, **facts: Any) -> None:
        self._recorder.evidence(
            Fault(time.time_ns(), fault, act, rule, ends=((self.connection.id, frame.end),), **facts)
        )
