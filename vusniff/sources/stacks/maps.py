"""What a process has mapped, and its files, opened: the only part of unwinding that needs rights.

A user's process decides what it maps, and root looks at it. So a file is opened by what the kernel says is mapped
(/proc/PID/map_files), never by its name; only a regular one of a bounded size; and only on a file system that this host
itself has mounted and that lies on a local disk or in memory, because another may wait for whoever made it. Nothing of
a file is read here.
"""

from __future__ import annotations

import os
import re
import stat
import time
from pathlib import Path

from vusniff.values import dataclass

MAPS_BYTES = 8 << 20
"""Most that is read of /proc/PID/maps: 65,530 mappings have about that."""
LINES_LIMIT = 2048
"""Most mappings of files with code."""
FILE_BYTES = 4 << 30
FILE_SYSTEMS = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "overlay", "tmpfs", "squashfs", "erofs", "zfs", "ramfs", "rootfs"}
)
"""Kinds of file systems whose files nobody but this host can hold up."""
_LINE = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) ([rwxsp-]{4}) ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) (\d+) +(.*)")


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping of a file that has code."""

    start: int
    end: int
    rights: str
    offset: int
    device: str
    """``major:minor`` in hexadecimal, as the kernel writes it."""
    inode: int
    path: str
    """As its process names it."""

    @property
    def name(self) -> str:
        """Without its folder."""
        return self.path.rpartition("/")[2]

    @property
    def file(self) -> tuple[str, int]:
        """What tells files apart."""
        return self.device, self.inode


def started_ns(pid: int) -> int:
    """When a process started, by the kernel's monotonic clock and within a clock tick. Raises OSError."""
    said = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    asleep = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
    return int(said[19]) * (1_000_000_000 // os.sysconf("SC_CLK_TCK")) - asleep


def read(pid: int) -> tuple[Mapping, ...]:
    """The mappings of files that have code. Raises OSError when the process has gone, or may not be looked into."""
    with open(f"/proc/{pid}/maps", "rb") as file:
        text = file.read(MAPS_BYTES)
    if not text:  # a kernel thread, or a process that is ending
        raise ProcessLookupError(f"process {pid} has nothing mapped")
    return parse(text)


def parse(text: bytes) -> tuple[Mapping, ...]:
    """The same of the text that the kernel gives."""
    found = [match for line in text.split(b"\n") if (match := _LINE.fullmatch(line)) and match[7].startswith(b"/")]
    with_code = {(match[5], match[6]) for match in found if b"x" in match[3]}
    return tuple(
        Mapping(
            int(match[1], 16),
            int(match[2], 16),
            match[3].decode(),
            int(match[4], 16),
            match[5].decode(),
            int(match[6]),
            os.fsdecode(match[7].removesuffix(b" (deleted)")),
        )
        for match in found
        if (match[5], match[6]) in with_code
    )[:LINES_LIMIT]


class Mounts:
    """Which file systems may be read: asked of the kernel's tables, never of the file systems."""

    def __init__(self, pid: int) -> None:
        """As ``pid`` sees them. Raises OSError."""
        local = {device for device, kind in _mounts("self").values() if kind in FILE_SYSTEMS}
        self._local = {number for number, (device, _) in _mounts(str(pid)).items() if device in local}

    def open(self, pid: int, mapping: Mapping) -> int | None:
        """A descriptor of the file of a mapping; None where it is not opened.

        /proc/PID/map_files needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE (proc(5)). Without, it is opened by its name.
        """
        path = f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}"
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except PermissionError:
            if os.geteuid() == 0:
                return None
            try:
                place = os.open(f"/proc/{pid}/root{mapping.path}", os.O_PATH | os.O_CLOEXEC)
            except OSError:
                return None
        except OSError:
            return None
        try:
            if _mount_of(place) not in self._local or not stat.S_ISREG((found := os.fstat(place)).st_mode):
                return None
            if found.st_size > FILE_BYTES or (os.geteuid() != 0 and found.st_ino != mapping.inode):
                return None
            return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return None
        finally:
            os.close(place)


def _mounts(pid: str) -> dict[int, tuple[str, str]]:
    """Number of a mount -> ``major:minor`` and kind of its file system (proc_pid_mountinfo(5))."""
    found = {}
    for line in Path(f"/proc/{pid}/mountinfo").read_bytes().splitlines():
        before, _, behind = line.partition(b" - ")
        fields = before.split(b" ")
        found[int(fields[0])] = fields[2].decode(), behind.split(b" ", 1)[0].decode(errors="replace")
    return found


def _mount_of(fd: int) -> int | None:
    for line in Path(f"/proc/self/fdinfo/{fd}").read_bytes().splitlines():
        if line.startswith(b"mnt_id:"):
            return int(line.split()[1])
    return None
