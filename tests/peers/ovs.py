"""A private Open vSwitch with DPDK: database, switch and one userspace bridge, all under the stage's directory."""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import subprocess
from pathlib import Path

from peers.processes import PATIENCE, Process, Stage, wait_for_socket, wait_until

SWITCH = Path("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
PROGRAMS = ((SWITCH, "openvswitch-switch-dpdk"), (Path("/usr/bin/ovs-vsctl"), "openvswitch-switch"))
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
INTERFACES = Path("/sys/class/net")
BRIDGE = "vusniff-tests"
TAPS = (BRIDGE, "ovs-netdev")
"""Interfaces that the switch makes: named by the bridge, and by the kind of datapath."""

EAL = (
    # Without --legacy-mem, which --no-huge implies, Open vSwitch adds --in-memory, and DPDK refuses the two together.
    "--no-pci --no-telemetry --no-huge --legacy-mem --no-shconf -m 1024 --log-level=lib.vhost.config:8 "
    "--file-prefix vusniff-switch"
)


class Switch:
    """A running ovs-vswitchd with DPDK and without a network card."""

    def __init__(self, stage: Stage, *, trace: Path | None = None) -> None:
        self._directory = stage.directory
        alone = _wait_until_alone()
        stage.at_end(alone.close)
        if not _another():
            self._clean()
        present = [name for name in TAPS if (INTERFACES / name).exists()]
        assert not present, f"another Open vSwitch has the interface {present[0]}"
        stage.at_end(self._clean)
        places = [f"OVS_{name}DIR={stage.directory}" for name in ("RUN", "LOG", "DB", "SYSCONF")]
        self._run("ovsdb-tool", "create", "conf.db", str(SCHEMA))
        database = stage.path("db.sock")
        control = ["--no-chdir", f"--unixctl={stage.path('database.ctl')}", f"--remote=punix:{database}"]
        server = stage.start("database", ["env", *places, "ovsdb-server", "conf.db", *control])
        wait_for_socket(database, server)
        self.configure("--no-wait", "init")
        # Ports that share one pool of buffers ask for 800 MiB, and once more where a port is set up anew before the
        # first pool is given back: there is no room for that, and the port never comes.
        settings = (
            *("dpdk-init=true", "dpdk-lcore-mask=0x1", "pmd-cpu-mask=0x2", "per-port-memory=true"),
            f"dpdk-extra={EAL}",
        )
        self.configure("--no-wait", "set", "Open_vSwitch", ".", *(f"other_config:{setting}" for setting in settings))
        control = ["--no-chdir", f"--unixctl={stage.path('switch.ctl')}", "-vconsole:info"]
        self.process: Process = stage.start(
            "switch", ["env", *places, str(SWITCH), f"unix:{database}", *control], trace
        )
        stage.at_end(self._end)
        self.configure("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev")

    def _run(self, *argv: str) -> str:
        done = subprocess.run(argv, cwd=self._directory, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
        return done.stdout

    def configure(self, *words: str) -> str:
        """ovs-vsctl, which waits until the switch has done what it is told."""
        return self._run("ovs-vsctl", "--timeout=60", f"--db=unix:{self._directory / 'db.sock'}", *words)

    def add_port(self, name: str, path: Path) -> None:
        """A back-end's port that connects to a socket, and again whenever it is parted."""
        setting = ["type=dpdkvhostuserclient", f"options:vhost-server-path={path}"]
        self.configure("add-port", BRIDGE, name, "--", "set", "Interface", name, *setting)

    def delete_port(self, name: str) -> None:
        self.configure("del-port", BRIDGE, name)

    def received(self, name: str) -> int:
        """Packets the port has taken from the rings."""
        found = re.search(r"rx_packets=(\d+)", self.configure("get", "Interface", name, "statistics"))
        return int(found.group(1)) if found else 0

    def counted(self, name: str) -> tuple[int, int]:
        """Packets the port has taken from the rings, and given to them, now."""
        control = str(self._directory / "switch.ctl")
        said = self._run("ovs-appctl", "--timeout=30", "-t", control, "dpctl/show", "--statistics")
        found = re.search(rf"port \d+: {re.escape(name)} .*?RX packets:(\d+).*?TX packets:(\d+)", said, re.DOTALL)
        return (int(found.group(1)), int(found.group(2))) if found else (0, 0)

    def _end(self) -> None:
        if self.process.running:
            self._run("ovs-appctl", "--timeout=30", "-t", str(self._directory / "switch.ctl"), "exit", "--cleanup")
            self.process.wait_exit()

    def _clean(self) -> None:
        """What a switch leaves behind when it was killed."""
        for name in TAPS:
            if (INTERFACES / name).exists():
                self._run("ip", "link", "delete", name)


def _another() -> bool:
    """Whether any Open vSwitch runs, which these interfaces may belong to."""
    for name in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if name.read_text().startswith(SWITCH.name[:12]):
                return True
    return False


def _wait_until_alone() -> socket.socket:
    """A lock against other test runs in this network namespace, which is what the names of interfaces belong to."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def taken() -> bool:
        try:
            lock.bind("\0vusniff-tests-ovs")
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
        return True

    wait_until(taken, "the end of another run with Open vSwitch", 5 * PATIENCE)
    return lock
