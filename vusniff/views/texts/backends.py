"""Error texts of other back-ends in C: libvhost-user, virtiofsd of QEMU, SPDK, Open vSwitch.

libvhost-user of QEMU 5.2, 7.2 and 10.0 (qemu-storage-daemon, vhost-user-gpu, contrib), virtiofsd of QEMU 7.2 (the last in
C), SPDK 26.09, Open vSwitch 3.7.
"""

# ruff: noqa: E501 - rows are read as a table

from __future__ import annotations

from vusniff.views.texts.row import BOTH, NOTHING, SESSION, KnownError

_LIB = "libvhost-user, subprojects/libvhost-user/libvhost-user.c, "
_FS = "virtiofsd of QEMU to 7.2, tools/virtiofsd/"
_SPDK = "SPDK, lib/vhost/"
_INIT = "SPDK, lib/virtio/virtio_vhost_user.c, "
_OVS = "Open vSwitch, lib/netdev-dpdk.c, "
_PANIC = "libvhost-user gives up the connection; most programs end with it."

ROWS: tuple[KnownError, ...] = (
    KnownError(
        ("virtio legacy devices aren't supported by libvhost-user",),
        _LIB + "vu_set_features_exec",
        "SET_FEATURES lacks VIRTIO_F_VERSION_1 (bit 32). " + _PANIC,
        (
            "The guest's driver is a legacy one, or the device has disable-modern=on; old firmware (iPXE, SeaBIOS) drives it first.",
        ),
    ),
    KnownError(
        ("Error while recvmsg: {reason:s}", "Error while reading: {reason:s}", "Error while writing: {reason:s}"),
        _LIB + "vu_message_read_default, vu_message_write",
        "The connection failed while a message was read or written. " + _PANIC,
        ("The front-end ended or reset the connection.",),
        BOTH,
    ),
    KnownError(
        ("Error: too big message request: {request:request}, size: vmsg->size: {size:n}",),
        _LIB + "vu_message_read_default",
        "{request} has {size} bytes of payload, more than libvhost-user takes. " + _PANIC,
        ("A relay put two messages together.", "The front-end is newer and its message longer."),
    ),
    KnownError(
        ("regions with overlapping guest physical addresses",),
        _LIB + "_vu_add_mem_reg",
        "Two memory regions overlap in guest physical addresses. " + _PANIC,
        ("ADD_MEM_REG of a region that was not removed before.",),
    ),
    KnownError(
        ("region mmap error: {reason:s}",),
        _LIB + "_vu_add_mem_reg, generate_faults",
        "A memory region of the guest cannot be mapped. " + _PANIC,
        (
            "Too few huge pages, a memory limit of the cgroup, or no right to the file.",
            "The offset is not a multiple of the size of huge pages.",
        ),
    ),
    KnownError(
        (
            "VHOST_USER_ADD_MEM_REG received {count:n} fds - only 1 fd should be sent for this message type",
            "VHOST_USER_REM_MEM_REG received {count:n} fds - at most 1 fd should be sent for this message type",
            "VHOST_USER_REM_MEM_REG received {count:n} fds - only 1 fd should be sent for this message type",
        ),
        _LIB + "vu_add_mem_reg, vu_rem_mem_reg",
        "The message came with {count} descriptors. " + _PANIC,
        (
            "A relay moved descriptors from one message to another.",
            "REM_MEM_REG with a descriptor: libvhost-user of 6.0 and earlier refuses it.",
        ),
    ),
    KnownError(
        (
            "VHOST_USER_ADD_MEM_REG requires a message size of at least {wanted:n} bytes and only {size:n} bytes were received",
            "VHOST_USER_REM_MEM_REG requires a message size of at least {wanted:n} bytes and only {size:n} bytes were received",
        ),
        _LIB + "vu_add_mem_reg, vu_rem_mem_reg",
        "The message has {size} bytes of payload; libvhost-user wants {wanted}. " + _PANIC,
        ("The front-end leaves out the padding of the memory region.",),
    ),
    KnownError(
        (
            "failing attempt to hot add memory via VHOST_USER_ADD_MEM_REG message because the backend has no free ram slots available",
        ),
        _LIB + "vu_add_mem_reg",
        "All memory slots are used: libvhost-user has 32 (before QEMU 9.0) or 509. " + _PANIC,
        (
            "The front-end adds more regions than GET_MAX_MEM_SLOTS says, or never asked.",
            "Regions are added and never removed.",
        ),
    ),
    KnownError(
        ("Specified region not found",),
        _LIB + "vu_rem_mem_reg",
        "REM_MEM_REG names no region that is there. " + _PANIC,
        (
            "Address or size differ from those of ADD_MEM_REG.",
            "The region came by SET_MEM_TABLE before, with other values.",
        ),
    ),
    KnownError(
        ("remapping queue {queue:n} during setmemtable", "remapping queue on access"),
        _LIB + "vu_set_mem_table_exec, vu_is_vq_usable",
        "A ring's address is not in the new memory table. " + _PANIC,
        ("Memory changed while the ring runs and the front-end did not send SET_VRING_ADDR again.",),
    ),
    KnownError(
        ("Invalid log_base message", "Invalid log_fd message", "log mmap error"),
        _LIB + "vu_set_log_base_exec, vu_set_log_fd_exec",
        "The dirty log has no descriptor, another size, or cannot be mapped. " + _PANIC,
    ),
    KnownError(
        (
            "Invalid vring_num index: {queue:n}",
            "Invalid vring_addr index: {queue:n}",
            "Invalid vring_base index: {queue:n}",
            "Invalid vring_enable index: {queue:n}",
            "Invalid queue index: {queue:n}",
        ),
        _LIB + "vu_set_vring_num_exec and others",
        "A message is about ring {queue}, which the back-end does not have. " + _PANIC,
        ("The front-end uses more queues than GET_QUEUE_NUM says, or did not ask (MQ not negotiated: one queue).",),
    ),
    KnownError(
        ("Invalid vring_addr message",),
        _LIB + "vu_set_vring_addr_exec",
        "An address of SET_VRING_ADDR is in no memory region. " + _PANIC,
        (
            "The memory table came later, or lacks the region of the rings.",
            "The back-end takes user addresses and was given guest addresses, or the reverse.",
        ),
    ),
    KnownError(
        (
            "Invalid fds in request: {request:request}",
            "Invalid backend_req_fd message ({count:n} fd's)",
            "Invalid slave_req_fd message",
        ),
        _LIB + "vu_check_queue_msg_file, vu_set_backend_req_fd",
        "A message that must carry one descriptor has none or more. " + _PANIC,
        (
            "A relay loses descriptors.",
            "The front-end polls instead of using eventfds and did not set the bit for it (0x100).",
        ),
    ),
    KnownError(
        ("Unhandled request: {request:request}",),
        _LIB + "vu_process_message",
        "libvhost-user does not know {request}. " + _PANIC,
        ("The front-end is newer and sends what was not negotiated.", "The stream was cut in the wrong place before."),
    ),
    KnownError(
        (
            "F_IN_BAND_NOTIFICATIONS requires F_BACKEND_REQ && F_REPLY_ACK",
            "F_IN_BAND_NOTIFICATIONS requires F_SLAVE_REQ && F_REPLY_ACK",
        ),
        _LIB + "vu_set_protocol_features_exec",
        "INBAND_NOTIFICATIONS was acknowledged without the two protocol features it needs. " + _PANIC,
    ),
    KnownError(
        ("Set virtio configuration space failed",),
        _LIB + "vu_set_config",
        "The program does not take this change of the configuration space. " + _PANIC,
    ),
    KnownError(
        (
            "Failed UFFDIO_API: {reason:s}",
            "Failed to userfault region",
            "doesn't support COPY",
            "failed to respond to set-mem-table for postcopy",
            "failed to receive valid ack for postcopy set-mem-table",
            "failed to mprotect region {region:n} for postcopy",
        ),
        _LIB + "vu_set_postcopy_advise, generate_faults, vu_set_mem_table_exec_postcopy",
        "Postcopy migration failed in the back-end. " + _PANIC,
        (
            "userfaultfd is not allowed (vm.unprivileged_userfaultfd, seccomp).",
            "Memory of a kind that cannot be faulted.",
        ),
    ),
    KnownError(
        (
            "Invalid get_inflight_fd message:{size:n}",
            "Invalid get_inflight_fd num_queues: {queues:n}",
            "Invalid set_inflight_fd message size:{size:n} fds:{count:n}",
            "Invalid set_inflight_fd num_queues: {queues:n}",
            "set_inflight_fd mmap error: {reason:s}",
            "Failed to check inflights for vq: {queue:n}",
        ),
        _LIB + "vu_get_inflight_fd, vu_set_inflight_fd",
        "The buffer of requests in flight could not be made, mapped or read. " + _PANIC,
        ("It is of another back-end, or of another number of queues.",),
    ),
    KnownError(
        ("Error writing eventfd: {reason:s}", "kick eventfd_read(): {reason:s}"),
        _LIB + "vu_log_kick, _vu_queue_notify, vu_kick_cb",
        "A call or kick descriptor cannot be used. " + _PANIC,
        ("The front-end passed no eventfd, or it was closed.",),
    ),
    KnownError(
        (
            "virtio: invalid address for buffers",
            "virtio: too many descriptors in indirect table",
            "read descriptor error",
        ),
        _LIB + "virtqueue_map_desc",
        "A descriptor in a ring points to memory that the back-end has not mapped. " + _PANIC,
        (
            "The memory table does not cover the guest's buffers: memory was added and no message told it.",
            "Guest memory is not really shared, so the ring that is read is not the guest's.",
        ),
    ),
    KnownError(
        ("fv_panic: libvhost-user: {reason:s}",),
        _FS + "fuse_virtio.c, fv_panic",
        "virtiofsd ended; the words behind 'libvhost-user:' say why.",
        (),
        BOTH,
    ),
    KnownError(
        ("virtio_loop: vu_dispatch failed",),
        _FS + "fuse_virtio.c, virtio_loop",
        "virtiofsd could not read a message any more, mostly because QEMU has closed the connection. It ends.",
        ("The VM was stopped.", "QEMU left: its own output says why."),
        BOTH,
    ),
    KnownError(
        ("multiple request queues not yet implemented, please only configure 1 request queue",),
        _FS + "fuse_virtio.c, fv_queue_set_started",
        "The C virtiofsd serves one request queue, and QEMU gives it more.",
        ("Use num-request-queues=1, or the Rust virtiofsd.",),
    ),
    KnownError(
        (
            "unshare(CLONE_FS) failed with EPERM. If running in a container please check that the container runtime seccomp policy allows unshare.",
            "The unshare(CLONE_FS) syscall failed with '{reason:s}'. If running in a container please check that the container runtime seccomp policy allows unshare.",
        ),
        _FS + "fuse_virtio.c, virtio_session_mount; virtiofsd (Rust), src/passthrough",
        "virtiofsd may not call unshare, and ends before its first answer: QEMU says 'Read 0 instead of 12. Original request 1'.",
        ("A seccomp policy of a container.",),
        NOTHING,
    ),
    KnownError(
        (
            "vhost socket bind: {reason:s}",
            "vhost socket creation: {reason:s}",
            "vhost socket listen: {reason:s}",
            "vhost socket failed to set group to {group:w}",
            "Socket path too long",
            "Socket path is empty",
            "fuse: missing --socket-path or --fd option",
            "fuse: --socket-path and --fd cannot be given together",
        ),
        _FS + "fuse_virtio.c, fv_create_listen_socket",
        "virtiofsd cannot listen at this path.",
        ("The file is there already, its directory cannot be written, or the path is longer than 107 characters.",),
        NOTHING,
    ),
    # SPDK
    KnownError(
        ("Session {session:w} doesn't set memory table yet", "vhost device {vid:n}: Failed to get guest memory table"),
        _SPDK + "rte_vhost_user.c, start_device, vhost_register_memtable_if_required",
        "A ring was started and SPDK has no guest memory: SET_MEM_TABLE did not come or failed.",
        (
            "Guest memory is not shared (share=on).",
            "SET_MEM_TABLE could not be mapped: see the VHOST_CONFIG lines before.",
        ),
    ),
    KnownError(
        ("Failed to register memory region {region:n}. Future vtophys translation might fail.",),
        _SPDK + "rte_vhost_user.c, vhost_session_mem_register",
        "SPDK cannot register a memory region: it does not begin and end at multiples of 2 MiB, as SPDK's tables need.",
        ("The VM's memory is not of huge pages: use memory-backend-file with mem-path=/dev/hugepages,share=on.",),
        "The memory table: vusniff read -v FILE, SET_MEM_TABLE.",
    ),
    KnownError(
        (
            "gpa_to_vva({address:w}) == NULL",
            "SPDK_VHOST_IOVS_MAX({limit:n}) reached",
            "invalid descriptor at index {index:n}.",
            "found a cycle in the descriptor chain",
            "terminated unexpectedly",
            "exceeds virtqueue size ({limit:n})",
            "is already pending.",
        ),
        _SPDK + "rte_vhost_user.c, vhost_blk.c, vhost_scsi.c",
        "A request in a ring points to memory that SPDK has not mapped, or is not a valid chain.",
        (
            "Memory was plugged and the table is old.",
            "The ring is from before the guest started again: the base does not fit after a reconnect.",
        ),
    ),
    KnownError(
        ("virtqueue {queue:n} is too big. (size = {size:n}, max = {limit:n})",),
        _SPDK + "vhost_blk.c, vhost_scsi.c, alloc_vq_task_pool",
        "Ring {queue} has size {size}; SPDK takes {limit}. The session does not start.",
        ("queue-size= of the device in QEMU.",),
    ),
    KnownError(
        ("queue {queue:n} is empty",),
        _SPDK + "vhost_blk.c, vhost_scsi.c",
        "A ring that must be there was not set up when SPDK started the session.",
        ("The front-end announces more rings than it sets up.",),
    ),
    KnownError(
        ("failed to kick vring: {reason:s}.", "failed to acknowledge kickfd: {reason:s}."),
        _SPDK + "rte_vhost_user.c",
        "A kick descriptor cannot be used.",
        ("The front-end passed none, or it was closed.",),
    ),
    KnownError(
        (
            "Could not register controller {name:w} with vhost library",
            "Failed to start vhost driver for controller {name:w}",
            'Cannot create a domain socket at path "{path:w}"',
            "Check if domain socket {path:w} already exists",
            "Resulting socket path for controller {name:w} is too long",
        ),
        _SPDK + "rte_vhost_user.c, vhost_register_unix_socket",
        "SPDK cannot listen at the controller's path.",
        ("The file is there already, or its directory cannot be written, or the path is too long.",),
        NOTHING,
    ),
    KnownError(
        (
            "Couldn't find device with vid {vid:n} to create connection for.",
            "Couldn't find session with vid {vid:n}.",
            "Received a message to uninitialized session (vid {vid:n}).",
            "Device {name:w} is unregistered",
        ),
        _SPDK + "rte_vhost_user.c",
        "A front-end speaks on a controller that SPDK has removed or not made.",
        ("The controller was deleted while a VM has it.",),
    ),
    KnownError(
        (
            "Controller {name:w} has still valid connection.",
            "Timeout waiting for event: {event:w}.",
            "Timedout when destroy session (task_cnt {count:n})",
            "Couldn't stop device with vid {vid:n}.",
        ),
        _SPDK + "rte_vhost_user.c, vhost_blk.c",
        "SPDK waits for requests in flight that do not end, or a controller is deleted while a VM has it.",
        ("The bdev below hangs; GET_VRING_BASE waits with it.",),
    ),
    KnownError(
        ("hot-removing bdev - all further requests will fail.",),
        _SPDK + "vhost_blk.c, vhost_user_bdev_remove_cb",
        "The bdev of this controller was removed: requests of the guest fail from now on. The connection is not at fault.",
    ),
    KnownError(
        (
            "Failed to recv msg hdr: {got:n} instead of {wanted:n}.",
            "Failed to recv msg: flags {got:x} instead of {wanted:x}.",
            "Received oversized msg: payload size {size:n} > available space {most:n}",
            "Failed to recv msg payload: {got:n} instead of {wanted:n}.",
            "Received unexpected msg type",
            "Received bad msg size",
        ),
        _INIT + "vhost_user_read, vhost_user_sock",
        "SPDK as front-end (bdev_virtio) got no valid answer: the back-end closed the connection or answered something else.",
        ("The back-end refused a message and closed: see its log.",),
        BOTH,
    ),
    KnownError(
        (
            "requested {queues:n} request queues, but the host doesn't support VHOST_USER_PROTOCOL_F_MQ. Only one request queue will be used.",
            "requested {queues:n} request queues but only {limit:n} available",
        ),
        _INIT + "virtio_user_start_device",
        "SPDK asks for {queues} queues and the back-end has fewer. It goes on with what there is.",
    ),
    KnownError(
        (
            "Memory map change with active virtio_user_devs not allowed.",
            "Pre-allocate memory for application using -s (mem_size) option.",
            "Failed to prepare memory for vhost-user",
        ),
        _INIT + "virtio_user_map_notify, prepare_vhost_memory_user",
        "SPDK as front-end cannot tell the back-end about new memory, or has more than 8 pieces of it.",
        ("Give the application its memory at the start (-s).", "Use larger huge pages, or --single-file-segments."),
    ),
    # Open vSwitch
    KnownError(
        (
            "Removing port '{port:w}' while vhost device still attached.",
            "Connection on socket '{path:w}' destroyed while vhost device still attached.",
            "To restore connectivity after re-adding of port, VM on socket '{path:w}' must be restarted.",
        ),
        _OVS + "netdev_dpdk_vhost_destruct, destroy_connection",
        "The port was removed while a VM uses it.",
        (
            "A port of type dpdkvhostuser: the VM cannot connect again. Use dpdkvhostuserclient with reconnect in QEMU's server.",
        ),
    ),
    KnownError(
        (
            "vhost-user socket device setup failure for socket {path:w}",
            "vhost-user device setup failure for device {path:w}",
            "rte_vhost_driver_start failed for vhost user client port: {port:w}",
            "rte_vhost_driver_start failed for vhost user port: {port:w}",
        ),
        _OVS + "netdev_dpdk_vhost_construct, netdev_dpdk_vhost_client_reconfigure",
        "The port could not be made: the socket's path cannot be used.",
        (
            "The directory is not there or cannot be written; the file is in use by another port. See the VHOST_CONFIG lines before.",
        ),
        NOTHING,
    ),
    KnownError(
        ("vHost Device '{path:w}' can't be added - name not found", "vHost Device '{path:w}' not found"),
        _OVS + "new_device, destroy_device",
        "DPDK reports a device and Open vSwitch has no port with this socket.",
        ("The port was removed in between.",),
    ),
    KnownError(
        ("vHost Device '{path:w}' has been removed", "vHost Device '{path:w}' connection has been destroyed"),
        _OVS + "destroy_device, destroy_connection",
        "The device stopped: its rings were stopped or the connection ended. Alone this is not an error.",
        (
            "The VM was stopped or rebooted, or its driver was unloaded.",
            "The VHOST_CONFIG lines before it name the message.",
        ),
    ),
    KnownError(
        (
            "vhost-postcopy-support and mlockall are not compatible.",
            "dpdkvhostuser ports are considered deprecated; please migrate to dpdkvhostuserclient ports.",
        ),
        _OVS + "parse_vhost_config, netdev_dpdk_vhost_construct",
        "A note about the configuration of Open vSwitch.",
    ),
    KnownError(
        (
            "Error checking guest features for vHost Device '{path:w}'",
            "Error getting NUMA info for vHost Device '{path:w}'",
        ),
        _OVS + "new_device",
        "Open vSwitch could not ask DPDK about a device that had just started.",
        ("The device is gone already: the connection ended while it started.",),
        SESSION,
    ),
)
