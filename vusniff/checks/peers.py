"""Which implementation a peer is, by the name of its process. The kernel keeps 15 characters of a name."""

from __future__ import annotations

import enum
import functools
from typing import NamedTuple

from vusniff.channel import Sender
from vusniff.families.vhost_user.protocol import ProtocolFeature


class Implementation(str, enum.Enum):
    """An implementation of vhost-user."""

    QEMU = "QEMU"
    """Its devices for virtual machines (hw/virtio/vhost-user.c)."""
    LIBBLKIO = "libblkio"
    """Also inside QEMU, as its block driver virtio-blk-vhost-user."""
    LIBVHOST_USER = "libvhost-user"
    DPDK = "DPDK"
    SPDK = "SPDK"
    VPP = "VPP"
    RUST_VMM = "rust-vmm"
    CROSVM = "crosvm"
    CLOUD_HYPERVISOR = "cloud-hypervisor"
    UNKNOWN = "unknown"

    __str__ = str.__str__


class Peer(NamedTuple):
    """One side of a session."""

    program: Implementation
    comm: str
    """Name of its process, empty when unknown."""

    def may_be(self, program: Implementation) -> bool:
        """It is this program, or nothing says what it is."""
        return self.program is program or self == NOBODY

    def __str__(self) -> str:
        if self.program is Implementation.UNKNOWN or not self.comm:
            return self.comm or "an unknown program"
        return f"{self.comm} ({self.program})"


NOBODY = Peer(Implementation.UNKNOWN, "")

FRONTENDS = (
    ("qemu-io", Implementation.LIBBLKIO),
    ("qemu-img", Implementation.LIBBLKIO),
    ("qemu-nbd", Implementation.LIBBLKIO),
    ("qemu-storage-da", Implementation.LIBBLKIO),
    ("blkio-", Implementation.LIBBLKIO),
    ("qemu-", Implementation.QEMU),
    ("CPU ", Implementation.QEMU),
    ("cloud-hyperviso", Implementation.CLOUD_HYPERVISOR),
    ("crosvm", Implementation.CROSVM),
    ("dpdk-", Implementation.DPDK),
    ("testpmd", Implementation.DPDK),
)
"""Beginnings of process names of front-ends, the first that fits; QEMU's vCPU threads are called ``CPU 0/KVM``. QEMU's
tools have no virtual machine, so no vhost-user device: what they are front-end of is a disk, through libblkio."""

BACKENDS = (
    ("dpdk-", Implementation.DPDK),
    ("testpmd", Implementation.DPDK),
    ("ovs-vswitchd", Implementation.DPDK),
    ("vhost-events", Implementation.DPDK),
    ("spdk", Implementation.SPDK),
    ("reactor_", Implementation.SPDK),
    ("vpp", Implementation.VPP),
    ("qemu-storage-da", Implementation.LIBVHOST_USER),
    ("vhost-user-", Implementation.LIBVHOST_USER),
    ("vhost-device-", Implementation.RUST_VMM),
    ("vhost_user_", Implementation.RUST_VMM),
    ("virtiofsd", Implementation.RUST_VMM),
    ("crosvm", Implementation.CROSVM),
)
"""Beginnings of process names of back-ends. ``virtiofsd`` is the Rust one unless `told_apart` finds otherwise."""


@functools.lru_cache  # many connections are those of few processes
def recognise(sender: Sender, comm: str) -> Peer:
    """The implementation behind a process name."""
    for beginning, program in FRONTENDS if sender is Sender.FRONTEND else BACKENDS:
        if comm.startswith(beginning):
            return Peer(program, comm)
    return Peer(Implementation.UNKNOWN, comm)


def told_apart(peer: Peer, protocol_features_offered: int) -> Peer:
    """The C virtiofsd (libvhost-user) offers HOST_NOTIFIER, the Rust one does not."""
    if peer.comm.startswith("virtiofsd") and protocol_features_offered & ProtocolFeature.HOST_NOTIFIER:
        return Peer(Implementation.LIBVHOST_USER, peer.comm)
    return peer


def asks_for_all(peer: Peer) -> Peer:
    """libblkio inside QEMU: it asks for a reply to GET_FEATURES, which QEMU's own front-end never does."""
    return Peer(Implementation.LIBBLKIO, peer.comm) if peer.program is Implementation.QEMU else peer
