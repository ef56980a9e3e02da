"""What is fuzzed, one row each: a function that takes any bytes, and the errors it may end with.

A harness raises for what must not be: an error that is not documented, or two ways to read the same bytes that differ.
Knows no fuzzer: the corpus is replayed by pytest alone, with a bound on the time and the memory of each input.

To add one, write a function of bytes and a row of `HARNESSES`, and give it a few inputs in ``corpus/<its name>/``.
"""

from __future__ import annotations

import contextlib
import functools
import struct
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from captures import synthetic
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture import evidence, facts, pcapng, stacks
from vusniff.capture.index import Index
from vusniff.capture.packet import lead
from vusniff.capture.reader import CaptureReader
from vusniff.channel import Sender
from vusniff.commands import decode
from vusniff.errors import CaptureError, DissectorError, FilterError, RuleError, SourceError, VusniffError
from vusniff.families.framing import BELIEVED, Framer
from vusniff.families.vfio_user.protocol import CHANNELS as VFIO
from vusniff.families.vfio_user.protocol import NAME as VFIO_NAME
from vusniff.families.vhost_user.header import message_size
from vusniff.families.vhost_user.protocol import FLAG_NEED_REPLY, FLAG_REPLY, HEADERS, Channels, ProtocolFeature
from vusniff.families.vhost_user.protocol import NAME as VHOST_NAME
from vusniff.faults.deciding import RuleDecider
from vusniff.faults.rule import parse_rule
from vusniff.filter import compile_filter
from vusniff.filter.completion import complete
from vusniff.filter.sieve import Around
from vusniff.layouts import codegen, dissect
from vusniff.layouts.build import build, replaced
from vusniff.layouts.spans import spans
from vusniff.message import Context
from vusniff.record import Chunk, Connection, Descriptor, DescriptorKind, End, Facts, Frame, FrameKind
from vusniff.replay.edit import Edits, edit
from vusniff.sources.logs.importing import import_log
from vusniff.sources.logs.reading import FORMATS
from vusniff.sources.stacks import maps, unwinder
from vusniff.sources.strace.strace import import_strace
from vusniff.views import jsonl, state, text
from vusniff.views import stacks as view

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
SECONDS = 8.0
"""CPU time that one input may take: counting allocations or branches makes Python several times slower."""
BYTES = 64 << 20
"""Memory that one input may take."""


@dataclass(frozen=True, slots=True)
class Harness:
    """One thing that reads bytes."""

    name: str
    run: Callable[[bytes], object]
    allowed: tuple[type[VusniffError], ...] = ()
    """What it may raise: sentences for its user."""
    words: tuple[bytes, ...] = ()
    """Pieces of its language, which a fuzzer would need long to find."""
    longest: int = 4096
    """Bytes of an input."""

    @property
    def corpus(self) -> Path:
        """Its inputs in the tree."""
        return CORPUS / self.name

    def __call__(self, data: bytes) -> None:
        """Try one input; raises what must not be raised."""
        with contextlib.suppress(*self.allowed):
            self.run(data[: self.longest])


class TooMuchError(AssertionError):
    """An input took more time or memory than one may."""


