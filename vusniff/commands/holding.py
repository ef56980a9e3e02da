"""Messages that a rule holds, between the process that records and the terminal view, which asks the user.

One socket joins the two; each datagram is a JSON object. The recording process says which messages wait, the oldest
first, at most `SHOWN` at a time; the view answers by their numbers. When the view is gone, all goes on as it came.
Neither side waits for the other: what a view that does not read has no room for is kept, and no answer is read before
it is sent.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from vusniff.errors import DissectorError, RuleError, SourceError
from vusniff.values import replace
from vusniff.views.held import WaitingMessage

if TYPE_CHECKING:
    from vusniff.faults import deciding
    from vusniff.record import Frame
    from vusniff.sources.proxy.host import GoOn
    from vusniff.sources.proxy.loop import Loop
    from vusniff.sources.proxy.plan import FaultPlan

SHOWN = 8
"""Held messages that the view is told of at once; the others are counted."""
BYTES = 4096
"""Bytes of a message that it is shown."""
FIELDS = 100
DATAGRAM = 1 << 17
"""More than any of our datagrams has."""
GONE = "its connection has ended, and nothing was sent"


class _AskedMessage(NamedTuple):
    number: int
    held: deciding.HeldMessage
    plan: FaultPlan
    go_on: GoOn
    since: float


class ViewAsker:
    """Asks a view: the side of the process that records. See `vusniff.sources.proxy.host.Asker`."""

    def __init__(self, decider: deciding.RuleDecider, fd: int) -> None:
        self._decider = decider
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._waiting: deque[_AskedMessage] = deque()
        self._told: set[int] = set()
        self._unsent: deque[bytes] = deque()
        """At most `SHOWN` messages and an answer, each with a count: no answer is read while something is here."""
        self._count = 0
        self._loop: Loop | None = None
        self._ended = False

    def ask(self, loop: Loop, frame: Frame, plan: FaultPlan, go_on: GoOn) -> None:
        """A message is held."""
        held = self._decider.held.pop(id(frame))
        if self._ended:
            loop.after(0, lambda: go_on(plan))
            return
        if self._loop is None:
            self._loop = loop
            loop.watch(self._socket.fileno(), select.EPOLLIN, self._ready)
        self._count += 1
        self._waiting.append(_AskedMessage(self._count, held, plan, go_on, time.time()))
        self._tell()

    def end(self) -> int:
        """Everything goes on as the rules say: gives how many messages that were."""
        self._ended = True
        waiting, self._waiting = self._waiting, deque()
        for one in waiting:
            one.go_on(one.plan)
        return len(waiting)

    def _tell(self) -> None:
        """Says what waits."""
        for one in list(self._waiting)[:SHOWN]:
            if one.number not in self._told:
                self._told.add(one.number)
                self._say({"held": _words(one)})
        self._say({"waiting": len(self._waiting)})

    def _say(self, what: dict[str, Any]) -> None:
        """Sends it, or keeps it until there is room; of counts that could not be sent only the last is kept."""
        if "waiting" in what and self._unsent and self._unsent[-1].startswith(b'{"waiting"'):
            self._unsent.pop()
        self._unsent.append(json.dumps(what).encode())
        self._send()

    def _send(self) -> None:
        assert self._loop is not None
        try:
            while self._unsent:
                self._socket.send(self._unsent[0])
                self._unsent.popleft()
        except BlockingIOError:
            pass
        except OSError:  # the view is gone, which is seen when it is read from
            self._unsent.clear()
        if not self._ended:
            wanted = select.EPOLLOUT if self._unsent else select.EPOLLIN
            self._loop.watch(self._socket.fileno(), wanted, self._ready)

    def _ready(self, _events: int) -> None:
        assert self._loop is not None
        while not self._unsent:
            try:
                said = self._socket.recv(DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                said = b""
            if not said:
                self._loop.ignore(self._socket.fileno())
                self._socket.close()
                self.end()
                return
            self._decide(said)
        self._send()

    def _decide(self, said: bytes) -> None:
        """The view may run as another user: what is not an answer is left out."""
        try:
            answer = json.loads(said)
            number, do, actions = answer["number"], str(answer["do"]), str(answer["actions"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        one = next((one for one in self._waiting if one.number == number), None)
        if one is None:
            return
        try:
            plan = decided(self._decider, one.held, one.plan, do, actions)
        except (RuleError, DissectorError, SourceError) as error:
            self._say({"wrong": error.sentence if isinstance(error, RuleError) else str(error)})
            return
        self._waiting.remove(one)
        self._told.discard(one.number)
        there = one.go_on(plan)
        self._say({"done": one.number, "sentence": "" if there else GONE})
        self._tell()


def decided(
    decider: deciding.RuleDecider, held: deciding.HeldMessage, plan: FaultPlan, do: str, actions: str
) -> FaultPlan:
    """What the user wants: ``send``, ``drop``, or ``edit`` with actions. Raises VusniffError for what cannot be."""
    from vusniff.faults.rule import edited

    match do:
        case "send":
            return replace(plan, hold=False)
        case "drop":
            return replace(plan, hold=False, times=0, actions=(*plan.actions, "drop"))
        case "edit":
            return decider.edit(held, edited(actions, held.rule))
    raise SourceError("a message that is held is sent, dropped or edited")


def _words(one: _AskedMessage) -> dict[str, Any]:
    held, frame = one.held, one.held.frame
    sender = held.place.sender(frame.end)
    roles = ("?", "?") if sender is None else (sender.words, sender.other.words)
    return {
        "number": one.number,
        "rule": held.rule.number,
        "text": held.rule.text[:1000],
        "name": f"{held.message.name}{' reply' if held.message.reply else ''}",
        "way": roles,
        "time_ns": frame.time_ns,
        "since": one.since,
        "size": len(frame.data),
        "descriptors": [one.kind.value for one in frame.descriptors],
        "fields": _fields(held),
        "data": frame.data[:BYTES].hex(),
    }


def _fields(held: deciding.HeldMessage) -> list[tuple[str, str]]:
    """Fields by the names that `set` takes, and their values."""
    from vusniff.analysis.setting import layout_of
    from vusniff.layouts.spans import spans

    layout, header = layout_of(held.frame, held.place), held.place.channel.header
    if layout is None:
        return []
    found = spans(layout, held.frame.data[header.size :], held.place.context.order)
    shown = [(path, one.value) for path, one in found.items() if isinstance(one.value, int | str | bytes)]
    payload = held.message.payload or {}
    return [(path, _value(value, payload.get(f"{path}_names"))) for path, value in shown[:FIELDS]]


def _value(value: int | str | bytes, names: object) -> str:
    if isinstance(value, bytes):
        return value.hex()[:200]
    if isinstance(value, str):
        return value[:200]
    said = f"{value}" if value < 10 else f"{value} ({value:#x})"
    return f"{said}  {' '.join(map(str, names))}" if isinstance(names, list) and names else said


class HoldClient:
    """The same for the view: what waits, and the user's answers. A `vusniff.views.held.MessageHolder`."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        self.theirs = theirs.detach()
        """For the process that records; it is closed here once that has it."""
        self.waiting: list[WaitingMessage] = []
        self.count = 0
        """All that wait."""

    def fileno(self) -> int:
        """Readable when there is news."""
        return self._socket.fileno()

    def receive(self) -> list[str]:
        """Takes the news: gives sentences for the user. Raises OSError when nothing more will come."""
        said: list[str] = []
        while True:
            try:
                datagram = self._socket.recv(DATAGRAM)
            except BlockingIOError:
                return said
            if not datagram:
                self.waiting, self.count = [], 0
                raise ConnectionError
            told = json.loads(datagram)
            if "held" in told:
                self.waiting.append(_held(told["held"]))
            elif "waiting" in told:
                self.count = told["waiting"]
            elif "done" in told:
                self.waiting = [one for one in self.waiting if one.number != told["done"]]
                said += [told["sentence"]] if told["sentence"] else []
            elif "wrong" in told:
                said.append(told["wrong"])

    def answer(self, number: int, do: str, actions: str = "") -> None:
        """What is to be done with a message: ``send``, ``drop``, or ``edit`` with actions."""
        with contextlib.suppress(OSError):
            self._socket.send(json.dumps({"number": number, "do": do, "actions": actions}).encode())

    def close(self) -> None:
        """All that waits goes on."""
        self._socket.close()


def _held(told: dict[str, Any]) -> WaitingMessage:
    return WaitingMessage(
        told["number"],
        told["rule"],
        told["text"],
        told["name"],
        tuple(told["way"]),
        told["time_ns"],
        told["since"],
        told["size"],
        tuple(told["descriptors"]),
        tuple((name, value) for name, value in told["fields"]),
        bytes.fromhex(told["data"]),
    )
