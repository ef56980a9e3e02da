"""What Wireshark's live capture calls: answers at once, and a capture that it decodes while the peers talk."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from fetch_tshark import WANTED, version
from probing import MODE, connected, message, needs_probe
from remote import HOST, another_host, needs_sshd
from tshark import INSTALLED, NEWER, dissector, fields, needs_tshark, unprivileged

from captures import golden, synthetic
from vusniff import child as own
from vusniff.capture.pcapng import MAGIC
from vusniff.capture.reader import CaptureReader
from vusniff.families.vhost_user.protocol import FrontendRequest
from vusniff.record import Frame
from vusniff.wireshark import extcap, folders

needs_sudo = pytest.mark.skipif(
    shutil.which("sudo") is None or subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode != 0,
    reason="sudo is not installed, or asks for a password",
)
PROGRAM = own.command("extcap")


def ask(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *words], capture_output=True, text=True, timeout=60)


def test_interfaces_are_told() -> None:
    done = ask("--extcap-interfaces", "--extcap-version=4.0")
    assert done.returncode == 0
    first, *rest = done.stdout.splitlines()
    assert first.startswith("extcap {version=")
    assert [line.partition("}")[0] for line in rest] == ["interface {value=vusniff", "interface {value=vusniff-ssh"]


@pytest.mark.parametrize("interface", extcap.OPTIONS)
def test_link_type_and_settings_are_told(interface: str) -> None:
    assert "dlt {number=252}" in ask("--extcap-interface", interface, "--extcap-dlts").stdout
    settings = ask(f"--extcap-interface={interface}", "--extcap-config").stdout
    for number, option in enumerate(extcap.OPTIONS[interface]):
        assert f"arg {{number={number}}}{{call={option.call}}}" in settings


def test_unknown_questions_are_refused() -> None:
    assert ask("--extcap-interface", "other", "--extcap-dlts").returncode == 2
    assert "for Wireshark" in ask().stderr
    done = ask("--extcap-interface", "vusniff-ssh", "--capture", "--fifo", "/nonexistent")
    assert done.returncode == 2
    assert "no host is given" in done.stderr


def test_nothing_heavy_is_loaded_to_answer() -> None:
    code = "import sys, vusniff.wireshark.extcap; print(*sorted(m for m in sys.modules if m.startswith('vusniff')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    door = ["vusniff.errors", "vusniff.printable", "vusniff.terminal"]
    assert loaded == ["vusniff", *door, "vusniff.wireshark", "vusniff.wireshark.extcap"]


def test_settings_become_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    words = extcap.command(extcap.HERE, {"--path": "/run/a b*", "--all": "true", "--attach": "", "--pid": "7"})
    assert words[:3] == ["sudo", "-n", "--"]
    assert words[-4:] == ["-", "--path=/run/a b*", "--pid=7", "--all"]
    words = extcap.command(extcap.SSH, {"--host": "me@there", "--path": "/run/a b*"})
    assert words[-2] == "me@there"
    assert shlex.split(words[-1]) == ["sudo", "-n", "vusniff", "capture", "-w", "-", "--path=/run/a b*"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """In which ssh knows another host."""
    with another_host(tmp_path_factory.mktemp("ssh")) as programs:
        yield {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}


def capturing(fifo: Path, environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    """Our program as Wireshark runs it to capture from another host."""
    os.mkfifo(fifo)
    command = [*PROGRAM, "--extcap-interface", "vusniff-ssh", "--capture", f"--fifo={fifo}", f"--host={HOST}", *words]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


@needs_sshd
@pytest.mark.parametrize("sudo", [False, pytest.param(True, marks=needs_sudo)], ids=["plain", "sudo"])
def test_what_another_host_writes_goes_to_wireshark(environment: dict[str, str], tmp_path: Path, sudo: bool) -> None:
    """Over a real sshd; vusniff there prints a capture, and findings come with its messages."""
    original = tmp_path / "original.pcapng"
    synthetic.every(original)
    there, fifo = tmp_path / "there", tmp_path / "fifo"
    there.write_text(f'#!/bin/sh\nprintf "%s|" "$@" > {tmp_path}/said\nexec cat {original}\n')
    there.chmod(0o700)
    command = f"{'sudo -n ' if sudo else ''}{there}"
    child = capturing(fifo, environment, f"--command={command}", "--path", "/run/a b*")
    received = tmp_path / "received.pcapng"
    received.write_bytes(fifo.read_bytes())
    assert child.communicate(timeout=60)[1] == ""
    assert child.returncode == 0
    assert (tmp_path / "said").read_text() == "capture|-w|-|--path=/run/a b*|"
    with CaptureReader(original) as before, CaptureReader(received) as after:
        assert list(after.records()) == list(before.records())
    assert b"vusniff error " in received.read_bytes()
    assert b"vusniff error " not in original.read_bytes()


def watched(stream: IO[bytes], path: str) -> bytes:
    """Two peers talk until a message of theirs has come."""
    assert stream.read(4) == MAGIC
    received = b""
    near, far = connected(path)
    with near, far:
        while b"GET_QUEUE_NUM" not in received:
            # Until the probe is there: what is said before is not captured.
            near.sendall(message(FrontendRequest.GET_QUEUE_NUM))
            far.recv(12)
            if select.select([stream], [], [], 0.1)[0]:
                received += stream.read(1 << 16)
    return received


@needs_sshd
def test_what_goes_wrong_on_another_host_is_said(environment: dict[str, str], tmp_path: Path) -> None:
    for number, (command, sentence) in enumerate(
        (
            ("echo nobody knows >&2; exit 2;", "nobody knows"),
            ("echo hello; exit 0;", "what it wrote is not a capture: it does not start like a pcapng file"),
            ("kill -9 $$;", "ssh ended with 255"),
        )
    ):
        fifo = tmp_path / str(number)
        child = capturing(fifo, environment, f"--command={command}")
        assert fifo.read_bytes() == b""
        assert sentence in child.communicate(timeout=60)[1]
        assert child.returncode == 2


@needs_sshd
@needs_probe
@pytest.mark.parametrize("sudo", [False, pytest.param(True, marks=needs_sudo)], ids=["plain", "sudo"])
@pytest.mark.parametrize("way", ["told", "closed"])
def test_peers_of_another_host_are_watched(environment: dict[str, str], tmp_path: Path, sudo: bool, way: str) -> None:
    """The whole way: probe, sshd, ssh, our program; until Wireshark tells it to end, or reads no more."""
    path, fifo, pid = str(tmp_path / "s"), tmp_path / "fifo", tmp_path / "pid"
    vusniff = shlex.join([sys.executable, "-m", "vusniff"])
    command = f"echo $$ > {pid}; exec {'sudo -n ' if sudo else ''}{vusniff}"
    child = capturing(fifo, environment, f"--command={command}", f"--path={path}", f"--attach={MODE or ''}")
    with open(fifo, "rb", buffering=0) as stream:
        received = watched(stream, path)
        there = os.pidfd_open(int(pid.read_text()))
        if way == "told":
            child.terminate()
            received += stream.read(1 << 16)
    assert child.communicate(timeout=60)[1] == ""
    assert child.returncode == 0
    assert b"vusniff error request-not-negotiated (frontend): GET_QUEUE_NUM needs" in received
    # Nothing stays behind on the other host.
    assert select.select([there], [], [], 60)[0]
    os.close(there)


@needs_sudo
@needs_probe
def test_who_is_not_root_watches_this_host_by_sudo(tmp_path: Path) -> None:
    """With the real sudo, called by somebody who takes himself for another user."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = "import os, sys; os.geteuid = lambda: 1000; from vusniff.wireshark import extcap; "
    words = [
        "--extcap-interface=vusniff",
        "--capture",
        f"--fifo={fifo}",
        f"--path={tmp_path}/s",
        f"--attach={MODE or ''}",
    ]
    command = [sys.executable, "-c", f"{program} sys.exit(extcap.main(sys.argv[1:]))", *words]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with open(fifo, "rb", buffering=0) as stream:
        received = watched(stream, f"{tmp_path}/s")
        child.terminate()
        received += stream.read()
    assert child.communicate(timeout=60)[1] == ""
    assert child.returncode == 0
    assert b"vusniff error request-not-negotiated (frontend): GET_QUEUE_NUM needs" in received
    assert b'"closed"' in received


