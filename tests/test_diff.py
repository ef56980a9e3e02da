"""Sessions compared: real ones, ones made to differ in one thing each, and ones made to cost time."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captures import synthetic
from vusniff.analysis.compare import DifferenceKind, compare
from vusniff.analysis.exchanges import LIMIT, Exchange, Stage
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.cli import main
from vusniff.families.phase import Phase, PhaseKind
from vusniff.families.vhost_user.protocol import (
    FLAG_NEED_REPLY,
    FLAG_REPLY,
    HEADERS,
    VERSION,
    Channels,
    FrontendRequest,
)
from vusniff.record import Closed, Descriptor, DescriptorKind, End, Facts, Frame, Process

CAPTURES = Path(__file__).parent.parent / "captures"
F = FrontendRequest
MS = 1_000_000
FEATURES = 1 << 32 | 1 << 30 | 1 << 15 | 1 << 16


class Said:
    """A capture of one session, written message by message; the second run has other numbers for everything."""

    def __init__(self, path: Path, run: int = 0) -> None:
        self.path, self.run = path, run
        self._writer = CaptureWriter(path, source="test")
        self.at = synthetic.START_NS + run * 10**12
        ends = (End(7 + run, Process(100 + run, "qemu-system-x86")), End(9 + run, Process(200 + run, "dpdk-testpmd")))
        self._id = self._writer.open("/run/x.sock", ends, opened_ns=self.at).id

    def frame(self, end: int, request: int, flags: int, payload: bytes, fds: tuple[Descriptor, ...]) -> None:
        self.at += 1000
        data = HEADERS["little"].pack(request, flags | VERSION, len(payload)) + payload
        self._writer.frame(Frame(self._id, end, self.at, data, Facts(fds)))

    def ask(self, request: int, payload: bytes = b"", *fds: Descriptor, flags: int = 0) -> None:
        self.frame(0, request, flags, payload, fds)

    def answer(self, request: int, payload: bytes = b"", after: int = 0) -> None:
        self.at += after
        self.frame(1, request, FLAG_REPLY, payload, ())

    def acknowledged(self, request: int, payload: bytes = b"", *fds: Descriptor, after: int = 0) -> None:
        self.ask(request, payload, *fds, flags=FLAG_NEED_REPLY)
        self.answer(request, struct.pack("<Q", 0), after)

    def close(self) -> str:
        self._writer.close_connection(Closed(self._id, self.at + 1000, "eof", 0))
        self._writer.close()
        return str(self.path)


Q, II = synthetic.Q, synthetic.II


def session(
    path: Path,
    run: int = 0,
    *,
    offered: int = FEATURES,
    memory_after: int = 0,
    owner: bool = True,
    call_first: bool = False,
    rings: int = 2,
    size: int = 256,
    need_reply: bool = True,
    fail: bool = False,
    middle: Callable[[Said], None] = lambda said: None,
) -> str:
    """A device that is set up, runs and stops; addresses, descriptors and times are those of the run."""
    said = Said(path, run)
    where = run << 36
    said.ask(F.GET_FEATURES)
    said.answer(F.GET_FEATURES, Q(offered))
    said.ask(F.GET_PROTOCOL_FEATURES)
    said.answer(F.GET_PROTOCOL_FEATURES, Q(9))
    said.ask(F.SET_PROTOCOL_FEATURES, Q(9))
    if owner:
        said.ask(F.SET_OWNER)
    said.ask(F.SET_FEATURES, Q(FEATURES & offered))
    ram = struct.pack("<IIQQQQ", 1, 0, 0, 1 << 30, 0x7F0000000000 + where, 0)
    memfd = Descriptor(DescriptorKind.MEMFD, f"memfd:{5 + run}", 30 + run, "ram", 1 << 30)
    said.ask(F.SET_MEM_TABLE, ram, memfd, flags=FLAG_NEED_REPLY if need_reply else 0)
    if need_reply:
        said.answer(F.SET_MEM_TABLE, Q(int(fail)), memory_after)
    for ring in range(rings):
        call = Descriptor(DescriptorKind.EVENTFD, f"eventfd:{100 * run + ring}")
        kick = Descriptor(DescriptorKind.EVENTFD, f"eventfd:{100 * run + 50 + ring}")
        if call_first:
            said.ask(F.SET_VRING_CALL, Q(ring), call)
        said.ask(F.SET_VRING_NUM, II(ring, size))
        said.ask(F.SET_VRING_BASE, II(ring, 0))
        base = 0x7F0000000000 + where + ring * 0x10000
        said.ask(F.SET_VRING_ADDR, struct.pack("<IIQQQQ", ring, 0, base, base + 0x2000, base + 0x1000, 0))
        said.ask(F.SET_VRING_KICK, Q(ring), kick)
        if not call_first:
            said.ask(F.SET_VRING_CALL, Q(ring), call)
        said.ask(F.SET_VRING_ENABLE, II(ring, 1))
    said.at += 200 * MS
    middle(said)
    for ring in range(rings):
        said.ask(F.GET_VRING_BASE, II(ring, 0))
        said.answer(F.GET_VRING_BASE, II(ring, 17 * run + ring))
    return said.close()


def differ(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 1) -> dict[str, Any]:
    assert main(["diff", "--format", "json", *arguments]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["same"] is (status == 0)
    return found


def brief(found: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    return [(change["difference"], change["name"], change["target"]) for change in found["changes"]]


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("*.pcapng")), ids=lambda path: path.stem)
def test_a_session_does_not_differ_from_itself(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = differ(capsys, str(path), str(path), status=0)
    assert found["settings"] == []
    assert found["changes"] == []
    assert all(pair["a"] == pair["b"] for pair in found["phases"])


def test_what_is_different_in_every_run_is_no_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    differ(capsys, session(tmp_path / "a"), session(tmp_path / "b", 3), status=0)
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("vhost-user sessions A and B: no difference\n")
    assert "nothing differs" in out


def test_features_stand_first_and_are_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = session(tmp_path / "a"), session(tmp_path / "b", 1, offered=FEATURES & ~(1 << 15) | 1 << 22)
    found = differ(capsys, a, b)
    assert found["settings"] == [
        {"name": "features offered", "a": "only in A: MRG_RXBUF", "b": "only in B: MQ"},
        {"name": "features acknowledged", "a": "only in A: MRG_RXBUF", "b": "nothing else"},
    ]
    assert found["changes"] == []
    assert main(["diff", a, b]) == 1
    out = capsys.readouterr().out
    assert out.index("MRG_RXBUF") < out.index("Messages") < out.index("Phases")


def test_a_missing_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = session(tmp_path / "a"), session(tmp_path / "b", owner=False)
    assert brief(differ(capsys, a, b)) == [("missing", "SET_OWNER", None)]
    assert brief(differ(capsys, b, a)) == [("added", "SET_OWNER", None)]
    assert main(["diff", a, b]) == 1
    assert "only in A: SET_OWNER (#6)" in capsys.readouterr().out


def test_another_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = differ(capsys, session(tmp_path / "a"), session(tmp_path / "b", 2, call_first=True))
    assert {difference for difference, _, _ in brief(found)} == {"order"}
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "SET_VRING_CALL vring 0-1 comes at another place: A after SET_VRING_KICK vring 0" in out


def test_another_order_after_the_same_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two answers with the same request before them are told apart by what stands before that."""

    def said(name: str, run: int, *requests: int) -> str:
        said = Said(tmp_path / name, run)
        for request in requests:
            said.ask(request)
            said.answer(request, Q(1))
        return said.close()

    x, y, s, begin, then = F.GET_MAX_MEM_SLOTS, F.GET_FEATURES, F.GET_STATUS, F.GET_QUEUE_NUM, F.GET_PROTOCOL_FEATURES
    left = said("a.pcapng", 0, begin, s, x, then, s, y)
    right = said("b.pcapng", 1, begin, s, y, then, s, x)
    found = differ(capsys, left, right)
    moved = [change for change in found["changes"] if change["difference"] == "order"]
    assert moved
    assert all(change["a"] != change["b"] for change in moved)


