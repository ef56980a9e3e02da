"""Error texts of QEMU as front-end: hw/virtio/vhost-user.c, vhost.c, hw/net, hw/block, net/vhost-user.c, chardev.

Texts are those of QEMU 5.2, 7.2 and 10.0; "to 7.2" means that 10.0 words it otherwise.
"""

# ruff: noqa: E501 - rows are read as a table

from __future__ import annotations

from vusniff.views.texts.row import BOTH, NOTHING, SESSION, KnownError

_USER = "QEMU, hw/virtio/vhost-user.c, "
_VHOST = "QEMU, hw/virtio/vhost.c, "
_GONE = "The connection had ended before: look for the first error, this one only follows."
_SHARED = "No RAM of the VM has a descriptor: use -object memory-backend-memfd,id=mem,size=...,share=on with -machine memory-backend=mem (or -numa node,memdev=mem)."

ROWS: tuple[KnownError, ...] = (
    KnownError(
        ("Failed to read msg header. Read 0 instead of {wanted:n}. Original request {request:request}.",),
        _USER + "vhost_user_read_header (vhost_user_read before 5.2)",
        "The back-end closed the connection while QEMU waited for its answer to {request}.",
        waits=True,
        capture=BOTH,
    ),
    KnownError(
        ("Failed to read msg header. Read -1 instead of {wanted:n}. Original request {request:request}.",),
        _USER + "vhost_user_read_header (vhost_user_read before 5.2)",
        "QEMU could not read the answer to {request}: the connection was reset, or had ended before.",
        waits=True,
        capture=BOTH,
    ),
    KnownError(
        ("Failed to read msg header. Read {got:n} instead of {wanted:n}. Original request {request:request}.",),
        _USER + "vhost_user_read_header (vhost_user_read before 5.2)",
        "The back-end closed the connection inside the header of its answer to {request}: {got} of {wanted} bytes came.",
        ("The back-end does not speak vhost-user, or died while it wrote.",),
        BOTH,
    ),
    KnownError(
        ("Failed to read msg header. Flags 0x{got:x} instead of 0x{wanted:x}.",),
        _USER + "vhost_user_read_header",
        "The header of an answer has flags 0x{got}; QEMU takes 0x{wanted} only (version 1, reply). It closes the connection.",
        (
            "The back-end repeats need_reply (bit 3) in its reply, as QEMU does not allow.",
            "The back-end sends a request of its own on the main channel.",
            "What answers is not a vhost-user back-end, or the stream was cut in the wrong place before.",
        ),
    ),
    KnownError(
        ("Failed to read msg header. Size {size:n} exceeds the maximum {most:n}.",),
        _USER + "vhost_user_read, backend_read (slave_read)",
        "A message says it has {size} bytes of payload; QEMU takes at most {most}.",
        (
            "The stream was cut in the wrong place before: a message was longer or shorter than its header said.",
            "What answers is not a vhost-user back-end.",
        ),
    ),
    KnownError(
        ("Failed to read msg payload. Read {got:n} instead of {wanted:n}.",),
        _USER + "vhost_user_read",
        "The connection ended inside a payload: {got} of {wanted} bytes came.",
        ("The back-end died while it answered, or its header says more bytes than it sends.",),
        BOTH,
    ),
    KnownError(
        (
            "Received unexpected msg type. Expected {wanted:request} received {got:request}",
            "Received unexpected msg type.Expected {wanted:request} received {got:request}",
            "Unexpected msg type. Expected {wanted:request} received {got:request}",
            "Received unexpected message type, expected {wanted:request}, received {got:request}",
        ),
        _USER + "process_message_reply, vhost_user_get_u64 and every function that waits for an answer",
        "QEMU waited for the answer to {wanted} and the next message was {got}.",
        (
            "The answer to an earlier request came late: two requests that want an answer were on their way at once, and QEMU takes the next message for the answer to the last.",
            "The back-end answers a request that wanted no answer (need_reply was not set, or REPLY_ACK was not negotiated).",
        ),
    ),
    KnownError(
        ("Received unexpected msg type: {got:back}.",),
        _USER + "backend_read (slave_read)",
        "The back-end sent {got} on its own channel, which this QEMU does not handle. QEMU closes that channel.",
        ("The back-end is newer than QEMU, or uses a protocol feature that was not negotiated.",),
    ),
    KnownError(
        ("Received bad msg size.", "Received bad message size, expected {wanted:n}, received {got:n}"),
        _USER + "vhost_user_get_u64, vhost_user_get_vring_base, vhost_user_get_config and others",
        "An answer has another size than its request asks for.",
        (
            "GET_CONFIG: the back-end has a smaller configuration space and answers with size 0 or with what it has.",
            "The back-end answers with an acknowledgement (8 bytes) where an answer of its own is due.",
        ),
    ),
    KnownError(
        ("Failed to set msg fds.",),
        _USER + "vhost_user_write",
        "QEMU had a message to send and is not connected any more.",
        (_GONE, "The back-end closed after a message that asks for no answer; QEMU only notices with the next one."),
        BOTH,
    ),
    KnownError(
        ("Failed to write msg. Wrote {wrote:n} instead of {wanted:n}.",),
        _USER + "vhost_user_write",
        "QEMU could not send a message of {wanted} bytes: the back-end had closed the connection.",
        ("The back-end closed after a message before this one; that one is to be looked at.", _GONE),
        BOTH,
    ),
    KnownError(
        ("Failed initializing vhost-user memory map, consider using -object memory-backend-file share=on",),
        _USER + "vhost_user_fill_set_mem_table_msg, vhost_user_set_mem_table",
        "QEMU has no memory that it could share with the back-end, so SET_MEM_TABLE was not sent and the device does not start.",
        (_SHARED, "libvirt: <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>."),
        "The message is not sent, so a capture shows a set-up that stops before SET_MEM_TABLE. QEMU's command line tells more.",
    ),
    KnownError(
        ("Failed preparing vhost-user memory table msg",),
        _USER + "vhost_user_fill_set_mem_table_msg",
        "The guest has more than 8 memory regions, the most that SET_MEM_TABLE of QEMU holds.",
        (
            "Memory was plugged into the guest, and the back-end has no CONFIGURE_MEM_SLOTS (bit 15), which lifts the limit.",
            "Huge pages per NUMA node and many memory devices make many regions: use fewer and larger ones.",
        ),
    ),
    KnownError(
        (
            "vhost_dev_init failed: {s}",
            "vhost initialization failed: {s}",
            "vhost_backend_init failed: {reason:s}",
            "vhost_backend_init failed",
        ),
        _USER + "vhost_user_backend_init",
        "QEMU could not negotiate with the back-end when the device was made: one of GET_FEATURES, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, GET_MAX_MEM_SLOTS or SET_BACKEND_REQ_FD failed. The error before it says which.",
        ("The back-end closed the connection: the line with 'Original request' names the request.",),
        BOTH,
    ),
    KnownError(
        ("vhost_set_owner failed", "vhost_get_features failed"),
        _VHOST + "vhost_dev_init",
        "The first messages failed: QEMU could not send SET_OWNER or got no answer to GET_FEATURES.",
        ("The back-end closed the connection at once: it has a front-end already, or ended.",),
        BOTH,
    ),
    KnownError(
        ("Failed to initialize virtqueue {queue:n}",),
        _VHOST + "vhost_dev_init",
        "QEMU could not pass the first call descriptor of ring {queue} (SET_VRING_CALL).",
        (_GONE, "The back-end refused it: it has fewer rings than QEMU gives it."),
        BOTH,
    ),
    KnownError(
        (
            "vhost_set_mem_table failed: {s} ({errno:errno})",
            "vhost_set_mem_table failed",
        ),
        _VHOST + "vhost_dev_start, vhost_commit",
        "SET_MEM_TABLE or ADD_MEM_REG failed.",
        (
            "No memory of the VM is shared (a line above asks for share=on).",
            "The back-end could not map the memory and answered with an error: huge pages, locked memory, rights.",
            _GONE,
        ),
        BOTH,
    ),
    KnownError(
        (
            "vhost_{call:call} failed: {reason:s} ({errno:errno})",
            "vhost_{call:call} failed {errno:errno}",
            "vhost_{call:call} failed",
        ),
        _VHOST + "vhost_virtqueue_start, vhost_dev_start, vhost_virtqueue_mask and others",
        "QEMU could not send {call}, or the back-end answered it with an error.",
        (_GONE, "The back-end refused it and said so by REPLY_ACK (QEMU then says Input/output error, 5)."),
        BOTH,
    ),
    KnownError(
        ("vhost VQ {queue:n} ring restore failed: {result:errno}",),
        _VHOST + "vhost_virtqueue_stop",
        "QEMU stopped ring {queue} and got no answer to GET_VRING_BASE, so it takes the ring's position from guest memory.",
        (
            "The back-end is gone already: it ended while the device ran. This line follows, it is not the cause.",
            "The back-end died while it stopped the ring.",
        ),
        BOTH,
    ),
    KnownError(
        (
            "Error starting vhost: {errno:errno}",
            "Error starting vhost dev",
            "Error starting vhost-user-base: {errno:errno}",
            "Error starting vhost",
            "Error start vhost dev",
        ),
        "QEMU, vuf_start, vub_start, vhost_vsock_common_start, vhost_user_blk_start, vhost_scsi_common_start",
        "The device could not be started when the guest's driver was ready. The error before it says which message failed.",
        (_SHARED, "The back-end refused a ring: queue size, number of queues, addresses."),
        BOTH,
    ),
    KnownError(
        ("unable to start vhost net: {errno:errno}: falling back on userspace virtio",),
        "QEMU, hw/net/virtio-net.c, virtio_net_vhost_status",
        "The network device could not be started. QEMU says it falls back, but without a back-end no packet moves.",
        (
            _SHARED,
            "The back-end closed the connection or refused a message while the device started.",
            "There is no queue pair for it: the guest has more than the back-end.",
        ),
        BOTH,
    ),
    KnownError(
        (
            "unable to start vhost-user-scsi: {reason:s}",
            "unable to start vhost crypto: {errno:errno}: falling back on userspace virtio",
        ),
        "QEMU, hw/scsi/vhost-user-scsi.c, hw/virtio/virtio-crypto.c",
        "The device could not be started when the guest's driver was ready. The error before it says which message failed.",
        (_SHARED, "The back-end refused a message while the device started."),
        BOTH,
    ),
    KnownError(
        ("The maximum number of queues supported by the backend is {limit:n}",),
        _USER + "vhost_user_backend_init",
        "The device has more queues than the back-end, which said {limit} in its answer to GET_QUEUE_NUM. QEMU leaves.",
        (
            "Give the device at most {limit}: num-queues={limit}, num-request-queues. QEMU gives block and scsi devices one for each CPU if nothing is said.",
            "Give the back-end more: qemu-storage-daemon num-queues=, SPDK one for each CPU of the VM.",
            "Without protocol feature MQ the limit is 1.",
        ),
        "GET_QUEUE_NUM and its answer are enough.",
    ),
    KnownError(
        ("you are asking more queues than supported: {limit:n}",),
        "QEMU, net/vhost-user.c, vhost_user_start; backends/cryptodev-vhost-user.c",
        "The network device has more queue pairs than the back-end, which said {limit} in its answer to GET_QUEUE_NUM. QEMU leaves.",
        (
            "Use queues={limit} at most in -netdev vhost-user.",
            "Give the back-end more: DPDK vdev queues=, Open vSwitch n_rxq; without protocol feature MQ the limit is 1.",
        ),
        "GET_QUEUE_NUM and its answer are enough.",
    ),
    KnownError(
        ("failed to init vhost_net for queue {queue:n}",),
        "QEMU, net/vhost-user.c, vhost_user_start",
        "QEMU could not negotiate for queue pair {queue}. The error before it says which message failed.",
        (
            "The back-end closed the connection while features were negotiated.",
            "The back-end lacks a feature that QEMU demands.",
        ),
        BOTH,
    ),
    KnownError(
        ("vhost lacks feature mask 0x{mask:features} for backend", "vhost lacks feature mask {mask:n} for backend"),
        "QEMU, hw/net/vhost_net.c, vhost_net_init",
        "The back-end does not offer features that this device needs.",
        (
            "The guest negotiated them with a back-end that had them; this one, after a reconnect or a migration, does not.",
            "Switch the feature off at the device (mrg_rxbuf=off, guest_tso4=off ...) or bring both back-ends to one version.",
        ),
    ),
    KnownError(
        (
            "vhost-user device expecting VHOST_USER_PROTOCOL_F_CONFIG but the vhost-user backend does not support it.",
            "Device expects VHOST_USER_PROTOCOL_F_CONFIG but backend does not support it.",
        ),
        _USER + "vhost_user_backend_init (second wording: to 5.2)",
        "The device reads its configuration space from the back-end, and that does not offer protocol feature CONFIG (bit 9).",
        (
            "The device type is wrong for the back-end: a network back-end behind vhost-user-blk, for instance.",
            "virtio-fs, sound or generic devices with a back-end that is too old for CONFIG.",
        ),
        "GET_PROTOCOL_FEATURES and its answer are enough.",
    ),
    KnownError(
        ("vhost-user backend supports VHOST_USER_PROTOCOL_F_CONFIG but QEMU does not.",),
        _USER + "vhost_user_backend_init",
        "A harmless warning: the back-end offers CONFIG and this device of QEMU (network) does not use it, so QEMU does not acknowledge it.",
        ("The back-end is made for another device type.",),
    ),
    KnownError(
        (
            "IOMMU support requires reply-ack and backend-req protocol features.",
            "IOMMU support requires reply-ack and slave-req protocol features.",
        ),
        _USER + "vhost_user_backend_init (second wording: to 7.2)",
        "The device has iommu_platform=on and the back-end lacks protocol feature REPLY_ACK (bit 3) or BACKEND_REQ (bit 5).",
        (
            "Open vSwitch: other_config:vhost-iommu-support=true, which is off by default.",
            "Use the device without iommu_platform=on.",
        ),
    ),
    KnownError(
        (
            "The backend specified a max ram slots limit of {slots:n}, when the prior validated limit was {before:n}. This limit should never decrease.",
        ),
        _USER + "vhost_user_backend_init",
        "After a reconnect the back-end takes {slots} memory slots; before it took {before}. QEMU does not go on.",
        ("The back-end was replaced by another version.",),
    ),
    KnownError(
        (
            "vhost backend memory slots limit ({limit:n}) is less than current number of used ({used:n}) and reserved ({reserved:n}) memory slots for memory devices.",
            "vhost backend memory slots limit is less than current number of present memory slots",
        ),
        _VHOST + "vhost_dev_init (second wording: to 7.2)",
        "The guest has more memory regions than the back-end takes.",
        (
            "Without CONFIGURE_MEM_SLOTS (bit 15) the limit is 8.",
            "Fewer memory devices (DIMMs, virtio-mem with dynamic-memslots), or a back-end with more slots.",
        ),
    ),
    KnownError(
        ("used ({used:n}) vhost backend memory slots exceed the device limit ({limit:n}).",),
        _VHOST + "vhost_get_free_memslots",
        "{used} memory regions are used and the back-end takes {limit}.",
        ("Memory was plugged while a back-end with few slots is there.",),
    ),
    KnownError(
        (
            "some memory device (like virtio-mem) decided how many memory slots to use based on the overall number of memory slots; this vhost backend would further restricts the overall number of memory slots",
        ),
        _VHOST + "vhost_dev_init",
        "A memory device has counted on more memory slots than this back-end takes.",
        ("Put the vhost-user device before the memory device on the command line, or plug it first.",),
        NOTHING,
    ),
    KnownError(
        ("Migration disabled: vhost-user backend lacks VHOST_USER_PROTOCOL_F_LOG_SHMFD feature.",),
        _USER + "vhost_user_backend_init",
        "The VM cannot be migrated while this device is there: the back-end does not offer protocol feature LOG_SHMFD (bit 1).",
        ("The back-end cannot log the memory it writes; DPDK does not offer it in async copy mode.",),
        "GET_PROTOCOL_FEATURES and its answer are enough.",
    ),
    KnownError(
        ("Migration disabled: vhost lacks VHOST_F_LOG_ALL feature.",),
        _VHOST + "vhost_dev_init",
        "The VM cannot be migrated while this device is there: the back-end does not offer feature VHOST_F_LOG_ALL (bit 26).",
        ("The back-end cannot log the memory it writes.",),
        "GET_FEATURES and its answer are enough.",
    ),
    KnownError(
        ('Back-end of {device:s} device {path:w} (tag: "{tag:s}") does not support migration through qemu',),
        "QEMU, hw/virtio/vhost-user-fs.c, vuf_check_migration_support",
        "virtiofsd cannot move its state: protocol feature DEVICE_STATE (bit 19) was not negotiated.",
        ("virtiofsd before 1.11, or the C one.",),
        "GET_PROTOCOL_FEATURES and its answer are enough.",
    ),
    KnownError(
        (
            "Back-end does not support migration state transfer",
            "vhost transport does not support migration state transfer",
        ),
        _USER + "vhost_user_set_device_state_fd, vhost_user_check_device_state",
        "The state of the back-end cannot be moved: protocol feature DEVICE_STATE (bit 19) was not negotiated.",
        ("The back-end is too old for it.",),
    ),
    KnownError(
        (
            "Back-end did not accept migration state transfer",
            "Back-end failed to process its internal state",
            "Failed to initiate state transfer: {reason:s}",
        ),
        _USER + "vhost_user_set_device_state_fd, vhost_user_check_device_state",
        "The back-end answered SET_DEVICE_STATE_FD or CHECK_DEVICE_STATE with an error: its state could not be saved or loaded.",
        ("Its log says why: for virtiofsd, files that the destination does not find.", "Rings still ran."),
        BOTH,
    ),
    KnownError(
        ("vhost: Failed to start logging", "vhost: Failed to stop logging"),
        _VHOST + "vhost_log_global_start",
        "Logging of written memory for a migration could not be switched: SET_LOG_BASE, SET_FEATURES or SET_VRING_ADDR failed.",
        (_GONE, "The back-end did not answer SET_LOG_BASE, or refused it."),
        BOTH,
    ),
    KnownError(
        (
            "Failed to send postcopy_advise to vhost",
            "Failed to get postcopy_advise reply from vhost",
            "Failed to get ufd",
            "vhost-user backend not capable of postcopy",
        ),
        _USER + "vhost_user_postcopy_advise, vhost_user_postcopy_notifier",
        "Postcopy migration is not possible with this back-end: it gave no userfaultfd in its answer to POSTCOPY_ADVISE, or lacks protocol feature PAGEFAULT (bit 8).",
        (
            "Open vSwitch: other_config:vhost-postcopy-support=true, which is off by default.",
            "The back-end's process may not use userfaultfd (vm.unprivileged_userfaultfd).",
        ),
    ),
    KnownError(
        (
            "Failed to send postcopy_listen to vhost",
            "Failed to receive reply to postcopy_listen",
            "Failed to send postcopy_end to vhost",
            "Failed to receive reply to postcopy_end",
        ),
        _USER + "vhost_user_postcopy_listen, vhost_user_postcopy_end",
        "Postcopy migration failed: the back-end did not answer POSTCOPY_LISTEN or POSTCOPY_END.",
        ("The back-end ended during the migration.",),
        BOTH,
    ),
    KnownError(
        (
            "Unexpected size for postcopy reply {got:n} vs {wanted:n}",
            "invalid postcopy reply for region. Got guest physical address",
            "postcopy reply not fully consumed {got:n} vs {wanted:n}",
            "Failed to find region for fault",
        ),
        _USER + "send_add_regions, vhost_user_set_mem_table_postcopy, vhost_user_postcopy_fault_handler",
        "In postcopy the back-end answers the memory table with its own addresses; the answer does not fit the table, or a fault has an address outside it.",
        ("The back-end answers with fewer regions than were sent, or changed their order.",),
    ),
    KnownError(
        ("Failed to get mem fd", "Failed to mmap mem fd"),
        _USER + "vhost_user_get_inflight_fd",
        "The answer to GET_INFLIGHT_FD has no descriptor, or QEMU cannot map it.",
        ("The back-end could not make the inflight buffer (memfd_create, huge pages).",),
    ),
    KnownError(
        ("Error getting inflight", "Error setting inflight", "Error setting inflight format"),
        "QEMU, hw/block/vhost-user-blk.c, hw/scsi/vhost-scsi-common.c",
        "The buffer that tracks requests in flight could not be set up: GET_INFLIGHT_FD or SET_INFLIGHT_FD failed.",
        ("The back-end closed the connection.", "Number of queues or queue size differ from those of the buffer."),
    ),
    KnownError(
        (
            "vhost_get_config failed: {reason:s}",
            "vhost_get_config failed",
            "VHOST_USER_PROTOCOL_F_CONFIG not supported",
            "set device config space failed",
            "vhost-user-blk: get block config failed",
            "vhost guest set device config space failed: {errno:errno}",
        ),
        _USER + "vhost_user_get_config; hw/block/vhost-user-blk.c",
        "The configuration space could not be read or written: GET_CONFIG or SET_CONFIG failed.",
        (
            "The back-end's configuration space is smaller than QEMU's, because both are of different versions.",
            "CONFIG was not negotiated.",
            _GONE,
        ),
    ),
    KnownError(
        ("Unexpected end-of-file before all data were read", "Unexpected end-of-file before all bytes were read"),
        "QEMU, io/channel.c, qio_channel_readv_full_all (data since 6.0, bytes before)",
        "A socket ended in the middle of what QEMU read. In vhost-user that is the back-end's channel: the back-end closed it, or ended.",
        (
            "The back-end ended, or crashed: its own log and the first error of QEMU say why.",
            "The guest's memory is not shared, and the back-end gave up over it.",
            "It is about another socket of QEMU (NBD, migration).",
        ),
        BOTH,
    ),
    KnownError(
        (
            "a used vhost backend has no free memory slots left",
            "a used vhost backend has not enough free memory slots left",
        ),
        "QEMU, hw/mem/memory-device.c, memory_device_check_addable (to 8.1)",
        "Memory could not be plugged in: a vhost back-end of this VM has as many memory regions as it takes.",
        (
            "A back-end without CONFIGURE_MEM_SLOTS takes 8 regions; with it, as many as GET_MAX_MEM_SLOTS says.",
            "The kernel's vhost takes 64 (max_mem_regions of the module vhost).",
            "Fewer and larger DIMMs need fewer regions.",
        ),
        SESSION,
    ),
    KnownError(
        ("Reconnecting after error: {reason:s}",),
        "QEMU, hw/block/vhost-user-blk.c, hw/scsi/vhost-user-scsi.c (6.1 and later)",
        "The device could not be set up with the back-end. QEMU tries again, three times, as the connection ended in between.",
        ("The back-end closes the connection each time: the error behind 'after error:' says where.",),
        BOTH,
    ),
    KnownError(
        (
            "Access failure IOTLB message type not supported",
            "Unexpected IOTLB message type",
            "Unexpected IOTLB message when virtio device is stopped",
        ),
        "QEMU, hw/virtio/vhost-backend.c, vhost_backend_handle_iotlb_msg",
        "The back-end sent an IOTLB message that QEMU does not take.",
        (
            "The back-end reports access failures, which QEMU does not handle.",
            "The back-end goes on asking after its rings were stopped.",
        ),
    ),
    KnownError(
        (
            "Fail to lookup the translated address {address:x}",
            "Fail to update device iotlb",
            "Fail to invalidate device iotlb",
        ),
        _VHOST + "vhost_device_iotlb_miss, vhost_iommu_unmap_notify",
        "The IOMMU has no translation for an address that the back-end asked for, or the translation could not be passed on.",
        (
            "The guest has unmapped it: a driver that frees buffers too early.",
            "The back-end asks for an address that it took from a ring of another device.",
        ),
    ),
    KnownError(
        (
            "Verify ring failure on region {region:n}",
            "Unable to map {part:w} for ring {queue:n}",
            "{part:w} relocated for ring {queue:n}",
        ),
        _VHOST + "vhost_commit, vhost_verify_ring_mappings",
        "Guest memory was rearranged while the device runs, and a ring is not where it was.",
        ("Memory under the rings was unplugged or moved (a firmware that remaps memory).",),
    ),
    KnownError(
        ("Overlapping but not coherent sections at {address:x}", "rounded to {address:x} prior to previous"),
        _VHOST + "vhost_region_add_section",
        "QEMU's memory sections do not fit together once they are rounded to pages of their backing file.",
        ("Huge pages and small memory devices inside one of them.",),
        NOTHING,
    ),
    KnownError(
        ("binding does not support guest notifiers", "binding does not support host notifiers"),
        "QEMU, every vhost device",
        "The transport of this device cannot have eventfds, which vhost needs.",
        ("A machine or a transport (old mmio, ccw) without ioeventfd; without KVM on old versions.",),
        NOTHING,
    ),
    KnownError(
        (
            "Error enabling host notifiers: {errno:errno}",
            "Error binding guest notifier: {errno:errno}",
            "vhost guest notifier cleanup failed: {errno:errno}",
            "vhost VQ {queue:n} notifier cleanup failed: {errno:errno}",
            "vhost VQ {queue:n} notifier binding failed: {errno:errno}",
        ),
        "QEMU, every vhost device",
        "QEMU could not connect an eventfd to the guest, which is between QEMU and KVM; no message is to blame.",
        (
            "Too many open files (RLIMIT_NOFILE): each ring takes two.",
            "KVM has no room for more interrupt routes or ioeventfds.",
        ),
        "Not about vhost-user: this is QEMU and the kernel.",
    ),
    KnownError(
        ("Vhost user backend fails to broadcast fake RARP",),
        "QEMU, net/vhost-user.c, vhost_user_receive",
        "After a migration SEND_RARP failed: the network may send to the old host until the guest speaks.",
        ("Protocol feature RARP (bit 2) was not negotiated.", _GONE),
    ),
    KnownError(
        ("vhost-user number of queues must be in range [1, {limit:n}]",),
        "QEMU, net/vhost-user.c, net_init_vhost_user",
        "queues= of -netdev vhost-user is outside 1 to {limit}.",
        (),
        NOTHING,
    ),
    KnownError(
        (
            'chardev "{name:w}" is not reconnectable',
            'chardev "{name:w}" does not support FD passing',
            'chardev "{name:w}" not found',
        ),
        "QEMU, net/vhost-user.c, net_vhost_claim_chardev",
        "The character device {name} is not a unix socket that vhost-user can use.",
        ("It must be -chardev socket,id={name},path=...; not tcp, not a file, and defined before -netdev.",),
        NOTHING,
    ),
    KnownError(
        ("chardev '{name:w}' is already in use",),
        "QEMU, chardev/char-fe.c, qemu_chr_fe_init",
        "Two devices use the character device {name}; a vhost-user socket serves one.",
        ("Give each device a chardev and a socket of its own.",),
        NOTHING,
    ),
    KnownError(
        ("vhost-user requires frontend driver virtio-net-*",),
        "QEMU, net/vhost-user.c, vhost_user_check_peer_type",
        "The netdev of type vhost-user is used by a device that is not virtio-net.",
        ("Use -device virtio-net-pci,netdev=...",),
        NOTHING,
    ),
    KnownError(
        (
            "Failed to connect to '{path:w}': {reason:s}",
            "Failed to connect socket {path:w}: {reason:s}",
            "Unable to connect character device {name:w}: {reason:s}",
        ),
        "QEMU, util/qemu-sockets.c, chardev/char-socket.c",
        "QEMU could not connect to the socket of the back-end.",
        (
            "No such file or directory: the back-end does not run yet, or listens at another path; reconnect-ms= makes QEMU try again.",
            "Connection refused: the file is a left-over and nobody listens, or the back-end serves one front-end at a time.",
            "Permission denied: user or SELinux/AppArmor label of QEMU; libvirt runs it as another user.",
        ),
        NOTHING,
    ),
    KnownError(
        (
            "'{option:w}' option is incompatible with waiting for connection completion",
            "'reconnect' option is incompatible with socket in server listen mode",
            "'wait' option is incompatible with socket in client connect mode",
        ),
        "QEMU, chardev/char-socket.c",
        "The options of the character device do not fit together: reconnect is for the side that connects, wait for the side that listens.",
        (),
        NOTHING,
    ),
    KnownError(
        (
            "missing chardev",
            "chardev is mandatory",
            "vhost-user-scsi: missing chardev",
            "vhost-user-base: missing chardev",
        ),
        "QEMU, realize functions of vhost-user devices",
        "The device has no chardev= option.",
        (),
        NOTHING,
    ),
    KnownError(
        (
            "invalid number of IO queues",
            "queue size must be non-zero",
            "queue size must not exceed {limit:n}",
            "queue-size property must be a power of 2",
            "queue-size property must be {limit:n} or smaller",
            "num-request-queues property must be larger than 0",
        ),
        "QEMU, hw/block/vhost-user-blk.c, hw/virtio/vhost-user-fs.c (virtqueue limits: 1024 entries)",
        "An option of the device is out of range: queue sizes are powers of two, at most 1024 in QEMU.",
        (),
        NOTHING,
    ),
    KnownError(
        (
            "Guest moved used index from {before:n} to {now:n}",
            "Guest says index {index:n} is available",
            "Guest index {guest:n} inconsistent with Host index {host:n}",
            "VQ {queue:n} size 0x{size:x} Guest index 0x{guest:x} inconsistent with Host index 0x{host:x}: delta 0x{delta:x}",
            "VQ {queue:n} size 0x{size:x} < last_avail_idx 0x{last:x} - used_idx 0x{used:x}",
            "VQ {queue:n} address 0x0 inconsistent with Host index 0x{host:x}",
        ),
        "QEMU, hw/virtio/virtio.c, virtqueue_num_heads, virtio_load; libvhost-user, virtqueue_num_heads",
        "The indices of a ring do not fit together: the available index has moved by more than the ring has entries.",
        (
            "The base (SET_VRING_BASE) does not fit the ring in memory: after a reconnect or a migration, or from another back-end.",
            "The back-end wrote into memory that is not the guest's any more, or used a stale table.",
            "Memory is not really shared, so each side sees its own.",
        ),
        "SET_VRING_BASE, the answers to GET_VRING_BASE and the memory tables around the last start; vusniff state FILE shows them.",
    ),
    KnownError(
        (
            "Virtqueue size exceeded",
            "Looped descriptor",
            "Desc next is {next:n}",
            "Invalid size for indirect buffer table",
            "Incorrect order for descriptors",
            "Invalid indirect buffer table",
        ),
        "QEMU, hw/virtio/virtio.c; libvhost-user, vu_queue_pop, vu_queue_map_desc",
        "What stands in a ring is not a valid chain of descriptors.",
        (
            "The ring's addresses or its size are wrong, so other memory is read: compare SET_VRING_ADDR and the memory table.",
            "The guest's driver was reset and the back-end goes on with the old ring.",
            "A packed ring is read as a split one, or the reverse: compare VIRTIO_F_RING_PACKED on both sides.",
        ),
    ),
    KnownError(
        (
            "virtio: bogus descriptor or out of resources",
            "virtio: zero sized buffers are not allowed",
            "virtio: too many write descriptors in indirect table",
            "Cannot map desc",
            "Cannot map used",
            "Cannot map avail",
            "Region caches not initialized",
        ),
        "QEMU, hw/virtio/virtio.c",
        "QEMU cannot use what the guest put into a ring. The device then needs a reset.",
        ("A guest driver at fault, or a vhost device that fell back to QEMU itself.",),
        "Not about vhost-user: QEMU works on this ring itself.",
    ),
    KnownError(
        ("Features 0x{features:features} unsupported. Allowed features: 0x{allowed:features}",),
        "QEMU, hw/virtio/virtio.c, virtio_load",
        "A migration failed: the guest negotiated features that this host's device does not have.",
        (
            "The back-end of the destination offers less than that of the source.",
            "The device has other options, or the machine another version.",
        ),
        "GET_FEATURES of both hosts: vusniff diff SOURCE DESTINATION.",
    ),
    KnownError(
        (
            "Failed to read from slave.",
            "Failed to read payload from slave.",
            "Failed to send msg reply to slave.",
            "Truncated message.",
        ),
        _USER + "slave_read (to 5.2)",
        "The back-end's own channel failed; QEMU closes it.",
        ("The back-end closed its channel or died.", "A message on it has a payload that QEMU does not expect."),
    ),
    KnownError(
        ("Failed to get dmabuf fd",),
        _USER + "vhost_user_get_shared_object",
        "GET_SHARED_OBJECT was answered without a descriptor: the back-end does not know the object.",
        (),
    ),
    KnownError(
        (
            "Unsupported cipher key size",
            "Unsupported auth key size",
            "Unsupported asymmetric key size",
            "create session failed",
            "Bad session id: {id:n}",
        ),
        _USER + "vhost_user_crypto_create_session",
        "A crypto session could not be made: CREATE_CRYPTO_SESSION failed or its keys are too long (64 bytes cipher, 512 authentication).",
        ("The form of the message changed in QEMU 8.1: older DPDK does not understand it.",),
    ),
    KnownError(
        (
            "failed to read msg header: {got:n}, {errno:n}",
            "failed to read msg payload {got:n} != {wanted:n}",
            "vhost-user-gpu: message {request:n} payload too small",
            "vhost-user-gpu: update payload too small for {width:n}x{height:n}",
        ),
        "QEMU, hw/display/vhost-user-gpu.c, vhost_user_gpu_chr_read",
        "A message on the GPU socket is shorter than it must be, or the socket ended.",
        ("vhost-user-gpu ended.", "QEMU and vhost-user-gpu are of different versions."),
        BOTH,
    ),
    KnownError(
        ("EDID requested but the backend doesn't support it.",),
        "QEMU, hw/display/vhost-user-gpu.c, vhost_user_gpu_device_realize",
        "The GPU back-end does not offer VIRTIO_GPU_F_EDID. QEMU goes on without.",
        (),
    ),
    KnownError(
        ("vu_panic: {reason:s}",),
        "QEMU, util/vhost-user-server.c, panic_cb (qemu-storage-daemon)",
        "QEMU as a back-end gave up this connection; the words behind it say why.",
        ("A message or a ring of the front-end that libvhost-user does not take.",),
        SESSION,
    ),
    KnownError(
        ("Only one vhost-user client is allowed to connect the server one time",),
        "QEMU, util/vhost-user-server.c, vu_accept (qemu-storage-daemon, before 7.0 also others)",
        "A second front-end connected; qemu-storage-daemon serves one at a time and closes the new connection.",
        ("An old VM still has the connection, or QEMU and a test program use one socket.",),
        "vusniff sockets shows who is connected.",
    ),
    KnownError(
        (
            "A maximum of {limit:n} fds are allowed, however got {count:n} fds now",
            "Error: too big message request: {request:request}, size: vmsg->size: {size:n}, while sizeof(vmsg->payload) = {most:n}",
        ),
        "QEMU, util/vhost-user-server.c, vu_message_read; libvhost-user, vu_message_read_default",
        "A message of the front-end is larger or has more descriptors than libvhost-user takes. It closes the connection.",
        (
            "More than 8 memory regions in a table.",
            "A relay put two messages together.",
            "The stream was cut in the wrong place before.",
        ),
    ),
)
