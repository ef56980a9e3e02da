"""Sizes, times, counts and descriptors in few characters: what findings and views both say. Knows no screen."""

from __future__ import annotations

from collections.abc import Sequence

from vusniff.printable import escape
from vusniff.record import Descriptor, DescriptorKind, Process

UNITS = ("", "K", "M", "G", "T", "P", "E")


def size(number: int) -> str:
    """Bytes, in the largest binary unit that divides them: ``255M``, ``640K``, ``4097``."""
    unit = 0
    while number and number % 1024 == 0 and unit < len(UNITS) - 1:
        number //= 1024
        unit += 1
    return f"{number}{UNITS[unit]}"


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, runs of them as first and last: ``0-3, 6``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)


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


def process(value: Process) -> str:
    """A process by what its user calls it, and its number: ``testpmd (4321)``; the kernel has none."""
    name = value.label or value.comm
    return f"{name} ({value.pid})" if value.pid else name


def descriptor(value: Descriptor) -> str:
    """A descriptor by identity, name and size: ``memfd:51 "guest-ram" 1G``; and whether it
    came behind the first byte of its message."""
    words = escape(value.identity) if value.identity else str(value.kind)
    if value.name and value.kind not in (DescriptorKind.EVENTFD, DescriptorKind.SOCKET):
        words += f' "{escape(value.name)}"'
    if value.size and value.kind in (DescriptorKind.MEMFD, DescriptorKind.FILE, DescriptorKind.DMABUF):
        words += f" {size(value.size)}"
    return f"{words} (late)" if value.late else words


def counted(number: int, what: str) -> str:
    """``1 ring``, ``2 rings``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def listed(what: str, numbers: Sequence[object]) -> str:
    """``vring 0``, ``vrings 0 and 1``, ``vrings 0, 1 and 2``."""
    if len(numbers) == 1:
        return f"{what} {numbers[0]}"
    return f"{what}s {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def signal_name(number: int) -> str:
    """``SIGKILL``, or ``signal 40`` for one without a name."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
