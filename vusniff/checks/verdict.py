"""The verdict over one session: what came of it, why, whose fault that is, and what to try.

Rests on where the session stands (`Standing`), how it ended (`ending`), what that makes of it (`outcome`, `happened`)
and which of its findings explains it (`cause`). Goes no further than what was seen: what is missing is said.
"""

from __future__ import annotations

from collections.abc import Sequence

from vusniff.amounts import counted, duration, listed
from vusniff.channel import Sender
from vusniff.checks import ending, stalls, wrote
from vusniff.checks.cause import CAUSES, GUESSES, OF_SIGNAL, Cause, Likely, causes
from vusniff.checks.ending import Way, name_of
from vusniff.checks.finding import Finding, Severity, Side
from vusniff.checks.happened import Happened, happened
from vusniff.checks.hints import slow_advice
from vusniff.checks.outcome import FINE, Death, Outcome, death_of, outcome_of, outside
from vusniff.checks.peers import Implementation
from vusniff.checks.standing import EVERYTHING, SOON_NS, Standing, step_of
from vusniff.families.vhost_user.device import Sure
from vusniff.record import LogLine
from vusniff.values import dataclass, replace

SLOW_NS = 2_000_000_000
"""How long an answer must take for a verdict to speak of it."""
EVIDENCE = 16
"""Messages that a verdict names."""
USUAL_ENDS = frozenset({"eof", "reset", "killed"})
"""Reasons of an end that say nothing of why."""
TIMES = {2: "twice", 3: "three times", 4: "four times", 5: "five times"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of a session, or of several that are one story."""

    outcome: Outcome
    happened: str = ""
    """How it came about: a clause, empty where there is nothing to say."""
    more: tuple[str, ...] = ()
    """Sentences that go with it: the cause, and what was seen beside it."""
    step: str = ""
    """How far a session came that never started."""
    cause: str = ""
    """Slug of the rule whose finding is the cause, or another name of it; empty where nothing is wrong."""
    side: Side | None = None
    """Whose fault it is; None where nobody's, or not known."""
    sure: Sure | None = None
    """How sure that is."""
    number: int = 0
    """The message to look at first; 0 for none."""
    evidence: tuple[int, ...] = ()
    """Numbers of the messages that prove it, ascending."""
    advice: str = ""
    """What to try next."""
    caveats: tuple[str, ...] = ()
    """What the capture does not show."""
    sessions: tuple[int, ...] = ()
    """The sessions it is about, in their order."""
    path: str = ""
    kind: str = ""
    """Equal in verdicts that say the same of other sessions."""
    times: int = 1
    """How often it was so in a row."""
    roles: tuple[str, str] = ("front-end", "back-end")
    """What the two sides are called."""

    @property
    def trouble(self) -> bool:
        """Something is wrong."""
        return self.outcome not in FINE or bool(self.cause)

    @property
    def sentence(self) -> str:
        """All of it in plain words: what came of it, how, and why."""
        again = f", {TIMES.get(self.times, f'{self.times} times')} in a row" if self.times > 1 else ""
        first = f"{self.outcome.capitalize()}{': ' if self.happened else ''}{self.happened}{again}"
        return " ".join((_ended(first), *self.more))


def _ended(clause: str) -> str:
    """A clause as a sentence."""
    return clause if clause.endswith(("?", ".")) else f"{clause}."


def verdict_of(
    one: Standing,
    findings: Sequence[Finding],
    partial: str = "",
    successor: int | None = None,
    line: LogLine | None = None,
) -> Verdict:
    """The verdict over one session; ``partial`` says why not all of it is known, ``successor`` which session follows it
    on the same path, ``line`` is what a peer wrote into its log about then."""
    if one.told:
        return _of_log(one)
    way = ending.way_of(one)
    likely = causes(findings, _ended_at(one, way)) if way is not Way.OTHER_PROTOCOL else []
    death = death_of(one)
    outcome = outcome_of(one, way, death, likely, successor)
    first = next((finding for finding in findings if finding.rule == FAILED_CALL), None)
    if one.calls and outcome is Outcome.REFUSED and first is not None:
        made = _failed_call(first)
    elif one.one_sided and death is None:
        made = _one_sided(one)
    elif outcome in FINE:
        made = _fine(one, outcome, way, likely, successor)
    else:
        explaining = _explaining(one, outcome, way, likely, death)
        made = _trouble(one, outcome, way, explaining, happened(one, outcome, way, death, successor))
        if line is not None:
            made = _with_line(made, one, line)
        if successor is not None and one.closed is None:
            unseen = f"Its end was not seen; session {successor} begins on the same path."
            made = replace(made, more=(*made.more, unseen))
    if one.roles != USUAL_ROLES:
        for usual, own in zip(USUAL_ROLES, one.roles, strict=True):
            made = replace(made, advice=made.advice.replace(usual, own))
    return replace(made, caveats=_caveats(one, partial), roles=one.roles)


USUAL_ROLES = ("front-end", "back-end")
"""As advice calls the two sides."""


def _ended_at(one: Standing, way: Way) -> int:
    """Number of the message at which a session came to its end; 0 where that is not one message."""
    at = {Way.LEFT: one.last_reply, Way.AFTER_REQUEST: one.last_request, Way.WITHOUT_ANSWER: one.waiting}.get(way)
    if way is Way.REFUSED and one.refusal is not None:
        return one.refusal.request
    return at.number if at is not None and not one.unread else 0


FAILED_CALL = "call-failed"
CALL_ADVICE = {
    "E2BIG": "load vhost with more (modprobe vhost max_mem_regions=512), or give the guest fewer memory regions",
    "EPERM": "let the process that opened the device make the calls, and SET_OWNER the first of them",
    "EBUSY": "stop the ring first (NET_SET_BACKEND with -1), or open a device of its own for each user",
    "EADDRINUSE": "give each guest a CID of its own (guest-cid= of its vhost-vsock device)",
}


def _failed_call(finding: Finding) -> Verdict:
    """Over a device of the kernel that never ran: the first call that failed is the cause."""
    name = finding.sentence.partition(" failed: ")[2].partition(",")[0]
    return Verdict(
        Outcome.REFUSED,
        finding.sentence,
        cause=finding.rule,
        side=_side(finding),
        sure=Sure.LIKELY if _side(finding) is not None else None,
        number=finding.number,
        evidence=(finding.number, *finding.evidence)[:EVIDENCE],
        advice=CALL_ADVICE.get(name, "compare it with a capture that works: vusniff diff"),
        kind=f"{finding.rule} {name}",
    )


def _of_log(one: Standing) -> Verdict:
    """Over a session of which a log tells: what that says of its end, and no more."""
    caveats = ("a log tells of it: no bytes were seen, and no rule was asked",)
    if one.closed is None:
        return _open_log(one, caveats)
    who = f"{name_of(one, one.closer)} closed the connection" if one.closer is not None else "the connection was closed"
    if one.closed.reason in USUAL_ENDS:
        words = f"{who}; the log does not tell whether all was well"
        return Verdict(Outcome.UNKNOWN, words, kind="log", caveats=caveats)
    return Verdict(
        Outcome.REFUSED,
        f"{who}, {one.closed.reason}",
        cause="log",
        side=None if one.closer is None else Side.FRONTEND if one.closer is Sender.FRONTEND else Side.BACKEND,
        sure=None if one.closer is None else Sure.PERHAPS,
        advice='vusniff explain "TEXT" says what usually lies behind a text of a log',
        kind=f"log {one.closed.reason}",
        caveats=caveats,
    )


def _one_sided(one: Standing) -> Verdict:
    """Over a session in which the front-end goes by answers that are not in the capture."""
    words = (
        f"the front-end went on after {one.waiting} as if it had been answered, and nothing of the back-end was seen"
    )
    advice = "capture what the back-end sends too: strace both sendmsg and recvmsg (and read, write), or use the proxy"
    number = one.waiting.number if one.waiting else 0
    return Verdict(Outcome.UNKNOWN, words, number=number, advice=advice, kind="one-sided")


def _open_log(one: Standing, caveats: tuple[str, ...]) -> Verdict:
    """Over a session of which a log tells, and not how it ended: where it stood, and what had not come by then."""
    words = "the log does not tell how it ended"
    if one.last is not None:
        rings = f", and by then {counted(one.rings.running, 'ring')} had been started" if one.rings.running else ""
        words += f"; the last message it tells of is {one.last}{rings}"
    made = Verdict(Outcome.UNKNOWN, words, kind="log", number=one.last.number if one.last else 0, caveats=caveats)
    missing = _missing_in_log(one)
    if missing is None:
        return made
    cause, said = missing
    return replace(
        made,
        more=(_ended(f"But as far as the log goes {said}"),),
        cause=cause,
        side=Side.FRONTEND,
        sure=Sure.PERHAPS,
        number=one.rings.armed,
        evidence=(one.rings.armed,),
        advice=CAUSES[cause].advice,
        kind=f"log {cause}",
    )


def _missing_in_log(one: Standing) -> tuple[str, str] | None:
    """The rule and the words for what never came, of a session of which the log has the beginning: logs name every
    message."""
    if not one.rings.running or one.features is None:
        return None
    if not one.regions_by and not one.regions:
        return (
            "nothing-shared",
            "no memory was shared before rings were started; is the guest's memory shared (share=on)?",
        )
    if one.never_enabled:
        return "vring-never-enabled", "SET_VRING_ENABLE never came, and feature bit 30 asks for it: nothing can flow"
    return None


# -- nothing is wrong, or not much ------------------------------------------------------------------------------------


def _fine(one: Standing, outcome: Outcome, way: Way, likely: Sequence[Likely], successor: int | None) -> Verdict:
    number = one.last.number if one.last else 0
    told = Verdict(outcome, _quiet(one, outcome, way, successor), number=number, kind=outcome.value)
    doubtful = [also for also in likely if also.finding.severity is not Severity.NOTE and not also.cause.last]
    doubtful = [also for also in doubtful if not (also.cause.idle and one.used)]  # something flowed all the same
    if outcome is Outcome.IDLE and one.quiet_ns >= ending.WAIT_NS and one.last is one.last_request:
        doubtful += [also for also in likely if also.cause.last and also.finding.number == number]
    if doubtful:
        cause, finding = doubtful[0]
        return replace(
            told,
            more=(_ended(f"But {'earlier: ' if finding.rule in stalls.RULES else ''}{finding.sentence}"),),
            cause=finding.rule,
            side=_side(finding, cause),
            sure=Sure.PERHAPS,
            number=finding.number,
            evidence=finding.evidence[:EVIDENCE],
            advice=cause.advice,
            kind=finding.rule,
        )
    if one.slowest is not None and one.slowest[0] >= SLOW_NS:
        took, request = one.slowest
        return replace(
            told,
            more=(f"But {name_of(one, Sender.BACKEND)} took {duration(took)} to answer {request}{_maybe(one)}.",),
            cause="slow-answer",
            side=Side.BACKEND,
            sure=Sure.LIKELY,
            number=request.number,
            evidence=(request.number,),
            advice=slow_advice(request, one.slow_before),
            kind="slow-answer",
        )
    if outcome in (Outcome.STOPPED, Outcome.IDLE) and one.unused and one.end_ns - one.first_ns >= SLOW_NS:
        return replace(told, more=(UNUSED,), advice=UNUSED_ADVICE.get(one.frontend.program, UNUSED_USUAL))
    return told


def _maybe(one: Standing) -> str:
    """What an answer that came late may have waited for."""
    return f", and may have been at {one.slow_before}, which asked for no answer" if one.slow_before else ""


UNUSED = "Nothing was used: every ring was stopped at the base it began with."
UNUSED_USUAL = "if the guest did use the device, check whether its memory is shared (share=on on its memory-backend)"
UNUSED_ADVICE = {
    Implementation.CLOUD_HYPERVISOR: "if the guest did use the device, check whether its memory is shared (--memory "
    "shared=on)",
    Implementation.DPDK: "if packets were sent or expected, check that memory is shared (huge pages, not --no-huge)",
}


def _quiet(one: Standing, outcome: Outcome, way: Way, successor: int | None) -> str:
    """What else is to be said where nothing is wrong."""
    followed = ""
    if successor is not None and one.closed is None:
        followed = f"; its end was not seen, and session {successor} begins on the same path"
    gone = next((exit for side, exit in one.exits if side is not None and exit.status), None)
    if one.closed is None and gone is not None:
        who = gone.comm or f"a process that held {one.link}"
        followed = f"; {who} exited with status {gone.status}, and {one.link} was not seen to end{followed}"
    if one.made is not None and outcome is not Outcome.STOPPED:
        there = [name for name, seen in one.made.items() if seen.value]
        named = there and listed("the VDUSE device", there[:4])
        return f"{named} {'are' if there[1:] else 'is'} made" if there else "no VDUSE device is made"
    if outcome is Outcome.RUNNING:
        disabled = f", and {one.rings.disabled} more set up and disabled" if one.rings.disabled else ""
        return f"{one.rings.served} ring{'s run' if one.rings.served > 1 else ' runs'}{disabled}{followed}"
    if one.last is None and one.judged:
        if not one.spoken:
            return "no message could be read"
        part = one.spoken[0]
        who = part.comm or one.role(part.side)
        return f"no message could be read: {who} sent {counted(len(part.data), 'byte')} and no whole header"
    if outcome is Outcome.IDLE:
        words = "every ring is stopped" if one.rings.began else "no ring was started yet"
        if not one.rings.began and one.rings.addressed and one.quiet_ns >= ending.WAIT_NS:
            words += f": {STARTS.get(one.family, STARTS[''])}, which starts one, has not come"
        if one.rings.running:
            words = "every ring that was started is disabled"
        return f"{words}; the last message is {one.last}{followed}"
    if not one.judged and not one.calls and one.closed is None:
        return f"it goes on; the last message is {one.last}{followed}" if one.last is not None else "it goes on"
    if not one.judged and not one.calls and outcome is Outcome.ENDED:
        return f"{name_of(one, one.closer)} closed {one.link}"
    if outcome is Outcome.UNKNOWN:
        return f"it was not seen whether any ring runs{followed}"
    if way is Way.BACKEND_CLOSED:
        after = f"; session {successor} took over" if successor is not None else ""
        closed = f"{name_of(one, Sender.BACKEND)} closed {one.link}"
        return f"{closed} {one.apart(one.quiet_ns)}after {one.last}{after}"
    if outcome is Outcome.ENDED:
        who = f"{name_of(one, one.closer)} closed {one.link}" if one.closer else f"{one.link} was closed"
        return f"{who} {ending.while_words(one)}"
    return f"{name_of(one, one.closer)} closed {one.link}" if one.closer is not None else ""


STARTS = {
    "": "SET_VRING_KICK",
    "vhost-kernel": "NET_SET_BACKEND, VSOCK_SET_RUNNING or SCSI_SET_ENDPOINT",
    "vhost-vdpa": "VDPA_SET_STATUS with DRIVER_OK",
    "vduse": "VDUSE_SET_STATUS with DRIVER_OK",
}
"""Family -> what starts a ring there."""


# -- trouble ----------------------------------------------------------------------------------------------------------


def _trouble(one: Standing, outcome: Outcome, way: Way, explaining: Sequence[Likely], what: Happened) -> Verdict:
    step = step_of(one) if outcome is Outcome.NEVER_STARTED else ""
    told = Verdict(
        outcome,
        what.words,
        tuple(filter(None, (what.hint, *what.more))),
        step,
        what.kind.split()[0],
        what.side,
        what.sure if what.side is not None else None,
        what.number,
        (what.number,) if what.number else (),
        what.advice,
        kind=f"{what.kind}/{step}",
    )
    if not explaining:
        return told
    cause, finding = explaining[0]
    answered = one.last_reply.number if one.last_reply else 0
    guessed = finding.rule in GUESSES or cause.idle or finding.severity is Severity.NOTE
    late = outcome in (Outcome.DIED, Outcome.HUNG_UP) and one.quiet_ns > SOON_NS
    guessed = guessed or (late and finding.rule != "memory-file-too-short")
    guessed = guessed or (finding.rule not in CAUSES and finding.severity is not Severity.ERROR)
    refused = outcome is Outcome.REFUSED and one.refusal is not None and one.refusal.request == finding.number
    wrong_reply = way is Way.LEFT and finding.number == answered
    likely_so = (cause.stops or refused or wrong_reply or answered < finding.number) and not guessed
    sure = Sure.LIKELY if likely_so else Sure.PERHAPS
    told = replace(
        told,
        step=cause.step if step and cause.step else step,
        cause=finding.rule,
        side=_side(finding, cause),
        sure=Sure.CERTAIN if cause.stops and finding.severity is Severity.ERROR else sure,
        number=finding.number,
        evidence=tuple(sorted({*told.evidence, *finding.evidence}))[:EVIDENCE],
        advice=_advice(outcome, cause, told.advice, guessed),
        kind=f"{told.kind}/{finding.rule}",
    )
    others = [also.finding for also in explaining if also.finding.rule not in (finding.rule, *GUESSES)]
    also = (_ended(f"Also: {others[0].sentence}"),) if others else ()
    alone = cause.stops or one.last is None
    if alone and way in (Way.CLOSED, Way.OPEN) and outcome is Outcome.NEVER_STARTED:
        return replace(told, happened=finding.sentence, more=also)
    probable = "The probable cause" if sure is Sure.LIKELY else "A possible cause"
    return replace(told, more=(_ended(f"{probable}: {finding.sentence}"), *also, *what.more))


def _advice(outcome: Outcome, cause: Cause, usual: str, guessed: bool) -> str:
    """What to try: what the cause says; of a process that was killed and a cause that is a guess, both."""
    if outcome is Outcome.DIED and guessed and cause.advice:
        return f"{usual}; then {cause.advice}"
    return cause.advice or usual


SAID = {Outcome.STALLED: stalls.RULES, Outcome.REFUSED: frozenset({"request-refused"})}
"""Outcome -> rules whose findings only say it again."""


def _with_line(made: Verdict, one: Standing, line: LogLine) -> Verdict:
    """The same with what a peer wrote into its log: whoever says to look there has looked already."""
    advice = made.advice
    if advice.startswith("check the"):
        advice = 'vusniff explain "TEXT" says what usually lies behind a text of a log'
    return replace(made, more=(wrote.sentence(line, one), *made.more), advice=advice)


UNREADABLE = frozenset({"bytes-unread", "stream-lost", "message-unfinished"})
"""Rules about what could not be read."""


def _explaining(
    one: Standing, outcome: Outcome, way: Way, likely: Sequence[Likely], death: Death | None
) -> list[Likely]:
    """The findings that explain what happened, the likeliest first: those that are not later than it."""
    last = one.last_request.number if one.last_request else 0
    likely = [also for also in likely if also.finding.rule not in SAID.get(outcome, ())]
    if outside(one, death):
        return []  # a signal from outside has no cause in what was said
    if death is not None:
        allowed = OF_SIGNAL.get(death.exit.signal or 0)
        likely = [also for also in likely if allowed is None or also.finding.rule in allowed]
    likely = [also for also in likely if not also.cause.last or also.finding.number == last]
    if way not in (Way.CLOSED, Way.OPEN, Way.BACKEND_CLOSED) or death is not None:
        likely = [also for also in likely if not also.cause.idle or also.finding.number == last]
    if outcome in (Outcome.DIED, Outcome.HUNG_UP) and one.rings.running and one.quiet_ns <= SOON_NS < one.gap_ns:
        # It came with the last request, and the device had worked with what was wrong before.
        likely = [also for also in likely if also.cause.stops or max(also.finding.evidence, default=0) >= last]
    if way not in (Way.CLOSED, Way.OPEN, Way.BACKEND_CLOSED) or (death is not None and death.side is one.closer):
        likely = [also for also in likely if not also.cause.ends]
    if way in (Way.UNANSWERED, Way.GAVE_UP, Way.CUT_OFF) and one.waiting is not None:
        asked = one.waiting.number
        answers = [also for also in likely if _may_answer(also, asked)]
        likely = [
            *answers,
            *(also for also in likely if also.finding.number <= asked or asked in also.finding.evidence),
        ]
    return list(likely)


def _may_answer(likely: Likely, asked: int) -> bool:
    """What it is about may be the answer to a request: nobody could read it, or it is wrong; or nobody can answer."""
    finding = likely.finding
    if likely.cause.step == "connecting" and not likely.cause.last:
        return True
    spoils = finding.rule in UNREADABLE or finding.severity is Severity.ERROR
    return spoils and finding.side is Side.BACKEND and finding.number > asked


def _side(finding: Finding, cause: Cause | None = None) -> Side | None:
    side = (cause.side if cause is not None else None) or finding.side
    return None if side is Side.EITHER else side


def _caveats(one: Standing, partial: str) -> tuple[str, ...]:
    said = []
    if not one.judged and not one.calls:
        said.append("there are no rules for what was said: only how it ended is judged")
    if not one.fresh:
        said.append("the capture was joined late: what came before the first message is unknown")
    if not one.timed:
        said.append("nothing tells when things happened, only in which order")
    if one.fresh and one.whole_until < EVERYTHING:
        behind = f"what follows #{one.whole_until}" if one.whole_until else "the session"
        said.append(f"{partial or 'something is missing'}: {behind} is not judged in full")
    elif one.closed is not None and one.closed.lost:
        said.append("messages were lost")
    return tuple(said)
