"""Descriptors: each kind that the kernel can make here, with the identity that every source gives it."""

from __future__ import annotations

import array
import ctypes
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from silent import SilentFile

from vusniff.record import Descriptor, DescriptorKind
from vusniff.sources.host.descriptors import describe, describe_of
from vusniff.sources.host.mounts import give_back, is_at_hand

LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def held() -> Iterator[list[int]]:
    """Descriptors to close afterwards."""
    fds: list[int] = []
    yield fds
    for fd in fds:
        os.close(fd)


def eventfd(held: list[int]) -> int:
    fd = int(LIBC.eventfd(0, 0))
    held.append(fd)
    return fd


def test_eventfds_share_an_inode_and_are_told_apart(held: list[int]) -> None:
    a, b = eventfd(held), eventfd(held)
    copy = os.dup(a)
    held.append(copy)
    first = describe(a, 17)
    assert os.fstat(a).st_ino == os.fstat(b).st_ino
    assert first.kind is DescriptorKind.EVENTFD
    assert first.identity is not None
    assert first.identity.startswith("eventfd:")
    assert int(first.identity.removeprefix("eventfd:")) >= 0
    assert first.number == 17
    assert describe(b).identity != first.identity
    assert describe(copy).identity == first.identity


@pytest.mark.parametrize("name", ["guest-ram", "", "with space (deleted)", "x" * 200])
def test_memfd(held: list[int], name: str) -> None:
    fd = os.memfd_create(name)
    held.append(fd)
    os.ftruncate(fd, 1 << 30)
    inode = os.fstat(fd).st_ino
    assert describe(fd) == Descriptor(DescriptorKind.MEMFD, f"memfd:{inode}", None, name, 1 << 30)


def test_memfd_of_huge_pages(held: list[int]) -> None:
    try:
        fd = os.memfd_create("huge", os.MFD_HUGETLB)
    except OSError as error:
        pytest.skip(f"this kernel gives no huge page memfd: {error}")
    held.append(fd)
    assert describe(fd) == Descriptor(DescriptorKind.MEMFD, f"memfd:{os.fstat(fd).st_ino}", None, "huge", 0)


def test_a_name_that_is_not_text(held: list[int]) -> None:
    fd = int(LIBC.memfd_create(b"\xff\n\xfe", 0))
    held.append(fd)
    name = describe(fd).name
    assert name == "\\xff\n\\xfe"
    assert name.encode()


def test_socket_pipe_and_device(held: list[int]) -> None:
    a, b = socket.socketpair()
    with a, b:
        assert describe(a.fileno()) == Descriptor(DescriptorKind.SOCKET, f"socket:{os.fstat(a.fileno()).st_ino}")
    held.extend(os.pipe())
    assert describe(held[0]) == Descriptor(DescriptorKind.PIPE, f"pipe:{os.fstat(held[0]).st_ino}")
    null = os.open("/dev/null", os.O_RDWR)
    held.append(null)
    assert describe(null) == Descriptor(DescriptorKind.DEVICE, "device:1:3", None, "/dev/null")


def test_files_and_deleted_files(held: list[int], tmp_path: Path) -> None:
    path = tmp_path / "ram"
    path.write_bytes(bytes(4096))
    fd = os.open(path, os.O_RDWR)
    held.append(fd)
    status = os.fstat(fd)
    identity = f"file:{os.major(status.st_dev)}:{os.minor(status.st_dev)}:{status.st_ino}"
    assert describe(fd) == Descriptor(DescriptorKind.FILE, identity, None, str(path), 4096)
    path.unlink()
    assert describe(fd) == Descriptor(DescriptorKind.FILE, identity, None, f"{path} (deleted)", 4096)


