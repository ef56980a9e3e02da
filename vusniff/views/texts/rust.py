"""Error texts of programs in Rust: rust-vmm's vhost and vhost-user-backend, virtiofsd, vhost-device, Cloud Hypervisor.

vhost 0.6 to 0.16, vhost-user-backend 0.8 to 0.22, virtiofsd 1.5 to 1.13, vhost-device 0.1 to 0.3, Cloud Hypervisor 41 to 53.
The same error has two forms: as words ("invalid parameters") and as its name ("InvalidParam").
"""

# ruff: noqa: E501 - rows are read as a table

from __future__ import annotations

from vusniff.views.texts.row import BOTH, NOTHING, SESSION, KnownError

_VHOST = "rust-vmm, vhost/src/vhost_user/mod.rs, Error"
_BACKEND = "rust-vmm, vhost-user-backend/src/"
_FSD = "virtiofsd (Rust), src/"
_CLH = "Cloud Hypervisor, virtio-devices/src/vhost_user/"
_DAEMON = "A daemon of rust-vmm ends the session at any error."
_REFUSED = (
    "SET_VRING_NUM: the queue size is above the daemon's maximum (virtiofsd and most devices: 1024; some vhost-device daemons: less).",
    "A ring index beyond what the daemon has: too many queues.",
    "SET_FEATURES: a bit that the daemon does not offer.",
    "SET_VRING_ADDR before SET_MEM_TABLE: guest memory is not shared (share=on), so QEMU sent no table.",
)

