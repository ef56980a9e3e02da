"""Every command that writes a file, in a directory where another user has been before: who decides where bytes go."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from probing import connected, message, recording, why_no_probe
from test_tui import opened, screen_text

from captures import synthetic
from vusniff import files
from vusniff.capture.pcapng import MAGIC
from vusniff.capture.reader import CaptureReader
from vusniff.cli import main
from vusniff.errors import ExistsError, OutputError
from vusniff.record import Frame

VUSNIFF = [sys.executable, "-m", "vusniff"]
NOBODY = 65534
SECRET = MAGIC + b"a capture of root's that nobody else may have"
BYTES = "".join(f"\\x{byte:02x}" for byte in message(1))
LOG = (
    f'1000.000001 sendmsg(5<UNIX-STREAM:[70->71]>, {{msg_name=NULL, msg_namelen=0, msg_iov=[{{iov_base="{BYTES}", '
    "iov_len=12}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, 0) = 12 <0.000010>\n"
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be in danger, and to make files of others")


@dataclass(frozen=True, slots=True)
class Command:
    """A command that writes a file; ``{}`` is its name, ``{in}`` a capture, ``{log}`` a log of strace."""

    name: str
    words: str
    output: str
    over: tuple[str, ...] = ("--force",)
    """What it takes to replace a file of its own kind."""
    missing: str | None = None
    """Why it cannot be tried here."""

    def run(self, target: Path, inputs: Path, *more: str, alone: bool = False) -> tuple[int, str, str]:
        """Exit status, standard output and error; in a process of its own if it starts others or is ``alone``."""
        places = {"{}": str(target), "{in}": str(inputs / "in.pcapng"), "{log}": str(inputs / "log")}
        words = [places.get(word, word.replace("{d}", str(inputs))) for word in self.words.split()]
        at = words.index("--") if "--" in words else len(words)
        words[at:at] = more
        if alone or words[0] in ("proxy", "demo", "capture"):
            done = subprocess.run([*VUSNIFF, *words], capture_output=True, timeout=60, cwd=inputs)
            return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode()
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as said:
            return main(words), out.getvalue(), said.getvalue()


COMMANDS = (
    Command("csv", "export {in} --format csv -o {}", "out.csv"),
    Command("html", "export {in} --format html -o {}", "out.html"),
    Command("svg", "export {in} --format svg -o {}", "out.svg"),
    Command("jsonl", "export {in} --format jsonl -o {}", "out.jsonl"),
    Command("annotated", "export {in} --format pcapng -o {}", "out.pcapng"),
    Command("redacted", "export {in} --redact --format pcapng -o {}", "red.pcapng"),
    Command("symbolize", "symbolize {in} -o {}", "named.pcapng"),
    Command("edit", "edit {in} -o {} --drop 1", "edited.pcapng"),
    Command("import", "import strace {log} -o {}", "imported.pcapng"),
    Command("picture", "view {in} --screenshot {}", "picture.svg"),
    Command("proxy", "proxy -q --listen {d}/front --connect {d}/back -w {} -- true", "proxied.pcapng", ()),
    Command("demo", "demo --text -w {}", "demo.pcapng", ()),
    Command("capture", "capture -q --comm none-of-this-name -w {} --until-fd 0", "probed.pcapng", (), why_no_probe()),
)


def names(commands: tuple[Command, ...]) -> list[object]:
    return [
        pytest.param(
            one,
            id=one.name,
            marks=pytest.mark.skipif(
                one.missing is not None and os.environ.get("CI") != "true", reason=one.missing or ""
            ),
        )
        for one in commands
    ]


every_command = pytest.mark.parametrize("command", names(COMMANDS))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    synthetic.every(folder / "in.pcapng")
    (folder / "log").write_text(LOG)
    return folder


@pytest.fixture(params=[0o1777, 0o777], ids=["sticky", "open"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory that everybody may write, such as /tmp."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(request.param)
    return folder


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "root-only.pcapng"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return path


def theirs(path: Path) -> Path:
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    return path


@pytest.fixture
def outside() -> Iterator[Path]:
    """A directory that others can reach: pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def home(outside: Path) -> Path:
    """A directory of another user."""
    path = outside / "home"
    path.mkdir()
    return theirs(path)


