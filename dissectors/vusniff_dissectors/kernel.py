"""Calls of vhost in the kernel: every ioctl of linux/vhost.h and linux/vduse.h, and what is written and read.

Source: the headers of Linux 6.18; drivers/vhost/{vhost,net,scsi,vsock,vdpa}.c and drivers/vdpa/vdpa_user/vduse_dev.c
name the functions that handle a call, hw/virtio/vhost-backend.c and vhost-vdpa.c of QEMU 10.0 those that make it.
"""

# ruff: noqa: E501 - rows are read as a table
from __future__ import annotations

from typing import NamedTuple

from vusniff.message import Alternatives, Choice, Dissector, Layout, MessageSpec
from vusniff_dissectors import kernel_layouts as k
from vusniff_dissectors import layouts as u

_VHOST, _VDUSE = 0xAF, 0x81


class _CallRow(NamedTuple):
    number: int
    direction: int
    """0 none, 1 given, 2 brought back, 3 both (asm-generic/ioctl.h)."""
    size: int
    name: str
    layout: Layout | Alternatives | None
    about: str
    sent_by: str
    handled_by: str


_ON_RING = "the process that serves the guest, for each ring when the driver starts it"
_AT_START = "the process that serves the guest, when the device is opened"
_LATER = "rarely anybody"

