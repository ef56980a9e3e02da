"""Asks the rules: fed with steps in the order of the capture, gives findings while it runs.

Which rules a message concerns is looked up in one dict made from the table, so that a message costs only those. What
they say is kept by `rulings`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vusniff.analysis.session import Place, Tracker
from vusniff.channel import Channel, Sender
from vusniff.checks import rings, stream
from vusniff.checks.cause import causes
from vusniff.checks.finding import Rule, Trigger
from vusniff.checks.opened import FOLLOWED, OpenSession, begin, follow, remember_told, spoken_of
from vusniff.checks.peers import NOBODY, Implementation, Peer, recognise
from vusniff.checks.plan import READABLE, Plan, by_looks, by_standing, counts_replies, plan_of, questions
from vusniff.checks.recall import FITS, WRONG, lasting, previous_session, recall_reply, recall_request
from vusniff.checks.registry import rules as all_rules
from vusniff.checks.rulings import KEPT, Rulings
from vusniff.checks.silence import MAX_EXITS as MAX_SILENT_EXITS
from vusniff.checks.silence import MAX_SILENT, Silence
from vusniff.checks.stalls import Stall
from vusniff.checks.standing import MAPS, Standing, is_started, stand
from vusniff.checks.step import (
    MAX_BYTES,
    ConnectionHistory,
    PreviousSession,
    SessionEnd,
    SessionHistory,
    Step,
)
from vusniff.checks.wrote import MAX_LINES, tells_of_trouble
from vusniff.families.family import State
from vusniff.families.vhost_user.protocol import (
    FLAG_REPLY,
    Channels,
    FrontendRequest,
)
from vusniff.families.vhost_user.state import DeviceState
from vusniff.message import Message
from vusniff.record import CAPTURE_ENDED, Closed, Connection, Exit, Fault, LogLine, Lost, Sample

if TYPE_CHECKING:
    from vusniff.capture.batch import Event
    from vusniff.checks.sides import Sides

WAIT_NS = 5_000_000_000
"""How long a request may wait by default."""
SLOW = frozenset({FrontendRequest.CHECK_DEVICE_STATE, FrontendRequest.POSTCOPY_END})
"""Requests whose answer waits for something that takes its time."""
MAX_PREVIOUS = 4096
MAX_EXITS = 64
"""Ends of processes remembered of a session."""
LOOK_NS = 50_000_000
"""Time of the capture between two looks at what waits."""

MAX_PLANS = 4096
MAX_PLACES = 4096
_new = object.__new__
# Looked up once, as every message is compared with it (bench_check.py).
_BACKEND = Sender.BACKEND


_NO_PROGRAM = (NOBODY, Peer(Implementation.UNKNOWN, "kernel"))
"""Who sits at an end as long as no program is known there: of VDUSE the driver may come later."""


_Plans = dict[tuple[int | None, int, bool], Plan]
"""By request, flags, and whether the back-end sent it."""
_Here = tuple[OpenSession, ConnectionHistory, _Plans]
"""The session of a place, its connection, and what to do with its channel's messages."""


