"""Where editions of the specification differ: what the newest says of a thing, and what older ones said.

Keys are names of requests, protocol features and features as `explain` prints them, and slugs of rules. Source: QEMU's
docs/interop/vhost-user.rst of the releases and dates named; what was proposed on qemu-devel and not yet taken is called
so.
"""

from __future__ import annotations

NEWEST = "September 2026"
"""Of QEMU's master, after 11.1."""

_SKIP_DRAIN = (
    (
        NEWEST,
        "Request 45, with protocol feature bit 23: stops a ring as GET_VRING_BASE does and is always answered; "
        "requests in flight are suspended and recorded in the inflight buffer. Bit 23 needs bits 12 and 20.",
    ),
    ("before", "There is no request 45, and bit 23 is unassigned."),
)
_BASE_NUM = (
    (
        NEWEST,
        "num of the request is reserved and must be 0. All requests in flight are completed first; to leave them, "
        "there is GET_VRING_BASE_SKIP_DRAIN.",
    ),
    ("QEMU 11.1.3", "num may be 1 where GET_VRING_BASE_INFLIGHT (bit 20) is negotiated: requests in flight are left."),
    ("QEMU 8.2 to 11.0", "num is reserved and must be 0."),
    ("before QEMU 8.2", "num is not mentioned; DPDK's virtio-user sends what was in its memory."),
)
_POSTCOPY = (
    (NEWEST, "Must not be sent once CONFIGURE_MEM_SLOTS is negotiated: what the back-end does then is not specified."),
    ("before", "Nothing forbids it, and QEMU up to 11.1 sends it."),
)
_ENABLED = (
    (
        "since QEMU 8.2",
        "Rings begin stopped and disabled. SET_FEATURES without bit 30 enables all rings at once, whenever it comes.",
    ),
    ("before QEMU 8.2", "Without bit 30 a ring starts directly in the enabled state, with it in the disabled state."),
)
_STARTED = (
    (NEWEST, "SET_VRING_KICK starts a ring. Front-ends should kick it once after that, for older back-ends."),
    ("before QEMU 11", "A ring starts with the first kick on the descriptor of SET_VRING_KICK."),
)

EDITIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "GET_VRING_BASE": _BASE_NUM,
    "get-vring-base-num": _BASE_NUM,
    "GET_VRING_BASE_SKIP_DRAIN": _SKIP_DRAIN,
    "base-inflight-alone": _SKIP_DRAIN,
    "GET_VRING_BASE_INFLIGHT": (
        (NEWEST, "Requests in flight can be moved with the guest. Alone it changes nothing in GET_VRING_BASE."),
        ("QEMU 11.1.3", "GET_VRING_BASE with num 1 leaves requests in flight."),
    ),
    "POSTCOPY_ADVISE": _POSTCOPY,
    "POSTCOPY_LISTEN": _POSTCOPY,
    "POSTCOPY_END": _POSTCOPY,
    "postcopy-with-memory-slots": _POSTCOPY,
    "CONFIGURE_MEM_SLOTS": (
        (NEWEST, "Prevents postcopy: POSTCOPY_ADVISE, POSTCOPY_LISTEN and POSTCOPY_END must not be sent."),
        ("before", "Nothing is said of postcopy."),
    ),
    "SHMEM": (
        (NEWEST, "Bit 22, called SHMEM."),
        ("before", "Bit 22, called SHMEM_MAP."),
        ("drafts", "Bit 20; rust-vmm's vhost 0.16 uses bit 21."),
    ),
    "GPA_ADDRESSES": (
        (
            NEWEST,
            "Ring addresses and IOTLB addresses of the front-end's messages are guest physical addresses. The "
            "back-end's own messages and replies keep user addresses.",
        ),
        ("before", "Bit 21 is unassigned."),
    ),
    "SET_FEATURES": _ENABLED,
    "SET_VRING_ENABLE": _ENABLED,
    "VHOST_USER_F_PROTOCOL_FEATURES": _ENABLED,
    "SET_VRING_KICK": _STARTED,
    "kick-once-after-start": _STARTED,
    "XEN_MMAP": (
        (
            "proposed, July 2026",
            "QEMU as front-end, on Xen only: ring addresses are guest addresses, and the "
            "descriptor of each region is /dev/xen/privcmd.",
        ),
        (NEWEST, "Regions have 8 more bytes; of ring addresses nothing else is said than without it."),
    ),
    "media": (
        (NEWEST, "QEMU has vhost-user-media-pci. VIRTIO 1.4 has device type 48, called Media Device."),
        ("before", "Neither QEMU nor VIRTIO 1.3 has such a device. Drafts of drivers used other numbers (49, 0x3b)."),
    ),
    "REM_MEM_REG": (
        (NEWEST, "Should carry no descriptor; a back-end may take one, and must close it."),
        ("before", "Whether a descriptor comes with it is not said; QEMU sent one."),
    ),
}
"""What is explained -> (edition, what it says), newest first."""
