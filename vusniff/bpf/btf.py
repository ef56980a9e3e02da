"""Kernel type information: where the members of the running kernel's structures are.

Owns the reading of BTF (Documentation/bpf/btf.rst in the kernel). A kernel's version says nothing about its offsets:
two builds of one version differ. Must not know what the probe does with them: that is `vusniff.bpf.offsets`.

Layout of a BTF file: header (magic u16 0xeb9f, version u8, flags u8, header length u32, then offset and length u32 of
the type and of the string section, counted from the header's end). A type is three words (name offset, info, size or
type id) and what its kind asks for; info holds the number of members in bits 0-15, the kind in 24-28, and in bit 31
whether member offsets carry a bit-field size in their top byte. Type ids count from 1; 0 is void.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from vusniff.errors import SourceError

KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")
SIZE_LIMIT = 64 << 20
"""Bytes a BTF file may have; distribution kernels have 4 to 8 MiB."""

_MAGIC = 0xEB9F
_PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FUNC, _ENUM64 = 2, 3, 4, 5, 6, 12, 19
_KINDS = 19
_TRANSPARENT = frozenset({8, 9, 10, 11, 18})
"""typedef, volatile, const, restrict, type tag: names for another type."""
_FIXED_WORDS = {1: 1, 3: 3, 14: 1, 17: 1}
"""Words behind a type's first three, by kind: int, array, variable, declaration tag."""
_MEMBER_WORDS = {4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}
"""Words per member, by kind: struct, union, enum, function prototype, data section, 64-bit enum."""
_DEPTH = 32
"""Type references followed in a row; a file that needs more refers to itself."""