# fmt: off
_COMMON_ROWS = (
    _CallRow(0x00, 2, 8, "GET_FEATURES", k.or_none(u.FEATURES), "Asks which virtio features the kernel offers.", "QEMU vhost_kernel_get_features", "vhost_net_ioctl, vhost_vdpa_get_features"),
    _CallRow(0x00, 1, 8, "SET_FEATURES", u.FEATURES, "Says which features are used: those that the driver acknowledged.", "QEMU vhost_kernel_set_features", "vhost_net_set_features, vhost_vdpa_set_features"),
    _CallRow(0x01, 0, 0, "SET_OWNER", None, "Makes the calling process the owner: it alone may go on, and its memory is meant. EBUSY: it has an owner.", "QEMU vhost_kernel_set_owner, before all others", "vhost_dev_set_owner"),
    _CallRow(0x02, 0, 0, "RESET_OWNER", None, "Gives the device up and resets it.", "QEMU vhost_kernel_reset_device", "vhost_net_reset_owner"),
    _CallRow(0x03, 1, 8, "SET_MEM_TABLE", k.MEMORY_TABLE, "Tells where guest memory is in the caller's address space. E2BIG: more regions than max_mem_regions.", "QEMU vhost_kernel_set_mem_table", "vhost_set_memory"),
    _CallRow(0x04, 1, 8, "SET_LOG_BASE", u.U64, "Gives the address of the log of pages that are written, for migration.", "QEMU vhost_kernel_set_log_base", "vhost_dev_ioctl"),
    _CallRow(0x07, 1, 4, "SET_LOG_FD", k.I32, "Gives an eventfd that is signalled when the log was written.", _LATER, "vhost_dev_ioctl"),
    _CallRow(0x08, 2, 4, "NEW_WORKER", k.or_none(k.U32), "Makes another kernel thread for this device, and tells its id.", "QEMU vhost-scsi with worker_per_virtqueue", "vhost_new_worker"),
    _CallRow(0x09, 1, 4, "FREE_WORKER", k.U32, "Ends such a thread.", "QEMU vhost_kernel_free_worker", "vhost_free_worker"),
    _CallRow(0x10, 1, 8, "SET_VRING_NUM", u.VRING_STATE, "Sets the size of a ring. EBUSY: it runs. EINVAL: no power of two, or more than 32768.", _ON_RING, "vhost_vring_set_num"),
    _CallRow(0x11, 1, 40, "SET_VRING_ADDR", u.VRING_ADDR, "Tells where the parts of a ring are, in the caller's address space.", _ON_RING, "vhost_vring_set_addr"),
    _CallRow(0x12, 1, 8, "SET_VRING_BASE", u.VRING_BASE_ANY, "Tells where in the ring to go on. EBUSY: it runs.", _ON_RING, "vhost_vring_ioctl"),
    _CallRow(0x12, 3, 8, "GET_VRING_BASE", u.VRING_BASE_ANY, "Asks where in the ring the kernel stands. Unlike vhost-user's request it stops nothing.", "the process that serves the guest, when the device stops", "vhost_vring_ioctl"),
    _CallRow(0x13, 1, 8, "SET_VRING_ENDIAN", u.VRING_ENDIAN, "Sets the byte order of a ring of a legacy driver.", "QEMU, for a guest of the other byte order", "vhost_set_vring_endian"),
    _CallRow(0x14, 1, 8, "GET_VRING_ENDIAN", u.VRING_STATE, "Asks for that.", _LATER, "vhost_get_vring_endian"),
    _CallRow(0x15, 1, 8, "ATTACH_VRING_WORKER", k.VRING_WORKER, "Lets a ring be served by a thread that NEW_WORKER made.", "QEMU vhost_kernel_attach_vring_worker", "vhost_attach_worker"),
    _CallRow(0x16, 3, 8, "GET_VRING_WORKER", k.VRING_WORKER, "Asks which thread serves a ring.", "QEMU vhost_kernel_get_vring_worker", "vhost_get_vq_from_user"),
    _CallRow(0x20, 1, 8, "SET_VRING_KICK", k.VRING_FILE, "Gives the eventfd by which the driver tells of buffers; -1 takes it back.", _ON_RING, "vhost_vring_ioctl"),
    _CallRow(0x21, 1, 8, "SET_VRING_CALL", k.VRING_FILE, "Gives the eventfd by which used buffers are told; -1 takes it back.", _ON_RING, "vhost_vring_ioctl"),
    _CallRow(0x22, 1, 8, "SET_VRING_ERR", k.VRING_FILE, "Gives an eventfd that is signalled when the kernel cannot read a ring.", "QEMU vhost_virtqueue_init", "vhost_vring_ioctl"),
    _CallRow(0x23, 1, 8, "SET_VRING_BUSYLOOP_TIMEOUT", u.VRING_STATE, "Sets how long the kernel polls for more, in microseconds.", "QEMU with poll-us", "vhost_vring_ioctl"),
    _CallRow(0x24, 1, 8, "GET_VRING_BUSYLOOP_TIMEOUT", u.VRING_STATE, "Asks for that.", _LATER, "vhost_vring_ioctl"),
    _CallRow(0x25, 1, 8, "SET_BACKEND_FEATURES", k.BACKEND_FEATURES, "Says which features of the interface itself are used.", "QEMU vhost_kernel_set_backend_cap, vhost_vdpa_set_backend_cap", "vhost_net_ioctl, vhost_vdpa_unlocked_ioctl"),
    _CallRow(0x26, 2, 8, "GET_BACKEND_FEATURES", k.or_none(k.BACKEND_FEATURES), "Asks which there are.", "QEMU, before it sets them", "vhost_net_ioctl, vhost_vdpa_unlocked_ioctl"),
    _CallRow(0x83, 2, 8, "GET_FEATURES_ARRAY", k.or_none(k.FEATURES_ARRAY), "Asks for features beyond 64 bits.", "QEMU of 2025 and later", "vhost_net_ioctl"),
    _CallRow(0x83, 1, 8, "SET_FEATURES_ARRAY", k.FEATURES_ARRAY, "Sets features beyond 64 bits.", "QEMU of 2025 and later", "vhost_net_ioctl"),
    _CallRow(0x84, 1, 1, "SET_FORK_FROM_OWNER", k.U8, "Chooses whether threads belong to the owner (1) or to the kernel (0), before SET_OWNER.", _LATER, "vhost_dev_ioctl"),
    _CallRow(0x85, 2, 1, "GET_FORK_FROM_OWNER", k.or_none(k.U8), "Asks for that.", _LATER, "vhost_dev_ioctl"),
)
_KERNEL_ROWS = (
    _CallRow(0x30, 1, 8, "NET_SET_BACKEND", k.VRING_FILE, "Binds a ring to a tap or packet socket, which starts it; -1 stops it. EFAULT: the ring is not set up.", "QEMU vhost_net_start_one and vhost_net_stop_one", "vhost_net_set_backend"),
    _CallRow(0x40, 1, 232, "SCSI_SET_ENDPOINT", k.SCSI_TARGET, "Binds the device to a target, which starts it.", "QEMU vhost_scsi_set_endpoint", "vhost_scsi_set_endpoint"),
    _CallRow(0x41, 1, 232, "SCSI_CLEAR_ENDPOINT", k.SCSI_TARGET, "Takes the target away, which stops the device.", "QEMU vhost_scsi_clear_endpoint", "vhost_scsi_clear_endpoint"),
    _CallRow(0x42, 1, 4, "SCSI_GET_ABI_VERSION", k.I32, "Asks for the version of this interface.", "QEMU vhost_scsi_realize", "vhost_scsi_ioctl"),
    _CallRow(0x43, 1, 4, "SCSI_SET_EVENTS_MISSED", k.U32, "Sets whether events were missed.", _LATER, "vhost_scsi_ioctl"),
    _CallRow(0x44, 1, 4, "SCSI_GET_EVENTS_MISSED", k.U32, "Asks for that.", _LATER, "vhost_scsi_ioctl"),
    _CallRow(0x60, 1, 8, "VSOCK_SET_GUEST_CID", u.U64, "Sets the address of the guest. EADDRINUSE: another guest has it.", "QEMU vhost_vsock_set_guest_cid", "vhost_vsock_set_cid"),
    _CallRow(0x61, 1, 4, "VSOCK_SET_RUNNING", k.U32, "Starts (1) or stops (0) the device.", "QEMU vhost_vsock_set_running", "vhost_vsock_start"),
)
_VDPA_ROWS = (
    _CallRow(0x70, 2, 4, "VDPA_GET_DEVICE_ID", k.or_none(k.U32), "Asks for the virtio device type.", "QEMU vhost_vdpa_get_device_id", "vhost_vdpa_get_device_id"),
    _CallRow(0x71, 2, 1, "VDPA_GET_STATUS", k.or_none(k.STATUS), "Asks for the device status.", "QEMU vhost_vdpa_add_status", "vhost_vdpa_get_status"),
    _CallRow(0x72, 1, 1, "VDPA_SET_STATUS", k.STATUS, "Sets the device status: DRIVER_OK starts it, 0 resets it.", "QEMU vhost_vdpa_add_status, vhost_vdpa_reset_device", "vhost_vdpa_set_status"),
    _CallRow(0x73, 2, 8, "VDPA_GET_CONFIG", k.VDPA_CONFIG, "Reads configuration space.", "QEMU vhost_vdpa_get_config", "vhost_vdpa_get_config"),
    _CallRow(0x74, 1, 8, "VDPA_SET_CONFIG", k.VDPA_CONFIG, "Writes configuration space.", "QEMU vhost_vdpa_set_config", "vhost_vdpa_set_config"),
    _CallRow(0x75, 1, 8, "VDPA_SET_VRING_ENABLE", u.VRING_STATE, "Enables or disables a ring.", "QEMU vhost_vdpa_set_vring_ready", "vhost_vdpa_vring_ioctl"),
    _CallRow(0x76, 2, 2, "VDPA_GET_VRING_NUM", k.or_none(k.U16), "Asks for the largest size of a ring.", "QEMU, libblkio", "vhost_vdpa_get_vring_num"),
    _CallRow(0x77, 1, 4, "VDPA_SET_CONFIG_CALL", k.I32, "Gives an eventfd that tells of changes of configuration space.", "QEMU vhost_vdpa_set_config_call", "vhost_vdpa_set_config_call"),
    _CallRow(0x78, 2, 16, "VDPA_GET_IOVA_RANGE", k.or_none(k.IOVA_RANGE), "Asks which I/O addresses can be mapped.", "QEMU vhost_vdpa_get_iova_range", "vhost_vdpa_get_iova_range"),
    _CallRow(0x79, 2, 4, "VDPA_GET_CONFIG_SIZE", k.or_none(k.U32), "Asks for the size of configuration space.", "QEMU, libblkio", "vhost_vdpa_get_config_size"),
    _CallRow(0x7A, 2, 4, "VDPA_GET_AS_NUM", k.or_none(k.U32), "Asks how many address spaces there are.", "QEMU vhost_vdpa_get_max_queue_pairs", "vhost_vdpa_unlocked_ioctl"),
    _CallRow(0x7B, 3, 8, "VDPA_GET_VRING_GROUP", u.VRING_STATE, "Asks to which group a ring belongs.", "QEMU vhost_vdpa_get_vring_group", "vhost_vdpa_vring_ioctl"),
    _CallRow(0x7C, 1, 8, "VDPA_SET_GROUP_ASID", u.VRING_STATE, "Gives a group of rings an address space.", "QEMU vhost_vdpa_set_address_space_id", "vhost_vdpa_vring_ioctl"),
    _CallRow(0x7D, 0, 0, "VDPA_SUSPEND", None, "Stops the device so that its state can be read.", "QEMU vhost_vdpa_suspend", "vhost_vdpa_suspend"),
    _CallRow(0x7E, 0, 0, "VDPA_RESUME", None, "Lets it go on.", _LATER, "vhost_vdpa_resume"),
    _CallRow(0x7F, 3, 8, "VDPA_GET_VRING_DESC_GROUP", u.VRING_STATE, "Asks to which group the descriptors of a ring belong.", _LATER, "vhost_vdpa_vring_ioctl"),
    _CallRow(0x80, 2, 4, "VDPA_GET_VQS_COUNT", k.or_none(k.U32), "Asks how many rings there are.", "libblkio, DPDK vhost_vdpa_get_nr_vrings", "vhost_vdpa_get_vqs_count"),
    _CallRow(0x81, 2, 4, "VDPA_GET_GROUP_NUM", k.or_none(k.U32), "Asks how many groups of rings there are.", "QEMU", "vhost_vdpa_unlocked_ioctl"),
    _CallRow(0x82, 3, 8, "VDPA_GET_VRING_SIZE", u.VRING_STATE, "Asks for the size of one ring.", _LATER, "vhost_vdpa_vring_ioctl"),
)
_BACK = "the VDUSE back-end, such as qemu-storage-daemon"
_VDUSE_ROWS = (
    _CallRow(0x00, 2, 8, "VDUSE_GET_API_VERSION", k.or_none(u.U64), "Asks for the version of VDUSE.", _BACK, "vduse_ioctl"),
    _CallRow(0x01, 1, 8, "VDUSE_SET_API_VERSION", u.U64, "Says which version is spoken.", _BACK, "vduse_ioctl"),
    _CallRow(0x02, 1, 336, "VDUSE_CREATE_DEV", k.VDUSE_DEVICE, "Makes a device, /dev/vduse/NAME. EEXIST: there is one of this name.", _BACK, "vduse_create_dev"),
    _CallRow(0x03, 1, 256, "VDUSE_DESTROY_DEV", k.VDUSE_NAME, "Takes it away. EBUSY: it is open, or on the vDPA bus.", _BACK, "vduse_destroy_dev"),
    _CallRow(0x10, 3, 32, "VDUSE_IOTLB_GET_FD", k.VDUSE_ENTRY, "Asks for a descriptor of the memory behind I/O addresses.", _BACK, "vduse_dev_ioctl"),
    _CallRow(0x11, 2, 8, "VDUSE_DEV_GET_FEATURES", k.or_none(u.FEATURES), "Asks which features were negotiated.", _BACK, "vduse_dev_ioctl"),
    _CallRow(0x12, 1, 8, "VDUSE_DEV_SET_CONFIG", k.VDUSE_CONFIG, "Changes configuration space.", _BACK, "vduse_dev_ioctl"),
    _CallRow(0x13, 0, 0, "VDUSE_DEV_INJECT_CONFIG_IRQ", None, "Tells the driver that configuration space has changed.", _BACK, "vduse_dev_ioctl"),
    _CallRow(0x14, 1, 32, "VDUSE_VQ_SETUP", k.VDUSE_VRING, "Says how large a ring may be.", _BACK, "vduse_dev_ioctl"),
    _CallRow(0x15, 3, 48, "VDUSE_VQ_GET_INFO", k.VDUSE_VRING_INFO, "Asks for size, addresses and state of a ring.", _BACK, "vduse_dev_ioctl"),
    _CallRow(0x16, 1, 8, "VDUSE_VQ_SETUP_KICKFD", k.VRING_FILE, "Gives the eventfd by which the driver tells of buffers.", _BACK, "vduse_kickfd_setup"),
    _CallRow(0x17, 1, 4, "VDUSE_VQ_INJECT_IRQ", k.U32, "Tells the driver of used buffers.", _BACK, "vduse_dev_queue_irq_work"),
    _CallRow(0x18, 1, 48, "VDUSE_IOTLB_REG_UMEM", k.VDUSE_UMEM, "Gives memory of the back-end for bounce buffers.", _BACK, "vduse_dev_reg_umem"),
    _CallRow(0x19, 1, 48, "VDUSE_IOTLB_DEREG_UMEM", k.VDUSE_UMEM, "Takes it back.", _BACK, "vduse_dev_dereg_umem"),
    _CallRow(0x1A, 3, 48, "VDUSE_IOTLB_GET_INFO", k.VDUSE_IOVA_INFO, "Asks what is known of I/O addresses.", _BACK, "vduse_dev_ioctl"),
    _CallRow(0x1B, 3, 88, "VDUSE_IOTLB_GET_FD2", k.VDUSE_ENTRY_V2, "VDUSE_IOTLB_GET_FD with an address space.", _BACK, "vduse_dev_ioctl"),
)
# fmt: on


