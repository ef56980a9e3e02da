"""The Lua dissector: tables generated from the installed dissectors, between the parts of ``runtime.lua``.

Wireshark regards scripts for it as bound to its licence, so the file is GPL-2.0-or-later.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from importlib import resources

from vusniff.channel import Sender
from vusniff.families.family import Family
from vusniff.families.pairing import MAX_CODES, MAX_WAITING
from vusniff.families.registry import families
from vusniff.families.vhost_kernel import family as kernel
from vusniff.families.vhost_kernel.protocol import CONTROL, Ioctl
from vusniff.families.vhost_user import device, shape
from vusniff.families.vhost_user.protocol import FrontendRequest
from vusniff.families.vhost_user.replies import ACKNOWLEDGE_ADDRESSES
from vusniff.filter.field import Origin, ValueKind
from vusniff.filter.fields import RANKS, fields
from vusniff.filter.payload import MEANINGS
from vusniff.layouts import dissect
from vusniff.layouts.parts import UnknownShapeError, layouts_of
from vusniff.message import Choice, Context, Layout, MessageSpec, Names
from vusniff.values import dataclass, field
from vusniff.wireshark.choices import choosing, deciding
from vusniff.wireshark.declarations import Fields, quoted, reader

FILE_NAME = "vusniff.lua"
_RING_KINDS = {ValueKind.TEXT: "text", ValueKind.BOOLEAN: "bool", ValueKind.NANOSECONDS: "time"}
_MARK = "-- @TABLES@\n"
_HEX = ("address", "offset", "iova", ".addr.", "u64", "modifier", "features", "pointer", "len", "vhost.mem.", "status")


def generate() -> str:
    """The text of the dissector, from the dissectors that are installed now."""
    tables = _Tables()
    body = tables.channels()
    before, after = resources.files("vusniff.wireshark").joinpath("runtime.lua").read_text("utf-8").split(_MARK)
    parts = [before, *tables.registrations(), "", *tables.names, "", *tables.readers, "", *body, ""]
    parts += [*_families(), "", *_calls(), "", *_deduction(), "", *_shapes(), "", *_pairing()]
    return "\n".join(parts) + "\n" + after


@dataclass
class _Tables:
    """What has been generated so far."""

    fields: Fields = field(default_factory=Fields)
    names: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    _kinds: dict[type[enum.IntFlag] | type[enum.IntEnum], str] = field(default_factory=dict)
    _by_device: dict[tuple[str, ...], str] = field(default_factory=dict)
    _layouts: dict[Layout, str] = field(default_factory=dict)

    def channels(self) -> list[str]:
        """Rows of every channel: name, layouts of request and reply, whether it is answered."""
        lines = []
        for channel, dissector in dissect.load().items():
            lines.append(f"CHANNELS[{quoted(channel)}] = {{")
            for code, spec in dissector.specs.items():
                reply = spec.reply if spec.answered or spec.reply is not None else dissector.ack
                lines += self._row(channel, code, spec, reply)
            lines.append("}")
        return lines

    def _row(self, channel: str, code: int, spec: MessageSpec, reply: Choice) -> list[str]:
        lines = [f"  [{int(code)}] = {{ name = {quoted(spec.name)},"]
        for key, choice in (("request", spec.payload), ("reply", reply)):
            lines += [f"    {key} = function(c, size)", *self._chosen(choice), "    end,"]
        meant = [
            f"{path} = {{ {self.fields.key(name, 'u64')}, {self.fields.key(f'{name}_names', 'text')} }}"
            for name, of, requests, path in MEANINGS
            if of == channel and code in requests
        ]
        if meant:
            lines.append(f"    meant = {{ {', '.join(meant)} }},")
        answered = ["return true"] if spec.answered else deciding(spec.may_answer) if spec.may_answer else None
        if answered:
            lines += ["    answered = function(c)", *(f"      {line}" for line in answered), "    end,"]
        return [*lines, "  },"]

    def _chosen(self, choice: Choice) -> list[str]:
        if choice is not None and not layouts_of(choice):
            return ["      return RAW"]
        return [f"      {line}" for line in choosing(choice, self.layout)]

    def layout(self, layout: Layout | None) -> str:
        """The Lua expression of a layout's reader, which is generated when it is first met."""
        if layout is None:
            return "EMPTY"
        if layout not in self._layouts:
            try:
                lines = reader(layout, self.resolve, self.fields)
            except (UnknownShapeError, TypeError, ValueError):
                self._layouts[layout] = "RAW"
            else:
                self._layouts[layout] = f"LAYOUTS[{len(self._layouts) + 1}]"
                self.readers.append(f"{self._layouts[layout]} = {{ name = {quoted(layout.name)}, read = function()")
                self.readers += [*(f"  {line}" for line in lines), "end }"]
        return self._layouts[layout]

    def resolve(self, names: Mapping[str, Names]) -> dict[str, str]:
        """The Lua tables of names of bits and values."""
        return {name: self._table(kind) for name, kind in names.items()}

    def _table(self, names: Names) -> str:
        if isinstance(names, type):
            return self._of(names)
        tables = tuple(self._of(names(Context(device=one))) for one in (None, *device.DEVICES))
        if len(set(tables)) == 1:
            return tables[0]
        if tables not in self._by_device:
            known = self._by_device[tables] = f"BITS_BY_DEVICE[{len(self._by_device) + 1}]"
            self.names.append(f"{known} = {{ [0] = {tables[0]},")
            for one, table in zip(device.DEVICES, tables[1:], strict=True):
                if table != tables[0]:
                    self.names.append(f"  [{quoted(one)}] = {table},")
            self.names.append("}")
        return self._by_device[tables]

    def _of(self, kind: type[enum.IntFlag] | type[enum.IntEnum]) -> str:
        if kind in self._kinds:
            return self._kinds[kind]
        number = len(self._kinds) + 1
        if issubclass(kind, enum.IntFlag):
            known = f"BITS[{number}]"
            rows: dict[int, str] = {}
            for name, member in kind.__members__.items():
                rows.setdefault(int(member).bit_length() - 1, name)
        else:
            known = f"VALUES[{number}]"
            rows = {int(member): name for name, member in kind.__members__.items()}
        self._kinds[kind] = known
        self.names.append(f"{known} = {{")
        if known.startswith("VALUES"):
            self.names.append("  values = true,")
        self.names += [f"  [{value}] = {quoted(name)}," for value, name in rows.items()]
        self.names.append("}")
        return known

    def registrations(self) -> list[str]:
        """Every field of every layout, registered once for each kind of value it has."""
        lines = []
        for name, kinds in self.fields.kinds.items():
            title = name.rpartition(".")[2].replace("_", " ")
            for kind in kinds:
                form = ', "hex"' if kind == "u64" and any(word in name for word in _HEX) else ""
                key = quoted(f"{name}|{kind}")
                lines.append(f"register({key}, {quoted(name)}, {quoted(kind)}, {quoted(title)}{form})")
        return [*lines, *_rings()]


