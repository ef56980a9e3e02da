"""Runs in a virtual machine: vhost in the kernel, seen by the probe beside a logger that the programs themselves load.

usage: python tests/vm/calls.py TREE LOGGER [NAME ...]      the unpacked kernel package, and ioctlog.c compiled

A line for each of `PAIRS`, or of those that are named. Other scripts of this folder call `run` with programs of theirs.
"""

from __future__ import annotations

import base64
import ctypes
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from vusniff.bpf.load import Attach, CallProgram, KernelProgram, attach_calls, attach_program
from vusniff.capture.reader import CaptureReader
from vusniff.capture.writer import CaptureWriter
from vusniff.commands.sampling import CaptureSampling
from vusniff.families.vhost_kernel.protocol import HEADER, HEADER_SIZE, Control, Ioctl
from vusniff.record import Connection, Frame, Lost, Position, Sample
from vusniff.sources.probe import waiting
from vusniff.sources.probe.probe import Probe
from vusniff.sources.probe.selection import Selection
from vusniff.sources.stacks import maps, unwinder

TESTPMD = (
    "dpdk-testpmd -l 0-1 --no-pci --no-huge -m 256 --no-telemetry --file-prefix vm "
    "--vdev net_virtio_user0,path=/dev/vhost-net,queues=2,iface=labtap0,mac=52:54:00:00:10:01 "
    "-- -i --total-num-mbufs=2048 --rxq=2 --txq=2 --auto-start --no-mlockall"
)
STACK_KIB = 16
NODES = ("/dev/vhost-net", "/dev/vhost-vsock")
PATIENCE = 240
"""Seconds until something that has to come is missed."""
SECRET = b"nobody else's business"


def emulated() -> None:
    """Allow for the machine: its files are on another, and it is slow."""
    maps.FILE_SYSTEMS |= {"9p"}
    waiting.WAIT_NS = unwinder.PATIENCE_NS = 300_000_000_000


class Attached(NamedTuple):
    """The program for sockets and that for calls, compiled once for all that is recorded: nothing takes longer here.
    They stay attached until this process ends."""

    program: KernelProgram
    calls: CallProgram

    def empty(self) -> None:
        """Drops what was said before a recording."""
        for ring in (self.program.ring, self.program.stacks, self.calls.ring, self.calls.stacks):
            while ring is not None and ring.take(1 << 20):
                pass


def keep(program: KernelProgram | CallProgram) -> None:
    """Has a program stay when a recording ends."""
    program.close = lambda: None  # type: ignore[method-assign]
    if isinstance(program, KernelProgram):
        program.detach_entries = lambda: None  # type: ignore[method-assign]


def attached(program: KernelProgram | None = None) -> Attached:
    """Both; ``program``: one that is there already, by raw tracepoints and with stacks."""
    program = program or attach_program((Attach.RAWTP,), stack_kib=STACK_KIB)
    calls = attach_calls(program.bcc, STACK_KIB, program)
    keep(program)
    keep(calls)
    return Attached(program, calls)


def record(
    file: Path,
    act: Callable[[Probe], Any],
    stack_kib: int | None = None,
    late: bool = False,
    both: Attached | None = None,
    rings: bool = False,
    busy: bool = False,
) -> tuple[Any, list[str]]:
    """What ``act`` gives while the probe records into a file, and what it said.

    ``late``: no device at first. ``both``: programs that are attached already. ``rings``: where they stand, too.
    ``busy``: nothing is taken from the kernel before ``act`` has ended.
    """
    said: list[str] = []
    program = both.program if both is not None else attach_program((Attach.RAWTP,), stack_kib=stack_kib)
    if both is not None:
        both.empty()
        calls: CallProgram | None = both.calls
    else:
        calls = None if late else attach_calls(program.bcc, stack_kib, program)
    writer = CaptureWriter(file, source="probe rawtp")
    stacks = None if stack_kib is None else unwinder.Unwinder(stack_kib)
    if stacks is not None:
        stacks.start(0)
    probe = Probe(
        program,
        writer,
        Selection() if both is None else Selection(paths=NODES),
        said.append,
        str(file),
        sampling=CaptureSampling(str(file), 10, False, said.append) if rings else None,
        unwinder=stacks,
        calls=calls,
        attach_calls=partial(attach_calls, program.bcc, stack_kib, program) if late else None,
    )
    given: list[Any] = []

    def acting() -> None:
        try:
            given.append(act(probe))
        except Exception:
            given.append(traceback.format_exc())

    actor = threading.Thread(target=acting)
    actor.start()
    while actor.is_alive():
        if busy or not probe.step():
            signal.sigtimedwait([], 0.002)
    probe.close()
    return given[0], said