ROWS: tuple[KnownError, ...] = (
    KnownError(
        ("failed to handle request: invalid parameters", "HandleRequest(InvalidParam)", "invalid parameters"),
        f"{_VHOST}::InvalidParam; {_BACKEND}handler.rs",
        f"The daemon refused a message because of its values. {_DAEMON}",
        _REFUSED,
        "The last message before the end is the one: vusniff summary FILE.",
    ),
    KnownError(
        ("failed to handle request: invalid message", "HandleRequest(InvalidMessage)"),
        f"{_VHOST}::InvalidMessage; vhost/src/vhost_user/backend_req_handler.rs",
        f"A message has another size, flags or number of descriptors than the daemon expects. {_DAEMON}",
        (
            "A relay loses descriptors or cuts messages.",
            "The front-end sends another form: one descriptor more or less, REPLY_ACK not negotiated.",
        ),
    ),
    KnownError(
        ("inactive feature: {bits:n}", "InactiveFeature({bits:w})"),
        f"{_VHOST}::InactiveFeature",
        f"A message needs a feature that was not acknowledged. {_DAEMON}",
        (
            "VHOST_USER_F_PROTOCOL_FEATURES (bit 30, 1073741824): SET_VRING_ENABLE or a request for protocol features came, and SET_FEATURES had no bit 30.",
        ),
    ),
    KnownError(
        ("inactive protocol operation: {bits:n}", "InactiveOperation({bits:w})"),
        f"{_VHOST}::InactiveOperation",
        f"A message needs a protocol feature that was not negotiated. {_DAEMON}",
        ("The front-end sends it all the same: compare SET_PROTOCOL_FEATURES.",),
    ),
    KnownError(
        ("wrong number of attached fds", "HandleRequest(IncorrectFds)", "IncorrectFds"),
        f"{_VHOST}::IncorrectFds",
        f"A message came with too few or too many descriptors. {_DAEMON}",
        ("A relay loses or moves descriptors.", "The front-end sends none because it polls."),
    ),
    KnownError(
        ("invalid operation: already claimed", 'InvalidOperation("already claimed")', "InvalidOperation"),
        f"{_BACKEND}handler.rs, set_owner and others",
        f"The daemon does not allow the message now: a second SET_OWNER, or a request it does not support. {_DAEMON}",
        ("A front-end sends SET_OWNER twice on one connection.",),
    ),
    KnownError(
        ("oversized message", "OversizedMsg"),
        f"{_VHOST}::OversizedMsg",
        f"A header says more bytes than a message may have (4096). {_DAEMON}",
        ("The stream was cut in the wrong place before.",),
    ),
    KnownError(
        ("partial message", "HandleRequest(PartialMessage)"),
        f"{_VHOST}::PartialMessage",
        "The connection ended inside a message, or between two when the front-end closed. Versions from 0.2 on take it for a normal end.",
        ("The front-end closed: the VM was stopped or QEMU left.", "A relay cuts messages."),
        BOTH,
    ),
    KnownError(
        (
            "peer disconnected",
            "HandleRequest(Disconnected)",
            "Client disconnected, shutting down",
            "Client disconnected",
        ),
        f"{_VHOST}::Disconnected; {_FSD}main.rs",
        "The front-end closed the connection. This is how a VM is stopped, and no error of the daemon.",
        ("The VM was stopped, or QEMU left because it did not like an answer: QEMU's own output says so.",),
        BOTH,
    ),
    KnownError(
        (
            "socket is broken: {reason:s}",
            "SocketBroken({reason:s})",
            "socket error: {reason:s}",
            "temporary socket error: {reason:s}",
        ),
        f"{_VHOST}::SocketBroken, SocketError, SocketRetry",
        "The connection failed while a message was read or written.",
        ("The other side ended or reset the connection.",),
        BOTH,
    ),
    KnownError(
        ("can't connect to peer: {reason:s}", "SocketConnect({reason:s})"),
        f"{_VHOST}::SocketConnect",
        "The socket could not be reached.",
        (
            "The back-end does not run yet (NotFound), nobody listens (ConnectionRefused), or rights (PermissionDenied).",
        ),
        NOTHING,
    ),
    KnownError(
        ("backend internal error", "BackendInternalError"),
        f"{_VHOST}::BackendInternalError",
        "As front-end: the back-end acknowledged a request with an error, or its answer does not fit. As back-end: a ring could not be read.",
        (
            "SET_VRING_ADDR: the ring is not in the memory that was shared.",
            "The back-end answered a request with something else.",
        ),
        BOTH,
    ),
    KnownError(
        ("virtio/protocol features mismatch", "FeatureMismatch"),
        f"{_VHOST}::FeatureMismatch",
        "The features of both sides do not fit.",
        ("The back-end lacks VHOST_USER_F_PROTOCOL_FEATURES, or one that the front-end needs.",),
    ),
    KnownError(
        ("handler failed to handle request: {reason:s}", "ReqHandlerError({reason:s})"),
        f"{_VHOST}::ReqHandlerError; {_BACKEND}handler.rs",
        f"The daemon could not do what a message asks for; the words behind it say why. {_DAEMON}",
        (
            "Memory could not be mapped (SET_MEM_TABLE, ADD_MEM_REG): SeekEnd, Illegal seek means that the descriptor is not a file, MissingMemoryMapping that an address is in no region.",
            "SET_VRING_ADDR: an address that is in no region: guest memory is not shared.",
        ),
    ),
    KnownError(
        ("Missing memory mapping", "MissingMemoryMapping", "NoMemoryRegion", "NoMemoryConfigured"),
        f"{_BACKEND}handler.rs, vmm_va_to_gpa",
        "An address of a ring is in no memory region, or there is no memory at all.",
        (
            "Guest memory is not shared (share=on), so the table is empty or never came.",
            "Memory changed and the addresses are old.",
        ),
    ),
    KnownError(
        (
            "handler failed to allocate memfd during get_inflight_fd",
            "MemFdCreateError",
            "handler failed to truncate memfd during get_inflight_fd",
            "handler failed to apply seals to memfd during get_inflight_fd",
        ),
        f"{_VHOST}::MemFdCreateError, FileTruncateError, MemFdSealError",
        "The buffer of requests in flight could not be made.",
        ("memfd_create is not allowed (seccomp), or no memory.",),
    ),
    KnownError(
        (
            "failed to create vring: {reason:s}",
            "failed to create vring epoll handler: {reason:s}",
            "failed spawning the vring worker: {reason:s}",
            "cannot create vhost user handler: {reason:s}",
            "cannot create backend req handler: {reason:s}",
            "failed to start daemon: {reason:s}",
            "failed to wait for daemon exit",
        ),
        f"{_BACKEND}lib.rs, handler.rs",
        "The daemon could not start.",
        ("Too many open files or threads.",),
        NOTHING,
    ),
    KnownError(
        (
            "cannot create backend listener: {reason:s}",
            "cannot create vhost-user listener: {reason:s}",
            "Error creating listener: {reason:s}",
            "Failed creating vhost-user backend listener",
        ),
        f"{_BACKEND}lib.rs; {_FSD}main.rs",
        "The daemon cannot listen at its socket's path.",
        ("The file is there already and another daemon uses it, or the directory cannot be written.",),
        NOTHING,
    ),
    KnownError(
        ("Error in vring worker: {reason:s}",),
        f"{_BACKEND}handler.rs",
        "A thread that serves rings has ended: the device does not answer its rings any more, and the connection stays.",
        ("A request in a ring that the device does not take: the words behind it say which.",),
        "vusniff state FILE; what stands in the rings is not in messages.",
    ),
    KnownError(
        ("Waiting for daemon failed: {reason:s}",),
        f"{_FSD}main.rs, run_generic_fs",
        "virtiofsd ended because a message could not be handled; the words behind it say which error.",
        (),
        BOTH,
    ),
    KnownError(
        (
            "Error entering sandbox: {reason:s}",
            "Error creating sandbox: {reason:s}",
            "couldn't setup id mappings",
            "failed to execute newuidmap: {reason:s}",
            "failed to execute newgidmap: {reason:s}",
        ),
        f"{_FSD}sandbox.rs",
        "virtiofsd could not enter its sandbox and ended, after QEMU's connection may have been accepted by the kernel: QEMU says 'Read 0 instead of 12. Original request 1'.",
        (
            "No user namespaces for this user (kernel.unprivileged_userns_clone, AppArmor), or no /etc/subuid: --sandbox none or chroot.",
            "sandbox=namespace in a container without CAP_SYS_ADMIN.",
            "pivot_root on a root that is an initramfs: --sandbox chroot.",
        ),
        NOTHING,
    ),
    KnownError(
        (
            "Error increasing number of open files: {reason:s}",
            "Failure when trying to set the limit to {limit:n}, the hard limit ({hard:n}) of open file descriptors is used instead.",
        ),
        f"{_FSD}limits.rs",
        "virtiofsd gets fewer open files than it wants. The second text is a warning.",
        ("--rlimit-nofile, or LimitNOFILE= of the unit.",),
        NOTHING,
    ),
    KnownError(
        ("No more file descriptors available to the guest",),
        f"{_FSD}passthrough/guest_fd_limit.rs",
        "The guest has used all open files that virtiofsd may have: it sees ENFILE. The connection is not at fault.",
        ("--rlimit-nofile larger; --inode-file-handles=prefer keeps fewer files open.",),
        NOTHING,
    ),
    KnownError(
        (
            "Failed to load state: {reason:s}",
            "Failed to save state: {reason:s}",
            "Front-end attempts to check migration state, but no migration has been done",
            "Front-end did not announce migration to begin",
        ),
        f"{_FSD}vhost_user.rs",
        "The state of the file system could not be moved.",
        (
            "Files of the source are not found in the shared directory of the destination.",
            "Both virtiofsd have different options (writeback, announce-submounts, posix ACLs).",
        ),
        SESSION,
    ),
    KnownError(
        ("audit: type=1326", "SECCOMP auid=", "code=killed, status=31/SYS", "Bad system call"),
        "The kernel (audit), systemd and shells",
        "A seccomp filter killed a process. If it is the back-end, the front-end sees the connection end: 'Read 0 instead of 12'.",
        (
            "syscall= in the audit line is the number that the filter does not allow; a newer C library than the filter knows is the usual reason: --seccomp none (virtiofsd) to try.",
        ),
        "vusniff capture or proxy records the signal that ended the process (SIGSYS).",
    ),
    # Cloud Hypervisor
    KnownError(
        (
            "{device:w} requested too many queues ({queues:n}) since the backend only supports {limit:n}",
            "BadQueueNum",
            "Queue number is not correct",
        ),
        _CLH + "blk.rs, fs.rs, net.rs",
        "The device has more queues than the back-end says in its answer to GET_QUEUE_NUM.",
        (
            "num_queues= of the device. virtiofsd to 1.13 has 2: one high priority and one request queue.",
            "Without protocol feature MQ the limit is 1.",
        ),
        "GET_QUEUE_NUM and its answer are enough.",
    ),
    KnownError(
        (
            "Failed connecting to vhost-user backend for socket {path:w}: {reason:s}",
            "Timed out waiting for vhost-user connection on socket {path:w}",
            "Timed out waiting for vhost-user connection",
            "Failed connecting the backend after trying for 1 minute: {reason:s}",
            "VhostUserConnect({reason:s})",
            "Connection to socket failed",
        ),
        _CLH + "vu_common_ctrl.rs",
        "Cloud Hypervisor could not reach the back-end's socket for 60 seconds.",
        ("The back-end does not run, or listens elsewhere.", "Rights of the socket."),
        NOTHING,
    ),
    KnownError(
        (
            "VhostUserSetMemTable({reason:s})",
            "Set mem table failed",
            "VhostUserMemoryRegion({reason:s})",
            "VhostUserAddMemReg({reason:s})",
            "Add memory region failed",
            "Missing file descriptor for the region",
            "MissingRegionFd",
        ),
        _CLH + "vu_common_ctrl.rs",
        "The back-end got no guest memory.",
        ("Memory is not shared: --memory size=...,shared=on (or hugepages=on).", "The back-end could not map it."),
        BOTH,
    ),
    KnownError(
        (
            "VhostUserGetFeatures({reason:s})",
            "Get features failed",
            "VhostUserSetFeatures({reason:s})",
            "Set features failed",
            "VhostUserGetProtocolFeatures({reason:s})",
            "Get protocol features failed",
            "VhostUserSetProtocolFeatures({reason:s})",
            "Set protocol features failed",
            "VhostUserGetQueueMaxNum({reason:s})",
            "Get queue max number failed",
            "VhostUserSetOwner({reason:s})",
            "Set owner failed",
        ),
        _CLH + "mod.rs, Error",
        "A message of the negotiation failed: the back-end closed the connection or answered otherwise.",
        ("The back-end ended before its first answer: sandbox, seccomp, rights; its log says why.",),
        BOTH,
    ),
    KnownError(
        (
            "VhostUserSetVringNum({reason:s})",
            "Set vring num failed",
            "VhostUserSetVringAddr({reason:s})",
            "Set vring addr failed",
            "VhostUserSetVringBase({reason:s})",
            "Set vring base failed",
            "VhostUserSetVringCall({reason:s})",
            "Set vring call failed",
            "VhostUserSetVringKick({reason:s})",
            "Set vring kick failed",
            "VhostUserSetVringEnable({reason:s})",
            "Set vring enable failed",
            "VhostUserGetVringBase({reason:s})",
            "Get vring base failed",
        ),
        _CLH + "mod.rs, Error",
        "A message that sets up or stops a ring failed.",
        (
            "queue_size= of the device is above the back-end's maximum.",
            "Ring addresses are not in shared memory.",
            "The back-end is gone.",
        ),
        BOTH,
    ),
    KnownError(
        (
            "VhostUserGetInflight({reason:s})",
            "Failed getting inflight shm log",
            "VhostUserSetInflight({reason:s})",
            "Failed setting inflight shm log",
            "VhostUserSetLogBase({reason:s})",
            "Failed setting the log base",
            "VhostUserGetConfig({reason:s})",
            "Failed getting the configuration",
            "VhostUserSetConfig({reason:s})",
            "Failed setting the configuration",
        ),
        _CLH + "mod.rs, Error",
        "The back-end did not answer the request that this is named after, or refused it.",
        (
            "SET_LOG_BASE: rust-vmm before 0.16 answers without the payload that the front-end waits for.",
            "GET_CONFIG: the sizes differ.",
        ),
        BOTH,
    ),
    KnownError(
        (
            "Vhost-user Backend not support vhost-user protocol",
            "VhostUserProtocolNotSupport",
            "Invalid features provided from vhost-user backend",
            "InvalidFeatures",
        ),
        _CLH + "mod.rs, Error",
        "The back-end does not offer VHOST_USER_F_PROTOCOL_FEATURES (bit 30), or not what was expected.",
        ("The back-end is old, or made for another front-end.",),
        "GET_FEATURES and its answer are enough.",
    ),
    KnownError(
        (
            "vhost-user backend for socket {path:w} disconnected, attempting reconnection",
            "Backend disconnected for socket {path:w}",
            "failed to reconnect vhost-user backend for socket {path:w}",
            "Not activating disconnected vhost-user device for socket {path:w}",
        ),
        _CLH + "mod.rs",
        "The back-end closed the connection or ended; Cloud Hypervisor tries to reconnect.",
        ("The back-end crashed or was restarted.",),
        BOTH,
    ),
    KnownError(
        (
            "Failed to reset vhost-user daemon for socket {path:w}",
            "Failed updating memory on vhost-user backend for socket {path:w}",
        ),
        _CLH + "mod.rs",
        "A reset or a change of memory did not reach the back-end.",
        ("The back-end is gone.", "It has no slot left for more memory."),
        BOTH,
    ),
    KnownError(
        ("Attempt to write to read-only field: offset {offset:x} length {length:n}",),
        _CLH + "blk.rs, write_config",
        "The guest wrote to the configuration space where nothing can be written. It is not passed on.",
    ),
    KnownError(
        ("Migration is not supported by this vhost-user device",),
        _CLH + "mod.rs, Error::MigrationNotSupported",
        "The back-end offers neither LOG_SHMFD nor VHOST_F_LOG_ALL.",
    ),
)
