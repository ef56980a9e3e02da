"""Filters with what they mean, worked out from `message_dict` alone: no field table, no code generation, no columns."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from vusniff.checks.finding import Finding

Truth = Callable[[int], bool]
RANK = {"note": 0, "warning": 1, "error": 2}
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "eq": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    "ge": operator.ge,
}
INDEXED = (
    *("vring_state", "vring_base", "vring_fd", "vring_addr", "vring_area", "vring_file", "vring_worker"),
    *("vduse_vring", "vduse_vring_info", "vduse_asks_vring", "vduse_response"),
)


class Oracle:
    """One capture."""

    def __init__(
        self,
        messages: Sequence[dict[str, Any]],
        layouts: Sequence[str | None],
        paths: dict[int, str],
        findings: Sequence[Finding],
    ) -> None:
        self.messages = messages
        self.layouts = layouts
        self.paths = paths
        self.findings = findings

    # -- what fields mean ---------------------------------------------------------------------------------------------

    def values(self, name: str, row: int) -> list[Any]:
        """The values of a field in a message."""
        message = self.messages[row]
        payload, layout = message["payload"] or {}, self.layouts[row]
        if name.startswith("fd."):
            if name == "fd.count":
                return [len(message["fds"])]
            return [fd[name[3:]] for fd in message["fds"] if fd[name[3:]] is not None]
        if name.startswith("proc."):
            process = message["process"]
            return [process[name[5:]]] if process and process[name[5:]] is not None else []
        if name.startswith("finding."):
            found = [finding for finding in self.findings if finding.number == row + 1]
            if name == "finding.severity":
                return [RANK[finding.severity.value] for finding in found]
            return [str(getattr(finding, name[8:])) for finding in found]
        found = self._single(name, message, payload, layout)
        if isinstance(found, list):
            return found
        return [] if found is None else [found]

    def _single(self, name: str, message: dict[str, Any], payload: dict[str, Any], layout: str | None) -> Any:
        match name:
            case "vhost.time":
                return message["time_ns"] - self.messages[0]["time_ns"]
            case "sock.path":
                return self.paths[message["connection"]]
            case "sock.connection":
                return message["connection"]
            case "vhost.latency":
                return message["latency_ns"]
            case "vhost.flags" | "vhost.version" if message["channel"].startswith(("vfio", "kernel", "vdpa", "vduse")):
                return None  # their headers have flags of their own, and no version
            case "vhost.flags" | "vhost.reply" | "vhost.need_reply" | "vhost.version":
                return None if message["request"] is None else int(message[name[6:]])
            case "vring.index":
                return payload.get("index") if layout in INDEXED else None
            case "vring.num":
                return payload.get("num") if layout == "vring_state" else None
            case "vhost.u64":
                return payload.get("u64")
            case "vhost.features":
                fits = message["channel"] == "main" and message["request"] in (1, 2) and layout == "u64"
                return payload.get("u64") if fits else None
            case "vhost.mem.size":
                regions = payload.get("regions", [payload]) if layout and layout.startswith("memory") else []
                return [region["size"] for region in regions]
            case "vhost.iotlb.iova":
                return payload.get("iova")
            case "vhost.mem.num_regions":
                return payload.get("num_regions") if layout == "memory_table" else None
        return message[name[6:]]

    # -- filters ------------------------------------------------------------------------------------------------------

    def filters(self) -> st.SearchStrategy[tuple[str, Truth]]:
        """Filters of this capture's own values, which some messages pass and others do not."""
        tests = st.one_of(self._compared(), self._present(), self._sets(), self._texts(), self._masked(), self._named())
        return st.recursive(tests, _joined, max_leaves=6)

    def _value(self, draw: st.DrawFn, name: str) -> Any:
        """A value that the field has in some message, or one beside it."""
        row = draw(st.integers(0, len(self.messages) - 1))
        near = next(
            (at for at in range(row, row + len(self.messages)) if self.values(name, at % len(self.messages))), 0
        )
        values = self.values(name, near % len(self.messages))
        if not values:
            return draw(st.integers(0, 9)) if name in NUMBERS else "nothing"
        value = draw(st.sampled_from(values))
        return value + draw(st.sampled_from((0, 0, 0, 1, -1))) if isinstance(value, int) else value

    def _compared(self) -> st.SearchStrategy[tuple[str, Truth]]:
        @st.composite
        def make(draw: st.DrawFn) -> tuple[str, Truth]:
            name, sign = draw(st.sampled_from(NUMBERS)), draw(st.sampled_from(list(SIGNS)))
            value, quantifier = self._value(draw, name), draw(st.sampled_from(("", "", "any ", "all ")))
            compare = SIGNS[sign]
            every = quantifier == "all " or (not quantifier and sign == "!=")

            def truth(row: int) -> bool:
                results = [compare(one, value) for one in self.values(name, row)]
                return bool(results) and all(results) if every else any(results)

            return f"{quantifier}{name} {sign} {_literal(draw, name, value)}", truth

        return make()

    def _present(self) -> st.SearchStrategy[tuple[str, Truth]]:
        return st.sampled_from(NUMBERS + TEXTS).map(lambda name: (name, lambda row: bool(self.values(name, row))))

    def _sets(self) -> st.SearchStrategy[tuple[str, Truth]]:
        @st.composite
        def make(draw: st.DrawFn) -> tuple[str, Truth]:
            name = draw(st.sampled_from(NUMBERS))
            singles = [self._value(draw, name) for _ in range(draw(st.integers(0, 2)))]
            low = self._value(draw, name)
            high = low + draw(st.integers(0, 50))
            parts = [*(_literal(draw, name, one) for one in singles), f"{_plain(name, low)}..{_plain(name, high)}"]
            negated = draw(st.booleans())

            def truth(row: int) -> bool:
                inside = any(one in singles or low <= one <= high for one in self.values(name, row))
                return inside is not negated

            return f"{name} {'not ' * negated}in {{{', '.join(parts)}}}", truth

        return make()

    def _texts(self) -> st.SearchStrategy[tuple[str, Truth]]:
        @st.composite
        def make(draw: st.DrawFn) -> tuple[str, Truth]:
            name = draw(st.sampled_from(TEXTS))
            value = str(self._value(draw, name))
            sign = draw(st.sampled_from(("==", "!=", "contains", "matches")))
            if sign in ("contains", "matches"):
                start = draw(st.integers(0, max(0, len(value) - 1)))
                value = value[start : start + draw(st.integers(1, 6))]
                if sign == "matches":
                    value = "".join(char for char in value if char.isalnum()).upper()
            elif name in CLOSED and value not in CLOSED[name]:
                value = CLOSED[name][0]
            tests: dict[str, Callable[[str], bool]] = {
                "==": lambda one: one == value,
                "!=": lambda one: one != value,
                "contains": lambda one: value in one,
                "matches": lambda one: value.lower() in one.lower(),
            }

            def truth(row: int) -> bool:
                results = [tests[sign](one) for one in self.values(name, row)]
                return bool(results) and all(results) if sign == "!=" else any(results)

            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'{name} {sign} "{escaped}"', truth

        return make()

    def _masked(self) -> st.SearchStrategy[tuple[str, Truth]]:
        @st.composite
        def make(draw: st.DrawFn) -> tuple[str, Truth]:
            name, mask = draw(st.sampled_from(MASKED)), draw(st.sampled_from((1, 2, 4, 8, 0xFF, 1 << 32, 1 << 20)))
            value = draw(st.sampled_from((None, 0, mask)))
            if value is None:
                return f"{name} & {mask:#x}", lambda row: any(one & mask for one in self.values(name, row))
            text = f"{name} & {mask} == {value:#x}"
            return text, lambda row: any(one & mask == value for one in self.values(name, row))

        return make()

    def _named(self) -> st.SearchStrategy[tuple[str, Truth]]:
        names = sorted({str(message["name"]) for message in self.messages if message["name"].isupper()})
        shown = sorted({name for message in self.messages for name in (message["payload"] or {}).get("u64_names", ())})

        @st.composite
        def make(draw: st.DrawFn) -> tuple[str, Truth]:
            kind = draw(st.sampled_from(("==", "!=", "in", "contains")))
            if kind == "contains" and shown:
                bit = draw(st.sampled_from(shown))

                def has(row: int) -> bool:
                    payload = self.messages[row]["payload"] or {}
                    return bool(self.values("vhost.features", row)) and bit in payload.get("u64_names", ())

                if bit.startswith(("VIRTIO", "VHOST_F", "VHOST_USER_F")):
                    return f"vhost.features contains {bit}", has
            name = draw(st.sampled_from(names))
            if kind == "!=":
                return (
                    f"vhost.request != {name}",
                    lambda row: self.messages[row]["request"] is not None and self.messages[row]["name"] != name,
                )
            if kind == "in":
                other = draw(st.sampled_from(names))
                text = f"vhost.request in {{{name}, {other}}}"
                return text, lambda row: self.messages[row]["name"] in (name, other)
            return f"vhost.request == {name}", lambda row: self.messages[row]["name"] == name

        return make()


