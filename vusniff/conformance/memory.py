"""Scenarios about memory: tables, regions, slots, and the descriptors they come with."""

# ruff: noqa: E501 - rows are read as a table

from __future__ import annotations

from vusniff.conformance.places import HALF, HIGH, HIGH_REGION, LOW_REGION, USER, parts
from vusniff.conformance.scenario import Demand, Expect, P, Say, Scenario, Start, Step, Work
from vusniff.conformance.steps import MEMORY, RUN, UP, F, share, single, table
from vusniff.demo.memory import GuestRegion

R, ANY, REFUSED = Expect.REPLY, Expect.ANY, Expect.REFUSED
SHOULD = Demand.SHOULD
TABLE, REGION, SLOT = (
    "Front-end message types, SET_MEM_TABLE",
    "Memory region description",
    "Front-end message types, ADD_MEM_REG",
)
MATCHES = "the size and ordering of the fds matches the number and ordering of memory regions"
NEVER = "for all memory regions active at a given time ... never overlaps ... violating any of these is a bug in the front-end"
ONE_FD = "exactly one file descriptor from which the memory is mapped is passed"
BY_ADDRESS = "the memory region to be removed is identified by its guest address, user address and size; the mmap offset is ignored"
SLOTS = P.CONFIGURE_MEM_SLOTS
WRAPS = GuestRegion((1 << 64) - 0x1000, HALF, USER, 0)
USER_WRAPS = GuestRegion(0, HALF, (1 << 64) - 0x1000, 0)
OFFSET_WRAPS = GuestRegion(0, HALF, USER, (1 << 64) - 0x1000)
OVER = GuestRegion(HALF // 2, HALF, USER + HALF, HALF)
LARGE = GuestRegion(0, 1 << 62, USER, 0)
EMPTY = GuestRegion(0, 0, USER, 0)
ODD = GuestRegion(0, HALF - 0x1000, USER, 0x123)


def _bad(id: str, about: str, *regions: GuestRegion, says: str = NEVER, fds: tuple[str, ...] | None = None) -> Scenario:
    """A table that a back-end may refuse, and must survive."""
    return Scenario(id, about, REGION, says, (*UP, share(*regions, expect=ANY, fds=fds)))


def _add(
    region: GuestRegion, expect: Expect = Expect.DONE, fds: tuple[str, ...] = ("ram",), demand: Demand = SHOULD
) -> Say:
    return Say(F.ADD_MEM_REG, single(region), fds, expect, demand=Demand.MUST if expect is Expect.DONE else demand)


def _remove(region: GuestRegion, expect: Expect = Expect.DONE, fds: tuple[str, ...] = ()) -> Say:
    return Say(F.REM_MEM_REG, single(region), fds, expect, demand=Demand.MUST if expect is Expect.DONE else SHOULD)


BOTH: tuple[Step, ...] = (*UP, _add(LOW_REGION), _add(HIGH_REGION), Start())
EIGHT = parts(8)

# fmt: off
ROWS = (
    Scenario("memory-one-region", "one region, and the device works", TABLE, MATCHES, (*UP, share(LOW_REGION), Start(), Work())),
    Scenario("memory-high", "the buffers lie in a second region above 4 GiB, at an offset of its descriptor", REGION, "mmap offset: a 64-bit offset where region starts in the mapped memory", (*RUN, Work(high=True))),
    Scenario("memory-eight-regions", "eight regions, as many as a table holds", "Multiple memory regions description", "regions field contains 8 regions", (*UP, share(*EIGHT), Start(), Work())),
    Scenario("memory-same-again", "the same table while the rings run", "Ring states", "the back-end must support changing some configuration aspects on the fly", (*RUN, Work(), MEMORY, Work())),
    Scenario("memory-grows-running", "a table with one region more while the rings run", "Ring states", "the back-end must support changing some configuration aspects on the fly", (*UP, share(LOW_REGION), Start(), Work(), MEMORY, Work(high=True))),
    Scenario("memory-shrinks-running", "a table with one region fewer while the rings run", "Ring states", "the back-end must support changing some configuration aspects on the fly", (*RUN, Work(high=True), share(LOW_REGION), Work())),
    Scenario("memory-often", "a hundred tables, one after the other, and the device works", TABLE, "", (*UP, *(MEMORY for _ in range(100)), Start(), Work())),
    _bad("memory-no-region", "a table without a region", says=""),
    Scenario("memory-nine-regions", "a table that says it has nine regions", "Multiple memory regions description", "regions field contains 8 regions", (*UP, Say(F.SET_MEM_TABLE, table(parts(9)), ("ram",) * 9, ANY))),
    Scenario("memory-count-lies", "a table that says it has 8 regions and holds one", "Multiple memory regions description", "num regions: a 32-bit number of regions", (*UP, Say(F.SET_MEM_TABLE, table((LOW_REGION,), 8), ("ram",), ANY))),
    Scenario("memory-count-huge", "a table that says it has 0xffffffff regions", "Multiple memory regions description", "num regions: a 32-bit number of regions", (*UP, Say(F.SET_MEM_TABLE, table((LOW_REGION,), 0xFFFF_FFFF), ("ram",), ANY))),
    _bad("memory-overlap", "two regions that overlap", LOW_REGION, OVER),
    _bad("memory-twice", "the same region twice", LOW_REGION, LOW_REGION),
    _bad("memory-wraps-guest", "a region whose guest addresses wrap", WRAPS, says=""),
    _bad("memory-wraps-user", "a region whose user addresses wrap", USER_WRAPS, says=""),
    _bad("memory-wraps-offset", "a region whose offset wraps", OFFSET_WRAPS, says=""),
    _bad("memory-size-0", "a region of size 0", EMPTY, says=""),
    _bad("memory-size-huge", "a region of 2^62 bytes", LARGE, says=""),
    _bad("memory-offset-odd", "a region whose offset is not a multiple of the page size", ODD, says=""),
    _bad("memory-file-too-small", "a region larger than what is behind its descriptor", LOW_REGION, says="", fds=("small",)),
    Scenario("memory-file-too-small-used", "rings and buffers beyond the end of what is behind a region's descriptor", REGION, "", (*UP, share(LOW_REGION, expect=ANY, fds=("small",)), Start(expect=ANY))),
    _bad("memory-file-empty", "a region whose descriptor is an empty file", LOW_REGION, says="", fds=("empty",)),
    _bad("memory-read-only", "a region whose descriptor can only be read", LOW_REGION, says="", fds=("read-only",)),
    Scenario("descriptors-table-none", "a table without descriptors", TABLE, MATCHES, (*UP, Say(F.SET_MEM_TABLE, table((LOW_REGION,)), (), REFUSED, demand=SHOULD))),
    Scenario("descriptors-table-few", "two regions and one descriptor", TABLE, MATCHES, (*UP, share(LOW_REGION, HIGH_REGION, expect=ANY, fds=("ram",)))),
    Scenario("descriptors-table-many", "one region and three descriptors", TABLE, MATCHES, (*UP, share(LOW_REGION, expect=ANY, fds=("ram",) * 3))),
    Scenario("descriptors-table-null", "a region whose descriptor is /dev/null", TABLE, MATCHES, (*UP, share(LOW_REGION, expect=ANY, fds=("null",)))),
    Scenario("descriptors-table-event", "a region whose descriptor is an eventfd", TABLE, MATCHES, (*UP, share(LOW_REGION, expect=ANY, fds=("event:memory",)))),
    Scenario("slots-number", "asks how many slots there are", "Front-end message types, GET_MAX_MEM_SLOTS", "the back-end should return the maximum number of memory slots", (*UP, Say(F.GET_MAX_MEM_SLOTS, expect=R, check="not 0")), needs=SLOTS),
    Scenario("slots-work", "two regions are added, and the device works", SLOT, ONE_FD, (*BOTH, Work(), Work(high=True)), needs=SLOTS),
    Scenario("slots-eight", "eight regions are added, and the device works", SLOT, ONE_FD, (*UP, *map(_add, EIGHT), Start(), Work()), needs=SLOTS),
    Scenario("slots-removed", "a region is removed while the rings run", SLOT, BY_ADDRESS, (*BOTH, Work(high=True), _remove(HIGH_REGION), Work()), needs=SLOTS),
    Scenario("slots-added-running", "a region is added, removed and added again while the rings run", SLOT, "this message is used to set and update the memory tables", (*UP, _add(LOW_REGION), Start(), Work(), _add(HIGH_REGION), Work(high=True), _remove(HIGH_REGION), _add(HIGH_REGION), Work(high=True)), needs=SLOTS),
    Scenario("slots-offset-ignored", "a region is removed by another mmap offset", SLOT, BY_ADDRESS, (*BOTH, _remove(GuestRegion(HIGH, HALF, USER + HIGH, 0)), Work()), needs=SLOTS),
    Scenario("slots-remove-with-descriptor", "a region is removed with a descriptor", "Front-end message types, REM_MEM_REG", "the back-end MAY accept messages with one file descriptor, and MUST close it without using it otherwise", (*BOTH, _remove(HIGH_REGION, ANY, ("ram",))), needs=SLOTS),
    Scenario("slots-remove-unknown", "a region is removed that is not there", SLOT, BY_ADDRESS, (*UP, _add(LOW_REGION), _remove(HIGH_REGION, REFUSED)), needs=SLOTS),
    Scenario("slots-remove-half", "a region is removed by half its size", SLOT, BY_ADDRESS, (*UP, _add(LOW_REGION), _remove(GuestRegion(0, HALF // 2, USER, 0), REFUSED)), needs=SLOTS),
    Scenario("slots-overlap", "a region is added over one that is there", REGION, "the front-end must remove a region before it can add an overlapping one", (*UP, _add(LOW_REGION), _add(OVER, ANY)), needs=SLOTS),
    Scenario("slots-no-descriptor", "a region is added without a descriptor", SLOT, ONE_FD, (*UP, _add(LOW_REGION, REFUSED, ())), needs=SLOTS),
    Scenario("slots-two-descriptors", "a region is added with two descriptors", SLOT, ONE_FD, (*UP, _add(LOW_REGION, REFUSED, ("ram", "ram"))), needs=SLOTS),
    Scenario("slots-many", "as many regions as most back-ends have slots, and one more", SLOT, "the maximum number of memory slots", (*UP, *(_add(GuestRegion(HIGH + n * 0x1000, 0x1000, USER + HIGH + n * 0x1000, n * 0x1000), ANY) for n in range(510))), needs=SLOTS),
)
# fmt: on
