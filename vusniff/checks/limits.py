"""The most that back-ends take, by their programs: one table for rules and verdicts.

Each figure stands in the source of its program. A back-end that is not known has none, or one that all of the known
ones take.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vusniff.checks.peers import Implementation, Peer

P = Implementation


class Most(NamedTuple):
    """What one program takes."""

    number: int
    source: str
    """Project, version, and what it is called there."""


class Limit(NamedTuple):
    """The most a back-end takes of something."""

    known: Mapping[Implementation, Most]
    common: int | None = None
    """What a peer that is not recognised may be expected to take; None where that is not known."""
    named: Mapping[str, Most] = {}
    """Limits of single programs, by the beginning of their name. They go before those of the library that a program is
    made with."""

    def told(self, peer: Peer) -> Most | None:
        """The most that a peer takes; None where its program is not known."""
        own = next((most for name, most in self.named.items() if peer.comm.startswith(name)), None)
        return own or self.known.get(peer.program)

    def of(self, peer: Peer) -> int:
        """The most that a peer takes as a number; of one that is not known the figure that all known ones have in
        common, 0 for none."""
        most = self.told(peer)
        return most.number if most is not None else self.common or 0


TABLE_REGIONS = Limit(
    {
        P.DPDK: Most(8, "DPDK 26.07, VHOST_MEMORY_MAX_NREGIONS"),
        P.SPDK: Most(8, "DPDK 26.07, VHOST_MEMORY_MAX_NREGIONS"),
        P.LIBVHOST_USER: Most(8, "QEMU 10.2, libvhost-user.h, VHOST_MEMORY_BASELINE_NREGIONS"),
        P.RUST_VMM: Most(32, "rust-vmm vhost 0.16, MAX_ATTACHED_FD_ENTRIES"),
        P.CROSVM: Most(32, "crosvm, vmm_vhost, MAX_ATTACHED_FD_ENTRIES"),
    },
    8,
)
"""Regions in one SET_MEM_TABLE."""
DESCRIPTORS = TABLE_REGIONS
"""Descriptors with one message: libvhost-user ends its process above, DPDK refuses, rust-vmm drops them in silence."""
SLOTS = Limit(
    {
        P.DPDK: Most(8, "DPDK 26.07, VHOST_MEMORY_MAX_NREGIONS"),
        P.SPDK: Most(8, "DPDK 26.07, VHOST_MEMORY_MAX_NREGIONS"),
        P.LIBVHOST_USER: Most(509, "QEMU since 9.0, libvhost-user.h, VHOST_USER_MAX_RAM_SLOTS; 32 before"),
        P.RUST_VMM: Most(509, "rust-vmm vhost-user-backend 0.13 to 0.22, MAX_MEM_SLOTS; 32 before"),
    }
)
"""Regions that ADD_MEM_REG may make: GET_MAX_MEM_SLOTS tells the same where it is asked."""
CONFIG_BYTES = Limit(
    {
        P.RUST_VMM: Most(4096, "rust-vmm vhost 0.16, VHOST_USER_CONFIG_SIZE"),
        P.CROSVM: Most(4096, "crosvm, vmm_vhost, VHOST_USER_CONFIG_SIZE"),
        P.LIBVHOST_USER: Most(256, "QEMU 10.2, libvhost-user.h, VHOST_USER_MAX_CONFIG_SIZE"),
        P.DPDK: Most(256, "DPDK 26.07, VHOST_USER_MAX_CONFIG_SIZE"),
        P.SPDK: Most(256, "DPDK 26.07, VHOST_USER_MAX_CONFIG_SIZE"),
    },
    256,
)
"""Bytes of one config access."""
QUEUE_SIZE = Limit(
    {
        P.SPDK: Most(1024, "SPDK 18.04 to 26.05, vhost_internal.h, SPDK_VHOST_MAX_VQ_SIZE"),
        P.DPDK: Most(32768, "DPDK 26.07, vhost_user_set_vring_num"),
        P.LIBVHOST_USER: Most(1024, "QEMU 10.2, libvhost-user.h, VIRTQUEUE_MAX_SIZE"),
    },
    named={"virtiofsd": Most(32768, "virtiofsd 1.13, vhost_user.rs, QUEUE_SIZE")},
)
"""Entries of a ring. A daemon that is made with rust-vmm has a limit of its own (VhostUserBackend::max_queue_size)."""
VRINGS = Limit(
    {
        P.DPDK: Most(257, "DPDK 26.07, VHOST_MAX_VRING; 256 up to 25.11"),
        P.SPDK: Most(256, "SPDK 18.04 to 26.05, vhost_internal.h, SPDK_VHOST_MAX_VQUEUES"),
    }
)
"""Rings of a device, whatever GET_QUEUE_NUM says."""