def replay(harness: Harness, data: bytes) -> None:
    """Try one input within bounds of time and memory. Raises what the harness does, and TooMuchError."""
    tracemalloc.start()
    try:
        within_time(harness, data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    if peak > BYTES:
        raise TooMuchError(f"{harness.name}: {peak >> 20} MiB for {len(data)} bytes")


def within_time(harness: Harness, data: bytes) -> None:
    """Try one input within its bound of time. Raises what the harness does, and TooMuchError."""
    start = time.process_time()
    harness(data)
    if (seconds := time.process_time() - start) > SECONDS:
        raise TooMuchError(f"{harness.name}: {seconds:.1f} s of CPU for {len(data)} bytes")


class Taken:
    """Bytes that are taken from the front, zeros when there are none."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def number(self, size: int = 1) -> int:
        """A little-endian number."""
        return int.from_bytes(self.take(size), "little")

    def take(self, size: int) -> bytes:
        """So many bytes, or as many as are left."""
        self._at += size
        return self._data[self._at - size : self._at]

    def rest(self) -> bytes:
        """All that are left."""
        return self.take(len(self._data))


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="vusniff-fuzz-")


def file_of(data: bytes, name: str = "input") -> str:
    """The path of a file with these bytes, until the next call with this name."""
    path = f"{_folder().name}/{name}"
    Path(path).write_bytes(data)
    return path


def place_for(name: str) -> str:
    """A path where there is no file."""
    path = f"{_folder().name}/{name}"
    Path(path).unlink(missing_ok=True)
    return path


# -- captures ---------------------------------------------------------------------------------------------------------


def capture(data: bytes) -> None:
    """A file of any bytes: read in one go, row by row, and by an index, it holds the same."""
    _read(file_of(data))


def _read(path: str) -> None:
    found = []
    for rows in (65536, 1):
        with CaptureReader(path) as reader:
            batches = list(reader.batches(max_rows=rows))
            found.append(([one for batch in batches for one in batch.records()], reader.notes, reader.sections))
    if found[0] != found[1]:
        raise AssertionError(f"read at once: {found[0]}; row by row: {found[1]}")
    with Index(path) as index:
        while index.update(7):
            pass
        frames = [index.frame(row) for row in range(len(index))]
        events = [event for _, event in index.events]
    if frames != [one for one in found[0][0] if isinstance(one, Frame)]:
        raise AssertionError("the index has other frames than the reader")
    if events != [one for one in found[0][0] if not isinstance(one, Frame)]:
        raise AssertionError("the index has other events than the reader")


BLOCK_KINDS = (
    *(pcapng.ENHANCED_PACKET, pcapng.INTERFACE_DESCRIPTION, pcapng.INTERFACE_STATISTICS, pcapng.SECTION_HEADER),
    *(pcapng.CUSTOM, pcapng.NAME_RESOLUTION, pcapng.SIMPLE_PACKET),
)
_KIND_BITS = 0x07
_OPTIONS_BIT = 0x08
_ORDER_BIT = 0x10
_TAGS_BIT = 0x20


def blocks(data: bytes) -> None:
    """A file whose blocks have the right lengths and hold any bytes.

    A block is a byte that says of what kind it is and what stands before its bytes, their length (u16), and they.
    """
    taken, built = Taken(data), [pcapng.section_header("little", [(pcapng.SHB_USERAPPL, b"vusniff")])]
    order = "little"
    while taken and len(built) < 64:
        how, body = taken.number(), taken.take(taken.number(2))
        kind = BLOCK_KINDS[(how & _KIND_BITS) % len(BLOCK_KINDS)]
        if kind == pcapng.SECTION_HEADER:
            order = "big" if how & _ORDER_BIT else "little"
            built.append(pcapng.section_header(order, [(pcapng.OPT_COMMENT, body)]))
        elif kind == pcapng.INTERFACE_DESCRIPTION and how & _OPTIONS_BIT:
            built.append(pcapng.interface_description(order, pcapng.LINKTYPE_UPPER_PDU, 0, _items(order, body)))
        elif kind == pcapng.INTERFACE_STATISTICS and how & _OPTIONS_BIT:
            built.append(pcapng.interface_statistics(order, 0, 7, _items(order, body)))
        elif kind == pcapng.ENHANCED_PACKET and how & (_OPTIONS_BIT | _TAGS_BIT):
            items = _items(order, body) if how & _OPTIONS_BIT else ()
            frame = HEADERS[order].pack(1, 1, 0) if how & _OPTIONS_BIT else body
            tags = lead(how >> 6 & 1, "") if how & _TAGS_BIT else b""
            built.append(pcapng.enhanced_packet(order, 0, 7, tags + frame, None, items))
        elif kind == pcapng.CUSTOM and how & _OPTIONS_BIT:
            built.append(pcapng.custom_block(order, facts.ENTERPRISE, body))
        else:
            built.append(pcapng.block(order, kind, body))
    _read(file_of(b"".join(built)))


def _items(order: str, body: bytes) -> list[tuple[int, bytes]]:
    """Our own option with text, or, behind a first byte 0, any options."""
    if body[:1] == b"\0":
        return list(pcapng.parse_options(order, body[1:]))
    return [pcapng.custom_option(order, facts.ENTERPRISE, body)]


def options(data: bytes) -> None:
    """Options, tags and the JSON in them, each by itself."""
    for order in ("little", "big"):
        list(pcapng.parse_options(order, data))
    pcapng.parse_tags(data)
    said = facts.load(data)
    facts.parse_section(said, "", "", "", "little")
    connection = facts.parse_connection(said, 1, "")
    known, _, restated = facts.parse_frame([data])
    facts.parse_lost(said.get("lost"), 1)
    closed = facts.parse_closed(said, 1, 0, 0, 0)
    # What was read can be written, and is the same when it is read again.
    again = facts.parse_connection(facts.load(facts.connection_facts(connection, "little")), 1, "")
    if again.ends[0].process != connection.ends[0].process or again.opened_ns != connection.opened_ns:
        raise AssertionError(f"{connection} was written and read as {again}")
    texts = facts.frame_facts(Frame(1, 0, 0, b"", known, restated=restated), known.process, None, None)
    if facts.parse_frame(texts) != (known, None, restated):
        raise AssertionError(f"{known} were written and read as {facts.parse_frame(texts)}")
    found = evidence.parse(said, lambda ordinal: ordinal)
    if found is not None and evidence.parse(facts.load(evidence.build(found)), lambda ordinal: ordinal) != found:
        raise AssertionError(f"{found} was written and read as another")
    facts.descriptor_comments(known.descriptors)
    facts.closed_facts(closed, None)


def call_stacks(data: bytes) -> None:
    """Blocks of stacks, one a line; the same text as a worker's answer and as the kernel's list of mappings."""
    known, section = stacks.Stacks(), stacks.StackSection()
    for line in data.split(b"\n"):
        said = facts.load(line)
        taken = known.add(said, section)
        identity = facts.stack_id(said.get("id"))
        stack = known.get(identity) if taken else None
        if stack is None:
            continue
        if len(stack.entries) > stacks.ENTRIES_LIMIT:
            raise AssertionError(f"{len(stack.entries)} entries")
        # What was read can be written, and is the same when it is read again.
        again = stacks.Stacks()
        again.add(facts.load(stacks.Written().add(stack, 1) or b""), stacks.StackSection())
        if again.get(stack.id) != stack:
            raise AssertionError(f"{stack} was written and read as {again.get(stack.id)}")
        view.stack_dict(stack)
        view.callers(stack)
        for shown in view.lines(stack):
            if not shown.isprintable():
                raise AssertionError(f"{shown!r} is printed")
    with contextlib.suppress(ValueError):
        unwinder.parse(data)
    for mapping in maps.parse(data):
        if len(mapping.rights) != 4:
            raise AssertionError(str(mapping))


# -- messages ---------------------------------------------------------------------------------------------------------


def sure_messages(frames: list[Frame], order: str) -> list[Frame]:
    """The messages before the first bytes that are none, or that are of a size which is doubted: where messages begin
    behind these depends on how they were sent."""
    return list(
        takewhile(
            lambda frame: (
                frame.kind is FrameKind.MESSAGE
                and len(frame.data) == message_size(frame.data, order)
                and len(frame.data) <= BELIEVED
            ),
            frames,
        )
    )


def framer(data: bytes) -> None:
    """A stream cut in any way gives the same frames, and all of its bytes.

    First byte: byte order, joined late, and how it is cut; then the stream.
    """
    taken = Taken(data)
    how = taken.number()
    stream = taken.rest()
    order, late, step = ("little", "big")[how & 1], bool(how & 2), (how >> 2) + 1
    whole, cut = Framer(order, late), Framer(order, late)
    chunks = [Chunk(1, 0, 7, stream[at : at + step]) for at in range(0, len(stream), step)]
    at_once = [*whole.feed(Chunk(1, 0, 7, stream)), *whole.end(9)]
    in_pieces = [frame for chunk in chunks for frame in cut.feed(chunk)] + cut.end(9)
    for frames in (at_once, in_pieces):
        if b"".join(frame.data for frame in frames) != stream:
            raise AssertionError("the frames are not the stream")
    if not late and sure_messages(at_once, order) != sure_messages(in_pieces, order):
        raise AssertionError(f"cut every {step} bytes it has other messages: {in_pieces}, not {at_once}")
    gaps = Framer(order, late)
    for chunk in chunks[:64]:
        gaps.due(memoryview(chunk.data))
        gaps.feed(Chunk(1, 0, 7, chunk.data, Facts((Descriptor(),)), missing=how & 0x1F))
        if how & 0x80:
            gaps.gap()
    gaps.end(9)


PAYLOADS = [
    (dissector.channel, code, reply)
    for dissector in dissect.load().values()
    for code in sorted(dissector.specs)
    for reply in (False, True)
]
"""Every request and every reply of the tables; an input's first byte chooses one."""
DEVICES = (None, "net", "blk", "fs")


def context_of(bits: int) -> Context:
    """What decides a layout, by the bits of a byte."""
    return Context(
        order="big" if bits & 1 else "little",
        xen_mmap=bool(bits & 2),
        log_shmfd=bool(bits & 4),
        packed=(None, False, True, None)[bits >> 3 & 3],
        postcopy=bool(bits & 32),
        device=DEVICES[bits >> 6],
    )


def layouts(data: bytes) -> None:
    """Any payload of any request: the generated parser reads what construct reads, and nothing else."""
    taken = Taken(data)
    channel, request, reply = PAYLOADS[taken.number() % len(PAYLOADS)]
    context, missing = context_of(taken.number()), taken.number()
    payload = taken.rest()
    dissect.payload(channel, request, reply, payload, missing, context)
    decoded = dissect.payload(channel, request, reply, payload, 0, context)
    jsonl.encode(decoded.payload)
    layout = dissect.layout_of(channel, request, reply, len(payload), context)
    if layout is None:
        return
    values, used, problem = dissect.interpret(layout, payload, context)
    if (decoded.payload, decoded.malformed, decoded.trailing) != (values, problem, payload[used:]):
        raise AssertionError(f"{layout.name}: {decoded}, by construct {values}, {used} bytes, {problem}")
    parse = codegen.parser(layout, context)
    fits = problem is None and used == len(payload)
    if parse is not None and parse(payload) != (values if fits else None):
        raise AssertionError(f"{layout.name}: the parser reads {parse(payload)}, construct {values}, {problem}")


def building(data: bytes) -> None:
    """What a layout reads it builds again; and any word for any field either changes that field or is refused.

    Bytes as for `layouts`, then a field's number, the length of a word, the word, the payload.
    """
    taken = Taken(data)
    channel, request, reply = PAYLOADS[taken.number() % len(PAYLOADS)]
    context, which = context_of(taken.number()), taken.number()
    word = taken.take(taken.number() & 0x3F).decode("utf-8", "replace")
    payload = taken.rest()
    layout = dissect.layout_of(channel, request, reply, len(payload), context)
    if layout is None:
        return
    values, used, problem = dissect.interpret(layout, payload, context)
    if problem is None and used == len(payload) and values is not None:
        again = dissect.interpret(layout, build(layout, values, context), context)
        if again[0] != values:
            raise AssertionError(f"{layout.name}: {values} was built and read as {again}")
    known = list(spans(layout, payload, context.order)) or ["none"]
    changed = replaced(layout, payload, known[which % len(known)], word, context)
    dissect.payload(channel, request, reply, changed, 0, context)


RULE_RAISED = "could not be judged here"
"""What is said, instead of an error, of a rule that raises."""


def session(data: bytes) -> None:
    """Messages of three connections of vhost-user and one of vfio-user, as a capture that is analysed, judged and shown
    as a whole.

    A message is a byte of end, connection and flags, its request, how many descriptors come along, the length of its
    payload, and that.
    """
    taken = Taken(data)
    timeline = Timeline(Index(file_of(_conversation(taken))), DEVICES[taken.number() & 3])
    with timeline.index:
        read_all(timeline, judge=True)
        timeline.conclude()
        for message in timeline.messages():
            jsonl.encode(jsonl.message_dict(message))
            list(text.details(message))
        for one in timeline.sessions:
            timeline.phases(one.number)
        for row in range(0, len(timeline), 8):
            state.state_dict(timeline.state(row), timeline.place(row).context)
        for finding in timeline.findings:
            if not finding.sentence or RULE_RAISED in finding.sentence:
                raise AssertionError(f"{finding.rule}: {finding.sentence!r}")


_PASSED = (
    Descriptor(DescriptorKind.EVENTFD, "eventfd:1", 3),
    Descriptor(DescriptorKind.MEMFD, "memfd:2", 4, "ram", 1 << 30),
    Descriptor(DescriptorKind.SOCKET, "socket:21", 5),
    Descriptor(),
)


VFIO_CONNECTION = 3


def _conversation(taken: Taken) -> bytes:
    sections = [pcapng.section_header("little", [(pcapng.SHB_USERAPPL, b"vusniff")])]
    for number in range(VFIO_CONNECTION + 1):
        ends = (End(20 + 2 * number), End(21 + 2 * number))
        family = VFIO_NAME if number == VFIO_CONNECTION else VHOST_NAME
        opened = Connection(number + 1, f"/run/{family}", ends, 5 if number else None, family=family)
        said = facts.connection_facts(opened, "little")
        items = [pcapng.custom_option("little", facts.ENTERPRISE, said)]
        sections.append(pcapng.interface_description("little", pcapng.LINKTYPE_UPPER_PDU, 0, items))
    ticks = 7
    while taken and len(sections) < 256:
        how, request, passed = taken.number(), taken.number(), taken.number()
        payload = taken.take(taken.number())
        end, connection = how & 1, how >> 1 & 3
        flags = 1 | (FLAG_REPLY if how & 8 else 0) | (FLAG_NEED_REPLY if how & 16 else 0)
        if how & 0xE0 == 0xE0:
            said = facts.dump({"closed": "eof", "by": end})
            items = [pcapng.custom_option("little", facts.ENTERPRISE, said)]
            sections.append(pcapng.interface_statistics("little", connection, ticks, items))
            continue
        descriptors = tuple(_PASSED[(passed + n) % len(_PASSED)] for n in range((passed >> 2) % 9))
        frame = Frame(connection + 1, end, ticks, b"", Facts(descriptors))
        items = [
            pcapng.custom_option("little", facts.ENTERPRISE, one) for one in facts.frame_facts(frame, None, None, None)
        ]
        message = HEADERS["little"].pack(request & 0x3F, flags, len(payload)) + payload
        if connection == VFIO_CONNECTION:  # ids are few, so that they are used twice
            kind = int(bool(how & 8)) | (0x30 if how & 16 else 0)
            message = struct.pack("<HHIII", passed & 3, request & 0x1F, 16 + len(payload), kind, passed) + payload
        sections.append(pcapng.enhanced_packet("little", connection, ticks, lead(end, "") + message, None, items))
        ticks += 1 << (how >> 5 << 3)
    return b"".join(sections)


# -- what users give --------------------------------------------------------------------------------------------------


@functools.cache
def _example() -> Timeline:
    """A capture with every request, judged."""
    path = place_for("example")
    synthetic.every(path)
    timeline = Timeline(Index(path))
    read_all(timeline, judge=True)
    timeline.conclude()
    return timeline


def fault_rule(data: bytes) -> None:
    """A rule's text; what it decides about some messages, and what is sent then, is bounded."""
    rule = parse_rule(data.decode("utf-8", "replace"))
    decider = RuleDecider((rule,), 1, lambda _: None)
    for number, (end, frame) in enumerate(((0, 8), (1, 1), (0, 5), (0, 200))):
        connection = decider.opened(Connection(number + 1, "/run/vm.sock"))
        message = struct.pack("=III", frame, 5 if end else 1, 8) + bytes(8)
        plan = decider.decide(connection, Frame(1, end, 1, message, Facts((Descriptor(),))))
        if plan is not None and (len(plan.data) > len(message) + len(data) or plan.times > 200_000):
            raise AssertionError("a rule makes more of a message than it says")
        decider.closed(connection)


def filters(data: bytes) -> None:
    """Any text as a filter: refused, or the rows it finds are those whose messages pass."""
    written = data.decode("utf-8", "replace")
    complete(written, len(written) // 2)
    chosen = compile_filter(written)
    timeline = _example()
    around = Around(timeline)
    passed = [row for row, message in enumerate(timeline.messages()) if chosen.match(message, around)]
    if list(chosen.rows(timeline)) != passed:
        raise AssertionError(f"{written!r} finds {list(chosen.rows(timeline))}; {passed} pass")


def strace(data: bytes) -> None:
    """Any log of strace: refused, or a capture that can be read."""
    target = place_for("imported")
    done = import_strace([file_of(data)], target)
    with CaptureReader(target) as reader:
        frames = [one for one in reader.records() if isinstance(one, Frame)]
    if len(frames) < done.messages:
        raise AssertionError(f"{done.messages} messages were imported, {len(frames)} can be read")


def log(data: bytes) -> None:
    """Any log of a peer, read as each format: refused, or a capture that can be read."""
    wanted = (None, *FORMATS)[data[0] % (1 + len(FORMATS))] if data else None
    target = place_for("imported")
    done = import_log([file_of(data[1:])], target, wanted=wanted)
    with CaptureReader(target) as reader:
        frames = [one for one in reader.records() if isinstance(one, Frame)]
    if len(frames) != done.messages:
        raise AssertionError(f"{done.messages} messages were imported, {len(frames)} can be read")


def log_text(data: bytes) -> None:
    """Any text from a log as one message, on any channel."""
    given = decode.bytes_of(data.decode("utf-8", "replace"))
    how = given[-1] if given else 0
    for channel in (Channels.MAIN, Channels.BACKEND, Channels.GPU, *VFIO):
        sender = (None, Sender.FRONTEND, Sender.BACKEND, None)[how & 3]
        message = decode.message_of(given, channel, sender, how & 7, ProtocolFeature(how << 12), how << 32, "net")
        jsonl.encode(jsonl.message_dict(message))
        list(text.details(message))


def edits(data: bytes) -> None:
    """Any words as changes of a capture, one a line: a word such as ``drop`` or ``set``, then what."""
    timeline, changes = _example(), Edits()
    take: Mapping[str, Callable[[str], None]] = {
        "drop": changes.drop,
        "set": changes.change,
        "delay": changes.delay,
        "repeat": changes.repeat,
    }
    for line in data.decode("utf-8", "replace").split("\n")[:16]:
        verb, _, words = line.partition(" ")
        if verb in take:
            take[verb](words)
    for number in changes.repeats:  # many are as good as these, and take longer
        changes.repeats[number] = min(changes.repeats[number], 8)
    target = place_for("edited")
    done = edit(timeline, "example.pcapng", target, changes)
    with CaptureReader(target) as reader:
        written = sum(len(batch) for batch in reader.batches())
    if written != done.written:
        raise AssertionError(f"{done.written} messages were written, {written} can be read")


HARNESSES: Sequence[Harness] = (
    Harness("capture", capture, (CaptureError,), (pcapng.MAGIC, b"\x4d\x3c\x2b\x1a", b'{"vusniff":1}'), 16384),
    Harness(
        "blocks",
        blocks,
        (CaptureError,),
        (
            b'{"fds":[',
            b'{"vusniff":1,"ends":[',
            b'{"kind":"raw"}',
            b'{"lost":[1,2]}',
            b'"lost_ns":1',
            b'"closed":"eof"',
            b'{"vusniff":1,"kind":"exit","time_ns":1,"ends":[[1,0]],"signal":9}',
            b'{"vusniff":1,"kind":"sample","time_ns":1,"rings":[{"n":0,"size":256,"a":5,"u":3,"f":2}]}',
            b'{"vusniff":1,"kind":"dump","time_ns":1,"ring":0,"waiting":1,"chains":[[0,[[64,16,0]],0,"00",""]]}',
            b'{"vusniff":1,"kind":"fault","time_ns":1,"ends":[[1,0]],"id":1,"act":"gives","rule":1,"changes":[[12,"ff"]]}',
            b'{"vusniff":1,"kind":"omen","time_ns":1,"x":[]}',
        ),
    ),
    Harness(
        "options",
        options,
        (),
        (
            *(
                b'"fds":[',
                b'"ends":[',
                b'"held":[',
                b'"process":{',
                b'"pid":',
                b'"label":',
                b'"id":',
                b'"kind":"memfd"',
            ),
            *(
                b'"kind":"exit"',
                b'"kind":"omen"',
                b'"kind":"sample"',
                b'"rings":[{"n":0,"size":4,"a":1,"u":0,"f":1',
                b'"unreadable":[["',
                b'"dirty":',
                b'"time_ns":1',
                b'"status":',
                b'"signal":',
                b'"core":true',
                b"[1,0]",
            ),
        ),
    ),
    Harness(
        "call_stacks",
        call_stacks,
        (),
        (
            *(b'{"id":"0123456789","entries":[0]', b'"files":[["a","aa"]]', b'"new":[[0,1,"f","a.c:1"]]'),
            *(b'"then":["0123456789",0]', b'"cut":"x"', b"\n", b'{"entries":[["a","aa",5,null,null]],"cut":""}'),
            b"55d1-55d2 r-xp 00001000 fe:01 77   /usr/bin/a",
        ),
    ),
    Harness(
        "framer",
        framer,
        (),
        (struct.pack("<III", 1, 1, 0), struct.pack("<III", 5, 1, 8), struct.pack("<HHIII", 1, 9, 40, 0, 0)),
    ),
    Harness("layouts", layouts),
    Harness("building", building, (DissectorError,), (b"0x", b"none", b"0b1", b"-1", b"52:54:00:00:00:01")),
    Harness("session", session, (CaptureError,), longest=1024),
    Harness(
        "fault_rule",
        fault_rule,
        (RuleError, DissectorError),
        (
            *(b" : ", b" @2", b" @2,5", b" per session", b" 30%", b", ", b"vhost.request == SET_VRING_NUM"),
            *(b"delay 300ms", b"drop", b"repeat 2", b"set vring.size=0", b"set num=1", b"clear vhost.features 5"),
            *(b"fds keep 1", b"split 3", b"half 6", b"join", b"reorder", b"answer 1", b"stall 2", b"cut", b"reset"),
        ),
    ),
    Harness(
        "filter",
        filters,
        (FilterError,),
        (
            *(
                b" and ",
                b" or ",
                b" not ",
                b" in {",
                b"..",
                b" matches ",
                b" contains ",
                b"any ",
                b"all ",
                b" & ",
                b"==",
            ),
            *(b"vhost.request", b"vhost.time", b"vring.index", b"fd.kind", b"finding.rule", b"proc.comm", b"vhost.u64"),
        ),
        256,
    ),
    Harness(
        "log",
        log,
        (SourceError, CaptureError),
        (
            *(b"VHOST_CONFIG: ", b"(/run/a) ", b"read message VHOST_USER_SET_MEM_TABLE", b"vhost peer closed"),
            *(b"guest memory region size: 0x", b"vring kick idx:0 file:1", b"negotiated Virtio features: 0x"),
            *(b"vhost_user_write req:5 flags:0x9", b"vhost_user_set_mem_table_withfd 0:m: size:0x1"),
            *(b"=== Vhost user message ===", b"Request: A (5)", b"Nregions: ", b"memory_size: 0x", b"Fds: 1"),
            *(b"vhost-user: request Ok(SET_OWNER)", b"2024-01-01T00:00:00Z|1|dpdk|INFO|", b"Oct 24 01:56:22 h p[1]: "),
            *(b"__CURSOR=", b"MESSAGE=", b"__REALTIME_TIMESTAMP=", b"[2026-01-01T00:00:00Z DEBUG vhost] "),
        ),
        16384,
    ),
    Harness(
        "strace",
        strace,
        (SourceError, CaptureError),
        (
            *(
                b"sendmsg(",
                b"recvmsg(",
                b"write(",
                b"close(",
                b"connect(",
                b"accept4(",
                b"dup2(",
                b" = ",
                b" = -1 EAGAIN",
            ),
            *(
                b"<UNIX-STREAM:[70->71]>",
                b"{msg_iov=[{iov_base=",
                b"cmsg_type=SCM_RIGHTS, cmsg_data=[",
                b"<unfinished ...>",
            ),
            *(
                b"<... write resumed>",
                b'"\\x01\\x00\\x00\\x00"',
                b"[pid 7] ",
                b"1700000000.000100 ",
                b"+++ exited with 0 +++",
            ),
        ),
    ),
    Harness("log_text", log_text, (DissectorError,), (b"0x", b"\\x", b"00000000: ", b"00000000  ", b"01000000"), 1024),
    Harness(
        "edit",
        edits,
        (VusniffError,),
        (b"drop ", b"set ", b"delay ", b"repeat ", b".num=", b".fds=none", b".payload="),
        512,
    ),
)


def harness_of(name: str) -> Harness:
    """A row of the table by its name. Raises KeyError."""
    return {harness.name: harness for harness in HARNESSES}[name]


def corpus_of(harness: Harness) -> Iterator[Path]:
    """Its inputs in the tree, in order."""
    return iter(sorted(path for path in harness.corpus.iterdir() if path.is_file()))


def every(data: bytes) -> None:
    """The first byte chooses a harness, so that one process can try all of them."""
    if data:
        within_time(HARNESSES[data[0] % len(HARNESSES)], data[1:])
