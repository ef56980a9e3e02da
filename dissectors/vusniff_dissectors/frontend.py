"""Requests of the main channel, sent by the front-end. Rows about memory and vrings are in files of their own.

Facts of a row: the vhost-user document of QEMU, section "Front-end message types" and the section named in the row;
the functions are those of QEMU (hw/virtio/vhost-user.c and its callers), DPDK (lib/vhost/vhost_user.c) and
libvhost-user.
"""

from __future__ import annotations

from vusniff.message import Dissector, MessageSpec
from vusniff.protocol import Channel
from vusniff.protocol import FrontendRequest as R
from vusniff.protocol import ProtocolFeature as P
from vusniff_dissectors import frontend_memory, frontend_vrings
from vusniff_dissectors import layouts as k

SPECS = (
    MessageSpec(
        R.GET_FEATURES,
        "GET_FEATURES",
        reply=k.FEATURES,
        answered=True,
        about="Asks which virtio and vhost features the back-end offers.",
        sent_by="QEMU vhost_user_get_features, twice for each queue pair when it connects; alone in mid-session it is "
        "a barrier after a message that cannot be acknowledged",
        handled_by="DPDK vhost_user_get_features; libvhost-user vu_get_features_exec",
        section="Communication; Front-end message types",
    ),
    MessageSpec(
        R.SET_FEATURES,
        "SET_FEATURES",
        payload=k.FEATURES,
        about="Sets the features in use; VHOST_F_LOG_ALL in it starts and stops dirty logging.",
        sent_by="QEMU vhost_dev_set_features > vhost_user_set_features, at start and when migration begins and ends",
        handled_by="DPDK vhost_user_set_features; libvhost-user vu_set_features_exec",
        section="Ring states; Migration",
    ),
    MessageSpec(
        R.SET_OWNER,
        "SET_OWNER",
        about="Makes the sender the owner of the session.",
        sent_by="QEMU vhost_dev_init > vhost_user_set_owner, first queue pair only; the first message of DPDK "
        "virtio-user, cloud-hypervisor and crosvm",
        handled_by="DPDK vhost_user_set_owner; libvhost-user vu_set_owner_exec (both do nothing)",
        section="Front-end message types",
    ),
    MessageSpec(
        R.RESET_OWNER,
        "RESET_OWNER",
        about="Deprecated: once disabled all rings; back-ends differ in what they do.",
        sent_by="QEMU before 8.2, vhost_user_reset_device without RESET_DEVICE; hardly anybody since",
        handled_by="DPDK vhost_user_reset_owner (drops the device state); libvhost-user vu_reset_device_exec (disables "
        "the rings)",
        section="Front-end message types",
    ),
    MessageSpec(
        R.GET_PROTOCOL_FEATURES,
        "GET_PROTOCOL_FEATURES",
        reply=k.PROTOCOL_FEATURES,
        answered=True,
        requires_feature="VHOST_USER_F_PROTOCOL_FEATURES offered",
        about="Asks which protocol features the back-end offers.",
        sent_by="QEMU vhost_user_backend_init, once for each queue pair",
        handled_by="DPDK vhost_user_get_protocol_features; libvhost-user vu_get_protocol_features_exec",
        section="Protocol features",
    ),
    MessageSpec(
        R.SET_PROTOCOL_FEATURES,
        "SET_PROTOCOL_FEATURES",
        payload=k.PROTOCOL_FEATURES,
        requires_feature="VHOST_USER_F_PROTOCOL_FEATURES offered",
        about="Sets the protocol features in use.",
        sent_by="QEMU vhost_user_backend_init > vhost_user_set_protocol_features, every offered bit that it has a "
        "number for",
        handled_by="DPDK vhost_user_set_protocol_features; libvhost-user vu_set_protocol_features_exec",
        section="Protocol features",
    ),
    MessageSpec(
        R.GET_QUEUE_NUM,
        "GET_QUEUE_NUM",
        reply=k.U64,
        answered=True,
        requires=P.MQ,
        about="Asks how many queues the back-end can serve (libvhost-user counts rings, DPDK queue pairs).",
        sent_by="QEMU vhost_user_backend_init, first queue pair only",
        handled_by="DPDK vhost_user_get_queue_num; libvhost-user vu_get_queue_num_exec",
        section="Multiple queue support",
    ),
    MessageSpec(
        R.SEND_RARP,
        "SEND_RARP",
        payload=k.RARP_MAC,
        requires=P.RARP,
        about="Asks the back-end to announce the guest's MAC address in the network by a RARP broadcast.",
        sent_by="QEMU vhost_user_migration_done, after migration of a guest that does not announce itself",
        handled_by="DPDK vhost_user_send_rarp; libvhost-user does not",
        section="Front-end message types",
    ),
    MessageSpec(
        R.NET_SET_MTU,
        "NET_SET_MTU",
        payload=k.U64,
        requires=P.MTU,
        requires_feature="VIRTIO_NET_F_MTU negotiated",
        about="Tells the back-end the MTU of the guest's network card.",
        sent_by="QEMU vhost_net_set_mtu > vhost_user_net_set_mtu, at start",
        handled_by="DPDK vhost_user_net_set_mtu (68 to 65535); libvhost-user does not",
        section="Front-end message types",
    ),
    MessageSpec(
        R.SET_BACKEND_REQ_FD,
        "SET_BACKEND_REQ_FD",
        fds=(1, 1),
        fds_meaning="stream socket for requests of the back-end",
        requires=P.BACKEND_REQ,
        aliases=("SET_SLAVE_REQ_FD",),
        about="Gives the back-end the socket of the back-end channel.",
        sent_by="QEMU vhost_setup_backend_channel, first queue pair only",
        handled_by="DPDK vhost_user_set_req_fd; libvhost-user vu_set_backend_req_fd",
        section="Back-end communication",
    ),
    MessageSpec(
        R.GET_CONFIG,
        "GET_CONFIG",
        payload=k.CONFIG,
        reply=k.CONFIG_REPLY,
        answered=True,
        requires=P.CONFIG,
        about="Reads a part of the device config space; an empty reply, or one of size 0, is an error.",
        sent_by="QEMU vhost_user_get_config, the whole space at initialisation and after CONFIG_CHANGE_MSG; user-mode "
        "Linux reads field by field",
        handled_by="DPDK vhost_user_get_config (vDPA only); libvhost-user vu_get_config",
        section="Virtio device config space",
    ),
    MessageSpec(
        R.SET_CONFIG,
        "SET_CONFIG",
        payload=k.CONFIG_SET,
        requires=P.CONFIG,
        about="Writes a part of the device config space, for the guest or for migration.",
        sent_by="QEMU vhost_user_set_config, when the guest writes a field such as the block device's write cache",
        handled_by="DPDK vhost_user_set_config (vDPA only); libvhost-user vu_set_config",
        section="Virtio device config space",
    ),
    MessageSpec(
        R.CREATE_CRYPTO_SESSION,
        "CREATE_CRYPTO_SESSION",
        payload=k.CRYPTO_SESSION,
        reply=k.CRYPTO_SESSION,
        answered=True,
        requires=P.CRYPTO_SESSION,
        aliases=("CRYPTO_CREATE_SESS",),
        about="Makes a crypto session; the reply is the same structure, its session_id negative on failure.",
        sent_by="QEMU vhost_user_crypto_create_session; the payload holds keys",
        handled_by="DPDK vhost_crypto_create_sess",
        section="Front-end message types",
    ),
    MessageSpec(
        R.CLOSE_CRYPTO_SESSION,
        "CLOSE_CRYPTO_SESSION",
        payload=k.U64,
        requires=P.CRYPTO_SESSION,
        aliases=("CRYPTO_CLOSE_SESS",),
        about="Closes the crypto session of this id.",
        sent_by="QEMU vhost_user_crypto_close_session",
        handled_by="DPDK vhost_crypto_close_sess",
        section="Front-end message types",
    ),
    MessageSpec(
        R.GPU_SET_SOCKET,
        "GPU_SET_SOCKET",
        fds=(1, 1),
        fds_meaning="stream socket that carries the vhost-user-gpu protocol",
        about="Gives the back-end the socket on which it talks to the display.",
        sent_by="QEMU vhost_user_gpu_set_socket, when the GPU device is realised",
        handled_by="contrib/vhost-user-gpu (vg_process_msg)",
        section="Front-end message types; vhost-user-gpu",
    ),
    MessageSpec(
        R.RESET_DEVICE,
        "RESET_DEVICE",
        requires=P.RESET_DEVICE,
        about="Resets the device: rings disabled, state as at the start; the owner stays.",
        sent_by="QEMU vhost_user_reset_device, when the guest resets the device",
        handled_by="rust-vmm based back-ends; neither DPDK nor libvhost-user",
        section="Front-end message types",
    ),
    MessageSpec(
        R.SET_STATUS,
        "SET_STATUS",
        payload=k.DEVICE_STATUS,
        requires=P.STATUS,
        about="Sets the virtio device status; 0 resets the device.",
        sent_by="QEMU vhost_user_add_status after SET_FEATURES and after start (last queue pair), 0 at stop",
        handled_by="DPDK vhost_user_set_status; libvhost-user does not",
        section="Front-end message types",
    ),
    MessageSpec(
        R.GET_STATUS,
        "GET_STATUS",
        reply=k.DEVICE_STATUS,
        answered=True,
        requires=P.STATUS,
        about="Asks for the virtio device status.",
        sent_by="QEMU vhost_user_add_status, before each SET_STATUS that adds bits",
        handled_by="DPDK vhost_user_get_status; libvhost-user does not",
        section="Front-end message types",
    ),
    MessageSpec(
        R.SET_DEVICE_STATE_FD,
        "SET_DEVICE_STATE_FD",
        payload=k.DEVICE_STATE_TRANSFER,
        reply=k.DEVICE_STATE_REPLY,
        answered=True,
        fds=(1, 1),
        fds_meaning="the front-end's end of the channel for the state",
        reply_fds=(0, 1),
        reply_fds_meaning="the back-end's own channel; none when bit 8 of the reply is set",
        requires=P.DEVICE_STATE,
        about="Starts the transfer of the back-end's internal state over a descriptor.",
        sent_by="QEMU vhost_save_backend_state and vhost_load_backend_state > vhost_user_set_device_state_fd",
        handled_by="rust-vmm based back-ends such as virtiofsd; neither DPDK nor libvhost-user",
        section="Migrating back-end state",
    ),
    MessageSpec(
        R.CHECK_DEVICE_STATE,
        "CHECK_DEVICE_STATE",
        reply=k.RESULT,
        answered=True,
        requires=P.DEVICE_STATE,
        about="Asks whether the state was transferred whole; 0 is success.",
        sent_by="QEMU vhost_user_check_device_state, after the state channel was closed",
        handled_by="rust-vmm based back-ends such as virtiofsd; neither DPDK nor libvhost-user",
        section="Migrating back-end state",
    ),
)

DISSECTOR = Dissector(
    Channel.MAIN,
    {
        spec.code: spec
        for spec in sorted((*SPECS, *frontend_memory.SPECS, *frontend_vrings.SPECS), key=lambda s: s.code)
    },
    k.ACK,
)