def is_ours(path: Path) -> bool:
    status = path.lstat()
    return (
        stat.S_ISREG(status.st_mode)
        and (status.st_uid, stat.S_IMODE(status.st_mode), status.st_nlink) == (os.geteuid(), 0o600, 1)
        and status.st_size > 0
    )


# -- where others may write -------------------------------------------------------------------------------------------


@needs_root
@every_command
def test_no_link_of_another_user_is_followed(command: Command, inputs: Path, shared: Path, victim: Path) -> None:
    target = shared / command.output
    target.symlink_to(victim)
    theirs(target)
    for more in ((), command.over):
        status, _, said = command.run(target, inputs, *more)
        assert status == 2, said
        assert "is a symbolic link in a directory that other users may write" in said
        assert victim.read_bytes() == SECRET
    # Nor one that leads to a directory, nor one that leads nowhere.
    (shared / "on").symlink_to(victim.parent)
    target.unlink()
    target.symlink_to(victim.parent / "made")
    theirs(target)
    for way in (shared / "on" / command.output, target):
        status, _, said = command.run(way, inputs, *command.over)
        assert status == 2
        assert "is a symbolic link in a directory that other users may write" in said
    assert not (victim.parent / command.output).exists()
    assert not (victim.parent / "made").exists()


@needs_root
@every_command
@pytest.mark.parametrize("content", [b"", MAGIC])
def test_no_file_of_another_user_is_filled(command: Command, inputs: Path, shared: Path, content: bytes) -> None:
    target = shared / command.output
    target.write_bytes(content)
    target.chmod(0o666)
    theirs(target)
    for more in ((), command.over):
        status, _, said = command.run(target, inputs, *more)
        assert status == 2, said
        assert "belongs to another user" in said
        assert target.read_bytes() == content


@needs_root
@every_command
def test_no_fifo_of_another_user_is_fed(command: Command, inputs: Path, shared: Path) -> None:
    target = shared / command.output
    os.mkfifo(target, 0o666)
    theirs(target)
    status, _, said = command.run(target, inputs)  # would wait for a reader
    assert status == 2
    # The demo writes to no FIFO at all.
    assert ("leaves its capture in a file" if command.name == "demo" else "belongs to another user") in said


@needs_root
@every_command
def test_another_name_of_a_file_of_ours_is_taken_off(
    command: Command, inputs: Path, shared: Path, victim: Path
) -> None:
    """Where fs.protected_hardlinks is off, anybody can give root's file a second name."""
    target = shared / command.output
    os.link(victim, target)
    status, _, said = command.run(target, inputs, *command.over)
    assert status in (0, 1), said
    assert victim.read_bytes() == SECRET
    assert is_ours(target)


# -- what users expect ------------------------------------------------------------------------------------------------


@every_command
def test_a_new_file_is_for_its_owner_only(command: Command, inputs: Path) -> None:
    target = inputs / command.output
    before = os.umask(0)
    try:
        status, _, said = command.run(target, inputs)
    finally:
        os.umask(before)
    assert status in (0, 1), said
    assert is_ours(target)


@every_command
def test_what_is_there_is_replaced_only_as_expected(command: Command, inputs: Path) -> None:
    target = inputs / command.output
    target.write_bytes(b"precious")
    status, _, said = command.run(target, inputs)
    assert status == 2
    assert "replace it with --force" in said if command.over else "exists and is not a capture" in said
    assert said.count("\n") == 1
    assert target.read_bytes() == b"precious"
    target.write_bytes(SECRET)
    target.chmod(0o666)
    with target.open("rb") as held:
        if command.over:
            assert command.run(target, inputs)[0] == 2
            assert target.read_bytes() == SECRET
        status, _, said = command.run(target, inputs, *command.over)
        assert status in (0, 1), said
        assert is_ours(target)
        assert held.read() == SECRET  # a process that has the old file open does not get the new bytes
    target.write_bytes(b"")
    assert command.run(target, inputs)[0] in (0, 1)
    assert is_ours(target)


@every_command
def test_a_link_in_a_directory_of_ours_is_followed(command: Command, inputs: Path) -> None:
    (inputs / "deep").mkdir()
    (inputs / "link").symlink_to("deep")
    target = inputs / "deep" / command.output
    (inputs / command.output).symlink_to(f"link/{command.output}")
    status, _, said = command.run(inputs / command.output, inputs)
    assert status in (0, 1), said
    assert is_ours(target)
    assert (inputs / command.output).is_symlink()


