"""What a passed descriptor is: the kernel program's fields, and /proc where it still shows the same file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vusniff.sources.host.descriptors import describe as describe_own
from vusniff.sources.probe.passed import Fields, describe

OVERLAYFS, BTRFS, EXT4, TMPFS = 0x794C7630, 0x9123683E, 0xEF53, 0x01021994


def fields(path: Path, fd: int, magic: int, device: int, inode: int | None = None) -> Fields:
    status = os.fstat(fd)
    number = inode or status.st_ino
    return (fd, status.st_mode, number, status.st_size, magic, device, 0, 0, path.name.encode().ljust(64, b"\0"))


def kernel_device(fd: int) -> int:
    number = os.fstat(fd).st_dev
    return os.major(number) << 20 | os.minor(number)


@pytest.mark.parametrize("magic", [EXT4, TMPFS, OVERLAYFS])
def test_a_file_is_named_by_its_path(tmp_path: Path, magic: int) -> None:
    path = tmp_path / "memory"
    path.write_bytes(bytes(4096))
    with path.open("rb") as file:
        found = describe(fields(path, file.fileno(), magic, kernel_device(file.fileno())), os.getpid())
        assert found == describe_own(file.fileno(), file.fileno())
    assert found.name == str(path)


@pytest.mark.parametrize(("magic", "same"), [(OVERLAYFS, True), (BTRFS, True), (EXT4, False)])
def test_a_file_system_that_tells_another_device_than_its_own(tmp_path: Path, magic: int, same: bool) -> None:
    path = tmp_path / "memory"
    path.write_bytes(bytes(4096))
    with path.open("rb") as file:
        other = kernel_device(file.fileno()) + 1
        found = describe(fields(path, file.fileno(), magic, other), os.getpid())
        assert (found == describe_own(file.fileno(), file.fileno())) is same
    assert found.name == (str(path) if same else "memory")


def test_a_number_that_means_another_file_by_now(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.write_bytes(bytes(4096))
    with path.open("rb") as file:
        gone = os.fstat(file.fileno()).st_ino + 1
        found = describe(fields(path, file.fileno(), OVERLAYFS, kernel_device(file.fileno()), gone), os.getpid())
    assert found.name == "memory"
    assert found.identity is not None
    assert found.identity.endswith(f":{gone}")
