"""Two Linux guests of QEMU that ping each other through Open vSwitch: do rings, switch and guests count the same?

Not part of the tests, as it takes a minute or two: two machines are emulated, and the switch polls.

usage: PYTHONPATH=tests:. python -m peers.ping    (as root; needs what the tests of rings need)
"""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

from peers import linux, ovs, qemu
from peers.processes import Stage, wait_for_socket, wait_until
from peers.sampled import evidence, last
from vusniff.record import Connection


def main() -> int:
    """Prints what each has counted; 0 where they agree."""
    if missing := linux.missing():
        print(f"needs {', '.join(missing)}")
        return 2
    with Stage() as stage:
        fronts, capture = [stage.path("one.sock"), stage.path("two.sock")], stage.path("seen.pcapng")
        words = ["capture", "--record-only", *(f"--path={one}" for one in fronts), "-w", str(capture), "--rings=10"]
        probe = stage.start("probe", [sys.executable, "-m", "vusniff", *words])
        probe.wait_line("attached by")
        root = linux.packed_root(stage, linux.CARD_MODULES, linux.PING)
        guests = [linux.card_machine(stage, front, root, at, 3 - at) for at, front in enumerate(fronts, 1)]
        switch = ovs.Switch(stage)
        for front, guest in zip(fronts, guests, strict=True):
            wait_for_socket(front, guest.process)
            switch.add_port(front.stem, front)
        for guest in guests:
            guest.process.wait_line(linux.PACKETS, seconds=240)

        def agree() -> bool:
            rows = [counted(capture, *one, switch) for one in zip(fronts, guests, strict=True)]
            return all(row[0] == row[1] == row[2] for row in rows)

        try:
            wait_until(agree, "equal counts", 60)
            agreed = True
        except AssertionError:
            agreed = False
        print("guest  sent and received by: rings, switch, guest")
        for front, guest in zip(fronts, guests, strict=True):
            print(front.stem, *counted(capture, front, guest, switch))
        probe.send_signal(signal.SIGINT)
        probe.wait_exit()
    return 0 if agreed else 1


def counted(capture: Path, front: Path, guest: qemu.Machine, switch: ovs.Switch) -> list[tuple[int, int]]:
    """What was sent and received by the used indexes of the rings, by the switch, and by the guest."""
    number = next(one.id for one in evidence(capture) if isinstance(one, Connection) and one.path == str(front))
    sent, received = (one.used if one else -1 for one in (last(capture, ring, number) for ring in (1, 0)))
    told = re.findall(linux.PACKETS, "\n".join(guest.process.lines))[-1]
    return [(sent, received), switch.counted(front.stem), (int(told[0]), int(told[1]))]


if __name__ == "__main__":
    raise SystemExit(main())
