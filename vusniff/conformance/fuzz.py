"""Says mutations of valid sessions to a back-end, finds what kills or hangs it, and makes that short.

A session is said in few sends, and no more is said after it (shutdown(2)): the back-end reads all of it and closes the
connection; else it hangs. A case that is found is cut to its shortest part, message by message, and captured, so that
`vusniff replay` plays it again. It must not know processes beyond how one ended.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vusniff.conformance.conversation import message
from vusniff.conformance.devices import TestedDevice
from vusniff.conformance.facts import ask_facts
from vusniff.conformance.mutations import FuzzMessage, Mutator, sessions
from vusniff.conformance.peer import AbsentPeerError
from vusniff.conformance.recorder import TrialCapture
from vusniff.conformance.results import ScenarioResult, TestReport
from vusniff.conformance.runner import DEATH_S, BackendPeer
from vusniff.conformance.scenario import Result
from vusniff.conformance.things import Things
from vusniff.families.vhost_user.protocol import MAX_FDS, Channels, request_name

PIECE = 1 << 16
TRIES = 60
"""Times that a case is played to make it short; each may start the back-end again."""
CASES = 20
"""Distinct cases that are kept; others of their kind are counted."""
SAYS = "if the back-end detects some error it may also close the connection"


class BackendFuzzer:
    """One run against one back-end."""

    def __init__(self, peer: BackendPeer, device: TestedDevice, patience: float, keep: Path, seed: int) -> None:
        """``keep`` is where captures are left, ``patience`` in seconds."""
        self._peer = peer
        self._device = device
        self._patience = patience
        self._keep = keep
        self._seed = seed
        self._things = Things()
        self._bytes: dict[FuzzMessage, bytes] = {}
        self.said = 0
        """Messages that went out."""
        self._late: str | None = None
        """How the back-end died of the session before, where that was seen only now."""

    def run(self, count: int, tell: Callable[[ScenarioResult], None]) -> TestReport:
        """Until so many messages went out; ``tell`` is called with each case that is found, and at the end.

        An interrupt ends it, with what there is. Raises AbsentPeerError when nobody is there at first.
        """
        report = TestReport("backend", {}, str(self._keep))
        facts = ask_facts(self._peer.meet, self._patience)
        report.about = facts.as_dict()
        mutator = Mutator(sessions(facts, self._device), self._seed)
        kinds: dict[tuple[str, int], ScenarioResult] = {}
        played, spent = 0, 0.0
        before: list[FuzzMessage] = []
        try:
            while self.said < count:
                session = mutator.session()
                played += 1
                began = time.monotonic()
                why = self._play(session)
                spent += time.monotonic() - began
                said = self.said
                if self._late is not None:
                    self._found(before, self._late, kinds, report, tell)
                if why is not None:
                    self._found(session, why, kinds, report, tell)
                before, self.said = session, said
        except AbsentPeerError as error:
            report.stopped = f"the back-end is gone: {error}"
        except KeyboardInterrupt:
            report.stopped = "interrupted"
        finally:
            self._things.close()
        speed = self.said / spent if spent else 0.0
        about = f"{self.said} messages in {played} sessions, {speed:.0f} a second"
        last = _result(f"fuzz-{self._seed}", about, Result.FAIL if kinds else Result.PASS, spent)
        last.why = f"{len(kinds)} kinds of session killed the back-end or hung it" if kinds else ""
        last.notes.append(about)
        report.results.append(last)
        tell(last)
        return report

    def _found(
        self,
        session: Sequence[FuzzMessage],
        why: str,
        kinds: dict[tuple[str, int], ScenarioResult],
        report: TestReport,
        tell: Callable[[ScenarioResult], None],
    ) -> None:
        """A case: make it short, capture it, and report it where it is the first of its kind."""
        if len(kinds) >= CASES:
            self._peer.stop()
            return
        short = self._cut(list(session), why)
        kind = why, short[-1].request if short else 0
        if kind in kinds:
            return
        short = self._thinned(short, why)
        names = " ".join(request_name(Channels.MAIN, one.request) for one in short)
        result = _result(f"fuzz-{self._seed}-{len(kinds) + 1}", names, Result.FAIL, 0.0)
        result.why, result.shortest = why, len(short)
        result.notes.append(names)
        result.capture = f"{result.id}.pcapng"
        self._capture(short, self._keep / result.capture)
        kinds[kind] = result
        report.results.append(result)
        tell(result)

    # One session.

    def _play(
        self, session: Sequence[FuzzMessage], capture: TrialCapture | None = None, slow: bool = False
    ) -> str | None:
        """Say it; how the back-end died of it, or that it hangs; None where it lives. ``slow``: wait for its end."""
        starts = self._peer.starts
        sock, connected = self._peer.meet()
        before = self._peer.before if self._peer.starts != starts else None
        self._late = before.words if before is not None and before.signal is not None else None
        with contextlib.closing(sock):
            sock.settimeout(self._patience)
            if capture is not None:
                capture.opened(Channels.MAIN, connected, (os.fstat(sock.fileno()).st_ino, None))
            hangs = not self._say(sock, session, capture)
        if capture is not None:
            capture.closed(Channels.MAIN, True)
        end = self._peer.ended(DEATH_S if slow else 0.0)
        if end is not None and end.signal is not None:
            return end.words
        if hangs:
            self._peer.stop()
            return f"it did not answer for {self._patience:g} s"
        return None

    def _say(self, sock: socket.socket, session: Sequence[FuzzMessage], capture: TrialCapture | None) -> bool:
        """Say all of it, and wait until the back-end closes the connection: False when it does not."""
        try:
            for data, fds in self._sends(session, capture is not None):
                numbers = [self._things.fd(name) for name in fds[:MAX_FDS]]
                if capture is not None:
                    capture.said(Channels.MAIN, data, numbers)
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", numbers))] if numbers else []
                sent = sock.sendmsg([data], rights)
                if sent < len(data):
                    sock.sendall(data[sent:])
            self.said += len(session)
            sock.shutdown(socket.SHUT_WR)
            while True:
                part, ancillary, _, _ = sock.recvmsg(PIECE, socket.CMSG_SPACE(MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC)
                _close(ancillary)
                if not part:
                    return True
                if capture is not None:
                    capture.chunk(Channels.MAIN, False, part)
        except TimeoutError:
            return False
        except OSError:  # it closed the connection
            return True

    def _sends(self, session: Sequence[FuzzMessage], apart: bool) -> list[tuple[bytes, tuple[str, ...]]]:
        """What goes out with each send: a message with descriptors begins one, others join it."""
        made: list[tuple[bytes, tuple[str, ...]]] = []
        for one in session:
            data = self._bytes.get(one)
            if data is None:
                data = self._bytes[one] = message(one.request, one.payload, one.flags)
                if len(self._bytes) > 1 << 14:
                    self._bytes.clear()
            if made and not one.fds and not apart:
                made[-1] = made[-1][0] + data, made[-1][1]
            else:
                made.append((data, one.fds))
        return made

    # Making it short.

    def _cut(self, session: list[FuzzMessage], why: str) -> list[FuzzMessage]:
        """The shortest beginning that still does it."""
        alive, dead = 0, len(session)
        while dead - alive > 1:
            middle = (alive + dead) // 2
            if self._play(session[:middle], slow=True) == why:
                dead = middle
            else:
                alive = middle
        return session[:dead]

    def _thinned(self, short: list[FuzzMessage], why: str) -> list[FuzzMessage]:
        """Without the messages that it does not take: halves, quarters, and then one by one."""
        tries, size = 0, max(len(short) // 2, 1)
        while size and tries < TRIES:
            at = len(short) - 1 - size
            while at >= 0 and tries < TRIES:
                tries += 1
                thinner = short[:at] + short[at + size :]
                if self._play(thinner, slow=True) == why:
                    short = thinner
                at -= size
            size //= 2
        return short

    def _capture(self, session: Sequence[FuzzMessage], path: Path) -> None:
        """Play it once more, and record it."""
        capture = TrialCapture(path, self._peer.side.path, self._peer.process)
        try:
            self._play(session, capture, slow=True)
            end = self._peer.ended()
            if end is not None and self._peer.process is not None:
                process = self._peer.process
                capture.exited(process.pid, process.comm, end.status, end.signal)
        finally:
            capture.close()


def _close(ancillary: Sequence[tuple[int, int, bytes]]) -> None:
    for level, kind, rights in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            for fd in array.array("i", rights[: len(rights) // 4 * 4]):
                os.close(fd)


def _result(id: str, about: str, result: Result, seconds: float) -> ScenarioResult:
    return ScenarioResult(id, about, "Communication", SAYS, result, seconds=seconds)
