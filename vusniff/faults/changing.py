"""Messages made of others: what ``set``, ``clear``, ``raise``, ``fds`` and ``answer`` mean for one message.

Fields are named as in ``vusniff edit`` (``num``, ``regions[0].size``, ``header.flags``) or as in filters
(``vring.size``, ``vhost.features``); of a filter's field that a message has several of, all are meant. Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator

from vusniff.analysis.session import Place
from vusniff.analysis.setting import HEADER_FIELDS, header_names, layout_of, set_field
from vusniff.channel import Channel
from vusniff.errors import DissectorError
from vusniff.faults.actions import Action, FieldSetting
from vusniff.faults.possible import Kinds
from vusniff.filter.fields import fields
from vusniff.filter.leaves import EVERY, leaves
from vusniff.filter.payload import forms
from vusniff.layouts import dissect
from vusniff.layouts.build import build, close
from vusniff.layouts.parts import layouts_of
from vusniff.layouts.spans import spans
from vusniff.message import Context, Layout, Message, enum_of
from vusniff.record import Frame

_HEADER = {"vhost.request": "request", "vhost.flags": "flags", "vhost.size": "size"}
_OWN = ("payload",)
_ELEMENTS = 1024
"""Elements of an array that are changed."""


# -- before the run: what can never be done ---------------------------------------------------------------------------


def refuse_setting(action: str, setting: FieldSetting, kinds: Kinds) -> None:
    """Refuses a field that none of these messages has, and a bit that is called so nowhere. Raises DissectorError."""
    names = dict(_names(kinds))
    field = setting.field
    plain = "".join(part if at % 2 == 0 else f"[{EVERY}]" for at, part in enumerate(_split(field)))
    if field not in names and plain not in names:
        raise DissectorError(f"no message that this rule can match has a field {field}{close(field, names)}")
    for bit in setting.bits:
        if bit.isdigit():
            if int(bit) > 63:
                raise DissectorError(f"bits are numbered 0 to 63: there is no bit {bit}")
            continue
        known = _bit_names(names.get(field) or names.get(plain) or ())
        if bit.upper() not in known:
            raise DissectorError(f"{field} has no bit {bit}{close(bit.upper(), sorted(known, key=len))}")
    if action == "set" and not setting.value and field not in _OWN:
        raise DissectorError(f"set {field}= names no value")


def _split(path: str) -> list[str]:
    """Names and the numbers in brackets, in turn: the latter stand at odd places."""
    parts, rest = [], path
    while "[" in rest and "]" in rest[rest.index("[") :]:
        before, _, rest = rest.partition("[")
        inside, _, rest = rest.partition("]")
        parts += [before, inside]
    return [*parts, rest]


def _names(kinds: Kinds) -> Iterator[tuple[str, tuple[tuple[Layout, str], ...]]]:
    """All names of fields that can be changed in some of these messages, each with the layouts and leaves behind it."""
    found: dict[str, dict[tuple[Layout, str], None]] = {name: {} for name in (*HEADER_FIELDS, *_HEADER, *_OWN)}
    for channel in {kind.channel for kind in kinds}:
        for name in header_names(channel.header):
            found.setdefault(name, {})
            found.setdefault(f"header.{name}", {})
    layouts = set(_layouts(kinds))
    for layout in layouts:
        for path, _ in leaves(layout):
            written = "".join(f"[{EVERY}]" if part == EVERY else f".{part}" for part in path).removeprefix(".")
            for name in (written, f"payload.{written}"):
                found.setdefault(name, {})[layout, path[-1]] = None
    by_name = {layout.name: layout for layout in layouts}
    for field in fields().values():
        for of, path in field.paths.items():
            if of in by_name:
                found.setdefault(field.name, {})[by_name[of], path[-1]] = None
    return iter([(name, tuple(places)) for name, places in found.items()])


def _layouts(kinds: Kinds) -> Iterator[Layout]:
    for kind in kinds:
        dissector = dissect.load().get(kind.channel)
        spec = dissector.specs.get(kind.request) if dissector and kind.request is not None else None
        if spec is not None:
            yield from layouts_of(spec.reply if kind.reply else spec.payload)
        if kind.reply and dissector is not None and dissector.ack is not None:
            yield dissector.ack


def _bit_names(places: Iterable[tuple[Layout, str]]) -> dict[str, int]:
    """Every way to write a bit of these fields -> its number; of several devices the first."""
    from vusniff.families.vhost_user.device import DEVICES

    found: dict[str, int] = {}
    for layout, leaf in places:
        names = layout.names.get(leaf)
        if names is not None:
            contexts = [Context()] if isinstance(names, type) else [Context(device=one) for one in (None, *DEVICES)]
            for context in contexts:
                for name, number in _table(names, context).items():
                    found.setdefault(name, number)
    return found


def _table(names: object, context: Context) -> dict[str, int]:
    """Every way to write a bit in a context -> its number."""
    table = enum_of(names, context)  # type: ignore[arg-type]
    if not issubclass(table, enum.IntFlag):
        return {}
    return {
        form.upper(): int(member).bit_length() - 1 for name, member in table.__members__.items() for form in forms(name)
    }


# -- one message ------------------------------------------------------------------------------------------------------


def changed(frame: Frame, place: Place, actions: Iterable[Action]) -> tuple[Frame, str]:
    """The message with all settings made, in their order, and what was changed, in words.

    Raises DissectorError for a field that this message does not have, or a value that does not fit.
    """
    said, sized = [], False
    for action in actions:
        setting = action.value
        if not isinstance(setting, FieldSetting):
            continue
        paths = _paths(frame, place, setting.field)
        for path in paths:
            before = _value(frame, place, path)
            value = setting.value
            if action.name != "set":
                value = _with_bits(frame, place, path, setting, before, action.name == "raise")
            else:
                value = _named(setting.field, value)
            frame = set_field(frame, place, path, value, sized)
            sized = sized or path in ("size", "header.size")
            old = "" if before is None else f"{before} -> " if action.name == "set" else f"{before:#x} -> "
            shown = value if len(value) < 64 else value[:60] + "..."
            said.append(f"{setting.field if len(paths) == 1 else path} {old}{shown}")
    return frame, ", ".join(said[:8]) + (f" and {len(said) - 8} more" if len(said) > 8 else "")


def _paths(frame: Frame, place: Place, name: str) -> list[str]:
    """Where a field stands in a message, as `set_field` names it."""
    if name in _HEADER:
        return [f"header.{_HEADER[name]}"]
    field = fields().get(name)
    if field is None or not field.paths:
        return [name]
    layout = layout_of(frame, place)
    path = field.paths.get(layout.name) if layout is not None else None
    if layout is None or path is None:
        raise DissectorError(f"it has no field {name}")
    if EVERY not in path:
        return ["payload." + ".".join(path)]
    known = spans(layout, frame.data[place.channel.header.size :], place.context.order)
    wanted = [one for one in known if _matches(one, path)][:_ELEMENTS]
    if not wanted:
        raise DissectorError(f"it has no field {name}")
    return wanted


def _matches(written: str, path: tuple[str, ...]) -> bool:
    pattern = "".join(f"[{EVERY}]" if part == EVERY else f".{part}" for part in path).removeprefix(".")
    return "".join(part if at % 2 == 0 else f"[{EVERY}]" for at, part in enumerate(_split(written))) == pattern


def _value(frame: Frame, place: Place, path: str) -> int | None:
    """The number that stands there now."""
    header, order = place.channel.header, place.context.order
    where, _, inner = path.partition(".")
    if where != "payload":
        at = header.spans.get(inner if where == "header" else path)
        if at is not None and (where == "header" or not _has(frame, place, path)):
            return int.from_bytes(frame.data[at[0] : at[1]], "little" if order == "little" else "big")
    layout = layout_of(frame, place)
    span = None
    if layout is not None:
        name = inner if where == "payload" else path
        span = spans(layout, frame.data[header.size :], order).get(name)
    return span.value if span is not None and type(span.value) is int else None


def _has(frame: Frame, place: Place, path: str) -> bool:
    layout = layout_of(frame, place)
    return layout is not None and path in spans(layout, frame.data[place.channel.header.size :], place.context.order)


def _with_bits(frame: Frame, place: Place, path: str, setting: FieldSetting, before: int | None, up: bool) -> str:
    if before is None:
        raise DissectorError(f"{setting.field} is not a number here")
    mask = 0
    for bit in setting.bits:
        mask |= 1 << (int(bit) if bit.isdigit() else _bit(frame, place, path, bit))
    return hex(before | mask if up else before & ~mask)


def _bit(frame: Frame, place: Place, path: str, word: str) -> int:
    """The number of a bit by its name, on the device at hand."""
    layout = layout_of(frame, place)
    leaf = path.rpartition(".")[2].partition("[")[0]
    names = layout.names.get(leaf) if layout is not None else None
    if names is not None and layout is not None:
        here = _table(names, place.context).get(word.upper())
        if here is not None:
            return here
        anywhere = _bit_names([(layout, leaf)]).get(word.upper())
        if anywhere is not None:
            return anywhere
    raise DissectorError(f"{path} has no bit {word}")


def _named(field: str, value: str) -> str:
    """The number that a word stands for, such as DRIVER_OK."""
    known = fields().get(field)
    if known is None or value[:1].isdigit():
        return value
    number = known.names.get(value, known.names.get(value.upper()))
    return value if number is None else str(number)


def answer(frame: Frame, message: Message, place: Place, value: str) -> bytes:
    """A reply to a request, with a number or with the bytes of ``payload=HEX``. Raises DissectorError."""
    channel: Channel = place.channel
    header, order = channel.header, place.context.order
    if message.request is None or message.reply:
        raise DissectorError("only a request can be answered, and this is not one")
    head = frame.data[: header.size]
    mask, reply = header.reply
    mask |= header.need_reply[0]
    flags = message.flags & ~mask | reply
    if value.startswith("payload="):
        body = bytes.fromhex(value.removeprefix("payload="))
    else:
        number, body = int(value, 0), b""
        if "error" in header.more:  # vfio-user: a reply has a number of its own for what went wrong
            if number:
                flags |= header.failed[1]
            head = header.written(head, order, {"error": number & 0xFFFFFFFF})
        else:
            body = _number_payload(message, place, number)
    return header.written(head, order, {"flags": flags, "size": len(body) + header.counts}) + body


def _number_payload(message: Message, place: Place, number: int) -> bytes:
    """The payload of a reply that says a number: in its own layout where that is one number, else as a u64."""
    byte_order = "little" if place.context.order == "little" else "big"
    layout = (
        None if message.request is None else dissect.layout_of(place.channel, message.request, True, 8, place.context)
    )
    if layout is not None:
        found = [path for path, _ in leaves(layout)]
        if len(found) == 1 and found[0] != ("u64",):
            return build(layout, {found[0][0]: number}, place.context)
        if found[:1] == [("index",)] and message.payload:
            values = {**{path[0]: 0 for path in found}, "index": message.payload.get("index", 0), found[-1][0]: number}
            return build(layout, values, place.context)
    return number.to_bytes(8, byte_order)  # type: ignore[arg-type]
