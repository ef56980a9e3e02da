"""The program that is tested: started, met at its socket, started again when it died, ended with us.

Owns one process and one listening socket at most. Knows no messages.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from vusniff.errors import SourceError
from vusniff.files import open_output
from vusniff.record import Process
from vusniff.sources.host.endpoints import Listener, ProxySide, connect, listen, make_room, peer_process
from vusniff.values import dataclass

RETRY_S = 0.01
LEAVING_S = 1.0
"""How long a program that ends after each connection may take for it."""
END_S = 3.0
"""How long a program that is told to end may take."""


class AbsentPeerError(SourceError):
    """Nobody is there to be tested."""


@dataclass(frozen=True, slots=True)
class PeerEnd:
    """How the program ended."""

    status: int | None
    signal: int | None

    @property
    def failed(self) -> bool:
        """Whether it did not end by its own will, or said so."""
        return self.status != 0

    @property
    def words(self) -> str:
        """``it was killed by SIGSEGV``, ``it ended with status 1``."""
        if self.signal is None:
            return f"it ended with status {self.status}"
        with contextlib.suppress(ValueError):
            return f"it was killed by {signal.Signals(self.signal).name}"
        return f"it was killed by signal {self.signal}"


class TestedPeer:
    """The back-end or front-end under test."""

    def __init__(self, side: ProxySide, command: Sequence[str], patience: float, log: Path | None = None) -> None:
        """``command`` is started when the peer is first met, and again when it has ended; none: it runs already.

        ``log`` takes what it prints. Raises SourceError when the socket cannot be listened at.
        """
        self.side = side
        self.process: Process | None = None
        """Who was met last."""
        self.starts = 0
        self.before: PeerEnd | None = None
        """How the one before ended, where that was not by us and it was started again."""
        self._command = command
        self._met = False
        """Since it was started last."""
        self._leaves = False
        """It ends by itself after each connection."""
        self._patience = patience
        self._log = log
        self._out = subprocess.DEVNULL if log is None else open_output(log, b"").fd
        self._child: subprocess.Popen[bytes] | None = None
        self._listener: Listener | None = listen(side) if side.listens else None

    @property
    def ours(self) -> bool:
        """Whether we start it."""
        return bool(self._command)

    def meet(self, again: float | None = None) -> tuple[socket.socket, bool]:
        """A socket connected to it, and whether we connected. Starts it where it does not run.

        ``again``: it is waited for so many seconds, and not started. Raises AbsentPeerError when nobody is there in
        time, or it cannot be started.
        """
        patience = self._patience if again is None else again
        if self._leaves and self._met:
            self.ended(LEAVING_S)
        deadline = time.monotonic() + patience
        while True:
            if self.ours and (self._child is None or self._child.poll() is not None):
                if again is not None:
                    raise AbsentPeerError("it has ended")
                self._start()
            sock = self._try()
            if sock is not None:
                self.process = peer_process(sock)
                self._met = True
                return sock, not self.side.listens
            if time.monotonic() > deadline:
                where = "connected to" if self.side.listens else "listens at"
                raise AbsentPeerError(f"nobody {where} {self.side.path}: waited {patience:g} s")
            if (end := self.ended()) is not None and again is not None:
                raise AbsentPeerError(end.words)
            if end is not None and end.failed and not self._met:
                raise AbsentPeerError(f"{self._command[0]}: {end.words} before it was reached{self._last_words()}")

    def _try(self) -> socket.socket | None:
        if self._listener is None:
            sock = connect(self.side)
            if sock is None:
                time.sleep(RETRY_S)
            return sock
        poll = select.poll()
        poll.register(self._listener.sock, select.POLLIN)
        return self._listener.accept() if poll.poll(1000 * RETRY_S) else None

    def _start(self) -> None:
        self.starts += 1
        self.before = self.ended()
        if self.before is not None and self.before.signal is None and self._met:
            self._leaves = True
        self._met = False
        if self._child is not None:
            self.stop()
        if not self.side.listens and not self.side.path.startswith("@"):
            make_room(self.side.path)  # a program that was killed leaves its socket file
        while self._listener is not None and (left := self._listener.accept()) is not None:
            left.close()  # the one before connected again, and was ended before anybody met it
        try:
            self._child = subprocess.Popen(
                list(self._command),
                stdin=subprocess.DEVNULL,
                stdout=self._out,
                stderr=self._out,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise AbsentPeerError(f"cannot start {self._command[0]}: {why}") from None

    def _last_words(self) -> str:
        """The last line that it printed."""
        try:
            lines = self._log.read_text(errors="replace").splitlines() if self._log is not None else []
        except OSError:
            lines = []
        return f": {lines[-1][:200]}" if lines else ""

    def ended(self, wait: float = 0.0) -> PeerEnd | None:
        """How it ended, if it has within so many seconds; None while it runs, or where we did not start it."""
        if self._child is None:
            return None
        try:
            code = self._child.wait(wait) if wait else self._child.poll()
        except subprocess.TimeoutExpired:
            return None
        return None if code is None else PeerEnd(None, -code) if code < 0 else PeerEnd(code, None)

    def stop(self) -> None:
        """End it, gently first, with all that it started."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.poll() is None:
            _tell(child, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(END_S)
        _tell(child, signal.SIGKILL)
        child.wait()

    def close(self) -> None:
        """End it, and listen no more."""
        try:
            self.stop()
        finally:
            if self._listener is not None:
                self._listener.close()
            if self._out >= 0:
                os.close(self._out)
                self._out = subprocess.DEVNULL


def _tell(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
