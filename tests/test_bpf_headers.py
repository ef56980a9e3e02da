"""The numbers that the kernel program takes of each family are those of its first headers and of its openings."""

from __future__ import annotations

import re
import struct

import pytest

from vusniff.bpf.headers import definitions
from vusniff.families.registry import families


def rows(name: str) -> list[tuple[int, ...]]:
    calls = re.findall(r"X\(([^)]*)\)", definitions()[f"{name}(X)"])
    return [tuple(map(int, call.split(", "))) for call in calls]


def begins(data: bytes) -> bool:
    """What `begins` of probe.c says, by one of its rows."""
    for head, at, size, last, flags_at, allowed, value, size_at, counted, largest, zero_at in rows("FAMILY_HEADERS"):
        request = struct.unpack_from("=H" if size == 2 else "=I", data, at)[0]
        (flags,), (told,) = struct.unpack_from("=I", data, flags_at), struct.unpack_from("=I", data, size_at)
        if len(data) >= head and 0 < request <= last and flags & ~allowed == value:
            zero = not zero_at or not any(data[zero_at : zero_at + 4])
            if zero and counted <= told <= counted + largest and len(data) in (head, head - counted + told):
                return True
    return False


@pytest.mark.parametrize(
    ("data", "is_header"),
    [
        (struct.pack("=III", 1, 1, 0), True),
        (struct.pack("=IIIQ", 2, 9, 8, 0), True),
        (struct.pack("=III", 1, 2, 0), False),
        (struct.pack("=HHIII", 7, 1, 20, 0, 0) + bytes(4), True),
        (struct.pack("=HHIII", 7, 1, 16, 0x21, 22), True),
        (struct.pack("=HHIII", 7, 1, 16, 0, 22), False),
        (struct.pack("=HHIII", 7, 19, 16, 0, 0), False),
        (b"GET / HTTP/1.1\r\n", False),
    ],
)
def test_the_kernel_recognises_the_headers_of_all_families(data: bytes, is_header: bool) -> None:
    assert begins(data) is is_header


def test_every_channel_that_a_message_opens_is_followed() -> None:
    wanted = sum(
        channel is not family.unknown for family in families().values() for channel in family.openings.values()
    )
    assert len(rows("FAMILY_OPENINGS")) == wanted
