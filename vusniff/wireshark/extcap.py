"""Live capture for Wireshark: the program it calls to learn of our interfaces, and to capture from them.

Wireshark calls every such program several times when it starts, so nothing is imported here that is not needed to
answer. To capture, it runs ``vusniff capture`` (by sudo, where it is not root) or ssh to a host that has it, with the
FIFO as standard output. Protocol: Wireshark's ``doc/extcap.adoc``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

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
    from importlib import metadata

    try:
        version = metadata.version("vusniff")
    except metadata.PackageNotFoundError:
        version = "unknown"
    lines = [f"extcap {{version={version}}}{{display=vusniff}}"]
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
        own = [sys.executable, "-m", "vusniff", *chosen]
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
        print(interfaces())
        return 0
    if interface not in OPTIONS:
        print(f"vusniff: there is no interface {interface}", file=sys.stderr)
        return 2
    if "--extcap-dlts" in settings:
        print(f"dlt {{number={LINKTYPE}}}{{name=WIRESHARK_UPPER_PDU}}{{display=vhost-user messages}}")
    elif "--extcap-config" in settings:
        print(configuration(interface))
    elif "--capture" in settings and settings.get("--fifo"):
        return _capture(interface, settings)
    else:
        print("vusniff: this program is for Wireshark; people use vusniff capture", file=sys.stderr)
        return 2
    return 0


def _capture(interface: str, settings: dict[str, str]) -> int:
    """Run the program until it ends or Wireshark ends us. Wireshark takes what is on standard error for a failure."""
    import signal
    import subprocess

    try:
        words = command(interface, settings)
        fifo = os.open(settings["--fifo"], os.O_WRONLY)
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=fifo, stderr=subprocess.PIPE)
    except (OSError, ValueError) as error:
        print(f"vusniff: cannot capture: {error}", file=sys.stderr)
        return 2
    # The child is to be the only writer: it sees that nobody reads any more.
    os.close(fifo)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: child.terminate())
    said = child.communicate()[1]
    if child.returncode in (0, 1, -signal.SIGTERM, -signal.SIGPIPE):
        return 0
    sys.stderr.write(said.decode("utf-8", "replace")[-4096:])
    return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
