"""Feature bits: virtio bits by device type, vhost bits, protocol features and the device status.

Names are those of the VIRTIO specification, of linux/virtio_*.h and of the vhost-user document. The virtio bits 0-23
and 50-127 belong to the device type, the rest to every device; a vhost-user feature word carries bits 0-63. Classes
that only `features` puts together are no enums: one takes as long to make as many lines to print.
"""

from __future__ import annotations

import enum
import functools
from typing import Any


class CommonFeatures:
    """Bits of every virtio device."""

    VIRTIO_F_NOTIFY_ON_EMPTY = 1 << 24
    VIRTIO_F_ANY_LAYOUT = 1 << 27
    VIRTIO_RING_F_INDIRECT_DESC = 1 << 28
    VIRTIO_RING_F_EVENT_IDX = 1 << 29
    VIRTIO_F_VERSION_1 = 1 << 32
    VIRTIO_F_ACCESS_PLATFORM = 1 << 33
    VIRTIO_F_RING_PACKED = 1 << 34
    VIRTIO_F_IN_ORDER = 1 << 35
    VIRTIO_F_ORDER_PLATFORM = 1 << 36
    VIRTIO_F_SR_IOV = 1 << 37
    VIRTIO_F_NOTIFICATION_DATA = 1 << 38
    VIRTIO_F_NOTIF_CONFIG_DATA = 1 << 39
    VIRTIO_F_RING_RESET = 1 << 40
    VIRTIO_F_ADMIN_VQ = 1 << 41
    VIRTIO_F_SUSPEND = 1 << 43


class VhostFeatures:
    """Bits of the vhost protocol inside the feature word; the guest never sees them."""

    VHOST_F_LOG_ALL = 1 << 26
    VHOST_USER_F_PROTOCOL_FEATURES = 1 << 30


class NetFeatures:
    """Network card, device type 1."""

    VIRTIO_NET_F_CSUM = 1 << 0
    VIRTIO_NET_F_GUEST_CSUM = 1 << 1
    VIRTIO_NET_F_CTRL_GUEST_OFFLOADS = 1 << 2
    VIRTIO_NET_F_MTU = 1 << 3
    VIRTIO_NET_F_MAC = 1 << 5
    VIRTIO_NET_F_GSO = 1 << 6
    VIRTIO_NET_F_GUEST_TSO4 = 1 << 7
    VIRTIO_NET_F_GUEST_TSO6 = 1 << 8
    VIRTIO_NET_F_GUEST_ECN = 1 << 9
    VIRTIO_NET_F_GUEST_UFO = 1 << 10
    VIRTIO_NET_F_HOST_TSO4 = 1 << 11
    VIRTIO_NET_F_HOST_TSO6 = 1 << 12
    VIRTIO_NET_F_HOST_ECN = 1 << 13
    VIRTIO_NET_F_HOST_UFO = 1 << 14
    VIRTIO_NET_F_MRG_RXBUF = 1 << 15
    VIRTIO_NET_F_STATUS = 1 << 16
    VIRTIO_NET_F_CTRL_VQ = 1 << 17
    VIRTIO_NET_F_CTRL_RX = 1 << 18
    VIRTIO_NET_F_CTRL_VLAN = 1 << 19
    VIRTIO_NET_F_CTRL_RX_EXTRA = 1 << 20
    VIRTIO_NET_F_GUEST_ANNOUNCE = 1 << 21
    VIRTIO_NET_F_MQ = 1 << 22
    VIRTIO_NET_F_CTRL_MAC_ADDR = 1 << 23
    VIRTIO_NET_F_GUEST_RSC4 = 1 << 41
    VIRTIO_NET_F_GUEST_RSC6 = 1 << 42
    VIRTIO_NET_F_DEVICE_STATS = 1 << 50
    VIRTIO_NET_F_HASH_TUNNEL = 1 << 51
    VIRTIO_NET_F_VQ_NOTF_COAL = 1 << 52
    VIRTIO_NET_F_NOTF_COAL = 1 << 53
    VIRTIO_NET_F_GUEST_USO4 = 1 << 54
    VIRTIO_NET_F_GUEST_USO6 = 1 << 55
    VIRTIO_NET_F_HOST_USO = 1 << 56
    VIRTIO_NET_F_HASH_REPORT = 1 << 57
    VIRTIO_NET_F_GUEST_HDRLEN = 1 << 59
    VIRTIO_NET_F_RSS = 1 << 60
    VIRTIO_NET_F_RSC_EXT = 1 << 61
    VIRTIO_NET_F_STANDBY = 1 << 62
    VIRTIO_NET_F_SPEED_DUPLEX = 1 << 63
    VIRTIO_NET_F_RSS_CONTEXT = 1 << 64
    VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO = 1 << 65
    VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM = 1 << 66
    VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO = 1 << 67
    VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM = 1 << 68
    VIRTIO_NET_F_OUT_NET_HEADER = 1 << 69
    VIRTIO_NET_F_IPSEC = 1 << 70