def _rings() -> list[str]:
    """Where rings stood, which comments of packets tell: see `vusniff.views.export.annotated`."""
    lines = []
    for one in fields().values():
        if one.origin is Origin.RING:
            name, title = one.name.partition(".")[2], one.about.partition(";")[0].capitalize()
            kind = _RING_KINDS.get(one.kind, "u64")
            made = f"register({quoted(one.name)}, {quoted(one.name)}, {quoted(kind)}, {quoted(title)})"
            lines.append(f"RINGS[{quoted(name)}] = {{ kind = {quoted(kind)}, field = {made} }}")
    return lines


def _families() -> list[str]:
    """The rows of families, as far as packets need them."""
    return ["FAMILIES = {", *(line for family in families().values() for line in _family(family)), "}"]


def _family(family: Family) -> list[str]:
    header, channels = family.main.header, family.channels
    spans = {name: f"{{ {start}, {stop - start} }}" for name, (start, stop) in header.spans.items()}
    small = spans[header.small]
    more = [
        f"{{ {at}, {size}, name = {quoted(name)}, title = {quoted(name.capitalize())},"
        f" kind = {quoted(('i' if name in header.signed else 'u') + str(8 * max(size, 4)))} }}"
        for name, (at, size) in header.more.items()
    ]
    rules = {"reply": header.reply, "need_reply": header.need_reply, "failed": header.failed}
    opened: dict[bool, dict[str | int, str]] = {False: {}, True: {}}
    for (_, code, is_reply), channel in family.openings.items():
        if channel is not family.unknown:
            opened[is_reply][code] = quoted(channel)
    asking = {channel: channel.requester for channel in channels if channel.requester is not None}
    other = next((channel for channel, side in asking.items() if side is not family.main.requester), "")
    return [
        f"  {{ name = {quoted(family.name)}, proto = {quoted(family.name.replace('-', '_'))},",
        f"    own = {quoted(family.own or family.fields)}, transport = {quoted(family.transport)},",
        f"    fields = {quoted(family.fields)}, main = {quoted(family.main)}, unusual = {quoted(header.unusual)},",
        f"    head = {header.size}, counts = {header.counts}, small = {small},",
        *(f"    {name} = {span}," for name, span in spans.items()),
        *(f"    {name} = {{ {mask}, {value} }}," for name, (mask, value) in rules.items()),
        f"    more = {{ {', '.join(more)} }}, by_id = {str(family.identify is not None).lower()},",
        f"    other_way = {_lua_table(dict.fromkeys(sorted(family.other_way), 'true'))},",
        f"    other_channel = {quoted(other)},",
        f"    opened_by_request = {_lua_table(opened[False])}, opened_by_reply = {_lua_table(opened[True])},",
        f"    requesters = {_lua_table({channel: quoted(side) for channel, side in asking.items()})},",
        f"    roles = {_lua_table({side: quoted(word) for side, word in zip(Sender, family.roles, strict=True)})} }},",
    ]


