"""bcc is found wherever it is, and nothing that others could have written runs as root."""

from __future__ import annotations

import os
import py_compile
import shutil
import sys
from pathlib import Path

import pytest

from vusniff.bpf.find import VARIABLE, find_bcc, forget, how_to_install
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
    forget()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="whose files root would run is checked for root only")


def planted(folder: Path, target: Path, marker: Path) -> Path:
    """Bytecode of nobody's at ``target`` that Python would take for that of the package."""
    source = folder.parent / "planted.py"
    source.write_text(f"open({str(marker)!r}, 'w'); BPF = 1\n")
    target.parent.mkdir(exist_ok=True)
    py_compile.compile(str(source), str(target), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    os.chown(target, 65534, 65534)
    return target


@needs_root
@pytest.mark.parametrize("name", ["__init__", "table"])
def test_root_runs_no_bytecode_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder, marker = package(tmp_path / "bcc", "from . import table\nBPF = 1\n"), tmp_path / "marker"
    (folder / "table.py").write_text("")
    pyc = planted(folder, folder / "__pycache__" / f"{name}.{sys.implementation.cache_tag}.pyc", marker)
    monkeypatch.setenv(VARIABLE, str(folder))
    with pytest.raises(SourceError, match=f"{pyc.name} can be written to by somebody else"):
        find_bcc()
    assert not marker.exists()
    pyc.unlink()
    pyc.parent.chmod(0o777)
    with pytest.raises(SourceError, match="__pycache__ can be written to by somebody else"):
        find_bcc()
    pyc.parent.chmod(0o755)
    assert find_bcc().directory == folder
    forget()


@needs_root
def test_root_runs_no_bytecode_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a cache directory that the environment names, and of a folder that only a link leads to."""
    folder, marker, cache = package(tmp_path / "bcc", "BPF = 1\n"), tmp_path / "marker", tmp_path / "cache"
    at = cache.joinpath(*folder.parts[1:]) / f"__init__.{sys.implementation.cache_tag}.pyc"
    at.parent.mkdir(parents=True)
    planted(folder, at, marker)
    monkeypatch.setattr(sys, "pycache_prefix", str(cache))
    monkeypatch.setenv(VARIABLE, str(folder))
    assert find_bcc().directory == folder
    assert not marker.exists()
    forget()
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)  # that it was written with, if it was
    (folder / "__pycache__").symlink_to(at.parent)
    with pytest.raises(SourceError, match="is a link to another folder"):
        find_bcc()
    assert not marker.exists()


@needs_root
@pytest.mark.parametrize("name", ["table.so", "sub/more.py", "table.pyc"])
def test_root_runs_no_other_file_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = package(tmp_path / "bcc", "BPF = 1\n")
    (folder / "sub").mkdir()
    (folder / name).touch()
    os.chown(folder / name, 65534, 65534)
    monkeypatch.setenv(VARIABLE, str(folder))
    with pytest.raises(SourceError, match="can be written to by somebody else"):
        find_bcc()


@needs_root
def test_what_is_looked_at_is_what_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link may lead elsewhere a moment later."""
    folder = package(tmp_path / "real", "BPF = 1\n")
    (tmp_path / "bcc").symlink_to(folder)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "bcc"))
    assert find_bcc().module.__file__ == str(folder / "__init__.py")
    forget()


@pytest.mark.parametrize(
    ("system", "command"),
    [
        ({"ID": "debian"}, "apt-get install python3-bpfcc"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "apt-get install python3-bpfcc"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "dnf install python3-bcc"),
        ({"ID": "opensuse-leap", "ID_LIKE": "suse opensuse"}, "zypper install python3-bcc"),
        ({"ID": "manjaro", "ID_LIKE": "arch"}, "pacman -S python-bcc"),
        ({"ID": "alpine"}, "apk add py3-bcc"),
    ],
)
def test_the_command_that_installs_it_is_that_of_the_distribution(
    system: dict[str, str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: system)
    assert how_to_install() == command
    system.clear()
    assert command in how_to_install()
