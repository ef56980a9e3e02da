"""Peers for replays: in threads, with sockets of their own, each with a deadline."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from vusniff.cli import main
from vusniff.demo.wire import DemoSocket, Incoming
from vusniff.sources.host.endpoints import ProxySide, listen

DEADLINE = 30.0
VERSION, REPLY, NEED_REPLY = 1, 4, 8


class Background:
    """Runs a peer in a thread; leaving the block waits for its end and raises what it raised."""

    def __init__(self, peer: Callable[[], object]) -> None:
        self._peer = peer
        self._error: BaseException | None = None
        self.result: object = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.result = self._peer()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Background:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "the peer hangs"
        if self._error is not None and kind is None:
            raise self._error


@contextlib.contextmanager
def listening(path: Path, peer: Callable[[DemoSocket], object]) -> Iterator[None]:
    """A peer that listens at a path and gets one connection."""
    listener = listen(ProxySide(True, str(path)))
    listener.sock.settimeout(DEADLINE)

    def run() -> object:
        with contextlib.closing(listener):
            link = DemoSocket(listener.sock.accept()[0], "the player", DEADLINE)
        try:
            return peer(link)
        finally:
            link.close()

    with Background(run):
        yield


def replay(capture: Path, to: str, path: Path, *words: str, listens: bool = False) -> int:
    side = "--listen" if listens else "--connect"
    return main(["replay", str(capture), "--to", to, side, str(path), "--timeout", str(DEADLINE), *words])


def receive(link: DemoSocket, request: int | None = None) -> Incoming:
    message = link.receive()
    assert message is not None
    assert request is None or message.request == request
    return message


def answer(link: DemoSocket, request: int, payload: bytes, *fds: int, flags: int = VERSION | REPLY) -> None:
    link.send(request, flags, payload, fds)


def obey(link: DemoSocket, answers: dict[int, bytes]) -> list[int]:
    """A back-end that answers some requests and takes all others, until the front-end leaves; what it was asked."""
    asked = []
    while (message := link.receive()) is not None:
        message.close()
        asked.append(message.request)
        if message.request in answers:
            answer(link, message.request, answers[message.request])
    return asked