class BlkFeatures:
    """Block device, device type 2."""

    VIRTIO_BLK_F_BARRIER = 1 << 0
    VIRTIO_BLK_F_SIZE_MAX = 1 << 1
    VIRTIO_BLK_F_SEG_MAX = 1 << 2
    VIRTIO_BLK_F_GEOMETRY = 1 << 4
    VIRTIO_BLK_F_RO = 1 << 5
    VIRTIO_BLK_F_BLK_SIZE = 1 << 6
    VIRTIO_BLK_F_SCSI = 1 << 7
    VIRTIO_BLK_F_FLUSH = 1 << 9
    VIRTIO_BLK_F_TOPOLOGY = 1 << 10
    VIRTIO_BLK_F_CONFIG_WCE = 1 << 11
    VIRTIO_BLK_F_MQ = 1 << 12
    VIRTIO_BLK_F_DISCARD = 1 << 13
    VIRTIO_BLK_F_WRITE_ZEROES = 1 << 14
    VIRTIO_BLK_F_LIFETIME = 1 << 15
    VIRTIO_BLK_F_SECURE_ERASE = 1 << 16
    VIRTIO_BLK_F_ZONED = 1 << 17


class ConsoleFeatures:
    """Console, device type 3."""

    VIRTIO_CONSOLE_F_SIZE = 1 << 0
    VIRTIO_CONSOLE_F_MULTIPORT = 1 << 1
    VIRTIO_CONSOLE_F_EMERG_WRITE = 1 << 2


class BalloonFeatures:
    """Traditional memory balloon, device type 5."""

    VIRTIO_BALLOON_F_MUST_TELL_HOST = 1 << 0
    VIRTIO_BALLOON_F_STATS_VQ = 1 << 1
    VIRTIO_BALLOON_F_DEFLATE_ON_OOM = 1 << 2
    VIRTIO_BALLOON_F_FREE_PAGE_HINT = 1 << 3
    VIRTIO_BALLOON_F_PAGE_POISON = 1 << 4
    VIRTIO_BALLOON_F_REPORTING = 1 << 5


class ScsiFeatures:
    """SCSI host, device type 8."""

    VIRTIO_SCSI_F_INOUT = 1 << 0
    VIRTIO_SCSI_F_HOTPLUG = 1 << 1
    VIRTIO_SCSI_F_CHANGE = 1 << 2
    VIRTIO_SCSI_F_T10_PI = 1 << 3


class NinepFeatures:
    """9P transport, device type 9."""

    VIRTIO_9P_MOUNT_TAG = 1 << 0


class GpuFeatures:
    """GPU, device type 16."""

    VIRTIO_GPU_F_VIRGL = 1 << 0
    VIRTIO_GPU_F_EDID = 1 << 1
    VIRTIO_GPU_F_RESOURCE_UUID = 1 << 2
    VIRTIO_GPU_F_RESOURCE_BLOB = 1 << 3
    VIRTIO_GPU_F_CONTEXT_INIT = 1 << 4
    VIRTIO_GPU_F_BLOB_ALIGNMENT = 1 << 5


