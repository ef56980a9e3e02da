"""A capture that may be shown to strangers: the same messages, of the same sizes, without what belongs to the guest.

What is removed and what stays, and why, is in SECURITY.md. Everything works by what may stay, never by what is known to
be secret. Of bytes only the numbers of layouts that fit stay (not config space, pixels, keys, padding, MAC addresses,
nor what no layout knows). Of texts only those stay that are in the tables here; any other becomes a name that only
tells it apart. The copy is written from records, so that options, comments and blocks that no record holds are not in
it. Numbers, times, sizes and identities stay, because they are what a fault is found by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from vusniff.analysis.session import Place
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.facts import Host, Section
from vusniff.capture.index import Index
from vusniff.capture.stacks import stack_of
from vusniff.capture.writer import CaptureWriter
from vusniff.checks.peers import BACKENDS, FRONTENDS
from vusniff.errors import VusniffError
from vusniff.families.vhost_kernel.family import vduse_device
from vusniff.families.vhost_kernel.protocol import CONTROL
from vusniff.families.vhost_user.header import SIZE_LIMIT
from vusniff.families.vhost_user.protocol import Channels
from vusniff.layouts import dissect
from vusniff.layouts.parts import Node, NodeKind
from vusniff.layouts.spans import walk
from vusniff.record import (
    Closed,
    Connection,
    Descriptor,
    DescriptorKind,
    End,
    Exit,
    Facts,
    Fault,
    Frame,
    FrameKind,
    LogLine,
    Lost,
    OtherEvidence,
    Process,
    Record,
    RingDump,
    Sample,
    Stack,
    StackEntry,
    is_named,
)
from vusniff.told import build as build_told
from vusniff.told import parse as parse_told
from vusniff.values import replace

_REASONS = frozenset({"eof", "reset", "killed", "capture ended"})
_SOURCES = frozenset({"proxy", "probe fentry", "probe kprobe", "probe rawtp", "strace", "log"})
_HARDWARE = frozenset(
    {"x86_64", "i686", "aarch64", "armv7l", "ppc64", "ppc64le", "s390x", "riscv64", "loongarch64", "mips64"}
)
_KNOWN = """
qemu-kvm qemu-system-x86 qemu-system-i38 qemu-system-aar qemu-system-arm qemu-system-ppc qemu-system-s39
qemu-system-ris qemu-system-loo qemu-system-mip qemu-storage-da cloud-hyperviso crosvm virtiofsd ovs-vswitchd
ovs-vswitchd-dp testpmd dpdk-testpmd dpdk-vhost dpdk-vhost_blk dpdk-vhost_cryp dpdk-l2fwd dpdk-l3fwd vhost-events
spdk_tgt vhost vpp vpp_main vhost-user-blk vhost-user-scsi vhost-user-gpu vhost-user-inpu vhost-user-brid
vhost_user_net vhost_user_bloc vhost-device-can vhost-device-con vhost-device-gpi vhost-device-gpu vhost-device-i2c
vhost-device-inp vhost-device-rng vhost-device-scm vhost-device-scs vhost-device-sou vhost-device-spi
vhost-device-tem vhost-device-vid vhost-device-vso
"""
_PROCESSES = frozenset(_KNOWN.split())
"""Names of processes that stay, as far as the kernel keeps them: those of implementations, on which findings rest."""
_THREAD = re.compile(r"CPU \d{1,4}/(KVM|TCG)|reactor_\d{1,4}|vpp_wk_\d{1,4}")
_BEGINNINGS = sorted((beginning for beginning, _ in (*FRONTENDS, *BACKENDS)), key=len, reverse=True)
"""Beginnings of names: of another name that begins so, only the beginning stays."""
_LIBRARY = re.compile(r"(libc|libglib-2\.0|librte_[a-z_]{1,40}|libspdk_[a-z_]{1,40}|libvhost[a-z-]{0,20})\.so[.\d]*")
"""Libraries whose names stay in call stacks, and the names of their functions."""
_IDENTITY = re.compile(r"(eventfd|memfd|socket|pipe|dmabuf|userfaultfd|(file|device):\d{1,10}(:\d{1,10})?):\d{1,20}")
_REQUEST = 0xFF
"""Greatest number of a request that no table knows and that stays: in a stream joined late it may be anything."""
_REPLACED = 0xFF00
"""Numbers from here on stand for other such requests."""
_SMALL = 1 << 18
"""Up to here numbers stay where pixels may be taken for them. Places and sizes are smaller, pixels greater."""
_FORMATS = frozenset(
    int.from_bytes(code, "little")
    for code in (b"XR24", b"AR24", b"XB24", b"AB24", b"RX24", b"RA24", b"BX24", b"BA24", b"RG16", b"XR30", b"AR30")
)
_MODIFIERS = frozenset({0, (1 << 56) - 1})
"""Linear, and none (DRM_FORMAT_MOD_INVALID)."""
_WHAT = re.compile(r"device|ring \d{1,10}|in-flight buffer|dirty log")
"""What a sample says that it could not read."""
_PADDING = re.compile(r"(\w+_)?(padding|reserved)\d*")
_PAIR = re.compile(r"pair:\d{1,20}(-\d{1,20})?")


def redact(files: Sequence[str], target: str, device: str | None = None) -> list[str]:
    """Write a redacted copy of captures; return what the reader notes.

    Raises VusniffError for captures of both byte orders.
    """
    timeline = Timeline(Index(files), device)
    read_all(timeline)
    index = timeline.index
    orders = {index.order(connection.id) for connection in index.connections}
    if len(orders) > 1:
        raise VusniffError("captures of hosts of different byte orders do not go into one file: redact them one by one")
    sections = [section for section in index.reader.sections if section.ours] or [Section()]
    names = Names()
    hardware = sections[0].host.hardware
    host = Host("redacted", "", "Linux", hardware if hardware in _HARDWARE else "")
    source = sections[0].source if sections[0].source in _SOURCES else ""
    edited = ("not told here",) if any(section.edited for section in sections) else ()
    order = orders.pop() if orders else sections[0].order
    dropped = lines = dumps = 0
    with CaptureWriter(target, source=source, order=order, host=host, edited=edited, keeps_ended=True) as writer:
        for written, record in enumerate(_records(timeline, names)):
            match record:
                case Connection():
                    ends = (names.end(record.ends[0]), names.end(record.ends[1]))
                    path, late = names.path(record.path), record.joined_late
                    writer.open(path, ends, record.opened_ns, late, record.family, record.timed)
                case Closed():
                    reason = record.reason if record.reason in _REASONS else "other"
                    writer.close_connection(replace(record, reason=reason), silent=not record.received)
                case Lost():
                    writer.lost(record)
                case Exit():
                    writer.evidence(replace(record, comm=names.comm(record.comm)))
                case Sample():
                    told = [(what, why) for what, why in record.unreadable if _WHAT.fullmatch(what)]
                    writer.evidence(replace(record, unreadable=tuple((what, "not told here") for what, _ in told)))
                case RingDump():  # requests of the guest, and where its memory is
                    dumps += 1
                case OtherEvidence():  # nobody here knows what it says
                    dropped += 1
                case Fault():  # rule and changes may hold what the messages hold
                    plain = tuple(one for one in record.actions if one.isalpha())
                    hidden = replace(record, text="", words="", actions=plain, changes=(), descriptors=None)
                    writer.evidence(hidden)
                case LogLine():  # a line may say anything
                    lines += 1
                case Frame():
                    writer.frame(record)
            if written % 64 == 0:
                writer.flush()
        writer.flush()
        if writer.failure:
            raise VusniffError(writer.failure)
    pieces = f"{dropped} piece{'s' if dropped > 1 else ''} of evidence"
    left_out = [f"left out by --redact: {pieces} of kinds that this vusniff does not know"] if dropped else []
    if lines:
        left_out.append(f"left out by --redact: {lines} line{'s' if lines > 1 else ''} of logs")
    if dumps:
        left_out.append(f"left out by --redact: {dumps} dump{'s' if dumps > 1 else ''} of what waited in rings")
    return [*index.notes, *left_out]


def _records(timeline: Timeline, names: Names) -> Iterator[Record]:
    index = timeline.index
    events, at = list(index.events), 0
    for row, frame in enumerate(index.frames()):
        while at < len(events) and events[at][0] <= row:
            yield events[at][1]
            at += 1
        place = timeline.place(row)
        data = redacted(frame, place, names, _is_sure(timeline, place))
        yield replace(frame, data=data, facts=names.facts(frame.facts))
    for _, event in events[at:]:
        yield event


# -- bytes ------------------------------------------------------------------------------------------------------------


def _is_sure(timeline: Timeline, place: Place) -> bool:
    """Whether the bytes are what they are taken for. The middle of a picture may look like messages of any channel:
    nobody said what a connection without a name carries that was joined late and that no message seen has passed."""
    connection = timeline.connection(place.connection)
    if not connection.joined_late or is_named(connection.path):
        return place.channel is not Channels.GPU
    first = next(iter(timeline.sessions[place.session - 1].connections))
    return place.channel is not Channels.GPU and first != place.connection


def redacted(frame: Frame, place: Place, names: Names, sure: bool = True) -> bytes:
    """The bytes of a frame with zeros for whatever is not a number that is known to be harmless."""
    data, header = frame.data, place.channel.header
    if frame.kind is FrameKind.TOLD and (of_log := parse_told(data)) is not None:
        number = of_log.where.rpartition(":")[2]
        where = f"log:{number}" if number.isdecimal() else "log"
        request = of_log.request
        if request > _REQUEST and dissect.spec_of(place.channel, request) is None:
            request = names.request(request)
        return build_told(replace(of_log, request=request, where=where, line=""))
    if frame.kind is not FrameKind.MESSAGE or len(data) < header.size:
        return bytes(len(data))
    order = place.context.order
    request, flags, size = header.read[order](data, 0)
    payload = data[header.size :]
    there = len(payload) + frame.missing
    if not there <= size <= SIZE_LIMIT:  # it is greater where the rest comes in frames of its own
        size = there
    reply = place.channel.is_reply(flags, place.sender(frame.end))
    layout = dissect.layout_of(place.channel, request, reply, there, place.context)
    kept = bytearray(len(payload))
    if layout is not None:
        at = 0
        # The payload ends, or a vendor's declaration fails: what follows stays zero.
        for _, start, stop, node, _ in walk(layout, payload, order, elements=len(payload)):
            at = max(at, stop)
            if _stays(node, payload[start:stop], order, sure):
                kept[start:stop] = payload[start:stop]
        if not sure and at != size:
            kept = bytearray(len(payload))
    if request > _REQUEST and dissect.spec_of(place.channel, request) is None:
        request = names.request(request)
    # One bit says that some are set that have no meaning, and not which: the lowest of these.
    some_flag = (header.assigned + 1) if flags & ~header.assigned else 0
    told = {"request": request, "flags": flags & header.assigned | some_flag, "size": size + header.counts}
    return header.written(data[: header.size], order, told) + bytes(kept)


def _stays(node: Node, data: bytes, order: str, sure: bool) -> bool:
    """Numbers stay; UUIDs of shared objects too: they are random, and tell which request means which object."""
    if node.kind is NodeKind.NUMBER:
        value = int.from_bytes(data, "little" if order == "little" else "big")
        return not _PADDING.fullmatch(node.name) and (sure or _is_no_pixel(node.name, value))
    return sure and node.kind is NodeKind.ADAPTED and node.shown == "guid"


def _is_no_pixel(name: str, value: int) -> bool:
    if name == "fourcc":
        return value in _FORMATS
    return value <= _SMALL or (name == "modifier" and value in _MODIFIERS)


# -- names ------------------------------------------------------------------------------------------------------------


_NODE = re.compile(r"/dev/vhost-(net|vsock|scsi|vdpa-[0-9]{1,5})")


class Names:
    """Names that only tell things apart: the same for the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}

    def _of(self, kind: str, name: str) -> str:
        known = self._known.get((kind, name))
        if known is None:
            number = self._counts[kind] = self._counts.get(kind, 0) + 1
            known = self._known[kind, name] = f"{kind}{number}"
        return known

    def path(self, path: str) -> str:
        """A socket's path; names made of inodes stay, and of a device of the kernel all but what somebody called it."""
        if not is_named(path):
            return path if _PAIR.fullmatch(path) else self._of("pair:", path)
        if path == CONTROL or _NODE.fullmatch(path):
            return path
        name = vduse_device(path)
        if name and path == f"/dev/vduse/{name}":
            return f"/dev/vduse/{self._of('device', name)}"
        node, bracket, detail = path.partition(" (")
        if bracket and _NODE.fullmatch(node):
            return f"{node} ({self._of('device', name or detail)}{', vduse' if name else ''})"
        return ("@" if path.startswith("@") else "/redacted/") + self._of("socket", path)

    def end(self, end: End) -> End:
        """An end of a connection."""
        return End(end.inode, self.process(end.process), tuple(map(self.descriptor, end.held)))

    def process(self, process: Process | None) -> Process | None:
        """A process: the programs that everybody knows keep their names."""
        if process is None:
            return None
        return Process(process.pid, self.comm(process.comm), process.tid)

    def comm(self, comm: str) -> str:
        """The name of a process."""
        if comm and comm not in _PROCESSES and not _THREAD.fullmatch(comm):
            kind = next((beginning for beginning in _BEGINNINGS if comm.startswith(beginning)), "process")
            return self._of(kind, comm)
        return comm

    def descriptor(self, descriptor: Descriptor) -> Descriptor:
        """A descriptor."""
        name, identity = descriptor.name, descriptor.identity
        if name is not None:
            name = self._of("memory" if descriptor.kind is DescriptorKind.MEMFD else "file", name)
        if identity is not None and not _IDENTITY.fullmatch(identity):
            identity = self._of("object", identity)
        return replace(descriptor, identity=identity, name=name)

    def facts(self, facts: Facts) -> Facts:
        """All that a source knew of a message."""
        return Facts(
            tuple(map(self.descriptor, facts.descriptors)), self.process(facts.process), self.stack(facts.stack)
        )

    def stack(self, stack: Stack | None) -> Stack | None:
        """A call stack: of programs and libraries that everybody knows names stay, of others only that they differ."""
        if stack is None:
            return None
        return stack_of(tuple(map(self._entry, stack.entries)), "cut, not told here" if stack.cut else "")

    def _entry(self, entry: StackEntry) -> StackEntry:
        if entry.file[:15] in _PROCESSES or _LIBRARY.fullmatch(entry.file):
            return entry._replace(source=None)
        return StackEntry(self._of("file", entry.file) if entry.file else "", "", entry.address)

    def request(self, number: int) -> int:
        """A request that no table knows: another number that no table knows, the same for the same."""
        return _REPLACED + int(self._of("", str(number))) % 0x100