NUMBERS = (
    *("vhost.request", "vhost.size", "vhost.flags", "vhost.version", "vhost.number", "vhost.time", "vhost.session"),
    *("vhost.answers", "vhost.answered_by", "vhost.latency", "sock.connection", "fd.count", "fd.size", "fd.number"),
    *("proc.pid", "finding.severity", "vring.index", "vring.num", "vhost.u64", "vhost.features", "vhost.mem.size"),
    *("vhost.iotlb.iova", "vhost.mem.num_regions"),
)
TEXTS = (
    *("vhost.name", "vhost.channel", "vhost.sender", "sock.path", "fd.kind", "fd.identity", "fd.name", "proc.comm"),
    *("proc.label", "finding.rule", "finding.side", "vhost.malformed"),
)
CLOSED = {
    "vhost.channel": ("main", "backend", "gpu", "unknown"),
    "vhost.sender": ("frontend", "backend"),
    "fd.kind": ("eventfd", "memfd", "file", "socket", "pipe", "device", "dmabuf", "userfaultfd"),
    "finding.side": ("frontend", "backend", "either"),
}
MASKED = ("vhost.flags", "vhost.size", "vring.index", "vhost.u64", "vhost.features", "fd.size", "vhost.request")


def _joined(inner: st.SearchStrategy[tuple[str, Truth]]) -> st.SearchStrategy[tuple[str, Truth]]:
    def negated(one: tuple[str, Truth]) -> tuple[str, Truth]:
        return f"!({one[0]})", lambda row: not one[1](row)

    def both(sign: str, join: Callable[[bool, bool], bool]) -> Callable[..., tuple[str, Truth]]:
        def make(left: tuple[str, Truth], right: tuple[str, Truth]) -> tuple[str, Truth]:
            return f"({left[0]}) {sign} ({right[0]})", lambda row: join(left[1](row), right[1](row))

        return make

    return st.one_of(
        inner.map(negated),
        *(
            st.builds(both(sign, join), inner, inner)
            for sign, join in (("&&", operator.and_), ("or", operator.or_), ("xor", operator.xor))
        ),
    )


def _plain(name: str, value: int) -> str:
    if name != "vhost.time":
        return str(value)
    return f"{value}ns" if value >= 0 else f"-0.{-value:09}"


def _literal(draw: st.DrawFn, name: str, value: int) -> str:
    if name == "vhost.time":
        return _plain(name, value)
    return hex(value) if draw(st.booleans()) else str(value)