def _calls() -> list[str]:
    """How the bytes of a session of calls are read, as `vusniff.families.vhost_kernel.family` has it."""
    nodes: dict[str | int, str] = {node: quoted(name) for node, name in kernel.NODES.items()}
    devices: dict[str | int, str] = {number: quoted(name) for number, name in kernel.IDS.items()}
    asked: dict[str | int, str] = {int(request): str(at.start or 0) for request, at in kernel.DEVICE_ID_IN.items()}
    return [
        f"CALLS = {{ control = {quoted(CONTROL)},",
        f"  set_features = {int(Ioctl.SET_FEATURES)}, nodes = {_lua_table(nodes)},",
        f"  devices = {_lua_table(devices)},",
        f"  device_id_in = {_lua_table(asked)} }}",
    ]


def _lua_table(rows: Mapping[str | int, str]) -> str:
    """A Lua table of one line."""
    cells = (f"[{quoted(key) if isinstance(key, str) else int(key)}] = {value}" for key, value in rows.items())
    return f"{{ {', '.join(cells)} }}" if rows else "{}"


def _deduction() -> list[str]:
    """What a session's device is told by, as `vusniff.families.vhost_user.device` has it."""
    lines = ["DEDUCTION = {"]
    for key, table in (("known", device.KNOWN_BITS), ("telling", device.TELLING_BITS)):
        lines.append(f"  {key} = {{")
        for name, mask in table.items():
            bits = ", ".join(f"[{bit}] = true" for bit in range(64) if mask >> bit & 1)
            lines.append(f"    [{quoted(name)}] = {{ {bits} }},")
        lines.append("  },")
    own = ", ".join(f"[{bit}] = true" for bit in range(64) if device.DEVICE_BITS >> bit & 1)
    lines.append(f"  own = {{ {own} }},")
    sizes = ", ".join(f"[{size}] = {quoted(name)}" for size, name in device.CONFIG_SIZES.items())
    lines.append(f"  sizes = {{ {sizes} }},")
    requests = ", ".join(f"[{int(code)}] = {quoted(name)}" for code, name in device.TELLING_REQUESTS.items())
    lines.append(f"  requests = {{ {requests} }},")
    programs = ", ".join(f"{{ {quoted(begins)}, {quoted(name)} }}" for begins, name in device.PROGRAMS)
    lines.append(f"  programs = {{ {programs} }},")
    lines.append(f"  certain = {device.CERTAIN}, likely = {device.LIKELY},")
    lines.append("}")
    ranks = ", ".join(f"{name} = {rank}" for name, rank in RANKS.items())
    severities = ", ".join(f"[{rank}] = {quoted(name)}" for name, rank in RANKS.items())
    lines += [f"SEVERITIES = {{ {severities} }}", f"RANKS = {{ {ranks} }}"]
    return [*lines, "CODES = {", *(f"  {code.name} = {int(code)}," for code in FrontendRequest), "}"]


def _shapes() -> list[str]:
    """What tells the channel of a connection without a path, as `vusniff.families.vhost_user.shape` has it."""
    ambiguous: dict[int, tuple[int, ...]] = {}
    for request, size in sorted(shape.AMBIGUOUS):
        ambiguous[request] = (*ambiguous.get(request, ()), size)
    lines = []
    for name, sizes in (
        ("MAIN_SIZES", shape.MAIN_SIZES),
        ("BACKEND_SIZES", shape.BACKEND_SIZES),
        ("AMBIGUOUS", ambiguous),
    ):
        lines.append(f"{name} = {{")
        lines += [f"  [{int(code)}] = {_lua_table(dict.fromkeys(some, 'true'))}," for code, some in sizes.items()]
        lines.append("}")
    with_descriptor: dict[str | int, str] = {
        int(code): str(here).lower() for code, here in shape.WITH_DESCRIPTOR.items()
    }
    return [*lines, f"WITH_DESCRIPTOR = {_lua_table(with_descriptor)}"]


def _pairing() -> list[str]:
    """What the pairing of replies with requests goes by: see `vusniff.families.pairing`."""
    acknowledges: dict[str | int, str] = {int(code): "true" for _, code in ACKNOWLEDGE_ADDRESSES}
    return [
        f"ACKNOWLEDGES = {_lua_table(acknowledges)}",
        f"MAX_WAITING, MAX_CODES = {MAX_WAITING}, {MAX_CODES}",
    ]
