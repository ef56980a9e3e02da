"""Runs in a virtual machine: vhost in the kernel, seen by the probe beside a logger that testpmd itself loads.

usage: python tests/vm/calls.py TREE LOGGER      the unpacked kernel package, and ioctlog.c compiled
"""

from __future__ import annotations

import base64
import ctypes
import fcntl
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from vusniff.bpf.load import Attach, attach_calls, attach_program
from vusniff.capture.reader import CaptureReader
from vusniff.capture.writer import CaptureWriter
from vusniff.families.vhost_kernel.protocol import HEADER, HEADER_SIZE, Ioctl
from vusniff.record import Connection, Frame
from vusniff.sources.probe import waiting
from vusniff.sources.probe.probe import Probe
from vusniff.sources.probe.selection import Selection
from vusniff.sources.stacks import maps, unwinder

TESTPMD = (
    "dpdk-testpmd -l 0-1 --no-pci --no-huge -m 256 --no-telemetry --file-prefix vm "
    "--vdev net_virtio_user0,path=/dev/vhost-net,queues=2,iface=labtap0,mac=52:54:00:00:10:01 "
    "-- -i --total-num-mbufs=2048 --rxq=2 --txq=2 --auto-start --no-mlockall"
)
SECRET = b"nobody else's business"


def emulated() -> None:
    """Allow for the machine: its files are on another, and it is slow."""
    maps.FILE_SYSTEMS |= {"9p"}
    waiting.WAIT_NS = unwinder.PATIENCE_NS = 300_000_000_000


def record(
    file: Path, act: Callable[[Probe], Any], stack_kib: int | None = None, late: bool = False
) -> tuple[Any, list[str]]:
    """What ``act`` gives while the probe records into a file, and what it said. ``late``: no device at first."""
    program = attach_program((Attach.RAWTP,), stack_kib=stack_kib)
    calls = None if late else attach_calls(program.bcc, stack_kib)
    said: list[str] = []
    writer = CaptureWriter(file, source="probe rawtp")
    stacks = None if stack_kib is None else unwinder.Unwinder(stack_kib)
    if stacks is not None:
        stacks.start(0)
    later = partial(attach_calls, program.bcc, stack_kib) if late else None
    probe = Probe(
        program, writer, Selection(), said.append, str(file), calls=calls, unwinder=stacks, attach_calls=later
    )
    given: list[Any] = []
    actor = threading.Thread(target=lambda: given.append(act(probe)))
    actor.start()
    while actor.is_alive():
        if not probe.step():
            signal.sigtimedwait([], 0.002)
    probe.close()
    return given[0], said


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


def testpmd(logger: str, log: Path) -> int:
    """testpmd with a virtio_user on /dev/vhost-net and a tap, which it starts, stops and closes."""
    with subprocess.Popen(
        TESTPMD.split(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"LD_PRELOAD": logger, "IOCTLOG": str(log)},
    ) as process:
        # It reads them when it has started; the prompt has no end of line that could be waited for.
        process.communicate("stop\nport stop 0\nquit\n")
        return process.returncode


def asked(request: Ioctl, fd: int, data: bytes | int = 0) -> list[Any]:
    """One ioctl, and what it gave."""
    try:
        fcntl.ioctl(fd, int(request), data)
    except OSError as error:
        return [request.name, error.errno]
    return [request.name, 0]


def table(regions: int) -> bytes:
    return struct.pack("<II", regions, 0) + b"".join(
        struct.pack("<QQQQ", number << 20, 4096, 0x10000 + (number << 12), 0) for number in range(regions)
    )


REUSED = 300
"""Devices that are opened and closed, each before a file that may get its address."""


def misuse(probe: Probe) -> None:
    """Wrong use on purpose, in a process of its own; it ends when all was seen, because its stacks need its files."""
    readable, writable = os.pipe()
    own = os.fork()
    if own:
        os.close(readable)
        while probe.messages < 7 + REUSED and not os.waitid(os.P_PID, own, os.WEXITED | os.WNOHANG | os.WNOWAIT):
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


def main() -> None:
    """One line each for testpmd and for wrong use."""
    tree, logger = sys.argv[1:3]
    emulated()
    done = subprocess.run(["modprobe", "-d", tree, "-a", "tun", "tap", "vhost_net"], capture_output=True, text=True)
    if done.returncode or not os.path.exists("/dev/vhost-net"):
        print("RESULT " + json.dumps({"refused": done.stderr or "no /dev/vhost-net"}), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            if shutil.which("dpdk-testpmd"):
                began, log, file = time.monotonic(), Path(folder) / "log", Path(folder) / "testpmd.pcapng"
                status, said = record(file, lambda _: testpmd(logger, log))
                found, devices = seen(file)
                told = [json.loads(line) for line in log.read_text().splitlines()]
                paths = [one.path for one in devices]
                sides = [one.ends[1].process.label if one.ends[1].process else None for one in devices]
                result = {"status": status, "told": told, "seen": found, "paths": paths, "sides": sides, "said": said}
                result["capture"] = base64.b64encode(file.read_bytes()).decode()
                print("RESULT " + json.dumps(result), flush=True)
                print(f"testpmd took {time.monotonic() - began:.0f} s", flush=True)
            file = Path(folder) / "misuse.pcapng"
            _, said = record(file, misuse, 16)
            found, devices = seen(file)
            told = json.loads(Path("/tmp/misuse.json").read_text())
            names = {int(one): one.name for one in Ioctl}
            failed = [[names.get(one["request"], "?"), one["errno"]] for one in found]
            leaked = SECRET in file.read_bytes()
            sizes = [len(one["given"]) // 2 for one in found if one["request"] == Ioctl.SET_MEM_TABLE]
            stacks = sorted({one["stack"] for one in found})
            result = {"told": told, "seen": failed, "leaked": leaked, "table": sizes, "stacks": stacks, "said": said}
            print("RESULT " + json.dumps(result), flush=True)
        except Exception:
            print("RESULT " + json.dumps({"refused": traceback.format_exc()}), flush=True)


if __name__ == "__main__":
    main()
