"""tshark with the generated dissector says of every message what vusniff says, field by field."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fetch_tshark import version
from payload_examples.kernel import EXAMPLES as CALLS
from talk import START_NS, Talk, eventfd, memfd, region, socket, u32, u64
from tshark import PROGRAMS, dissector, fields, needs_tshark, tshark, using

from captures import golden, synthetic
from vusniff.analysis.rings import RingSpan
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.checks.finding import Finding
from vusniff.cli import main
from vusniff.families.registry import families
from vusniff.families.vhost_kernel.protocol import NAMES, RETURNED, VDUSE_NAME, Control, head
from vusniff.families.vhost_user.protocol import BackendRequest, FrontendRequest, GpuRequest, ProtocolFeature
from vusniff.filter import compile_filter, sieve
from vusniff.filter.field import Field, Origin, ValueKind
from vusniff.filter.fields import RANKS
from vusniff.filter.fields import fields as filter_fields
from vusniff.message import Message
from vusniff.record import Frame, LogLine

pytestmark = needs_tshark

NOT_SHOWN = {"vhost.time", "proc.tid", "proc.label"} | {
    "finding.severity",
    "finding.rule",
    "finding.side",
    "finding.sentence",
    *("stack", "stack.function", "stack.file", "stack.source", "stack.cut", "log.text", "log.program", "log.level"),
}
"""What Wireshark shows by a field of its own, or only of an annotated capture."""
OWN_WORDS = {"vhost.malformed"}
"""Said in other words."""
MANY = int(os.environ.get("VUSNIFF_TEST_MESSAGES", "8000"))
"""Messages of the long capture; its million takes minutes."""
LATER = {"vhost.answered_by", "vhost.latency"}
"""What of a request is only known at its reply."""


class Around:
    """What filters know beside a message."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.first_ns = timeline.time_ns(0)

    def path(self, connection: int) -> str | None:
        return self._timeline.connection(connection).path

    def findings(self, number: int) -> tuple[Finding, ...]:
        return ()

    def logs(self, number: int) -> tuple[LogLine, ...]:
        return ()

    def rings(self, number: int) -> tuple[RingSpan, ...]:
        return ()

    def device(self, number: int) -> None:
        return None

    def phase(self, number: int) -> None:
        return None


def read(path: Path) -> Timeline:
    timeline = Timeline(Index(path))
    read_all(timeline)
    return timeline


def shown(field: Field, text: str) -> Any:
    """A value as tshark prints it, in our form."""
    match field.kind:
        case ValueKind.NUMBER | ValueKind.BITS | ValueKind.REQUEST:
            return int(text, 0)
        case ValueKind.BOOLEAN:
            return {"1": True, "0": False, "True": True, "False": False}[text]
        case ValueKind.NANOSECONDS:
            return int(Decimal(text) * 1_000_000_000)
        case ValueKind.BYTES:
            return text.replace(":", "")
    return text


def expected(field: Field, message: Message, around: Around) -> list[Any]:
    """The values of a message, in the same form."""
    value = field.read(message, around)
    values = [] if value is None else list(value) if field.several else [value]
    return [
        one.hex() if isinstance(one, bytes) else bool(one) if field.kind is ValueKind.BOOLEAN else one for one in values
    ]


def compare(path: Path, folder: Path, passes: int = 2) -> int:
    """Hold tshark's fields against ours; returns how many messages had the same.

    Who goes once through a file does not know what is still to come: of a request, who answers it and when.
    """
    timeline = read(path)
    around = Around(timeline)
    table = {
        name: field
        for name, field in filter_fields().items()
        if name not in NOT_SHOWN
        and field.origin not in (Origin.LOG, Origin.STACK, Origin.RING, Origin.STATE)  # in no packet
    }
    known = set(re.findall(r'(?:own\(|register\("[^"]*", |uint32\()"([^"]*)"', dissector(folder).read_text("utf-8")))
    for family in list(families().values())[1:]:  # their names are put together in Lua
        known |= {
            f"{family.own or family.fields}.{one}" for one in ("command", "flags", "failed", *family.main.header.more)
        }
    names = [name for name in table if name in known]
    missing = sorted(set(table) - known)
    assert not [name for name in missing if not name.startswith("vhost.config.space.")], missing
    rows = fields(path, names, dissector(folder), passes)
    compared = 0
    for message, row in zip(timeline.messages(), rows, strict=True):
        if message.request is None:
            assert not row
            continue
        for name in names:
            field = table[name]
            ours = expected(field, message, around)
            theirs = [shown(field, value) for value in row.get(name, [])]
            if name in OWN_WORDS:
                assert bool(ours) == bool(theirs), (message.number, name, theirs)
            elif passes == 1 and message.answered_by is not None and name in LATER:
                assert theirs == [], (message.number, name)
            else:
                assert theirs == ours, (message.number, message.name, name)
        compared += 1
    return compared