class Btf:
    """One BTF file. Raises SourceError where the file is no BTF or contradicts itself."""

    def __init__(self, data: bytes, origin: str = "BTF") -> None:
        self._origin = origin
        if len(data) < 24:
            raise self._error(f"it has {len(data)} bytes, a header has 24")
        magic, header, types_at, types_size, strings_at, strings_size = struct.unpack_from("=H2x5I", data)
        if magic != _MAGIC:
            raise self._error(f"it does not start with the BTF magic number {_MAGIC:#x} in this machine's byte order")
        types_at += header
        strings_at += header
        if types_at + types_size > len(data) or strings_at + strings_size > len(data) or types_size % 4 or types_at % 4:
            raise self._error(f"its sections do not fit into its {len(data)} bytes")
        self._words = memoryview(data)[types_at : types_at + types_size].cast("I")
        self._strings = data[strings_at : strings_at + strings_size]
        self._at = self._scan()

    @classmethod
    def read(cls, path: Path = KERNEL_BTF) -> Btf:
        """The BTF file at ``path``."""
        try:
            with path.open("rb") as file:
                data = file.read(SIZE_LIMIT + 1)
        except OSError as error:
            raise SourceError(
                f"cannot read the kernel's type information {path}: {error.strerror}; "
                "the probe needs a kernel built with CONFIG_DEBUG_INFO_BTF"
            ) from None
        if len(data) > SIZE_LIMIT:
            raise SourceError(f"{path} is larger than {SIZE_LIMIT >> 20} MiB and is not read as BTF")
        return cls(data, str(path))

    def _error(self, what: str) -> SourceError:
        return SourceError(f"{self._origin} cannot be used as kernel type information: {what}")

    def _scan(self) -> list[int]:
        """Word index of every type, by type id."""
        words, at, i, end = self._words, [0], 0, len(self._words)
        add, fixed, member = at.append, _FIXED_WORDS, _MEMBER_WORDS
        while i + 2 < end:
            add(i)
            info = words[i + 1]
            kind = info >> 24 & 31
            if kind in member:
                i += 3 + member[kind] * (info & 0xFFFF)
            elif kind in fixed:
                i += 3 + fixed[kind]
            elif 0 < kind <= _KINDS:
                i += 3
            else:
                raise self._error(f"type {len(at) - 1} has kind {kind}, which is not known")
        if i != end:
            raise self._error(f"its last type, {len(at) - 1}, is cut short")
        return at

    def _kind(self, type_id: int) -> int:
        return self._words[self._at[type_id] + 1] >> 24 & 31

    def _string(self, offset: int) -> str:
        end = self._strings.find(b"\0", offset)
        if offset >= len(self._strings) or end < 0:
            raise self._error(f"a name at byte {offset} lies outside its {len(self._strings)} bytes of names")
        return self._strings[offset:end].decode("utf-8", "replace")

    def _target(self, type_id: int) -> int:
        """The type itself, behind typedefs and qualifiers."""
        for _ in range(_DEPTH):
            if not 0 < type_id < len(self._at):
                raise self._error(f"it refers to type {type_id} of {len(self._at) - 1}")
            if self._kind(type_id) not in _TRANSPARENT:
                return type_id
            type_id = self._words[self._at[type_id] + 2]
        raise self._error(f"type {type_id} refers to itself")

    def _find(self, names: Iterable[str], kinds: frozenset[int]) -> dict[str, int]:
        wanted: dict[int, str] = {}
        for name in names:
            found = self._strings.find(b"\0" + name.encode() + b"\0")
            if found >= 0:
                wanted[found + 1] = name
        out: dict[str, int] = {}
        words, at = self._words, self._at
        for type_id in range(1, len(at)):
            where = at[type_id]
            if words[where] in wanted and words[where + 1] >> 24 & 31 in kinds:
                out.setdefault(wanted[words[where]], type_id)
        return out

    def structs(self, names: Iterable[str]) -> dict[str, int]:
        """Type ids of the structures that exist under these names."""
        return self._find(names, frozenset({_STRUCT, _UNION}))

    def functions(self, names: Iterable[str]) -> dict[str, int]:
        """Type ids of those of these names that are functions of the kernel, which fentry can attach to."""
        return self._find(names, frozenset({_FUNC}))

    def member(self, type_id: int, name: str, depth: int = 0) -> tuple[int, int] | None:
        """Bit offset and type id of a member, looking into anonymous structures and unions; None when there is none."""
        if depth > _DEPTH:
            raise self._error(f"type {type_id} contains itself")
        where = self._at[self._target(type_id)]
        info = self._words[where + 1]
        if info >> 24 & 31 not in (_STRUCT, _UNION):
            return None
        offset_bits = 0xFFFFFF if info >> 31 else 0xFFFFFFFF
        for i in range(where + 3, where + 3 + 3 * (info & 0xFFFF), 3):
            name_at, inner, offset = self._words[i : i + 3]
            if name_at == 0:
                if (found := self.member(inner, name, depth + 1)) is not None:
                    return (offset & offset_bits) + found[0], found[1]
            elif self._string(name_at) == name:
                return offset & offset_bits, inner
        return None

    def offset(self, structure: int, path: str) -> tuple[int, int] | None:
        """Byte offset and size of a member by dotted path; ``a.b|c`` takes the first that exists; None for none."""
        for alternative in path.split("|"):
            bits, type_id = 0, structure
            for name in alternative.split("."):
                if (found := self.member(type_id, name)) is None:
                    break
                bits, type_id = bits + found[0], found[1]
            else:
                return bits // 8, self.size(type_id)
        return None

    def size(self, type_id: int, depth: int = 0) -> int:
        """Bytes of a type."""
        if depth > _DEPTH:
            raise self._error(f"type {type_id} contains itself")
        target = self._target(type_id)
        where, kind = self._at[target], self._kind(target)
        if kind == _PTR:
            return 8
        if kind == _ARRAY:
            return self.size(self._words[where + 3], depth + 1) * self._words[where + 5]
        return self._words[where + 2]

    def enumeration(self, name: str) -> dict[str, int]:
        """Names and values (the low 32 bits) of an enumeration; empty when no enumeration has this name."""
        found = self._find([name], frozenset({_ENUM, _ENUM64}))
        if name not in found:
            return {}
        where = self._at[found[name]]
        info = self._words[where + 1]
        step = _MEMBER_WORDS[info >> 24 & 31]
        entries = range(where + 3, where + 3 + step * (info & 0xFFFF), step)
        return {self._string(self._words[i]): self._words[i + 1] for i in entries}