def wait_for(what: str, fact: Callable[[], Any]) -> Any:
    """Waits until there is something to give. Raises AssertionError that says what there is not."""
    end = time.monotonic() + PATIENCE
    while not (found := fact()):
        assert time.monotonic() < end, what
        time.sleep(0.05)
    return found


def started(file: Path) -> int:
    """How often a ring of /dev/vhost-net was given something to serve, so far."""
    return sum(one["request"] == Ioctl.NET_SET_BACKEND and not one["errno"] for one in seen(file)[0])


def standing(file: Path) -> dict[int, Position]:
    """Where the rings of the only device of a capture stood last."""
    with CaptureReader(file) as reader:
        samples = [one for one in reader.records() if isinstance(one, Sample)]
    return {one.ring: one for sample in samples for one in sample.rings}


def passed_on(file: Path, packets: int) -> dict[int, Position]:
    """The same once so many packets went each way; empty before."""
    found = standing(file)
    ways = [sum(one.used for ring, one in found.items() if ring % 2 == way) for way in (0, 1)]
    return found if min(ways) >= packets else {}


def seen(file: Path) -> tuple[list[dict[str, Any]], list[Connection]]:
    """The calls of a capture as the logger writes them, and its devices."""
    found: list[dict[str, Any]] = []
    devices: list[Connection] = []
    with CaptureReader(file) as reader:
        for one in reader.records():
            if isinstance(one, Connection):
                devices.append(one)
            if not isinstance(one, Frame):
                continue
            request, flags, _ = HEADER.read["little"](one.data, 0)
            more = HEADER.others(one.data, "little")
            data = one.data[HEADER_SIZE:].hex()
            back = bool(flags & 4)
            found.append(
                {
                    "connection": one.connection,
                    "fd": more["fd"],
                    "request": request,
                    "given": "" if back else data,
                    "back": data if back else "",
                    "result": more["result"],
                    "errno": more["error"],
                    "names": [f"{passed.kind} {passed.identity} {passed.name}" for passed in one.descriptors],
                    "pid": one.process.pid if one.process else 0,
                    "stack": one.stack
                    and (one.stack.entries[0].file if one.stack.entries else "", one.stack.cut, len(one.stack.entries)),
                }
            )
    return found, devices


PACKETS = 48


def testpmd(logger: str, folder: Path, file: Path) -> dict[str, Any]:
    """testpmd with a virtio_user on /dev/vhost-net and a tap. It sends back what comes from there, stops, and closes:
    its own count of packets, and where its rings stood."""
    shown = folder / "shown"
    with (
        shown.open("w") as out,
        subprocess.Popen(
            TESTPMD.split(),
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"LD_PRELOAD": logger, "IOCTLOG": str(folder / "log")},
        ) as process,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as tap,
    ):
        wait_for("the rings are not started", lambda: started(file) == 4)
        Path("/proc/sys/net/ipv6/conf/labtap0/disable_ipv6").write_text("1")  # the kernel sends nothing by itself
        subprocess.run(["ip", "link", "set", "labtap0", "up"], check=True)
        tap.bind(("labtap0", 0))
        for number in range(PACKETS):
            tap.send(bytes.fromhex("525400001001 525400001002 88b5") + bytes([number]) * 60)
        came = Path("/sys/class/net/labtap0/statistics/rx_packets")
        wait_for("no packets come back", lambda: int(came.read_text()) >= PACKETS)
        rings = wait_for("the rings are not seen to move", lambda: passed_on(file, PACKETS))
        process.communicate("stop\nport stop 0\nquit\n")
    counts = re.findall(r"RX-packets: (\d+).*\n.*TX-packets: (\d+)", shown.read_text())[-1]
    used = {number: one.used for number, one in rings.items()}
    return {"status": process.returncode, "packets": [int(count) for count in counts], "used": used}


