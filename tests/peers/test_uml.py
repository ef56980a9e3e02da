"""User-mode Linux reads a disk of qemu-storage-daemon: directly, and with the proxy in between.

It passes a socket as call descriptor and reads 8-byte interrupts from it. Whoever stands in that socket may give it
fewer bytes at once, and its disk is never heard of again.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys

import pytest

from peers import uml
from peers.processes import Process, Stage, wait_for_socket
from peers.requirements import require
from vusniff.families.vhost_user.protocol import Channels, FrontendRequest
from vusniff.library import open_capture

pytestmark = pytest.mark.xdist_group("peers")


def start_disk(stage: Stage) -> tuple[Process, str]:
    disk = stage.path("disk.img")
    disk.write_bytes(os.urandom(4 << 20))
    path = stage.path("back.sock")
    export = f"type=vhost-user-blk,id=e0,node-name=d0,addr.type=unix,addr.path={path},writable=on"
    argv = ["qemu-storage-daemon", "--blockdev", f"driver=file,node-name=d0,filename={disk}", "--export", export]
    daemon = stage.start("backend", argv)
    wait_for_socket(path, daemon)
    return daemon, hashlib.md5(disk.read_bytes(), usedforsecurity=False).hexdigest()


def test_a_machine_reads_its_disk_directly() -> None:
    require(uml.missing())
    with Stage() as stage:
        _, digest = start_disk(stage)
        machine = uml.block_machine(stage, "uml", stage.path("back.sock"), uml.make_initramfs(stage))
        machine.wait_line(f"^{digest}  /dev/vda")
        machine.wait_exit()


def test_a_machine_reads_its_disk_through_the_proxy() -> None:
    """Several times, because without care it fails only now and then with Linux 6.1."""
    require(uml.missing())
    with Stage() as stage:
        _, digest = start_disk(stage)
        initramfs = uml.make_initramfs(stage)
        front, capture = stage.path("front.sock"), stage.path("seen.pcapng")
        sides = ["--listen", str(front), "--connect", str(stage.path("back.sock"))]
        proxy = stage.start("proxy", [sys.executable, "-m", "vusniff", "proxy", *sides, "-w", str(capture), "--quiet"])
        wait_for_socket(front, proxy)
        for number in range(1, 6):
            machine = uml.block_machine(stage, f"uml{number}", front, initramfs)
            machine.wait_line(f"^{digest}  /dev/vda")
            machine.wait_exit()
        proxy.send_signal(signal.SIGTERM)
        assert proxy.wait_exit() == 0, proxy.tail()
        timeline = open_capture(capture)
        places = [timeline.place(row) for row in range(len(timeline))]
        calls = [
            timeline.index.frame(row)
            for row, place in enumerate(places)
            if place.channel is Channels.MAIN and timeline.index.request[row] == FrontendRequest.SET_VRING_CALL
        ]
        assert {one.kind.value for call in calls for one in call.descriptors} == {"socket"}
        assert len(timeline.sessions) == 5
        assert {place.channel for place in places} <= {Channels.MAIN, Channels.BACKEND}
