"""Every pair of real programs: it works, works through the proxy, and the capture says what the programs did.

Three witnesses of one run: the proxy's capture, strace of both programs, and the log of the back-end where it has one.
"""

from __future__ import annotations

import pytest

from peers import dpdk
from peers.conversation import conversation, disagree, import_log, requests
from peers.pairs import PAIRS, Pair
from peers.processes import LONGEST
from peers.requirements import require
from peers.watched import Runs

pytestmark = [
    pytest.mark.xdist_group("peers"),
    pytest.mark.timeout(LONGEST),
    pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name),
]


def test_pair_talks_directly(pair: Pair, runs: Runs) -> None:
    require(pair.missing())
    wire = runs.directly(pair).wire
    if wire.logs:
        # A back-end that connects again may reach a QEMU that is just ending, and hear nothing.
        assert sum(backend.count(dpdk.OPENED) for backend in wire.logs) >= pair.connections
        assert "SET_VRING_KICK" in wire.told()


def test_capture_of_the_proxy_agrees_with_the_programs(pair: Pair, runs: Runs) -> None:
    require(pair.missing())
    run = runs.proxied(pair)
    wire, seen = run.wire, run.seen
    assert len({m["connection"] for m in seen if m["channel"] == "main"}) == pair.connections
    assert [m["malformed"] for m in seen if m["malformed"] is not None] == []
    if wire.logs:
        assert requests(seen) == wire.told()
    assert list(run.traced) == ["frontend", "backend"]
    for role, traced in run.traced.items():
        assert conversation(traced) == conversation(seen), role


def test_logs_of_the_programs_agree_with_the_capture(pair: Pair, runs: Runs) -> None:
    require(pair.missing())
    run = runs.proxied(pair)
    stage, wire, seen = run.stage, run.wire, run.seen
    main = [message for message in seen if message["channel"] == "main"]
    asked = [message for message in main if not message["reply"]]
    by_number = {message["number"]: message for message in main}
    told = []
    for number, backend in enumerate(wire.logs):
        log = stage.path(f"backend{number}.log")
        log.write_text("".join(f"{line}\n" for line in backend.lines))
        told.append(import_log(log, stage.path(f"backend{number}.pcapng")))
    if wire.logs:
        requests_told = [message for one in told for message in one if not message["reply"]]
        assert [message["name"] for message in requests_told] == [message["name"] for message in asked]
        assert disagree(requests_told, asked) == []
        reals = iter(asked)
        for one in told:
            real = {message["number"]: next(reals) for message in one if not message["reply"]}
            replies = [message for message in one if message["reply"]]
            answers = [by_number[real[message["answers"]]["answered_by"]] for message in replies]
            assert disagree(replies, answers) == []
        values = {name for one in told for message in one for name in message["payload"] or {}}
        assert {"index", "u64", "regions"} <= values
    for log in wire.tracing:
        traced = import_log(log, stage.path("qemu.pcapng"))
        keys = ("name", "reply", "flags")
        assert [[one[key] for key in keys] for one in traced] == [[one[key] for key in keys] for one in main]
        assert disagree(traced, main) == []