def test_a_directory_and_a_named_pipe(held: list[int], tmp_path: Path) -> None:
    held.append(os.open(tmp_path, os.O_RDONLY))
    directory = describe(held[0])
    assert (directory.kind, directory.name) == (DescriptorKind.OTHER, str(tmp_path))
    os.mkfifo(tmp_path / "fifo")
    held.append(os.open(tmp_path / "fifo", os.O_RDWR))
    fifo = describe(held[1])
    assert (fifo.kind, fifo.name) == (DescriptorKind.PIPE, str(tmp_path / "fifo"))


def test_other_anonymous_inodes_have_a_name_and_no_identity(held: list[int]) -> None:
    held.append(int(LIBC.epoll_create(1)))
    assert describe(held[0], 3) == Descriptor(DescriptorKind.OTHER, None, 3, "anon_inode:[eventpoll]")


def test_userfaultfd(held: list[int]) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the number of the userfaultfd system call is known here for x86_64 only")
    user_mode_only = 1
    fd = int(LIBC.syscall(323, os.O_CLOEXEC | user_mode_only))
    if fd < 0:
        pytest.skip(f"this kernel gives no userfaultfd: {os.strerror(ctypes.get_errno())}")
    held.append(fd)
    found = describe(fd)
    assert found.kind is DescriptorKind.USERFAULTFD
    assert found.identity == f"userfaultfd:{os.fstat(fd).st_ino}"


def test_another_process_and_a_passed_copy_have_the_same_identity(held: list[int]) -> None:
    memory = os.memfd_create("ram")
    held.append(memory)
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:  # pragma: no cover, another process
        try:
            _, passed, *_ = socket.recv_fds(theirs, 1, 4)
            theirs.send(array.array("i", [passed[0]]).tobytes())
            theirs.recv(1)
        finally:
            os._exit(0)
    with ours, theirs:
        socket.send_fds(ours, [b"x"], [memory])
        number = array.array("i", ours.recv(4))[0]
        there = describe_of(child, number)
        assert there.number == number
        assert (there.kind, there.identity, there.name) == (
            DescriptorKind.MEMFD,
            f"memfd:{os.fstat(memory).st_ino}",
            "ram",
        )
        ours.send(b"x")
        os.waitpid(child, 0)


def test_a_file_whose_server_does_not_answer_is_described_and_closed_all_the_same(tmp_path: Path) -> None:
    with SilentFile(tmp_path) as silent:
        found = describe(silent.fd)
        assert (found.kind, found.name, found.size) == (DescriptorKind.FILE, str(tmp_path / "file"), 4096)
        assert describe_of(os.getpid(), silent.fd).identity == found.identity
        assert not is_at_hand(silent.fd)
        give_back(os.dup(silent.fd))
        assert not silent.waited


def test_memory_and_files_on_disks_are_at_hand(held: list[int], tmp_path: Path) -> None:
    held.append(os.memfd_create("ram"))
    held.append(os.open(tmp_path, os.O_TMPFILE | os.O_RDWR))
    held.append(os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR))
    assert [is_at_hand(fd) for fd in held] == [True] * 3
    assert [is_at_hand(fd, os.getpid()) for fd in held] == [True] * 3


def test_a_mount_in_no_list_is_not_at_hand(tmp_path: Path, held: list[int]) -> None:
    """Not even one of memory: whose it is, and what it lies on, is not known."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, None):
        pytest.skip(f"needs to mount (as root): {os.strerror(ctypes.get_errno())}")
    try:
        held.append(os.open(folder / "file", os.O_CREAT | os.O_RDWR))
        assert is_at_hand(held[0])
    finally:
        libc.umount2(os.fsencode(folder), 2)  # MNT_DETACH: the file stays open
    assert not is_at_hand(held[0])
    assert not is_at_hand(held[0], os.getpid(), (os.getpid(), os.getppid()))


def test_what_cannot_be_looked_at_is_unknown() -> None:
    assert describe(10**6, 4) == Descriptor(DescriptorKind.UNKNOWN, None, 4)
    assert describe_of(2**30, 4) == Descriptor(DescriptorKind.UNKNOWN, None, 4)