@pytest.fixture(scope="module", params=PROGRAMS, ids=lambda program: "{}.{}".format(*version(program)))
def folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Path]:
    with using(request.param):
        yield tmp_path_factory.mktemp("wireshark")


def test_every_request_reply_and_acknowledgement(folder: Path) -> None:
    path = folder / "every.pcapng"
    count = synthetic.every(path)
    assert compare(path, folder) == count


@pytest.mark.parametrize("capture", golden.captures(), ids=lambda path: path.stem)
def test_real_captures(capture: Path, folder: Path) -> None:
    assert compare(capture, folder) > 40


def test_every_call_to_the_kernel_in_both_byte_orders(folder: Path, tmp_path: Path) -> None:
    """What a call is named, and what it says, comes from one table; the host's byte order is found by the flags."""
    nodes = {
        "vhost-kernel": "/dev/vhost-net (tap0)",
        "vhost-vdpa": "/dev/vhost-vdpa-0 (blk0, vduse)",
        "vduse": "/dev/vduse/blk0",  # of one session with the one above
    }
    both = b""
    for order in ("little", "big"):
        path = tmp_path / order
        with CaptureWriter(path, source="test", order=order) as writer:
            known: dict[str, int] = {}
            for number, one in enumerate(CALLS):
                family = one.channel.family
                if family not in known:
                    known[family] = writer.open(nodes[family], family=family).id
                data = bytes.fromhex(one.hex)
                if one.request in tuple(Control) and one.channel.family == VDUSE_NAME:
                    data = data.ljust(152, b"\0")  # what is read and written has this size
                data = data if order == "little" else b"A" * len(data)
                header = head(order, one.request, RETURNED, len(data), fd=7)
                writer.frame(Frame(known[family], 0, START_NS + number, header + data))
        both += path.read_bytes()
    (tmp_path / "both.pcapng").write_bytes(both)
    assert compare(tmp_path / "both.pcapng", folder) == 2 * len(CALLS)
    assert {one.request for one in CALLS} == set(NAMES)


def test_a_reader_that_goes_once_through_a_file_knows_answers_at_the_reply(folder: Path) -> None:
    capture = next(one for one in golden.captures() if one.stem == "qemu-blk")
    assert compare(capture, folder, passes=1) > 40
    plain = tshark(capture, lua=dissector(folder))
    assert plain.count("vhost-user") == len(read(capture))
    assert tshark(capture, "-2", lua=dissector(folder)) == plain


def test_many_messages(folder: Path) -> None:
    path = folder / "many.pcapng"
    synthetic.million(path, MANY)
    assert compare(path, folder) == MANY


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("vhost.request == SET_MEM_TABLE", 'vhost.name == "SET_MEM_TABLE"'),
        ("vhost.request in {BACKEND_IOTLB_MSG, GPU_UPDATE}", 'vhost.name in {"BACKEND_IOTLB_MSG", "GPU_UPDATE"}'),
        ("vhost.features contains MRG_RXBUF", 'vhost.features_names == "VIRTIO_NET_F_MRG_RXBUF"'),
        ("vhost.latency > 20us and vhost.reply == 1", "vhost.latency > 0.00002 and vhost.reply == 1"),
        ("fd.kind == memfd && vhost.channel == main", 'fd.kind == "memfd" && vhost.channel == "main"'),
    ],
)
def test_what_the_page_of_filters_says_of_wireshark(folder: Path, ours: str, theirs: str) -> None:
    every = folder / "every.pcapng"
    synthetic.every(every)
    found = 0
    for capture in (every, *golden.captures()):
        rows = tshark(capture, "-Y", theirs, "-T", "fields", "-e", "frame.number", lua=dissector(folder)).split()
        assert [row + 1 for row in compile_filter(ours).rows(read(capture))] == [int(row) for row in rows]
        found += len(rows)
    assert found