def test_the_sessions_that_are_compared_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "three.pcapng"
    with CaptureWriter(path, source="test") as writer:
        for number in range(3):
            connection = writer.open(f"/run/{number}.sock").id
            writer.frame(Frame(connection, 0, synthetic.START_NS + number, HEADERS["little"].pack(1, 1, 0)))
    notes = differ(capsys, str(path), status=0)["notes"]
    assert notes == [
        f"A is session 1 of 3 in {path}: --session-a N compares another one",
        f"B is session 3 of 3 in {path}: --session-b N compares another one",
    ]
    assert differ(capsys, str(path), "--session-a", "1", "--session-b", "2", status=0)["notes"] == []
    assert main(["diff", str(path)]) == 0
    assert "B is session 3 of 3" in " ".join(capsys.readouterr().out.split())


def test_more_rings_are_said_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = session(tmp_path / "a"), session(tmp_path / "b", rings=4)
    found = differ(capsys, a, b)
    assert ("added", "SET_VRING_KICK", "vring 3") in brief(found)
    assert found["settings"] == [
        {"name": "ring sizes", "a": "256 (vring 0-1)", "b": "256 (vring 0-3)"},
    ]
    assert main(["diff", a, b]) == 1
    out = capsys.readouterr().out
    assert "only in B: SET_VRING_KICK vring 2-3 (#" in out


