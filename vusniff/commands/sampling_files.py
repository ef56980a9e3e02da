"""Sampling of rings while a source records to several files: each file is followed by itself, as views read it.

A file of a rotation begins with the messages that make up the present state, and the file of a session has all of them:
each tells where its rings are.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vusniff.commands.sampling import IDLE_SECONDS, SHARE, CaptureSampling, readable, told_devices
from vusniff.values import dataclass

if TYPE_CHECKING:
    from vusniff.capture.output import DescriptorOutput
    from vusniff.capture.writer import CaptureWriter
    from vusniff.record import Sample
    from vusniff.sources.rings.access import Access
    from vusniff.sources.rings.reader import SignalCount
    from vusniff.sources.rings.sampler import Introduce


@dataclass(slots=True)
class _SampledFile:
    """One file."""

    writer: CaptureWriter
    sampling: CaptureSampling
    due: float = 0.0
    """When it is looked at next (monotonic seconds)."""
    before: _SampledFile | None = None
    """The file whose place it takes: what monitors told of its devices is not in this one."""


class FilesSampling:
    """The rings of all files that are being written: see `vusniff.sources.rings.sampler.Sampling`."""

    def __init__(self, args: argparse.Namespace, say: Callable[[str], None]) -> None:
        """As the arguments say."""
        from vusniff.sources.rings.access import Access

        self.access: Access = Access()
        self._args = args
        self._say = say
        self._parts: list[_SampledFile] = []
        self._signals: SignalCount | None = None
        self._introduce: Introduce = lambda inode: None

    def begin(self, output: DescriptorOutput, writer: CaptureWriter) -> None:
        """Follow one more file. Raises `VusniffError` where it cannot be read again."""
        sampling = CaptureSampling(readable(output), self._args.rings, self._args.every_sample, self._say)
        sampling.open()  # now: its descriptor is gone when the file is finished
        if self._signals is not None:
            sampling.count_by(self._signals)
        before = self._parts[-1] if self._parts and self._args.per_session is None else None
        self._parts.append(_SampledFile(writer, sampling, before=before))

    def count_by(self, signals: SignalCount) -> None:
        """Kicks and calls are counted by this; see `Sampling`."""
        self._signals = signals
        for part in self._parts:
            part.sampling.count_by(signals)

    def join(self, introduce: Introduce) -> None:
        """Look for devices that were set up before; see `Sampling`. The file of one is the newest then."""
        self._introduce = introduce
        for devices in told_devices(self._args.qmp, self._say):
            for device in devices:
                if (at := introduce(device.inode)) is not None:
                    self.newest.tell(at, device)
                    break

    @property
    def newest(self) -> CaptureSampling:
        """Of the file that was begun last."""
        return self._parts[-1].sampling

    def turn(self, write: Callable[[Sample], None]) -> float | None:
        """One look at each file that is due; see `Sampling`. Samples are written to their files here."""
        began = time.thread_time()
        for part in self._parts.copy():
            if part.before is not None:
                self._take_over(part, part.before)
            if part.writer.closed:
                part.sampling.close()
                self._parts.remove(part)
            elif time.monotonic() >= part.due:
                self._look(part)
        pause = min((part.due - time.monotonic() for part in self._parts), default=IDLE_SECONDS)
        return max(pause, SHARE * (time.thread_time() - began), 0.0)

    def _take_over(self, part: _SampledFile, before: _SampledFile) -> None:
        part.before = None
        for device in before.sampling.told.values():
            if (at := self._introduce(device.inode)) is not None:
                part.sampling.tell(at, device)

    def _look(self, part: _SampledFile) -> None:
        samples: list[Sample] = []
        pause = part.sampling.turn(samples.append)
        for sample in samples:
            part.writer.evidence(sample, by_file=True)
        if samples:
            part.writer.flush()
        if pause is None:
            self._parts.remove(part)
        else:
            part.due = time.monotonic() + pause

    def close(self) -> None:
        """Let go of everything."""
        for part in self._parts:
            part.sampling.close()
        self._parts.clear()
