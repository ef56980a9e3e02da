"""The back-end channel and the GPU socket."""

from __future__ import annotations

from checks_cases.script import (
    GIB,
    PROTOCOL,
    Again,
    Case,
    Close,
    F,
    P,
    Part,
    Say,
    Wait,
    back,
    be,
    channel,
    fe,
    front,
    gpu,
    gpu_answer,
    gpu_socket,
    hello,
    memfd,
    u32,
    u64,
)
from vusniff.families.vhost_user.protocol import BackendRequest as B
from vusniff.families.vhost_user.protocol import GpuRequest as G

NOTIFIER = PROTOCOL | P.HOST_NOTIFIER
OBJECTS = PROTOCOL | P.SHARED_OBJECT
SHMEM = PROTOCOL | P.SHMEM
UUID = bytes(range(16))


def notifier(word: int, size: int, *fds: int) -> Say:
    return back(B.BACKEND_VRING_HOST_NOTIFIER_MSG, u64(word, size, 0), *map(memfd, fds))


def place(start: int, length: int, shmid: int = 0) -> bytes:
    return bytes([shmid]) + bytes(7) + u64(0, start, length, 1)


def maps(start: int, length: int, fds: int = 1) -> Say:
    return back(B.BACKEND_SHMEM_MAP, place(start, length), *[memfd(9)] * fds)


def unmaps(start: int, length: int) -> Say:
    return back(B.BACKEND_SHMEM_UNMAP, place(start, length))


def shmem_config(size: int) -> list[Part]:
    return [fe(F.GET_SHMEM_CONFIG), be(F.GET_SHMEM_CONFIG, u32(1, 0) + u64(size, *[0] * 255))]


def update(scanout: int = 0) -> Say:
    return gpu(G.GPU_DMABUF_UPDATE, u32(scanout, 0, 0, 640, 480))


MAPPED = [*hello(protocol=SHMEM), *shmem_config(GIB), channel()]
GPU = [*hello(), gpu_socket(), gpu(G.GPU_SET_PROTOCOL_FEATURES, u64(0))]
GPU_ALL = [*GPU[:-1], gpu(G.GPU_SET_PROTOCOL_FEATURES, u64(3))]
SCANOUT2 = bytes(48)
ADDED: list[Part] = [*hello(protocol=OBJECTS), channel(), back(B.BACKEND_SHARED_OBJECT_ADD, UUID)]

FIRES = [
    Case("host-notifier", [*hello(protocol=NOTIFIER), channel(), notifier(0, 4096)], says="bit 8 does not"),
    Case("host-notifier", [*hello(protocol=NOTIFIER), channel(), notifier(0x100, 4096, 9)], says="carries 1"),
    Case("host-notifier", [*hello(protocol=NOTIFIER), channel(), notifier(0, 100, 9)], says="size 100"),
    Case("backend-descriptors", [*hello(protocol=NOTIFIER & ~P.BACKEND_SEND_FD), channel(), notifier(0, 4096, 9)]),
    Case(
        "backend-descriptors",
        [*hello(protocol=NOTIFIER), channel(), notifier(0, 4096, *range(9))],
        says="9 descriptors",
    ),
    Case("shared-object-not-added", [*hello(protocol=OBJECTS), channel(), back(B.BACKEND_SHARED_OBJECT_REMOVE, UUID)]),
    Case("shared-object-lookup-answer", [*ADDED, back(B.BACKEND_SHARED_OBJECT_LOOKUP, UUID), front(8, u64(0))]),
    Case(
        "shared-object-lookup-answer", [*ADDED, back(B.BACKEND_SHARED_OBJECT_LOOKUP, UUID), front(8, u64(1), memfd(9))]
    ),
    Case(
        "shared-object-lookup-answer",
        [*ADDED, back(B.BACKEND_SHARED_OBJECT_LOOKUP, UUID), Wait(6), Close(1)],
        says="no answer",
    ),
    Case("shmem-map", [*MAPPED, maps(0, 4096, fds=0)], says="no descriptors"),
    Case("shmem-map", [*MAPPED, maps(0, 8192), maps(4096, 4096)], says="overlaps"),
    Case("shmem-map", [*MAPPED, maps(GIB, 4096)], says="outside"),
    Case("shmem-unmap", [*MAPPED, unmaps(0, 4096)]),
    Case("shmem-unmap", [*MAPPED, maps(0, 8192), unmaps(0, 4096)], says="8K"),
    Case("shmem-config-changes", [*MAPPED, *shmem_config(2 * GIB)], says="differently in #9"),
    Case("shmem-config-changes", [*hello(protocol=SHMEM), *shmem_config(1000)], says="1000 bytes"),
    Case("gpu-requests", [*GPU, gpu(G.GPU_GET_EDID, u32(0))], says="EDID"),
    Case("gpu-requests", [*GPU[:-1], gpu(G.GPU_DMABUF_SCANOUT2, SCANOUT2)], says="DMABUF2"),
    Case("gpu-requests", [*GPU, update(), update()], says="before #10 was answered"),
]

QUIET = [
    Case("backend-request-too-early", [*hello(protocol=NOTIFIER), channel(), notifier(0x100, 0)]),
    Case("host-notifier", [*hello(protocol=NOTIFIER), channel(), notifier(0, 65536, 9), notifier(0x100, 0)]),
    Case("backend-descriptors", [*hello(protocol=NOTIFIER), channel(), notifier(0, 4096, 9)]),
    Case("backend-descriptors", [*ADDED, back(B.BACKEND_SHARED_OBJECT_LOOKUP, UUID), front(8, u64(0), memfd(9))]),
    Case("shared-object-not-added", [*ADDED, back(B.BACKEND_SHARED_OBJECT_REMOVE, UUID)]),
    Case(
        "shared-object-not-added",
        [*ADDED, Close(1), Again(), *hello(protocol=OBJECTS), channel(), back(B.BACKEND_SHARED_OBJECT_REMOVE, UUID)],
    ),
    Case(
        "shared-object-lookup-answer", [*ADDED, back(B.BACKEND_SHARED_OBJECT_LOOKUP, UUID), front(8, u64(0), memfd(9))]
    ),
    Case("shared-object-lookup-answer", [*ADDED, back(B.BACKEND_SHARED_OBJECT_LOOKUP, UUID), front(8, u64(1))]),
    Case("shmem-map", [*MAPPED, maps(0, 4096), maps(4096, 4096)]),
    Case("shmem-map", [*hello(protocol=SHMEM), channel(), maps(GIB, 4096)]),
    Case("shmem-unmap", [*MAPPED, maps(0, 8192), unmaps(0, 8192)]),
    Case("shmem-config-changes", [*MAPPED, *shmem_config(GIB)]),
    Case("gpu-requests", [*GPU_ALL, gpu(G.GPU_GET_EDID, u32(0)), gpu(G.GPU_DMABUF_SCANOUT2, SCANOUT2)]),
    Case("gpu-requests", [*GPU_ALL, update(), gpu_answer(G.GPU_DMABUF_UPDATE), update(), update(1)]),
    Case("gpu-requests", [*GPU[:-1], gpu(G.GPU_GET_EDID, u32(0))], late=True),
]
