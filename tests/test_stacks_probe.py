"""Call stacks of real programs by the probe: those that gdb shows, and what is told where they cannot be had."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from probing import Recording, needs_probe, recording

from vusniff.bpf.records import STACK_HEAD
from vusniff.errors import SourceError
from vusniff.record import Stack, StackEntry
from vusniff.sources.probe.sends import Send
from vusniff.sources.probe.waiting import WaitingSends
from vusniff.sources.stacks import libdw
from vusniff.sources.stacks.unwinder import Unwinder

pytestmark = needs_probe

SENDER = r"""
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CALL(call) int result = call; asm volatile("" ::: "memory"); return result

__attribute__((noinline)) int hand_over(int fd)
{
	unsigned message[3] = {1, 1, 0};
	CALL(sendto(fd, message, 12, 0, 0, 0));
}

__attribute__((noinline)) static int ask(int fd)
{
	volatile char room[ROOM];
#ifdef TOUCH
	for (int at = 0; at < ROOM; at += 1024)
		room[at] = 1;
#endif
	room[3] = 1;
	CALL(hand_over(fd) + room[3]);
}

__attribute__((noinline)) int deeper(int fd, int depth)
{
	CALL(depth ? deeper(fd, depth - 1) : ask(fd));
}

static void *thread(void *fd)
{
	deeper((int)(long)fd, 2);
	return 0;
}

int main(int argc, char **argv)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	pthread_t other;
	char byte;
	strcpy(to.sun_path, argv[1]);
	if (connect(fd, (void *)&to, sizeof(to)))
		return 1;
	deeper(fd, 1);
	pthread_create(&other, 0, thread, (void *)(long)fd);
	pthread_join(other, 0);
	/* It waits to be told to end. */
	return read(fd, &byte, 1) != 1;
}
"""


def needs_libdw() -> None:
    try:
        libdw.load()
    except SourceError as error:
        pytest.skip(str(error))


def compiled(folder: Path, *flags: str, room: int = 3000, source: str = SENDER) -> Path:
    """The sender."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    folder.mkdir()
    file, program = folder / "sender.c", folder / "sender"
    file.write_text(source)
    subprocess.run(["gcc", "-O2", f"-DROOM={room}", "-w", "-pthread", *flags, "-o", program, file], check=True)
    return program


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener


def run(program: Path, probe: Recording) -> None:
    """Runs the sender until what it sent is in the file: the probe looks at a process while it is there."""
    path = program.with_suffix(".socket")
    with listening(path) as listener:
        process = subprocess.Popen([program, path])
        near, _ = listener.accept()
        with near:
            assert len(near.recv(24, socket.MSG_WAITALL)) == 24
            probe.wait_for_messages(str(path), 2)
            near.send(b"x")
        assert process.wait() == 0


def stacks_of(program: Path, probe: Recording) -> list[Stack]:
    """What the sender's messages say of their stacks, when the recording has ended."""
    path = str(program.with_suffix(".socket"))
    connection = next(one.id for one in probe.connections if one.path == path)
    found = [frame.stack for frame in probe.frames if frame.connection == connection and frame.end == 0]
    assert len(found) == 2
    return [one for one in found if one is not None]


def names(stack: Stack) -> list[str | None]:
    return [entry.function for entry in stack.entries]


