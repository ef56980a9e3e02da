"""Which implementation a peer is, by the name of its process, and what is known of the limits of each.

The kernel keeps 15 characters of a name. Limits are those of the implementations' sources: libvhost-user of QEMU 10.2
(libvhost-user.h), DPDK 26.11 (lib/vhost/vhost_user.h), rust-vmm vhost 0.16 (message.rs), crosvm (vmm_vhost).
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from vusniff.channel import Sender
from vusniff.families.vhost_user.protocol import ProtocolFeature


class Program(str, enum.Enum):
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

    program: Program
    comm: str
    """Name of its process, empty when unknown."""

    def may_be(self, program: Program) -> bool:
        """It is this program, or nothing says what it is."""
        return self.program is program or self == NOBODY

    def __str__(self) -> str:
        if self.program is Program.UNKNOWN or not self.comm:
            return self.comm or "an unknown program"
        return f"{self.comm} ({self.program})"


NOBODY = Peer(Program.UNKNOWN, "")

FRONTENDS = (
    ("qemu-io", Program.LIBBLKIO),
    ("qemu-img", Program.LIBBLKIO),
    ("qemu-nbd", Program.LIBBLKIO),
    ("qemu-storage-da", Program.LIBBLKIO),
    ("blkio-", Program.LIBBLKIO),
    ("qemu-", Program.QEMU),
    ("CPU ", Program.QEMU),
    ("cloud-hyperviso", Program.CLOUD_HYPERVISOR),
    ("crosvm", Program.CROSVM),
    ("dpdk-", Program.DPDK),
    ("testpmd", Program.DPDK),
)
"""Beginnings of process names of front-ends, the first that fits; QEMU's vCPU threads are called ``CPU 0/KVM``. QEMU's
tools have no virtual machine, so no vhost-user device: what they are front-end of is a disk, through libblkio."""

BACKENDS = (
    ("dpdk-", Program.DPDK),
    ("testpmd", Program.DPDK),
    ("ovs-vswitchd", Program.DPDK),
    ("vhost-events", Program.DPDK),
    ("spdk", Program.SPDK),
    ("reactor_", Program.SPDK),
    ("vpp", Program.VPP),
    ("qemu-storage-da", Program.LIBVHOST_USER),
    ("vhost-user-", Program.LIBVHOST_USER),
    ("vhost-device-", Program.RUST_VMM),
    ("vhost_user_", Program.RUST_VMM),
    ("virtiofsd", Program.RUST_VMM),
    ("crosvm", Program.CROSVM),
)
"""Beginnings of process names of back-ends. ``virtiofsd`` is the Rust one unless `told_apart` finds otherwise."""


def recognise(sender: Sender, comm: str) -> Peer:
    """The implementation behind a process name."""
    for beginning, program in FRONTENDS if sender is Sender.FRONTEND else BACKENDS:
        if comm.startswith(beginning):
            return Peer(program, comm)
    return Peer(Program.UNKNOWN, comm)


def told_apart(peer: Peer, protocol_features_offered: int) -> Peer:
    """The C virtiofsd (libvhost-user) offers HOST_NOTIFIER, the Rust one does not."""
    if peer.comm.startswith("virtiofsd") and protocol_features_offered & ProtocolFeature.HOST_NOTIFIER:
        return Peer(Program.LIBVHOST_USER, peer.comm)
    return peer


def asks_for_all(peer: Peer) -> Peer:
    """libblkio inside QEMU: it asks for a reply to GET_FEATURES, which QEMU's own front-end never does."""
    return Peer(Program.LIBBLKIO, peer.comm) if peer.program is Program.QEMU else peer


class Limit(NamedTuple):
    """The most a back-end takes, by its program."""

    known: dict[Program, int]
    common: int
    """What a peer that is not recognised may be expected to take."""

    def of(self, peer: Peer) -> int:
        """For one peer."""
        return self.known.get(peer.program, self.common)


TABLE_REGIONS = Limit(
    {
        Program.DPDK: 8,
        Program.SPDK: 8,
        Program.LIBVHOST_USER: 8,
        Program.RUST_VMM: 32,
        Program.CROSVM: 32,
    },
    8,
)
"""Regions in one SET_MEM_TABLE."""
DESCRIPTORS = Limit(
    {
        Program.DPDK: 8,
        Program.SPDK: 8,
        Program.LIBVHOST_USER: 8,
        Program.RUST_VMM: 32,
        Program.CROSVM: 32,
    },
    8,
)
"""Descriptors with one message: libvhost-user ends its process above, DPDK refuses, rust-vmm drops them in silence."""
CONFIG_BYTES = Limit({Program.RUST_VMM: 4096, Program.CROSVM: 4096}, 256)
