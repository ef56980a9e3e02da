"""vfio-user between real programs, by the proxy, the probe and strace; the client is a script, or QEMU."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import fetch_qemu
import pytest
from probing import needs_probe, recording

from peers.processes import Stage, wait_for_socket
from peers.proxied import run_through_proxy
from peers.vfio import PAIR, scripted, server
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.channel import Sender
from vusniff.families.vfio_user.protocol import VfioChannels
from vusniff.record import DescriptorKind

SAID = [
    *["VERSION", "DMA_MAP", "DMA_MAP", "DEVICE_GET_INFO", "DEVICE_GET_REGION_INFO", "DEVICE_GET_REGION_INFO"],
    *["DEVICE_GET_IRQ_INFO", "DEVICE_SET_IRQS", "REGION_READ", "REGION_WRITE", "DMA_READ"],
    *["REGION_READ"] * 8,
    *["DEVICE_RESET", "DEVICE_FEATURE", "DMA_UNMAP"],
]


def judged(capture: Path, twin: bool) -> None:
    """A capture of `peers.vfio.scripted` holds all of it, each command with its reply.

    The probe also records what other programs of the host say in vhost-user.
    """
    timeline = Timeline(Index(capture))
    read_all(timeline)
    (session,) = [one for one in timeline.sessions if one.family.name == "vfio-user"]
    rows = timeline.rows_of(session.number)
    messages = [timeline.message(row) for row in rows]
    assert [one.name for one in messages if not one.reply] == SAID
    assert all(one.answered_by for one in messages if not one.reply)
    assert list(session.connections.values()) == [VfioChannels.MAIN, *([VfioChannels.TWIN] if twin else [])]
    (read,) = [one for one in messages if one.name == "DMA_READ" and one.reply]
    assert (read.channel is VfioChannels.TWIN) is twin
    assert read.sender is Sender.FRONTEND
    assert read.payload is not None
    assert read.payload["data"] == b"sixteen of bytes".hex()
    (failed,) = [one for one in messages if one.failed]
    assert (failed.name, failed.more["error"]) == ("DEVICE_FEATURE", 22)
    state = timeline.state(rows[-1])
    assert [one.descriptor.name for one in state.dma.values()] == ["guest-ram"]
    assert state.irqs[0].triggers[0].value.kind is DescriptorKind.EVENTFD


@pytest.mark.parametrize("twin", [False, True])
def test_through_the_proxy(twin: bool, tmp_path: Path) -> None:
    capture = tmp_path / "c.pcapng"
    with Stage() as stage:
        front, back = stage.path("front.sock"), stage.path("back.sock")
        peer = server(stage, back, twin=twin)
        command = [sys.executable, "-m", "vusniff", "proxy", "--listen", str(front), "--connect", str(back)]
        proxy = stage.start("proxy", [*command, "-w", str(capture), "--quiet"])
        wait_for_socket(front, proxy)
        scripted(front, twin=twin)
        peer.wait_line(f"memory {b'sixteen of bytes'.hex()}")
        peer.wait_exit()
        proxy.send_signal(signal.SIGTERM)
        assert proxy.wait_exit() == 0, proxy.tail()
    judged(capture, twin)


@needs_probe
@pytest.mark.parametrize("twin", [False, True])
def test_the_probe_follows_it_unasked(twin: bool, tmp_path: Path) -> None:
    with Stage() as stage, recording(tmp_path / "c.pcapng") as probe:
        back = stage.path("back.sock")
        peer = server(stage, back, twin=twin)
        scripted(back, twin=twin)
        peer.wait_exit()
        probe.finish()
        ours = [one for one in probe.connections if one.family == "vfio-user"]
        assert len(ours) == 1 + twin
        assert ours[0].path == str(back)
    judged(tmp_path / "c.pcapng", twin)


@pytest.mark.skipif(not fetch_qemu.command() and os.environ.get("CI") != "true", reason="no QEMU with vfio-user-pci")
def test_a_real_client_through_the_proxy(tmp_path: Path) -> None:
    capture = tmp_path / "c.pcapng"
    with Stage() as stage:
        wire = run_through_proxy(PAIR, stage, capture)
        assert wire.back
    timeline = Timeline(Index(capture))
    read_all(timeline, judge=True)
    timeline.conclude()
    messages = list(timeline.messages())
    assert not [one for one in messages if one.malformed or one.trailing or one.spec is None]
    assert not [one for one in messages if not one.reply and not one.answered_by]
    assert {"VERSION", "DMA_MAP", "DMA_UNMAP", "REGION_READ", "DEVICE_SET_IRQS", "DEVICE_RESET", "DMA_READ"} <= {
        one.name for one in messages
    }
    assert not timeline.findings
    assert "running" in {str(phase.kind) for phase in timeline.phases(1)}


@pytest.mark.skipif(shutil.which("strace") is None, reason="package strace")
@pytest.mark.parametrize("twin", [False, True])
def test_a_log_of_strace(twin: bool, tmp_path: Path) -> None:
    log, capture = tmp_path / "server.strace", tmp_path / "c.pcapng"
    with Stage() as stage:
        back = stage.path("back.sock")
        peer = server(stage, back, twin=twin, trace=log)
        scripted(back, twin=twin)
        peer.wait_exit()
    command = [sys.executable, "-m", "vusniff", "import", "strace", str(log), "-o", str(capture)]
    subprocess.run(command, check=True, capture_output=True)
    timeline = Timeline(Index(capture))
    read_all(timeline)
    (session,) = timeline.sessions
    assert [one.name for one in timeline.messages() if not one.reply] == SAID
    assert all(one.answered_by for one in timeline.messages() if not one.reply)
    assert list(session.connections.values()) == [VfioChannels.MAIN, *([VfioChannels.TWIN] if twin else [])]