class RtcFeatures:
    """Real-time clock, device type 17."""

    VIRTIO_RTC_F_ALARM = 1 << 0


class VsockFeatures:
    """Socket device, device type 19."""

    VIRTIO_VSOCK_F_STREAM = 1 << 0
    VIRTIO_VSOCK_F_SEQPACKET = 1 << 1
    VIRTIO_VSOCK_F_NO_IMPLIED_STREAM = 1 << 2


class CryptoFeatures:
    """Crypto device, device type 20."""

    VIRTIO_CRYPTO_F_REVISION_1 = 1 << 0
    VIRTIO_CRYPTO_F_CIPHER_STATELESS_MODE = 1 << 1
    VIRTIO_CRYPTO_F_HASH_STATELESS_MODE = 1 << 2
    VIRTIO_CRYPTO_F_MAC_STATELESS_MODE = 1 << 3
    VIRTIO_CRYPTO_F_AEAD_STATELESS_MODE = 1 << 4
    VIRTIO_CRYPTO_F_AKCIPHER_STATELESS_MODE = 1 << 5


class IommuFeatures:
    """IOMMU, device type 23."""

    VIRTIO_IOMMU_F_INPUT_RANGE = 1 << 0
    VIRTIO_IOMMU_F_DOMAIN_RANGE = 1 << 1
    VIRTIO_IOMMU_F_MAP_UNMAP = 1 << 2
    VIRTIO_IOMMU_F_BYPASS = 1 << 3
    VIRTIO_IOMMU_F_PROBE = 1 << 4
    VIRTIO_IOMMU_F_MMIO = 1 << 5
    VIRTIO_IOMMU_F_BYPASS_CONFIG = 1 << 6


class MemFeatures:
    """Memory device, device type 24."""

    VIRTIO_MEM_F_ACPI_PXM = 1 << 0
    VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE = 1 << 1
    VIRTIO_MEM_F_PERSISTENT_SUSPEND = 1 << 2


class SoundFeatures:
    """Sound device, device type 25."""

    VIRTIO_SND_F_CTLS = 1 << 0


class FsFeatures:
    """File system, device type 26."""

    VIRTIO_FS_F_NOTIFICATION = 1 << 0


class PmemFeatures:
    """Persistent memory, device type 27."""

    VIRTIO_PMEM_F_SHMEM_REGION = 1 << 0


class ScmiFeatures:
    """SCMI, device type 32."""

    VIRTIO_SCMI_F_P2A_CHANNELS = 1 << 0
    VIRTIO_SCMI_F_SHARED_MEMORY = 1 << 1


class I2cFeatures:
    """I2C adapter, device type 34."""

    VIRTIO_I2C_F_ZERO_LENGTH_REQUEST = 1 << 0


class CanFeatures:
    """CAN bus, device type 36."""

    VIRTIO_CAN_F_CAN_CLASSIC = 1 << 0
    VIRTIO_CAN_F_CAN_FD = 1 << 1
    VIRTIO_CAN_F_RTR_FRAMES = 1 << 2
    VIRTIO_CAN_F_LATE_TX_ACK = 1 << 3


class BluetoothFeatures:
    """Bluetooth host controller, device type 40."""

    VIRTIO_BT_F_VND_HCI = 1 << 0
    VIRTIO_BT_F_MSFT_EXT = 1 << 1
    VIRTIO_BT_F_AOSP_EXT = 1 << 2
    VIRTIO_BT_F_CONFIG_V2 = 1 << 3


class GpioFeatures:
    """GPIO controller, device type 41."""

    VIRTIO_GPIO_F_IRQ = 1 << 0


