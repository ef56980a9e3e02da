"""What the proxy costs: CPU per message, beside socat in the same run, and what is left over after many round trips.

Two peers play ping-pong with messages of 20 bytes: straight, through socat (which passes bytes only) and through
``vusniff proxy --quiet``; without descriptors, and with one on each request. CPU is that of the program in the middle,
user and system, by /proc/PID/schedstat. With fault rules that no message matches (about a request, about any message's
value, about the device) it is measured in turns with the proxy without rules, many short rounds, and the median of the
differences counts: a busy machine slows both of a pair. Everything is held to one CPU:
waking another one costs more than a message does and says nothing about the program. The best of three runs counts.

usage: python bench/bench_proxy.py [ROUND_TRIPS [LEAK_ROUND_TRIPS]]    default 20000 and 100000
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TARGET_US = 15.0
RUNS = 3
LISTENS = b"00010000"
"""Flags of a socket that listens, in /proc/net/unix (__SO_ACCEPTCON in include/linux/net.h)."""
REQUEST = struct.pack("=IIIQ", 12, 1, 8, 0)
REPLY = struct.pack("=IIIQ", 12, 5, 8, 0)
PROXY = (
    *(sys.executable, "-m", "vusniff", "proxy", "--listen", "{0}/front", "--connect", "{0}/back"),
    *("-w", "c.pcapng", "--quiet"),
)
RULES = {
    "a rule": "vhost.request == SET_VRING_NUM : drop",
    "a rule of values": "vhost.u64 == 77 : drop",
    "a rule of state": "state.regions > 3 : drop",
}
"""Fault rules that no message matches."""
PAIRS = 9
RULE_TARGET_US = 5.0
"""For the first of them."""
SOCAT = ("socat", "UNIX-LISTEN:{0}/front", "UNIX-CONNECT:{0}/back")
"""Command lines; {0} is the directory."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run."""

    cpu_us: float
    """CPU of the program in the middle, for each message."""
    trip_us: float
    """Time of a round trip."""
    left: int
    """Descriptors the program in the middle holds after it more than before."""


def answer(path: str) -> None:
    """Answers every request of every connection, reading header and payload as back-ends do."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            peer = listener.accept()[0]
            while (received := socket.recv_fds(peer, 12, 1))[0]:
                for fd in received[1]:
                    os.close(fd)
                peer.recv(8)
                peer.send(REPLY)
            peer.close()


def play(path: str, fds: Sequence[int], count: int, pid: int | None) -> Figures:
    """Plays ``count`` round trips; ``pid`` is the program in the middle."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path)
        _play(peer, fds, min(count, 1000))
        held, cpu, begin = _held(pid), _cpu(pid), time.perf_counter()
        _play(peer, fds, count)
        trip = (time.perf_counter() - begin) / count
        return Figures((_cpu(pid) - cpu) / count / 2 * 1e6, trip * 1e6, _held(pid) - held)


def _play(peer: socket.socket, fds: Sequence[int], count: int) -> None:
    for _ in range(count):
        if fds:
            socket.send_fds(peer, [REQUEST], fds)
        else:
            peer.send(REQUEST)
        peer.recv(12)
        peer.recv(8)


def _cpu(pid: int | None) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9 if pid else 0.0


def _held(pid: int | None) -> int:
    return len(os.listdir(f"/proc/{pid}/fd")) if pid else 0


def wait_for_listener(path: str) -> None:
    """Waits until somebody listens at a path.

    The socket's file is there earlier, and a connection made to find out would be the only one that socat accepts.
    """
    name = path.encode()
    while not any(_listens(line.split(), name) for line in Path("/proc/net/unix").read_bytes().splitlines()):
        time.sleep(0.01)


def _listens(words: Sequence[bytes], name: bytes) -> bool:
    return words[3:4] == [LISTENS] and words[7:] == [name]


def through(words: Sequence[str], directory: str, fds: Sequence[int], count: int) -> Figures:
    """Plays through a program that listens at front."""
    front = f"{directory}/front"
    Path(front).unlink(missing_ok=True)
    command = [word.format(directory) for word in words]
    with subprocess.Popen(command, cwd=directory, stderr=subprocess.DEVNULL) as program:
        try:
            wait_for_listener(front)
            return play(front, fds, count, program.pid)
        finally:
            program.terminate()


def beside(words: Sequence[str], directory: str, fds: Sequence[int], count: int) -> tuple[Figures, float]:
    """A proxy with rules in turns with one without: the best run, and how much CPU a message takes more (median)."""
    pairs = [[through(one, directory, fds, count) for one in (PROXY, words)] for _ in range(PAIRS)]
    more = statistics.median(ruled.cpu_us - plain.cpu_us for plain, ruled in pairs)
    return best([ruled for _, ruled in pairs]), more


def best(runs: Sequence[Figures]) -> Figures:
    return min(runs, key=lambda run: (run.cpu_us, run.trip_us))


def main(count: int, leak_count: int) -> int:
    """Print the figures; 1 when the proxy costs more than it may or leaks."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    good = True
    with tempfile.TemporaryDirectory() as directory:
        back = f"{directory}/back"
        child = os.fork()
        if child == 0:
            try:
                answer(back)
            finally:
                os._exit(1)
        try:
            wait_for_listener(back)
            memory = os.memfd_create("ram")
            print(f"{count} round trips of two messages of 20 bytes, best of {RUNS}, all on one CPU")
            print("through         descriptors  CPU us/message  us/round trip")
            for fds in ([], [memory]):
                straight = best([play(back, fds, count, None) for _ in range(RUNS)])
                print(f"nothing         {len(fds):11}  {'':14}  {straight.trip_us:13.1f}")
                socat = None
                if not fds and shutil.which("socat"):
                    socat = best([through(SOCAT, directory, fds, count) for _ in range(RUNS)])
                    print(f"socat           {len(fds):11}  {socat.cpu_us:14.1f}  {socat.trip_us:13.1f}")
                proxy = best([through(PROXY, directory, fds, count) for _ in range(RUNS)])
                ratio = f"  ({proxy.cpu_us / socat.cpu_us:.1f} times socat)" if socat else ""
                print(f"vusniff proxy   {len(fds):11}  {proxy.cpu_us:14.1f}  {proxy.trip_us:13.1f}{ratio}")
                good = good and proxy.cpu_us <= TARGET_US
                for name, rule in RULES.items():
                    ruled, more = beside((*PROXY, "--rule", rule), directory, fds, max(count // 4, 1000))
                    print(f"{name:16}{len(fds):11}  {ruled.cpu_us:14.1f}  {ruled.trip_us:13.1f}  ({more:+.1f} us)")
                    good = good and (more <= RULE_TARGET_US or name != "a rule")
            reached = "reached" if good else "missed"
            print(f"target: {TARGET_US:g} us of CPU per message, {RULE_TARGET_US:g} us more with a rule: {reached}")
            left = through(PROXY, directory, [memory], leak_count).left
            print(f"descriptors left open after {leak_count} round trips with one: {left}")
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
    return 0 if good and not left else 1


if __name__ == "__main__":
    counts = [int(word) for word in sys.argv[1:3]]
    raise SystemExit(main(*counts, *(20_000, 100_000)[len(counts) :]))
