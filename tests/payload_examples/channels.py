"""Payloads of the back-end channel and of the GPU socket."""

from __future__ import annotations

from payload_examples import ACK, BACKEND, GPU, NACK, REPLY, REQUEST, UUID, UUID_TEXT, ack, empty, example

SHMEM_HEX = "02 00000000000000 0010000000000000 0000200000000000 0000010000000000 0100000000000000"
SHMEM = {
    "shmid": 2,
    "padding": "00" * 7,
    "fd_offset": 0x1000,
    "shm_offset": 0x200000,
    "len": 0x10000,
    "flags": 1,
    "flags_names": ["READ_WRITE"],
}
FS_HEX = "0010000000000000" + "00" * 56 + "0000200000000000" + "00" * 56 + "0080000000000000" + "00" * 56
FS_HEX += "0100000000000000" + "00" * 56
FS = {
    "fd_offset": [0x1000] + [0] * 7,
    "c_offset": [0x200000] + [0] * 7,
    "len": [0x8000] + [0] * 7,
    "flags": [1] + [0] * 7,
}
CONTROL_HEX = "00000000 0000000000000000 00000000 00 000000"
CONTROL = {"flags": 0, "fence_id": 0, "ctx_id": 0, "ring_idx": 0, "padding": "000000"}
DMABUF_HEX = "01000000 00000000 00000000 00040000 00030000 00050000 20030000 00140000 01000000 58523234"
DMABUF = {
    "scanout_id": 1,
    "x": 0,
    "y": 0,
    "w": 1024,
    "h": 768,
    "fdw": 1280,
    "fdh": 800,
    "stride": 5120,
    "flags": 1,
    "fourcc": 0x34325258,
}

BACKEND_EXAMPLES = [
    example(
        BACKEND,
        1,
        REQUEST,
        "0000100000000000 0000000000000000 0000000000000000 01 01 000000000000",
        {
            "iova": 0x100000,
            "size": 0,
            "user_address": 0,
            "permissions": 1,
            "permissions_name": "READ",
            "type": 1,
            "type_name": "MISS",
            "tail_padding": "000000000000",
        },
        "iotlb",
    ),
    ack(BACKEND, 1),
    empty(BACKEND, 2),
    ack(BACKEND, 2),
    example(
        BACKEND,
        3,
        REQUEST,
        "0101000000000000 0010000000000000 0030000000000000",
        {"u64": 0x101, "index": 1, "no_fd": True, "size": 0x1000, "offset": 0x3000},
        "vring_area",
    ),
    ack(BACKEND, 3),
    example(BACKEND, 4, REQUEST, "02000000 00000000", {"index": 2, "num": 0}, "vring_state"),
    ack(BACKEND, 4),
    example(BACKEND, 5, REQUEST, "02000000 00000000", {"index": 2, "num": 0}, "vring_state"),
    ack(BACKEND, 5),
    example(BACKEND, 6, REQUEST, UUID, {"uuid": UUID_TEXT}, "shared_object"),
    ack(BACKEND, 6),
    example(BACKEND, 7, REQUEST, UUID, {"uuid": UUID_TEXT}, "shared_object"),
    ack(BACKEND, 7),
    example(BACKEND, 8, REQUEST, UUID, {"uuid": UUID_TEXT}, "shared_object"),
    example(BACKEND, 8, REPLY, *ACK, "u64"),
    example(BACKEND, 9, REQUEST, SHMEM_HEX, SHMEM, "shmem_mmap"),
    ack(BACKEND, 9),
    example(BACKEND, 10, REQUEST, SHMEM_HEX, SHMEM, "shmem_mmap"),
    example(BACKEND, 10, REPLY, *NACK, "ack"),
    *(example(BACKEND, code, REQUEST, FS_HEX, FS, "fs_mapping") for code in (1002, 1003, 1004, 1005)),
    *(ack(BACKEND, code) for code in (1002, 1003, 1004, 1005)),
    example(
        BACKEND,
        1006,
        REQUEST,
        "01 00000000000000 0010000000000000 0020000000000000 03000000 09000000" + UUID + UUID,
        {
            "shmid": 1,
            "padding": "00" * 7,
            "shm_offset": 0x1000,
            "len": 0x2000,
            "memory_index": 3,
            "handle_type": 9,
            "device_uuid": UUID_TEXT,
            "driver_uuid": UUID_TEXT,
        },
        "gpu_map",
    ),
    example(BACKEND, 1006, REPLY, *ACK, "u64"),
    example(
        BACKEND,
        1007,
        REQUEST,
        "01 00000000000000 0010000000000000 0020000000000000 0000e0f7ff7f0000",
        {"shmid": 1, "padding": "00" * 7, "shm_offset": 0x1000, "len": 0x2000, "pointer": 0x7FFFF7E00000},
        "external_map",
    ),
    example(BACKEND, 1007, REPLY, *ACK, "u64"),
]

