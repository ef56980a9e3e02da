"""Where everything is to be there (CI=true), a test that is skipped fails the run and is named.

A rule that raises fails the test that asked it, in whatever process.
"""

from __future__ import annotations

import os

import pytest

from vusniff import cli
from vusniff.checks import checker

checker.rules_may_raise = True
os.environ[cli.RULES_MAY_RAISE] = "1"  # for the commands that tests start


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
