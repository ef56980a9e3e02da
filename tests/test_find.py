"""bcc is found wherever it is, and nothing that others could have written runs as root."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from vusniff.bpf.find import VARIABLE, _forget, find_bcc
from vusniff.errors import SourceError


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No bcc is loaded before a test, and the test's one is not loaded after it."""
    kept = {name: module for name, module in sys.modules.items() if name == "bcc" or name.startswith("bcc.")}
    for name in kept:
        monkeypatch.delitem(sys.modules, name)


def package(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "__init__.py").write_text(text)
    return folder


@pytest.mark.skipif(not Path("/usr/lib/python3/dist-packages/bcc").is_dir(), reason="needs the package python3-bpfcc")
def test_the_distributions_package_from_any_environment() -> None:
    bcc = find_bcc()
    assert bcc.directory == Path("/usr/lib/python3/dist-packages/bcc")
    assert bcc.version.startswith("0.")
    assert find_bcc().module is bcc.module


def test_a_named_directory_is_the_only_one_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(SourceError, match="holds no Python package"):
        find_bcc()


def test_a_library_of_the_same_name_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv(VARIABLE, str(package(tmp_path / "bcc", "lattice = 1\n")))
    with pytest.raises(SourceError, match="another library"):
        find_bcc()
    assert "bcc" not in sys.modules


def test_a_broken_one_is_reported_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv(VARIABLE, str(package(tmp_path / "bcc", "import no_such_module_at_all\n")))
    with pytest.raises(SourceError, match="cannot be loaded: No module named"):
        find_bcc()


def test_root_runs_nothing_that_others_can_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("whose files root would run is checked for root only")
    folder = package(tmp_path / "bcc", "raise SystemExit('this must not run')\n")
    monkeypatch.setenv(VARIABLE, str(folder))
    folder.chmod(0o777)
    with pytest.raises(SourceError, match="can be written to by somebody else"):
        find_bcc()
    folder.chmod(0o755)
    os.chown(folder / "__init__.py", 65534, 65534)
    with pytest.raises(SourceError, match="can be written to by somebody else"):
        find_bcc()
    _forget()
