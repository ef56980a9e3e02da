"""What features and phases are for, in a sentence each: all that no message table says.

Keys are names without their prefix (``MQ``, ``VIRTIO_NET_F_MRG_RXBUF`` in full, because types share short names).
Facts: the vhost-user document of QEMU, sections "Protocol features" and below; the virtio specification, "Feature Bits"
of each device type and "Reserved Feature Bits".
"""

from __future__ import annotations

from vusniff.families.phase import PhaseKind

PROTOCOL_FEATURES: dict[str, str] = {
    "MQ": "Several queues: the back-end says by GET_QUEUE_NUM how many there may be. QEMU's net devices and DPDK "
    "count queue pairs, libvhost-user counts rings.",
    "LOG_SHMFD": "The dirty log of a live migration is shared memory passed with SET_LOG_BASE, which is then "
    "answered; without it a device cannot be migrated live.",
    "RARP": "The back-end sends a RARP frame for the guest after a migration, so that switches learn where it is "
    "now; for guests that cannot announce themselves.",
    "REPLY_ACK": "A sender may set need_reply in any request, and gets a u64 that is 0 for success. Without it most "
    "requests cannot fail visibly.",
    "MTU": "The front-end may tell the guest's MTU by NET_SET_MTU.",
    "BACKEND_REQ": "The back-end has requests of its own, on a socket that SET_BACKEND_REQ_FD passes.",
    "CROSS_ENDIAN": "The front-end tells the byte order of legacy guests per ring by SET_VRING_ENDIAN.",
    "CRYPTO_SESSION": "Sessions of a crypto device are made and closed by messages on the main channel.",
    "PAGEFAULT": "Postcopy migration: the back-end shares a userfaultfd, and its memory is filled while it runs.",
    "CONFIG": "The device configuration space is read and written by messages, and the back-end tells when it "
    "changed. Block and other devices of QEMU demand it; its network devices refuse it.",
    "BACKEND_SEND_FD": "The back-end may attach descriptors to its own requests.",
    "HOST_NOTIFIER": "The back-end may pass a page to which the guest writes its notifications directly (hardware "
    "doorbells).",
    "INFLIGHT_SHMFD": "Requests in flight are tracked in shared memory that outlives the back-end, so that a block "
    "device loses nothing when its back-end crashes and another takes over.",
    "RESET_DEVICE": "The device is reset by RESET_DEVICE, and stays owned and connected.",
    "INBAND_NOTIFICATIONS": "Kicks and calls may be messages instead of eventfds. It needs BACKEND_REQ and "
    "REPLY_ACK; QEMU accepts the bit and does not handle the messages.",
    "CONFIGURE_MEM_SLOTS": "Memory regions are added and removed one by one, up to GET_MAX_MEM_SLOTS, instead of by "
    "a new table each time: memory hotplug beyond 8 regions.",
    "STATUS": "The virtio device status is passed on, so that the back-end sees FEATURES_OK, DRIVER_OK and reset.",
    "XEN_MMAP": "Memory regions have 8 more bytes that say how Xen's guest memory is mapped.",
    "SHARED_OBJECT": "Devices share objects such as dma-bufs by UUID; the front-end keeps the list.",
    "DEVICE_STATE": "The inner state of the back-end is moved through a descriptor when a guest migrates; virtiofsd "
    "uses it.",
    "GET_VRING_BASE_INFLIGHT": "GET_VRING_BASE need not wait for requests in flight, which stay in the inflight "
    "buffer. It needs INFLIGHT_SHMFD.",
    "GPA_ADDRESSES": "Addresses in messages are guest physical addresses, and user addresses are not used. A "
    "back-end built on rust-vmm's vhost 0.16 means SHMEM by this bit.",
    "GET_VRING_BASE_SKIP_DRAIN": "Rings can be stopped one by one without waiting for requests in flight "
    "(GET_VRING_BASE_SKIP_DRAIN), which stay in the inflight buffer. It needs INFLIGHT_SHMFD and "
    "GET_VRING_BASE_INFLIGHT.",
    "SHMEM": "The back-end maps files into VIRTIO shared memory regions of the device, such as the DAX window "
    "of a file system. Older builds used bits 20 and 21 for it.",
}

GPU_PROTOCOL_FEATURES: dict[str, str] = {
    "EDID": "The front-end answers GPU_GET_EDID with the EDID of a display.",
    "DMABUF2": "GPU_DMABUF_SCANOUT2 may be sent, which also tells the modifiers of the buffer's format.",
}

