"""How the value of a field is taken out of a decoded payload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vusniff.filter.field import MessageLike, Read, Surroundings, ValueKind
from vusniff.filter.leaves import EVERY, PathOf

TYPES: dict[ValueKind, tuple[type, ...]] = {
    ValueKind.NUMBER: (int, bool),
    ValueKind.BITS: (int,),
    ValueKind.BOOLEAN: (bool, int),
    ValueKind.TEXT: (str,),
    ValueKind.BYTES: (str,),
}


def reader(
    paths: Mapping[str, PathOf],
    types: tuple[type, ...],
    several: bool,
    requests: frozenset[tuple[str, int | None]] | None = None,
) -> Read:
    """A function that takes a field's values out of a decoded payload: those of the right type, whatever is in it."""
    if several:
        return _all_of(paths, types)
    simple = {layout: path[0] for layout, path in paths.items()}
    if any(len(path) > 1 for path in paths.values()):
        return _deep(paths, types)

    def read(message: MessageLike, _: Surroundings) -> Any:
        name = simple.get(message.layout)  # type: ignore[arg-type]
        payload = message.payload
        if name is None or not payload:
            return None
        value = payload.get(name)
        return value if type(value) in types else None

    if requests is None:
        return read

    def meant(message: MessageLike, surroundings: Surroundings) -> Any:
        if (message.channel, message.request) not in requests:
            return None
        return read(message, surroundings)

    return meant


def _steps(values: list[Any], path: PathOf) -> list[Any]:
    for step in path:
        if step == EVERY:
            values = [inner for value in values if isinstance(value, list) for inner in value]
        else:
            values = [value[step] for value in values if isinstance(value, dict) and step in value]
    return values


def _all_of(paths: Mapping[str, PathOf], types: tuple[type, ...]) -> Read:
    def read(message: MessageLike, _: Surroundings) -> list[Any]:
        path = paths.get(message.layout)  # type: ignore[arg-type]
        if path is None or not message.payload:
            return []
        return [value for value in _steps([message.payload], path) if type(value) in types]

    return read


def _deep(paths: Mapping[str, PathOf], types: tuple[type, ...]) -> Read:
    every = _all_of(paths, types)

    def read(message: MessageLike, surroundings: Surroundings) -> Any:
        values = every(message, surroundings)
        return values[0] if values else None

    return read


def from_hex(read: Read, several: bool) -> Read:
    """Bytes are hex strings in a decoded payload."""

    def read_bytes(message: MessageLike, around: Surroundings) -> Any:
        value = read(message, around)
        try:
            if several:
                return [bytes.fromhex(one) for one in value]
            return None if value is None else bytes.fromhex(value)
        except ValueError:  # a vendor's layout with text under a name of bytes
            return [] if several else None

    return read_bytes
