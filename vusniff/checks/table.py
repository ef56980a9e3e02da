"""The rules: one row each. R rows are what the specification and its implementations demand, T rows known traps.

Adding a rule is a function in the module of its subject, whose docstring's first line says what it demands, and a row.
"""

# ruff: noqa: E501 - rows are read as a table

from __future__ import annotations

from vusniff.checks import (
    backend_channel,
    calls,
    device,
    ending,
    exchange,
    gpu,
    header,
    inflight,
    memory,
    migration,
    negotiation,
    rings,
    stream,
    traps,
    vrings,
)
from vusniff.checks.finding import Key, Level, Rule, Side, Trigger
from vusniff.families.vhost_user.protocol import STOPS_RING, BackendRequest, Channels, FrontendRequest, GpuRequest

F, B, G = FrontendRequest, BackendRequest, GpuRequest


def _asks(*codes: FrontendRequest) -> tuple[Key, ...]:
    return tuple(Key(Channels.MAIN, code, False) for code in codes)


def _replies(*codes: FrontendRequest) -> tuple[Key, ...]:
    return tuple(Key(Channels.MAIN, code, True) for code in codes)


def _calls(*codes: BackendRequest) -> tuple[Key, ...]:
    return tuple(Key(Channels.BACKEND, code, False) for code in codes)


_M, _S, _D, _K, _T = Level.MUST, Level.SHOULD, Level.DERIVED, Level.KNOWN, Level.TRAP
_FE, _BE, _ANY = Side.FRONTEND, Side.BACKEND, Side.EITHER
_FDS = _asks(F.SET_VRING_KICK, F.SET_VRING_CALL, F.SET_VRING_ERR)
_RING_STATES = _asks(F.SET_VRING_NUM, F.SET_VRING_BASE, *STOPS_RING, F.SET_VRING_ENABLE, F.SET_VRING_ENDIAN)
_RINGS = (*_RING_STATES, *_asks(F.SET_VRING_ADDR, F.VRING_KICK), *_FDS)
_SET_MEMORY = _asks(F.SET_MEM_TABLE, F.ADD_MEM_REG)
_BACKEND = _calls(*B)
_INBAND = _calls(B.BACKEND_VRING_CALL, B.BACKEND_VRING_ERR)
_GATED_MEMORY = _asks(F.GET_MAX_MEM_SLOTS, F.ADD_MEM_REG, F.REM_MEM_REG, F.GET_SHARED_OBJECT, F.GET_SHMEM_CONFIG)
_GATED_CONFIG = _asks(F.GET_CONFIG, F.SET_CONFIG, F.CREATE_CRYPTO_SESSION, F.CLOSE_CRYPTO_SESSION)
_GATED_MOVING = _asks(F.POSTCOPY_ADVISE, F.POSTCOPY_LISTEN, F.POSTCOPY_END, F.SET_DEVICE_STATE_FD, F.CHECK_DEVICE_STATE)
_GATED_RINGS = _asks(
    F.GET_QUEUE_NUM,
    F.SET_VRING_ENDIAN,
    F.GET_INFLIGHT_FD,
    F.SET_INFLIGHT_FD,
    F.VRING_KICK,
    F.GET_VRING_BASE_SKIP_DRAIN,
)
_GATED_OTHER = _asks(F.SEND_RARP, F.NET_SET_MTU, F.SET_BACKEND_REQ_FD, F.RESET_DEVICE, F.SET_STATUS, F.GET_STATUS)
_GATED = (*_GATED_MEMORY, *_GATED_CONFIG, *_GATED_MOVING, *_GATED_RINGS, *_GATED_OTHER)
_GPU = (
    Key(Channels.GPU, G.GPU_GET_EDID, False),
    Key(Channels.GPU, G.GPU_DMABUF_SCANOUT2, False),
    Key(Channels.GPU, G.GPU_DMABUF_UPDATE, False),
    Key(Channels.GPU, G.GPU_DMABUF_UPDATE, True),
)
_LOOKUP_REPLY = (Key(Channels.BACKEND, B.BACKEND_SHARED_OBJECT_LOOKUP, True),)
_SHMEM = _calls(B.BACKEND_SHMEM_MAP, B.BACKEND_SHMEM_UNMAP)
_PADDED = (*_asks(F.SET_MEM_TABLE, F.ADD_MEM_REG, F.REM_MEM_REG, F.SEND_RARP), *_replies(F.GET_SHMEM_CONFIG), *_SHMEM)
_OBJECTS = (
    *_calls(B.BACKEND_SHARED_OBJECT_ADD, B.BACKEND_SHARED_OBJECT_REMOVE, B.BACKEND_SHARED_OBJECT_LOOKUP),
    *_asks(F.GET_SHARED_OBJECT),
)
_LOGGED = _asks(F.SET_LOG_BASE, F.SET_VRING_ADDR, F.SET_MEM_TABLE, F.ADD_MEM_REG)

