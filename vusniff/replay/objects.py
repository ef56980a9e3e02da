"""Descriptors made anew: for every recorded object one of our own, the same object for the same identity.

Memory is zero and of the recorded size and name; eventfds are at rest; of a socket or a pipe one end is passed and the
other kept. Knows what a recorded descriptor was, and no order of messages.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from vusniff.families.vhost_user.protocol import FrontendRequest
from vusniff.message import Message
from vusniff.record import Descriptor, DescriptorKind
from vusniff.replay.script import ReplayError, Script, ScriptLine
from vusniff.values import dataclass, field

NAME_LIMIT = 240
"""Bytes of a memfd's name: the kernel takes 249."""
WRITTEN_BY_PEER = frozenset({FrontendRequest.SET_VRING_CALL, FrontendRequest.SET_VRING_ERR, FrontendRequest.SET_LOG_FD})
"""Requests whose descriptor the back-end writes to; from all others it reads."""

Key = tuple[str, int, int]


def key_of(message: Message, position: int) -> Key:
    """What a descriptor of a message is known by: its identity, or its place where it has none."""
    identity = message.descriptors[position].identity
    return (identity, 0, 0) if identity else ("", message.number, position)


def _ranges(message: Message) -> Iterator[tuple[int, int]]:
    """For each descriptor in turn, offset and size of what the message says is in it."""
    values: Mapping[str, Any] = message.payload or {}
    if message.malformed is not None:
        return
    match message.layout:
        case "memory_table":
            for region in values.get("regions") or ():
                yield region["mmap_offset"], region["size"]
        case "memory_region_single":
            yield values["mmap_offset"], values["size"]
        case "inflight":
            yield values["mmap_offset"], values["mmap_size"]
        case "log":
            yield values["log_offset"], values["log_size"]
        case "vring_area":
            yield values["offset"], values["size"]
        case "shmem_mmap":
            yield values["fd_offset"], values["len"]


def sizes_of(script: Script) -> dict[Key, int]:
    """Bytes of every memory object: as recorded, or as much as messages say is in it."""
    stated: dict[Key, int] = {}
    used: dict[Key, int] = {}
    for line in script.lines:
        message = line.message
        try:
            ranges = list(_ranges(message)) if message.descriptors else []
        except (KeyError, TypeError):  # a vendor's layout under a name of ours
            ranges = []
        for position, one in enumerate(message.descriptors):
            key = key_of(message, position)
            if one.size is not None:
                stated[key] = max(one.size, stated.get(key, 0))
            if position < len(ranges):
                used[key] = max(sum(ranges[position]), used.get(key, 0))
    return {**used, **stated}


@dataclass(slots=True)
class Objects:
    """The descriptors of a replay; it owns them all."""

    passed: dict[Key, int] = field(default_factory=dict)
    """What stands for a recorded object and is handed to the peer."""
    kept: dict[Key, int] = field(default_factory=dict)
    """Our end of what has two."""

    @classmethod
    def make(cls, script: Script) -> Objects:
        """All that the side which is played hands over. Raises ReplayError."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        objects = cls()
        sizes = sizes_of(script)
        try:
            for line in script.lines:
                if line.mine:
                    objects._make_for(line, sizes)
        except BaseException:
            objects.close()
            raise
        return objects

    def _make_for(self, line: ScriptLine, sizes: Mapping[Key, int]) -> None:
        message = line.message
        for position, one in enumerate(message.descriptors):
            key = key_of(message, position)
            if key in self.passed:
                continue
            try:
                self._make(key, one, sizes.get(key), not message.reply and message.request in WRITTEN_BY_PEER)
            except (OSError, OverflowError) as error:
                why = getattr(error, "strerror", None) or error
                raise ReplayError(f"cannot make the {one.kind} of message {line.title}: {why}") from None

    def _make(self, key: Key, one: Descriptor, size: int | None, peer_writes: bool) -> None:
        if one.kind is DescriptorKind.EVENTFD:
            self.passed[key] = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        elif one.kind is DescriptorKind.SOCKET:
            ours, theirs = socket.socketpair()
            self.kept[key], self.passed[key] = ours.detach(), theirs.detach()
        elif one.kind is DescriptorKind.PIPE:
            read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self.passed[key], self.kept[key] = (write, read) if peer_writes else (read, write)
        else:
            name = os.path.basename(one.name or "").replace("\0", "") or "memory"
            fd = self.passed[key] = os.memfd_create(name.encode()[:NAME_LIMIT].decode(errors="ignore"), os.MFD_CLOEXEC)
            os.ftruncate(fd, size or 0)

    def of(self, message: Message) -> list[int]:
        """What to hand over with a message of the played side."""
        for position, one in enumerate(message.descriptors):
            if one.kind is DescriptorKind.SOCKET and key_of(message, position) not in self.passed:
                self._make(key_of(message, position), one, None, False)  # handed over before, and gone with that
        return [self.passed[key_of(message, position)] for position in range(len(message.descriptors))]

    def find(self, descriptor: Descriptor | None) -> int | None:
        """What stands for a recorded object, if anything does."""
        identity = descriptor.identity if descriptor else None
        return self.passed.get((identity, 0, 0)) if identity else None

    def adopt(self, message: Message, fds: list[int]) -> None:
        """The peer handed over what the recorded peer did: from now on these stand for the recorded objects."""
        for position, fd in enumerate(fds):
            key = key_of(message, position) if position < len(message.descriptors) else None
            if key is None or key not in self.passed or key in self.kept:
                os.close(fd)
                continue
            os.close(self.passed[key])
            self.passed[key] = fd

    def take_kept(self, message: Message) -> socket.socket | None:
        """Our end of the socket that a message hands over; the caller owns it."""
        if not message.descriptors or message.descriptors[0].kind is not DescriptorKind.SOCKET:
            return None
        fd = self.kept.pop(key_of(message, 0), None)
        return None if fd is None else socket.socket(fileno=fd)

    def hand_over(self, message: Message) -> None:
        """A message with a socket has gone out: that end is the peer's alone, so that its hang-up can be seen."""
        for position, one in enumerate(message.descriptors):
            key = key_of(message, position)
            if one.kind is DescriptorKind.SOCKET and key not in self.kept and key in self.passed:
                os.close(self.passed.pop(key))

    def close(self) -> None:
        """Closes them all."""
        for fds in (self.passed, self.kept):
            while fds:
                os.close(fds.popitem()[1])
