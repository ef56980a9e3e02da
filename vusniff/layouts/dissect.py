"""Frame payload to plain values: picks the layout, runs it, names bits and values, says in words what does not fit.

Construct's errors end here as sentences. Pure: the same bytes and context give the same values, and nothing a peer
sends raises, hangs, or allocates more than a small multiple of the payload. It knows nothing of sessions: what decides
a layout beyond the header arrives as `Context`.

Well-formed payloads are read by a parser generated from the construct (`codegen`), anything else by construct itself,
which knows the field that failed. The lists of names in what `payload` returns are shared: callers must not change
them.

How payloads of one request, size and context are read is kept (`_reader`), and nothing else: looked up anew for every
message, one line each costs 19 % more, `check` and filters on payload 12 %. Results remembered by their bytes, and
contexts known by their id, were measured too and gained nothing.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from construct import ConstructError, Container

from vusniff.distributions import EntryPoint, entry_points
from vusniff.errors import DissectorError
from vusniff.layouts import codegen
from vusniff.layouts.parts import tree
from vusniff.layouts.spans import prefix
from vusniff.message import NOT_CAPTURED, Choice, Context, Dissector, Layout, MessageSpec
from vusniff.names import BitNames

ENTRY_POINTS = "vusniff.dissectors"

READERS = 4096
"""Parsers looked up that are kept: contexts, requests and sizes are the peer's choice."""


class Decoded(NamedTuple):
    """A payload in plain values. Never change what it holds: lists of names are shared."""

    name: str
    """Name of the request, ``REQUEST_<code>`` for an unknown one."""
    payload: dict[str, Any] | None
    """Values by field name; ``{}`` for an empty payload; None when nothing could be decoded."""
    layout: str | None
    malformed: str | None
    """One sentence: which field does not fit, how many bytes it needs and how many are there."""
    trailing: bytes
    """Bytes behind what was decoded."""
    spec: MessageSpec | None


def load() -> Mapping[str, Dissector]:
    """All installed dissectors merged by channel, loaded once.

    Raises DissectorError when a distribution's entry point cannot be imported or is not a tuple of Dissector.
    """
    return _load()


def spec_of(channel: str, request: int) -> MessageSpec | None:
    """The table row of a request, None for an unknown one."""
    dissector = _load().get(channel)
    return dissector.specs.get(request) if dissector else None


@functools.cache
def _load() -> dict[str, Dissector]:
    merged: dict[str, Dissector] = {}
    # Sorted, so that the result does not depend on the order of installation; ours comes first and may be extended.
    points = sorted(entry_points(ENTRY_POINTS), key=lambda point: (point.name != "vhost-user", point.name))
    for point in points:
        for dissector in _dissectors(point):
            known = merged.get(dissector.channel)
            if known is not None:
                specs, headers = {**known.specs, **dissector.specs}, {**known.headers, **dissector.headers}
                dissector = Dissector(dissector.channel, specs, dissector.ack or known.ack, headers)
            merged[dissector.channel] = dissector
    return merged


def _dissectors(point: EntryPoint) -> tuple[Dissector, ...]:
    try:
        found = point.load()
    except Exception as error:  # a vendor's module may fail in any way when it is imported
        raise DissectorError(
            f"dissector {point.name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}; "
            "repair or uninstall the distribution that brings it"
        ) from error
    if not isinstance(found, tuple) or not all(isinstance(one, Dissector) for one in found):
        raise DissectorError(
            f"dissector {point.name!r} ({point.value}) is not a tuple of vusniff.message.Dissector; "
            "repair or uninstall the distribution that brings it"
        )
    return found


class _Reader(NamedTuple):
    """How payloads of one request and size are read in one context."""

    name: str
    spec: MessageSpec | None
    layout: Layout | None
    kind: str | None
    """Name of the layout."""
    parse: Callable[[bytes], dict[str, Any] | None] | None
    """Generated parser; None where there is none. It returns None for bytes that it cannot read."""
    raw: bool
    """Nothing is known of these bytes."""


derived: list[dict[Any, Any]] = []
"""What others remember of decoded payloads: emptied by `forget`."""


def forget() -> None:
    """Forget the loaded dissectors and everything derived from them, for when distributions have changed."""
    _load.cache_clear()
    _reader.cache_clear()
    for remembered in derived:
        remembered.clear()


def kept() -> int:
    """How many ways to read a payload are kept; `READERS` at most."""
    return _reader.cache_info().currsize


def payload(channel: str, request: int, is_reply: bool, data: bytes, missing: int, context: Context) -> Decoded:
    """Decode one payload.

    ``data`` is what was captured of it, ``missing`` how many bytes of it were not; ``is_reply`` is the reply flag of
    the header. Never raises for what the bytes hold; DissectorError when the dissectors cannot be loaded.
    """
    reader = _reader(channel, request, is_reply, len(data) + missing, context)
    if reader.parse is not None and not missing:
        values = reader.parse(data)
        if values is not None:
            return Decoded(reader.name, values, reader.kind, None, b"", reader.spec)
    return _interpret(reader, data, missing, context)


