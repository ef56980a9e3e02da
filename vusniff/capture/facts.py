"""What our custom option says in a capture file, as JSON: who, which descriptors, what was lost.

Owns the keys of that JSON and the texts beside it. Building takes our own records; reading takes anything, because a
file may contain anything: what is not of the expected type is left out, and nothing here raises.

Keys by block:

- section header comment: ``vusniff`` (format version: a reader refuses one that is newer than its own), ``source``,
  ``order``, ``snaplen``, ``boot_id``, ``host``, ``edited`` (what was done to it since it was captured)
- interface: ``vusniff``, ``order``, ``opened_ns``, ``joined_late``, ``family`` (where it is not vhost-user),
  ``restated`` (how many of its messages were sent before the file begins), ``untimed`` (the source had no clock: times
  only keep the order), ``ends`` (two of ``inode``, ``pid``, ``tid``, ``comm``, ``label``, ``held``: what a late source
  found in /proc, like ``fds``), ``continues`` (n: it is no new connection, but the n-th of this file, counted by
  interfaces of ours that continue none; the section before ran out of interfaces)
- packet: ``process``, ``fds`` (of ``kind``, ``id``, ``n``, ``name``, ``size``, ``late``), ``kind``, ``lost_ns`` (when
  what ``epb_dropcount`` counts was lost), ``lost`` (of no known connection), ``stack`` (id of a call stack, see
  `stacks`), ``restated`` (true: it was sent before this file begins, see `rotation`)
- statistics: ``closed`` (reason), ``by``, ``lost`` (since the last packet)
- custom block: ``vusniff``, ``lost`` (of no known connection); or one piece of evidence (see `evidence`)

``lost`` is [messages, time in ns].

Wireshark shows no custom options, not even to a dissector, so descriptors stand in comments of their packet as well
(`descriptor_comments`). Nothing of ours reads them back but our dissector for Wireshark.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from vusniff.printable import escape
from vusniff.record import Closed, Connection, Descriptor, DescriptorKind, End, Facts, Frame, FrameKind, Lost, Process
from vusniff.values import dataclass

FORMAT_VERSION = 1
ENTERPRISE = 32473
"""IANA's enterprise number for examples (RFC 5612), until the project has its own."""

TEXT_LIMIT = 4096
_OPTION_ROOM = 60_000
"""Bytes of JSON in one option; descriptors beyond it go into further options of the same packet."""

_COMMENT_ROOM = 32_000
"""Bytes of the comments of a packet about its descriptors."""

_DESCRIPTOR_LIMIT = 1024
"""Descriptors believed of one message: Linux passes 253 with one send."""
_EDITED_LIMIT = 1024
"""Edits of a capture that are listed. The last entry then says that there were more."""
_AND_MORE = "and more"

_STACK_ID = re.compile(r"[0-9a-f]{10}")
_dump = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_KINDS = {kind.value: kind for kind in DescriptorKind}
_FRAME_KINDS = {kind.name.lower(): kind for kind in FrameKind}


@dataclass(frozen=True, slots=True)
class Host:
    """The machine a capture comes from."""

    name: str = ""
    boot_id: str = ""
    """Two captures with the same one share inode numbers and monotonic clocks."""
    os: str = ""
    hardware: str = ""

    @classmethod
    def here(cls) -> Host:
        """This machine."""
        uname = os.uname()
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                boot_id = file.read().strip()
        except OSError:
            boot_id = ""
        return cls(uname.nodename, boot_id, f"{uname.sysname} {uname.release} {uname.version}", uname.machine)


@dataclass(frozen=True, slots=True)
class Section:
    """What a section header says of its packets."""

    source: str = ""
    """What saw them: ``proxy``, ``probe``, ..."""
    order: str = "little"
    """Byte order of the messages."""
    snaplen: int = 0
    """Most bytes kept of a message; 0: all."""
    host: Host = Host()
    application: str = ""
    ours: bool = False
    """Written by vusniff, as far as it says so."""
    edited: tuple[str, ...] = ()
    """What was done to it since it was captured, one step each, such as ``set 12.num=1024``. Empty: nothing."""


