"""The real program in a real terminal (tmux), driven by keys from the start to the answer of a question."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from vusniff.capture.reader import CaptureReader
from vusniff.capture.writer import CaptureWriter
from vusniff.record import Closed, Fault, Frame

CAPTURES = Path(__file__).parent.parent / "captures"
PATIENCE = 30.0

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Terminal:
    """One tmux server with one program in it."""

    def __init__(self, size: tuple[int, int], directory: Path) -> None:
        self._name = f"vusniff-{uuid.uuid4().hex[:8]}"
        self._size = size
        self.width = size[0]
        self._directory = directory

    def _tmux(self, *words: str) -> str:
        run = subprocess.run(["tmux", "-L", self._name, *words], capture_output=True, text=True, check=False)
        return run.stdout

    def start(self, command: str) -> None:
        """Run a shell command; what it returned is printed at its end."""
        # The terminal says how large it is, whatever the one that runs the tests says.
        left_out = ("NO_COLOR", "COLUMNS", "LINES")
        environment = {name: value for name, value in os.environ.items() if name not in left_out}
        width, height = self._size
        subprocess.run(
            [
                *(
                    "tmux",
                    "-L",
                    self._name,
                    "-f",
                    "/dev/null",
                    "new-session",
                    "-d",
                    "-x",
                    str(width),
                    "-y",
                    str(height),
                ),
                f"cd {self._directory} && {command}; echo returned $?; cat",
            ],
            env=environment,
            check=True,
        )

    def keys(self, *keys: str) -> None:
        """Press keys, as tmux names them."""
        self._tmux("send-keys", *keys)

    def typed(self, text: str) -> None:
        """Type a text at once."""
        self._tmux("send-keys", "-l", text)

    def screen(self) -> str:
        """What is on the screen."""
        return self._tmux("capture-pane", "-p")

    def until(self, *wanted: str) -> str:
        """Wait until all of this is on the screen."""
        end = time.monotonic() + PATIENCE
        screen = self.screen()
        while not all(text in screen for text in wanted):
            if time.monotonic() > end:
                pytest.fail(f"{wanted} did not appear; the screen shows:\n{screen}")
            time.sleep(0.05)
            screen = self.screen()
        return screen

    def close(self) -> None:
        """End the server and what runs in it."""
        self._tmux("kill-server")


@pytest.fixture(params=[(80, 24), (120, 40), (200, 60)], ids=["80x24", "120x40", "200x60"])
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal of each size."""
    made = Terminal(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal of 80x24."""
    made = Terminal((80, 24), tmp_path)
    yield made
    made.close()


def view(*words: object) -> str:
    """The command line of the view."""
    return f"{sys.executable} -m vusniff view {' '.join(map(str, words))}"


def test_why_is_vring_3_not_enabled(terminal: Terminal) -> None:
    terminal.start(view(CAPTURES / "qemu-testpmd.pcapng"))
    terminal.until("119 messages")
    terminal.typed(":60\r")
    terminal.until("State after #60")
    terminal.typed(":v3\r")
    terminal.until("Vring 3  not set up, disabled", "Disabled by #43 SET_VRING_ENABLE.")
    terminal.typed(":43\r")
    terminal.until("State after #43", "vring 3 disabled")
    terminal.keys("q")
    terminal.until("returned 0")


def test_which_side_never_answered(terminal: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "silent.pcapng"

    def said(request: int, flags: int, payload: bytes) -> bytes:
        return b"".join(number.to_bytes(4, "little") for number in (request, flags, len(payload))) + payload

    offered = (1 << 30).to_bytes(8, "little")
    with CaptureWriter(path, source="test", order="little") as writer:
        connection = writer.open("/run/silent.sock")
        for end, data in ((0, said(1, 1, b"")), (1, said(1, 5, offered)), (0, said(15, 1, b""))):
            writer.frame(Frame(connection.id, end, 1_700_000_000_000_000_000, data))
        writer.close_connection(Closed(connection.id, 1_700_000_009_000_000_000, "eof", 0, 3))
    terminal.start(view(path))
    terminal.until("3 messages", "no reply")
    terminal.keys("End")
    screen = terminal.until("State after #3") if "State" in terminal.screen() else terminal.screen()
    (line,) = [line for line in screen.splitlines() if "no reply" in line]
    assert "GET_PROTOCOL_FEATURES" in line
    assert "F → B" in line or "front -> back" in line
    terminal.until("1 error" if terminal.width >= 110 else "1E")
    terminal.keys(".")
    terminal.keys("Enter")
    terminal.until("E error, back-end: GET_PROTOCOL_FEATURES (#3)")
    terminal.keys("S")
    terminal.until("no reply", "/run/silent.sock")


def test_what_changed_between_the_first_and_the_second_connection(terminal: Terminal) -> None:
    terminal.start(view(CAPTURES / "virtio-user-packed-reconnect.pcapng"))
    terminal.until("175 messages")
    terminal.keys("G")
    terminal.until("#175")
    terminal.keys("C")
    terminal.until("Session 1, then 2", "≠ owner", "= features offered")
    terminal.keys("q")
    terminal.until("State after #175")
    terminal.keys("O")
    terminal.until("session 1: running", "session 2: reconnect, 357 ms")


def test_standard_input_is_spooled_and_keys_come_from_the_terminal(small: Terminal) -> None:
    small.start(f"cat {CAPTURES / 'qemu-blk.pcapng'} | {view('-')}")
    small.until("back.sock", "GET_VRING_BASE", "following")
    small.keys("Home")
    small.until("standing still")
    small.keys("q")
    small.until("returned 0")


def test_what_is_no_capture_is_refused_in_one_sentence(small: Terminal, tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"hello, world" * 20)
    small.start(view(tmp_path / "noise"))
    screen = small.until("returned 2")
    assert "vusniff: " in screen
    assert "Traceback" not in screen


def test_a_capture_that_is_cut_while_it_is_shown_ends_the_view_with_a_sentence(small: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "cut.pcapng"
    path.write_bytes((CAPTURES / "qemu-testpmd.pcapng").read_bytes())
    small.start(view(path))
    small.until("119 messages", "GET_FEATURES")
    path.write_bytes(b"")
    small.keys("End")
    screen = small.until("returned 2")
    assert "vusniff: " in screen
    assert "has become shorter" in screen.replace("\n", "")
    assert "Traceback" not in screen


def test_a_picture_of_the_screen(small: Terminal, tmp_path: Path) -> None:
    small.start(view(CAPTURES / "qemu-blk.pcapng", "--screenshot", "out.svg", "--size", "100x30", "--at", "5"))
    small.until("returned 0")
    svg = (tmp_path / "out.svg").read_text()
    assert svg.startswith("<svg")
    assert "qemu-blk.pcapng" in svg


def test_without_a_terminal_it_says_what_to_use(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "vusniff", "view", str(CAPTURES / "qemu-blk.pcapng")]
    run = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith("vusniff: view needs a terminal")


def test_options_of_the_picture_go_with_it() -> None:
    words = [sys.executable, "-m", "vusniff", "view", "--at", "5", str(CAPTURES / "qemu-blk.pcapng")]
    run = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr == "vusniff: --at, --keys and --force go with --screenshot; in the view : goes to a number\n"


def test_a_key_that_there_is_not_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "out.svg"
    words = [sys.executable, "-m", "vusniff", "view", str(CAPTURES / "qemu-blk.pcapng"), "--screenshot", str(target)]
    run = subprocess.run([*words, "--keys", "S,Enter"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith("vusniff: --keys: there is no key 'Enter'; give characters or names: enter,")
    assert not target.exists()


def test_a_signal_ends_view_and_proxy_and_gives_the_screen_back(small: Terminal, tmp_path: Path) -> None:
    capture = tmp_path / "live.pcapng"
    words = f"proxy --tui --listen {tmp_path / 'front'} --connect {tmp_path / 'back'} -w {capture}"
    small.start(f"sh -c 'echo $$ > pid; exec {sys.executable} -m vusniff {words}'")
    small.until("0 messages")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    screen = small.until("returned 0")
    assert "0 messages on 0 connections" in screen
    assert not (tmp_path / "front").exists()


def test_a_message_that_a_rule_holds_is_looked_at_edited_and_left(small: Terminal, tmp_path: Path) -> None:
    """Between the demo's own peers: one message goes on changed, another is held when the view is left."""
    vusniff = f"{sys.executable} -m vusniff"
    words = (
        "proxy --tui --listen front --connect back -w live.pcapng --rule 'vhost.request == SET_VRING_NUM @1,2 : hold'"
    )
    backend = subprocess.Popen([*vusniff.split(), "demo", "--backend", "back"], cwd=tmp_path, stderr=subprocess.PIPE)
    small.start(f'sh -c "echo \\$\\$ > pid; exec {vusniff} {words}"')
    small.until("0 messages")
    frontend = subprocess.Popen([*vusniff.split(), "demo", "--frontend", "front"], cwd=tmp_path, stderr=subprocess.PIPE)
    with backend, frontend:
        small.until("1 HELD", "H held")
        small.keys("H")
        small.until("Held by rule 1: 1 of 1", "SET_VRING_NUM  front-end to back-end, 20 bytes", "num")
        small.typed("enumm=4\r")
        small.until("did you mean num")
        small.keys("C-u")
        small.until("or actions, such as")
        small.typed("num=64\r")
        small.until("1 HELD")  # the second one
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
        screen = small.until("returned 0")
        assert "1 message that a rule held went on, as the proxy ends" in screen
        frontend.kill()
        backend.kill()
    with CaptureReader(tmp_path / "live.pcapng") as reader:
        said = [one.words for one in reader.records() if isinstance(one, Fault) and one.words]
    assert sum(words.startswith("has held it for") for words in said) == 2
    assert "sends it, changed: num 256 -> 64" in said
