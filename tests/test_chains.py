"""Chains of descriptors that wait in rings: of good drivers, and of guests that write anything."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from talk import Talk, eventfd, region, u32, u64

from vusniff.capture import dumps, evidence
from vusniff.capture.reader import CaptureReader
from vusniff.cli import main
from vusniff.commands.dumping import header_size
from vusniff.families.places import MemoryRegion, Places, RingPlace, Spot
from vusniff.families.vhost_user.protocol import FrontendRequest
from vusniff.record import Chain, ChainBuffer, Frame, Process, RingDump
from vusniff.sources.host.descriptors import describe
from vusniff.sources.rings.access import Access, UnreadableError
from vusniff.sources.rings.chains import INDIRECT, NEXT, PIECES_LIMIT, WRITE, DeviceMemory, waiting
from vusniff.views import chains as views

GUEST, SIZE = 0x4000_0000, 1 << 20
TABLE, AVAILABLE, USED, DATA = 0, 0x4000, 0x8000, 0x10000
SPLIT = RingPlace(0, 8, False, Spot(0, TABLE), Spot(0, AVAILABLE), Spot(0, USED))
PACKED = replace(SPLIT, packed=True)


class Guest:
    """A guest's memory that is written by hand."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("guest-ram")
        os.ftruncate(self.fd, SIZE)
        region = MemoryRegion(replace(describe(self.fd), number=self.fd), 0, SIZE, 0, GUEST)
        self.access = Access()
        self.places = Places((region,), (SPLIT,))
        self.memory = DeviceMemory(self.places, self.access, [os.getpid()])

    def write(self, at: int, data: bytes) -> None:
        os.pwrite(self.fd, data, at)

    def descriptor(
        self, index: int, address: int, length: int, flags: int = 0, following: int = 0, at: int = TABLE
    ) -> None:
        self.write(at + 16 * index, struct.pack("<QIHH", address, length, flags, following))

    def offer(self, *heads: int, used: int = 0) -> None:
        self.write(AVAILABLE, struct.pack("<HH", 0, used + len(heads)))
        for at, head in enumerate(heads, used):
            self.write(AVAILABLE + 4 + 2 * (at % 8), struct.pack("<H", head))
        self.write(USED, struct.pack("<HH", 0, used))

    def found(self, most: int = 100, header: int = 16, place: RingPlace = SPLIT) -> tuple[int, list[Chain]]:
        return waiting(place, self.memory, most, header)


@pytest.fixture
def guest() -> Iterator[Guest]:
    made = Guest()
    yield made
    made.access.close()
    os.close(made.fd)


def request(guest: Guest, at: int = DATA) -> None:
    guest.write(at, struct.pack("<IIQ", 1, 0, 77) + b"SECRET PAYLOAD")
    guest.descriptor(0, GUEST + at, 16, NEXT, 3)
    guest.descriptor(3, GUEST + at + 16, 4096, NEXT, 5)
    guest.descriptor(5, GUEST + at + 8192, 1, WRITE)


def test_a_disk_request_is_shown_without_what_it_carries(guest: Guest) -> None:
    request(guest)
    guest.offer(0, used=65533)
    count, (chain,) = guest.found()
    assert count == 1
    assert chain.pieces == (
        ChainBuffer(GUEST + DATA, 16, False),
        ChainBuffer(GUEST + DATA + 16, 4096, False),
        ChainBuffer(GUEST + DATA + 8192, 1, True),
    )
    assert header_size(SPLIT, "blk", 0) == len(chain.header) == 16
    dump = RingDump(1, 0, False, 1, 0, (chain,), "blk")
    values = views.header_of(dump, chain)
    assert values["type_name"] == "OUT"
    assert values["sector"] == 77
    text = "\n".join(views.lines(dump))
    assert "type OUT sector 77" in text
    assert "SECRET" not in text + repr(views.values(dump)) + repr(chain)


@pytest.mark.parametrize(("device", "ring", "features", "size"), [
    ("net", 1, 1 << 32, 12), ("net", 1, 0, 10), ("net", 0, 1 << 32, 0), ("scsi", 2, 0, 51), ("scsi", 0, 0, 0),
    ("vsock", 1, 0, 44), ("vsock", 0, 0, 0), ("fs", 1, 0, 40), ("gpu", 0, 0, 0), (None, 0, 0, 0),
])  # fmt: skip
def test_only_headers_of_requests_are_read(device: str | None, ring: int, features: int, size: int) -> None:
    assert header_size(replace(SPLIT, index=ring), device, features) == size


