"""A headless Chromium, driven over its debugging pipe: what a reader of an exported page would do."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 60.0
needs_browser = pytest.mark.skipif(CHROMIUM is None and os.environ.get("CI") != "true", reason="needs chromium")


class Browser:
    """One tab. Messages on the pipe are JSON, each ended by a zero byte (Chrome DevTools Protocol)."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._number = 0
        self._rest = b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._back], [], [], PATIENCE)[0], "the browser is silent"
            data = os.read(self._back, 1 << 16)
            assert data, "the browser has ended"
            self._rest += data
        one, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        return message

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command, and its result."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        data = json.dumps(command).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            message = self._message()
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self.events.append(message)

    def wait(self, event: str) -> dict[str, Any]:
        """The next event of a kind."""
        for known in self.events:
            if known.get("method") == event:
                self.events.remove(known)
                return known
        while True:
            message = self._message()
            if message.get("method") == event:
                return message
            self.events.append(message)

    def open(self, url: str) -> None:
        """Go to a page, until it is loaded."""
        if "loaderId" in self.call("Page.navigate", url=url):  # else it is a place in the page that is there
            self.wait("Page.loadEventFired")

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def key(self, key: str) -> None:
        """Press a key."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, selector: str) -> None:
        """Click on the middle of what a selector names."""
        place = self.evaluate(
            f"(() => {{ const node = document.querySelector({json.dumps(selector)}); "
            "node.scrollIntoView({ block: 'center' }); "
            "const box = node.getBoundingClientRect(); "
            "return [box.x + box.width / 2, box.y + Math.min(box.height / 2, 8)]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def troubles(self) -> list[str]:
        """Exceptions and log entries of the page, and addresses it asked for beside its own."""
        found = []
        for event in self.events:
            method, values = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(json.dumps(values["exceptionDetails"])[:500])
            elif method == "Log.entryAdded":
                found.append(values["entry"]["text"])
            elif method == "Network.requestWillBeSent" and not values["request"]["url"].startswith("file:///"):
                found.append(values["request"]["url"])
        return found


@contextlib.contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own."""
    assert CHROMIUM is not None, "chromium is not installed"
    (read_here, write_there), (read_there, write_here) = os.pipe(), os.pipe()
    options = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --window-size=1400,900"
    # The browser wants its pipes as descriptors 3 and 4.
    script = (
        "import fcntl, os, sys; high = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]; "
        "os.dup2(high[0], 3); os.dup2(high[1], 4); os.execv(sys.argv[3], sys.argv[3:])"
    )
    child = subprocess.Popen(
        [
            *(sys.executable, "-c", script, str(read_there), str(write_there), CHROMIUM, *options.split()),
            *("--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}"),
        ],
        pass_fds=(read_there, write_there),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_there)
    os.close(write_there)
    try:
        browser = Browser(write_here, read_here)
        yield browser
        with contextlib.suppress(OSError, AssertionError):
            browser.call("Browser.close")
    finally:
        os.close(write_here)
        os.close(read_here)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
