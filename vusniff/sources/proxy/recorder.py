"""What the proxy tells a capture, and what it tells the user when the capture cannot be written.

Owns the counters of a run, and that a failing capture is tried again. Writing never fails here: traffic goes on, the
loss is counted by the writer and said once (`reporting`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from vusniff.capture.writer import CaptureWriter
from vusniff.record import Closed, Connection, Descriptor, End, Evidence, Frame, FrameKind, Lost
from vusniff.sources.proxy.loop import Loop
from vusniff.sources.reporting import Say, WritingReport

RETRY_SECONDS = 1.0
"""How often a capture that cannot be written is tried while nobody speaks."""


class Recorder:
    """A capture being written by a proxy."""

    def __init__(self, writer: CaptureWriter, loop: Loop, say: Say, note: Say | None = None) -> None:
        """``note`` takes sentences that are no errors, where ``say`` is not to have them."""
        self._writer = writer
        self._loop = loop
        self._report = WritingReport(writer, say, note or say, "; traffic goes on, messages are only counted")
        self.keep: Callable[[int, Descriptor], None] | None = None
        """Takes what a sampler of rings may read."""
        self.connections = 0
        self.messages = 0
        self.lost = 0
        """Losses other than what could not be written, and messages since the capture has reached its bound."""
        if writer.stopped is not None:
            self._report.look()

    def open(self, path: str, ends: tuple[End, End], opened_ns: int | None = None) -> Connection:
        """A connection begins, now where not said otherwise."""
        self.connections += 1
        if self._writer.stopped is not None:
            return Connection(0, path, ends, None)
        connection = self._writer.open(path, ends, opened_ns or time.time_ns())
        self._flush()
        return connection

    def frames(self, frames: list[Frame], comments: tuple[bytes, ...] = ()) -> None:
        """Frames, in the kernel's hands when this returns, unless the capture fails; with lines for Wireshark."""
        writer = self._writer
        if writer.stopped is not None:
            count = sum(frame.kind is not FrameKind.CONTINUATION for frame in frames)
            self.messages += count
            self.lost += count
            return
        for frame in frames:
            writer.frame(frame, comments)
            if frame.kind is not FrameKind.CONTINUATION:
                self.messages += 1
        writer.flush()
        if writer.failure is not None or writer.stopped is not None or self._report.failing:
            self._tell()

    def announce(self, frame: Frame) -> None:
        """Evidence about a frame comes before it."""
        if self._writer.stopped is None:
            self._writer.announce(frame)

    def lose(self, connection: int) -> None:
        """Something was sent and could not be captured as it was."""
        self.lost += 1
        if self._writer.stopped is None:
            self._writer.lost(Lost(connection, time.time_ns(), 1))

    def close(self, closed: Closed, silent: bool = False) -> None:
        """A connection ends; ``silent`` is told of also where nobody has said anything."""
        if self._writer.stopped is None:
            self._writer.close_connection(closed, silent)
            self._flush()

    def evidence(self, one: Evidence, by_file: bool = False) -> None:
        """Something else was seen; ``by_file`` as in `CaptureWriter.evidence`."""
        if self._writer.stopped is None:
            self._writer.evidence(one, by_file)
            self._flush()

    def passed(self, fds: Iterable[int], descriptors: Iterable[Descriptor]) -> None:
        """Descriptors pass: ``fds`` are ours until they are sent on."""
        if self.keep is not None:
            for fd, descriptor in zip(fds, descriptors, strict=False):
                self.keep(fd, descriptor)

    def end(self, file: str | None) -> None:
        """Closes the capture and sums up, unless there is no ``file`` to speak of."""
        self._writer.close()
        if file is not None:
            self._report.sum_up(self.messages, self.connections, self.lost, file)

    def _flush(self) -> None:
        self._writer.flush()
        self._tell()

    def _tell(self) -> None:
        if self._report.look():
            self._loop.after(RETRY_SECONDS, self._retry)

    def _retry(self) -> None:
        if self._report.failing:
            self._flush()
            self._loop.after(RETRY_SECONDS, self._retry)
