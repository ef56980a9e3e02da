"""The dirty log of a migration: one bit for each page of 4096 bytes, set by the back-end, cleared by the front-end.

vhost-user specification, "Migration"; VHOST_LOG_PAGE in DPDK and libvhost-user.
"""

from __future__ import annotations

PAGE = 4096


def pages(log: bytes) -> int:
    """Pages that are set."""
    return int.from_bytes(log, "little").bit_count()
