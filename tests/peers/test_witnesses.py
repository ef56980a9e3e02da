"""Probe, proxy and strace watch the same run of real programs, and tell the same.

Two probes: one sees the front-end and the proxy, the other the proxy and the back-end.
"""

from __future__ import annotations

from typing import Any

import pytest
from probing import needs_probe

from peers.conversation import conversation
from peers.pairs import PAIRS, Pair
from peers.processes import LONGEST
from peers.requirements import require
from peers.watched import STACKS, Runs

pytestmark = [
    needs_probe,
    pytest.mark.xdist_group("peers"),
    pytest.mark.timeout(LONGEST),
    pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name),
]


def passed(messages: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Identities of event descriptors and memory, which are the same on both sides of a proxy."""
    return [
        (message["name"], [fd["identity"] for fd in message["fds"] if fd["kind"] in ("eventfd", "memfd", "file")])
        for message in messages
        if message["channel"] == "main" and message["fds"]
    ]


def test_probe_and_proxy_and_strace_agree(pair: Pair, runs: Runs) -> None:
    require(pair.missing())
    run = runs.proxied(pair)
    for (probe, by_probe), (role, traced) in zip(run.probes, run.traced.items(), strict=True):
        assert probe.count(", 0 lost,") == 1, probe.tail()
        assert conversation(by_probe) == conversation(run.seen), role
        assert passed(by_probe) == passed(run.seen), role
        assert conversation(traced) == conversation(by_probe), role


def test_probe_alone_sees_what_the_programs_log(pair: Pair, runs: Runs) -> None:
    """Nothing in between, and the order over both directions is that of cause and effect."""
    require(pair.missing())
    run = runs.directly(pair)
    wire, [(probe, seen)] = run.wire, run.probes
    asked = [m["name"] for m in seen if m["channel"] == "main" and m["sender"] == "frontend"]
    if wire.logs:
        assert asked == wire.told()
    assert [m["malformed"] for m in seen if m["malformed"] is not None] == []
    for message in seen:
        if message["reply"] and message["answers"] is not None:
            assert message["answers"] < message["number"]
    assert all(m["answers"] is not None for m in seen if m["reply"])
    if pair.name in STACKS:
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
