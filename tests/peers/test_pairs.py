"""Every pair of real programs, talking directly: the ground the other tests of this directory stand on."""

from __future__ import annotations

import pytest

from peers import dpdk
from peers.pairs import PAIRS, Pair, Wire
from peers.processes import Stage
from peers.requirements import require

pytestmark = pytest.mark.xdist_group("peers")


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_pair_talks_directly(pair: Pair) -> None:
    require(pair.missing())
    with Stage() as stage:
        path = stage.path("vhost.sock")
        wire = Wire(stage, path, path)
        pair.run(wire)
        told = wire.told()
        if wire.logs:
            assert sum(backend.count(dpdk.OPENED) for backend in wire.logs) == pair.connections
            assert "SET_VRING_KICK" in told