def by_gdb(program: Path) -> list[list[str]]:
    """The functions of the first send of both threads, as gdb shows them."""
    if shutil.which("gdb") is None:
        pytest.skip("gdb is not installed")
    path = program.with_suffix(".gdb")
    with listening(path):
        script = [
            "set backtrace past-main on",
            "catch syscall sendto",
            "run",
            "bt",
            "continue",
            "continue",
            "bt",
            "kill",
        ]
        words = [word for line in script for word in ("-ex", line)]
        done = subprocess.run(
            ["gdb", "-batch", "-nx", "-iex", "set debuginfod enabled off", *words, "--args", program, path],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    found: list[list[str]] = []
    for line in done.stdout.splitlines():
        if (match := re.match(r"#(\d+) +(?:0x[0-9a-f]+ in )?(\S+)", line)) is not None:
            if match[1] == "0":
                found.append([])
            found[-1].append(match[2])
    assert len(found) == 2, done.stdout + done.stderr
    return found


CHAINS = (
    ["hand_over", "ask", "deeper", "deeper", "main"],
    ["hand_over", "ask", "deeper", "deeper", "deeper", "thread"],
)
GENERATED = SENDER.replace("#include <pthread.h>", "#include <pthread.h>\n#include <sys/mman.h>").replace(
    "\tdeeper(fd, 1);",
    """\tunsigned char code[] = {0x48, 0x83, 0xec, 0x08, 0xff, 0xd6, 0x48, 0x83, 0xc4, 0x08, 0xc3};
\tchar *made = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
\tmemcpy(made, code, sizeof(code)); /* sub $8,%rsp; call *%rsi; add $8,%rsp; ret */
\t((void (*)(long, int (*)(int)))made)(fd, ask);""",
)
VARIANTS = {
    "plain": ("-fomit-frame-pointer",),
    "frame-pointers": ("-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"),
    "static": ("-static",),
    "lines": ("-g", "-static-pie"),
    "stripped": ("-s", "-rdynamic"),
}


def plainly(name: str) -> str:
    """Functions of libc have several names."""
    return re.sub(r"^(__GI_)?(__libc_|_*)|(_impl|_end)$", "", name)


def test_the_stacks_are_those_of_gdb(tmp_path: Path) -> None:
    needs_libdw()
    programs = {name: compiled(tmp_path / name, *flags) for name, flags in VARIANTS.items()}
    deep = compiled(tmp_path / "deep", "-DTOUCH", room=20_000)
    absent = compiled(tmp_path / "absent", room=20_000)
    made = compiled(tmp_path / "made", source=GENERATED)
    with recording(tmp_path / "c.pcapng", "--path", f"{tmp_path}/*", "--stacks") as probe:
        for program in (*programs.values(), deep, absent, made):
            run(program, probe)
        probe.finish()
    counts = next(line for line in probe.said.splitlines() if "call stacks" in line)
    assert counts == "vusniff: 24 call stacks, 0 lost", "two messages of each, and the byte that is sent to each"
    for name, program in programs.items():
        stacks = stacks_of(program, probe)
        # Without tables gdb goes by what it finds in the code, and loses its way here.
        shown = by_gdb(program) if name != "frame-pointers" else [[], []]
        for stack, chain, of_gdb in zip(stacks, CHAINS, shown, strict=True):
            assert not stack.cut
            # gdb calls what has no symbol ??.
            found = [one or "??" for one in names(stack)]
            hidden = ("ask", "thread") if name == "stripped" else ()
            inner = found.index("hand_over")  # called by it are one or more functions of libc
            assert found[inner : inner + len(chain)] == ["??" if one in hidden else one for one in chain], name
            assert not of_gdb or list(map(plainly, found)) == list(map(plainly, of_gdb)), name
        assert all(one.build_id for one in stacks[0].entries)
    innermost, _ = stacks_of(programs["lines"], probe)
    source, _, number = (innermost.entries[names(innermost).index("hand_over")].source or "").rpartition(":")
    assert source.endswith("lines/sender.c")
    assert "sendto(fd" in SENDER.splitlines()[int(number) - 1]

    first, _ = stacks_of(deep, probe)
    assert names(first)[names(first).index("hand_over") :][:2] == ["hand_over", "ask"]
    assert first.cut == "the stack is longer than the 16 KiB that were copied"

    first, _ = stacks_of(absent, probe)
    assert names(first)[names(first).index("hand_over") :][:2] == ["hand_over", "ask"]
    assert first.cut == "a page of the stack was not in memory"

    first, second = stacks_of(made, probe)  # called from memory that the program made
    assert names(first)[names(first).index("hand_over") :][:2] == ["hand_over", "ask"]
    assert first.entries[-1] == StackEntry("", "", 0), "a word of the stack is kept"
    assert first.cut.startswith("no file holds the code that called it")
    assert not second.cut


def test_a_worker_has_no_rights(tmp_path: Path) -> None:
    """It is nobody, has no capability, and may not be looked into; the capture goes on when it is killed."""
    needs_libdw()
    unwinder = Unwinder(16)
    with contextlib.closing(unwinder):
        unwinder.start(os.getuid())
        (pid,) = unwinder.workers()
        deadline = time.monotonic() + 60
        while "CapPrm:\t0000000000000000" not in (status := Path(f"/proc/{pid}/status").read_text()):
            assert time.monotonic() < deadline, "it never gave up its rights"
            time.sleep(0.01)
        said = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert said["Uid"] == "65534\t65534\t65534\t65534"
        assert said["Groups"].strip() == ""
        assert said["NoNewPrivs"] == "1"
        # What is not dumpable belongs to root, and only root looks into it (proc_pid(5)).
        assert os.stat(f"/proc/{pid}/mem").st_uid == 0
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"Max address space +4294967296", limits)
        assert re.search(r"Max core file size +0", limits)
    assert not Path(f"/proc/{pid}").exists()


