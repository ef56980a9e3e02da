"""The view of what root records is never root: whoever calls, and whatever other users may read."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from probing import MODE, connected, message, needs_probe

pytestmark = needs_probe

PATIENCE = 60
PYTHON = "/usr/bin/python3"
"""Which everybody may read; this test's own may lie in root's home."""
USER, NOBODY = 1234, 65534


def readable(fd: int) -> bool:
    """Whether there is something to read within a moment; select(2) knows no descriptor above 1023."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(50))


@pytest.fixture
def installation(installation: Path) -> Iterator[Path]:
    """Each test may forbid parts of it."""
    yield installation
    for path in (installation, installation / "vusniff" / "views", installation / "vusniff" / "views" / "text.py"):
        os.chown(path, 0, 0)
        path.chmod(0o755)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where only root may look."""
    made = Path(tempfile.mkdtemp(prefix="vusniff-test-"))
    yield made
    shutil.rmtree(made)


def capture(installation: Path, folder: Path, *words: str, sudo: bool) -> list[str]:
    """The command line; the socket and the capture lie in the folder."""
    who = [f"SUDO_UID={USER}", f"SUDO_GID={USER}"] if sudo else ["-u", "SUDO_UID", "-u", "SUDO_GID"]
    command = ["env", *who, f"PYTHONPATH={installation}", "PYTHONDONTWRITEBYTECODE=1", PYTHON, "-m", "vusniff"]
    attach = [f"--attach={MODE}"] if MODE else []
    return [*command, "capture", "--path", str(folder / "s"), "-w", str(folder / "c.pcapng"), *attach, *words]


def status(pid: int) -> tuple[set[str], set[str]]:
    """The user and group ids of a process, and its capabilities."""
    text = Path(f"/proc/{pid}/status").read_text()
    ids = re.findall(r"^(?:Uid|Gid):\s*(.+)$", text, re.MULTILINE)
    return set(" ".join(ids).split()), set(re.findall(r"^Cap(?:Inh|Prm|Eff|Amb):\s*(\w+)$", text, re.MULTILINE))


def watch(words: list[str], folder: Path, wanted: bytes = b"GET_FEATURES") -> tuple[set[str], set[str]]:
    """Let two peers talk until a view shows it; who the view is then."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/") as process:
        assert process.stdout is not None
        near, far = connected(str(folder / "s"))
        said = b""
        with near, far:
            while wanted not in said:
                if process.poll() is not None:
                    raise AssertionError(process.communicate()[1].decode())
                near.send(message(1))
                far.recv(12)
                while readable(process.stdout.fileno()) and (more := os.read(process.stdout.fileno(), 9999)):
                    said += more
        who = status(process.pid)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors.decode()
    assert b"0 lost" in errors
    assert b"Traceback" not in errors
    return who


def only(number: int) -> tuple[set[str], set[str]]:
    return {str(number)}, {"0" * 16}


def test_the_user_who_called_sudo_sees_and_owns_the_capture(installation: Path, folder: Path) -> None:
    os.chown(folder, USER, USER)
    assert watch(capture(installation, folder, sudo=True), folder) == only(USER)
    found = (folder / "c.pcapng").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (USER, USER, 0o600)


def test_without_such_a_user_it_is_nobody(installation: Path, folder: Path) -> None:
    assert watch(capture(installation, folder, sudo=False), folder) == only(NOBODY)
    found = (folder / "c.pcapng").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, 0, 0o600)


@pytest.mark.parametrize("part", ["vusniff/views", "vusniff/views/text.py"])
def test_a_user_who_may_not_read_one_part_is_not_taken(installation: Path, folder: Path, part: str) -> None:
    os.chown(installation / part, 0, USER)
    (installation / part).chmod(0o705)
    assert watch(capture(installation, folder, sudo=True), folder) == only(NOBODY)


@pytest.mark.parametrize("words", [[], ["-v", "-x"], ["--json"], ["--filter", "vhost.request == GET_FEATURES"]])
def test_lines_need_nothing_more_that_nobody_may_read(installation: Path, folder: Path, words: list[str]) -> None:
    installation.chmod(0o700)
    assert watch(capture(installation, folder, *words, sudo=True), folder) == only(NOBODY)


@pytest.mark.parametrize("part", ["", "vusniff/views/text.py"])
def test_the_terminal_view_is_refused_where_only_root_may_read(installation: Path, folder: Path, part: str) -> None:
    (installation / part).chmod(0o700)
    done, _ = on_a_terminal(capture(installation, folder, "--tui", sudo=True), folder)
    assert done.returncode == 2
    assert b"is not shown as root" in done.stdout
    assert str(installation / part).encode().removesuffix(b"/") in done.stdout.replace(b"\r\n", b"")
    assert not (folder / "c.pcapng").exists()


@pytest.mark.parametrize(("sudo", "uid"), [(False, NOBODY), (True, USER)])
def test_the_terminal_view(installation: Path, folder: Path, sudo: bool, uid: int) -> None:
    done, who = on_a_terminal(capture(installation, folder, "--tui", sudo=sudo), folder)
    assert done.returncode == 0, done.stdout.decode()
    assert who == only(uid)
    assert b"c.pcapng" in done.stdout


def on_a_terminal(
    words: list[str], folder: Path
) -> tuple[subprocess.CompletedProcess[bytes], tuple[set[str], set[str]] | None]:
    """The same where there is a terminal; leaves the view once it shows what is said."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd="/")
    os.close(theirs)
    near, far = connected(str(folder / "s"))
    said, who = b"", None
    with near, far:
        while True:
            near.send(message(1))
            far.recv(12)
            if readable(ours):
                try:
                    said += os.read(ours, 1 << 16)
                except OSError:  # the other end is closed
                    break
            if who is None and b"GET_FEATURES" in said:
                who = status(process.pid)
                os.write(ours, b"q")
    process.wait(PATIENCE)
    os.close(ours)
    return subprocess.CompletedProcess(words, process.returncode, said), who


def test_who_is_not_root_shows_without_capabilities(installation: Path, folder: Path) -> None:
    """With the two capabilities that the probe needs."""
    os.chown(folder, NOBODY, NOBODY)
    caps = "-all,+bpf,+perfmon"
    nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", f"--inh-caps={caps}"]
    nobody += [f"--ambient-caps={caps}", f"--bounding-set={caps}"]
    assert watch([*nobody, *capture(installation, folder, sudo=False)], folder) == only(NOBODY)


def test_what_is_imported_later_is_of_the_same_packages() -> None:
    """Whether a user may read it has been asked: nothing but these packages and the standard library is needed."""
    program = """
import asyncio, sys
from vusniff.commands.viewer import choose
from vusniff.errors import SourceError
try:
    choose(True)
except SourceError:
    pass
def packages():
    return {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names
before = packages()
from vusniff.capture.index import Index
from vusniff.analysis.timeline import Timeline
from vusniff.views.tui.app import TuiApp
async def play(timeline):
    async with TuiApp(timeline, "capture").run_test(size=(120, 40)) as pilot:
        for key in ("enter", "?", "escape", "/", *"vhost", "enter", "escape", "j", "S", "escape", "!", "escape", "x"):
            await pilot.press(key)
with Index([sys.argv[1]]) as index:
    timeline = Timeline(index)
    timeline.update(10000)
    asyncio.run(play(timeline))
print(sorted(packages() - before))
"""
    sample = Path(__file__).parent.parent / "captures" / "qemu-blk.pcapng"
    done = subprocess.run(
        [sys.executable, "-c", program, str(sample)], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