@pytest.mark.parametrize("command", names(tuple(one for one in COMMANDS if one.name != "demo")))
def test_devices_and_descriptors_stay_usable(command: Command, inputs: Path) -> None:
    for target in ("/dev/null", "/dev/stdout"):
        status, out, said = command.run(Path(target), inputs, alone=True)
        assert status in (0, 1), said
        if target == "/dev/stdout" and command.output.endswith(".pcapng"):
            assert out.encode("latin-1").startswith(MAGIC)
    assert Path("/dev/null").is_char_device()


def test_a_fifo_of_ours_is_fed(tmp_path: Path, inputs: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE) as reader:
        assert Command("", "edit {in} -o {}", "").run(fifo, inputs)[0] == 0
        assert reader.communicate(timeout=60)[0].startswith(MAGIC)
    assert fifo.is_fifo()


# -- the function itself ----------------------------------------------------------------------------------------------


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    for path, words in (
        (tmp_path, "is a directory: name a file in it"),
        (tmp_path / "none" / "x", "No such file or directory"),
        (Path("/"), "it is a directory: name a file in it"),
        (tmp_path / "loop", "too many symbolic links"),
        (tmp_path / "file" / "x", "file is not a directory"),
        ("", "without a name"),
        ("a\0b", "null"),
        (f"{tmp_path}/file/", "file is not a directory"),
        (tmp_path / ("n" * 300), "File name too long"),
        ("/dev/fd/900", "Bad file descriptor"),
    ):
        for function in (files.open_output, files.check_output) if path != "/dev/fd/900" else (files.open_output,):
            with pytest.raises(OutputError, match=words) as raised:
                function(path, b"")
            assert "\n" not in str(raised.value)


def test_only_what_was_made_is_taken_away(tmp_path: Path) -> None:
    made = files.open_output(tmp_path / "x")
    (tmp_path / "x").rename(tmp_path / "y")
    (tmp_path / "x").write_text("of somebody else")
    files.remove(tmp_path / "x", made.fd)
    assert (tmp_path / "x").exists()
    files.remove(tmp_path / "y", made.fd)
    assert not (tmp_path / "y").exists()
    files.remove(tmp_path / "none" / "y", made.fd)
    os.close(made.fd)


def test_a_path_with_dots_leads_where_the_kernel_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/b")
    monkeypatch.chdir(tmp_path / "a")
    for way in ("b/../one", "./b/.././two", "../link/../three", f"{tmp_path}//a/./four"):
        os.close(files.open_output(way).fd)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b", "four", "one", "three", "two"]


def test_what_is_protected_against_writing_is_not_replaced(shared: Path) -> None:
    path = shared / "x"
    path.write_bytes(MAGIC)
    path.chmod(0o400)
    uid = os.geteuid()
    if uid == 0:  # nothing is protected against root
        os.chown(path, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        with pytest.raises(OutputError, match="Permission denied"):
            files.open_output(path, b"")
    finally:
        os.seteuid(uid)


@needs_root
def test_a_user_may_follow_links_of_his_own(outside: Path, installation: Path) -> None:
    """In a directory that his group may write, say; root may not even there."""
    script = "import sys; from vusniff import files; print(files.open_output(sys.argv[1]).made)"
    folder = outside / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    (folder / "link").symlink_to("file")
    theirs(folder / "link")
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "/usr/bin/python3", "-c", script]
    environment = os.environ | {"PYTHONPATH": str(installation), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*command, str(folder / "link")], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert (folder / "file").stat().st_uid == NOBODY


# -- wireshark install ------------------------------------------------------------------------------------------------


