"""What holds for all tests: no child outlives its test, and a rule that raises fails the test, in whatever process.

Where everything is to be there (CI=true), a test that is skipped fails the run and is named.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from vusniff import cli
from vusniff.checks import checker

checker.rules_may_raise = True
os.environ[cli.RULES_MAY_RAISE] = "1"  # for the commands that tests start


@pytest.fixture(autouse=True)
def _children_end() -> Iterator[None]:
    """Kills the child of a test that fails, for which the with block would wait for ever, and what a test leaves."""
    children: list[subprocess.Popen[Any]] = []
    begin, leave = subprocess.Popen.__init__, subprocess.Popen.__exit__

    def started(self: subprocess.Popen[Any], *args: Any, **options: Any) -> None:
        begin(self, *args, **options)
        children.append(self)

    def left(self: subprocess.Popen[Any], kind: type[BaseException] | None, *rest: Any) -> None:
        if kind is not None:
            self.kill()
        leave(self, kind, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", started)
        patch.setattr(subprocess.Popen, "__exit__", left)
        yield
    for child in children:
        if child.poll() is None:
            child.kill()
            child.wait()


def _skipped(config: pytest.Config) -> list[pytest.TestReport]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or os.environ.get("CI") != "true":
        return []
    return list(reporter.stats.get("skipped", []))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run."""
    if _skipped(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name them."""
    for report in _skipped(config):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(f"not to be skipped here: {report.nodeid}: {reason}", red=True)