def pairs(talk: Talk) -> None:
    """Replies of which only the whole rule of `vusniff.families.pairing` says what they answer."""
    front, code = talk.connect("/run/pairs.sock"), FrontendRequest
    front.ask(code.SET_FEATURES, u64(0), need_reply=True)  # may be answered: REPLY_ACK is not negotiated
    front.ask(code.GET_FEATURES)
    front.answer(code.GET_FEATURES, u64(1))  # so it was not
    front.ask(code.SET_PROTOCOL_FEATURES, u64(ProtocolFeature.REPLY_ACK), need_reply=True)
    front.answer(code.SET_PROTOCOL_FEATURES, u64(0))
    front.ask(code.SET_FEATURES, u64(0), need_reply=True)
    front.answer(code.SET_FEATURES, u64(0))
    front.ask(code.SET_VRING_NUM, u32(0, 256))
    front.ask(code.SET_VRING_NUM, u32(1, 256), need_reply=True)
    front.ask(code.GET_QUEUE_NUM)
    front.answer(code.GET_QUEUE_NUM, u64(1))  # out of order
    front.answer(code.SET_VRING_NUM, u64(0))
    front.answer(code.SET_VRING_NUM, u64(0))  # once more
    front.ask(code.POSTCOPY_LISTEN, need_reply=True)
    front.answer(code.POSTCOPY_LISTEN, u64(0))
    table = u32(1, 0) + region(0, 4096, 8192)
    front.ask(code.SET_MEM_TABLE, table, memfd(1))
    front.ask(code.SET_MEM_TABLE, table)  # acknowledges
    front.answer(code.SET_MEM_TABLE, table)
    front.answer(code.SET_MEM_TABLE, table)


