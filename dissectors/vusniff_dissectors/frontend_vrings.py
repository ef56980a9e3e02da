"""Front-end requests about vrings: size, addresses, indices, descriptors, enabling, inflight buffer.

Facts of a row: the vhost-user document of QEMU, section "Front-end message types" and the section named in the row;
the functions are those of QEMU (hw/virtio/vhost-user.c and its callers), DPDK (lib/vhost/vhost_user.c) and
libvhost-user.
"""

from __future__ import annotations

from vusniff.message import MessageSpec
from vusniff_dissectors import layouts as k
from vusniff_dissectors.features import ProtocolFeatures as P

SPECS = (
    MessageSpec(
        8,
        "SET_VRING_NUM",
        payload=k.VRING_STATE,
        about="Sets how many descriptors a vring has.",
        sent_by="QEMU vhost_virtqueue_start > vhost_user_set_vring_num, first message of a ring's start",
        handled_by="DPDK vhost_user_set_vring_num (at most 32768, a power of two on split rings); "
        "libvhost-user vu_set_vring_num_exec",
        section="A vring state description",
    ),
    MessageSpec(
        9,
        "SET_VRING_ADDR",
        payload=k.VRING_ADDR,
        about="Sets where the descriptor table, used ring and available ring of a vring are, and whether it is logged.",
        sent_by="QEMU vhost_virtqueue_set_addr > vhost_user_set_vring_addr, at start and when dirty logging changes",
        handled_by="DPDK vhost_user_set_vring_addr; libvhost-user vu_set_vring_addr_exec",
        section="A vring address description",
    ),
    MessageSpec(
        10,
        "SET_VRING_BASE",
        payload=k.VRING_BASE_ANY,
        about="Sets the index at which the back-end goes on in a vring.",
        sent_by="QEMU vhost_virtqueue_start > vhost_user_set_vring_base",
        handled_by="DPDK vhost_user_set_vring_base; libvhost-user vu_set_vring_base_exec",
        section="A vring descriptor index for split virtqueues; Vring descriptor indices for packed virtqueues",
    ),
    MessageSpec(
        11,
        "GET_VRING_BASE",
        payload=k.VRING_STATE,
        reply=k.VRING_BASE_ANY,
        answered=True,
        about="Stops a vring and returns its current index.",
        sent_by="QEMU vhost_virtqueue_stop > vhost_user_get_vring_base; DPDK virtio-user when it stops",
        handled_by="DPDK vhost_user_get_vring_base (takes the whole device out of service); "
        "libvhost-user vu_get_vring_base_exec (that ring only)",
        section="Ring states",
    ),
    MessageSpec(
        45,
        "GET_VRING_BASE_SKIP_DRAIN",
        payload=k.VRING_STATE,
        reply=k.VRING_BASE_ANY,
        answered=True,
        requires=P.VHOST_USER_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN,
        about="Stops a vring as GET_VRING_BASE does, without waiting for requests in flight.",
        sent_by="QEMU vhost_virtqueue_stop > vhost_user_get_vring_base_skip_drain, for vhost-user-blk with "
        "inflight-migration (QEMU after 11.1)",
        handled_by="a back-end that records requests in flight in the inflight buffer",
        section="Ring states; Inflight I/O tracking",
    ),
    MessageSpec(
        12,
        "SET_VRING_KICK",
        payload=k.VRING_FD,
        fds=(0, 1),
        fds_meaning="eventfd; none when bit 8 of the payload is set",
        about="Gives the descriptor by which the front-end says that buffers are there, and starts the vring.",
        sent_by="QEMU vhost_virtqueue_start > vhost_user_set_vring_kick",
        handled_by="DPDK vhost_user_set_vring_kick; libvhost-user vu_set_vring_kick_exec",
        section="Ring states",
    ),
    MessageSpec(
        13,
        "SET_VRING_CALL",
        payload=k.VRING_FD,
        fds=(0, 1),
        fds_meaning="eventfd; none when bit 8 of the payload is set",
        about="Gives the descriptor by which the back-end says that buffers are used.",
        sent_by="QEMU vhost_virtqueue_init and vhost_virtqueue_mask > vhost_user_set_vring_call: a masked notifier at "
        "first, the guest's at start",
        handled_by="DPDK vhost_user_set_vring_call; libvhost-user vu_set_vring_call_exec",
        section="Front-end message types",
    ),
    MessageSpec(
        14,
        "SET_VRING_ERR",
        payload=k.VRING_FD,
        fds=(0, 1),
        fds_meaning="eventfd; none when bit 8 of the payload is set",
        about="Gives the descriptor by which the back-end signals an error of a vring.",
        sent_by="QEMU vhost_virtqueue_init > vhost_user_set_vring_err",
        handled_by="DPDK vhost_user_set_vring_err (closes the descriptor); libvhost-user vu_set_vring_err_exec",
        section="Front-end message types",
    ),
    MessageSpec(
        18,
        "SET_VRING_ENABLE",
        payload=k.VRING_STATE,
        requires_feature="VHOST_USER_F_PROTOCOL_FEATURES negotiated",
        about="Enables (1) or disables (0) a vring: a disabled one is processed without effect on the outside.",
        sent_by="QEMU vhost_user_set_vring_enable: for net when the guest chooses its queue pairs (before the first "
        "SET_FEATURES) and at start, for other devices around start and stop",
        handled_by="DPDK vhost_user_set_vring_enable; libvhost-user vu_set_vring_enable_exec",
        section="Ring states",
    ),
    MessageSpec(
        23,
        "SET_VRING_ENDIAN",
        payload=k.VRING_ENDIAN,
        requires=P.VHOST_USER_PROTOCOL_F_CROSS_ENDIAN,
        about="Sets the byte order of a vring for legacy guests whose order is not the host's.",
        sent_by="QEMU vhost_virtqueue_set_vring_endian_legacy > vhost_user_set_vring_endian",
        handled_by="neither DPDK nor libvhost-user",
        section="Front-end message types",
    ),
    MessageSpec(
        35,
        "VRING_KICK",
        payload=k.VRING_STATE,
        requires=P.VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS,
        about="Says in a message instead of on a descriptor that buffers are there, and starts the vring.",
        sent_by="user-mode Linux and simulators; QEMU does not",
        handled_by="libvhost-user vu_handle_vring_kick",
        section="Ring states; Front-end message types",
    ),
    MessageSpec(
        31,
        "GET_INFLIGHT_FD",
        payload=k.INFLIGHT_ANY,
        reply=k.INFLIGHT_ANY,
        answered=True,
        reply_fds=(0, 1),
        reply_fds_meaning="shared memory of the inflight buffer; none when mmap_size is 0",
        requires=P.VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD,
        about="Asks the back-end to make the buffer in which it keeps track of requests in flight.",
        sent_by="QEMU vhost_dev_get_inflight > vhost_user_get_inflight_fd, at the first start of a block device",
        handled_by="DPDK vhost_user_get_inflight_fd; libvhost-user vu_get_inflight_fd",
        section="Inflight I/O tracking",
    ),
    MessageSpec(
        32,
        "SET_INFLIGHT_FD",
        payload=k.INFLIGHT_ANY,
        fds=(1, 1),
        fds_meaning="shared memory of the inflight buffer",
        requires=P.VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD,
        about="Gives the inflight buffer to the back-end, which finishes what it finds there.",
        sent_by="QEMU vhost_dev_set_inflight > vhost_user_set_inflight_fd, at every start and after a reconnect",
        handled_by="DPDK vhost_user_set_inflight_fd; libvhost-user vu_set_inflight_fd",
        section="Inflight I/O tracking",
    ),
)
