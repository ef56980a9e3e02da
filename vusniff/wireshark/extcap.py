"""Live capture for Wireshark: the program it calls to learn of our interfaces, and to capture from them.

Wireshark calls every such program several times when it starts, so nothing is imported here that is not needed to
answer. To capture, it runs ``vusniff capture`` (by sudo, where it is not root) or ssh to a host that has it, and copies
what that writes into the FIFO, with what the rules find on the way. Protocol: Wireshark's ``doc/extcap.adoc``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from vusniff import terminal

if TYPE_CHECKING:
    import subprocess

HERE, SSH = "vusniff", "vusniff-ssh"
LINKTYPE = 252


class Option(NamedTuple):
    """One setting of an interface."""

    call: str
    display: str
    kind: str
    about: str
    default: str = ""
    values: tuple[tuple[str, str], ...] = ()
    required: bool = False


_SELECTING = (
    Option(
        "--path", "Socket path", "string", "only sockets bound to such a path, as a shell pattern; @NAME is abstract"
    ),
    Option("--pid", "Process", "string", "only sockets of this process or its children"),
    Option("--vm", "VM", "string", "only sockets of the QEMU with this -name"),
    Option(
        "--attach",
        "Attach by",
        "selector",
        "how the probe attaches to the kernel",
        values=(("", "the first that works"), ("fentry", "fentry"), ("kprobe", "kprobe"), ("rawtp", "raw tracepoints")),
    ),
    Option("--all", "Everything", "boolflag", "also unix sockets that do not look like vhost-user", "false"),
)
OPTIONS: dict[str, tuple[Option, ...]] = {
    HERE: _SELECTING,
    SSH: (
        Option("--host", "Host", "string", "USER@HOST, or a name of ssh_config", required=True),
        Option("--command", "Command there", "string", "vusniff on that host, as root", "sudo -n vusniff"),
        *_SELECTING,
    ),
}
_DISPLAY = {HERE: "vusniff: vhost-user on this host", SSH: "vusniff: vhost-user on another host, by ssh"}


def interfaces() -> str:
    """What can be captured from."""
    from vusniff.distributions import version

    lines = [f"extcap {{version={version()}}}{{display=vusniff}}"]
    lines += [f"interface {{value={name}}}{{display={words}}}" for name, words in _DISPLAY.items()]
    return "\n".join(lines)


def configuration(interface: str) -> str:
    """The settings of an interface."""
    lines = []
    for number, option in enumerate(OPTIONS[interface]):
        line = f"arg {{number={number}}}{{call={option.call}}}{{display={option.display}}}{{type={option.kind}}}"
        line += f"{{tooltip={option.about}}}"
        if option.default:
            line += f"{{default={option.default}}}"
        if option.required:
            line += "{required=true}"
        lines.append(line)
        for position, (value, words) in enumerate(option.values):
            default = "{default=true}" if position == 0 else ""
            lines.append(f"value {{arg={number}}}{{value={value}}}{{display={words}}}{default}")
    return "\n".join(lines)


def command(interface: str, settings: dict[str, str]) -> list[str]:
    """The program that writes the capture to standard output."""
    chosen = ["capture", "-w", "-"]
    for option in _SELECTING:
        value = settings.get(option.call, "")
        if option.kind == "boolflag":
            chosen += [option.call] if value == "true" else []
        elif value:
            chosen.append(f"{option.call}={value}")
    if interface == HERE:
        from vusniff import child

        own = child.command(*chosen)
        return own if os.geteuid() == 0 else ["sudo", "-n", "--", *own]
    import shlex

    host = settings.get("--host", "")
    if not host:
        raise ValueError("no host is given: set it in the interface's options")
    there = settings.get("--command") or "sudo -n vusniff"
    return ["ssh", "-T", "-o", "BatchMode=yes", "--", host, f"{there} {shlex.join(chosen)}"]


def parse(words: Sequence[str]) -> dict[str, str]:
    """Options by name; one without a value is ``true``. Wireshark writes both ``--a=b`` and ``--a b``."""
    found: dict[str, str] = {}
    at = 0
    while at < len(words):
        name, equals, value = words[at].partition("=")
        at += 1
        if not equals and at < len(words) and not words[at].startswith("--"):
            value, equals = words[at], "="
            at += 1
        found[name] = value if equals else "true"
    return found


def main(arguments: Sequence[str]) -> int:
    """Answer Wireshark; 0, or 2 for what it should not have asked."""
    settings = parse(arguments)
    interface = settings.get("--extcap-interface", HERE)
    if "--extcap-interfaces" in settings:
        terminal.put(f"{interfaces()}\n")
        return 0
    if interface not in OPTIONS:
        terminal.say(f"there is no interface {interface}")
        return 2
    if "--extcap-dlts" in settings:
        terminal.put_line(f"dlt {{number={LINKTYPE}}}{{name=WIRESHARK_UPPER_PDU}}{{display=vhost-user messages}}")
    elif "--extcap-config" in settings:
        terminal.put(f"{configuration(interface)}\n")
    elif "--capture" in settings and settings.get("--fifo"):
        return _capture(interface, settings)
    else:
        terminal.say("this program is for Wireshark; people use vusniff capture")
        return 2
    return 0


def _capture(interface: str, settings: dict[str, str]) -> int:
    """Run the program until it ends or Wireshark ends us. Wireshark takes what is on standard error for a failure."""
    import subprocess
    import tempfile

    from vusniff.capture.pcapng import MAGIC
    from vusniff.errors import VusniffError
    from vusniff.files import open_output

    try:
        words = command(interface, settings)
        output = open_output(settings["--fifo"], MAGIC)
        with open(output.fd, "wb", buffering=0) as fifo, tempfile.TemporaryFile() as log:
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
            ended, failure = _copy(child, fifo)
            status = child.wait()
            if not ended and (failure or status not in (0, 1)):
                log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
                said = log.read().decode("utf-8", "replace")
                failure = said or f"vusniff: {words[0]} ended with {status}{failure and f': {failure}'}\n"
    except (OSError, ValueError, VusniffError) as error:
        terminal.say(f"cannot capture: {error}")
        return 2
    terminal.tell_lines(failure)
    return 2 if failure else 0


def _copy(child: subprocess.Popen[bytes], fifo: BinaryIO) -> tuple[bool, str]:
    """Copy what the child writes until it ends, we are told to, or nobody reads the FIFO any more.

    Returns whether it was ended by us, and what else went wrong. What the child writes when it is asked to end is still
    copied, but not that of sudo, which is another user's: that ends when nobody reads what it writes.
    """
    import contextlib
    import select
    import signal

    from vusniff.errors import VusniffError
    from vusniff.views.export.annotated import annotate_live

    assert child.stdout is not None
    pipe = f"/proc/self/fd/{child.stdout.fileno()}"
    readers = select.poll()
    readers.register(fifo, 0)
    told: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: told.append(number))
    asked = False

    def stop() -> bool:
        nonlocal asked
        gone = bool(readers.poll(0))
        if asked or not (told or gone):
            return gone
        asked = True
        with contextlib.suppress(PermissionError):
            child.terminate()
            return gone
        return True

    try:
        with child.stdout:
            annotate_live(pipe, fifo, stop=stop)
    except VusniffError as error:
        if not stop():
            with contextlib.suppress(PermissionError):
                child.terminate()
            return asked, str(error).replace(pipe, "what it wrote")
    return asked, ""
