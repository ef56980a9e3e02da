"""Opens every file that a command writes, so that no other user of the host decides where its bytes go.

Owns the way to a file, and what happens to one that is there already. It must not know what is written, nor say
anything: what may not be opened raises `OutputError`.

- A symbolic link is followed only where nobody else could have made it: not in a directory that others may write,
  sticky or not (the kernel's fs.protected_symlinks, which a host may have switched off, looks at the owner instead).
- A file is made with mode 0600, and only if there is none. One that may be replaced is removed first and made anew: so
  its mode, its owner, its other names and whoever has it open do not matter.
- A file of another user is never used: neither replaced nor, if it is a FIFO, written to.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vusniff.errors import ExistsError, OutputError
from vusniff.values import dataclass

if TYPE_CHECKING:
    from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_LINKS = 40
"""Symbolic links on one way, as many as the kernel follows."""
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d{1,9})|/dev/std(?:(out)|err)")
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A descriptor to write to."""

    fd: int
    made: bool
    """It is a regular file that was made here; else it is a FIFO, a device, or what somebody else has opened."""


def descriptor_of(path: str | Path) -> int | None:
    """The descriptor of ours that a path such as /dev/stdout or /dev/fd/3 names."""
    found = _DESCRIPTOR.fullmatch(os.fspath(path))
    if found is None:
        return None
    return int(found[1]) if found[1] else 1 if found[2] else 2


def open_output(path: str | Path, replaces: bytes | None = None) -> OpenedFile:
    """Opens what is to be written; raises `OutputError`.

    ``replaces``: a file that is there already is replaced if it starts so (b"": in any case). One that is empty is
    always replaced.
    """
    number = descriptor_of(path)
    with _said(path):
        if number is not None:
            return OpenedFile(os.dup(number), False)
        with _place(path) as (folder, name, found):
            if found is not None:
                status = _checked(path, folder, name, found, replaces)
                if not stat.S_ISREG(status.st_mode):
                    return OpenedFile(_open_special(path, folder, name, status), False)
                os.unlink(name, dir_fd=folder)
            return OpenedFile(_make(folder, name, 0o600), True)


def check_output(path: str | Path, replaces: bytes | None = None) -> None:
    """Raises what `open_output` would raise now, and changes nothing: for commands that work long before they write."""
    if descriptor_of(path) is None:
        with _said(path), _place(path) as (folder, name, found):
            if found is not None:
                _checked(path, folder, name, found, replaces)


def remove(path: str | Path, fd: int) -> None:
    """Takes away a file that `open_output` made, if it is still there. Never raises."""
    with contextlib.suppress(OSError, OutputError), _place(path) as (folder, name, found):
        if found is not None and os.path.samestat(os.fstat(found), os.fstat(fd)):
            os.unlink(name, dir_fd=folder)


def install(path: Path, text: str, mode: int, mark: bytes) -> None:
    """Puts a file that other programs read into its place at once, with the directories that are missing.

    It replaces a file only if ``mark`` stands in it. Raises `OutputError`.
    """
    with _said(path), _place(path, parents=True) as (folder, name, found):
        _refuse_foreign(path, folder, name, found, mark)
        new = f".{name}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new, dir_fd=folder)
        try:
            with open(_make(folder, new, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), mode)
            os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(new, dir_fd=folder)
            raise


def uninstall(path: Path, mark: bytes) -> bool:
    """Takes away what `install` has put there; False where there is nothing. Raises `OutputError`.

    Of a symbolic link that leads to such a file the link is taken away, and what it leads to stays.
    """
    try:
        with _place(path) as (folder, name, found):
            if found is None:
                return False
            _refuse_foreign(path, folder, name, found, mark)
        with _place(path, follows_last=False) as (folder, name, _):
            os.unlink(name, dir_fd=folder)
        return True
    except FileNotFoundError:
        return False
    except OSError as error:
        raise OutputError(f"cannot remove {path}: {error.strerror or error}") from error


def _refuse_foreign(path: Path, folder: int, name: str, found: int | None, mark: bytes) -> None:
    """Raises `OutputError` for what is there and is none of ours; never waits, as a FIFO would make us."""
    if found is None:
        return
    data = b""
    if stat.S_ISREG(os.fstat(found).st_mode):
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            _same(path, fd, os.fstat(found))
            data = os.pread(fd, _MARKED, 0)
        finally:
            os.close(fd)
    if mark not in data:
        raise OutputError(f"{path} is not from vusniff: move it away first")


