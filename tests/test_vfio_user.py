"""vfio-user: recognised, paired, decoded, followed. With real sockets and a real QEMU: `peers/test_vfio_user.py`."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from peers.vfio_user_server import NAMES, NO_REPLY, message
from test_tui import details_text, opened, screen_text, state_text

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.channel import Sender
from vusniff.families.framing import Framer
from vusniff.families.registry import families, recognised
from vusniff.families.vfio_user.protocol import Command, VfioChannels
from vusniff.families.vfio_user.state import VfioState
from vusniff.filter import compile_filter
from vusniff.layouts import dissect
from vusniff.record import Chunk, Closed, Descriptor, DescriptorKind, End, Exit, Facts, Frame, FrameKind
from vusniff.sources.host import labels
from vusniff.views.tui.repeats import Repeats

FAMILY = families()["vfio-user"]
VHOST = families()["vhost-user"]
CAPTURES = Path(__file__).resolve().parent.parent / "captures"
REPLY, ERROR = 1, 32
NATIVE = sys.byteorder


def run(*words: str | Path, status: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "vusniff", *map(str, words)], capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


# -- recognising -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", range(1, 19))
@pytest.mark.parametrize("flags", [0, NO_REPLY, REPLY, REPLY | ERROR])
def test_every_header_of_the_specification_is_recognised(command: int, flags: int) -> None:
    assert recognised(message(7, command, bytes(16), flags)[:12], NATIVE) is FAMILY
    assert recognised(message(7, command, bytes(16), flags), NATIVE, anywhere=True) is FAMILY


@pytest.mark.parametrize(
    "data",
    [
        message(0, 0),
        message(0, 19),
        message(0, 1, b"", 2),
        message(0, 1, b"", 0x40),
        message(0, 1, b"", ERROR),
        message(0, 1, b"", 0, 5),
        struct.pack("=HHIII", 0, 1, 15, 0, 0),
        struct.pack("=HHIII", 0, 1, (2 << 20) + 1, 0, 0),
        b'{"QMP": {"version": {}}}',
        b"NBDMAGICIHAVEOPT",
        b"GET / HTTP/1.1\r\n",
        bytes(16),
    ],
)
def test_what_is_no_header_is_not_recognised(data: bytes) -> None:
    assert FAMILY.first(data, NATIVE, 0) is None


def test_headers_of_vhost_user_are_vhost_users() -> None:
    for request in range(1, 46):
        for flags in (1, 5, 9):
            data = struct.pack("=III", request, flags, 8) + bytes(8)
            assert recognised(data, NATIVE) is VHOST
            assert FAMILY.first(data, NATIVE, 0) is None


def test_what_comes_later_may_be_unknown_and_is_framed_all_the_same() -> None:
    stream = [message(0, 1, bytes(4)), message(1, 30, b"abc"), message(2, 9, b"", 0x100), message(3, 13)]
    framer = Framer()
    frames = [frame for byte in b"".join(stream) for frame in framer.feed(Chunk(1, 0, 1, bytes([byte])))]
    assert [frame.data for frame in frames] == stream
    assert {frame.kind for frame in frames} == {FrameKind.MESSAGE}
    (raw,) = framer.feed(Chunk(1, 0, 1, b"no header of any kind"))
    assert raw.kind is FrameKind.RAW


# -- conversations -----------------------------------------------------------------------------------------------------


class Talk:
    """What two invented peers say, written to a capture."""

    def __init__(self, path: Path, late: bool = False) -> None:
        self.path = path
        self.writer = CaptureWriter(path, source="test")
        self.now = 1_700_000_000_000_000_000
        self.connection = self.writer.open("/run/vfio.sock", (End(11), End(12)), None if late else self.now, late)

    def say(self, end: int, data: bytes, *fds: Descriptor, connection: Any = None) -> None:
        self.now += 1_000_000
        self.writer.frame(Frame((connection or self.connection).id, end, self.now, data, Facts(fds)))

    def timeline(self) -> Timeline:
        self.writer.close()
        timeline = Timeline(Index(self.path))
        read_all(timeline)
        return timeline


VERSION = struct.pack("=HH", 0, 1) + b'{"capabilities": {"twin_socket": {"supported": true, "fd_index": 0}}}\0'
MEMORY = Descriptor(DescriptorKind.MEMFD, "memfd:5", 9, "guest-ram", 1 << 20)
EVENT = Descriptor(DescriptorKind.EVENTFD, "eventfd:6")


def test_replies_are_paired_by_id_whichever_comes_first_and_whoever_asks(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "c.pcapng")
    talk.say(0, message(1, 9, struct.pack("=QII", 0, 0, 4)))
    talk.say(0, message(2, 9, struct.pack("=QII", 4, 0, 4)))
    talk.say(1, message(1, 11, struct.pack("=QQ", 0x1000, 4)))  # the server's own 1
    talk.say(1, message(2, 9, struct.pack("=QII", 4, 0, 4) + b"abcd", REPLY))
    talk.say(0, message(1, 11, struct.pack("=QQ", 0x1000, 4) + b"wxyz", REPLY))
    talk.say(1, message(1, 9, struct.pack("=QII", 0, 0, 4) + b"efgh", REPLY))
    talk.say(0, message(3, 10, struct.pack("=QII", 0, 0, 1) + b"x", NO_REPLY))
    timeline = talk.timeline()
    messages = list(timeline.messages())
    assert [one.answers for one in messages] == [None, None, None, 2, 3, 1, None]
    assert [one.answered_by for one in messages] == [6, 4, 5, None, None, None, None]
    front, back = Sender.FRONTEND, Sender.BACKEND
    assert [one.sender for one in messages] == [front, front, back, back, front, back, front]
    assert not timeline.tracker.pending(1)


def test_the_twin_socket_is_a_channel_of_the_session(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "c.pcapng")
    talk.say(0, message(0, 1, VERSION))
    talk.say(1, message(0, 1, VERSION, REPLY), Descriptor(DescriptorKind.SOCKET, "socket:77"))
    twin = talk.writer.open("pair:78-77", (End(78), End(77)))
    talk.say(0, message(0, 12, struct.pack("=QQ", 64, 2) + b"hi"), connection=twin)
    talk.say(1, message(0, 12, struct.pack("=QQ", 64, 2), REPLY), connection=twin)
    timeline = talk.timeline()
    (session,) = timeline.sessions
    assert list(session.connections.values()) == [VfioChannels.MAIN, VfioChannels.TWIN]
    asked, answered = timeline.message(2), timeline.message(3)
    assert (asked.channel, asked.sender, asked.name) == (VfioChannels.TWIN, Sender.BACKEND, "DMA_WRITE")
    assert (answered.sender, answered.answers) == (Sender.FRONTEND, 3)
    assert timeline.state(3).twin.value.identity == "socket:77"


def test_the_state_is_dma_map_regions_and_interrupts_each_with_who_set_it(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "c.pcapng")
    talk.say(0, message(0, 1, VERSION))
    talk.say(0, message(1, 2, struct.pack("=IIQQQ", 32, 3, 0, 0, 1 << 20)), MEMORY)
    talk.say(0, message(2, 2, struct.pack("=IIQQQ", 32, 1, 0, 1 << 20, 4096)))
    talk.say(1, message(2, 2, b"", REPLY | ERROR, 17))
    talk.say(0, message(3, 3, struct.pack("=IIQQ", 24, 0, 0, 1 << 20)))
    talk.say(1, message(4, 4, struct.pack("=IIII", 16, 3, 9, 5), REPLY))
    talk.say(1, message(5, 5, struct.pack("=IIIIQQ", 32, 7, 0, 0, 4096, 0), REPLY), MEMORY)
    talk.say(1, message(6, 7, struct.pack("=IIII", 16, 1, 2, 4), REPLY))
    talk.say(0, message(7, 8, struct.pack("=IIIII", 20, 0x24, 2, 1, 1)), EVENT)
    talk.say(0, message(8, 8, struct.pack("=IIIII", 20, 0x21, 2, 0, 0)))
    talk.say(0, message(9, 13))
    timeline = talk.timeline()
    states: list[VfioState] = [timeline.state(row) for row in range(11)]
    assert states[0].proposed is not None
    assert states[0].proposed.value.capabilities == (("twin_socket", '{"supported": true, "fd_index": 0}'),)
    dma = states[2].dma
    assert dma is not None
    assert [(one.address, one.size, one.by, one.descriptor) for one in dma.values()] == [
        (0, 1 << 20, 2, MEMORY),
        (1 << 20, 4096, 3, None),
    ]
    assert [(one.request, one.error, one.by) for one in states[3].refused] == [(3, 17, 4)]
    assert list(states[4].dma or ()) == [1 << 20]
    assert states[5].device is not None
    assert (states[5].device.value.num_regions, states[5].device.by) == (9, 6)
    assert (states[6].regions[0].size, states[6].regions[0].descriptor, states[6].regions[0].by) == (4096, MEMORY, 7)
    assert (states[7].irqs[2].count, states[7].irqs[2].by) == (4, 8)
    assert states[8].irqs[2].triggers[1].value == EVENT
    assert not states[9].irqs[2].triggers
    assert states[10].reset == 11
    assert states[0] == timeline.state(0)  # earlier ones are not changed by later ones


def test_a_state_that_was_joined_late_is_unknown(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "c.pcapng", late=True)
    talk.say(0, message(1, 13))
    assert talk.timeline().state(0).dma is None


def test_hostile_payloads_never_raise_and_are_bounded(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "c.pcapng")
    huge = struct.pack("=IIIII", 20, 0x24, 1 << 31, (1 << 32) - 1, (1 << 32) - 1)
    talk.say(0, message(0, 8, huge), *[EVENT] * 200)
    deep = struct.pack("=HH", 0, 0) + b'{"capabilities":' + b"[" * 20000
    for text in (deep, struct.pack("=HH", 9, 9) + b'{"capabilities": 5}', struct.pack("=HH", 9, 9) + b"\xff\xfe"):
        talk.say(0, message(1, 1, text))
        talk.say(1, message(1, 1, text, REPLY))
    for number in range(1500):
        talk.say(0, message(number, 2, struct.pack("=IIQQQ", 32, 3, 0, number << 12, 4096)))
    for command in range(1, 19):
        for flags in (0, REPLY):
            for size in (0, 3, 7, 12, 31, 64):
                talk.say(0, message(9, command, b"\xff" * size, flags))
    timeline = talk.timeline()
    state = timeline.state(len(timeline) - 1)
    mapped = timeline.state(1506).dma
    assert mapped is not None
    assert len(mapped) == 1024
    json.dumps(state.values())
    assert all(len(row) == len(one.columns) for one in state.tables() for row in one.rows)
    assert all(len(one.by) == len(one.rows) for one in state.tables())


def test_phases_of_a_session(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "c.pcapng")
    config, bar = struct.pack("=QII", 0, 7, 4), struct.pack("=QII", 0, 0, 4)
    talk.say(0, message(0, 1, VERSION))
    talk.say(1, message(0, 1, VERSION, REPLY))
    talk.say(0, message(1, 4, bytes(16)))
    talk.say(0, message(2, 9, config))
    talk.say(0, message(3, 9, bar))
    talk.say(0, message(4, 2, struct.pack("=IIQQQ", 32, 3, 0, 0, 1 << 20)))
    talk.say(0, message(5, 16, struct.pack("=IIII", 16, 1 << 17 | 2, 3, 0)))
    talk.say(0, message(6, 17, struct.pack("=II", 1024, 1024)))
    talk.say(0, message(7, 16, struct.pack("=IIII", 16, 1 << 17 | 2, 2, 0)))
    talk.say(0, message(8, 13))
    talk.say(0, message(9, 10, config + bytes(4)))
    found = [(str(phase.kind), phase.first, phase.last) for phase in talk.timeline().phases(1)]
    assert found == [
        ("connect", 1, 0),
        ("feature negotiation", 1, 2),
        ("initialisation", 3, 4),
        ("running", 5, 6),
        ("migration", 7, 8),
        ("running", 9, 9),
        ("reset", 10, 10),
        ("initialisation", 11, 11),
    ]


# -- payloads ----------------------------------------------------------------------------------------------------------


def test_the_families_numbers_are_the_dissectors() -> None:
    rows = dissect.load()[VfioChannels.MAIN].specs
    known = {int(code): code.name for code in Command}
    assert {row.code: row.name for row in rows.values()} == known, "families/vfio_user/protocol.py: add it to Command"
    assert tuple(known.values())[: len(NAMES)] == NAMES


# -- commands ----------------------------------------------------------------------------------------------------------

GOLDEN = CAPTURES / "vfio-user.pcapng"


@pytest.mark.slow
@pytest.mark.slow
def test_every_command_takes_a_capture_of_it(tmp_path: Path) -> None:
    assert "client -> server VERSION" in run("read", GOLDEN)
    assert "DMA map" in run("state", GOLDEN)
    assert "vfio-user capture" in run("summary", GOLDEN)
    assert "0 errors, 0 warnings" in run("check", GOLDEN)
    assert "no difference" in run("diff", GOLDEN, GOLDEN)
    assert "only sessions of vhost-user can be played" in run(
        "replay", GOLDEN, "--to", "backend", "--connect", tmp_path / "s", status=2
    )
    for form in ("jsonl", "csv", "markdown", "html", "mermaid", "svg"):
        assert run("export", GOLDEN, "--format", form)
    assert "region_access" in run("explain", "REGION_READ")
    assert "server to client" in run("explain", "VFIO_USER_DMA_READ")
    assert "BAR0 0x10+4" in run("decode", "--channel", "vfio", message(3, 9, struct.pack("=QII", 16, 0, 4)).hex())
    run("edit", GOLDEN, "-o", tmp_path / "e.pcapng", "--set", "25.offset=4", "--set", "27.id=77", "--drop", "29")
    assert "config 0x4+256" in run("read", tmp_path / "e.pcapng")


def test_what_a_region_holds_is_redacted(tmp_path: Path) -> None:
    run("export", GOLDEN, "--redact", "-o", tmp_path / "r.pcapng")
    for line in run("read", "--json", tmp_path / "r.pcapng").splitlines():
        payload = json.loads(line)["payload"]
        assert not payload.get("data", "").strip("0\0"), line


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("vfio.command == DEVICE_RESET", 6),
        ("vfio.command == VFIO_USER_DEVICE_RESET && vhost.reply == 1", 3),
        ("vfio.id == 0 && vhost.reply == 0", 1),
        ("vhost.flags", 0),
        ("vhost.flags & 4", 0),
        ("vhost.flags == 0", 0),
        ("vhost.version", 0),
        ("vhost.channel == vfio-twin", 0),
        ("vfio.id && vfio.error && vhost.channel == vfio", 366),
        ("vfio.flags == 1 && vfio.command == VERSION", 1),
        ("vfio.command == DMA_READ && vhost.sender == backend", 1),
        ("vfio.region_access.region == 0 && vhost.reply == 0", 7),
        ('vfio.version.data contains "max_msg_fds"', 2),
        ("vfio.failed == 1 && vfio.error == 19", 1),
    ],
)
def test_filters(words: str, count: int) -> None:
    said = run("read", GOLDEN, "--filter", words, status=0 if count else 1).splitlines()
    assert len(said) == count or (not count and said == ["no message passes the filter: there is nothing to show"])


def test_fields_of_a_header_mean_the_same_of_rows_and_of_messages(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "c.pcapng")
    talk.say(0, message(7, 1, VERSION))
    talk.say(1, message(7, 1, VERSION, REPLY))
    talk.say(0, message(8, 9, struct.pack("=QII", 0, 0, 4), NO_REPLY))
    talk.say(1, message(8, 9, b"", REPLY | ERROR)[:12] + struct.pack("=I", 22))
    talk.writer.frame(Frame(talk.connection.id, 0, talk.now, message(9, 13)[:12], kind=FrameKind.RAW))
    talk.writer.frame(Frame(talk.connection.id, 0, talk.now, message(9, 13)[:14], missing=2))
    timeline = talk.timeline()
    found = {
        "vfio.command": [1, 2, 3, 4],
        "vfio.command == REGION_READ": [3, 4],
        "vfio.id": [1, 2, 3, 4],
        "vfio.id == 8": [3, 4],
        "vfio.error != 0": [4],
        "vfio.failed": [1, 2, 3, 4],
        "vfio.failed == 1": [4],
        "vfio.flags == 0x10": [3],
        "vfio.flags & 0x20": [4],
        "vhost.request": [1, 2, 3, 4],
        "vhost.need_reply == 1": [1],
        "vhost.reply == 1": [2, 4],
        "vhost.flags": [],
        "vhost.flags == 0": [],
        "vhost.flags & 1": [],
        "vhost.flags & 0x20": [],
        "vhost.version == 0": [],
    }
    for text, numbers in found.items():
        asked = compile_filter(text)
        assert [row + 1 for row in asked.rows(timeline)] == numbers, text
        assert [one.number for one in timeline.messages() if asked.match(one)] == numbers, text


# -- beside vhost-user -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", [False, True])
def test_vhost_user_on_the_path_of_a_session_before_is_judged(closed: bool, tmp_path: Path) -> None:
    talk = Talk(tmp_path / "c.pcapng")
    talk.say(0, message(0, 1, VERSION))
    if closed:
        talk.writer.close_connection(Closed(talk.connection.id, talk.now, "eof"))
    other = talk.writer.open("/run/vfio.sock", (End(11), End(12)), talk.now)
    talk.say(0, struct.pack("=III", 1, 1, 0), connection=other)
    talk.say(1, struct.pack("=IIIQ", 1, 5, 8, 0), connection=other)
    timeline = talk.timeline()
    while timeline.analyse():
        pass
    timeline.conclude()
    assert [(one.family, one.previous) for one in timeline.sessions] == [(FAMILY, None), (VHOST, 1)]
    assert not timeline.findings_of(1)


def test_the_end_of_a_server_is_evidence_as_with_any_family(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "c.pcapng")
    talk.say(0, message(0, 1, VERSION))
    talk.writer.evidence(Exit(talk.now + 1, 12, "server", None, 9, False, ((talk.connection.id, 1),)))
    talk.writer.close_connection(Closed(talk.connection.id, talk.now + 2, "eof", 1))
    timeline = talk.timeline()
    while timeline.analyse():
        pass
    timeline.conclude()
    (ended,) = timeline.exits(talk.connection.id)
    assert (ended.comm, ended.signal) == ("server", 9)
    assert not timeline.findings
    for command in ("read", "summary", "state", "check"):
        assert "Traceback" not in run(command, talk.path)
    assert "server" in run("read", talk.path).splitlines()[-1]


# -- command lines -----------------------------------------------------------------------------------------------------


def test_a_command_line_of_qemu_tells_its_socket() -> None:
    device = '{"driver":"vfio-user-pci","id":"disk0","socket":{"path":"/run/nvme.sock","type":"unix"}}'
    arguments = ("/usr/bin/qemu-system-x86_64", "-name", "guest=vm1", "-device", device)
    assert labels.names_path(arguments, "/run/nvme.sock") == "vfio-user"
    assert labels.names_path(arguments, "/run/other.sock") is None
    qemu = labels.parse_qemu(arguments)
    assert qemu is not None
    assert [(one.path, one.users) for one in qemu.chardevs] == [("/run/nvme.sock", ("disk0",))]


# -- the terminal view -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.asyncio
async def test_the_terminal_view() -> None:
    async with opened(GOLDEN, size=(140, 44)) as (room, pilot):
        assert "client -> server" in screen_text(room)
        await pilot.press("end")
        await pilot.pause()
        assert "DMA map" in state_text(room)
        assert "0xfffc0000" in state_text(room)
        assert "Vrings" not in state_text(room)
        assert "server to client" in details_text(room)
        assert re.search(r"id +\d+", details_text(room))
        assert room.selected.bytes.head == 16
        for key in ("F", "M", "C", "[", "v", "e"):
            await pilot.press(key)
            await pilot.pause()
            if len(room.screen_stack) > 1:
                await pilot.press("escape")


def test_bulk_access_folds_in_the_timeline(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "c.pcapng")
    talk.say(0, message(0, 1, VERSION))
    for number in range(50):
        talk.say(0, message(number, 9, struct.pack("=QII", number, 0, 4)))
        talk.say(1, message(number, 9, struct.pack("=QII", number, 0, 4) + bytes(4), REPLY))
    talk.say(0, message(99, 13))
    repeats = Repeats(talk.timeline(), None)
    while not repeats.run(1):
        pass
    assert list(repeats.rows) == [0, 1, 101]
    assert list(repeats.counts) == [0, 50, 0]
