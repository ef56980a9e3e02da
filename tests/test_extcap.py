"""What Wireshark's live capture calls: answers at once, and a capture that it decodes while the peers talk."""

from __future__ import annotations

import os
import select
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from probing import MODE, connected, message, needs_probe
from tshark import dissector, needs_tshark

from vusniff.capture.reader import CaptureReader
from vusniff.record import Frame
from vusniff.wireshark import extcap, folders

PROGRAM = (sys.executable, "-m", "vusniff.wireshark.extcap")


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
    assert loaded == ["vusniff", "vusniff.wireshark", "vusniff.wireshark.extcap"]


def test_settings_become_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    words = extcap.command(extcap.HERE, {"--path": "/run/a b*", "--all": "true", "--attach": "", "--pid": "7"})
    assert words[:3] == ["sudo", "-n", "--"]
    assert words[-4:] == ["-", "--path=/run/a b*", "--pid=7", "--all"]
    words = extcap.command(extcap.SSH, {"--host": "me@there", "--path": "/run/a b*"})
    assert words[-2] == "me@there"
    assert shlex.split(words[-1]) == ["sudo", "-n", "vusniff", "capture", "-w", "-", "--path=/run/a b*"]


def test_what_another_host_writes_goes_to_wireshark(tmp_path: Path) -> None:
    """ssh runs its last argument in a shell; here that shell is ours, and vusniff there prints a capture."""
    capture = Path(__file__).parent.parent / "captures" / "qemu-blk.pcapng"
    ssh, there, fifo = tmp_path / "ssh", tmp_path / "there", tmp_path / "fifo"
    ssh.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    there.write_text(f'#!/bin/sh\nprintf "%s|" "$@" > {tmp_path}/said\nexec cat {capture}\n')
    for program in (ssh, there):
        program.chmod(0o700)
    os.mkfifo(fifo)
    child = subprocess.Popen(
        [
            *(*PROGRAM, "--extcap-interface", "vusniff-ssh", "--capture", f"--fifo={fifo}"),
            *("--host=there", f"--command={there}", "--path", "/run/a b*"),
        ],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    received = fifo.read_bytes()
    assert child.wait(60) == 0
    assert received == capture.read_bytes()
    assert (tmp_path / "said").read_text() == "capture|-w|-|--path=/run/a b*|"


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
    near, far = connected(path)
    with near, far:
        while not select.select([child.stdout], [], [], 0.1)[0]:
            # Until somebody listens: what is said before is not captured.
            near.sendall(message(1))
            far.recv(12)
        for _ in range(4):
            near.sendall(message(1))
            far.recv(12)
        said, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    assert said.count("GET_FEATURES") == 4
    with CaptureReader(written) as reader:
        frames = [record for record in reader.records() if isinstance(record, Frame)]
    assert [frame.data for frame in frames] == [message(1)] * 4


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
