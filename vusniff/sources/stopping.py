"""Signals that end a recording in good order."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[int]:
    """SIGINT and SIGTERM call ``stop`` in this block; gives a descriptor that becomes readable then."""
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {number: signal.signal(number, lambda *_: stop()) for number in (signal.SIGINT, signal.SIGTERM)}
    woken = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    try:
        yield readable
    finally:
        signal.set_wakeup_fd(woken)
        for number, action in before.items():
            signal.signal(number, action)
        os.close(readable)
        os.close(writable)