@needs_root
def test_what_wireshark_reads_goes_where_it_was_told(shared: Path, victim: Path) -> None:
    words = [*VUSNIFF, "wireshark", "install", "--directory"]
    assert subprocess.run([*words, str(shared / "new")], capture_output=True).returncode == 0
    program = shared / "new" / "extcap" / "vusniff"
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    assert stat.S_IMODE((shared / "new").stat().st_mode) == 0o755
    (shared / "plugins").mkdir()
    (shared / "plugins").chmod(0o777)
    planted = shared / "plugins" / ".vusniff.lua.new"
    planted.symlink_to(victim)
    theirs(planted)
    assert subprocess.run([*words, str(shared)], capture_output=True).returncode == 0
    assert victim.read_bytes() == SECRET
    assert not planted.is_symlink()
    link = shared / "elsewhere"
    link.symlink_to(victim.parent)
    theirs(link)
    done = subprocess.run([*words, str(link)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "is a symbolic link in a directory that other users may write" in done.stderr
    assert not (victim.parent / "plugins").exists()


@needs_root
def test_what_wireshark_reads_is_removed_where_it_was_put_and_nowhere_else(shared: Path, tmp_path: Path) -> None:
    """Neither through a link of another user, nor is one of his FIFOs waited for."""
    program = tmp_path / "vusniff"
    program.write_text("the real vusniff\n")
    link = shared / "extcap"
    link.symlink_to(tmp_path)
    theirs(link)
    (shared / "plugins").mkdir()
    words = [*VUSNIFF, "wireshark", "uninstall", "--directory", str(shared)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "is a symbolic link in a directory that other users may write" in done.stderr
    assert program.exists()
    os.mkfifo(shared / "plugins" / "vusniff.lua")
    theirs(shared / "plugins" / "vusniff.lua")
    for word in ("install", "uninstall"):
        words[-3] = word
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert "vusniff.lua is not from vusniff: move it away first" in done.stderr


def test_a_link_of_ones_own_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    """Who works on the dissector may have linked it there."""
    words = [*VUSNIFF, "wireshark", "install", "--directory", str(tmp_path)]
    assert subprocess.run(words, capture_output=True, timeout=60).returncode == 0
    installed, kept = tmp_path / "plugins" / "vusniff.lua", tmp_path / "mine.lua"
    installed.rename(kept)
    installed.symlink_to(kept)
    program = tmp_path / "extcap" / "vusniff"
    program.unlink()
    program.symlink_to(tmp_path / "nowhere")
    words[-3] = "uninstall"
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"removed {installed}", f"there is no {program}"]
    assert not installed.is_symlink()
    assert b"vusniff" in kept.read_bytes()


@needs_root
def test_what_wireshark_is_sent_goes_through_no_link(shared: Path, victim: Path) -> None:
    link = shared / "fifo"
    link.symlink_to(victim)
    theirs(link)
    words = [sys.executable, str(Path(files.__file__).with_name("__main__.py")), "extcap", "--capture"]
    words += ["--extcap-interface=vusniff-ssh", "--host=nowhere.invalid", f"--fifo={link}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "is a symbolic link in a directory that other users may write" in done.stderr
    assert victim.read_bytes() == SECRET


# -- the terminal view ------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_view_asks_before_it_replaces(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(inputs)
    target = inputs / "out.csv"
    target.write_text("precious")
    async with opened(inputs / "in.pcapng") as (room, pilot):
        for answer, replaced in ((["n"], False), ([], False), (["escape"], False), (["y"], True)):
            await pilot.press("ctrl+e", *"out", "full_stop", *"csv", "enter")
            assert "there is such a file already" in screen_text(room)
            await pilot.press(*answer, *([] if answer == ["escape"] else ["enter"]))
            room.judging.finish()
            while room.exporting.words:
                await pilot.pause()
            assert (target.read_text() != "precious") is replaced
            assert room.view.has_focus
    assert is_ours(target)


@needs_root
@pytest.mark.asyncio
async def test_the_view_follows_no_link_either(
    inputs: Path, shared: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shared)
    monkeypatch.setattr("time.strftime", lambda *_: "vusniff-now")
    told: list[str] = []
    for name in ("out.csv", "vusniff-now.svg"):
        (shared / name).symlink_to(victim)
        theirs(shared / name)
    async with opened(inputs / "in.pcapng") as (room, pilot):
        monkeypatch.setattr(room, "announce", lambda words, *_, **__: told.append(words))
        await pilot.press("ctrl+e", *"out", "full_stop", *"csv", "enter")
        room.action_picture()
        room.action_screenshot()
    assert len(told) == 3
    assert all("is a symbolic link in a directory that other users may write" in words for words in told)
    assert victim.read_bytes() == SECRET


@pytest.mark.asyncio
async def test_pictures_of_one_second_have_names_of_their_own(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Textual's own action writes the same file, not another into some folder for downloads."""
    monkeypatch.chdir(inputs)
    monkeypatch.setenv("HOME", str(inputs / "home"))
    monkeypatch.setattr("time.strftime", lambda *_: "vusniff-now")
    async with opened(inputs / "in.pcapng") as (room, _):
        room.action_picture()
        room.action_picture()
        room.action_screenshot()
    assert sorted(path.name for path in inputs.glob("*.svg")) == [
        "vusniff-now-2.svg",
        "vusniff-now-3.svg",
        "vusniff-now.svg",
    ]
    assert all(is_ours(path) for path in inputs.glob("*.svg"))
    assert not (inputs / "home").exists()


# -- what the user who called sudo gets -------------------------------------------------------------------------------


def _capture_as_sudo_runs_it(file: Path, socket: Path, act: Callable[[], None] = lambda: None) -> tuple[int, str, str]:
    command = [*VUSNIFF, "capture", "--path", str(socket), "-w", str(file)]
    environment = os.environ | {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as view:
        assert view.stdout is not None
        assert view.stderr is not None
        assert "attached" in view.stderr.readline() or view.poll() is None
        while not file.exists() or not file.stat().st_size:
            assert view.poll() is None
        act()
        near, far = connected(str(socket))
        with near, far:
            near.send(message(1))
            seen = view.stdout.readline()
        view.send_signal(signal.SIGINT)
        said = view.communicate(timeout=60)[1]
    return view.returncode, seen, said


needs_probe = pytest.mark.skipif(
    why_no_probe() is not None and os.environ.get("CI") != "true", reason=str(why_no_probe())
)


@needs_probe
def test_the_capture_of_a_view_is_made_by_who_called_sudo(tmp_path: Path, home: Path) -> None:
    file = home / "c.pcapng"
    for _ in range(2):  # the second time it replaces its own file, which belongs to that user
        status, seen, said = _capture_as_sudo_runs_it(file, tmp_path / "s")
        (tmp_path / "s").unlink()
        assert (status, "GET_FEATURES" in seen) == (0, True), said
        found = file.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (NOBODY, NOBODY, 0o600)


@needs_probe
def test_nothing_is_given_to_who_called_sudo_that_he_could_not_make(tmp_path: Path, outside: Path) -> None:
    """`-w /etc/...` makes root's file, which stays root's; the view has a descriptor of it."""
    file = outside / "profile.sh"
    status, seen, said = _capture_as_sudo_runs_it(file, tmp_path / "s")
    assert (status, "GET_FEATURES" in seen) == (0, True), said
    assert (file.stat().st_uid, stat.S_IMODE(file.stat().st_mode)) == (0, 0o600)


@needs_probe
def test_a_link_in_the_place_of_the_capture_gives_nothing_away(tmp_path: Path, home: Path, victim: Path) -> None:
    file = home / "c.pcapng"

    def swap() -> None:
        file.unlink()
        file.symlink_to(victim)

    status, seen, said = _capture_as_sudo_runs_it(file, tmp_path / "s", swap)
    assert (status, "GET_FEATURES" in seen) == (0, True), said
    assert (victim.stat().st_uid, victim.read_bytes()) == (0, SECRET)


@needs_probe
def test_links_of_who_called_sudo_lead_only_where_he_may_write(tmp_path: Path, home: Path, victim: Path) -> None:
    (home / "c.pcapng").symlink_to(victim)
    theirs(home / "c.pcapng")
    command = [*VUSNIFF, "capture", "--path", str(tmp_path / "s"), "-w", str(home / "c.pcapng")]
    environment = os.environ | {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 2
    assert "is a symbolic link in a directory that other users may write" in done.stderr
    assert victim.read_bytes() == SECRET


@needs_probe
def test_a_descriptor_that_waits_may_also_be_a_pipe(tmp_path: Path) -> None:
    with recording(tmp_path / "c.pcapng", "--path", str(tmp_path / "s")) as probe:
        near, far = connected(str(tmp_path / "s"))
        with near, far:
            near.send(message(1))
        probe.finish()
    with CaptureReader(tmp_path / "c.pcapng") as reader:
        assert any(isinstance(record, Frame) for record in reader.records())


def test_a_file_that_may_not_be_replaced_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"text")
    for replaces in (None, MAGIC):
        with pytest.raises(ExistsError):
            files.open_output(path, replaces)
    opened_now = files.open_output(path, b"te")
    assert opened_now.made
    os.close(opened_now.fd)
    assert path.read_bytes() == b""
