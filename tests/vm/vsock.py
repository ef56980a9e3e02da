"""The guest of a vsock pair by /dev/vhost-vsock: sets it up as QEMU does, connects to a port of the host, and stops.

usage: python tests/vm/vsock.py PORT      prints what the host sent back

There is no virtual machine: this process has the memory and drives both rings. Packets: section 5.10 of the
specification of virtio, struct virtio_vsock_hdr of linux/virtio_vsock.h.
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

from vm.vdpa import VERSION_1, WRITE, get, put
from vusniff.families.vhost_kernel.protocol import Ioctl

HOST, GUEST, OWN_PORT = 2, 42, 1024
NUM, RING, BUFFERS, BUFFER = 16, 0x4000, 0x8000, 0x800
AVAILABLE, USED, SIZE = 0x1000, 0x2000, 0x20000
REQUEST, RESPONSE, RW = 1, 2, 5
HEADER = struct.Struct("<QQIIIHHIII")
STREAM, ROOM = 1, 1 << 16
PATIENCE = 120


class Guest:
    """Both rings of a device in memory of this process: 0 is received from, 1 is sent by."""

    def __init__(self, fd: int) -> None:
        self.fd, self.ram = fd, mmap.mmap(-1, SIZE)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.ram))
        self.kicks, self.calls = [os.eventfd(0), os.eventfd(0)], [os.eventfd(0), os.eventfd(0)]
        self.given = [0, 0]
        self.taken = 0

    def set_up(self) -> None:
        """All before the device runs."""
        fcntl.ioctl(self.fd, int(Ioctl.SET_OWNER))
        (features,) = get(self.fd, Ioctl.GET_FEATURES, "=Q")
        put(self.fd, Ioctl.VSOCK_SET_GUEST_CID, "=Q", GUEST)
        put(self.fd, Ioctl.SET_FEATURES, "=Q", features & VERSION_1)
        put(self.fd, Ioctl.SET_MEM_TABLE, "=II4Q", 1, 0, 0, SIZE, self.address, 0)
        for ring in (0, 1):
            at = self.address + ring * RING
            put(self.fd, Ioctl.SET_VRING_NUM, "=II", ring, NUM)
            put(self.fd, Ioctl.SET_VRING_BASE, "=II", ring, 0)
            put(self.fd, Ioctl.SET_VRING_ADDR, "=II4Q", ring, 0, at, at + USED, at + AVAILABLE, 0)
            put(self.fd, Ioctl.SET_VRING_KICK, "=Ii", ring, self.kicks[ring])
            put(self.fd, Ioctl.SET_VRING_CALL, "=Ii", ring, self.calls[ring])
        put(self.fd, Ioctl.VSOCK_SET_RUNNING, "=i", 1)

    def give(self, ring: int, size: int, flags: int) -> None:
        """Make the next buffer of a ring available, and kick."""
        number = self.given[ring]
        buffer = BUFFERS + (ring * NUM + number % NUM) * BUFFER
        struct.pack_into("<QIHH", self.ram, ring * RING + 16 * (number % NUM), buffer, size, flags, 0)
        struct.pack_into("<H", self.ram, ring * RING + AVAILABLE + 4 + 2 * (number % NUM), number % NUM)
        self.given[ring] = number + 1
        struct.pack_into("<H", self.ram, ring * RING + AVAILABLE + 2, number + 1)
        os.eventfd_write(self.kicks[ring], 1)

    def send(self, operation: int, port: int, data: bytes = b"") -> None:
        """One packet to the host."""
        at = BUFFERS + (NUM + self.given[1] % NUM) * BUFFER
        packet = HEADER.pack(GUEST, HOST, OWN_PORT, port, len(data), STREAM, operation, 0, ROOM, 0) + data
        self.ram[at : at + len(packet)] = packet
        self.give(1, len(packet), 0)

    def receive(self, operation: int) -> bytes:
        """What the next packet of a kind carries; others are passed over."""
        end = time.monotonic() + PATIENCE
        while True:
            while struct.unpack_from("<H", self.ram, USED + 2)[0] == self.taken:
                assert select.select([self.calls[0]], [], [], max(end - time.monotonic(), 0))[0], "the host is silent"
                os.eventfd_read(self.calls[0])
            number, _ = struct.unpack_from("<II", self.ram, USED + 4 + 8 * (self.taken % NUM))
            self.taken += 1
            at = BUFFERS + number * BUFFER
            header = HEADER.unpack_from(self.ram, at)
            if header[6] == operation:
                return bytes(self.ram[at + HEADER.size : at + HEADER.size + header[4]])


def main() -> None:
    """One connection: a line there, and a line back."""
    port = int(sys.argv[1])
    fd = os.open("/dev/vhost-vsock", os.O_RDWR)
    guest = Guest(fd)
    guest.set_up()
    for _ in range(NUM // 2):
        guest.give(0, BUFFER, WRITE)
    guest.send(REQUEST, port)
    guest.receive(RESPONSE)
    guest.send(RW, port, b"from the guest")
    print(guest.receive(RW).decode(), flush=True)
    put(fd, Ioctl.VSOCK_SET_RUNNING, "=i", 0)
    for ring in (0, 1):
        get(fd, Ioctl.GET_VRING_BASE, "=II", ring, 0)
    os.close(fd)


if __name__ == "__main__":
    main()
