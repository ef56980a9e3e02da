"""A vfio-user server for tests: a PCI device of one 4 KiB region of memory and one interrupt, since no package has one.

usage: python vfio_user_server.py SOCKET [--twin]

It serves one client at SOCKET and ends with it. Each command that it reads is a line of output. An access to the word
at DOORBELL of region 0 makes it read 16 bytes at ADDRESS of the client's memory, which is where a PC's firmware is and
which QEMU does not share; what came is a line too. With --twin, commands of its own go over a socket that its VERSION
passes.
"""

from __future__ import annotations

import argparse
import array
import json
import os
import socket
import struct
from collections.abc import Callable, Mapping

HEADER = struct.Struct("=HHIII")
NAMES = (
    *("VERSION", "DMA_MAP", "DMA_UNMAP", "DEVICE_GET_INFO", "DEVICE_GET_REGION_INFO", "DEVICE_GET_REGION_IO_FDS"),
    *("DEVICE_GET_IRQ_INFO", "DEVICE_SET_IRQS", "REGION_READ", "REGION_WRITE", "DMA_READ", "DMA_WRITE"),
    *("DEVICE_RESET", "DIRTY_PAGES", "REGION_WRITE_MULTI", "DEVICE_FEATURE", "MIG_DATA_READ", "MIG_DATA_WRITE"),
)
REPLY, NO_REPLY, ERROR = 1, 16, 32
INVALID = 22
DMA_READ = 11
MEMORY, CONFIG = 0, 7
SIZES = {MEMORY: 4096, CONFIG: 256}
ADDRESS = 0xFFFC0000
DOORBELL = 0x20
WANTED = 16
BARS = range(0x10, 0x28, 4)
ROM_BAR = 0x30


class Refused(Exception):
    """The command fails; the number is errno's."""


def message(number: int, command: int, payload: bytes = b"", flags: int = 0, error: int = 0) -> bytes:
    """A message of vfio-user."""
    return HEADER.pack(number, command, HEADER.size + len(payload), flags, error) + payload


def receive(sock: socket.socket) -> tuple[int, int, int, bytes, list[int]] | None:
    """Id, command, flags, payload and descriptors of the next message; None at the end."""
    head, ancillary, _, _ = sock.recvmsg(HEADER.size, socket.CMSG_SPACE(64 * 4))
    if not head:
        return None
    fds = array.array("i")
    for _, _, data in ancillary:
        fds.frombytes(data[: len(data) // 4 * 4])
    while len(head) < HEADER.size:
        head += sock.recv(HEADER.size - len(head))
    number, command, size, flags, _ = HEADER.unpack(head)
    payload = b""
    while len(payload) < size - HEADER.size:
        payload += sock.recv(size - HEADER.size - len(payload))
    return number, command, flags, payload, list(fds)


class Device:
    """The device: its regions, and what it answers."""

    def __init__(self) -> None:
        self.regions = {index: bytearray(size) for index, size in SIZES.items()}
        config = self.regions[CONFIG]
        struct.pack_into("<HHHHBBBB", config, 0, 0x1234, 0x11E9, 0, 0, 1, 0, 0, 0xFF)
        config[0x3D] = 1
        self.rung = False
        """The client's memory is to be read."""

    def info(self, payload: bytes) -> bytes:
        return struct.pack("=IIII", 16, 3, 9, 5)

    def region_info(self, payload: bytes) -> bytes:
        (index,) = struct.unpack_from("=I", payload, 8)
        if index > 8:
            raise Refused(INVALID)
        size = SIZES.get(index, 0)
        return struct.pack("=IIIIQQ", 32, 3 if size else 0, index, 0, size, 0)

    def irq_info(self, payload: bytes) -> bytes:
        (index,) = struct.unpack_from("=I", payload, 8)
        return struct.pack("=IIII", 16, 7 if index == 0 else 0, index, int(index == 0))

    def read(self, payload: bytes) -> bytes:
        offset, region, count = struct.unpack_from("=QII", payload)
        if region not in self.regions or offset + count > len(self.regions[region]):
            raise Refused(INVALID)
        self.rung = (region, offset) == (MEMORY, DOORBELL)
        return payload[:16] + bytes(self.regions[region][offset : offset + count])

    def write(self, payload: bytes) -> bytes:
        offset, region, count = struct.unpack_from("=QII", payload)
        if region not in self.regions or offset + count > len(self.regions[region]):
            raise Refused(INVALID)
        data = payload[16 : 16 + count]
        if region == CONFIG and (offset in BARS or offset == ROM_BAR):
            # The device has one base address register; that of 4 KiB keeps what is above its size.
            kept = int.from_bytes(data, "little") & ~(SIZES[MEMORY] - 1) if offset == BARS[0] else 0
            data = (kept & 0xFFFFFFFF).to_bytes(4, "little")[:count]
        self.regions[region][offset : offset + count] = data
        self.rung = (region, offset) == (MEMORY, DOORBELL)
        return payload[:16]

    def nothing(self, payload: bytes) -> bytes:
        return b""

    def echo(self, payload: bytes) -> bytes:
        return payload


def serve(sock: socket.socket, twin: bool) -> None:
    """Answer one client until it is gone."""
    device = Device()
    answers: Mapping[int, Callable[[bytes], bytes]] = {
        2: device.nothing,
        3: device.echo,
        4: device.info,
        5: device.region_info,
        7: device.irq_info,
        8: device.nothing,
        9: device.read,
        10: device.write,
        13: device.nothing,
    }
    own, other = socket.socketpair()
    number = 1000
    while True:
        come = receive(sock)
        if come is None:
            return
        identity, command, flags, payload, fds = come
        named = NAMES[command - 1] if 0 < command <= len(NAMES) else str(command)
        print(f"{named}{' reply' if flags & REPLY else ''} {payload[:24].hex()} {len(fds)}", flush=True)
        for fd in fds:
            os.close(fd)
        if flags & REPLY:
            print(f"memory {payload[16:].hex()}", flush=True)
            continue
        if command == 1:
            capabilities = {"max_msg_fds": 8, "max_data_xfer_size": 1048576}
            said = {**capabilities, "twin_socket": {"supported": True, "fd_index": 0}} if twin else capabilities
            body = struct.pack("=HH", 0, 0) + json.dumps({"capabilities": said}).encode() + b"\0"
            passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [other.fileno()]))] if twin else []
            sock.sendmsg([message(identity, command, body, REPLY)], passed)
            other.close()
            continue
        try:
            answer = answers[command](payload) if command in answers else None
            if answer is None:
                raise Refused(INVALID)
            reply = message(identity, command, answer, REPLY)
        except Refused as refused:
            reply = message(identity, command, b"", REPLY | ERROR, refused.args[0])
        if not flags & NO_REPLY:
            sock.sendall(reply)
        if device.rung:
            asking = own if twin else sock
            asking.sendall(message(number, DMA_READ, struct.pack("=QQ", ADDRESS, WANTED)))
            number, device.rung = number + 1, False
            if twin and (come := receive(own)) is not None:
                print(f"memory {come[3][16:].hex()}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("socket")
    parser.add_argument("--twin", action="store_true")
    args = parser.parse_args()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(args.socket)
        listener.listen()
        sock, _ = listener.accept()
    with sock:
        serve(sock, args.twin)


if __name__ == "__main__":
    main()