def asked(request: Ioctl, fd: int, data: bytes | int = 0) -> list[Any]:
    """One ioctl, and what it gave."""
    try:
        fcntl.ioctl(fd, int(request), data)
    except OSError as error:
        return [request.name, error.errno]
    return [request.name, 0]


def written(fd: int) -> int:
    """errno of an IOTLB message that is written."""
    try:
        os.write(fd, struct.pack("=II3QBB", 2, 0, 0, 0, 0, 0, 5).ljust(72, b"\0"))
    except OSError as error:
        return error.errno or 0
    return 0


def table(regions: int) -> bytes:
    return struct.pack("<II", regions, 0) + b"".join(
        struct.pack("<QQQQ", number << 20, 4096, 0x10000 + (number << 12), 0) for number in range(regions)
    )


MISUSED = 10
"""Calls before those."""
REUSED = 300
"""Devices that are opened and closed, each before a file that may get its address."""


def misuse(probe: Probe) -> None:
    """Wrong use on purpose, in a process of its own; it ends when all was seen, because its stacks need its files."""
    readable, writable = os.pipe()
    own = os.fork()
    if own:
        os.close(readable)
        while probe.messages < MISUSED + REUSED and not os.waitid(os.P_PID, own, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            signal.sigtimedwait([], 0.02)
        os.close(writable)
        os.waitpid(own, 0)
        return
    os.close(writable)
    told: list[list[Any]] = []
    device = os.open("/dev/vhost-net", os.O_RDWR)
    told.append(asked(Ioctl.SET_VRING_NUM, device, struct.pack("<II", 0, 256)))  # before SET_OWNER: EPERM
    told.append(asked(Ioctl.SET_OWNER, device))
    told.append(asked(Ioctl.SET_OWNER, device))  # EBUSY
    buffer = ctypes.create_string_buffer(table(600))
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.ioctl(device, ctypes.c_ulong(int(Ioctl.SET_MEM_TABLE)), buffer)
    told.append(["SET_MEM_TABLE", ctypes.get_errno() if failed else 0])  # E2BIG
    told.append(asked(Ioctl.SET_VRING_NUM, device, struct.pack("<II", 0, 100)))  # no power of two: EINVAL
    told.append(asked(Ioctl.NET_SET_BACKEND, device, struct.pack("<Ii", 0, 1)))  # not set up: EFAULT
    for copy in (os.dup(device), os.dup2(device, 100), fcntl.fcntl(device, fcntl.F_DUPFD, 200)):
        told.append(["IOTLB_MSG_V2", written(copy)])  # no IOTLB: EFAULT
        os.close(copy)
    other = os.fork()
    if other == 0:  # a foreign owner
        os._exit(asked(Ioctl.SET_MEM_TABLE, device, table(1))[1])
    told.append(["SET_MEM_TABLE", os.waitstatus_to_exitcode(os.waitpid(other, 0)[1])])
    os.close(device)
    # Files at addresses that were just freed: not a byte of them is captured.
    for _ in range(REUSED):
        device = os.open("/dev/vhost-net", os.O_RDWR)
        asked(Ioctl.SET_OWNER, device)
        os.close(device)
        file = os.open("/tmp/secret", os.O_RDWR | os.O_CREAT)
        os.write(file, SECRET * 4)
        os.pread(file, 64, 0)
        os.close(file)
    Path("/tmp/misuse.json").write_text(json.dumps(told))
    os.read(readable, 1)
    os._exit(0)


def told(file: Path) -> list[dict[str, Any]]:
    """What the logger has written."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def with_testpmd(logger: str, folder: Path, both: Attached) -> dict[str, Any]:
    """What it said itself, what the logger wrote, and what the probe saw."""
    file = folder / "testpmd.pcapng"
    given, said = record(file, lambda _: testpmd(logger, folder, file), both=both, rings=True)
    assert isinstance(given, dict), given
    found, devices = seen(file)
    sides = [one.ends[1].process.label if one.ends[1].process else None for one in devices]
    result = {**given, "told": told(folder / "log"), "seen": found, "paths": [one.path for one in devices]}
    return result | {"sides": sides, "said": said, "capture": base64.b64encode(file.read_bytes()).decode()}


def with_misuse(logger: str, folder: Path, both: Attached) -> dict[str, Any]:
    """What was asked and answered, what the probe saw of it, and where it was asked."""
    file = folder / "misuse.pcapng"
    _, said = record(file, misuse, STACK_KIB, both=both)
    found, _ = seen(file)
    names = {int(one): one.name for kind in (Ioctl, Control) for one in kind}
    return {
        "told": json.loads(Path("/tmp/misuse.json").read_text()),
        "seen": [[names.get(one["request"], "?"), one["errno"]] for one in found],
        "leaked": SECRET in file.read_bytes(),
        "table": [len(one["given"]) // 2 for one in found if one["request"] == Ioctl.SET_MEM_TABLE],
        "stacks": sorted({one["stack"] for one in found}),
        "said": said,
    }


TABLES = 300
"""Calls that do not fit into the kernel's buffer: each gives 600 regions."""


def crowd(probe: Probe) -> None:
    """More calls than there is room for, by a process of its own: the probe does not look at itself."""
    buffer, libc = ctypes.create_string_buffer(table(600)), ctypes.CDLL(None)
    own = os.fork()
    if own == 0:
        device = os.open("/dev/vhost-net", os.O_RDWR)
        for _ in range(TABLES):
            libc.ioctl(device, ctypes.c_ulong(int(Ioctl.SET_MEM_TABLE)), buffer)
        os._exit(0)
    os.waitpid(own, 0)


def with_losses(logger: str, folder: Path, both: Attached) -> dict[str, Any]:
    """What was kept and what was lost of too many calls, by the capture and as it was said."""
    file = folder / "losses.pcapng"
    _, said = record(file, crowd, both=both, busy=True)
    with CaptureReader(file) as reader:
        lost = sum(one.count for one in reader.records() if isinstance(one, Lost))
    kept = sum(len(one["given"]) == 2 * len(table(600)) for one in seen(file)[0])
    return {"kept": kept, "lost": lost, "said": said}


Pair = Callable[[str, Path, Attached], dict[str, Any]]
PAIRS: dict[str, Pair] = {"testpmd": with_testpmd, "misuse": with_misuse, "losses": with_losses}
MODULES = ("tun", "tap", "vhost_net")


def run(
    tree: str,
    logger: str,
    pairs: Mapping[str, Pair] = PAIRS,
    modules: Sequence[str] = MODULES,
    program: KernelProgram | None = None,
) -> None:
    """A line for each pair. ``program``: the one for sockets by raw tracepoints, with stacks, if it is attached
    already; it is detached at the end."""
    done = subprocess.run(["modprobe", "-d", tree, "-a", *modules], capture_output=True, text=True)
    if done.returncode or not os.path.exists("/dev/vhost-net"):
        print("RESULT " + json.dumps({"refused": done.stderr or "no /dev/vhost-net"}), flush=True)
        return
    both = attached(program)
    for name, pair in pairs.items():
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                result = pair(logger, Path(folder), both)
            except Exception:
                result = {"refused": traceback.format_exc()}
        print("RESULT " + json.dumps({"name": name, **result}), flush=True)
        print(f"{name} took {time.monotonic() - began:.0f} s", flush=True)


def main() -> None:
    """All, or those that are named."""
    tree, logger, *names = sys.argv[1:]
    emulated()
    run(tree, logger, {name: PAIRS[name] for name in names or PAIRS})


if __name__ == "__main__":
    main()