def test_a_worker_that_fails_costs_stacks_and_no_message(tmp_path: Path) -> None:
    """What was asked of it is lost and counted, its process is not unwound again, and nothing waits for it."""
    needs_libdw()
    head = STACK_HEAD.pack(7, 0, 0, 5, time.monotonic_ns(), os.getpid(), 8, *(0x33,) * 21)
    piece = struct.pack("=II", len(head) + 8, 0) + head + bytes(8)
    unwinder = Unwinder(16)
    with contextlib.closing(unwinder):
        unwinder.take(piece)
        key = STACK_HEAD.unpack(head)[3:5]
        unwinder.ask(*key)
        assert unwinder.is_pending(*key)
        (pid,) = unwinder.workers()
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while unwinder.is_pending(*key):
            assert time.monotonic() < deadline, "it is waited for"
            unwinder.turn()
        assert unwinder.pop(*key) is None
        assert dict(unwinder.lost) == {"its worker ended": 1}
        unwinder.take(piece)
        unwinder.ask(*key)
        assert not unwinder.is_pending(*key)
        assert unwinder.lost["its files made the worker fail"] == 1


def test_nothing_waits_for_a_worker_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A send whose stack does not come goes on without it; the worker is ended, and its end is not waited for long."""
    needs_libdw()
    now = time.monotonic_ns()
    head = STACK_HEAD.pack(7, 0, 0, 5, now, os.getpid(), 8, *(0x33,) * 21)
    send = Send(1, 2, now, os.getpid(), 5, b"a", bytes(12), 12, 0, 0, None, 0, stacked=True)
    unwinder = Unwinder(16)
    waiting = WaitingSends(unwinder, lambda _: False)
    with contextlib.closing(waiting):
        unwinder.start(os.getuid())
        (pid,) = unwinder.workers()
        os.kill(pid, signal.SIGSTOP)
        assert os.getpgid(pid) != os.getpgid(0), "an interrupt at a terminal reaches it"
        waiting.stacks(struct.pack("=II", len(head) + 8, 0) + head + bytes(8))
        assert waiting.through([send]) == [], "it does not wait for its stack"
        monkeypatch.setattr("vusniff.sources.probe.waiting.WAIT_NS", 0)
        assert waiting.through([]) == [send]
        assert send.stack is not None
        assert send.stack.cut == "it was lost"
        assert "1 lost: 1 because it took too long" in waiting.summary(0, 0, 0)[0]
        monkeypatch.setattr("vusniff.sources.stacks.unwinder.PATIENCE_NS", 0)
        waiting.through([])
        assert unwinder.workers() == []
    assert not Path(f"/proc/{pid}").exists()