def odd(path: Path) -> None:
    """What is short, long, unknown, of other contexts, or on connections that nothing has announced."""
    talk = Talk(path)
    front, code = talk.connect("/run/odd.sock"), FrontendRequest
    front.ask(code.SET_PROTOCOL_FEATURES, u64(ProtocolFeature.XEN_MMAP | ProtocolFeature.LOG_SHMFD))
    xen = region(0, 4096, 8192) + u32(3, 7)
    front.ask(code.SET_MEM_TABLE, u32(2, 0) + xen + xen, memfd(1), memfd(2))
    front.ask(code.SET_MEM_TABLE, u32(3, 0) + xen + xen[:17])
    front.ask(code.SET_MEM_TABLE, u32(0xFFFFFFFF, 0) + xen)
    front.ask(code.SET_MEM_TABLE, u32(1, 0) + xen + b"left over")
    front.ask(code.ADD_MEM_REG, u64(0) + xen, memfd(3))
    front.ask(code.SET_LOG_BASE, u64(4096, 0), memfd(4))
    front.answer(code.SET_LOG_BASE, u64(4096, 0))
    front.answer(code.SET_LOG_BASE, u64(4096, 0))
    front.ask(code.SET_LOG_BASE, u64(1))
    front.ask(code.SET_VRING_BASE, u32(0, 7))
    front.ask(code.SET_FEATURES, u64(1 << 34 | 1 << 63 | 1 << 40))
    front.ask(code.SET_VRING_BASE, u32(0, 0x8005_8007))
    front.ask(code.SET_VRING_KICK, u64(0x1FF))
    front.ask(code.SET_VRING_KICK, u64(0xFFFF_FFFF_FFFF_FE03), eventfd(9))
    front.ask(code.SET_VRING_ADDR, u64(1)[:7])
    front.ask(code.SET_VRING_NUM, u32(1, 2, 3))
    front.ask(code.GET_FEATURES, b"superfluous", need_reply=True)
    front.answer(code.GET_FEATURES, u64(0xFFFF_FFFF_FFFF_FFFF))
    front.answer(code.SET_VRING_NUM, u64(1))
    front.ask(99, b"vendor", need_reply=True)
    front.answer(99, u64(0))
    front.ask(code.POSTCOPY_LISTEN, need_reply=True)
    front.answer(code.POSTCOPY_LISTEN, u64(0))
    front.ask(code.SET_MEM_TABLE, u32(1, 0) + xen)
    front.answer(code.SET_MEM_TABLE, u32(1, 0) + xen)
    front.ask(code.SET_MEM_TABLE)
    front.ask(code.IOTLB_MSG, u64(1, 2, 3) + bytes([9, 77]))
    front.ask(code.GET_CONFIG, u32(0, 60, 0) + bytes(60))
    front.answer(code.GET_CONFIG, u32(0, 60, 0) + bytes(range(60)))
    front.answer(code.GET_CONFIG, u32(8, 9, 1) + bytes(range(9)))
    front.ask(code.SEND_RARP, bytes(range(8)))
    front.ask(code.CREATE_CRYPTO_SESSION, struct.pack("<Q", 0x404) + bytes(range(256)) * 4 + bytes(32) + u64(1 << 63))
    for word in (2, 3):  # the two forms of QEMU before 8.1
        front.ask(code.CREATE_CRYPTO_SESSION, u64(7) + struct.pack("<I", word) + bytes(range(155)) * 4)
    front.raw(0, b"no header")
    listening = talk.connect("/run/listening.sock", front=1, late=True, comms=("qemu-system-x86", "virtiofsd"))
    listening.answer(code.GET_FEATURES, u64(1))
    listening.ask(code.GET_FEATURES)
    listening.answer(code.GET_FEATURES, u64(1))
    listening.ask(code.SET_BACKEND_REQ_FD, b"", socket(501), need_reply=True)
    backend = talk.connect("pair:500-501", front=1, inodes=(500, 501))
    backend.ask(BackendRequest.BACKEND_IOTLB_MSG, u64(1, 2, 3) + bytes([1, 1, 0, 0, 0, 0, 0, 0]), need_reply=True)
    backend.answer(BackendRequest.BACKEND_IOTLB_MSG, u64(0))
    listening.answer(code.SET_BACKEND_REQ_FD, u64(0))
    listening.ask(code.GPU_SET_SOCKET, b"", socket(601))
    gpu = talk.connect("pair:600-601", front=1, inodes=(600, 601))
    gpu.say(1, GpuRequest.GPU_CURSOR_POS, u32(0, 1, 2), 0)
    gpu.say(1, GpuRequest.GPU_UPDATE, u32(0, 0, 0, 2, 2) + bytes(16), 0)
    gpu.say(1, GpuRequest.GPU_UPDATE, u32(0, 0, 0, 0xFFFF, 0xFFFF) + bytes(16), 0)
    pairs(talk)
    lonely = talk.connect("pair:700-701", front=1)
    lonely.ask(BackendRequest.BACKEND_SHARED_OBJECT_ADD, bytes(16))
    talk.writer.close()


def test_what_is_wrong_with_a_message_by_itself_is_expert_information(folder: Path) -> None:
    path = folder / "wrong.pcapng"
    talk = Talk(path)
    front, code = talk.connect("/run/wrong.sock"), FrontendRequest
    front.say(0, code.SET_OWNER, b"", 1)
    front.say(0, code.SET_OWNER, b"", 2)
    front.say(0, code.SET_OWNER, b"", 0x31)
    front.say(0, code.SET_FEATURES, u64(0), 5)
    front.say(1, code.SET_FEATURES, u64(1), 1)
    front.say(0, code.SET_FEATURES, u64(1)[:7], 1)
    front.say(0, code.SET_OWNER, b"behind", 1)
    front.say(0, 99, b"", 1)
    front.ask(code.SET_FEATURES, u64(1), need_reply=True)
    front.answer(code.SET_FEATURES, u64(1))
    talk.writer.close()
    rows = fields(path, ["_ws.expert.message"], dissector(folder))
    assert [row.get("_ws.expert.message", []) for row in rows] == [
        [],
        ["Version 2 instead of 1"],
        ["Unassigned flag bits 0x30"],
        ["A reply, but its sender is who asks here"],
        ["A request, but its sender is who answers here"],
        ["7 bytes are too few: field u64 needs 8 bytes at offset 0, 7 are there"],
        ["Bytes left over behind the payload"],
        ["Unknown request"],
        [],
        ["The request failed"],
    ]


