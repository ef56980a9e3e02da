"""Sizes, times and descriptors in a few characters: what findings and views both say. Knows records, no screen."""

from __future__ import annotations

from vusniff.printable import escape
from vusniff.record import Descriptor, DescriptorKind

UNITS = ("", "K", "M", "G", "T", "P", "E")


def size(number: int) -> str:
    """Bytes, in the largest binary unit that divides them: ``255M``, ``640K``, ``4097``."""
    unit = 0
    while number and number % 1024 == 0 and unit < len(UNITS) - 1:
        number //= 1024
        unit += 1
    return f"{number}{UNITS[unit]}"


def duration(nanoseconds: int) -> str:
    """A time with three digits that matter: ``850 ns``, ``35.2 us``, ``1.20 ms``, ``2.00 s``."""
    if nanoseconds < 1000:
        return f"{nanoseconds} ns"
    value, unit = nanoseconds / 1000, "us"
    if value >= 999.5:
        value, unit = value / 1000, "ms"
        if value >= 999.5:
            value, unit = value / 1000, "s"
    if value < 9.995:
        return f"{value:.2f} {unit}"
    return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"


def descriptor(value: Descriptor) -> str:
    """A descriptor by identity, name and size: ``memfd:51 "guest-ram" 1G``; and whether it
    came behind the first byte of its message."""
    words = escape(value.identity) if value.identity else str(value.kind)
    if value.name and value.kind not in (DescriptorKind.EVENTFD, DescriptorKind.SOCKET):
        words += f' "{escape(value.name)}"'
    if value.size and value.kind in (DescriptorKind.MEMFD, DescriptorKind.FILE, DescriptorKind.DMABUF):
        words += f" {size(value.size)}"
    return f"{words} (late)" if value.late else words
