"""DPDK's dpdk-testpmd, with a vhost port (back-end) or a virtio-user port (front-end), without huge pages and PCI."""

from __future__ import annotations

import re
from pathlib import Path

from peers.processes import Process, Stage, wait_until

READY = "virtio is now ready for processing"
OPENED = "new device, handle is"
CLOSED = "vhost peer closed"
READ = "read message VHOST_USER_"
OLD_NAMES = {"SET_SLAVE_REQ_FD": "SET_BACKEND_REQ_FD"}
"""What DPDK up to 22.11 calls requests that the specification has renamed since."""


class Testpmd:
    """A running testpmd that is told what to do through its prompt."""

    __test__ = False  # no test class, whatever its name begins with

    def __init__(self, stage: Stage, name: str, device: str, *, pairs: int, trace: Path | None = None) -> None:
        argv = ["dpdk-testpmd", "-l", "0-1", "--no-huge", "--no-pci", "--no-shconf", "-m", "256", "--no-telemetry"]
        argv += ["--file-prefix", f"vusniff-{name}", "--log-level=lib.vhost.config:8", "--vdev", device]
        argv += ["--", "-i", "--total-num-mbufs=4096", f"--rxq={pairs}", f"--txq={pairs}"]
        self.process: Process = stage.start(name, argv, trace)

    def tell(self, line: str) -> None:
        self.process.tell(line)

    def received(self) -> int:
        """Packets its port 0 has taken from the rings, as of its last answer."""
        counts = [m.group(1) for line in self.process.lines if (m := re.search(r"RX-packets:\s*(\d+)", line))]
        return int(counts[-1]) if counts else 0

    def wait_received(self) -> None:
        """Until at least one packet came through a ring."""

        def moved() -> bool:
            self.tell("show port stats 0")
            return self.received() > 0

        wait_until(moved, f"packets on the port of {self.process.name}")

    def quit(self) -> None:
        self.tell("stop")
        self.tell("quit")
        self.process.wait_exit()


def vhost_port(path: Path, *, pairs: int, connect: bool) -> str:
    """A back-end's port: it connects (and connects again whenever it is parted) or listens."""
    return f"net_vhost0,iface={path},queues={pairs}" + (",client=1" if connect else "")


def virtio_user_port(path: Path, *, pairs: int, packed: bool = False, listen: bool = False) -> str:
    """A front-end's port."""
    more = (",packed_vq=1" if packed else "") + (",server=1" if listen else "")
    return f"net_virtio_user0,path={path},queues={pairs},mac=52:54:00:00:03:01{more}"
