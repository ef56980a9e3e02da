"""Requests of the back-end channel, sent by the back-end, and six more that only crosvm's back-ends know.

Facts of a row: the vhost-user document of QEMU, section "Back-end message types", and crosvm's third_party/vmm_vhost.
Every request needs BACKEND_REQ and the channel that SET_BACKEND_REQ_FD gave; descriptors also need BACKEND_SEND_FD.
"""

from __future__ import annotations

from vusniff.message import Dissector, MessageSpec
from vusniff_dissectors import layouts as k
from vusniff_dissectors.features import ProtocolFeatures as P

_SECTION = "Back-end message types"
_CROSVM = "crosvm's third_party/vmm_vhost, not in the specification"

SPECS = (
    MessageSpec(
        1,
        "BACKEND_IOTLB_MSG",
        payload=k.IOTLB_ANY,
        requires=P.VHOST_USER_PROTOCOL_F_BACKEND_REQ,
        requires_feature="VIRTIO_F_ACCESS_PLATFORM negotiated",
        aliases=("SLAVE_IOTLB_MSG",),
        about="Asks for the translation of an I/O virtual address (miss), or reports an access that was refused.",
        sent_by="DPDK vhost_user_iotlb_miss",
        handled_by="QEMU backend_read > vhost_backend_handle_iotlb_msg, which sends IOTLB_MSG on the main channel",
        section="IOMMU support; " + _SECTION,
    ),
    MessageSpec(
        2,
        "BACKEND_CONFIG_CHANGE_MSG",
        requires=P.VHOST_USER_PROTOCOL_F_CONFIG,
        aliases=("SLAVE_CONFIG_CHANGE_MSG",),
        about="Says that the device config space has changed: the front-end should read it again.",
        sent_by="libvhost-user vu_config_change_msg; SPDK and qemu-storage-daemon when a disk is resized",
        handled_by="QEMU backend_read > vhost_user_backend_handle_config_change",
        section=_SECTION,
    ),
    MessageSpec(
        3,
        "BACKEND_VRING_HOST_NOTIFIER_MSG",
        payload=k.VRING_AREA,
        fds=(0, 1),
        fds_meaning="mappable notification area; none when bit 8 of the u64 is set",
        requires=P.VHOST_USER_PROTOCOL_F_HOST_NOTIFIER,
        aliases=("SLAVE_VRING_HOST_NOTIFIER_MSG",),
        about="Maps a page of the device into the guest, so that its kicks need no eventfd, or takes it back.",
        sent_by="DPDK rte_vhost_host_notifier_ctrl (vDPA); libvhost-user vu_set_queue_host_notifier",
        handled_by="QEMU backend_read > vhost_user_backend_handle_vring_host_notifier",
        section=_SECTION,
    ),
    MessageSpec(
        4,
        "BACKEND_VRING_CALL",
        payload=k.VRING_STATE,
        requires=P.VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS,
        aliases=("SLAVE_VRING_CALL",),
        about="Says in a message instead of on a descriptor that buffers are used.",
        sent_by="libvhost-user vu_queue_notify, when the ring has no call descriptor",
        handled_by="user-mode Linux; QEMU does not",
        section=_SECTION,
    ),
    MessageSpec(
        5,
        "BACKEND_VRING_ERR",
        payload=k.VRING_STATE,
        requires=P.VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS,
        aliases=("SLAVE_VRING_ERR",),
        about="Reports an error of a vring in a message instead of on a descriptor.",
        sent_by="nobody known",
        handled_by="user-mode Linux; QEMU does not",
        section=_SECTION,
    ),
    MessageSpec(
        6,
        "BACKEND_SHARED_OBJECT_ADD",
        payload=k.SHARED_OBJECT,
        requires=P.VHOST_USER_PROTOCOL_F_SHARED_OBJECT,
        about="Publishes an object under a UUID for other devices of the guest.",
        sent_by="libvhost-user vu_add_shared_object",
        handled_by="QEMU backend_read > vhost_user_backend_handle_shared_object_add",
        section=_SECTION,
    ),
    MessageSpec(
        7,
        "BACKEND_SHARED_OBJECT_REMOVE",
        payload=k.SHARED_OBJECT,
        requires=P.VHOST_USER_PROTOCOL_F_SHARED_OBJECT,
        about="Takes a published object back.",
        sent_by="libvhost-user vu_rm_shared_object",
        handled_by="QEMU backend_read > vhost_user_backend_handle_shared_object_remove",
        section=_SECTION,
    ),
    MessageSpec(
        8,
        "BACKEND_SHARED_OBJECT_LOOKUP",
        payload=k.SHARED_OBJECT,
        reply=k.RESULT,
        answered=True,
        reply_fds=(0, 1),
        reply_fds_meaning="dma-buf of the object; none on failure",
        requires=P.VHOST_USER_PROTOCOL_F_SHARED_OBJECT,
        about="Asks for the dma-buf of an object that another device published.",
        sent_by="libvhost-user vu_lookup_shared_object; rust-vmm attaches a descriptor to the request instead",
        handled_by="QEMU backend_read > vhost_user_backend_handle_shared_object_lookup",
        section=_SECTION,
    ),
    MessageSpec(
        9,
        "BACKEND_SHMEM_MAP",
        payload=k.SHMEM_MMAP,
        fds=(1, 1),
        fds_meaning="what is mapped into the VIRTIO shared memory region",
        requires=P.VHOST_USER_PROTOCOL_F_SHMEM,
        about="Asks the front-end to map a descriptor into a VIRTIO shared memory region of the device.",
        sent_by="rust-vmm based back-ends; libvhost-user vu_shmem_map",
        handled_by="QEMU 11 and crosvm",
        section=_SECTION,
    ),
    MessageSpec(
        10,
        "BACKEND_SHMEM_UNMAP",
        payload=k.SHMEM_MMAP,
        requires=P.VHOST_USER_PROTOCOL_F_SHMEM,
        about="Asks the front-end to undo a mapping in a VIRTIO shared memory region.",
        sent_by="rust-vmm based back-ends; libvhost-user vu_shmem_unmap",
        handled_by="QEMU 11 and crosvm",
        section=_SECTION,
    ),
    *(
        MessageSpec(
            code,
            name,
            payload=k.FS_MAPPING,
            fds=fds,
            fds_meaning="the file" if fds[1] else "",
            about=about,
            sent_by="retired virtio-fs back-ends of crosvm; older builds of others used other numbers",
            handled_by="crosvm before it took BACKEND_SHMEM_MAP",
            section=_CROSVM,
        )
        for code, name, fds, about in (
            (1002, "FS_MAP", (1, 1), "Retired: maps parts of a file into the DAX window of virtio-fs."),
            (1003, "FS_UNMAP", (0, 0), "Retired: takes parts of the DAX window of virtio-fs back."),
            (1004, "FS_SYNC", (0, 0), "Retired: writes parts of the DAX window of virtio-fs to the file."),
            (1005, "FS_IO", (1, 1), "Retired: reads or writes a file from or to guest memory."),
        )
    ),
    MessageSpec(
        1006,
        "GPU_MAP",
        payload=k.GPU_MAP,
        reply=k.RESULT,
        answered=True,
        fds=(1, 1),
        fds_meaning="GPU memory",
        about="Maps GPU memory into a VIRTIO shared memory region.",
        sent_by="crosvm's GPU back-end",
        handled_by="crosvm",
        section=_CROSVM,
    ),
    MessageSpec(
        1007,
        "EXTERNAL_MAP",
        payload=k.EXTERNAL_MAP,
        reply=k.RESULT,
        answered=True,
        about="Maps memory at a pointer of the same process into a VIRTIO shared memory region.",
        sent_by="crosvm's GPU back-end, when both run in one process",
        handled_by="crosvm",
        section=_CROSVM,
    ),
)

DISSECTOR = Dissector("backend", {spec.code: spec for spec in SPECS}, k.ACK)
