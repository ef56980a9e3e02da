"""vusniff starts itself, however it is installed, and nothing of the working directory is run."""

from __future__ import annotations

import os
import shlex
import shutil
import site
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest
from probing import MODE, connected, message, needs_probe

from vusniff.child import command
from vusniff.wireshark import folders

SCRIPT = Path(sysconfig.get_path("scripts")) / "vusniff"
SEEN_BY_PYTHON = ("json", "argparse", "typing", "__future__", "socket", "subprocess", "tempfile", "select", "construct")
"""What neither ``python -m`` itself imports before our first line, nor the interpreter at its start."""
PATIENCE = 120


@pytest.fixture
def traps(tmp_path: Path) -> Path:
    """A directory with a module of every name that might be imported; each writes a file when it is."""
    folder = tmp_path / "traps"
    folder.mkdir()
    text = f"open({str(tmp_path / 'marker')!r}, 'a').write(__name__ + '\\n')\n"
    ours = ("vusniff", "vusniff_dissectors", "bcc", "construct", "lark", "rich", "textual", "msgspec", "trapped")
    for name in (*ours, *sys.stdlib_module_names, "sitecustomize", "usercustomize"):
        (folder / f"{name}.py").write_text(text)
    for name in ours:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(text)
    info = folder / "trapped-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: trapped\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[vusniff.dissectors]\ntrapped = trapped:DISSECTORS\n")
    return folder


def trapped(traps: Path) -> str:
    """The modules that were imported from there."""
    marker = traps.parent / "marker"
    return marker.read_text() if marker.exists() else ""


def run(words: Sequence[str | Path], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_the_traps_work(traps: Path) -> None:
    (traps / "main.py").write_text("import json\n")  # Python 3.13 imports something itself for -c
    assert run([sys.executable, "main.py"], traps).returncode == 0
    assert "json" in trapped(traps)


def test_the_demo_starts_three_programs(traps: Path) -> None:
    done = run([SCRIPT, "demo", "--text"], traps)
    assert trapped(traps) == ""
    assert done.returncode == 0, done.stderr
    assert "GET_FEATURES" in done.stdout


def test_started_as_a_module(traps: Path) -> None:
    """Python itself has imported something by then: no trap is laid there."""
    for path in traps.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.stem not in SEEN_BY_PYTHON:
            path.unlink()
    done = run([sys.executable, "-m", "vusniff", "demo", "--text"], traps)
    assert trapped(traps) == ""
    assert done.returncode == 0, done.stderr


def test_a_proxy_with_a_view(traps: Path) -> None:
    front, back = traps / "front", traps / "back"
    peers = [subprocess.Popen(command("demo", "--backend", str(back), "--count", "1"), cwd=traps)]
    both = shlex.join(command("demo", "--frontend", str(front), "--count", "1"))
    words: list[str | Path] = ["proxy", "--listen", front, "--connect", back, "-w", "c.pcapng", "--", "sh", "-c", both]
    done = run([SCRIPT, *words], traps)
    assert peers[0].wait(PATIENCE) == 0
    assert trapped(traps) == ""
    assert done.returncode == 0, done.stderr
    assert "GET_FEATURES" in done.stdout


def talking(process: subprocess.Popen[bytes], path: Path) -> bytes:
    """What a program shows of two peers that talk until it has shown something; then it is ended."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    near, far = connected(str(path))
    said = b""
    with near, far:
        while b"GET_QUEUE_NUM" not in said:
            assert process.poll() is None
            near.sendall(message(17))
            far.recv(12)
            said += process.stdout.read() or b""
    process.terminate()
    process.communicate(timeout=PATIENCE)
    return said


@needs_probe
def test_a_probe_with_a_view(traps: Path) -> None:
    path = traps / "s"
    attach = ["--attach", MODE] if MODE else []
    words = [str(SCRIPT), "capture", "--path", str(path), "-w", "c.pcapng", *attach]
    with subprocess.Popen(words, cwd=traps, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        talking(process, path)
    assert trapped(traps) == ""
    assert process.returncode == 0


@needs_probe
def test_the_program_of_wireshark(traps: Path) -> None:
    """The file that is written for Wireshark, and the probe that it starts."""
    path, fifo, program = traps / "s", traps / "fifo", traps / "program"
    program.write_text(folders.wrapper())
    program.chmod(0o755)
    assert "interface {value=vusniff}" in run([program, "--extcap-interfaces"], traps).stdout
    os.mkfifo(fifo)
    words = [str(program), "--extcap-interface=vusniff", "--capture", "--fifo=fifo", f"--path={path}"]
    words.append(f"--attach={MODE or ''}")
    with subprocess.Popen(words, cwd=traps, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        with open(fifo, "rb", buffering=0) as stream:
            near, far = connected(str(path))
            received = b""
            with near, far:
                while b"GET_QUEUE_NUM" not in received:
                    near.sendall(message(17))
                    far.recv(12)
                    os.set_blocking(stream.fileno(), False)
                    received += stream.read() or b""
            process.terminate()
            os.set_blocking(stream.fileno(), True)
            while stream.read(1 << 16):
                pass
        said = process.communicate(timeout=PATIENCE)[1]
    assert trapped(traps) == ""
    assert process.returncode == 0, said


def test_sudo_is_given_an_isolated_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    from vusniff.wireshark import extcap

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    words = extcap.command(extcap.HERE, {})
    own = command("capture", "-w", "-")
    assert words == ["sudo", "-n", "--", *own]
    assert own[:2] == [sys.executable, "-I"]


def outside() -> list[str]:
    """Where our modules are, for an interpreter that does not know of them."""
    return [
        path for path in sys.path if os.path.isdir(path) and not path.startswith(os.path.dirname(os.__file__) + "/")
    ]


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="needs a virtual environment to be left")
@pytest.mark.parametrize("way", ["a user's installation", "PYTHONPATH"])
def test_other_installations_are_found_again(traps: Path, way: str) -> None:
    """The interpreter of the distribution, isolated, knows nothing of us."""
    python = os.path.realpath(sys.executable)
    assert run([python, "-I", "-c", "import vusniff"], traps).returncode != 0
    environment = {"PYTHONNOUSERSITE": ""}
    if way == "PYTHONPATH":
        environment["PYTHONPATH"] = os.pathsep.join(outside())
    else:
        environment["PYTHONUSERBASE"] = str(traps.parent / "user")
        found = run([python, "-I", "-c", "import sys; print(*sys.version_info[:2], sep='.')"], traps).stdout.strip()
        packages = traps.parent / "user" / "lib" / f"python{found}" / "site-packages"
        packages.mkdir(parents=True)
        (packages / "vusniff.pth").write_text("\n".join(outside()))
    script = traps.parent / "vusniff"
    script.write_text(SCRIPT.read_text())
    done = run([python, script, "demo", "--text"], traps, **environment)
    assert trapped(traps) == ""
    assert done.returncode == 0, done.stderr


def test_a_directory_that_is_not_named_in_full_is_not_passed_on(traps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(traps)
    monkeypatch.setattr(sys, "path", ["", ".", str(traps), str(traps / "absent"), *site.getsitepackages()])
    assert [word for word in command("read") if word.startswith("--import-from")] == []