FEATURES: dict[str, str] = {
    "VHOST_F_LOG_ALL": "The back-end logs every page that it writes. Set by SET_FEATURES when a migration begins, "
    "cleared when it ends; the guest never sees it.",
    "VHOST_USER_F_PROTOCOL_FEATURES": "Protocol features may be negotiated. Once it is acknowledged by "
    "SET_FEATURES, rings start disabled and need SET_VRING_ENABLE; without it all are enabled at once. The guest "
    "never sees it.",
    "VIRTIO_F_NOTIFY_ON_EMPTY": "Legacy: the device notifies when it has used up a ring, even if told not to.",
    "VIRTIO_F_ANY_LAYOUT": "Legacy: buffers may be split into descriptors in any way.",
    "VIRTIO_RING_F_INDIRECT_DESC": "A descriptor may point to a table of descriptors.",
    "VIRTIO_RING_F_EVENT_IDX": "Both sides tell by index when they want to be notified: fewer kicks and calls.",
    "VIRTIO_F_VERSION_1": "The driver follows virtio 1.0 or later: little-endian, modern headers. libvhost-user of "
    "QEMU insists on it.",
    "VIRTIO_F_ACCESS_PLATFORM": "Ring addresses are I/O addresses of a virtual IOMMU: the back-end asks for "
    "translations (IOTLB misses) and the front-end sends updates.",
    "VIRTIO_F_RING_PACKED": "Packed ring format: one ring instead of three, and bases that hold two indices with "
    "wrap counters.",
    "VIRTIO_F_IN_ORDER": "Buffers are used in the order in which they were made available.",
    "VIRTIO_F_ORDER_PLATFORM": "Memory accesses are ordered as the platform demands: needed with real hardware.",
    "VIRTIO_F_SR_IOV": "The device has virtual functions.",
    "VIRTIO_F_NOTIFICATION_DATA": "Notifications carry the ring's position.",
    "VIRTIO_F_NOTIF_CONFIG_DATA": "Notifications carry a value that the device gives for each ring.",
    "VIRTIO_F_RING_RESET": "The driver may reset one ring and leave the rest as they are.",
    "VIRTIO_F_ADMIN_VQ": "The device has an administration ring.",
    "VIRTIO_F_SUSPEND": "The driver may suspend the device by its status.",
    "VIRTIO_NET_F_CSUM": "The device completes checksums of frames that the guest sends.",
    "VIRTIO_NET_F_GUEST_CSUM": "The guest takes frames whose checksum is not complete.",
    "VIRTIO_NET_F_CTRL_GUEST_OFFLOADS": "The guest may switch its offloads while the device runs.",
    "VIRTIO_NET_F_MTU": "The device tells the largest MTU; with the protocol feature MTU the front-end tells it by "
    "NET_SET_MTU.",
    "VIRTIO_NET_F_MAC": "The device has a MAC address in its configuration space.",
    "VIRTIO_NET_F_GSO": "Legacy: the device takes all kinds of segmentation offload.",
    "VIRTIO_NET_F_GUEST_TSO4": "The guest takes large TCP segments over IPv4.",
    "VIRTIO_NET_F_GUEST_TSO6": "The guest takes large TCP segments over IPv6.",
    "VIRTIO_NET_F_GUEST_ECN": "The guest takes large TCP segments with ECN set.",
    "VIRTIO_NET_F_GUEST_UFO": "The guest takes large UDP datagrams.",
    "VIRTIO_NET_F_HOST_TSO4": "The device segments TCP over IPv4 for the guest.",
    "VIRTIO_NET_F_HOST_TSO6": "The device segments TCP over IPv6 for the guest.",
    "VIRTIO_NET_F_HOST_ECN": "The device segments TCP with ECN set for the guest.",
    "VIRTIO_NET_F_HOST_UFO": "The device fragments UDP for the guest.",
    "VIRTIO_NET_F_MRG_RXBUF": "A received frame may fill several of the guest's buffers. It changes the length of "
    "the header before each frame: both sides must agree, also after a reconnect.",
    "VIRTIO_NET_F_STATUS": "The configuration space tells whether the link is up.",
    "VIRTIO_NET_F_CTRL_VQ": "There is a control ring behind the pairs; QEMU handles it itself.",
    "VIRTIO_NET_F_CTRL_RX": "Promiscuous and all-multicast mode by the control ring.",
    "VIRTIO_NET_F_CTRL_VLAN": "VLAN filters by the control ring.",
    "VIRTIO_NET_F_CTRL_RX_EXTRA": "More receive modes by the control ring.",
    "VIRTIO_NET_F_GUEST_ANNOUNCE": "The guest announces itself after a migration; without it the back-end is asked "
    "by SEND_RARP.",
    "VIRTIO_NET_F_MQ": "The guest may use several queue pairs; which of them is told by SET_VRING_ENABLE.",
    "VIRTIO_NET_F_CTRL_MAC_ADDR": "The guest may set its MAC address by the control ring.",
    "VIRTIO_NET_F_GUEST_RSC6": "Legacy: the guest takes coalesced TCP segments over IPv6.",
    "VIRTIO_NET_F_DEVICE_STATS": "The driver may read statistics of the device.",
    "VIRTIO_NET_F_HASH_TUNNEL": "Hashes may be made of the inner headers of tunnels.",
    "VIRTIO_NET_F_VQ_NOTF_COAL": "Notifications may be delayed, set for each ring.",
    "VIRTIO_NET_F_NOTF_COAL": "Notifications may be delayed, set for all rings.",
    "VIRTIO_NET_F_GUEST_USO4": "The guest takes UDP over IPv4 that is still to be segmented.",
    "VIRTIO_NET_F_GUEST_USO6": "The guest takes UDP over IPv6 that is still to be segmented.",
    "VIRTIO_NET_F_HOST_USO": "The device segments UDP for the guest.",
    "VIRTIO_NET_F_HASH_REPORT": "Each received frame comes with its hash: the header before it is longer.",
    "VIRTIO_NET_F_GUEST_HDRLEN": "The header tells the exact length of the headers of a frame to segment.",
    "VIRTIO_NET_F_RSS": "The device spreads received frames over the rings by their hash.",
    "VIRTIO_NET_F_RSC_EXT": "The device tells how many segments it coalesced.",
    "VIRTIO_NET_F_STANDBY": "The device stands by for another one with the same MAC address.",
    "VIRTIO_NET_F_SPEED_DUPLEX": "The configuration space tells speed and duplex mode.",
    "VIRTIO_BLK_F_BARRIER": "Legacy: the device takes barriers.",
    "VIRTIO_BLK_F_SIZE_MAX": "The configuration space tells the largest segment.",
    "VIRTIO_BLK_F_SEG_MAX": "The configuration space tells the most segments of a request.",
    "VIRTIO_BLK_F_GEOMETRY": "The configuration space tells cylinders, heads and sectors.",
    "VIRTIO_BLK_F_RO": "The disk is read-only.",
    "VIRTIO_BLK_F_BLK_SIZE": "The configuration space tells the block size.",
    "VIRTIO_BLK_F_SCSI": "Legacy: the device takes SCSI commands.",
    "VIRTIO_BLK_F_FLUSH": "The device has a write cache, which the guest may flush.",
    "VIRTIO_BLK_F_TOPOLOGY": "The configuration space tells alignment and optimal sizes.",
    "VIRTIO_BLK_F_CONFIG_WCE": "The guest may switch the write cache by the configuration space (SET_CONFIG).",
    "VIRTIO_BLK_F_MQ": "There are several request rings; the configuration space tells how many.",
    "VIRTIO_BLK_F_DISCARD": "The device takes discard commands.",
    "VIRTIO_BLK_F_WRITE_ZEROES": "The device takes commands that write zeroes.",
    "VIRTIO_BLK_F_LIFETIME": "The device tells how worn its storage is.",
    "VIRTIO_BLK_F_SECURE_ERASE": "The device takes secure erase commands.",
    "VIRTIO_BLK_F_ZONED": "The disk has zones.",
    "VIRTIO_SCSI_F_INOUT": "A request may have data in both directions.",
    "VIRTIO_SCSI_F_HOTPLUG": "The device tells when targets come and go.",
    "VIRTIO_SCSI_F_CHANGE": "The device tells when a target's parameters change.",
    "VIRTIO_SCSI_F_T10_PI": "Requests carry protection information.",
    "VIRTIO_CONSOLE_F_SIZE": "The configuration space tells columns and rows.",
    "VIRTIO_CONSOLE_F_MULTIPORT": "The device has several ports and a control ring.",
    "VIRTIO_CONSOLE_F_EMERG_WRITE": "The guest may write single characters without rings.",
    "VIRTIO_GPU_F_VIRGL": "3D commands of virgl.",
    "VIRTIO_GPU_F_EDID": "The guest may read the EDID of displays.",
    "VIRTIO_GPU_F_RESOURCE_UUID": "Resources may be given UUIDs, to share them with other devices.",
    "VIRTIO_GPU_F_RESOURCE_BLOB": "Resources may be blobs of memory.",
    "VIRTIO_GPU_F_CONTEXT_INIT": "Contexts of several kinds, with their own timelines.",
    "VIRTIO_GPU_F_BLOB_ALIGNMENT": "Blobs are aligned as the configuration space says.",
    "VIRTIO_VSOCK_F_STREAM": "Stream sockets.",
    "VIRTIO_VSOCK_F_SEQPACKET": "Sockets that keep the borders of messages.",
    "VIRTIO_VSOCK_F_NO_IMPLIED_STREAM": "Stream sockets are there only if their own bit is negotiated too.",
    "VIRTIO_FS_F_NOTIFICATION": "There is a ring by which the device notifies the guest of file system events.",
    "VIRTIO_SND_F_CTLS": "The device has controls.",
    "VIRTIO_GPIO_F_IRQ": "Lines may raise interrupts, on a ring of their own.",
    "VIRTIO_I2C_F_ZERO_LENGTH_REQUEST": "Requests of no bytes; drivers must acknowledge it.",
    "VIRTIO_CRYPTO_F_REVISION_1": "The device follows revision 1 of the crypto device.",
}

