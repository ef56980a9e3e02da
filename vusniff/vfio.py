"""Numbers of linux/vfio.h that vfio-user's messages carry: for the family, which keeps a device's state, and for the
dissectors, which name them. What only a payload has is beside its layout in the dissectors.
"""

from __future__ import annotations

import enum


class DeviceFlag(enum.IntFlag):
    """Flags of DEVICE_GET_INFO (linux/vfio.h)."""

    RESET = 1
    PCI = 2


class RegionFlag(enum.IntFlag):
    """Flags of DEVICE_GET_REGION_INFO (linux/vfio.h)."""

    READ = 1
    WRITE = 2
    MMAP = 4
    CAPS = 8


class IrqFlag(enum.IntFlag):
    """Flags of DEVICE_GET_IRQ_INFO (linux/vfio.h)."""

    EVENTFD = 1
    MASKABLE = 2
    AUTOMASKED = 4
    NORESIZE = 8


class IrqSetFlag(enum.IntFlag):
    """Flags of DEVICE_SET_IRQS (linux/vfio.h)."""

    DATA_NONE = 1
    DATA_BOOL = 2
    DATA_EVENTFD = 4
    ACTION_MASK = 8
    ACTION_UNMASK = 16
    ACTION_TRIGGER = 32


class DmaFlag(enum.IntFlag):
    """Flags of DMA_MAP (libvfio-user include/vfio-user.h, VFIO_USER_F_DMA_REGION_*)."""

    READ = 1
    WRITE = 2
    MMAP = 4
    FILE_IO = 8


class DmaUnmapFlag(enum.IntFlag):
    """Flags of DMA_UNMAP (linux/vfio.h)."""

    GET_DIRTY_BITMAP = 1
    ALL = 2


class DeviceFeature(enum.IntEnum):
    """Device features that vfio-user knows, by index: the low 16 bits of DEVICE_FEATURE's flags."""

    MIGRATION = 1
    MIG_DEVICE_STATE = 2
    DMA_LOGGING_START = 6
    DMA_LOGGING_STOP = 7
    DMA_LOGGING_REPORT = 8


class MigrationState(enum.IntEnum):
    """Where a device is in its migration (enum vfio_device_mig_state)."""

    ERROR = 0
    STOP = 1
    RUNNING = 2
    STOP_COPY = 3
    RESUMING = 4
    RUNNING_P2P = 5
    PRE_COPY = 6
    PRE_COPY_P2P = 7
