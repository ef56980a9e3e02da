"""``vusniff doctor``: what the probe finds on this machine, by trying it, and what to do about the rest."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator

from vusniff import terminal
from vusniff.commands.forms import add_json
from vusniff.values import dataclass

_TRY_SECONDS = 120.0
_MODES = {
    "fentry": (
        "fentry and fexit (all sends, the least cost)",
        (
            "CONFIG_BPF_JIT",
            "CONFIG_FUNCTION_TRACER",
            "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS",
            "CONFIG_DEBUG_INFO_BTF",
        ),
    ),
    "kprobe": ("kprobe and kretprobe (all sends)", ("CONFIG_KPROBES", "CONFIG_KPROBE_EVENTS")),
    "rawtp": (
        "raw tracepoints (system calls, not io_uring, sendfile or splice)",
        ("CONFIG_BPF_EVENTS", "CONFIG_HAVE_SYSCALL_TRACEPOINTS"),
    ),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff doctor``."""
    add_json(parser, "print JSON lines, one object a check")


def run(args: argparse.Namespace) -> int:
    """Say what works; 0 when running peers can be captured, else 1."""
    works = False
    for check in _checks():
        works = works or (check.name in _MODES and check.ok)
        if args.json:
            said = {"check": check.name, "ok": check.ok, "found": check.found, "advice": check.advice or None}
            terminal.put_json(json.dumps(said) + "\n")
        else:
            advice = f"{'':17} -> {check.advice}\n" if check.advice else ""
            terminal.put_folded(f"{'ok' if check.ok else 'NO':3} {check.name:13} {check.found}\n{advice}")
        terminal.flush()
    if not args.json:
        terminal.put_line()
        if works:
            terminal.put_line("vusniff capture works here.")
        else:
            terminal.put_line("vusniff capture does not work here; vusniff proxy needs none of this.")
    return 0 if works else 1


def _checks() -> Iterator[Check]:
    yield Check("kernel", True, f"Linux {platform.release()} on {platform.machine()}")
    yield _bcc()
    yield _btf()
    yield _capabilities()
    yield _lockdown()
    for mode, (words, options) in _MODES.items():
        yield _mode(mode, words, options)
    yield _devices()
    yield _processes()


def _devices() -> Check:
    """Whether calls on vhost devices of the kernel can be seen."""
    from vusniff.sources.host.kernel_nodes import nodes

    paths = sorted(nodes().values())
    if not paths:
        return Check("devices", True, "no vhost device in /dev (modprobe vhost_net): there are no calls to see")
    names = ", ".join(paths[:4]) + (f" and {len(paths) - 4} more" if len(paths) > 4 else "")
    why = _in_child(_attempt_calls)
    if why:
        return Check(
            "devices", False, f"{names}: calls cannot be seen: {why}", "vusniff import strace reads their names"
        )
    return Check("devices", True, f"{names}: calls on them can be seen")


def _attempt_calls() -> str:
    """Attach the program that sees calls; why it cannot be, empty where it can."""
    from vusniff.bpf.find import find_bcc
    from vusniff.bpf.load import attach_calls
    from vusniff.errors import SourceError

    try:
        attach_calls(find_bcc()).close()
    except SourceError as error:
        return str(error)
    return ""


def _bcc() -> Check:
    from vusniff.bpf.find import find_bcc
    from vusniff.errors import SourceError

    try:
        bcc = find_bcc()
    except SourceError as error:
        found, _, advice = str(error).partition(": ")
        return Check("bcc", False, found, advice)
    return Check("bcc", True, f"{bcc.version} in {bcc.directory}")


def _btf() -> Check:
    from vusniff.bpf.btf import KERNEL_BTF, Btf
    from vusniff.bpf.offsets import definitions
    from vusniff.errors import SourceError

    try:
        known = definitions(Btf.read(KERNEL_BTF))
    except SourceError as error:
        found, _, advice = str(error).partition("; ")
        return Check("BTF", False, found, advice)
    missing = "" if "O_EVENTFD_ID" in known else "; eventfds have no identity in this kernel"
    return Check("BTF", True, f"{KERNEL_BTF}, {len(known)} facts{missing}")


