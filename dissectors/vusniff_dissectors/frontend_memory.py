"""Front-end requests about guest memory: memory tables and slots, dirty log, postcopy, IOTLB, shared memory regions.

Facts of a row: the vhost-user document of QEMU, section "Front-end message types" and the section named in the row;
the functions are those of QEMU (hw/virtio/vhost-user.c and its callers), DPDK (lib/vhost/vhost_user.c) and
libvhost-user.
"""

from __future__ import annotations

from vusniff.message import Context, MessageSpec
from vusniff_dissectors import layouts as k
from vusniff_dissectors.features import ProtocolFeatures as P


def _in_postcopy(context: Context) -> bool:
    return context.postcopy


SPECS = (
    MessageSpec(
        5,
        "SET_MEM_TABLE",
        payload=k.MEMORY_TABLE_REQUEST,
        reply=k.MEMORY_TABLE_REPLY,
        may_answer=_in_postcopy,
        fds=(0, 8),
        fds_meaning="one shareable memory descriptor for each region, in their order; none without regions (postcopy)",
        about="Replaces the memory table: which guest addresses are backed by which descriptor.",
        sent_by="QEMU vhost_user_set_mem_table when a device starts and when guest memory changes; first queue pair "
        "only. In postcopy it is answered with the back-end's addresses and then sent once more without regions.",
        handled_by="DPDK vhost_user_set_mem_table; libvhost-user vu_set_mem_table_exec, "
        "in postcopy vu_set_mem_table_exec_postcopy",
        section="Memory access; Multiple Memory Region Table",
    ),
    MessageSpec(
        6,
        "SET_LOG_BASE",
        payload=k.LOG_BASE_REQUEST,
        reply=k.LOG_BASE_REPLY,
        may_answer=lambda context: context.log_shmfd,
        fds=(0, 1),
        fds_meaning="shared memory of the dirty log; exactly one with LOG_SHMFD",
        about="Gives the back-end the bitmap in which it marks the guest pages it writes (one bit for 4096 bytes).",
        sent_by="QEMU vhost_user_set_log_base when migration starts or the log grows, from vhost_dev_set_log and "
        "vhost_dev_start; the 16-byte form also without LOG_SHMFD",
        handled_by="DPDK vhost_user_set_log_base (empty reply); libvhost-user vu_set_log_base_exec (8-byte reply that "
        "is no status); rust-vmm replies with the 16-byte log",
        section="Migration",
    ),
    MessageSpec(
        7,
        "SET_LOG_FD",
        fds=(1, 1),
        fds_meaning="eventfd that the back-end signals when it has changed the log",
        about="Gives the back-end a descriptor to signal changes of the dirty log.",
        sent_by="rarely anybody: QEMU does not",
        handled_by="DPDK vhost_user_set_log_fd; libvhost-user vu_set_log_fd_exec",
        section="Migration",
    ),
    MessageSpec(
        22,
        "IOTLB_MSG",
        payload=k.IOTLB_ANY,
        reply=k.RESULT,
        answered=True,
        requires_feature="VIRTIO_F_ACCESS_PLATFORM negotiated",
        about="Tells the back-end a translation of an I/O virtual address (update) or takes it back (invalidate).",
        sent_by="QEMU vhost_user_send_device_iotlb_msg after a miss (vhost_device_iotlb_miss), for the rings at start, "
        "and when the guest unmaps; always with need_reply",
        handled_by="DPDK vhost_user_iotlb_msg (acknowledges only when need_reply is set); libvhost-user does not",
        section="IOMMU support; An IOTLB message",
    ),
    MessageSpec(
        28,
        "POSTCOPY_ADVISE",
        answered=True,
        reply_fds=(1, 1),
        reply_fds_meaning="userfaultfd of the back-end",
        requires=P.VHOST_USER_PROTOCOL_F_PAGEFAULT,
        about="Announces a postcopy migration to this host; the back-end answers with its userfaultfd.",
        sent_by="QEMU vhost_user_postcopy_advise on the destination",
        handled_by="DPDK vhost_user_set_postcopy_advise; libvhost-user vu_set_postcopy_advise",
        section="Migration",
    ),
    MessageSpec(
        29,
        "POSTCOPY_LISTEN",
        requires=P.VHOST_USER_PROTOCOL_F_PAGEFAULT,
        about="Guest memory set from now on must be registered with the userfaultfd.",
        sent_by="QEMU vhost_user_postcopy_listen, always with need_reply",
        handled_by="DPDK vhost_user_set_postcopy_listen; libvhost-user vu_set_postcopy_listen (both refuse it when "
        "memory is set already)",
        section="Migration",
    ),
    MessageSpec(
        30,
        "POSTCOPY_END",
        reply=k.RESULT,
        answered=True,
        requires=P.VHOST_USER_PROTOCOL_F_PAGEFAULT,
        about="All pages have come: the back-end closes its userfaultfd.",
        sent_by="QEMU vhost_user_postcopy_end, always with need_reply",
        handled_by="DPDK vhost_user_postcopy_end; libvhost-user vu_set_postcopy_end; rust-vmm answers only when "
        "need_reply is set",
        section="Migration",
    ),
    MessageSpec(
        36,
        "GET_MAX_MEM_SLOTS",
        reply=k.U64,
        answered=True,
        requires=P.VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS,
        about="Asks how many memory regions the back-end can take.",
        sent_by="QEMU vhost_user_get_max_memslots from vhost_user_backend_init",
        handled_by="libvhost-user vu_handle_get_max_memslots (509); recent DPDK (8)",
        section="Front-end message types",
    ),
    MessageSpec(
        37,
        "ADD_MEM_REG",
        payload=k.MEMORY_REGION_REQUEST,
        reply=k.MEMORY_REGION_REPLY,
        may_answer=_in_postcopy,
        fds=(1, 1),
        fds_meaning="shareable memory descriptor of the region",
        requires=P.VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS,
        about="Adds one memory region to the table.",
        sent_by="QEMU vhost_user_add_remove_regions > send_add_regions, in place of SET_MEM_TABLE",
        handled_by="libvhost-user vu_add_mem_reg; recent DPDK",
        section="Memory access; Single memory region description",
    ),
    MessageSpec(
        38,
        "REM_MEM_REG",
        payload=k.MEMORY_REGION_REMOVED,
        fds=(0, 1),
        fds_meaning="none should be sent; one is tolerated and closed unused",
        requires=P.VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS,
        about="Removes the memory region with this guest address, user address and size (mmap_offset does not count).",
        sent_by="QEMU vhost_user_add_remove_regions > send_remove_regions, in place of SET_MEM_TABLE",
        handled_by="libvhost-user vu_rem_mem_reg; recent DPDK (without a descriptor only)",
        section="Memory access; Single memory region description",
    ),
    MessageSpec(
        41,
        "GET_SHARED_OBJECT",
        payload=k.SHARED_OBJECT,
        reply=k.SHARED_OBJECT_REPLY,
        answered=True,
        reply_fds=(0, 1),
        reply_fds_meaning="dma-buf of the object; none when it is not found",
        requires=P.VHOST_USER_PROTOCOL_F_SHARED_OBJECT,
        about="Asks the back-end for the dma-buf of a shared object that it exported under a UUID.",
        sent_by="QEMU vhost_user_get_shared_object when another device looks the UUID up (10.2 sends no payload and so "
        "loses the UUID)",
        handled_by="libvhost-user vu_get_shared_object, which echoes the payload",
        section="Front-end message types",
    ),
    MessageSpec(
        44,
        "GET_SHMEM_CONFIG",
        reply=k.SHMEM_CONFIG_ANY,
        answered=True,
        requires=P.VHOST_USER_PROTOCOL_F_SHMEM,
        about="Asks which VIRTIO shared memory regions the device has and how large they are.",
        sent_by="QEMU 11 at initialisation; crosvm when it connects",
        handled_by="rust-vmm based back-ends",
        section="VIRTIO Shared Memory Region configuration",
    ),
)
