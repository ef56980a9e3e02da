"""A pair with ``vusniff proxy`` in between."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from peers.pairs import Pair, Wire
from peers.processes import Stage, wait_for_socket


def run_through_proxy(pair: Pair, stage: Stage, capture: Path, *, traced: bool = False) -> Wire:
    """Run the pair with a proxy between its sockets; when this returns the capture is complete."""
    wire = Wire(stage, stage.path("front.sock"), stage.path("back.sock"), traced)
    if pair.front_listens:
        sides = ["--connect", str(wire.front), "--listen", str(wire.back)]
    else:
        sides = ["--listen", str(wire.front), "--connect", str(wire.back)]
    command = [sys.executable, "-m", "vusniff", "proxy", *sides, "--write", str(capture), "--quiet", *pair.options]
    proxy = stage.start("proxy", command)
    wait_for_socket(wire.back if pair.front_listens else wire.front, proxy)
    pair.run(wire)
    proxy.send_signal(signal.SIGTERM)
    status = proxy.wait_exit()
    assert status == 0, proxy.tail()
    return wire