PHASES: dict[PhaseKind, tuple[str, str]] = {
    PhaseKind.CONNECT: (
        "The socket is connected and nothing was said yet.",
        "A long one means that the front-end has not noticed the connection, or is still busy starting.",
    ),
    PhaseKind.RECONNECT: (
        "The time between the end of the session before it on the same path and the first message of this one: how "
        "long the device was gone.",
        "Everything is negotiated and set up again; only guest memory and the inflight buffer outlive a connection. "
        "Compare the two sessions with vusniff diff FILE.",
    ),
    PhaseKind.NEGOTIATION: (
        "Features and protocol features are asked for and acknowledged, and what is needed to go on: queues, memory "
        "slots, the back-end channel. QEMU does it in vhost_user_backend_init, when the connection comes up.",
        "A back-end that hangs up here dislikes a feature: look at the last message before the end.",
    ),
    PhaseKind.INITIALISATION: (
        "The device is owned and each queue gets a first call descriptor, before any driver is there; devices with "
        "a configuration space read it. QEMU: vhost_dev_init > vhost_virtqueue_init, once for each queue pair.",
        "The call descriptors of this phase are replaced when the device starts.",
    ),
    PhaseKind.IDLE: (
        "Nothing runs: the guest's driver has not started the device yet, or has stopped it. SET_VRING_ENABLE of "
        "QEMU's network devices, sent whenever a driver writes its features, belongs here.",
        "If this is the last phase, the guest is what everybody waits for.",
    ),
    PhaseKind.START: (
        "The driver is ready: final features, the memory table, then for each ring its size, base, addresses, kick "
        "and call descriptors, and SET_VRING_ENABLE. QEMU: vhost_dev_start > vhost_virtqueue_start, pair after "
        "pair.",
        "A slow answer to SET_MEM_TABLE (the back-end maps and registers memory) is the usual reason for a long one.",
    ),
    PhaseKind.RUNNING: (
        "Rings are worked on; hardly anything is said on the socket: interrupts are masked (SET_VRING_CALL), memory "
        "or queue pairs change, an IOMMU is served.",
        "Whether packets or requests flow is not on the socket: look at the rings in vusniff state.",
    ),
    PhaseKind.STOP: (
        "Rings are stopped by GET_VRING_BASE, which also tells where the back-end was; disabling rings and taking "
        "the status back just before it belong here. QEMU: vhost_dev_stop > vhost_virtqueue_stop.",
        "GET_VRING_BASE is answered when all requests in flight are done: a long stop is a back-end that drains "
        "slowly.",
    ),
    PhaseKind.RESET: (
        "The device is reset by RESET_DEVICE (or the deprecated RESET_OWNER), without a new connection.",
        "A reset of the guest without the protocol feature RESET_DEVICE looks like stop and start.",
    ),
    PhaseKind.MIGRATION: (
        "Writes are logged for a live migration (SET_LOG_BASE, SET_FEATURES with VHOST_F_LOG_ALL, SET_VRING_ADDR "
        "with its log flag) until logging ends or the device stops; or the inner state of the back-end is moved.",
        "On the source it ends with a stop; on the destination the device simply starts.",
    ),
    PhaseKind.POSTCOPY: (
        "The destination of a postcopy migration: the back-end gives its userfaultfd and the addresses of its "
        "mappings, and runs while memory still arrives.",
        "It lasts from POSTCOPY_ADVISE to POSTCOPY_END, with the start of the device in between.",
    ),
}
"""Phase -> what it is, and what is worth knowing when something goes wrong."""