def test_another_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = differ(capsys, session(tmp_path / "a"), session(tmp_path / "b", size=1024))
    (first, second) = found["changes"]
    assert (first["difference"], first["name"], first["a"], first["b"]) == (
        "value",
        "SET_VRING_NUM",
        "num 256",
        "num 1024",
    )
    assert second["target"] == "vring 1"


def test_answers_that_fail_or_were_not_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = session(tmp_path / "good")
    (failed,) = differ(capsys, good, session(tmp_path / "bad", fail=True))["changes"]
    assert (failed["difference"], failed["a"], failed["b"]) == ("answer", "u64 0", "u64 1")
    (unasked,) = differ(capsys, good, session(tmp_path / "unasked", need_reply=False))["changes"]
    assert (unasked["difference"], unasked["a"], unasked["b"]) == ("need_reply", "set", "not set")


def test_slow_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick, slow = session(tmp_path / "quick"), session(tmp_path / "slow", memory_after=90 * MS)
    (change,) = differ(capsys, quick, slow)["changes"]
    assert (change["difference"], change["name"]) == ("slower", "SET_MEM_TABLE")
    assert main(["diff", quick, slow]) == 1
    assert "times slower" in capsys.readouterr().out
    differ(capsys, "--slower", "0", quick, slow, status=0)
    differ(capsys, "--slower", "1000000", quick, slow, status=0)


def test_what_lasts_is_compared_as_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def mask(times: int, rarp: bool = False) -> Callable[[Said], None]:
        def middle(said: Said) -> None:
            for _ in range(times):
                said.ask(F.SET_VRING_ENABLE, II(1, 0))
                said.ask(F.SET_VRING_ENABLE, II(1, 1))
            if rarp:
                said.ask(F.SEND_RARP, bytes(8))

        return middle

    a = session(tmp_path / "a", middle=mask(2))
    differ(capsys, a, session(tmp_path / "b", middle=mask(50)), status=0)
    found = differ(capsys, a, session(tmp_path / "c", middle=mask(3, rarp=True)))
    assert brief(found) == [("added", "SEND_RARP", None)]


def test_addresses_of_a_process_are_no_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """libblkio has no guest; its guest addresses are those of its process, other ones in each run."""

    def adds(address: int) -> Callable[[Said], None]:
        def middle(said: Said) -> None:
            memfd = Descriptor(DescriptorKind.MEMFD, "memfd:77", 30, "buffer", 4096)
            said.ask(F.ADD_MEM_REG, struct.pack("<5Q", 0, address, 4096, address, 0), memfd)

        return middle

    a = session(tmp_path / "a", middle=adds(0x7F1200000000))
    differ(capsys, a, session(tmp_path / "b", middle=adds(0x7F9900001000)), status=0)
    differ(capsys, a, session(tmp_path / "c", middle=adds(0x100000000)))


