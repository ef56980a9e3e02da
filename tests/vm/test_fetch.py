"""Which kernel is fetched, and what becomes of its tree."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vm.fetch import candidate, current, index


@pytest.mark.skipif(shutil.which("apt-cache") is None, reason="this is no Debian or Ubuntu")
def test_the_kernel_is_one_that_apt_has() -> None:
    assert current().startswith("linux-image-")
    assert candidate(current())
    assert not candidate("linux-image-of-yesterday")


@pytest.mark.skipif(shutil.which("depmod") is None, reason="kmod is not installed")
@pytest.mark.parametrize("folder", ["lib/modules", "usr/lib/modules"])
def test_modules_are_found_wherever_the_package_has_them(tmp_path: Path, folder: str) -> None:
    modules = tmp_path / folder / "6.99.0-test"
    modules.mkdir(parents=True)
    for name in ("modules.order", "modules.builtin"):
        (modules / name).write_text("")
    index(tmp_path)
    assert (tmp_path / "lib/modules/6.99.0-test/modules.dep").exists()
    assert (modules / "modules.dep").exists()