_MARKED = 1 << 16
"""Bytes at the beginning of an installed file, among which its mark is."""
_LARGEST_ID = (1 << 32) - 2
"""Of a user or group."""


def sudo_user() -> tuple[int, int] | None:
    """User and group that called us by sudo, where that is not root."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() == 0 and all(word.isdecimal() and int(word) <= _LARGEST_ID for word in (uid, gid)) and int(uid):
        return int(uid), int(gid)
    return None


@contextlib.contextmanager
def _said(path: str | Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OutputError(f"cannot write {path}: {why}") from error


def _make(folder: int, name: str, mode: int) -> int:
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder)


# -- the way there ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _place(path: str | Path, parents: bool = False, follows_last: bool = True) -> Iterator[tuple[int, str, int | None]]:
    """The directory and the name behind all links, and the file itself if there is one (as with O_PATH).

    ``parents``: directories that are missing are made. ``follows_last``: else the file may be a link.
    """
    words = os.fspath(path)
    rest = deque(words.split("/"))
    folder = os.open("/" if words.startswith("/") else ".", _PLACE | os.O_DIRECTORY)
    found: int | None = None
    links = 0
    try:
        while True:
            name = rest.popleft()
            if name in ("", "."):
                if rest:
                    continue
                raise IsADirectoryError(f"it is a directory{'' if words else ' without a name'}: name a file in it")
            try:
                found = os.open(name, _PLACE, dir_fd=folder)
            except FileNotFoundError:
                if rest and parents:
                    os.mkdir(name, 0o755, dir_fd=folder)
                    rest.appendleft(name)
                    continue
                if rest:
                    raise
                yield folder, name, None
                return
            mode = os.fstat(found).st_mode
            if stat.S_ISLNK(mode) and (rest or follows_last):
                links += 1
                target = _followed(path, folder, name, found, links)
                rest.extendleft(reversed(target.split("/")))
                os.close(found)
                found = None
                if target.startswith("/"):
                    os.close(folder)
                    folder = os.open("/", _PLACE | os.O_DIRECTORY)
            elif rest:
                os.close(folder)
                folder, found = found, None
                if not stat.S_ISDIR(mode):
                    raise NotADirectoryError(f"{name} is not a directory")
            else:
                yield folder, name, found
                return
    finally:
        os.close(folder)
        if found is not None:
            os.close(found)


def _followed(path: str | Path, folder: int, name: str, link: int, links: int) -> str:
    """Where a symbolic link leads, if it may be followed."""
    around, own = os.fstat(folder), os.fstat(link).st_uid == os.geteuid() != 0
    if not own and (around.st_uid not in (0, os.geteuid()) or around.st_mode & _OTHERS_WRITE):
        raise OutputError(
            f"cannot write {path}: {name} is a symbolic link in a directory that other users may write; "
            "name what it leads to, if you trust it"
        )
    if links > _LINKS:
        raise OSError("too many symbolic links")
    return os.readlink("", dir_fd=link)


# -- what is there already --------------------------------------------------------------------------------------------


def _checked(path: str | Path, folder: int, name: str, found: int, replaces: bytes | None) -> os.stat_result:
    """What is there, if it may be written to or replaced."""
    status = os.fstat(found)
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise OutputError(f"{path} is a directory: name a file in it")
    if kind not in (stat.S_IFREG, stat.S_IFIFO, stat.S_IFCHR):
        raise OutputError(f"{path} is neither a regular file nor a FIFO: name another file")
    caller = sudo_user()
    if status.st_uid not in (0, os.geteuid(), caller[0] if caller else 0):
        raise OutputError(f"{path} belongs to another user, who can read what is written there: name another file")
    if kind == stat.S_IFREG:
        # For writing: what is protected against that is not replaced either.
        fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            _same(path, fd, status)
            if status.st_size and (replaces is None or os.pread(fd, len(replaces), 0) != replaces):
                raise ExistsError(f"{path} is there already: name another file, or replace it with --force")
        finally:
            os.close(fd)
    return status


def _open_special(path: str | Path, folder: int, name: str, status: os.stat_result) -> int:
    fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=folder)
    try:
        _same(path, fd, status)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _same(path: str | Path, fd: int, status: os.stat_result) -> None:
    if not os.path.samestat(os.fstat(fd), status):
        raise OutputError(f"{path} became another file while it was opened: name one where nobody else can write")