def _spec(row: _CallRow, kind: int) -> MessageSpec:
    code = row.direction << 30 | row.size << 16 | kind << 8 | row.number
    section = "linux/vduse.h" if kind == _VDUSE else "linux/vhost.h"
    return _made(code, row.name, row.layout, row.about, row.sent_by, row.handled_by, section)


def _made(code: int, name: str, choice: Choice, about: str, sent_by: str, handled_by: str, section: str) -> MessageSpec:
    return MessageSpec(code, name, payload=choice, about=about, sent_by=sent_by, handled_by=handled_by, section=section)


_TYPES = "linux/vhost_types.h"
_IOTLB = "Maps I/O addresses to memory, or takes them back: a write to the device."
_MISS = "Asks for an I/O address that is not mapped: a read of the device."
_CONTROL = "a read of the device, which asks the back-end"
_MESSAGES = (
    _made(
        0x01, "IOTLB_MSG", k.IOTLB, _IOTLB, "QEMU vhost_kernel_send_device_iotlb_msg", "vhost_chr_write_iter", _TYPES
    ),
    _made(0x02, "IOTLB_MSG_V2", k.IOTLB_V2, _IOTLB, "QEMU vhost_vdpa_dma_map", "vhost_chr_write_iter", _TYPES),
    _made(0x11, "IOTLB_MISS", k.IOTLB, _MISS, "the kernel", "QEMU vhost_kernel_iotlb_read", _TYPES),
    _made(0x12, "IOTLB_MISS_V2", k.IOTLB_V2, _MISS, "the kernel", "QEMU vhost_kernel_iotlb_read", _TYPES),
)
_CONTROLS = (
    (0x100, "VDUSE_GET_VQ_STATE", k.VDUSE_ASKS_VRING, f"Asks where a ring stands: {_CONTROL}."),
    (0x101, "VDUSE_SET_STATUS", k.VDUSE_SETS_STATUS, f"Tells of a new device status: {_CONTROL}."),
    (
        0x102,
        "VDUSE_UPDATE_IOTLB",
        k.VDUSE_UPDATES,
        f"Tells that the memory behind I/O addresses has changed: {_CONTROL}.",
    ),
    (0x103, "VDUSE_SET_VQ_GROUP_ASID", k.VDUSE_GROUP, f"Gives a group of rings an address space: {_CONTROL}."),
)

_VHOST_SPECS = tuple(_spec(row, _VHOST) for row in _COMMON_ROWS) + _MESSAGES
_VDUSE_SPECS = (
    *(_spec(row, _VDUSE) for row in _VDUSE_ROWS),
    *(_made(*one, "the kernel", "libvduse of QEMU, vduse_dev_handler", "linux/vduse.h") for one in _CONTROLS),
    _made(0x1FF, "VDUSE_RESPONSE", k.VDUSE_RESPONSE, "Answers the kernel: a write to the device.", _BACK, "vduse_dev_write_iter", "linux/vduse.h"),
)  # fmt: skip


def _table(*specs: MessageSpec) -> dict[int, MessageSpec]:
    return {spec.code: spec for spec in specs}


DISSECTORS: tuple[Dissector, ...] = (
    Dissector("kernel", _table(*_VHOST_SPECS, *(_spec(row, _VHOST) for row in _KERNEL_ROWS))),
    Dissector("vdpa", _table(*_VHOST_SPECS, *(_spec(row, _VHOST) for row in _VDPA_ROWS))),
    Dissector("vduse", _table(*_VDUSE_SPECS)),
)
"""Registered by the entry point ``vhost-kernel`` of the group ``vusniff.dissectors``."""
