"""A driver of a virtio-blk device behind /dev/vhost-vdpa-N: sets it up as QEMU does, reads its first sector, stops it.

usage: python tests/vm/vdpa.py DEVICE      prints the first bytes of the sector
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import select
import struct
import sys
import time

from vusniff.families.vhost_kernel.protocol import Ioctl

IOVA, SIZE, NUM = 0x100000, 0x10000, 16
DESCRIPTORS, AVAILABLE, USED, HEADER, DATA, STATUS = 0, 0x1000, 0x2000, 0x3000, 0x4000, 0x5000
NEXT, WRITE = 1, 2
VERSION_1, ACCESS_PLATFORM = 1 << 32, 1 << 33
MSG_V2, BATCH = 1 << 1, 1 << 2
UPDATE, INVALIDATE, BATCH_BEGIN, BATCH_END = 2, 3, 5, 6
"""VHOST_IOTLB_* of linux/vhost_types.h."""
PATIENCE = 120


def get(fd: int, request: Ioctl, layout: str, *given: int) -> tuple[int, ...]:
    """What an ioctl gives back."""
    buffer = bytearray(struct.pack(layout, *given) if given else struct.calcsize(layout))
    fcntl.ioctl(fd, int(request), buffer)
    return struct.unpack(layout, buffer)


def put(fd: int, request: Ioctl, layout: str, *values: int) -> None:
    """An ioctl that is only given something."""
    fcntl.ioctl(fd, int(request), struct.pack(layout, *values))


def iotlb(fd: int, kind: int, address: int = 0) -> None:
    """A message about the only mapping (struct vhost_msg_v2)."""
    mapped = (IOVA, SIZE, address, 3 if address else 0) if kind in (UPDATE, INVALIDATE) else (0, 0, 0, 0)
    os.write(fd, struct.pack("=II3QBB", 2, 0, *mapped, kind).ljust(72, b"\0"))


def main() -> None:
    """One read of 512 bytes."""
    fd = os.open(sys.argv[1], os.O_RDWR)
    fcntl.ioctl(fd, int(Ioctl.SET_OWNER))
    assert get(fd, Ioctl.VDPA_GET_DEVICE_ID, "=I") == (2,)
    (features,) = get(fd, Ioctl.GET_BACKEND_FEATURES, "=Q")
    put(fd, Ioctl.SET_BACKEND_FEATURES, "=Q", features & (MSG_V2 | BATCH))
    for status in (0, 1, 3):
        put(fd, Ioctl.VDPA_SET_STATUS, "=B", status)
    (features,) = get(fd, Ioctl.GET_FEATURES, "=Q")
    put(fd, Ioctl.SET_FEATURES, "=Q", features & (VERSION_1 | ACCESS_PLATFORM))
    put(fd, Ioctl.VDPA_SET_STATUS, "=B", 11)
    assert get(fd, Ioctl.VDPA_GET_STATUS, "=B") == (11,)
    capacity = get(fd, Ioctl.VDPA_GET_CONFIG, "=IIQ", 0, 8, 0)[2]
    assert capacity
    get(fd, Ioctl.VDPA_GET_VRING_NUM, "=H")
    get(fd, Ioctl.VDPA_GET_IOVA_RANGE, "=QQ")
    memory = os.memfd_create("guest-ram")
    os.ftruncate(memory, SIZE)
    ram = mmap.mmap(memory, SIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(ram))
    iotlb(fd, BATCH_BEGIN)
    iotlb(fd, UPDATE, address)
    iotlb(fd, BATCH_END)
    kick, call = os.eventfd(0), os.eventfd(0)
    put(fd, Ioctl.SET_VRING_NUM, "=II", 0, NUM)
    put(fd, Ioctl.SET_VRING_BASE, "=II", 0, 0)
    put(fd, Ioctl.SET_VRING_ADDR, "=II4Q", 0, 0, IOVA + DESCRIPTORS, IOVA + USED, IOVA + AVAILABLE, 0)
    put(fd, Ioctl.SET_VRING_KICK, "=Ii", 0, kick)
    put(fd, Ioctl.SET_VRING_CALL, "=Ii", 0, call)
    put(fd, Ioctl.VDPA_SET_VRING_ENABLE, "=II", 0, 1)
    put(fd, Ioctl.VDPA_SET_STATUS, "=B", 15)
    parts = ((HEADER, 16, NEXT), (DATA, 512, NEXT | WRITE), (STATUS, 1, WRITE))
    for number, (at, size, flags) in enumerate(parts):
        struct.pack_into("=QIHH", ram, DESCRIPTORS + 16 * number, IOVA + at, size, flags, number + 1)
    struct.pack_into("=B", ram, STATUS, 255)
    struct.pack_into("=HHH", ram, AVAILABLE, 0, 1, 0)
    os.eventfd_write(kick, 1)
    end = time.monotonic() + PATIENCE
    while struct.unpack_from("=H", ram, USED + 2) != (
        1,
    ):  # the back-end also signals a ring when it begins to serve it
        assert select.select([call], [], [], max(end - time.monotonic(), 0))[0], "the request is not answered"
        os.eventfd_read(call)
    assert ram[STATUS] == 0
    print(ram[DATA : DATA + 16].decode(), flush=True)
    get(fd, Ioctl.GET_VRING_BASE, "=II")
    put(fd, Ioctl.VDPA_SET_STATUS, "=B", 0)
    iotlb(fd, INVALIDATE)
    os.close(fd)


if __name__ == "__main__":
    main()