def faulty(path: Path) -> Timeline:
    """A capture with findings, and what we find in it."""
    talk = Talk(path)
    front = talk.connect("/run/faulty.sock")
    front.ask(FrontendRequest.SET_MEM_TABLE, u32(1, 0) + region(0, 4096, 1 << 40), memfd(5, 4096))
    front.ask(FrontendRequest.SET_VRING_KICK, u64(0), eventfd(7))
    front.answer(FrontendRequest.SET_VRING_KICK, u64(0))
    front.ask(FrontendRequest.SET_VRING_NUM, u32(0, 3))
    talk.writer.close()
    timeline = read(path)
    timeline.analyse()
    timeline.conclude()
    return timeline


def test_an_annotated_capture_shows_findings(folder: Path) -> None:
    timeline = faulty(folder / "faulty.pcapng")
    annotated = folder / "annotated.pcapng"
    assert main(["export", str(folder / "faulty.pcapng"), "-o", str(annotated)]) == 0
    assert compare(annotated, folder) == 4
    names = ["finding.rule", "finding.side", "finding.sentence", "finding.severity", "_ws.expert.severity"]
    rows = fields(annotated, names, dissector(folder))
    for message, row in zip(timeline.messages(), rows, strict=True):
        found = timeline.findings_at(message.number - 1)
        assert row.get("finding.rule", []) == [one.rule for one in found]
        assert row.get("finding.side", []) == [one.side.value for one in found]
        assert row.get("finding.sentence", []) == [one.sentence for one in found]
        assert [int(rank, 0) for rank in row.get("finding.severity", [])] == [
            RANKS[one.severity.value] for one in found
        ]
        assert bool(row.get("_ws.expert.severity")) >= bool(found)
    assert timeline.findings


def test_an_annotated_capture_shows_where_rings_stood(folder: Path) -> None:
    capture = Path("captures/trouble/backend-stopped.pcapng")
    annotated = folder / "rings.pcapng"
    assert main(["export", str(capture), "-o", str(annotated), "--force"]) == 0
    timeline = read(capture)
    around = sieve.Around(timeline)
    table = {name: field for name, field in filter_fields().items() if field.origin is Origin.RING}
    some = dict.fromkeys(table, 0)
    rows = fields(annotated, list(table), dissector(folder))
    for message, row in zip(timeline.messages(), rows, strict=True):
        for name, field in table.items():
            ours = [bool(one) if field.kind is ValueKind.BOOLEAN else one for one in field.read(message, around)]
            assert [shown(field, value) for value in row.get(name, [])] == ours, (message.number, name)
            some[name] += len(ours)
    assert some["ring.stalled"] == some["ring.waited"] > 0
    assert some["ring.index"] == some["ring.state"] == 2


PASSED = [f"vusniff fd kind=memfd identity=memfd:{inode} size=4096 name=guest-ram" for inode in (5, 6, 6)]
FINDING = "vusniff error mem-table-fds (frontend): 3 descriptors come with 1 region"
COMMENTS = {
    "a comment a line": [*PASSED, FINDING],
    "lines together": ["\n".join(PASSED), FINDING],
    "lines together as Wireshark 4.4 gives them": [PASSED[0], *PASSED, "\n".join(PASSED), FINDING],
    "the whole before its lines": ["\n".join([*PASSED, FINDING]), *PASSED, FINDING],
    "the whole for each of its lines": ["\n".join([*PASSED, FINDING])] * 4,
}
"""What vusniff writes, what it wrote once, and what versions of Wireshark make of that: the same values each time."""