GPU_EXAMPLES = [
    empty(GPU, 1),
    example(
        GPU,
        1,
        REPLY,
        "03000000 00000000",
        {"u64": 3, "u64_names": ["VHOST_USER_GPU_PROTOCOL_F_EDID", "VHOST_USER_GPU_PROTOCOL_F_DMABUF2"]},
        "u64",
    ),
    example(
        GPU,
        2,
        REQUEST,
        "05000000 00000000",
        {"u64": 5, "u64_names": ["VHOST_USER_GPU_PROTOCOL_F_EDID", "BIT_2"]},
        "u64",
    ),
    empty(GPU, 3),
    example(
        GPU,
        3,
        REPLY,
        "01110000" + CONTROL_HEX + "00000000 00000000 00040000 00030000 01000000 00000000" + "00" * 15 * 24,
        {
            "type": 0x1101,
            "type_name": "OK_DISPLAY_INFO",
            **CONTROL,
            "displays": [
                {"x": 0, "y": 0, "width": 1024, "height": 768, "enabled": 1, "flags": 0},
                *({"x": 0, "y": 0, "width": 0, "height": 0, "enabled": 0, "flags": 0} for _ in range(15)),
            ],
        },
        "virtio_gpu_resp_display_info",
    ),
    example(GPU, 4, REQUEST, "00000000 0a000000 14000000", {"scanout_id": 0, "x": 10, "y": 20}, "cursor_pos"),
    example(GPU, 5, REQUEST, "00000000 0a000000 14000000", {"scanout_id": 0, "x": 10, "y": 20}, "cursor_pos"),
    example(
        GPU,
        6,
        REQUEST,
        "01000000 0a000000 14000000 02000000 03000000" + "ff00ff80" * 4096,
        {"scanout_id": 1, "x": 10, "y": 20, "hot_x": 2, "hot_y": 3, "cursor": "ff00ff80" * 4096},
        "cursor_update",
    ),
    example(GPU, 7, REQUEST, "01000000 00040000 00030000", {"scanout_id": 1, "w": 1024, "h": 768}, "scanout"),
    example(
        GPU,
        8,
        REQUEST,
        "01000000 05000000 06000000 02000000 01000000 112233ff 445566ff",
        {"scanout_id": 1, "x": 5, "y": 6, "w": 2, "h": 1, "data": "112233ff445566ff", "data_size": 8},
        "update",
    ),
    example(GPU, 9, REQUEST, DMABUF_HEX, DMABUF, "dmabuf_scanout"),
    example(
        GPU,
        10,
        REQUEST,
        "01000000 05000000 06000000 02000000 01000000",
        {"scanout_id": 1, "x": 5, "y": 6, "w": 2, "h": 1},
        "update",
    ),
    empty(GPU, 10, REPLY),
    example(GPU, 11, REQUEST, "02000000", {"scanout_id": 2}, "edid_request"),
    example(
        GPU,
        11,
        REPLY,
        "04110000" + CONTROL_HEX + "80000000 00000000" + "00ffffffffffff00" + "00" * 1016,
        {
            "type": 0x1104,
            "type_name": "OK_EDID",
            **CONTROL,
            "size": 128,
            "padding2": 0,
            "edid": "00ffffffffffff00" + "00" * 1016,
        },
        "virtio_gpu_resp_edid",
    ),
    example(
        GPU,
        12,
        REQUEST,
        DMABUF_HEX + "0100000000000002",
        {**DMABUF, "modifier": 0x0200000000000001},
        "dmabuf_scanout2",
    ),
]