@needs_sshd
@needs_probe
@pytest.mark.parametrize("sudo", [False, pytest.param(True, marks=needs_sudo)], ids=["plain", "sudo"])
def test_another_host_is_watched_in_a_pipeline(environment: dict[str, str], tmp_path: Path, sudo: bool) -> None:
    """``ssh HOST sudo vusniff capture -w - | vusniff read -``, until it is interrupted."""
    path, pid = str(tmp_path / "s"), tmp_path / "pid"
    vusniff = shlex.join([sys.executable, "-m", "vusniff"])
    attach = f"--attach={MODE}" if MODE else ""
    remote = f"echo $$ > {pid}; exec {'sudo -n ' if sudo else ''}{vusniff} capture -w - --path {path} {attach}"
    child = subprocess.Popen(
        ["sh", "-c", f"ssh {HOST} {shlex.quote(remote)} | {vusniff} read -"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    near, far = connected(path)
    with near, far:
        while not select.select([child.stdout], [], [], 0.1)[0]:
            near.sendall(message(FrontendRequest.GET_FEATURES))
            far.recv(12)
        assert "GET_FEATURES" in child.stdout.readline()
    there = os.pidfd_open(int(pid.read_text()))
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does
    errors = child.communicate(timeout=60)[1]
    assert "Traceback" not in errors
    assert select.select([there], [], [], 60)[0]
    os.close(there)


@needs_probe
def test_a_capture_ends_when_nobody_reads_it_any_more(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    attach = ["--attach", MODE] if MODE else []
    child = subprocess.Popen(
        [sys.executable, "-m", "vusniff", "capture", "-w", "-", "--path", path, *attach],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    assert child.stdout.read(4) == b"\x0a\x0d\x0d\x0a"
    child.stdout.close()
    assert child.wait(60) in (0, 1)
    child.stderr.close()


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[None]:
    """Our program in the folder where this tshark looks: for root that is the common one."""
    where = folders.folders()
    if where.advice:
        pytest.skip(where.advice)
    if where.program.exists():
        pytest.skip(f"{where.program} is there already")
    where.extcap.mkdir(parents=True, exist_ok=True)
    where.program.write_text(folders.wrapper(), encoding="utf-8")
    where.program.chmod(0o755)
    yield
    where.program.unlink()


@needs_tshark
@needs_probe
@pytest.mark.usefixtures("installed")
@pytest.mark.xdist_group("extcap")
def test_tshark_shows_peers_that_talk(tmp_path: Path) -> None:
    assert "vusniff: vhost-user on this host" in subprocess.run(["tshark", "-D"], capture_output=True, text=True).stdout
    path = str(tmp_path / "live.sock")
    written = tmp_path / "written.pcapng"
    words = ["tshark", "-X", f"lua_script:{dissector(tmp_path)}", "-i", "vusniff", "-l", "-c", "4", "-w", str(written)]
    words += ["-o", f"extcap.vusniff.attach:{MODE or ''}", "-o", f"extcap.vusniff.path:{path}", "-P"]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    request = message(FrontendRequest.GET_QUEUE_NUM, b"more")
    near, far = connected(path)
    with near, far:
        while not select.select([child.stdout], [], [], 0.1)[0]:
            # Until somebody listens: what is said before is not captured.
            near.sendall(request)
            far.recv(16)
        for _ in range(4):
            near.sendall(request)
            far.recv(16)
        said, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    assert len(said.splitlines()) == 4
    if version("tshark") < WANTED or os.geteuid() != 0:  # else it reads no dissector of ours
        assert said.count("GET_QUEUE_NUM") == 4
    with CaptureReader(written) as reader:
        frames = [record for record in reader.records() if isinstance(record, Frame)]
    assert [frame.data for frame in frames] == [request] * 4
    rows = list(fields(written, ["finding.rule", "_ws.expert.severity"], dissector(tmp_path)))
    wrong = [["payload-size"]] * 4
    wrong[1] = ["request-while-waiting", "payload-size"]  # said once in a session
    assert [row["finding.rule"] for row in rows] == wrong
    assert all("_ws.expert.severity" in row for row in rows)


def test_files_are_installed_and_removed(tmp_path: Path) -> None:
    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "vusniff", "wireshark", *words, "--directory", str(tmp_path)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    lua, program = tmp_path / "plugins" / "vusniff.lua", tmp_path / "extcap" / "vusniff"
    shown = run("install", "--print")
    assert not lua.exists()
    run("install")
    assert lua.read_text(encoding="utf-8") in shown
    assert "GPL-2.0-or-later" in lua.read_text(encoding="utf-8")
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    told = subprocess.run([program, "--extcap-interfaces"], capture_output=True, text=True, check=True).stdout
    assert "interface {value=vusniff}" in told
    run("install")
    run("uninstall")
    assert not lua.exists()
    assert not program.exists()
    assert "there is no" in run("uninstall")


NEWEST = next((program for program in (INSTALLED, NEWER) if program and version(program) >= WANTED), None)


@pytest.mark.skipif(NEWEST is None, reason="there is no tshark 4.4: tests/fetch_tshark.py fetches one")
@pytest.mark.xdist_group("extcap")
def test_root_is_told_that_wireshark_reads_no_dissector_of_a_user(tmp_path: Path) -> None:
    """Wireshark 4.4 as root runs no Lua from a home; it does from the folder of all users."""
    assert NEWEST is not None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tshark").symlink_to(NEWEST)
    home = {**os.environ, "HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    home.pop("XDG_CONFIG_HOME", None)
    rootly = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user"]

    def run(prefix: list[str], *words: str) -> str:
        command = [*prefix, sys.executable, "-m", "vusniff", "wireshark", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=home)
        assert done.returncode == 0, done.stderr
        return done.stdout

    own = tmp_path / ".local/lib/wireshark/plugins/vusniff.lua"
    told = run(rootly, "install")
    assert f"wrote {own}\n" in told
    assert f"does not read {own}, because it is run as root" in told
    assert "install with --global" in told
    if unprivileged() or rootly:
        assert "does not read" not in run(unprivileged(), "install")
    capture = golden.captures()[0]
    show = [*rootly, "tshark", "-r", str(capture)]
    if NEWEST == INSTALLED:
        return  # nothing is put among the programs of this machine
    assert "back-end" not in subprocess.run(show, capture_output=True, text=True, env=home).stdout
    said = run(rootly, "install", "--global")
    try:
        assert "does not read" not in said
        assert "back-end" in subprocess.run(show, capture_output=True, text=True, env=home).stdout
    finally:
        assert run(rootly, "uninstall", "--global") == said.replace("wrote", "removed")


def test_global_folders_are_those_that_wireshark_names(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vusniff", "wireshark", "install", "--global", "--print"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": str(tmp_path)})
    assert done.returncode == 2
    assert "no tshark or Wireshark here names its global folders" in done.stderr


def test_somebody_elses_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    foreign = tmp_path / "plugins" / "vusniff.lua"
    foreign.write_text("-- mine\n")
    done = subprocess.run(
        [sys.executable, "-m", "vusniff", "wireshark", "install", "--directory", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "is not from vusniff" in done.stderr
    assert foreign.read_text() == "-- mine\n"