@pytest.mark.parametrize("form", COMMENTS)
def test_what_a_comment_says_is_shown_once(folder: Path, form: str) -> None:
    path = folder / "comments.pcapng"
    with CaptureWriter(path, source="test") as writer:
        connection = writer.open("/run/comments.sock")
        data = struct.pack("<III", FrontendRequest.SET_OWNER, 1, 0)
        writer.frame(Frame(connection.id, 0, START_NS, data), [comment.encode() for comment in COMMENTS[form]])
    (row,) = fields(path, ["fd.identity", "fd.name", "finding.rule", "finding.sentence"], dissector(folder))
    assert row["fd.identity"] == ["memfd:5", "memfd:6", "memfd:6"]
    assert row["fd.name"] == ["guest-ram"] * 3
    assert row["finding.rule"] == ["mem-table-fds"]
    assert row["finding.sentence"] == [FINDING.partition(": ")[2]]


def test_every_descriptor_and_finding_has_a_comment_of_its_own(folder: Path) -> None:
    """Wireshark 4.4 shows a comment of several lines several times."""
    path, annotated = folder / "lines.pcapng", folder / "lines-annotated.pcapng"
    talk = Talk(path)
    front = talk.connect("/run/lines.sock")
    front.ask(FrontendRequest.SET_MEM_TABLE, u32(1, 0) + region(0, 4096, 1 << 40), memfd(5), memfd(5), memfd(6))
    front.ask(FrontendRequest.SET_VRING_NUM, u32(900, 3))
    talk.writer.close()
    assert main(["export", str(path), "-o", str(annotated)]) == 0
    rows = [row.get("frame.comment", []) for row in fields(annotated, ["frame.comment"], dissector(folder))]
    assert [comment for comments in rows for comment in comments if "\n" in comment] == []
    passed = [comment for comment in rows[0] if comment.startswith("vusniff fd ")]
    assert [comment.partition("identity=")[2].split()[0] for comment in passed] == ["memfd:5", "memfd:5", "memfd:6"]
    assert len([comment for comments in rows for comment in comments if comment not in passed]) > 1


def test_what_the_demo_says(folder: Path) -> None:
    path = folder / "demo.pcapng"
    command = [sys.executable, "-m", "vusniff", "demo", "--text", "-w", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert compare(path, folder) > 100


def test_odd_messages(folder: Path) -> None:
    odd(folder / "odd.pcapng")
    assert compare(folder / "odd.pcapng", folder) > 40


def test_messages_that_were_not_captured_in_full(folder: Path) -> None:
    with CaptureWriter(folder / "cut.pcapng", source="test", snaplen=40) as writer:
        connection = writer.open("/run/cut.sock")
        for number, size in enumerate((8, 28, 29, 72)):
            request = {8: FrontendRequest.SET_VRING_NUM, 72: FrontendRequest.SET_MEM_TABLE}.get(size, 99)
            data = struct.pack("<III", request, 1, size) + u32(2, 0) + bytes(size - 8)
            writer.frame(Frame(connection.id, 0, START_NS + number, data))
    assert compare(folder / "cut.pcapng", folder) == 4


def test_messages_of_a_big_endian_host(folder: Path) -> None:
    big = folder / "big.pcapng"
    with CaptureWriter(big, source="test", order="big") as writer:
        connection = writer.open("/run/big.sock")
        for number, (request, flags, body) in enumerate(
            (
                (FrontendRequest.SET_FEATURES, 1, struct.pack(">Q", 1 << 32)),
                (FrontendRequest.SET_VRING_BASE, 1, struct.pack(">II", 1, 7)),
                (FrontendRequest.SET_VRING_ADDR, 9, struct.pack(">IIQQQQ", 1, 1, 2, 3, 4, 5)),
                (FrontendRequest.GET_CONFIG, 1, struct.pack(">III", 0, 12, 0) + bytes(range(12))),
            )
        ):
            data = struct.pack(">III", request, flags, len(body)) + body
            writer.frame(Frame(connection.id, 0, START_NS + number, data))
    assert compare(big, folder) == 4
