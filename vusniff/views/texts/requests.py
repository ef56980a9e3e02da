"""Why a back-end leaves a request unanswered or refuses it, by request: the usual causes, the most frequent first.

From the sources of QEMU (hw/virtio/vhost-user.c), DPDK (lib/vhost/vhost_user.c), libvhost-user and rust-vmm
(vhost-user-backend/src/handler.rs), and from reports about them.
"""

from __future__ import annotations

from vusniff.families.vhost_user.protocol import FrontendRequest as F

_DIED = "The back-end crashed or was killed; its log and its exit status say why."
_MEMORY = (
    "Guest memory is not shared: give the VM a memory backend with share=on (memory-backend-memfd or -file).",
    "The back-end cannot map it: too few huge pages of its size, a limit on locked memory or of its cgroup, "
    "or it has no right to open the file.",
)
_INDEX = "The ring's index is beyond what the back-end has: ask for fewer queues, or give it more."

UNANSWERED: dict[int, tuple[str, ...]] = {
    F.GET_FEATURES: (
        "The back-end left before its first answer: it could not enter its sandbox, a seccomp filter killed it, or it "
        "lacks a right. This is the first message, so nothing that was negotiated is to blame.",
        "The back-end serves one front-end at a time and has one already.",
        "Something else listens on the socket, or nothing behind it reads.",
    ),
    F.SET_FEATURES: (
        "A feature was acknowledged that the back-end does not offer, or not to this front-end (compare GET_FEATURES).",
        "The back-end accepts no change of features while a ring runs (DPDK).",
        "VIRTIO_F_VERSION_1 is missing: libvhost-user serves no legacy devices.",
    ),
    F.SET_OWNER: ("The back-end is owned already: rust-vmm refuses a second SET_OWNER.", _DIED),
    F.SET_MEM_TABLE: (
        *_MEMORY,
        "There are more than 8 regions (DPDK, libvhost-user) or 32 (rust-vmm) in the table.",
    ),
    F.SET_LOG_BASE: (
        "The back-end does not answer with a payload where the front-end waits for one (rust-vmm before vhost 0.16).",
        "The back-end cannot map the dirty log.",
    ),
    F.SET_VRING_NUM: (
        "The queue size is above the maximum of the back-end (rust-vmm: what the daemon was built with) or is no power "
        "of two (DPDK, split rings).",
        _INDEX,
    ),
    F.SET_VRING_ADDR: (
        "The addresses are not in the memory that was shared: SET_MEM_TABLE came too late or had too few regions.",
        _INDEX,
    ),
    F.SET_VRING_BASE: (
        "The base is above the queue size: it belongs to another queue size or to another ring format.",
        _INDEX,
    ),
    F.GET_VRING_BASE: (
        "The back-end is gone already: it ended while the device ran, and the stop of the rings only shows it.",
        "The back-end waits for requests in flight that never end (a hung disk, a guest that is stopped).",
        "The back-end crashed while it stopped the ring.",
    ),
    F.SET_VRING_KICK: (
        "The ring was not set up before: size, base and addresses come first.",
        "Ring addresses could not be translated, which this message only brings to light (DPDK).",
        _INDEX,
    ),
    F.SET_VRING_CALL: (_INDEX, _DIED),
    F.SET_VRING_ERR: (_INDEX, _DIED),
    F.GET_PROTOCOL_FEATURES: (
        "The back-end dislikes how it was asked: rust-vmm wants VHOST_USER_F_PROTOCOL_FEATURES to be offered.",
        _DIED,
    ),
    F.SET_PROTOCOL_FEATURES: (
        "A protocol feature was acknowledged that the back-end did not offer (compare GET_PROTOCOL_FEATURES).",
        _DIED,
    ),
    F.GET_QUEUE_NUM: ("Protocol feature MQ was not negotiated.", _DIED),
    F.SET_VRING_ENABLE: (
        "VHOST_USER_F_PROTOCOL_FEATURES was not acknowledged by SET_FEATURES: rust-vmm answers with an error then.",
        _INDEX,
    ),
    F.SEND_RARP: ("Protocol feature RARP was not negotiated.", _DIED),
    F.NET_SET_MTU: ("The MTU is outside 68 to 65535.", "The back-end cannot set this MTU."),
    F.SET_BACKEND_REQ_FD: ("The message had no descriptor, or more than one.", _DIED),
    F.IOTLB_MSG: (
        "The back-end could not use the translation: the region is not mapped.",
        _DIED,
    ),
    F.GET_CONFIG: (
        "The back-end has a smaller configuration space than the front-end asks for; both are of different versions.",
        "The back-end has none (DPDK's network devices) and protocol feature CONFIG was negotiated all the same.",
    ),
    F.SET_CONFIG: ("The field cannot be written.", "Offset and size are beyond the configuration space."),
    F.CREATE_CRYPTO_SESSION: (
        "Both sides use another form of the message: QEMU changed it in 8.1.",
        "The back-end does not know the algorithm or the key's length.",
    ),
    F.POSTCOPY_ADVISE: (
        "The back-end has no userfaultfd: not built in, or vm.unprivileged_userfaultfd is 0 and it is not root.",
        _DIED,
    ),
    F.POSTCOPY_LISTEN: ("Memory was registered before postcopy began.", _DIED),
    F.GET_INFLIGHT_FD: ("The back-end could not make the inflight buffer (memfd, huge pages).", _DIED),
    F.SET_INFLIGHT_FD: (
        "The buffer is not of this back-end: number of queues or queue size differ from those it was made for.",
        "The back-end cannot map it.",
    ),
    F.GET_MAX_MEM_SLOTS: ("Protocol feature CONFIGURE_MEM_SLOTS was not negotiated.", _DIED),
    F.ADD_MEM_REG: (
        *_MEMORY,
        "The back-end has no slot left (libvhost-user: 32 before QEMU 9.0, 509 since; rust-vmm: 509).",
    ),
    F.REM_MEM_REG: ("The back-end knows no such region: address or size differ from those it was added with.", _DIED),
    F.SET_STATUS: ("FEATURES_OK was set and the features do not fit the back-end's.", _DIED),
    F.SET_DEVICE_STATE_FD: ("The back-end cannot move its state, or rings still run.", _DIED),
    F.CHECK_DEVICE_STATE: ("The back-end could not save or load its state; its log says why.", _DIED),
}
"""Request of the main channel -> causes."""

DIED = (_DIED,)
"""The row for any other request."""