def test_a_phase_that_only_one_went_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def reset(said: Said) -> None:
        said.ask(F.RESET_DEVICE)
        said.at += 300 * MS

    found = differ(capsys, session(tmp_path / "a"), session(tmp_path / "b", middle=reset))
    assert brief(found) == [("phase", "reset", None)]
    (change,) = found["changes"]
    assert (change["a"], change["b"]) == (None, "1 message")


def test_descriptors_are_known_by_what_they_are_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def again(run: int, same: bool) -> Callable[[Said], None]:
        eventfd = Descriptor(DescriptorKind.EVENTFD, f"eventfd:{100 * run if same else 999}")

        def middle(said: Said) -> None:
            said.ask(F.SET_VRING_NUM, II(0, 256))
            said.ask(F.SET_VRING_CALL, Q(0), eventfd)

        return middle

    a = session(tmp_path / "a", middle=again(0, True))
    differ(capsys, a, session(tmp_path / "b", 2, middle=again(2, True)), status=0)
    found = differ(capsys, a, session(tmp_path / "c", 2, middle=again(2, False)))
    (change,) = found["changes"]
    assert change["difference"] == "descriptors"
    assert (change["a"], change["b"]) == ("eventfd of SET_VRING_CALL vring 0", "eventfd of SET_VRING_CALL vring 0 (2.)")


def test_two_sessions_of_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(CAPTURES / "qemu-ovs.pcapng")
    found = differ(capsys, path)
    assert (found["a"]["session"], found["b"]["session"]) == (1, 2)
    assert found["settings"] == []
    assert ("value", "SET_VRING_BASE", "vring 1") in brief(found)
    assert ("phase", "stop", None) in brief(found)
    differ(capsys, path, "--session-b", "1", status=0)
    swapped = differ(capsys, path, "--session-a", "2", "--session-b", "1")
    assert (swapped["a"]["session"], swapped["b"]["session"]) == (2, 1)


def test_the_second_connection_of_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "demo.pcapng")
    assert main(["demo", "--text", "--write", path]) == 0
    capsys.readouterr()
    found = differ(capsys, "--slower", "0", path)
    assert found["settings"] == []
    # It keeps the inflight buffer of the first, and goes on where the rings were.
    assert {"GET_INFLIGHT_FD", "SET_VRING_BASE"} <= {name for _, name, _ in brief(found)}
    timeline = Timeline(Index(path))
    read_all(timeline)
    kinds = [[str(phase.kind) for phase in timeline.phases(number)] for number in (1, 2)]
    assert [known[0] for known in kinds] == ["connect", "reconnect"]
    # A machine that is busy makes pauses, which are phases too.
    for known in kinds:
        assert {"feature negotiation", "initialisation", "start", "running", "stop"} <= set(known)


def test_devices_of_other_types_differ_in_names(capsys: pytest.CaptureFixture[str]) -> None:
    found = differ(capsys, str(CAPTURES / "qemu-blk.pcapng"), str(CAPTURES / "qemu-testpmd.pcapng"))
    by_name = {setting["name"]: setting for setting in found["settings"]}
    assert by_name["device"] == {"name": "device", "a": "blk", "b": "net"}
    assert "SEG_MAX" in by_name["features offered"]["a"]
    assert "MRG_RXBUF" in by_name["features offered"]["b"]


def test_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "--format", "markdown", str(CAPTURES / "qemu-ovs.pcapng")]) == 1
    out = capsys.readouterr().out
    assert out.startswith("# vhost-user sessions A and B: 0 differences in what was set up, ")
    assert "| phase | A messages | A lasted | B messages | B lasted |" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["qemu-blk.pcapng"], "holds one session: name another capture"),
        (["qemu-blk.pcapng"] * 3, "3 files: give two captures"),
        (["qemu-ovs.pcapng", "--session-b", "9"], "--session-b 9: "),
        (["qemu-ovs.pcapng", "--slower", "0.5"], "--slower 0.5: a factor of 1 or more"),
        (["qemu-ovs.pcapng", "README.md"], "is not a capture"),
    ],
)
def test_usage(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(CAPTURES / word) if "." in word and not word[0].isdigit() else word for word in arguments]
    assert main(["diff", *paths]) == 2
    caught = capsys.readouterr()
    assert words in caught.err
    assert caught.out == ""


