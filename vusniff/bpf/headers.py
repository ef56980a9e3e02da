"""The headers of all families as compiler definitions: how the kernel program recognises a stream, and what opens one.

It must not know a family by name: what it says is in the rows of `vusniff.families`.
"""

from __future__ import annotations

from vusniff.families.registry import families


def definitions() -> dict[str, str]:
    """``FAMILY_HEADERS(X)`` and ``FAMILY_OPENINGS(X)``: an ``X(...)`` for each, with the numbers that probe.c takes."""
    begins: list[tuple[int, ...]] = []
    opens: list[tuple[int, ...]] = []
    for family in families().values():
        header, sign = family.main.header, family.sign
        (request_at, request_stop), (flags_at, _), (size_at, _) = (
            header.spans[name] for name in ("request", "flags", "size")
        )
        request = (request_at, request_stop - request_at)
        for allowed, value in sign.flags:
            zero = 0 if header.is_reply(value) else sign.zero
            numbers = (header.size, *request, sign.last, flags_at, allowed, value, size_at, header.counts)
            begins.append((*numbers, sign.largest, zero))
        for (_, code, is_reply), channel in family.openings.items():
            if channel is not family.unknown:
                opens.append((*request, code, flags_at, *header.reply, int(is_reply)))
    return {"FAMILY_HEADERS(X)": _calls(begins), "FAMILY_OPENINGS(X)": _calls(opens)}


def _calls(rows: list[tuple[int, ...]]) -> str:
    return " ".join(f"X({', '.join(map(str, row))})" for row in rows)