_TYPES = "Front-end message types"
_BACK_TYPES = "Back-end message types"
_REGION = "Memory region description"

# fmt: off
RULES: tuple[Rule, ...] = (
    Rule("R01", "header-version", _M, _ANY, "Header", header.version, (Trigger.HEADER,), unread=True),
    Rule("R02", "header-reply-flag", _M, _ANY, "Header", header.reply_flag, (Trigger.HEADER,), unread=True),
    Rule("R03", "header-reserved-flags", _D, _ANY, "Header", header.reserved_flags, (Trigger.HEADER,), unread=True),
    Rule("R04", "reply-with-need-reply", _D, _ANY, "Header", header.need_reply_in_reply, (Trigger.HEADER,), unread=True),
    Rule("R05", "payload-size", _M, _ANY, "Message Specification", header.payload_size, (Trigger.PAYLOAD,), unread=True),
    Rule("R06", "reply-to-nothing", _M, _BE, "Communication", exchange.wrong_reply, (Trigger.PAIRING,), complete_only=True, unread=True),
    Rule("R07", "reply-out-of-order", _D, _BE, "Communication", exchange.out_of_order, (Trigger.PAIRING,), complete_only=True, unread=True),
    Rule("R08", "descriptors-after-header", _M, _ANY, "Communication", header.descriptors_late, (Trigger.DESCRIPTORS,), unread=True),
    Rule("R09", "descriptors-unexpected", _D, _ANY, "Communication", header.descriptors_unexpected, (Trigger.DESCRIPTORS,), unread=True),
    Rule("R10", "owner-first", _S, _FE, _TYPES, negotiation.owner_first, (Trigger.UNOWNED,), complete_only=True, once=True),
    Rule("R11", "owner-again", _D, _FE, _TYPES, negotiation.owner_again, _asks(F.SET_OWNER), complete_only=True),
    Rule("R12", "reset-owner-deprecated", _S, _FE, _TYPES, negotiation.reset_owner, _asks(F.RESET_OWNER)),
    Rule("R13", "get-protocol-features-unoffered", _M, _FE, _TYPES, negotiation.get_protocol_features_offered, _asks(F.GET_PROTOCOL_FEATURES)),
    Rule("R14", "set-protocol-features-unoffered", _M, _FE, _TYPES, negotiation.set_protocol_features_offered, _asks(F.SET_PROTOCOL_FEATURES)),
    Rule("R15", "protocol-features-before-features", _M, _BE, _TYPES, negotiation.protocol_features_early, _replies(F.SET_PROTOCOL_FEATURES), at_end=exchange.protocol_features_answered, complete_only=True),
    Rule("R16", "features-not-offered", _D, _FE, _TYPES, negotiation.features_subset, _asks(F.SET_FEATURES)),
    Rule("R17", "protocol-features-not-offered", _D, _FE, _TYPES, negotiation.protocol_features_subset, _asks(F.SET_PROTOCOL_FEATURES)),
    Rule("R18", "features-change-while-running", _D, _FE, "Migration", negotiation.features_change, _asks(F.SET_FEATURES), complete_only=True),
    Rule("R19", "inband-notifications-alone", _M, _FE, "In-band notifications", negotiation.inband_needs, _asks(F.SET_PROTOCOL_FEATURES)),
    Rule("R20", "base-inflight-alone", _M, _FE, _TYPES, negotiation.base_inflight_needs, _asks(F.SET_PROTOCOL_FEATURES)),
    Rule("R21", "request-not-negotiated", _M, _FE, _TYPES, negotiation.frontend_gated, _GATED, unread=True),
    Rule("R22", "backend-request-not-negotiated", _M, _BE, _BACK_TYPES, negotiation.backend_gated, _BACKEND, unread=True),
    Rule("R23", "mtu-not-negotiated", _M, _FE, _TYPES, negotiation.mtu_negotiated, _asks(F.NET_SET_MTU, F.SET_FEATURES)),
    Rule("R24", "iotlb-not-negotiated", _M, _FE, "IOMMU support", negotiation.iotlb_negotiated, _asks(F.IOTLB_MSG)),
    Rule("R25", "vring-enable-not-negotiated", _K, _FE, _TYPES, negotiation.enable_negotiated, _asks(F.SET_VRING_ENABLE), once=True),
    Rule("R26", "need-reply-not-negotiated", _K, _ANY, "REPLY_ACK", exchange.need_reply_not_negotiated, (Trigger.NEED_REPLY,)),
    Rule("R27", "need-reply-one-reply", _M, _BE, "REPLY_ACK", exchange.acknowledged_twice, (Trigger.PAIRING,), exchange.never_acknowledged, complete_only=True, unread=True),
    Rule("R28", "reply-not-asked", _M, _BE, "REPLY_ACK", exchange.not_asked, (Trigger.PAIRING,), complete_only=True, unread=True),
    Rule("R29", "acknowledgement-form", _M, _ANY, "REPLY_ACK", exchange.acknowledgement_form, (Trigger.PAYLOAD,), unread=True),
    Rule("R30", "reply-and-acknowledgement", _M, _BE, "REPLY_ACK", exchange.own_reply_twice, (Trigger.PAIRING,), complete_only=True, unread=True),
    Rule("R31", "memory-table-count", _M, _FE, "Multiple memory regions description", memory.region_count, _asks(F.SET_MEM_TABLE), unread=True),
    Rule("R32", "memory-table-descriptors", _M, _FE, _TYPES, memory.table_descriptors, _asks(F.SET_MEM_TABLE)),
    Rule("R33", "memory-overlap-guest", _M, _FE, _REGION, memory.guest_overlap, _asks(F.SET_MEM_TABLE)),
    Rule("R34", "memory-overlap-user", _M, _FE, _REGION, memory.user_overlap, _asks(F.SET_MEM_TABLE)),
    Rule("R35", "add-region-descriptor", _M, _FE, _TYPES, memory.add_descriptor, _asks(F.ADD_MEM_REG)),
    Rule("R36", "remove-region-descriptor", _S, _FE, _TYPES, memory.rem_descriptor, _asks(F.REM_MEM_REG)),
    Rule("R37", "remove-region-unknown", _M, _FE, _TYPES, memory.rem_known, _asks(F.REM_MEM_REG), complete_only=True),
    Rule("R38", "memory-slots-exceeded", _M, _FE, _TYPES, memory.slots, _asks(F.ADD_MEM_REG), complete_only=True),
    Rule("R39", "add-region-overlap", _M, _FE, _REGION, memory.add_over, _asks(F.ADD_MEM_REG), complete_only=True),
    Rule("R40", "gpa-addresses-repeated", _M, _FE, _REGION, memory.gpa_repeats, _SET_MEMORY),
    Rule("R41", "region-size", _D, _FE, "rust-vmm and crosvm", memory.region_sane, _SET_MEMORY),
    Rule("R42", "vring-index", _M, _FE, "Multiple queue support", vrings.index_in_range, _RINGS),
    Rule("R43", "vring-address-outside-memory", _D, _FE, "Memory access", vrings.addresses_in_memory, _asks(F.SET_VRING_ADDR), complete_only=True),
    Rule("R44", "vring-address-alignment", _D, _FE, "virtio, Virtqueues", vrings.addresses_aligned, _asks(F.SET_VRING_ADDR)),
    Rule("R45", "vring-size", _D, _FE, "virtio, Virtqueues", vrings.queue_size, _asks(F.SET_VRING_NUM)),
    Rule("R46", "vring-no-fd-bit", _M, _FE, _TYPES, vrings.no_fd_bit, _FDS),
    Rule("R47", "vring-fd-reserved", _D, _FE, _TYPES, vrings.fd_word_reserved, _FDS),
    Rule("R48", "vring-kick-before-num", _D, _FE, "Ring states", vrings.kick_before_setup, _asks(F.SET_VRING_KICK, F.VRING_KICK), complete_only=True),
    Rule("R49", "get-vring-base-num", _K, _FE, _TYPES, vrings.get_base_num, _asks(*STOPS_RING), once=True),
    Rule("R50", "get-vring-base-index", _M, _BE, _TYPES, vrings.get_base_index, _replies(*STOPS_RING)),
    Rule("R51", "vring-stopped-notifies", _M, _BE, "Ring states", vrings.stopped_silent, _INBAND, complete_only=True),
    Rule("R52", "vring-used-without-kick", _M, _FE, "Ring states", at_end=vrings.used_without_kick, complete_only=True),
    Rule("R53", "vring-never-enabled", _M, _FE, "Ring states", at_end=vrings.rings_enabled, complete_only=True),
    Rule("R54", "vring-base-repeated", _S, _FE, "Migrating back-end state", vrings.base_repeated, _asks(F.SET_VRING_BASE), complete_only=True),
    Rule("R55", "vring-base-split", _M, _ANY, "Vring descriptor index for split virtqueues", vrings.split_base, (*_asks(F.SET_VRING_BASE), *_replies(*STOPS_RING)), complete_only=True),
    Rule("R56", "vring-enable-value", _M, _FE, _TYPES, vrings.enable_value, _asks(F.SET_VRING_ENABLE)),
    Rule("R57", "vring-endian", _M, _FE, _TYPES, vrings.endian, _asks(F.SET_VRING_ENDIAN), complete_only=True),
    Rule("R58", "inband-num", _M, _ANY, "In-band notifications", vrings.inband_num, (*_asks(F.VRING_KICK), *_INBAND)),
    Rule("R59", "suspended-device-talks", _M, _BE, "Suspended device state", vrings.suspended_silent, _BACKEND, complete_only=True, unread=True),
    Rule("R60", "suspended-device-silent", _M, _BE, "Suspended device state", at_end=exchange.suspended_still_answers, complete_only=True),
    Rule("R61", "log-descriptor", _M, _FE, "Migration", migration.log_descriptor, _asks(F.SET_LOG_BASE)),
    Rule("R62", "log-base-unanswered", _M, _BE, "Communication", at_end=exchange.log_base_answered, complete_only=True),
    Rule("R63", "log-too-small", _M, _FE, "Migration", migration.log_covers, _LOGGED, complete_only=True),
    Rule("R64", "log-before-features", _D, _FE, "Migration", migration.log_before_features, _asks(F.SET_FEATURES, F.SET_VRING_ADDR), complete_only=True),
    Rule("R65", "postcopy-order", _M, _FE, _TYPES, migration.postcopy_order, _asks(F.POSTCOPY_ADVISE, F.POSTCOPY_LISTEN, F.POSTCOPY_END), complete_only=True),
    Rule("R66", "postcopy-advise-reply", _M, _BE, _TYPES, migration.advise_reply, _replies(F.POSTCOPY_ADVISE), unread=True),
    Rule("R67", "postcopy-bases", _M, _BE, _TYPES, migration.bases_reply, _replies(F.SET_MEM_TABLE, F.ADD_MEM_REG)),
    Rule("R68", "postcopy-bases-acknowledged", _M, _FE, _TYPES, migration.bases_acknowledged, (Trigger.POSTCOPY,), complete_only=True, unread=True, once=True),
    Rule("R69", "postcopy-listen-with-regions", _D, _FE, "libvhost-user and DPDK", migration.listen_without_regions, _asks(F.POSTCOPY_LISTEN)),
    Rule("R70", "config-reply-size", _M, _BE, _TYPES, device.config_reply, _replies(F.GET_CONFIG), unread=True),
    Rule("R71", "config-size", _D, _ANY, "Virtio device config space", device.config_size, (*_asks(F.GET_CONFIG, F.SET_CONFIG), *_replies(F.GET_CONFIG)), unread=True),
    Rule("R72", "inflight-reply-descriptor", _D, _BE, "Inflight I/O tracking", inflight.inflight_reply, _replies(F.GET_INFLIGHT_FD)),
    Rule("R73", "inflight-geometry", _M, _FE, "Inflight I/O tracking", inflight.inflight_geometry, _asks(F.SET_INFLIGHT_FD)),
    Rule("R74", "device-state-while-running", _M, _FE, "Device state transfer parameters", migration.device_state_stopped, _asks(F.SET_DEVICE_STATE_FD)),
    Rule("R75", "device-state-values", _M, _FE, "Device state transfer parameters", migration.device_state_values, _asks(F.SET_DEVICE_STATE_FD)),
    Rule("R76", "device-state-reply", _M, _BE, _TYPES, migration.device_state_reply, _replies(F.SET_DEVICE_STATE_FD)),
    Rule("R77", "device-state-check-alone", _M, _FE, _TYPES, migration.check_after_set, _asks(F.CHECK_DEVICE_STATE), complete_only=True),
    Rule("R78", "status-drops-bits", _D, _FE, "virtio, Device Status Field", device.status_grows, _asks(F.SET_STATUS), complete_only=True),
    Rule("R79", "status-order", _D, _FE, "virtio, Device Initialization", device.status_order, _asks(F.SET_STATUS), complete_only=True),
    Rule("R80", "backend-request-too-early", _M, _BE, "Back-end communication", backend_channel.channel_open, _BACKEND, complete_only=True, unread=True),
    Rule("R81", "backend-descriptors", _M, _BE, "Back-end communication", backend_channel.descriptors_negotiated, (Trigger.DESCRIPTORS,), unread=True),
    Rule("R82", "iotlb-frontend-type", _M, _FE, "IOMMU support", memory.iotlb_frontend_type, _asks(F.IOTLB_MSG)),
    Rule("R83", "iotlb-backend-type", _M, _BE, "IOMMU support", memory.iotlb_backend_type, _calls(B.BACKEND_IOTLB_MSG)),
    Rule("R84", "iotlb-unanswered", _M, _BE, "IOMMU support", at_end=exchange.iotlb_answered, complete_only=True),
    Rule("R85", "iotlb-unasked", _S, _FE, "IOMMU support", memory.iotlb_unasked, _asks(F.IOTLB_MSG), complete_only=True, once=True),
    Rule("R86", "host-notifier", _M, _BE, _BACK_TYPES, backend_channel.notifier, _calls(B.BACKEND_VRING_HOST_NOTIFIER_MSG)),
    Rule("R87", "shared-object-not-added", _M, _BE, _BACK_TYPES, backend_channel.object_known, _calls(B.BACKEND_SHARED_OBJECT_REMOVE), complete_only=True),
    Rule("R88", "shared-object-lookup-answer", _M, _FE, _BACK_TYPES, backend_channel.lookup_reply, _LOOKUP_REPLY, exchange.lookup_answered, complete_only=True),
    Rule("R89", "shmem-map", _M, _BE, _BACK_TYPES, backend_channel.shmem_map, _calls(B.BACKEND_SHMEM_MAP)),
    Rule("R90", "shmem-unmap", _M, _BE, _BACK_TYPES, backend_channel.shmem_unmap, _calls(B.BACKEND_SHMEM_UNMAP), complete_only=True),
    Rule("R91", "shmem-config-changes", _M, _BE, _TYPES, backend_channel.shmem_config, _replies(F.GET_SHMEM_CONFIG)),
    Rule("R92", "crypto-session-unknown", _D, _FE, _TYPES, device.crypto_close, _asks(F.CLOSE_CRYPTO_SESSION), complete_only=True),
    Rule("R93", "kick-once-after-start", _S, _FE, "Ring states", remark="After SET_VRING_KICK the front-end kicks once: not visible on the socket, so never judged"),
    Rule("R94", "goes-on-after-wrong-reply", _S, _FE, "Communication", exchange.goes_on_after_wrong_reply, (Trigger.WRONG_BEFORE,), complete_only=True, unread=True),
    Rule("R95", "gpu-requests", _M, _BE, "vhost-user-gpu", gpu.requests, _GPU),
    Rule("R96", "postcopy-with-memory-slots", _K, _FE, _TYPES, migration.postcopy_with_slots, _asks(F.POSTCOPY_ADVISE, F.POSTCOPY_LISTEN, F.POSTCOPY_END), once=True),
    Rule("R97", "iotlb-permissions", _M, _ANY, "An IOTLB message", memory.iotlb_permissions, (*_asks(F.IOTLB_MSG), *_calls(B.BACKEND_IOTLB_MSG))),
    Rule("R98", "mtu-range", _M, _FE, "virtio, Network Device, Device configuration layout", device.mtu_range, _asks(F.NET_SET_MTU)),
    Rule("R99", "queue-num-zero", _D, _BE, "Multiple queue support", vrings.queues_there, _replies(F.GET_QUEUE_NUM)),
    Rule("R100", "inflight-queues", _D, _FE, "Inflight description; rust-vmm vhost 0.16, VhostUserInflight::is_valid", inflight.inflight_queues, _asks(F.GET_INFLIGHT_FD, F.SET_INFLIGHT_FD)),
    Rule("R101", "config-outside-space", _D, _FE, "Virtio device config space; rust-vmm vhost 0.16, VhostUserConfig::is_valid", device.config_wraps, _asks(F.GET_CONFIG, F.SET_CONFIG), unread=True),
    Rule("R102", "vring-address-flags", _D, _FE, "A vring address description; rust-vmm vhost 0.16, VhostUserVringAddrFlags", vrings.address_flags, _asks(F.SET_VRING_ADDR)),
    Rule("R103", "padding-not-zero", _K, _ANY, "Message Specification", header.padding_zero, _PADDED, once=True),
    Rule("R104", "shared-object-nil", _D, _ANY, "VhostUserShared; rust-vmm vhost 0.16, VhostUserSharedMsg::is_valid", backend_channel.object_named, _OBJECTS),
    Rule("R105", "crypto-key-length", _D, _FE, _TYPES, device.crypto_key_length, _asks(F.CREATE_CRYPTO_SESSION)),
    Rule("R106", "packed-ring-first-base", _D, _FE, "Vring descriptor indices for packed virtqueues; virtio, Driver and Device Ring Wrap Counters", vrings.packed_first_base, _asks(F.SET_VRING_BASE), complete_only=True),
    Rule("R107", "bytes-unread", _M, _ANY, "Message Specification", stream.no_message, (Trigger.STREAM,), unread=True),
    Rule("R108", "stream-lost", _M, _ANY, "Message Specification", at_end=stream.never_found_again),
    Rule("R109", "message-unfinished", _M, _ANY, "Message Specification", stream.not_finished, (Trigger.STREAM,), stream.stopped_within, unread=True),
    Rule("R110", "gpu-flags-not-set", _D, _BE, "vhost-user-gpu, Wire format; QEMU 10.2, contrib/vhost-user-gpu, vg_resource_flush", header.gpu_flags, (Trigger.HEADER,), unread=True, once=True),
    Rule("T01", "regions-more-than-peer", _T, _FE, "libvhost-user of QEMU 10.2, VHOST_MEMORY_BASELINE_NREGIONS; DPDK 26.07, vhost_user_set_mem_table", traps.regions_more_than_peer, _asks(F.SET_MEM_TABLE), unread=True),
    Rule("T02", "descriptors-more-than-peer", _T, _FE, "libvhost-user of QEMU 10.2, vu_message_read_default; DPDK 26.07, read_vhost_message", traps.descriptors_more_than_peer, (Trigger.DESCRIPTORS,), unread=True),
    Rule("T03", "shmem-bit", _T, _ANY, "rust-vmm vhost 0.16, VhostUserProtocolFeatures", traps.shmem_bit, (*_replies(F.GET_PROTOCOL_FEATURES), *_asks(F.GET_SHMEM_CONFIG), *_SHMEM)),
    Rule("T04", "config-flags", _T, _FE, "rust-vmm vhost 0.16, VhostUserConfigFlags", device.config_flags, _asks(F.GET_CONFIG, F.SET_CONFIG)),
    Rule("T05", "vring-enable-before-features", _T, _FE, "rust-vmm vhost 0.16, BackendReqHandler::handle_request", negotiation.enable_before_features, _asks(F.SET_VRING_ENABLE)),
    Rule("T06", "vring-not-restarted", _T, _FE, "vhost-user, Ring states; DPDK 26.07, vq_is_ready", at_end=vrings.not_restarted, complete_only=True),
    Rule("T07", "queue-size-more-than-peer", _T, _FE, "rust-vmm vhost-user-backend 0.22, VhostUserHandler::set_vring_num", traps.queue_size_refused, _replies(F.SET_VRING_NUM), traps.queue_size_closed),
    Rule("T08", "request-never-answered", _T, _BE, "QEMU 10.0, vhost_user_read, which waits without a limit", at_end=exchange.never_answered, complete_only=True),
    Rule("T09", "request-waits", _T, _BE, "QEMU 10.0, vhost_user_read, which waits without a limit", exchange.waits_too_long, (Trigger.LATE,), unread=True),
    Rule("T10", "vring-lost-after-reconnect", _T, _FE, "vhost-user, Ring states, and Inflight I/O tracking", at_end=traps.rings_lost, complete_only=True),
    Rule("T11", "memory-not-shared", _T, _FE, "DPDK 26.07, vhost_user_mmap_region; libvhost-user of QEMU 10.2, vu_add_mem_reg", memory.not_shared, _SET_MEMORY),
    Rule("T12", "nothing-shared", _T, _FE, "QEMU 10.0, vhost_user_fill_set_mem_table_msg; libvhost-user of QEMU 10.2, vu_set_vring_addr_exec", memory.nothing_shared, _asks(F.SET_MEM_TABLE, F.SET_VRING_ADDR, F.SET_VRING_KICK, F.VRING_KICK), memory.nothing_shared_at_end, complete_only=True, once=True),
    Rule("T13", "features-shrink", _T, _BE, "QEMU 10.0, vhost_net_init: \"vhost lacks feature mask\"", traps.features_shrink, _replies(F.GET_FEATURES), once=True),
    Rule("T14", "protocol-features-shrink", _T, _BE, "vhost-user, Protocol features", traps.protocol_features_shrink, _replies(F.GET_PROTOCOL_FEATURES), once=True),
    Rule("T15", "descriptor-of-two-rings", _T, _FE, "Linux, eventfd(2): one read takes what all have written", traps.descriptor_of_two_rings, _asks(F.SET_VRING_KICK, F.SET_VRING_CALL), complete_only=True),
    Rule("T16", "descriptor-missing", _T, _FE, "libvhost-user of QEMU 10.2, vu_set_backend_req_fd", traps.descriptor_missing, _asks(F.SET_BACKEND_REQ_FD, F.SET_LOG_FD, F.GPU_SET_SOCKET)),
    Rule("T17", "request-refused", _T, _ANY, "QEMU 10.0, process_message_reply", exchange.refused, (Trigger.FAILED, *_replies(F.SET_DEVICE_STATE_FD, F.CREATE_CRYPTO_SESSION))),
    Rule("T18", "refused-by-closing", _T, _BE, "DPDK 26.07, vhost_user_msg_handler; rust-vmm vhost 0.16, BackendReqHandler::handle_request", at_end=exchange.refused_by_closing, complete_only=True),
    Rule("T19", "pending-at-close", _T, _ANY, "QEMU 10.0, vhost_user_read_header: \"Failed to read msg header\"", at_end=exchange.pending_at_close, complete_only=True),
    Rule("T20", "config-refused", _T, _BE, "QEMU 10.0, vhost_user_get_config", device.config_refused, _replies(F.GET_CONFIG), unread=True),
    Rule("T21", "request-unknown", _T, _ANY, "rust-vmm vhost 0.16, BackendReqHandler::handle_request; DPDK 26.07, vhost_user_msg_handler", traps.unknown_request, (Trigger.UNKNOWN,), unread=True),
    Rule("T22", "request-while-waiting", _T, _FE, "QEMU 10.0, process_message_reply: \"Received unexpected msg type\"", exchange.sent_while_waiting, (Trigger.PAIRING,), unread=True, once=True),
    Rule("T23", "acknowledgement-not-counted", _T, _FE, "rust-vmm vhost 0.1 to 0.13, BackendReqHandler::update_reply_ack_flag", exchange.acknowledgement_not_counted, (Trigger.UNCOUNTED,), complete_only=True, unread=True, once=True),
    Rule("T24", "log-base-reply-empty", _T, _BE, "rust-vmm vhost 0.15, Frontend::set_log_base; DPDK 26.07, vhost_user_set_log_base", exchange.log_base_reply_empty, _replies(F.SET_LOG_BASE), unread=True),
    Rule("T25", "inflight-before-rings", _T, _FE, "DPDK 21.11, vhost_user_set_inflight_fd", inflight.inflight_before_rings, _asks(F.SET_INFLIGHT_FD), complete_only=True),
    Rule("T26", "memory-replaced-while-running", _T, _FE, "SPDK 18.07, vhost_setup_mem_table, and its issue 3132; DPDK before 18.05, vhost_user_set_mem_table", at_end=memory.replaced_while_running),
    Rule("T27", "rings-announced-not-set-up", _T, _FE, "DPDK 20.05 and 26.07, virtio_is_ready", at_end=vrings.announced, complete_only=True),
    Rule("T28", "regions-not-on-2-mib", Level.KNOWN, _FE, "SPDK 26.09, vhost_session_mem_region_calc", memory.spdk_alignment, _SET_MEMORY, once=True),
    Rule("T29", "pair-half-enabled", _T, _FE, "cloud-hypervisor 17, VhostUserHandle::setup_vhost_user, and its issue 2911", vrings.pair_half_enabled, _asks(F.SET_VRING_ENABLE), complete_only=True, once=True),
    Rule("T30", "memory-never-came", _T, _FE, "QEMU 10.0, vhost_user_fill_set_mem_table_msg: \"Failed initializing vhost-user memory map\"", at_end=memory.memory_never_came, complete_only=True),
    Rule("T31", "other-protocol", _T, _ANY, "QEMU 10.0, vhost_user_read_header", at_end=ending.other_protocol, unread=True),
    Rule("T32", "peer-never-spoke", _T, _BE, "QEMU 10.0, vhost_user_read, which waits without a limit", at_end=ending.never_spoke),
    Rule("T33", "closed-before-first-answer", _T, _BE, "QEMU 10.0, vhost_user_read_header: \"Failed to read msg header\"", at_end=ending.closed_before_first_answer),
    Rule("T34", "closed-after-request", _T, _BE, "DPDK 26.07, vhost_user_msg_handler; libvhost-user of QEMU 10.2, vu_panic", at_end=ending.closed_after_request),
    Rule("T35", "left-after-reply", _T, _FE, "QEMU 10.0, vhost_user_backend_init", at_end=ending.left_after_reply),
    Rule("T36", "refused-then-closed", _T, _BE, "QEMU 10.0, process_message_reply", at_end=ending.refused_then_closed),
    Rule("T37", "vring-not-served", _T, _BE, "virtio 1.2, 2.7.7 Used Buffer Notification Suppression; samples of rings", at_sample=rings.not_served),
    Rule("T38", "vring-used-while-disabled", _T, _FE, "vhost-user, Ring states; rust-vmm vhost issue 247", at_sample=rings.used_while_disabled),
    Rule("T39", "vring-without-buffers", Level.KNOWN, _FE, "virtio 1.2, 5.1.6.3 Setting Up Receive Buffers", at_sample=rings.no_buffers),
    Rule("T40", "vring-used-ahead", _T, _BE, "virtio 1.2, 2.7.6 and 2.7.8", at_sample=rings.used_ahead),
    Rule("T41", "vring-base-behind", _T, _BE, "vhost-user, GET_VRING_BASE, and samples of rings", rings.base_behind, _replies(F.GET_VRING_BASE)),
    Rule("T42", "vring-index-jump", _T, _FE, "virtio 1.2, 2.7.6 and 2.7.8; libvhost-user of QEMU 10.2, virtqueue_num_heads", at_sample=rings.index_jumps),
    Rule("T43", "vring-base-ahead", _T, _FE, "vhost-user, SET_VRING_BASE, and samples of rings", at_sample=rings.base_ahead),
    Rule("T44", "vring-inflight-left", _T, _BE, "vhost-user, Inflight I/O tracking, and samples of rings", at_sample=rings.inflight_left),
    Rule("T45", "vring-interrupts-masked", Level.KNOWN, _FE, "virtio 1.2, 2.7.7 Used Buffer Notification Suppression; samples of rings", at_sample=rings.interrupts_masked),
    Rule("T46", "dirty-pages-not-set", _T, _BE, "vhost-user, Migration, and samples of rings", at_sample=rings.dirty_pages_not_set, once=True),
    Rule("T47", "memory-file-too-short", _T, _FE, "mmap(2), SIGBUS; libvhost-user of QEMU 10.2, vu_add_mem_reg", memory.file_too_short, _SET_MEMORY),
    Rule("T48", "device-gave-up", _T, _FE, "virtio 1.2, 2.1 Device Status Field", device.gave_up, (*_asks(F.SET_STATUS), *_replies(F.GET_STATUS))),
    Rule("T49", "two-front-ends", _T, _ANY, "vhost-user, Starting and stopping; QEMU 10.0, vhost_user_backend_init", header.two_frontends, (Trigger.HEADER,), complete_only=True, once=True),
    Rule("T50", "iotlb-miss-unanswered", _T, _FE, "QEMU 10.0, vhost_device_iotlb_miss: \"Fail to lookup the translated address\"", at_end=memory.miss_answered, complete_only=True),
    Rule("C01", "call-failed", _D, _FE, "Linux 6.18, drivers/vhost/vhost.c and net.c", calls.failed, (Trigger.CALL,), unread=True),
    Rule("C02", "backend-before-ring", _D, _FE, "Linux 6.18, drivers/vhost/net.c, vhost_net_set_backend", calls.backend_before_ring, (Trigger.CALL,)),
)
# fmt: on

BY_SLUG = {rule.slug: rule for rule in RULES}
