"""What a source tells its user of the capture that it writes: when that fails, goes on, is full, and what it held."""

from __future__ import annotations

from collections.abc import Callable

from vusniff.amounts import counted
from vusniff.capture.recording import Recording

Say = Callable[[str], None]


class WritingReport:
    """The report of one capture. ``say`` takes sentences, ``note`` those that --quiet leaves out."""

    def __init__(self, writer: Recording, say: Say, note: Say, at_bound: str = "") -> None:
        """``at_bound`` follows the sentence that the capture has reached its bound."""
        self._writer = writer
        self._say = say
        self._note = note
        self._at_bound = at_bound
        self.failing = False
        """It cannot be written now."""
        self.stopped = False
        """It has reached its bound."""

    def look(self) -> bool:
        """Say what has changed since the last look; True where the capture has begun to fail."""
        stopped, failure = self._writer.stopped, self._writer.failure
        if stopped is not None:
            if not self.stopped:
                self.stopped, self.failing = True, False
                self._say(f"{stopped}{self._at_bound}")
            return False
        if (failure is not None) is self.failing:
            return False
        self.failing = not self.failing
        self._say(failure or f"the capture is written again; {self._writer.lost_frames} messages are missing from it")
        return self.failing

    def sum_up(self, messages: int, connections: int, lost: int, file: str) -> None:
        """Say what was recorded; ``lost`` besides what could not be written."""
        lost += self._writer.lost_frames
        words = f"{counted(messages, 'message')} on {counted(connections, 'connection')}, {lost} lost, in {file}"
        (self._say if lost else self._note)(words)
