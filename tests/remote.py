"""Another host: a real sshd on a free port of this machine, with keys and settings of its own, and the real client."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
HOST = "there"

needs_sshd = pytest.mark.skipif(
    (SSHD is None or shutil.which("ssh") is None) and os.environ.get("CI") != "true",
    reason="openssh-server or openssh-client is not installed",
)


@contextlib.contextmanager
def another_host(folder: Path) -> Iterator[Path]:
    """A running sshd that takes this user's key; gives a folder with an ``ssh`` that knows it as `HOST`.

    That is the installed one with a file of settings: whoever runs it by name need not know them.
    """
    assert SSHD is not None
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # as its service does; sshd of root insists on it
    settings = folder / "sshd_config"
    settings.write_text(
        f"HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/user_key.pub\nPidFile none\nStrictModes no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPermitRootLogin prohibit-password\n"
    )
    with _daemon(settings) as port:
        config = folder / "ssh_config"
        config.write_text(
            f"Host {HOST}\nHostName 127.0.0.1\nPort {port}\nUser {pwd.getpwuid(os.geteuid()).pw_name}\n"
            f"IdentityFile {folder}/user_key\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known_hosts\n"
            "StrictHostKeyChecking accept-new\nLogLevel ERROR\n"
        )
        programs = folder / "bin"
        programs.mkdir()
        program = programs / "ssh"
        program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
        program.chmod(0o700)
        yield programs


@contextlib.contextmanager
def _daemon(settings: Path) -> Iterator[int]:
    """An sshd that listens; its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(SSHD), "-D", "-e", "-f", str(settings), "-o", f"ListenAddress=127.0.0.1:{port}"]
    daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert daemon.stderr is not None
    said = ""
    try:
        while "Server listening" not in said:
            line = daemon.stderr.readline()
            said += line
            assert line, f"sshd does not start: {said}"
        yield port
    finally:
        daemon.terminate()
        daemon.communicate(timeout=60)
