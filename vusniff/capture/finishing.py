"""Files of sessions that are finished: compresses them and removes the oldest, in a thread of its own.

Owns how long finished files stay, in bounded memory. It must not know what is in them.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import queue
import re
import stat
import threading
from collections.abc import Callable, Iterator

from vusniff import files
from vusniff.capture.compressed import compressor_of
from vusniff.capture.output import open_path
from vusniff.errors import CaptureError

_WAITING = 1024
"""Files that wait to be compressed: a recording waits where there are more."""
OLDEST = 1000
"""Names of finished files that are remembered: the directory is asked for the next when these are removed."""
_OURS = re.compile(r"\d{8}T\d{6}Z-[A-Za-z0-9._-]{1,120}\.pcapng(\.gz|\.zst)")
"""Names of the files that are finished here: only these are removed."""
_PIECE = 1 << 20


class Finisher:
    """Compresses files that are finished and removes the oldest, in a thread of its own: messages do not wait."""

    def __init__(self, folder_fd: int, folder: str, keep: int | None, say: Callable[[str], None]) -> None:
        self._fd = folder_fd
        self._folder = folder
        self._keep = keep
        self._say = say
        self._said = False
        self.ending = ".zst"
        try:
            compressor_of(self.ending)
        except CaptureError:
            self.ending = ".gz"
        self._size = 0 if keep is None else sum(size for _, _, size in self._found())
        self._oldest: list[tuple[int, str, int]] = []
        """Time, name and size of the finished files that are removed next, the oldest last."""
        self._waiting: queue.Queue[tuple[str, int] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="finish", daemon=True)
        self._thread.start()

    def take(self, path: str, fd: int) -> None:
        """A file is finished; ``fd`` is ours from now on."""
        self._waiting.put((path, fd))

    def close(self) -> None:
        """Waits until all is done."""
        self._waiting.put(None)
        self._thread.join()
        os.close(self._fd)

    def _run(self) -> None:
        while (one := self._waiting.get()) is not None:
            path, fd = one
            try:
                self._compress(path, fd)
                self._tidy(os.path.basename(path) + self.ending)
            except (CaptureError, OSError) as error:
                if not self._said:
                    self._said = True
                    self._say(f"{path} stays as it is: {error}")
            finally:
                os.close(fd)

    def _compress(self, path: str, fd: int) -> None:
        output = open_path(path + self.ending, None)
        copy = os.dup(output.fileno())
        try:
            at, why = 0, None
            while why is None and (piece := os.pread(fd, _PIECE, at)):
                _, why = output.write(piece)
                at += len(piece)
            why = why or output.finish()
            output.close()
            if why is not None:
                files.remove(path + self.ending, copy)
                raise why
            files.remove(path, fd)
        finally:
            os.close(copy)

    def _tidy(self, name: str) -> None:
        """Removes the files that were finished first until what is there fits. ``name`` has just been finished."""
        if self._keep is None:
            return
        with contextlib.suppress(FileNotFoundError):
            self._size += os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_size
        while self._size > self._keep:
            if not self._oldest and not self._look():
                break
            _, name, size = self._oldest.pop()
            self._size -= size
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._fd)

    def _look(self) -> bool:
        """Asks the directory what is there; whether something has to be removed and can be."""
        assert self._keep is not None
        self._size = 0

        def counted() -> Iterator[tuple[int, str, int]]:
            for one in self._found():
                self._size += one[2]
                yield one

        self._oldest = heapq.nsmallest(OLDEST, counted())[::-1]
        return self._size > self._keep and bool(self._oldest)

    def _found(self) -> Iterator[tuple[int, str, int]]:
        """Finished files, of earlier recordings too: when they were finished (ns), names and sizes (bytes)."""
        with os.scandir(self._fd) as entries:
            for entry in entries:
                if not _OURS.fullmatch(entry.name):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                        yield status.st_mtime_ns, entry.name, status.st_size
