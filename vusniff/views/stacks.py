"""Call stacks in words: what `read -v`, the details of the terminal view, JSON, pages and Wireshark show of them."""

from __future__ import annotations

import re
from typing import Any

from vusniff.printable import escape
from vusniff.record import Stack, StackEntry

LIBRARIES = re.compile(r"(libc|libpthread|libm|ld-linux-[\w-]+|ld-musl-[\w-]+|linux-vdso)[.-].*|ld-linux\S*|\[vdso\]")
"""Files that no program is: they hold the first and the last entries of nearly every stack."""


def name_of(entry: StackEntry) -> str:
    """The function, or where it is: ``libc.so.6+0x10f3a0``."""
    if entry.function:
        return escape(entry.function)
    if not entry.file:
        return f"{entry.address:#x}" if entry.address else "code of no file"
    return f"{escape(entry.file)}+{entry.address:#x}"


def where(entry: StackEntry) -> str:
    """File, and source line where it is known."""
    file = escape(entry.file) if entry.function else ""
    return ", ".join(filter(None, (file, escape(entry.source or ""))))


def is_own(entry: StackEntry) -> bool:
    """It is of the program or of its own libraries, not of the C library."""
    return bool(entry.file) and not LIBRARIES.fullmatch(entry.file)


def lines(stack: Stack, indent: str = "    ") -> list[str]:
    """All of a stack, innermost first."""
    width = min(40, max((len(name_of(one)) for one in stack.entries), default=0))
    made = [f"{indent}{name_of(one):<{width}}  {where(one)}".rstrip() for one in stack.entries]
    if stack.cut:
        made.append(f"{indent}({escape(stack.cut)})")
    return made


def callers(stack: Stack, most: int = 3) -> str:
    """The innermost functions of the program in one line: ``vhost_dev_init < vhost_net_init < ...``."""
    own = [one for one in stack.entries if is_own(one)] or list(stack.entries)
    more = " < ..." if len(own) > most else ""
    return " < ".join(map(name_of, own[:most])) + more if own else f"({escape(stack.cut)})"


def stack_dict(stack: Stack | None) -> dict[str, Any] | None:
    """A stack as JSON: id, entries (file, build_id, address, function, source), cut."""
    if stack is None:
        return None
    return {"id": stack.id, "entries": [entry._asdict() for entry in stack.entries], "cut": stack.cut or None}