class ProtocolFeatures(enum.IntFlag):
    """Bits of GET_PROTOCOL_FEATURES and SET_PROTOCOL_FEATURES."""

    VHOST_USER_PROTOCOL_F_MQ = 1 << 0
    VHOST_USER_PROTOCOL_F_LOG_SHMFD = 1 << 1
    VHOST_USER_PROTOCOL_F_RARP = 1 << 2
    VHOST_USER_PROTOCOL_F_REPLY_ACK = 1 << 3
    VHOST_USER_PROTOCOL_F_MTU = 1 << 4
    VHOST_USER_PROTOCOL_F_BACKEND_REQ = 1 << 5
    VHOST_USER_PROTOCOL_F_CROSS_ENDIAN = 1 << 6
    VHOST_USER_PROTOCOL_F_CRYPTO_SESSION = 1 << 7
    VHOST_USER_PROTOCOL_F_PAGEFAULT = 1 << 8
    VHOST_USER_PROTOCOL_F_CONFIG = 1 << 9
    VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD = 1 << 10
    VHOST_USER_PROTOCOL_F_HOST_NOTIFIER = 1 << 11
    VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD = 1 << 12
    VHOST_USER_PROTOCOL_F_RESET_DEVICE = 1 << 13
    VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS = 1 << 14
    VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS = 1 << 15
    VHOST_USER_PROTOCOL_F_STATUS = 1 << 16
    VHOST_USER_PROTOCOL_F_XEN_MMAP = 1 << 17
    VHOST_USER_PROTOCOL_F_SHARED_OBJECT = 1 << 18
    VHOST_USER_PROTOCOL_F_DEVICE_STATE = 1 << 19
    VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT = 1 << 20
    VHOST_USER_PROTOCOL_F_GPA_ADDRESSES = 1 << 21
    VHOST_USER_PROTOCOL_F_SHMEM = 1 << 22
    VHOST_USER_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN = 1 << 23


class GpuProtocolFeatures(enum.IntFlag):
    """Bits of GPU_GET_PROTOCOL_FEATURES and GPU_SET_PROTOCOL_FEATURES."""

    VHOST_USER_GPU_PROTOCOL_F_EDID = 1 << 0
    VHOST_USER_GPU_PROTOCOL_F_DMABUF2 = 1 << 1


class DeviceStatus(enum.IntFlag):
    """Bits of the virtio device status; none set is reset."""

    ACKNOWLEDGE = 0x01
    DRIVER = 0x02
    DRIVER_OK = 0x04
    FEATURES_OK = 0x08
    SUSPEND = 0x10
    DEVICE_NEEDS_RESET = 0x40
    FAILED = 0x80


DEVICE_FEATURES: dict[str, type] = {
    "net": NetFeatures,
    "blk": BlkFeatures,
    "console": ConsoleFeatures,
    "balloon": BalloonFeatures,
    "scsi": ScsiFeatures,
    "9p": NinepFeatures,
    "gpu": GpuFeatures,
    "rtc": RtcFeatures,
    "vsock": VsockFeatures,
    "crypto": CryptoFeatures,
    "iommu": IommuFeatures,
    "mem": MemFeatures,
    "sound": SoundFeatures,
    "fs": FsFeatures,
    "pmem": PmemFeatures,
    "scmi": ScmiFeatures,
    "i2c": I2cFeatures,
    "can": CanFeatures,
    "bluetooth": BluetoothFeatures,
    "gpio": GpioFeatures,
}
"""Bits of the device types that have any."""


def _union(name: str, *parts: type) -> type[enum.IntFlag]:
    members: dict[str, int] = {}
    taken = 0
    for part in parts:
        own = {member: value for member, value in vars(part).items() if not member.startswith("_")}
        members.update((member, value) for member, value in own.items() if not taken & value)
        taken |= sum(set(own.values()))
    make: Any = enum.IntFlag
    made: type[enum.IntFlag] = make(name, members)
    return made


@functools.cache
def features(device: str | None) -> type[enum.IntFlag]:
    """All bits of a feature word, for a device type (``net``) or, with None, only those that every device has.

    Where a common bit of today was a device's bit once (41 of net), the common name is taken.
    """
    own = DEVICE_FEATURES.get(device or "")
    shared = (CommonFeatures, VhostFeatures)
    return _union(device or "features", *shared, own) if own else _union(device or "features", *shared)
