"""What holds for all tests: no child outlives its test, and a rule that raises fails the test, in whatever process.

What is skipped is named, and why; where everything is to be there (CI=true) it fails the run. Hypothesis has no
deadline: how long an example takes depends on who else uses the machine.
"""

from __future__ import annotations

import gc
import os
import shutil
import site
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from vusniff import cli, distributions
from vusniff.checks import rulings

settings.register_profile("vusniff", deadline=None)
settings.load_profile("vusniff")
rulings.rules_may_raise = True
os.environ[cli.RULES_MAY_RAISE] = "1"  # for the commands that tests start
SLOW = {
    *("peers", "vm"),
    *("test_probe.py", "test_capture.py", "test_viewer.py", "test_extcap.py", "test_bound.py", "test_proxy.py"),
    *("test_wireshark.py", "test_webpage.py", "test_tui_tmux.py", "test_many_connections.py", "test_fuzz.py"),
    *("test_files.py", "test_export.py", "test_bounds.py", "test_edit.py", "test_child.py", "test_cli.py"),
    *("test_skipping.py", "test_conftest.py", "test_doctor.py", "test_demo.py", "test_printable.py"),
    *("test_example_dissector.py", "test_passed_sockets.py", "test_stacks_probe.py"),
    *("test_tui.py", "test_filtering.py", "test_tui_any_key.py", "test_tui_scrub.py", "test_tui_snapshots.py"),
    *("test_tui_habits.py", "test_tui_phases.py", "test_tui_findings.py", "test_tui_settings.py"),
    *("test_tui_exporting.py", "test_tui_evidence.py", "test_conformance.py", "test_conformance_fuzz.py"),
    *("test_late_rings.py", "test_sampling_files.py", "test_replay.py", "test_stacks.py", "test_top.py"),
    *("test_streams.py", "test_start.py"),
}
"""Files and folders that `make quick` leaves out: they start programs, need root, another package or a virtual machine,
or take seconds. A single test elsewhere is left out by ``@pytest.mark.slow``. `make test` runs all."""
FIRST = ("vm", "peers", "extcap")
"""Groups of tests that one worker runs, one after the other: they begin before all else, the longest first, so that no
worker is left alone with them at the end."""
MOST_OPEN = 400
"""Descriptors that a process of tests may hold before it looks for those that nobody needs."""
PROGRAMS = {"strace", "installation", "shared"}
"""Fixtures of tests that start other programs."""
_PACKAGES = (
    *("vusniff-*.dist-info", "construct", "lark", "rich", "textual", "pygments", "markdown_it", "mdurl"),
    *("mdit_py_plugins", "linkify_it", "uc_micro", "platformdirs", "typing_extensions.py"),
)


@pytest.fixture(scope="session")
def installation() -> Iterator[Path]:
    """For PYTHONPATH: a copy of vusniff and what it needs that every user may read. The clone may lie in a home."""
    made = Path(tempfile.mkdtemp(prefix="vusniff-test-"))
    root, installed = Path(__file__).parent.parent, [Path(path) for path in site.getsitepackages()]
    found = [root / "vusniff", root / "dissectors" / "vusniff_dissectors"]
    found += [path for folder in installed for name in _PACKAGES for path in folder.glob(name)]
    for path in found:
        if path.is_dir():
            shutil.copytree(path, made / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, made)
    subprocess.run(["chmod", "-R", "u=rwX,go=rX", str(made)], check=True)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder in which every user may write. That of pytest is closed to others whenever another run begins."""
    made = Path(tempfile.mkdtemp(prefix="vusniff-test-"))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


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


def pytest_sessionstart() -> None:
    """Ends the run where a new family or dissector of `pyproject.toml` is not installed in this environment yet."""
    project = Path(__file__).parent.parent / "pyproject.toml"
    text = project.read_text(encoding="utf-8") if project.exists() else ""  # tests of this file copy it elsewhere
    for group in ("vusniff.families", "vusniff.dissectors"):
        section = text.partition(f'[project.entry-points."{group}"]')[2].partition("[")[0]
        named = {line.partition("=")[0].strip() for line in section.splitlines() if "=" in line}
        missing = named - {point.name for point in distributions.entry_points(group)}
        if missing:
            pytest.exit(f"{group}: {', '.join(sorted(missing))} is not installed: run make .venv/dev.stamp", 4)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what is in `SLOW`, and puts what is in `FIRST` first."""
    folder = Path(__file__).parent
    for item in items:
        listed = item.path.is_relative_to(folder) and item.path.relative_to(folder).parts[0] in SLOW
        if listed or PROGRAMS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
    items.sort(key=lambda item: FIRST.index(group) if (group := _group(item)) in FIRST else len(FIRST))


def _group(item: pytest.Item) -> str:
    """Group of a test for ``--dist loadgroup``; empty for most."""
    marker = item.get_closest_marker("xdist_group")
    return "" if marker is None else str(marker.args[0] if marker.args else marker.kwargs["name"])


def pytest_runtest_teardown() -> None:
    """Closes the files of indexes that nobody has any more: commands collect garbage rarely, and select(2) takes no
    descriptor above 1023."""
    if len(os.listdir("/proc/self/fd")) > MOST_OPEN:
        gc.unfreeze()  # what was there when a command began is frozen by it
        gc.collect()


def _skipped(config: pytest.Config) -> list[pytest.TestReport]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return [] if reporter is None else list(reporter.stats.get("skipped", []))


def _strict() -> bool:
    return os.environ.get("CI") == "true"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run."""
    if _strict() and _skipped(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name them: a line for each reason in a file."""
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for report in _skipped(config):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        file, _, test = report.nodeid.partition("::")
        alike[file, reason.removeprefix("Skipped: ")].append(test)
    lead = "not to be skipped here" if _strict() else "skipped"
    for (file, reason), tests in sorted(alike.items()):
        which = f"{file}::{tests[0]}" if len(tests) == 1 else f"{file}, {len(tests)} tests"
        terminalreporter.write_line(f"{lead}: {which}: {reason}", red=_strict(), yellow=not _strict())