# -- building ---------------------------------------------------------------------------------------------------------


def dump(facts: Mapping[str, Any]) -> bytes:
    """Compact JSON in ASCII."""
    return _dump(facts).encode("ascii")


def section_facts(section: Section) -> bytes:
    """The comment of a section header."""
    facts: dict[str, Any] = {
        "vusniff": FORMAT_VERSION,
        "source": section.source,
        "order": section.order,
        "snaplen": section.snaplen,
        "boot_id": section.host.boot_id,
        "host": section.host.name,
    }
    if section.edited:
        facts["edited"] = _within(section.edited, _OPTION_ROOM // 2)
    return dump(facts)


def _within(words: Iterable[str], room: int) -> list[str]:
    """The first words, as many as fit into ``room`` bytes of JSON, and `_AND_MORE` where some do not."""
    kept: list[str] = []
    for word in words:
        room -= len(_dump(word)) + 1
        if room < 0:
            return [*kept, _AND_MORE]
        kept.append(word)
    return kept


def connection_facts(connection: Connection, order: str, continues: int = 0) -> bytes:
    """The option of an interface; ``continues`` is which connection of the file goes on, 0 for a new one."""
    facts: dict[str, Any] = {"vusniff": FORMAT_VERSION, "order": order}
    if connection.opened_ns is not None:
        facts["opened_ns"] = connection.opened_ns
    if connection.joined_late:
        facts["joined_late"] = True
    if connection.family != "vhost-user":
        facts["family"] = connection.family
    if not connection.timed:
        facts["untimed"] = True
    if connection.restated:
        facts["restated"] = connection.restated
    facts["ends"] = [_end(end) for end in connection.ends]
    if continues:
        facts["continues"] = continues
    return dump(facts)


def describe_ends(ends: tuple[End, End], continues: int = 0) -> str:
    """``qemu-system-x86 (12) -> dpdk-testpmd (34)``, for people and for our dissector in Wireshark.

    The latter takes from it, too, which connection an interface continues.
    """
    words = " -> ".join(f"{end.process.comm} ({end.process.pid})" if end.process else "?" for end in ends)
    return f"{words}, continues {continues}" if continues else words


def frame_facts(
    frame: Frame, process: Process | None, lost_ns: int | None, lost_anywhere: tuple[int, int] | None
) -> list[bytes]:
    """The options of a packet: its descriptors, its kind, and what the caller adds."""
    facts: dict[str, Any] = {}
    if frame.kind:
        facts["kind"] = frame.kind.name.lower()
    if frame.stack is not None:
        facts["stack"] = frame.stack.id
    if frame.restated:
        facts["restated"] = True
    if process:
        facts["process"] = _process(process)
    if lost_ns is not None:
        facts["lost_ns"] = lost_ns
    if lost_anywhere:
        facts["lost"] = lost_anywhere
    passed = [descriptor_facts(descriptor) for descriptor in frame.descriptors]
    if passed and len(whole := dump({**facts, "fds": passed})) <= _OPTION_ROOM:
        return [whole]
    texts: list[bytes] = []
    fds: list[dict[str, Any]] = []
    room = _OPTION_ROOM
    for fd in passed:
        size = len(_dump(fd)) + 1
        if size > room:
            texts.append(dump({"fds": fds}))
            room, fds = _OPTION_ROOM, []
        fds.append(fd)
        room -= size
    if fds:
        facts["fds"] = fds
    if facts:
        texts.append(dump(facts))
    return texts


def descriptor_comments(descriptors: Iterable[Descriptor]) -> list[bytes]:
    """Words for each descriptor, as many as fit: ``vusniff fd kind=memfd identity=memfd:7 size=4096``.

    A name comes last, because it may hold anything. A comment each, because Wireshark 4.4 gives one of several lines
    several times.
    """
    lines: list[bytes] = []
    room = _COMMENT_ROOM
    for descriptor in descriptors:
        words = ["vusniff fd", f"kind={descriptor.kind._value_}"]
        if descriptor.identity is not None:
            words.append(f"identity={escape(descriptor.identity).replace(' ', '_')}")
        if descriptor.number is not None:
            words.append(f"number={descriptor.number}")
        if descriptor.size is not None:
            words.append(f"size={descriptor.size}")
        if descriptor.name is not None:
            words.append(f"name={escape(descriptor.name)}")
        line = " ".join(words).encode("utf-8", "replace")
        room -= len(line) + 1
        if room < 0:
            break
        lines.append(line)
    return lines


def closed_facts(closed: Closed | None, lost: Lost | None) -> bytes:
    """The option of interface statistics: why it ended, and what was lost since its last packet."""
    facts: dict[str, Any] = {}
    if closed:
        facts["closed"] = closed.reason[:TEXT_LIMIT]
        if closed.by is not None:
            facts["by"] = closed.by
    if lost:
        facts["lost"] = [lost.count, lost.time_ns]
    return dump(facts)


def _end(end: End) -> dict[str, Any]:
    facts: dict[str, Any] = {} if end.inode is None else {"inode": end.inode}
    if end.process:
        facts |= _process(end.process)
    room = _OPTION_ROOM // 3
    held: list[dict[str, Any]] = []
    for descriptor in end.held:
        fd = descriptor_facts(descriptor)
        room -= len(_dump(fd)) + 1
        if room < 0:
            break
        held.append(fd)
    if held:
        facts["held"] = held
    return facts


def _process(process: Process) -> dict[str, Any]:
    facts: dict[str, Any] = {"pid": process.pid}
    if process.tid is not None:
        facts["tid"] = process.tid
    if process.comm:
        facts["comm"] = process.comm[:TEXT_LIMIT]
    if process.label is not None:
        facts["label"] = process.label[:TEXT_LIMIT]
    return facts


def descriptor_facts(descriptor: Descriptor) -> dict[str, Any]:
    facts: dict[str, Any] = {"kind": descriptor.kind.value}
    if descriptor.identity is not None:
        facts["id"] = descriptor.identity[:TEXT_LIMIT]
    if descriptor.number is not None:
        facts["n"] = descriptor.number
    if descriptor.name is not None:
        facts["name"] = descriptor.name[:TEXT_LIMIT]
    if descriptor.size is not None:
        facts["size"] = descriptor.size
    if descriptor.late:
        facts["late"] = True
    return facts


# -- reading ----------------------------------------------------------------------------------------------------------


def load(text: bytes) -> dict[str, Any]:
    """A JSON object, or an empty one for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def integer(value: object, least: int = 0, most: int = (1 << 64) - 1) -> int | None:
    """An integer within bounds, or None."""
    return value if type(value) is int and least <= value <= most else None


def text(value: object) -> str | None:
    """Text that can be printed and encoded, or None."""
    return value[:TEXT_LIMIT].encode("utf-8", "replace").decode() if isinstance(value, str) else None


def newer(facts: Mapping[str, Any]) -> int | None:
    """The format version that a section or an interface states, where it is none that is known here.

    Older versions are read: what they do not say is left out, as anything may be.
    """
    version = facts.get("vusniff")
    return version if type(version) is int and version > FORMAT_VERSION else None


def parse_section(comment: Mapping[str, Any], application: str, system: str, hardware: str, order: str) -> Section:
    """What a section header says; ``order`` is that of its blocks, the default for its messages."""
    stated = comment.get("order")
    edited = comment.get("edited")
    return Section(
        source=text(comment.get("source")) or "",
        order=stated if stated in ("little", "big") else order,
        snaplen=integer(comment.get("snaplen")) or 0,
        host=Host(text(comment.get("host")) or "", text(comment.get("boot_id")) or "", system, hardware),
        application=application,
        ours="vusniff" in comment or application.startswith("vusniff"),
        edited=_parse_edited(edited) if isinstance(edited, list) else (),
    )


def _parse_edited(steps: list[Any]) -> tuple[str, ...]:
    told = tuple(filter(None, map(text, steps[:_EDITED_LIMIT])))
    return told if len(steps) <= _EDITED_LIMIT else (*told, _AND_MORE)


def parse_connection(
    facts: Mapping[str, Any], number: int, path: str, most_held: int = 2 * _DESCRIPTOR_LIMIT
) -> Connection:
    """The connection that an interface describes. ``held`` limits the descriptors that are kept of its ends."""
    ends = facts.get("ends")
    stated = (ends if isinstance(ends, list) else [])[:2]
    first = _parse_end(stated[0], most_held) if stated else End()
    second = _parse_end(stated[1], most_held - len(first.held)) if len(stated) > 1 else End()
    return Connection(
        number,
        path,
        (first, second),
        integer(facts.get("opened_ns")),
        facts.get("joined_late") is True,
        text(facts.get("family")) or "vhost-user",
        facts.get("untimed") is not True,
        restated=integer(facts.get("restated")) or 0,
    )


def says_held(facts: Mapping[str, Any]) -> bool:
    """Whether an interface says what the processes of its ends held."""
    ends = facts.get("ends")
    return isinstance(ends, list) and any(isinstance(end, dict) and end.get("held") for end in ends[:2])


def parse_frame(texts: Iterable[bytes]) -> tuple[Facts, str | None, bool]:
    """Facts without the call stack, its id, and whether it is restated, by the options of a packet."""
    descriptors: list[Descriptor] = []
    process = stack = None
    restated = False
    for one in texts:
        facts = load(one)
        fds = facts.get("fds")
        if isinstance(fds, list):
            descriptors += [parse_descriptor(fd) for fd in fds[: _DESCRIPTOR_LIMIT - len(descriptors)]]
        process = _parse_process(facts.get("process")) or process
        stack = stack_id(facts.get("stack")) or stack
        restated = restated or facts.get("restated") is True
    return Facts(tuple(descriptors), process), stack, restated


def stack_id(said: object) -> str | None:
    """The id of a call stack, or None for anything else."""
    return said if isinstance(said, str) and _STACK_ID.fullmatch(said) else None


def frame_kind(facts: Mapping[str, Any]) -> FrameKind | None:
    """The kind of frame that a packet says it holds."""
    kind = facts.get("kind")
    return _FRAME_KINDS.get(kind) if isinstance(kind, str) else None


def parse_lost(value: object, connection: int | None) -> Lost | None:
    """[messages, time] as a loss."""
    if isinstance(value, list) and len(value) == 2:
        count, when = integer(value[0], 1), integer(value[1])
        if count is not None and when is not None:
            return Lost(connection, when, count)
    return None


def parse_closed(facts: Mapping[str, Any], connection: int, time_ns: int, received: int, lost: int) -> Closed | None:
    """Why a connection ended, where its statistics say so."""
    reason = text(facts.get("closed"))
    if reason is None:
        return None
    return Closed(connection, time_ns, reason, integer(facts.get("by"), 0, 1), received, lost)


def _parse_end(facts: object, most_held: int) -> End:
    if not isinstance(facts, dict):
        return End()
    held = facts.get("held")
    descriptors = held[: min(most_held, _DESCRIPTOR_LIMIT)] if isinstance(held, list) else []
    return End(integer(facts.get("inode")), _parse_process(facts), tuple(map(parse_descriptor, descriptors)))


def _parse_process(facts: object) -> Process | None:
    pid = integer(facts.get("pid")) if isinstance(facts, dict) else None
    if pid is None or not isinstance(facts, dict):
        return None
    return Process(pid, text(facts.get("comm")) or "", integer(facts.get("tid")), text(facts.get("label")))


def parse_descriptor(facts: object) -> Descriptor:
    if not isinstance(facts, dict):
        return Descriptor()
    kind = facts.get("kind")
    return Descriptor(
        _KINDS.get(kind, DescriptorKind.UNKNOWN) if isinstance(kind, str) else DescriptorKind.UNKNOWN,
        text(facts.get("id")),
        integer(facts.get("n"), -(1 << 31), (1 << 31) - 1),
        text(facts.get("name")),
        integer(facts.get("size")),
        facts.get("late") is True,
    )
