"""How fast the terminal view opens and answers, beside Textual's own DataTable in the same run.

usage: python bench/bench_tui.py [FILE]     FILE: a capture; without one, a synthetic one of a million messages

First paint, answers to keys and live load are those of the real program on a pseudo-terminal of 120x40, with state,
details and bytes open; CPU time of keys is taken headless at the same size, for both.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import select
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from textual.app import App, ComposeResult
from textual.widgets import DataTable

from captures import synthetic
from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.capture.writer import CaptureWriter
from vusniff.record import Frame
from vusniff.views.tui.app import TuiApp

SIZE = (120, 40)
TABLE_ROWS = 20_000
"""As many as DataTable is given: it needs minutes for a million."""
LIVE_RATE, LIVE_SECONDS, BURSTS = 5_000, 6, 50
FIRST_ROW = b"GET_FEATURES"

Times = dict[str, tuple[float, float]]


class Program:
    """`vusniff view` on a pseudo-terminal."""

    def __init__(self, *words: str) -> None:
        self.started = time.perf_counter()
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
            os.execv(sys.executable, [sys.executable, "-m", "vusniff", "view", *words])
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))

    def until(self, wanted: bytes, seconds: float = 30.0) -> float:
        """Read what it paints until this is in it; seconds since its start."""
        seen = b""
        while wanted not in seen:
            ready, _, _ = select.select([self.terminal], [], [], seconds)
            if not ready:
                raise SystemExit(f"{wanted!r} was not painted within {seconds} s; the end of what was: {seen[-400:]!r}")
            seen = seen[-64:] + os.read(self.terminal, 1 << 16)
        return time.perf_counter() - self.started

    def number(self, seconds: float = 5.0) -> int:
        """Read until it paints a state; the number of the message that it is of."""
        seen, found = b"", None
        while found is None:
            if not select.select([self.terminal], [], [], seconds)[0]:
                raise SystemExit(f"no state was painted within {seconds} s")
            seen += os.read(self.terminal, 1 << 16)
            found = re.search(rb"State after #(\d+):", seen)
        return int(found[1])

    def drain(self, seconds: float) -> int:
        """Read what it paints for so long; returns the bytes."""
        count, end = 0, time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            if select.select([self.terminal], [], [], left)[0]:
                count += len(os.read(self.terminal, 1 << 16))
        return count

    def memory(self) -> float:
        """Peak resident MB so far."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    def cpu(self) -> float:
        """CPU seconds so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def quit(self) -> None:
        """Press q and wait."""
        os.write(self.terminal, b"q")
        while True:
            try:
                if not os.read(self.terminal, 1 << 16):
                    break
            except OSError:
                break
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


def first_paint(path: Path) -> None:
    """Program start to the first rows, and the memory then and when all is read."""
    times = []
    for _ in range(5):
        program = Program(str(path))
        times.append(program.until(FIRST_ROW))
        at_first = program.memory()
        program.quit()
    program = Program(str(path))
    count = f"{len_of(path):,} messages".encode()
    whole = program.until(count + b" ", 120.0)
    print(
        f"first paint from program start     {min(times):.2f} s best, {max(times):.2f} s worst of 5, {at_first:.0f} MB"
    )
    print(f"all read in the background after   {whole:.1f} s, {program.memory():.0f} MB at most")
    program.quit()


def len_of(path: Path) -> int:
    """Messages in a capture."""
    with Index(path) as index:
        while index.update():
            pass
        return len(index)


def answers(path: Path) -> None:
    """From a key to the painted state of the message that it selects, in the real program."""
    program = Program(str(path))
    count = len_of(path)
    program.until(f"{count:,} messages ".encode(), 120.0)
    program.drain(0.5)
    middle = count // 2
    os.write(program.terminal, f":{middle}\r".encode())
    program.until(f"State after #{middle}:".encode(), 120.0)
    program.drain(0.5)
    for name, key, step in (("down", b"\x1b[B", 1), ("page down", b"\x1b[6~", None)):
        each, row = [], middle
        if step is None:  # how far a page goes depends on how many lines the verdict has
            os.write(program.terminal, key)
            step = program.number() - middle
            row += step
            program.drain(0.5)
        for _ in range(30):
            row += step
            begin = time.perf_counter()
            os.write(program.terminal, key)
            program.until(f"State after #{row}:".encode(), 5.0)
            each.append(1e3 * (time.perf_counter() - begin))
            program.drain(0.05)
        each.sort()
        print(
            f"{name}, until the state is painted".ljust(40) + f"{each[15]:.1f} ms median, {each[-1]:.1f} ms worst of 30"
        )
        os.write(program.terminal, f":{middle}\r".encode())
        program.drain(1.0)
    program.quit()


async def pressed(pilot: Any, keys: dict[str, int]) -> Times:
    """Median and worst CPU milliseconds of keys, repaint of everything included."""
    times: Times = {}
    for key, count in keys.items():
        each = []
        for _ in range(count):
            begin = time.process_time()
            await pilot.press(key)
            await pilot.pause()
            each.append(1e3 * (time.process_time() - begin))
        each.sort()
        times[key] = (each[len(each) // 2], each[-1])
    return times


KEYS = {"end": 1, "pageup": 40, "up": 40, "home": 1, "pagedown": 40, "down": 40}


async def our_keys(path: Path) -> tuple[Times, Times]:
    """The app: the timeline alone, and with everything open."""
    with Index(path) as index:
        timeline = Timeline(index)
        read_all(timeline)
        app = TuiApp(timeline, path.name)
        async with app.run_test(size=SIZE) as pilot:
            await pilot.pause()
            await pilot.press("end")
            while app.states.missing(len(timeline) - 1) > 512:
                await pilot.pause()
            await pilot.press("home")
            everything = await pressed(pilot, KEYS)
            await pilot.press("home", "z")
            return await pressed(pilot, KEYS), everything


class Table(App[None]):
    """The same rows in a DataTable."""

    def compose(self) -> ComposeResult:
        yield DataTable(cursor_type="row")


async def table_keys(path: Path) -> tuple[Times, float]:
    """DataTable's keys, and the seconds until it has painted its rows."""
    app = Table()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        table = app.query_one(DataTable)
        begin = time.perf_counter()
        table.add_columns("No.", "Time", "Direction", "Request", "Values")
        table.add_rows(
            (str(row), f"{row * 1e-6:.6f}", "front -> back", "SET_VRING_NUM", f"vring {row & 7} size 256")
            for row in range(TABLE_ROWS)
        )
        await pilot.pause()
        opened = time.perf_counter() - begin
        table.focus()
        keys = {key: min(count, 10) for key, count in KEYS.items()}
        return await pressed(pilot, keys), opened