def test_indirect_and_packed_chains_are_followed(guest: Guest) -> None:
    request(guest)
    guest.descriptor(0, GUEST + DATA, 16, NEXT, 1, at=DATA + 512)
    guest.descriptor(1, GUEST + DATA + 8192, 1, WRITE, at=DATA + 512)
    guest.descriptor(6, GUEST + DATA + 512, 32, INDIRECT)
    guest.offer(6)
    (chain,) = guest.found()[1]
    assert chain.indirect
    assert [piece.writable for piece in chain.pieces] == [False, True]
    assert chain.header == struct.pack("<IIQ", 1, 0, 77)
    for slot in range(8):  # buffers of two slots: the first is used, the second waits
        state = 0x80 if slot in (2, 3) else 0x8080 if slot < 2 else 0
        guest.write(TABLE + 16 * slot, struct.pack("<QIHH", GUEST + DATA, 16, slot, state | (NEXT if slot == 2 else 0)))
    count, found = guest.found(place=PACKED)
    assert count == 2
    assert [(one.head, len(one.pieces)) for one in found] == [(2, 2)]


HOSTILE = {
    "goes round": ([(0, 0, 16, NEXT, 0)], "the chain goes round"),
    "goes round in two": ([(0, 0, 16, NEXT, 1), (1, 0, 16, NEXT, 0)], "the chain goes round"),
    "leaves the table": ([(0, 0, 16, NEXT, 999)], "descriptor 999 is not in a table of 8"),
    "indirect table elsewhere": ([(0, -GUEST + 64, 16, INDIRECT, 0)], "is not in the guest's memory"),
    "indirect table of 4 GiB": ([(0, 0, 0xFFFF_FFF0, INDIRECT, 0)], "is not in the guest's memory"),
    "indirect table of odd size": ([(0, 0, 17, INDIRECT, 0)], "not a whole number of descriptors"),
    "buffer of 4 GiB": ([(0, 0, 0xFFFF_FFFF, 0, 0)], "is not in the guest's memory"),
    "buffer elsewhere": ([(0, SIZE, 16, 0, 0)], "is not in the guest's memory"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_guest_may_write_anything(guest: Guest, name: str) -> None:
    descriptors, words = HOSTILE[name]
    for index, offset, length, flags, following in descriptors:
        guest.descriptor(index, GUEST + offset, length, flags, following)
    guest.offer(0, 0, 0)
    tracemalloc.start()
    count, found = guest.found()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (count, len(found)) == (3, 3)
    assert all(words in chain.problem for chain in found), found
    assert all(len(chain.pieces) <= PIECES_LIMIT for chain in found)
    assert most < 1 << 20


def test_an_indirect_table_within_itself_ends(guest: Guest) -> None:
    guest.descriptor(0, GUEST + DATA, 16, INDIRECT)
    guest.descriptor(0, GUEST + DATA, 16, INDIRECT, at=DATA)
    guest.offer(0)
    assert "has an indirect descriptor" in guest.found()[1][0].problem
    for index in range(PIECES_LIMIT + 1):
        guest.descriptor(index, GUEST + DATA, 16, NEXT, index + 1, at=DATA)
    guest.descriptor(0, GUEST + DATA, 16 * 4096, INDIRECT)
    (chain,) = guest.found()[1]
    assert len(chain.pieces) == PIECES_LIMIT
    assert "more than" in chain.problem


def test_indexes_that_cannot_be_are_no_chains(guest: Guest) -> None:
    guest.write(AVAILABLE, struct.pack("<HH", 0, 900))
    with pytest.raises(UnreadableError, match="900 apart"):
        guest.found()
    with pytest.raises(UnreadableError, match="and the most is"):
        guest.found(place=replace(SPLIT, size=1 << 20))


def recorded(guest: Guest, path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A capture that is being recorded of a disk, whose front-end is this process."""
    monkeypatch.setattr("talk.Process", lambda _, comm: Process(os.getpid(), comm))
    talk = Talk(path)
    front = talk.connect()
    ram = replace(describe(guest.fd), number=guest.fd)
    front.ask(FrontendRequest.SET_FEATURES, u64(1 << 32))
    front.ask(FrontendRequest.SET_MEM_TABLE, u32(1, 0) + region(GUEST, SIZE, 0x7000_0000), ram)
    front.ask(FrontendRequest.SET_VRING_NUM, u32(0, 8))
    addresses = (0x7000_0000 + part for part in (TABLE, USED, AVAILABLE))
    front.ask(FrontendRequest.SET_VRING_ADDR, u32(0, 0) + u64(*addresses, 0))
    front.ask(FrontendRequest.SET_VRING_BASE, u32(0, 0))
    front.ask(FrontendRequest.SET_VRING_KICK, u64(0), eventfd(5))
    talk.writer.flush()
    return str(path)


def test_what_waits_is_printed_and_written_nowhere(
    guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request(guest)
    guest.offer(0)
    file = recorded(guest, tmp_path / "c.pcapng", monkeypatch)
    before = Path(file).read_bytes()
    assert main(["rings", file, "--dump", "4", "--device", "blk"]) == 0
    text = capsys.readouterr().out
    assert "ring 0: 1 buffer available and not used" in text
    assert "type OUT sector 77" in text
    assert "SECRET" not in text
    assert main(["rings", file, "--dump", "4", "--device", "blk", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["chains"][0]["header"]["sector"] == 77
    assert Path(file).read_bytes() == before
    assert os.listdir(tmp_path) == ["c.pcapng"]


def test_what_waits_is_stored_only_where_that_is_asked_for(
    guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request(guest)
    guest.offer(0)
    file, out, shown = recorded(guest, tmp_path / "c.pcapng", monkeypatch), tmp_path / "d.pcapng", tmp_path / "r.pcapng"
    assert main(["rings", file, "--store", str(out)]) == 2
    assert "add --dump N" in capsys.readouterr().err
    assert not out.exists()
    assert main(["rings", file, "--dump", "4", "--device", "blk", "--store", str(out)]) == 0
    capsys.readouterr()
    assert out.stat().st_mode & 0o777 == 0o600
    assert b"SECRET" not in out.read_bytes()
    with CaptureReader([out]) as reader:
        (dump,) = [one for one in reader.records() if isinstance(one, RingDump)]
    assert (dump.ring, dump.waiting, dump.ends) == (0, 1, ((1, 0),))
    assert main(["read", str(out)]) == 0
    text = capsys.readouterr().out
    assert "# ring 0: 1 buffer available and not used; the oldest is 0: " in text
    assert "type OUT sector 77" in text
    assert main(["export", str(out), "--redact", "-o", str(shown)]) == 0
    assert "1 dump of what waited in rings" in capsys.readouterr().err
    with CaptureReader([shown]) as reader:
        kinds = [type(one) for one in reader.records()]
    assert RingDump not in kinds
    assert kinds.count(Frame) == 6


def test_a_long_dump_is_stored_in_pieces_that_fit_a_block() -> None:
    chain = Chain(65535, (ChainBuffer((1 << 64) - 1, (1 << 32) - 1, True),) * 64, True, bytes(64), "x" * 400)
    dump = RingDump(1, 3, False, 130, 0, (chain,) * 130, "blk", "little", ((1, 0),))
    pieces = list(dumps.pieces(dump))
    assert [(one.first, len(one.chains)) for one in pieces] == [(0, 64), (64, 64), (128, 2)]
    assert all(len(evidence.build(one)) < evidence.SIZE_LIMIT for one in pieces)
    empty = replace(dump, chains=())
    assert list(dumps.pieces(empty)) == [empty]


def test_addresses_behind_an_iommu_are_not_followed(guest: Guest) -> None:
    request(guest)
    guest.offer(0)
    (memory_region,) = guest.places.regions
    places = replace(guest.places, regions=(replace(memory_region, guest_address=None),))
    memory = DeviceMemory(places, guest.access, [os.getpid()])
    (chain,) = waiting(SPLIT, memory, 1, 16)[1]
    assert (len(chain.pieces), chain.header) == (3, b"")
    assert "where guest addresses are in memory was not seen" in chain.problem
