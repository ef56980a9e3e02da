"""A private Open vSwitch with DPDK: database, switch and one userspace bridge, all under the stage's directory."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from peers.processes import PATIENCE, Process, Stage, wait_for_socket

SWITCH = Path("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
INTERFACES = Path("/sys/class/net")

EAL = (
    # Without --legacy-mem, which --no-huge implies, Open vSwitch adds --in-memory, and DPDK refuses the two together.
    "--no-pci --no-telemetry --no-huge --legacy-mem --no-shconf -m 1024 --log-level=lib.vhost.config:8 "
    "--file-prefix vusniff-switch"
)


class Switch:
    """A running ovs-vswitchd with DPDK and without a network card."""

    def __init__(self, stage: Stage, *, trace: Path | None = None) -> None:
        self._directory = stage.directory
        self._bridge = f"vusniff{os.getpid() % 100_000_000}"
        """The switch makes a tap device of this name: at most 15 bytes, and no other run's."""
        self._taps = [name for name in (self._bridge, "ovs-netdev") if not (INTERFACES / name).exists()]
        places = [f"OVS_{name}DIR={stage.directory}" for name in ("RUN", "LOG", "DB", "SYSCONF")]
        self._run("ovsdb-tool", "create", "conf.db", str(SCHEMA))
        database = stage.path("db.sock")
        control = ["--no-chdir", f"--unixctl={stage.path('database.ctl')}", f"--remote=punix:{database}"]
        stage.start("database", ["env", *places, "ovsdb-server", "conf.db", *control])
        wait_for_socket(database)
        self.configure("--no-wait", "init")
        settings = ("dpdk-init=true", "dpdk-lcore-mask=0x1", "pmd-cpu-mask=0x2", f"dpdk-extra={EAL}")
        self.configure("--no-wait", "set", "Open_vSwitch", ".", *(f"other_config:{setting}" for setting in settings))
        control = ["--no-chdir", f"--unixctl={stage.path('switch.ctl')}", "-vconsole:info"]
        self.process: Process = stage.start(
            "switch", ["env", *places, str(SWITCH), f"unix:{database}", *control], trace
        )
        stage.at_end(self._close)
        self.configure("add-br", self._bridge, "--", "set", "bridge", self._bridge, "datapath_type=netdev")

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
        self.configure("add-port", self._bridge, name, "--", "set", "Interface", name, *setting)

    def delete_port(self, name: str) -> None:
        self.configure("del-port", self._bridge, name)

    def received(self, name: str) -> int:
        """Packets the port has taken from the rings."""
        found = re.search(r"rx_packets=(\d+)", self.configure("get", "Interface", name, "statistics"))
        return int(found.group(1)) if found else 0

    def _close(self) -> None:
        if self.process.running:
            self._run("ovs-appctl", "--timeout=30", "-t", str(self._directory / "switch.ctl"), "exit", "--cleanup")
            self.process.wait_exit()
        for name in self._taps:
            if (INTERFACES / name).exists():
                self._run("ip", "link", "delete", name)