def _capabilities() -> Check:
    from vusniff.bpf.kernel import missing_capabilities

    if missing := missing_capabilities():
        program = os.path.realpath(sys.executable)
        return Check(
            "capabilities",
            False,
            f"{' and '.join(missing)} missing",
            f"use sudo, or setpriv --ambient-caps +bpf,+perfmon; or, on a copy of {program} that only you may run, "
            "setcap cap_bpf,cap_perfmon+ep",
        )
    return Check("capabilities", True, "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN)")


def _lockdown() -> Check:
    try:
        with open("/sys/kernel/security/lockdown", encoding="ascii") as file:
            text = file.read().strip()
    except OSError:
        return Check("lockdown", True, "none")
    active = text[text.find("[") + 1 : text.find("]")] if "[" in text else text
    if active == "confidentiality":
        advice = "BPF may not read kernel memory in this state; boot with lockdown=integrity, or use vusniff proxy"
        return Check("lockdown", False, active, advice)
    return Check("lockdown", True, active)


def _mode(mode: str, words: str, options: tuple[str, ...]) -> Check:
    """Tries it in another process, which whatever goes wrong cannot harm this one."""
    said = _in_child(lambda: _attempt(mode))
    if not said:
        return Check(mode, True, words)
    lacking = [option for option in options if _configured(option) is False]
    if lacking:
        advice = f"this kernel is built without {', '.join(lacking)}; another kernel is needed for this way"
    elif "lacks" in said or "bcc" in said:
        advice = "see above"
    else:
        advice = "another way may do; see the others"
    return Check(mode, False, said, advice)


def _in_child(attempt: Callable[[], str]) -> str:
    """What a function says in a process of its own, whose end it does not survive."""
    readable, writable = os.pipe()
    terminal.flush()
    child = os.fork()
    if child == 0:
        try:
            os.close(readable)
            os.write(writable, b"=" + attempt().encode(errors="replace"))
        finally:
            os._exit(0)
    os.close(writable)
    with open(readable, "rb", buffering=0) as pipe:
        answered, _, _ = select.select([pipe], [], [], _TRY_SECONDS)
        said = pipe.read(4096) if answered else b""
    if not answered:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if not answered:
        return f"no answer within {_TRY_SECONDS:.0f} s"
    return said[1:].decode(errors="replace") if said else "the attempt ended without an answer"


def _attempt(mode: str) -> str:
    """Attaches and watches a message of its own go by; says in one sentence what went wrong, or nothing."""
    from vusniff.bpf.load import Attach, attach_program
    from vusniff.bpf.records import SENT, split
    from vusniff.errors import SourceError

    try:
        program = attach_program((Attach(mode),))
    except SourceError as error:
        return str(error).rpartition(f"; {mode}: ")[2]
    near, far = socket.socketpair()
    with near, far:
        child = os.fork()
        if child == 0:
            near.send(struct.pack("=III", 1, 1, 0))
            os._exit(0)
        os.waitpid(child, 0)
        piece = program.ring.take(1 << 20)
    program.close()
    if not any(kind == SENT for kind, _, _ in split(piece)):
        return "it attaches, but does not see what is sent"
    return ""


def _processes() -> Check:
    """Whether the descriptors of others can be seen: names of processes, what was passed before the probe came."""
    from vusniff.sources.host.unixdiag import sees_descriptors

    if not sees_descriptors():
        advice = (
            "run as root or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH to see who has a socket open, when sockets in "
            "containers are closed, and what was passed before"
        )
        return Check("processes", False, "other users' processes cannot be looked into", advice)
    return Check("processes", True, "descriptors of all processes can be seen")


def _configured(option: str) -> bool | None:
    """Whether the running kernel has a configuration option; None where its configuration is not to be had."""
    for path in ("/proc/config.gz", f"/boot/config-{platform.release()}"):
        try:
            with open(path, "rb") as file:
                data = file.read(4 << 20)
            text = gzip.decompress(data) if path.endswith(".gz") else data
        except (OSError, EOFError):
            continue
        return any(line.startswith(f"{option}=".encode()) for line in text.splitlines())
    return None