def test_a_capture_without_messages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Said(tmp_path / "none").close()
    assert main(["diff", path, str(CAPTURES / "qemu-blk.pcapng")]) == 2
    assert "no messages in " in capsys.readouterr().err


def exchange(number: int, name: str) -> Exchange:
    return Exchange(number, Channels.MAIN, name, "", {}, (), False, False)


def stage(names: list[str], kind: PhaseKind = PhaseKind.START) -> Stage:
    phase = Phase(kind, 1, len(names), len(names), 0, 1)
    return Stage(phase, [exchange(number, name) for number, name in enumerate(names, 1)])


def test_many_repeats_cost_little() -> None:
    left = stage(["X" if place % 3 else "Y" for place in range(LIMIT)])
    right = stage(["X" if place % 5 else "Y" for place in range(LIMIT)])
    found = compare([left], [right])
    assert {change.difference for change in found} <= {
        DifferenceKind.MISSING,
        DifferenceKind.ADDED,
        DifferenceKind.ORDER,
    }
    backwards = stage([f"N{place}" for place in reversed(range(LIMIT // 4))])
    assert len(compare([stage([f"N{place}" for place in range(LIMIT // 4)])], [backwards])) == LIMIT // 4 - 1


def test_what_comes_in_another_phase_has_moved() -> None:
    init, start = PhaseKind.INITIALISATION, PhaseKind.START
    left = [stage(["SET_OWNER", "SET_VRING_CALL"], init), stage(["SET_FEATURES"], start)]
    right = [stage(["SET_OWNER"], init), stage(["SET_FEATURES", "SET_VRING_CALL"], start)]
    (change,) = compare(left, right)
    assert (change.difference, change.left, change.right) == (DifferenceKind.MOVED, "initialisation", "start")
    assert (change.left_number, change.right_number) == (2, 2)


def test_a_long_session_is_cut_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def long(said: Said) -> None:
        for _ in range(LIMIT):
            said.ask(F.SET_VRING_ENABLE, II(1, 0))
            said.ask(F.SET_VRING_ENABLE, II(1, 1))

    path = session(tmp_path / "a", middle=long)
    found = differ(capsys, path, path, status=0)
    assert any(f"the first {LIMIT} requests are compared" in note for note in found["notes"])


def garbage(path: Path, seed: int) -> str:
    """Every request there is, with payloads cut, blown up and filled with anything, in any order."""
    dice = random.Random(seed)
    whole = path.with_suffix(".whole")
    synthetic.every(whole)
    index = Index(whole)
    index.update()
    frames = list(index.frames())
    dice.shuffle(frames)
    said = Said(path)
    for frame in frames[: dice.randint(20, 160)]:
        request = int.from_bytes(frame.data[:4], "little")
        payload = frame.data[12:]
        payload = dice.choice((payload, payload[: dice.randrange(40)], dice.randbytes(len(payload)), payload + b"more"))
        said.frame(frame.end, request, dice.choice((0, 4, 8, 12)), payload, frame.descriptors)
        said.at += dice.choice((0, 0, 50 * MS, 500 * MS))
    return said.close()


@pytest.mark.parametrize("seed", range(12))
def test_garbage_is_compared_summed_up_and_divided(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, other = garbage(tmp_path / "a", seed), garbage(tmp_path / "b", seed + 100)
    assert differ(capsys, path, path, status=0)["changes"] == []
    assert differ(capsys, path, other)["same"] is False
    for command in (["diff", path, other], ["summary", path], ["summary", "--format", "markdown", path]):
        assert main(command) in (0, 1)
        assert capsys.readouterr().err == ""
    assert main(["read", "--phases", path]) == 0
    shown = capsys.readouterr().out.splitlines()
    timeline = Timeline(Index(path))
    read_all(timeline)
    assert sum(not line.startswith("#") for line in shown) == len(timeline)


def test_what_only_one_side_has_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    main(["diff", str(CAPTURES / "qemu-testpmd.pcapng"), str(CAPTURES / "qemu-ovs.pcapng")])
    out = capsys.readouterr().out
    assert "1 difference in what was set up" in out
    assert "  features offered  only in A: CSUM HOST_UFO\n" in out
