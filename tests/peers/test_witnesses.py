"""Probe, proxy and strace watch the same run of real programs, and tell the same.

Two probes: one sees the front-end and the proxy, the other the proxy and the back-end.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from probing import needs_probe

from peers.conversation import conversation, import_logs, read
from peers.pairs import PAIRS, Pair
from peers.processes import LONGEST, Process, Stage, wait_until
from peers.proxied import run_through_proxy
from peers.requirements import require

pytestmark = [
    needs_probe,
    pytest.mark.xdist_group("peers"),
    pytest.mark.timeout(LONGEST),
    pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name),
]


def start_probe(stage: Stage, side: str, *more: str) -> tuple[Process, Path]:
    capture = stage.path(f"{side}-probe.pcapng")
    words = ["capture", "--record-only", "--path", str(stage.path(f"{side}.sock")), "-w", str(capture), *more]
    probe = stage.start(f"probe-{side}", [sys.executable, "-m", "vusniff", *words])
    probe.wait_line("attached by")
    return probe, capture


def passed(messages: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Identities of event descriptors and memory, which are the same on both sides of a proxy."""
    return [
        (message["name"], [fd["identity"] for fd in message["fds"] if fd["kind"] in ("eventfd", "memfd", "file")])
        for message in messages
        if message["channel"] == "main" and message["fds"]
    ]


def test_probe_and_proxy_and_strace_agree(pair: Pair) -> None:
    require(pair.missing())
    with Stage() as stage:
        probes = [start_probe(stage, side) for side in ("front", "back")]
        capture = stage.path("proxy.pcapng")
        wire = run_through_proxy(pair, stage, capture, traced=True)
        by_proxy = read(capture)
        for (probe, path), (role, logs) in zip(probes, wire.traces.items(), strict=True):
            probe.send_signal(signal.SIGINT)
            assert probe.wait_exit() == 0, probe.tail()
            assert probe.count(", 0 lost,") == 1, probe.tail()
            by_probe = read(path)
            assert conversation(by_probe) == conversation(by_proxy), role
            assert passed(by_probe) == passed(by_proxy), role
            traced = stage.path(f"{role}.pcapng")
            import_logs(logs, traced)
            assert conversation(read(traced)) == conversation(by_probe), role


def test_probe_alone_sees_what_the_programs_log(pair: Pair) -> None:
    """Nothing in between, and the order over both directions is that of cause and effect."""
    require(pair.missing())
    with Stage() as stage:
        from peers.pairs import Wire

        with_stacks = pair.name == "qemu-testpmd"
        probe, capture = start_probe(stage, "vhost", *(["--stacks"] if with_stacks else []))
        wire = Wire(stage, stage.path("vhost.sock"), stage.path("vhost.sock"))
        pair.run(wire)
        wait_until(lambda: capture.read_bytes().count(b'"closed"') >= pair.connections, "the end of the connections")
        probe.send_signal(signal.SIGINT)
        assert probe.wait_exit() == 0, probe.tail()
        seen = read(capture)
        asked = [m["name"] for m in seen if m["channel"] == "main" and m["sender"] == "frontend"]
        if wire.logs:
            assert asked == wire.told()
        assert [m["malformed"] for m in seen if m["malformed"] is not None] == []
        for message in seen:
            if message["reply"] and message["answers"] is not None:
                assert message["answers"] < message["number"]
        assert all(m["answers"] is not None for m in seen if m["reply"])
        if with_stacks:
            assert probe.count(f"{len(seen)} call stacks, 0 lost") == 1, probe.tail()
            check_stacks(seen)


def check_stacks(seen: list[dict[str, Any]]) -> None:
    """QEMU initialises its device before the guest runs, and starts it when the driver asks; DPDK answers in a thread.

    net/vhost-user.c, hw/net/vhost_net.c and hw/virtio/vhost.c of QEMU, lib/vhost/fd_man.c of DPDK; only functions that
    their distributions' files have names for.
    """
    calls = [[entry["function"] for entry in message["stack"]["entries"]] for message in seen]
    asked = [(message["name"], names) for message, names in zip(seen, calls, strict=True) if not message["reply"]]
    first = next(at for at, (name, _) in enumerate(asked) if name == "SET_MEM_TABLE")
    early = [names for name, names in asked[:first] if name == "SET_VRING_CALL"]
    assert early
    for names in early:
        assert names.index("vhost_dev_init") < names.index("vhost_net_init") < names.index("net_init_vhost_user")
        assert names[-1] == "_start"
    tables = [names for name, names in asked if name == "SET_MEM_TABLE"]
    assert len(tables) > 1
    for names in tables:
        assert names.index("vhost_dev_start") < names.index("vhost_net_start") < names.index("virtio_set_status")
        assert "vhost_dev_init" not in names
    for message, names in zip(seen, calls, strict=True):
        if message["sender"] == "backend":
            assert names[-2:] == ["start_thread", "__clone3"]
            files = [entry["file"] for entry in message["stack"]["entries"]]
            assert next(file for file in files if file != "libc.so.6").startswith("librte_vhost.so")
            assert message["stack"]["cut"] is None
