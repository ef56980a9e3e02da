"""The members of kernel structures that the probe reads, resolved from BTF into compiler definitions.

Owns the list of what the C program needs of a kernel. The C program sees each as ``O_<name>``; one that may be missing
is not defined then.
"""

from __future__ import annotations

from vusniff.bpf.btf import Btf
from vusniff.errors import SourceError

_NEEDED: dict[str, tuple[str, str]] = {
    "SOCKET_SK": ("socket", "sk"),
    "SOCKET_TYPE": ("socket", "type"),
    "SOCKET_FILE": ("socket", "file"),
    "ALLOC_SOCKET": ("socket_alloc", "socket"),
    "ALLOC_INODE": ("socket_alloc", "vfs_inode"),
    "SK_FAMILY": ("sock", "__sk_common.skc_family"),
    "SK_NET": ("sock", "__sk_common.skc_net.net"),
    "SK_SOCKET": ("sock", "sk_socket"),
    "SK_UNREAD": ("sock", "sk_receive_queue.qlen"),
    "SK_PEER_PID": ("sock", "sk_peer_pid"),
    "NET_INUM": ("net", "ns.inum"),
    "UNIX_ADDR": ("unix_sock", "addr"),
    "UNIX_PEER": ("unix_sock", "peer"),
    "ADDR_LEN": ("unix_address", "len"),
    "ADDR_NAME": ("unix_address", "name"),
    "MSG_ITER": ("msghdr", "msg_iter"),
    "MSG_CONTROL": ("msghdr", "msg_control"),
    "MSG_CONTROLLEN": ("msghdr", "msg_controllen"),
    "ITER_TYPE": ("iov_iter", "iter_type|type"),
    "ITER_SKIP": ("iov_iter", "iov_offset"),
    "ITER_IOV": ("iov_iter", "__iov|iov"),
    "ITER_SEGMENTS": ("iov_iter", "nr_segs"),
    "FILE_INODE": ("file", "f_inode"),
    "FILE_PRIVATE": ("file", "private_data"),
    "FILE_OPERATIONS": ("file", "f_op"),
    "FILE_DENTRY": ("file", "f_path.dentry"),
    "DENTRY_NAME": ("dentry", "d_name.name|__d_name.name"),
    "INODE_NUMBER": ("inode", "i_ino"),
    "INODE_SIZE": ("inode", "i_size"),
    "INODE_MODE": ("inode", "i_mode"),
    "INODE_RDEV": ("inode", "i_rdev"),
    "INODE_SB": ("inode", "i_sb"),
    "SB_MAGIC": ("super_block", "s_magic"),
    "SB_DEV": ("super_block", "s_dev"),
    "TASK_FILES": ("task_struct", "files"),
    "TASK_FLAGS": ("task_struct", "flags"),
    "TASK_EXIT_CODE": ("task_struct", "exit_code"),
    "TASK_LEADER": ("task_struct", "group_leader"),
    "TASK_COMM": ("task_struct", "comm"),
    "TASK_SIGNAL": ("task_struct", "signal"),
    "SIGNAL_LIVE": ("signal_struct", "live"),
    "SIGNAL_CODE": ("signal_struct", "group_exit_code"),
    "FILES_TABLE": ("files_struct", "fdt"),
    "TABLE_FILES": ("fdtable", "fd"),
    "TABLE_SIZE": ("fdtable", "max_fds"),
    "PID_NUMBERS": ("pid", "numbers"),
    "UPID_NR": ("upid", "nr"),
    "REG_1": ("pt_regs", "di|regs"),
    "REG_RETURN": ("pt_regs", "ax|regs"),
}
_OPTIONAL: dict[str, tuple[str, str]] = {
    # Up to 6.3: its type is known to the verifier. Later kernels make one segment an ITER_UBUF.
    "ITER_TYPED_IOV": ("iov_iter", "iov"),
    "EVENTFD_ID": ("eventfd_ctx", "id"),
    "REG_CALL": ("pt_regs", "orig_ax|syscallno"),
    "REG_2": ("pt_regs", "si"),
    "REG_3": ("pt_regs", "dx"),
    "TASK_STATUS": ("task_struct", "thread_info.status"),
    "TASK_STACK": ("task_struct", "stack"),
    "REG_SP": ("pt_regs", "sp"),
}
_ITER_KINDS = {"ITER_IOVEC": 0, "ITER_KVEC": 255, "ITER_UBUF": 255}
"""Names in ``enum iter_type`` and what stands for one that a kernel does not have."""
HOOKS = ("unix_stream_sendmsg", "unix_release")
EVENTFD_HOOKS = ("eventfd_write", "eventfd_read", "eventfd_signal", "eventfd_signal_mask")


def definitions(btf: Btf) -> dict[str, int]:
    """Compiler definitions for the C program: ``O_*`` offsets in bytes, ``T_*`` values, ``HAS_*`` functions."""
    found = btf.structs({name for name, _ in (*_NEEDED.values(), *_OPTIONAL.values())})
    out: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for table, needed in ((_NEEDED, True), (_OPTIONAL, False)):
        for name, (structure, path) in table.items():
            member = btf.offset(found[structure], path) if structure in found else None
            if member is not None:
                out[f"O_{name}"], sizes[name] = member
            elif needed:
                raise SourceError(
                    f"this kernel's type information has no member {path} in struct {structure}: "
                    "this kernel is not supported by the probe; use the proxy"
                )
    if "O_REG_2" not in out:  # arm64 keeps arguments in one array of 64-bit registers
        out["O_REG_2"], out["O_REG_3"] = out["O_REG_1"] + 8, out["O_REG_1"] + 16
    # Up to 5.13 the iterator's type word also holds the direction in bit 0.
    out["ITER_TYPE_SIZE"] = sizes["ITER_TYPE"]
    out["ITER_TYPE_MASK"] = 0xFE if sizes["ITER_TYPE"] == 4 else 0xFF
    kinds = btf.enumeration("iter_type")
    for name, missing in _ITER_KINDS.items():
        out[f"T_{name}"] = kinds.get(name, missing) & 0xFF
    if "BPF_FUNC_task_pt_regs" in btf.enumeration("bpf_func_id"):
        out["HAS_TASK_REGS"] = 1
    for function in btf.functions((*HOOKS, *EVENTFD_HOOKS)):
        out[f"HAS_{function.upper()}"] = 1
    return out
