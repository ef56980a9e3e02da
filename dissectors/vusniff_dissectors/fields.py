"""Field types that the layouts share: integers of either byte order, MAC addresses, UUIDs."""

from __future__ import annotations

from typing import Any, NamedTuple

from construct import (
    Adapter,
    Bytes,
    GreedyBytes,
    Int8ub,
    Int16ub,
    Int16ul,
    Int32sb,
    Int32sl,
    Int32ub,
    Int32ul,
    Int64sb,
    Int64sl,
    Int64ub,
    Int64ul,
)


class Integers(NamedTuple):
    """The integers of one byte order: unsigned ``u``, signed ``i``, bits."""

    u8: Any
    u16: Any
    u32: Any
    u64: Any
    i32: Any
    i64: Any


LITTLE = Integers(Int8ub, Int16ul, Int32ul, Int64ul, Int32sl, Int64sl)
BIG = Integers(Int8ub, Int16ub, Int32ub, Int64ub, Int32sb, Int64sb)
INTEGERS = {"little": LITTLE, "big": BIG}


class _Mac(Adapter):  # type: ignore[misc]
    def _decode(self, obj: bytes, context: Any, path: Any) -> str:
        return obj.hex(":")

    def _encode(self, obj: str, context: Any, path: Any) -> bytes:
        return bytes.fromhex(obj.replace(":", ""))


class _Uuid(Adapter):  # type: ignore[misc]
    def _decode(self, obj: bytes, context: Any, path: Any) -> str:
        digits = obj.hex()
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def _encode(self, obj: str, context: Any, path: Any) -> bytes:
        from uuid import UUID

        return UUID(obj).bytes


class _PaddedText(Adapter):  # type: ignore[misc]
    def _decode(self, obj: bytes, context: Any, path: Any) -> str:
        return obj.partition(b"\0")[0].decode("utf-8", "backslashreplace")

    def _encode(self, obj: str, context: Any, path: Any) -> bytes:
        data = obj.encode("utf-8")
        return data + bytes(self.subcon.sizeof() - len(data))


class _RestText(Adapter):  # type: ignore[misc]
    def _decode(self, obj: bytes, context: Any, path: Any) -> str:
        return obj.rstrip(b"\0").decode("utf-8", "backslashreplace")

    def _encode(self, obj: str, context: Any, path: Any) -> bytes:
        return obj.encode("utf-8") + b"\0"


MAC = _Mac(Bytes(6))
"""Six bytes in memory order, as ``52:54:00:12:34:56``."""

UUID = _Uuid(Bytes(16))
"""Sixteen bytes of RFC 4122 order, as the UUID is printed."""

REST_TEXT = _RestText(GreedyBytes)
"""UTF-8 text up to the end of the payload, with the zero byte that ends it."""


def padded_text(size: int) -> Any:
    """UTF-8 text in ``size`` bytes; it ends at the first zero byte, and what is behind that says nothing."""
    return _PaddedText(Bytes(size))