def parser(
    channel: str, request: int, is_reply: bool, size: int, context: Context
) -> Callable[[bytes], dict[str, Any] | None] | None:
    """What reads so many bytes of payload in `payload` where they fit their layout, else gives None for them; None
    where there is no such function."""
    return _reader(channel, request, is_reply, size, context).parse


@functools.lru_cache(READERS)
def _reader(channel: str, request: int, is_reply: bool, size: int, context: Context) -> _Reader:
    dissector = _load().get(channel)
    spec = dissector.specs.get(request) if dissector else None
    if dissector is None or spec is None:
        return _Reader(f"REQUEST_{request}", None, None, None, None, True)
    try:
        layout = _layout(dissector, spec, is_reply, size, context)
        parse = codegen.parser(layout, context) if layout is not None else _empty
    except Exception:  # a vendor's chooser may fail in any way: its bytes stay raw
        return _Reader(spec.name, spec, None, None, None, True)
    return _Reader(spec.name, spec, layout, layout.name if layout else None, parse, False)


def layout_of(channel: str, request: int, is_reply: bool, size: int, context: Context) -> Layout | None:
    """The layout by which `payload` reads so many bytes; None where they are raw or ought to be none."""
    return _reader(channel, request, is_reply, size, context).layout


def _empty(data: bytes) -> dict[str, Any] | None:
    return None if data else {}


def _layout(dissector: Dissector, spec: MessageSpec, is_reply: bool, size: int, context: Context) -> Layout | None:
    if not is_reply:
        choice = spec.payload
    elif spec.answered or spec.reply is not None:
        choice = spec.reply
    else:
        choice = dissector.ack
    return _choose(choice, context, size)


def _choose(choice: Choice, context: Context, size: int) -> Layout | None:
    return choice if choice is None or isinstance(choice, Layout) else choice(context, size)


def _interpret(reader: _Reader, data: bytes, missing: int, context: Context) -> Decoded:
    malformed = None
    if missing:
        malformed = f"{NOT_CAPTURED}: {len(data)} of {len(data) + missing} bytes are there"
    if reader.raw:
        return Decoded(reader.name, None, None, malformed, data, reader.spec)
    if reader.layout is None:
        return Decoded(reader.name, {}, None, malformed, data, reader.spec)
    values, used, problem = interpret(reader.layout, data, context)
    return Decoded(reader.name, values, reader.layout.name, malformed or problem, data[used:], reader.spec)


class _RememberingStream(io.BytesIO):
    """Remembers the last read, so that what failed can be told in numbers."""

    asked = 0
    at = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.at = self.tell()
        self.asked = -1 if size is None else size
        return super().read(size)


def interpret(layout: Layout, data: bytes, context: Context) -> tuple[dict[str, Any] | None, int, str | None]:
    """Read by construct itself: values, bytes used, and a sentence where the bytes do not fit the layout.

    Bytes that are too few give the whole fields before the gap (None when there is none).
    """
    try:
        root = tree(layout, context.order)
    except Exception as error:
        return None, 0, f"layout {layout.name} is broken: {type(error).__name__}: {error}"
    names = codegen.name_tables(layout, context)
    stream = _RememberingStream(data)
    try:
        parsed = root.construct.parse_stream(stream)
        return _values(parsed, names), stream.tell(), None
    except Exception as error:  # a vendor's adapters may raise what they like
        sentence = _diagnosis(layout, stream, len(data), error)
        if not isinstance(error, ConstructError):
            return None, 0, sentence
    whole, used = prefix(root, data)
    return _values(whole, names) or None, used, sentence


def _diagnosis(layout: Layout, stream: _RememberingStream, size: int, error: Exception) -> str:
    path = [] if not isinstance(error, ConstructError) else str(error.path or "").split(" -> ")[1:]
    field = ".".join(path) or "payload"
    there = size - stream.at
    if isinstance(error, ConstructError) and stream.asked > there:
        return (
            f"{size} bytes are too few for {layout.name}: "
            f"field {field} needs {stream.asked} bytes at offset {stream.at}, {there} are there"
        )
    detail = str(error).splitlines()[-1] if str(error) else "no reason given"
    return f"field {field} of {layout.name} cannot be read at offset {stream.at}: {detail}"


def _values(parsed: Mapping[str, Any], names: codegen.NameTables) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in parsed.items():
        if name in ("_", "_io"):  # construct's own
            continue
        if isinstance(value, bytes):
            values[name] = value[: codegen.BYTES_LIMIT].hex()
            if len(value) > codegen.BYTES_LIMIT:
                values[f"{name}_truncated"] = True
        else:
            values[name] = _plain(value, names)
        table = names.get(name)
        if table is not None:
            suffix = "names" if isinstance(table, BitNames) else "name"
            values[f"{name}_{suffix}"] = table[value]
    return values


def _plain(value: Any, names: codegen.NameTables) -> Any:
    if isinstance(value, Container):
        return _values(value, names)
    if isinstance(value, list):
        return [_plain(element, names) for element in value]
    return value.hex() if isinstance(value, bytes) else value
