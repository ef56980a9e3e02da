"""Error texts of DPDK's vhost library (VHOST_CONFIG, VHOST_DATA), which Open vSwitch, SPDK, testpmd and others use.

lib/vhost/vhost_user.c, socket.c, iotlb.c, vhost.c, virtio_net.c of 20.11, 21.11, 22.11, 23.11, 24.11 and 25.11. Since 22.03
each text begins with the path of the socket in brackets; older ones have other capitals, which make no difference here.
"""

# ruff: noqa: E501 - rows are read as a table

from __future__ import annotations

from vusniff.views.texts.row import BOTH, NOTHING, RINGS, KnownError

_USER = "DPDK, lib/vhost/vhost_user.c, "
_SOCKET = "DPDK, lib/vhost/socket.c, "
_SHARED = "Guest memory is not shared: give the VM a memory backend with share=on."
_PAGES = "No free huge pages of that size, or they are of another NUMA node than the process may use."
_AFTER = "The line before it says why."

ROWS: tuple[KnownError, ...] = (
    KnownError(
        ("vhost peer closed",),
        _USER + "vhost_user_msg_handler",
        "The front-end closed the connection. Alone this is not an error: it is also how a VM is stopped.",
        (
            "The VM was stopped, or QEMU left because it did not like an answer: QEMU's own output says so.",
            "In a loop (new connection, a few messages, closed): QEMU wants more queues than the port has, or a feature is missing.",
        ),
        BOTH,
    ),
    KnownError(
        ("vhost read message for {request:name} failed", "vhost read message failed"),
        _USER + "vhost_user_msg_handler",
        "DPDK could not read a whole message, and closes the connection. " + _AFTER,
        (
            "The message is longer than DPDK's structure: a front-end with newer messages, or a stream that was cut wrongly.",
            "The front-end died while it sent.",
        ),
    ),
    KnownError(
        ("recvmsg failed on fd {fd:n} ({reason:s})", "recvmsg failed", "truncated msg", "truncated control data"),
        _SOCKET + "read_fd_message",
        "DPDK could not read a message, or it has more descriptors than DPDK takes (8).",
        ("More than 8 memory regions in SET_MEM_TABLE.", "The front-end reset the connection."),
    ),
    KnownError(
        ("sendmsg error on fd {fd:n} ({reason:s})", "sendmsg error"),
        _SOCKET + "send_fd_message",
        "DPDK could not send an answer: the front-end has closed.",
        ("The front-end left before the answer: QEMU ended, or gave up waiting.",),
        BOTH,
    ),
    KnownError(
        ("Unexpected header size read", "read control message failed"),
        _USER + "read_vhost_message",
        "A message ended inside its header or payload: DPDK reads each with one call and takes no part of one.",
        ("A relay or proxy splits messages.", "The front-end died while it sent."),
    ),
    KnownError(
        ("invalid msg size: {size:n}",),
        _USER + "read_vhost_message",
        "A header says {size} bytes of payload, more than DPDK's structure holds. DPDK closes the connection.",
        (
            "The stream was cut in the wrong place before.",
            "The front-end sends a message that this DPDK does not know.",
        ),
    ),
    KnownError(
        ("expect {wanted:n} FDs for request {request:name}, received {got:n}",),
        _USER + "validate_msg_fds",
        "{request} came with {got} descriptors; DPDK takes {wanted}. It refuses the message.",
        (
            "A relay between both loses or moves descriptors.",
            "More than one region in a message that carries one.",
            "QEMU sends a descriptor where this DPDK expects none: their versions are years apart.",
        ),
    ),
    KnownError(
        ("received invalid negotiated features.",),
        _USER + "vhost_user_set_features",
        "SET_FEATURES has a bit that this port does not offer. DPDK refuses it and closes the connection.",
        (
            "After a reconnect the port offers less than before, and the guest keeps what it negotiated: Open vSwitch with other options (TSO, IOMMU), another version.",
            "After a migration the destination offers less than the source.",
        ),
        "GET_FEATURES and SET_FEATURES of this and the session before: vusniff diff.",
    ),
    KnownError(
        ("features changed while device is running.",),
        _USER + "vhost_user_set_features",
        "SET_FEATURES changes features while rings run, and DPDK allows VHOST_F_LOG_ALL only. It refuses the message.",
        ("The guest's driver was reset without the rings being stopped.",),
    ),
    KnownError(
        ("received invalid protocol features.",),
        _USER + "vhost_user_set_protocol_features",
        "SET_PROTOCOL_FEATURES has a bit that this port does not offer.",
        ("The front-end acknowledges more than GET_PROTOCOL_FEATURES offered, or remembers an earlier back-end.",),
    ),
    KnownError(
        ("invalid virtqueue size {size:n}",),
        _USER + "vhost_user_set_vring_num",
        "The queue size is {size}. DPDK takes powers of two up to 32768 for split rings, and up to 32768 for packed ones.",
        ("The device has a queue size (rx_queue_size, tx_queue_size) that is not a power of two.",),
    ),
    KnownError(
        ("invalid vring index: {index:n}", "failed to alloc queue"),
        _USER + "vhost_user_check_and_alloc_queue_pair",
        "A message names a ring that DPDK does not have: it has at most 256 (128 pairs). DPDK closes the connection.",
        ("The payload is not what DPDK expects: another layout, another byte order.",),
    ),
    KnownError(
        ("too many memory regions ({count:n})",),
        _USER + "vhost_user_set_mem_table",
        "SET_MEM_TABLE has {count} regions; DPDK takes 8 (VHOST_MEMORY_MAX_NREGIONS) and refuses it.",
        ("Many DIMMs or NUMA nodes. DPDK to 25.11 has no CONFIGURE_MEM_SLOTS: use fewer and larger ones.",),
    ),
    KnownError(
        ("mmap region {region:n} failed.", "failed to mmap region {region:n}", "mmap failed ({reason:s})."),
        _USER + "vhost_user_mmap_region (vhost_user_set_mem_table before 21.05)",
        "DPDK could not map a memory region of the guest. It refuses SET_MEM_TABLE.",
        (
            _PAGES,
            "Cannot allocate memory: a cgroup limit or RLIMIT_MEMLOCK of the process (mlockall, Open vSwitch with dpdk).",
            "Permission denied: the descriptor cannot be mapped for writing.",
            _SHARED,
        ),
        "The memory table: vusniff read -v FILE, SET_MEM_TABLE.",
    ),
    KnownError(
        (
            "mmap size ({size:x}) or alignment ({alignment:x}) is invalid",
            "mmap_offset ({offset:x}) and memory_size ({size:x}) overflow",
            "couldn't get hugepage size through fstat",
        ),
        _USER + "vhost_user_mmap_region",
        "A memory region cannot be mapped: its size rounded to the page size of its file is 0 or too large.",
        ("The region's values are wrong, or the descriptor is not the memory's file.",),
    ),
    KnownError(
        (
            "adding guest pages to region failed.",
            "adding guest pages to region {region:n} failed.",
            "cannot realloc guest_pages",
            "DMA engine map failed",
            "Configure IOMMU for DMA engine failed",
        ),
        _USER + "add_guest_pages, async_dma_map",
        "Guest memory was mapped, and could not be prepared for zero copy or a DMA engine.",
        (
            "The IOMMU of the host refuses it: VFIO container limits (dma_entry_limit), no IOMMU groups.",
            "Out of memory.",
        ),
    ),
    KnownError(
        ("could not set coredump preference ({reason:s}).",),
        _USER + "mem_set_dump",
        "A harmless note: guest memory may become part of a core dump of this process.",
    ),
    KnownError(
        ("memory regions not changed",),
        _USER + "vhost_user_set_mem_table",
        "The same table again: DPDK keeps its mappings. No error.",
    ),
    KnownError(
        ("processing {request:name} failed.", "vhost message handling failed."),
        _USER + "vhost_user_msg_handler",
        "DPDK refused a message. With need_reply it answers 1; without it closes the connection. " + _AFTER,
        ("See the line before; for SET_MEM_TABLE it is nearly always a mapping that failed.",),
        BOTH,
        waits=True,
    ),
    KnownError(
        ("vhost message (req: {request:request}) was not handled.", "external request {request:request}"),
        _USER + "vhost_user_msg_handler",
        "DPDK does not know {request}, and no application handles it. DPDK refuses the message.",
        (
            "The device is not a network device: a block or file system front-end talks to a network port.",
            "The front-end sends what was not negotiated.",
        ),
    ),
    KnownError(
        (
            "failed to map desc ring.",
            "failed to map avail ring.",
            "failed to map used ring.",
            "failed to map desc_packed ring.",
            "failed to find driver area address.",
            "failed to find device area address.",
            "failed to map log_guest_addr.",
        ),
        _USER + "translate_ring_addresses",
        "An address of a ring (SET_VRING_ADDR) is not in the memory that DPDK has mapped. The ring is not used.",
        (
            "The memory table is incomplete or older than the addresses: SET_MEM_TABLE comes first.",
            "With an IOMMU: no translation has come yet; DPDK asks for it (IOTLB miss) and goes on, so this may be harmless.",
            "The guest put its ring into memory that is not shared.",
        ),
        "SET_MEM_TABLE and SET_VRING_ADDR: vusniff check FILE compares them.",
    ),
    KnownError(
        ("last_used_idx ({last:n}) and vq->used->idx ({used:n}) mismatches",),
        _USER + "translate_ring_addresses",
        "The base that the front-end gave ({last}) is not where the ring in memory is ({used}). DPDK believes the memory; packets may be sent twice or lost.",
        (
            "The back-end was killed and came back: QEMU takes the base from guest memory then.",
            "SET_VRING_BASE does not fit the ring.",
        ),
    ),
    KnownError(
        ("not implemented",),
        _USER + "vhost_user_set_vring_err, vhost_user_set_log_fd",
        "A harmless note: DPDK does not use the descriptor of SET_VRING_ERR (or SET_LOG_FD).",
    ),
    KnownError(
        (
            "failed to inflights for vq: {queue:n}",
            "failed to alloc dev inflight area",
            "failed to alloc vhost inflight area",
            "failed to mmap share memory.",
            "failed to alloc inflight buffer",
            "failed to mmap inflight buffer",
            "failed to get inflight buffer fd",
            "invalid get_inflight_fd message size is {size:n}",
            "invalid set_inflight_fd message size is {size:n},fd is {fd:n}",
        ),
        _USER + "vhost_user_get_inflight_fd, vhost_user_set_inflight_fd, vhost_check_queue_inflights",
        "The buffer of requests in flight could not be made, mapped or read.",
        (
            "SET_INFLIGHT_FD comes from another back-end, or has another number of queues or queue size.",
            "Out of memory or of files.",
        ),
    ),
    KnownError(
        (
            "failed to enable vring. Inflight packets must be completed first",
            "failed to enable vring. async inflight packets must be completed first",
        ),
        _USER + "vhost_user_set_vring_enable",
        "A ring was to be disabled while asynchronous copies go on; DPDK refuses SET_VRING_ENABLE.",
        ("The application does not poll the completions (async, DMA).",),
    ),
    KnownError(
        (
            "invalid log fd: {fd:n}",
            "invalid log base msg size: {size:n} != {wanted:n}",
            "log offset {offset:x} and log size {size:x} overflow",
            "mmap log base failed!",
            "failed to allocate VQ logging cache",
        ),
        _USER + "vhost_user_set_log_base",
        "SET_LOG_BASE has no usable dirty log. The migration fails.",
        ("The message has no descriptor or another size.", "The log cannot be mapped."),
    ),
    KnownError(
        (
            "failed to write log for IOVA {address:x}. No IOTLB entry found",
            "failed to find GPA for log_addr: {address:x} hva: {host:x}",
        ),
        "DPDK, lib/vhost/vhost.c, __vhost_log_write_iova, translate_log_addr",
        "A written page cannot be logged for the migration, because its address is unknown: the guest on the destination may have stale memory.",
        ("With an IOMMU the translation is gone already.",),
    ),
    KnownError(
        ("invalid MTU size ({mtu:n})",),
        _USER + "vhost_user_net_set_mtu",
        "NET_SET_MTU says {mtu}; DPDK takes 68 to 65535.",
        ("host_mtu= of the device.",),
    ),
    KnownError(
        ("invalid file descriptor for slave channel ({fd:n})", "invalid file descriptor for backend channel ({fd:n})"),
        _USER + "vhost_user_set_req_fd",
        "SET_BACKEND_REQ_FD came without a descriptor.",
        ("A relay loses descriptors.",),
    ),
    KnownError(
        (
            "vhost read slave message reply failed",
            "vhost read backend message reply failed",
            "Received unexpected msg type ({got:back}), expected {wanted:back}",
        ),
        _USER + "process_slave_message_reply, send_vhost_backend_message_process_reply",
        "DPDK asked something on its own channel, and the answer did not come or was of another request.",
        ("QEMU does not handle the request and closed the channel.",),
    ),
    KnownError(
        (
            "failed to send IOTLB miss message ({result:n})",
            "failed to send config change ({result:n})",
            "failed to set host notifier ({result:n})",
        ),
        _USER + "vhost_user_iotlb_miss and others",
        "DPDK could not send a request on its own channel.",
        ("The front-end has closed it, or never gave one (BACKEND_REQ).",),
    ),
    KnownError(
        ("invalid IOTLB message type ({kind:n})",),
        _USER + "vhost_user_iotlb_msg",
        "IOTLB_MSG has a type that DPDK does not know: it takes updates (2) and invalidations (3).",
    ),
    KnownError(
        (
            "IOTLB miss req failed for IOVA {address:x}",
            "IOTLB pool empty, clear entries",
            "IOTLB pool still empty",
            "Failed to create IOTLB cache pool",
        ),
        "DPDK, lib/vhost/iotlb.c, vhost.c",
        "Translations of a virtual IOMMU run short: DPDK's cache is full and forgets some, or asking for one failed.",
        ("A guest with iommu_platform=on and small pages: huge pages in the guest help, or no IOMMU for this device.",),
    ),
    KnownError(
        (
            "userfaultfd not available: {reason:s}",
            "UFFDIO_API ioctl failure: {reason:s}",
            "failed to register ufd for region",
            "regions already registered at postcopy-listen",
            "failed to read qemu ack on postcopy set-mem-table",
            "bad qemu ack on postcopy set-mem-table ({ack:n})",
            "Postcopy requested but not compiled",
        ),
        _USER + "vhost_user_set_postcopy_advise, vhost_user_postcopy_register",
        "Postcopy migration failed in the back-end.",
        (
            "userfaultfd is not allowed: vm.unprivileged_userfaultfd=0 and not root, or seccomp.",
            "Memory is of huge pages that cannot be faulted.",
            "Locked memory (mlockall): Open vSwitch needs --mlockall=no.",
        ),
    ),
    KnownError(
        ("FEATURES_OK bit is set but feature negotiation failed",),
        _USER + "vhost_user_set_status",
        "The guest set FEATURES_OK and DPDK's device has no valid features.",
        ("SET_FEATURES was refused before.",),
    ),
    KnownError(
        ("invalid VHOST_USER_SET_STATUS payload 0x{status:x}",),
        _USER + "vhost_user_set_status",
        "SET_STATUS says 0x{status}; the device status has 8 bits.",
    ),
    KnownError(
        ("failed to get callback ops for driver", "failed to configure vDPA device", "is not vDPA device!"),
        _USER + "vhost_user_msg_handler, vhost_user_get_config",
        "The application has unregistered the socket, or the message is for vDPA devices only.",
        ("GET_CONFIG to a network port of DPDK: QEMU's netdev does not send it; another front-end does.",),
    ),
    KnownError(
        (
            "failed to bind: {reason:s}; remove it and try again",
            "failed to bind to {path:w}: {reason:s}; remove it and try again",
        ),
        _SOCKET + "vhost_user_start_server",
        "DPDK cannot listen: the socket's file is there already, or its directory cannot be written.",
        (
            "A file left over from a process that ended: remove the file if nobody listens (vusniff sockets).",
            "Two processes with the same path.",
        ),
        NOTHING,
    ),
    KnownError(
        (
            "failed to connect: {reason:s}",
            "failed to connect to {path:w}: {reason:s}",
            "reconnecting...",
            "reconnection for fd {fd:n} failed",
        ),
        _SOCKET + "vhost_user_start_client, vhost_user_client_reconnect",
        "DPDK as client cannot reach the socket yet, and tries again each second.",
        (
            "QEMU does not run yet, or listens at another path (server=on).",
            "Permission denied: the user of DPDK or Open vSwitch, its directory, SELinux.",
        ),
        NOTHING,
    ),
    KnownError(
        (
            "vhost-user: can't set nonblocking mode for socket",
            "can't get flags for connfd",
            "can't disable nonblocking on fd",
            "failed to add vhost user connection with fd {fd:n}",
            "failed to add fd {fd:n} into vhost server fdset",
            "failed to add listen fd {fd:n} to vhost server fdset",
            "the number of vhost sockets reaches maximum",
            "failed to find a free slot for new device.",
        ),
        _SOCKET + "vhost_user_start_server; lib/vhost/vhost.c, vhost_new_device",
        "DPDK has no room for one more connection or device (1024 sockets, 1024 devices), or the connection could not be set up.",
        ("Ports are added and never removed.", "Too many open files."),
        NOTHING,
    ),
    KnownError(
        (
            "socket file is not registered yet.",
            "socket file {path:w} is not registered yet.",
            "failed to copy socket path string",
        ),
        _SOCKET + "rte_vhost_driver_*",
        "The application uses a socket that it has not registered.",
        ("The application calls DPDK in the wrong order, or the port could not be made before.",),
        NOTHING,
    ),
    KnownError(
        (
            "logging feature is disabled in async copy mode",
            "async copy with IOMMU or post-copy not supported",
            "Linear buffers requested without external buffers",
        ),
        _SOCKET + "rte_vhost_driver_register",
        "A note: options of the port exclude each other, and DPDK leaves a feature out. Without logging there is no live migration.",
    ),
    KnownError(
        ("Library only supports up to {limit:n} queue pairs",),
        _SOCKET + "rte_vhost_driver_set_max_queue_num",
        "More than {limit} queue pairs were asked for.",
        (),
        NOTHING,
    ),
    KnownError(
        ("failed to get enough desc from vring",),
        "DPDK, lib/vhost/virtio_net.c, virtio_dev_rx_split, virtio_dev_rx_packed",
        "The guest has not enough free buffers to receive: packets are dropped. The connection is not at fault.",
        ("The guest is slower than the sender; a short ring (rx_queue_size).",),
        RINGS,
    ),
    KnownError(
        (
            "failed mbuf alloc of size {size:n} from {pool:w}",
            "failed to copy desc to mbuf",
            "failed to allocate memory for mbuf",
            "Failed to init shinfo",
        ),
        "DPDK, lib/vhost/virtio_net.c, virtio_dev_tx_split",
        "A packet of the guest was lost: the memory pool is empty, or a descriptor of the guest points to memory that is not mapped.",
        (
            "Buffers leak or the pool is too small (Open vSwitch: n_rxq, mtu_request, dpdk-socket-mem).",
            "The memory table does not cover the guest's buffers.",
        ),
        RINGS,
    ),
    KnownError(
        ("invalid virtqueue idx {index:n}.", "built-in vhost net backend is disabled."),
        "DPDK, lib/vhost/virtio_net.c, rte_vhost_enqueue_burst, rte_vhost_dequeue_burst",
        "The application polls a ring that the front-end has not set up, or the device is not a network device.",
        ("The port has more queues than the guest uses.",),
    ),
    KnownError(
        (
            "unable to get virtqueue {queue:n} numa information.",
            "unable to get vq numa information.",
            "failed to realloc dev on node {node:n}",
            "failed to realloc virtqueue {queue:n} on node {node:n}",
            "failed to query numa node: {reason:s}",
        ),
        _USER + "numa_realloc",
        "DPDK could not move its own structures to the NUMA node of the guest's memory; it goes on where it is, slower.",
        (_PAGES, "get_mempolicy is not allowed (container, seccomp)."),
    ),
    KnownError(
        (
            "failed to allocate memory for",
            "failed to allocate memory for vring {queue:n}.",
            "failed to allocate memory for new device.",
        ),
        _USER + "and lib/vhost/vhost.c",
        "DPDK has no huge page memory left.",
        ("Give the application more (--socket-mem, dpdk-socket-mem, HUGEMEM).",),
        NOTHING,
    ),
    KnownError(
        (
            "VQ {queue:n} ready state polling timeout",
            "Failed to get VQ {queue:n} info",
            "Failed to translate vring {queue:n} addresses",
            "Failed to create VDUSE device: {reason:s}",
            "Failed to open device {path:w}: {reason:s}",
        ),
        "DPDK, lib/vhost/vduse.c",
        "A VDUSE device (kernel, not a socket) could not be made or started.",
        ("The vduse module is not loaded, permissions are missing, or the device exists already.",),
        "Not about vhost-user: VDUSE is a device of the kernel.",
    ),
)
