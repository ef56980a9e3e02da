"""What sampling of rings costs those who use them: packets of a testpmd pair that forwards as fast as it can.

usage: PYTHONPATH=tests bench_forwarding.py [ROUNDS [HZ]]

Needs dpdk-testpmd. A virtio_user and a vhost port forward to each other, and a proxy between them reads their rings HZ
(10) times a second. The proxy stands still and goes on in turn, for a second each, ROUNDS (20) times. Printed are
packets by the clock, packets for each second that the two forwarding threads ran, which other work on the machine
disturbs less, and how much of a core the proxy took.
"""

from __future__ import annotations

import re
import signal
import statistics
import sys
import threading
import time
from pathlib import Path

from peers import dpdk
from peers.processes import Process, Stage, wait_for_socket, wait_until

SECONDS = 1.0


class Side:
    """A testpmd whose answers come at once."""

    def __init__(self, stage: Stage, name: str, port: str, core: int) -> None:
        argv = [
            "stdbuf",
            "-oL",
            "dpdk-testpmd",
            "--lcores",
            f"0@{1 - core},1@{core}",
            "--no-huge",
            "--no-pci",
            "--no-shconf",
            "-m",
            "256",
        ]
        argv += [
            "--no-telemetry",
            "--file-prefix",
            f"bench-{name}",
            "--vdev",
            port,
            "--",
            "-i",
            "--total-num-mbufs=4096",
        ]
        self.process: Process = stage.start(name, argv)

    def packets(self) -> int:
        """Received so far."""
        before = self.process.count("RX-packets:")
        self.process.tell("show port stats 0")
        wait_until(lambda: self.process.count("RX-packets:") > before, "counters")
        return int(re.findall(r"RX-packets:\s*(\d+)", "\n".join(self.process.lines))[-1])

    def ran(self) -> float:
        """Seconds that its forwarding thread has run."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            if (task / "comm").read_text().startswith(("lcore-worker-1", "dpdk-worker1", "rte-worker-1")):
                return int((task / "schedstat").read_text().split()[0]) / 1e9
        raise SystemExit("testpmd has no thread that forwards")


def worked(pid: int) -> float:
    """Seconds that all threads of a process have run."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def look(sides: list[Side]) -> tuple[float, int, float]:
    """Now, packets, and seconds that the forwarding threads have run."""
    return time.monotonic(), sides[1].packets(), sum(side.ran() for side in sides)


def main(arguments: list[str]) -> int:
    """Print the figures."""
    rounds = int(arguments[0]) if arguments else 20
    hz = arguments[1] if len(arguments) > 1 else "10"
    pause = threading.Event()
    by_clock: list[float] = []
    by_work: list[float] = []
    shares: list[float] = []
    with Stage() as stage:
        front, back, capture = stage.path("front.sock"), stage.path("back.sock"), stage.path("seen.pcapng")
        backend = Side(stage, "backend", dpdk.vhost_port(back, pairs=1, connect=False), 1)
        wait_for_socket(back, backend.process)
        words = ["--listen", str(front), "--connect", str(back), "-w", str(capture), "--quiet", f"--rings={hz}"]
        proxy = stage.start("proxy", [sys.executable, "-m", "vusniff", "proxy", *words])
        wait_for_socket(front, proxy)
        frontend = Side(stage, "frontend", dpdk.virtio_user_port(front, pairs=1), 0)
        backend.process.wait_line("Port 0: link state change event|Checking link statuses|Done")
        backend.process.tell("start")
        frontend.process.tell("start tx_first")
        sides = [frontend, backend]
        wait_until(lambda: backend.packets() > 0, "packets")
        for number in range(2 * rounds + 2):
            proxy.send_signal(signal.SIGCONT if number % 2 else signal.SIGSTOP)
            before, took = look(sides), worked(proxy.pid)
            pause.wait(SECONDS)
            now, took = look(sides), worked(proxy.pid) - took
            if number > 1:
                by_clock.append((now[1] - before[1]) / (now[0] - before[0]))
                by_work.append((now[1] - before[1]) / (now[2] - before[2]))
                shares += [100 * took / (now[0] - before[0])] if number % 2 else []
        proxy.send_signal(signal.SIGCONT)
    print(f"the proxy reads two rings with {statistics.median(shares):.2f} % of a core")
    for what, rates in (("by the clock", by_clock), ("a second of work", by_work)):
        without, sampled = rates[::2], rates[1::2]
        pairs = [100 * (two / one - 1) for one, two in zip(without, sampled, strict=True)]
        spread = statistics.stdev(pairs) / len(pairs) ** 0.5
        print(
            f"packets {what}: {statistics.median(without) / 1e6:.3f} M/s not sampled, "
            f"{statistics.median(sampled) / 1e6:.3f} M/s sampled {hz} times a second: "
            f"{statistics.median(pairs):+.2f} % (median of {len(pairs)} pairs, mean {statistics.mean(pairs):+.2f} "
            f"+- {spread:.2f} %)"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