def live() -> None:
    """The real program follows a file that grows at a steady rate, at its tail with everything open."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "live.pcapng"
        writer = CaptureWriter(path, source="bench")
        connection = writer.open("/run/bench.sock")
        header = (18).to_bytes(4, "little") + (1).to_bytes(4, "little") + (8).to_bytes(4, "little")
        payloads = [
            header + (ring).to_bytes(4, "little") + (on).to_bytes(4, "little") for ring in range(8) for on in (0, 1)
        ]
        frames = 0

        def burst() -> None:
            nonlocal frames
            for _ in range(LIVE_RATE // BURSTS):
                writer.frame(Frame(connection.id, 0, time.time_ns(), payloads[frames % len(payloads)]))
                frames += 1
            writer.flush()

        burst()
        program = Program("--follow", str(path))
        program.until(b"SET_VRING_ENABLE")
        program.drain(1.0)
        before, begin, painted = program.cpu(), time.perf_counter(), 0
        for number in range(LIVE_SECONDS * BURSTS):
            burst()
            painted += program.drain(max(0.0, begin + (number + 1) / BURSTS - time.perf_counter()))
        seconds = time.perf_counter() - begin
        share = (program.cpu() - before) / seconds
        rate = (frames - LIVE_RATE // BURSTS) / seconds
        print(
            f"live, {rate:,.0f} messages/s followed    {100 * share:.0f} % of one core, "
            f"{painted / seconds / 1024:.0f} KiB/s to the terminal"
        )
        program.drain(2.0)
        idle = program.cpu()
        program.drain(3.0)
        print(f"live, nothing comes                {100 * (program.cpu() - idle) / 3.0:.1f} % of one core")
        program.quit()
        writer.close()


def main() -> None:
    """Prints all figures."""
    with tempfile.TemporaryDirectory() as directory:
        if len(sys.argv) > 1:
            path = Path(sys.argv[1])
        else:
            path = Path(directory) / "million.pcapng"
            synthetic.million(path)
        first_paint(path)
        answers(path)
        alone, everything = asyncio.run(our_keys(path))
        theirs, opened = asyncio.run(table_keys(path))
        print(f"DataTable of {TABLE_ROWS:,} rows: {opened:.1f} s to fill and paint")
        print(
            f"{'CPU of a key, median / worst ms':34} {'timeline alone':>15} {'everything open':>16} {'DataTable':>15}"
        )
        for key in KEYS:
            cells = [f"{one[key][0]:6.1f} / {one[key][1]:6.1f}" for one in (alone, everything, theirs)]
            print(f"  {key:32} {cells[0]:>15} {cells[1]:>16} {cells[2]:>15}")
        live()


if __name__ == "__main__":
    main()