class Checker:
    """Findings of one capture."""

    def __init__(
        self, tracker: Tracker, rules: Sequence[Rule] | None = None, wait_ns: int = WAIT_NS, kept: int = KEPT
    ) -> None:
        """``tracker`` knows the sessions of the messages that are fed; ``rules`` are those to ask, None for all.

        Raises DissectorError for rules of an installed distribution that cannot be loaded.
        """
        rules = all_rules() if rules is None else rules
        self._rulings = Rulings(kept)
        self.findings = self._rulings.findings
        """In the order they were found."""
        self.counts = self._rulings.counts
        """(session, slug, side) -> how often it was found, kept or not."""
        self.peers: dict[int, tuple[Peer, Peer]] = {}
        """Front-end and back-end of each session."""
        self.partial: dict[int, str] = {}
        """Sessions of which not everything can be judged, and why."""
        self.ended: dict[int, Standing] = {}
        """Where sessions stood at their end."""
        self.found = self._rulings.found
        """The findings of each session that are kept."""
        self.silent: dict[int, Silence] = {}
        """Connections on which nobody has said anything."""
        self.lines: deque[LogLine] = deque(maxlen=MAX_LINES)
        """Lines of logs that tell of trouble, the last ones."""
        self.heard_ns = 0
        """How late what stands between messages tells of."""
        self.tracker = self._tracker = tracker
        self.sides: Sides | None = None
        """Judges the sessions in which a proxy did things by rules; None while there is none."""
        self._rules = rules
        self._wait_ns = wait_ns
        self._kept = kept
        self._open: dict[int, OpenSession] = {}
        self._previous: dict[int, PreviousSession] = {}
        self._ended: set[int] = set()
        self._session_of: dict[int, int] = {}
        self._frontend_ends: dict[int, int] = {}
        self._sampling = tuple(rule for rule in rules if rule.at_sample)
        keyed: dict[tuple[Channel, int | None, int], list[Rule]] = {}
        triggered: dict[Trigger, list[Rule]] = {trigger: [] for trigger in Trigger}
        for rule in rules:
            for on in rule.on:
                if isinstance(on, Trigger):
                    triggered[on].append(rule)
                else:
                    keyed.setdefault((on.channel, on.request, FLAG_REPLY * on.reply), []).append(rule)
        self._keyed = keyed
        self._triggered = {trigger: questions(of_trigger) for trigger, of_trigger in triggered.items()}
        self._plans: dict[Channel, _Plans] = {}
        self._here: dict[Place, _Here] = {}
        self._step = _new(Step)
        """Filled anew by each message, as making one for each takes a tenth of the time of `feed`."""
        self._ending = tuple(rule for rule in rules if rule.at_end)

    def state(self, session: int) -> State | None:
        """The state of a session that goes on, after the last message fed."""
        opened = self._open.get(session)
        return opened.state if opened else None

    def standing(self, session: int, now_ns: int) -> Standing | None:
        """Where a session stands, ``now_ns`` being how late the capture tells of; None before its first message."""
        if self.sides is not None and (standing := self.sides.standing(session, now_ns)) is not None:
            return standing
        opened = self._open.get(session)
        if opened is None:
            return self.ended.get(session)
        sides = self._sides(opened.memory.exits)
        return stand(opened.memory, opened.state, opened.judged, now_ns, sides=sides, calls=opened.calls)

    def _sides(self, exits: Sequence[Exit]) -> tuple[Sender | None, ...]:
        """Which side each process sat on; None for neither, or both."""
        found = [{self._tracker.sender(*end) for end in exit.ends} - {None} for exit in exits]
        return tuple(next(iter(sides)) if len(sides) == 1 else None for sides in found)

    def feed(self, message: Message, place: Place, pairing: int, before: State, after: State) -> None:
        """The next message of the capture. One after its session has ended is not judged."""
        here = self._here.get(place) or self._arrive(message, place)
        if here is None:
            return
        opened, link, plans = here
        opened.state = after
        if not opened.judged:
            if self.sides is not None and self.sides.has(place.connection):
                self.sides.feed(message, place)
                self._collect()
            elif opened.calls:
                self._judge_call(opened, link, message, before, after)
            elif opened.memory.from_log:
                remember_told(opened.memory, message)
            else:
                follow(opened.memory, message)
            return
        step, memory, values = self._step, opened.memory, message.payload
        step.before, step.message, step.after = before, message, after
        step.memory, step.link, step.values = memory, link, values or {}
        step.request, step.pairing, step.skipped, step.late = None, pairing, (), None
        if message.time_ns - memory.looked_ns > LOOK_NS:
            self._look_at_clock(step)
        readable = values is not None and message.malformed is None
        known = 2 * memory.complete + readable
        key = (message.request, message.flags, message.sender is _BACKEND)
        plan = plans.get(key) or self._plan(plans, key, message)
        if not plan.framed:
            self._judge_stray(step, plan, known)
        elif plan.reply:
            self._judge_reply(step, plan, known)
        else:
            self._judge_request(step, plan, known)
        if not readable:
            self._remember_unreadable(memory, message)
        elif plan.handler is not None:
            plan.handler(memory, message, step)

    def _judge_request(self, step: Step, plan: Plan, known: int) -> None:
        """A request from the side that sends such: the rules, then what later messages are judged by."""
        message, memory, link, before = step.message, step.memory, step.link, step.before
        if link.wrong_reply or before.owned is None or before.postcopy is not None:
            self._pull(by_standing(step), step, known)
        passed = message.facts.descriptors
        kept = message if len(message.data) <= MAX_BYTES and len(passed) <= 1 else lasting(message)
        recall_request(step, kept)
        asked = plan.asked[known]
        # In postcopy the front-end acknowledges the back-end's addresses by the same request.
        if asked and (before.postcopy is None or message.layout != "ack"):
            self._rulings.ask(asked, step)
        # Of nearly all messages nothing that is looked at holds: what tells that in short comes first.
        if (
            plan.looked_at
            or not known & READABLE
            or message.trailing
            or step.skipped
            or (passed and not (plan.takes_one and len(passed) == 1 and not passed[0].late))
            or (plan.need_reply and not counts_replies(before))
        ):
            self._pull(by_looks(step, plan), step, known)
        if step.late is not None or link.unread or not known & READABLE:
            self._judge_stream(step, known)
        link.wrong_reply = 0
        if plan.main:
            memory.main_before, memory.last_main = memory.last_main, kept

    def _judge_reply(self, step: Step, plan: Plan, known: int) -> None:
        """The same of a reply from the side that sends such."""
        message, memory, link, before = step.message, step.memory, step.link, step.before
        if link.wrong_reply or before.owned is None or before.postcopy is not None:
            self._pull(by_standing(step), step, known)
        recall_reply(step)
        passed = message.facts.descriptors
        if plan.asked[known]:
            self._rulings.ask(plan.asked[known], step)
        if (
            plan.looked_at
            or step.pairing > FITS
            or not known & READABLE
            or message.trailing
            or step.skipped
            or passed
            or step.values.get("u64")
        ):
            self._pull(by_looks(step, plan), step, known)
        if step.late is not None or link.unread or not known & READABLE:
            self._judge_stream(step, known)
        if step.pairing == WRONG:
            link.wrong_reply = message.number
        if plan.main:
            short = len(message.data) <= MAX_BYTES and len(passed) <= 1
            memory.answered, memory.last_reply = True, message if short else lasting(message)
            asked = step.request
            if asked is not None and message.time_ns - asked.time_ns > memory.slow_ns:
                self._slow(memory, message, asked)

    def _judge_stray(self, step: Step, plan: Plan, known: int) -> None:
        """Bytes without a header, or a message from the wrong side: what it would mean from the other is not asked."""
        message, memory = step.message, step.memory
        if memory.asked_back is None and not plan.reply and message.channel is Channels.MAIN:
            memory.asked_back = lasting(message) if message.request is not None else None
        if plan.odd or message.descriptors:
            self._pull((Trigger.HEADER if message.request is not None else Trigger.DESCRIPTORS,), step, known)
        if step.late is not None or step.link.unread or not known & READABLE:
            self._judge_stream(step, known)
        if plan.reply and step.pairing == WRONG:
            step.link.wrong_reply = message.number

    def _judge_stream(self, step: Step, known: int) -> None:
        """A request waits for too long by now, or this message or the one before it is not whole."""
        if step.late is not None:
            self._pull((Trigger.LATE,), step, known)
        if step.link.unread or not known & READABLE:
            self._pull((Trigger.STREAM,), step, known)
            stream.follow(step.link, step.message)

    def _judge_call(
        self, opened: OpenSession, link: ConnectionHistory, message: Message, before: State, after: State
    ) -> None:
        """A call to the kernel: its own rules, and those of the request of vhost-user that means the same."""
        from vusniff.checks.refused_calls import APPLIES
        from vusniff.families.vhost_kernel.advance import as_user

        memory = opened.memory
        readable = message.payload is not None and message.malformed is None
        step = Step(before, message, after, memory, link, message.payload or {})
        self._pull((Trigger.CALL,), step, 2 * memory.complete + readable)
        memory.main_before, memory.last_main = memory.last_main, lasting(message)
        memory.last_reply, memory.answered = memory.last_main, True
        if after.vrings is not before.vrings and not memory.kicked:
            memory.kicked = any(is_started(ring) for ring in after.vrings.changed_from(before.vrings))
        if not readable or not self._keyed:
            return
        for said in as_user(before, message):
            rules = self._keyed.get((said.channel, said.request, said.flags & FLAG_REPLY), ())
            asked = questions([rule for rule in rules if rule.judge in APPLIES])
            step = Step(before, said, after, memory, link, said.payload or {})
            self._rulings.ask(asked[2 * memory.complete + 1], step)

    def _remember_unreadable(self, memory: SessionHistory, message: Message) -> None:
        """What is kept of a message that could not be read in full."""
        if message.request is None and message.sender not in memory.spoken:
            memory.spoken[message.sender] = spoken_of(message)
        if message.channel in FOLLOWED and (message.malformed is not None or message.request is None):
            self._mark_incomplete(memory, f"#{message.number} could not be read")
            memory.unseen |= message.request is None and message.sender is not Sender.BACKEND

    def _slow(self, memory: SessionHistory, reply: Message, request: Message) -> None:
        """An answer took longer than any before it."""
        if request.request not in SLOW:
            memory.slow_ns = reply.time_ns - request.time_ns
            memory.slowest, memory.slow_before = request, None
            before = memory.main_before
            if before is not None and request is memory.last_main and before.request in MAPS and not before.need_reply:
                memory.slow_before = before

    def _arrive(self, message: Message, place: Place) -> _Here | None:
        """A place's first message: what is needed for all of them; None when its session has ended."""
        opened = self._open.get(message.session)
        if opened is None:
            if message.session in self._ended:
                return None
            opened = self._open[message.session] = self._begin(message, place)
        memory = opened.memory
        memory.device = place.context.device
        if message.connection not in memory.links:
            self._meet(memory, message)
        self._know(memory, message, place)
        if len(self._here) >= MAX_PLACES:
            self._here.clear()
        link = memory.links[message.connection]
        here = self._here[place] = opened, link, self._plans.setdefault(place.channel, {})
        return here

    def _plan(self, plans: _Plans, key: tuple[int | None, int, bool], message: Message) -> Plan:
        """The plan for messages that have these flags and this request, kept."""
        if len(plans) >= MAX_PLANS:
            plans.clear()
        plan = plans[key] = plan_of(message, self._keyed)
        return plan

    def tell(self, event: Event) -> None:
        """What stands between messages, in the order of the capture."""
        if isinstance(event, Connection):
            if len(self.silent) < MAX_SILENT:
                self.silent[event.id] = Silence(event)
            return
        self.heard_ns = max(self.heard_ns, event.time_ns)
        if isinstance(event, Fault):
            self._faulted(event)
            return
        if self.sides is not None:
            self.sides.tell(event)
            self._collect()
        if isinstance(event, Closed):
            self.closed(event)
        elif isinstance(event, Lost):
            self.lost(event)
        elif isinstance(event, Exit):
            self.exited(event)
        elif isinstance(event, Sample):
            self.sampled(event)
        elif isinstance(event, LogLine) and tells_of_trouble(event):
            self.lines.append(event)

    def _faulted(self, fault: Fault) -> None:
        """A proxy has rules, or did something by one."""
        if self.sides is None:
            from vusniff.checks.sides import Sides

            self.sides = Sides(lambda tracker: Checker(tracker, self._rules, self._wait_ns, self._kept), self._tracker)
        self.sides.faulted(fault)
        self._collect()

    def _collect(self) -> None:
        """Takes over what was found in sessions with rules of a proxy."""
        assert self.sides is not None
        for finding in self.sides.news():
            self._rulings.add(finding)

    def sampled(self, sample: Sample) -> None:
        """Where rings stood: each is judged as it stood then."""
        session = next((self._session_of[one] for one, _ in sample.ends if one in self._session_of), 0)
        opened = self._open.get(session)
        if opened is None or not opened.judged or not isinstance(opened.state, DeviceState):
            return
        memory = opened.memory
        number = memory.last_main.number if memory.last_main else self._tracker.sessions[session - 1].first
        rings.forget(memory, [what for what, _ in sample.unreadable])
        rings.remember_log(memory, sample, opened.state)
        for position in sample.rings:
            look = rings.remember(memory, number, sample.time_ns, position, opened.state)
            for rule in self._sampling:
                if rule.at_sample is None or (rule.complete_only and not memory.complete):
                    continue
                self._rulings.ask_of(rule, rule.at_sample, look, memory, number)

    def _find_stalls(self, stalls: Iterable[Stall], memory: SessionHistory) -> None:
        """What still stands at the end of a session has no sample after it: it is found then, unless it was before."""
        rules = {rule.slug: rule for rule in self._sampling if memory.complete or not rule.complete_only}
        known = [(one.rule, one.sentence.split(maxsplit=2)[:2]) for one in self.found.get(memory.session, ())]
        for stall in stalls:
            rule = rules.get(stall.rule)
            if rule is not None and (stall.rule, ["vring", str(stall.ring)]) not in known:
                self._rulings.ask_of(rule, lambda one: (one.said,), stall, memory, stall.number)

    def lost(self, lost: Lost) -> None:
        """A gap in the capture: what rests on having seen everything is not judged any more."""
        sessions = self._open if lost.connection is None else (self._session_of.get(lost.connection, 0),)
        for session in sessions:
            opened = self._open.get(session)
            if opened is not None:
                self._mark_incomplete(opened.memory, "messages were lost")
                opened.memory.unseen = True
                for connection, link in opened.memory.links.items():
                    if lost.connection in (None, connection):
                        link.waiting.clear()
                        link.asked.clear()
                        link.answered.clear()
                        link.lost = True

    def exited(self, exit: Exit) -> None:
        """A process that held ends of connections has ended: rules find it in the memory of the session."""
        for connection, _ in exit.ends:
            silence = self.silent.get(connection)
            if silence is not None and len(silence.exits) < MAX_SILENT_EXITS:
                silence.exits.append(exit)
        for session in dict.fromkeys(self._tracker.session_of(connection) for connection, _ in exit.ends):
            opened, ended = self._open.get(session or 0), self.ended.get(session or 0)
            if opened is not None and len(opened.memory.exits) < MAX_EXITS:
                opened.memory.exits.append(exit)
            elif ended is not None and len(ended.exits) < MAX_EXITS:
                ended.exits.append((self._sides((exit,))[0], exit))

    def closed(self, closed: Closed) -> None:
        """A connection ends; with the main one its session does."""
        silence = self.silent.get(closed.connection)
        if silence is not None and silence.closed is None:
            silence.closed = closed
        end = self._frontend_ends.pop(closed.connection, None)
        session = self._session_of.pop(closed.connection, 0)
        opened = self._open.get(session)
        if opened is None or (end is None and not self._alone(session, closed.connection)):
            return
        del self._open[session]
        self._here.clear()
        closer = None if closed.by is None or end is None else Sender.FRONTEND if closed.by == end else Sender.BACKEND
        if closed.reason == CAPTURE_ENDED:
            self._finish(opened, None, None, closed.time_ns)
        else:
            self._finish(opened, closed, closer, closed.time_ns)

    def _alone(self, session: int, connection: int) -> bool:
        """A connection is the first of its session, and nobody has said on it what it carries."""
        first = next(iter(self._tracker.sessions[session - 1].connections))
        return connection == first and self._tracker.session_of_main(connection) is None

    def conclude(self, time_ns: int) -> None:
        """The capture ends here, at the time of its last message."""
        if self.sides is not None:
            self.sides.conclude(time_ns)
            self._collect()
        for opened in self._open.values():
            self._finish(opened, None, None, time_ns)
        self._open.clear()
        self._here.clear()

    def _begin(self, message: Message, place: Place) -> OpenSession:
        session = self._tracker.sessions[message.session - 1]
        known = place.channel is session.family.main or not session.path.startswith("pair:")
        complete = not session.joined_late and known
        if not complete:
            self.partial[session.number] = "it was joined late" if session.joined_late else "its beginning is not there"
        if message.told is not None:
            self.partial[session.number] = "a log tells of it"
        previous = self._previous.pop(session.previous, None) if session.previous is not None else None
        if previous is None and session.previous is not None:
            earlier = self._open.get(session.previous)
            if earlier is not None and earlier.judged:  # a session of another family leaves nothing to measure by
                previous = previous_session(earlier.memory, earlier.state)
        ruled = self.sides is not None and any(map(self.sides.has, session.connections))
        return begin(session, message, previous, complete, ruled)

    def _meet(self, memory: SessionHistory, message: Message) -> None:
        """A connection's first message."""
        self.silent.pop(message.connection, None)
        memory.links[message.connection] = ConnectionHistory()
        self._session_of[message.connection] = message.session

    def _know(self, memory: SessionHistory, message: Message, place: Place) -> None:
        """Learn who speaks, from the ends of a connection and from the sender, as soon as they are told apart."""
        main = message.channel is self._tracker.sessions[message.session - 1].family.main
        if main and place.requester is not None:
            frontend = 0 if place.sender(0) is Sender.FRONTEND else 1
            self._frontend_ends.setdefault(message.connection, frontend)
        for position, end in enumerate(place.ends):
            process = end.process or (message.process if message.sender is place.sender(position) else None)
            sender = place.sender(position)
            if process is None or sender is None:
                continue
            if sender is Sender.FRONTEND and memory.frontend in _NO_PROGRAM:
                memory.frontend = recognise(sender, process.comm)
            elif sender is Sender.BACKEND and memory.backend in _NO_PROGRAM:
                memory.backend = recognise(sender, process.comm)
        self.peers[memory.session] = memory.frontend, memory.backend

    def _mark_incomplete(self, memory: SessionHistory, why: str) -> None:
        memory.complete = False
        if memory.incomplete_since is None:
            memory.incomplete_since = max(
                (one.number for one in (memory.last_main, memory.last_reply) if one), default=0
            )
        self.partial.setdefault(memory.session, why)

    def _look_at_clock(self, step: Step) -> None:
        """Find a request of the session that has waited for too long by now."""
        step.memory.looked_ns = step.message.time_ns
        now = step.message.time_ns - self._wait_ns
        for link in step.memory.links.values():
            if not link.waiting:
                continue
            oldest, must, _ = link.waiting[0]
            if oldest.time_ns < now and must and oldest.number > link.late_said:
                link.late_said = oldest.number
                if oldest.channel is not Channels.GPU and oldest.request not in SLOW:
                    step.late = oldest

    def _pull(self, triggers: Iterable[Trigger], step: Step, known: int) -> None:
        for trigger in triggers:
            self._rulings.ask(self._triggered[trigger][known], step)

    def _finish(self, opened: OpenSession, closed: Closed | None, closer: Sender | None, time_ns: int) -> None:
        memory = opened.memory
        self.peers[memory.session] = memory.frontend, memory.backend  # what they said may have told them apart
        self._ended.add(memory.session)
        sides = self._sides(memory.exits)
        standing = stand(memory, opened.state, opened.judged, time_ns, closed, closer, sides, opened.calls)
        self.ended[memory.session] = standing
        if not opened.judged:
            return
        last = memory.last_main.number if memory.last_main else 0
        likely = causes(self.found.get(memory.session, ()))
        explained = any(not cause.last or finding.number == last for cause, finding in likely)
        end = SessionEnd(opened.state, memory, closed, closer, time_ns, standing, explained)
        number = memory.last_main.number if memory.last_main else self._tracker.sessions[memory.session - 1].first
        for rule in self._ending:
            if rule.at_end is None or (rule.complete_only and not memory.complete):
                continue
            self._rulings.ask_of(rule, rule.at_end, end, memory, number)
        self._find_stalls(standing.stalls, memory)
        if len(self._previous) >= MAX_PREVIOUS:
            del self._previous[next(iter(self._previous))]
        self._previous[memory.session] = previous_session(memory, opened.state)
