"""Every pair of real programs: it works, works through the proxy, and the capture says what the programs did.

Three witnesses of one run: the proxy's capture, strace of both programs, and the log of the back-end where it has one.
"""

from __future__ import annotations

import pytest

from peers import dpdk
from peers.conversation import conversation, import_logs, read, requests
from peers.pairs import PAIRS, Pair, Wire
from peers.processes import LONGEST, Stage
from peers.proxied import run_through_proxy
from peers.requirements import require

pytestmark = [
    pytest.mark.xdist_group("peers"),
    pytest.mark.timeout(LONGEST),
    pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name),
]


def test_pair_talks_directly(pair: Pair) -> None:
    require(pair.missing())
    with Stage() as stage:
        path = stage.path("vhost.sock")
        wire = Wire(stage, path, path)
        pair.run(wire)
        if wire.logs:
            # A back-end that connects again may reach a QEMU that is just ending, and hear nothing.
            assert sum(backend.count(dpdk.OPENED) for backend in wire.logs) >= pair.connections
            assert "SET_VRING_KICK" in wire.told()


def test_capture_of_the_proxy_agrees_with_the_programs(pair: Pair) -> None:
    require(pair.missing())
    with Stage() as stage:
        capture = stage.path("seen.pcapng")
        wire = run_through_proxy(pair, stage, capture, traced=True)
        seen = read(capture)
        assert len({m["connection"] for m in seen if m["channel"] == "main"}) == pair.connections
        assert [m["malformed"] for m in seen if m["malformed"] is not None] == []
        if wire.logs:
            assert requests(seen) == wire.told()
        for role, logs in wire.traces.items():
            traced = stage.path(f"{role}.pcapng")
            import_logs(logs, traced)
            assert conversation(read(traced)) == conversation(seen), role
