"""What is generated and kept in the repository is what the generator makes now."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("generated")
    # argparse folds lines at the width of the terminal; pages must not depend on it.
    command = [sys.executable, str(ROOT / "scripts" / "generated.py"), str(target)]
    subprocess.run(command, check=True, capture_output=True, timeout=120, env={"COLUMNS": "80", "LC_ALL": "C.UTF-8"})
    return target


def test_generated_files_are_current(made: Path) -> None:
    names = [path.relative_to(made) for path in made.rglob("*") if path.is_file()]
    assert {path.name for path in names} >= {"reference.md", "errors.md", "filter.md", "vusniff.1"}
    if sys.version_info >= (3, 13):  # argparse words options otherwise since then
        names = [name for name in names if name.parts[0] == "docs"]
    stale = [str(name) for name in names if (ROOT / name).read_text("utf-8") != (made / name).read_text("utf-8")]
    assert stale == [], "run: make generated"


def test_the_reference_has_every_request(made: Path) -> None:
    text = (made / "docs" / "reference.md").read_text("utf-8")
    for name in ("GET_FEATURES", "BACKEND_SHMEM_UNMAP", "GPU_DMABUF_SCANOUT2", "VIRTIO_F_RING_PACKED", "start"):
        assert f"\n### {name}\n" in text


def test_the_man_page_is_well_formed(made: Path) -> None:
    manual = made / "share" / "man" / "man1" / "vusniff.1"
    text = manual.read_text("utf-8")
    assert text.startswith('.TH VUSNIFF "1" "" "vusniff" "User Commands"\n')
    assert "\n.SH NAME\nvusniff \\- sniffer and dissector" in text  # what whatis and apropos look for
    if shutil.which("man") is None:
        return
    done = subprocess.run(["man", "--warnings", "-l", str(manual)], capture_output=True, timeout=60, check=True)
    assert b"proxy" in done.stdout


def test_bash_completes_commands(made: Path) -> None:
    script = made / "share" / "bash-completion" / "completions" / "vusniff"
    complete = f"source {script}; COMP_WORDS=(vusniff pro); COMP_CWORD=1; _shtab_vusniff; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", complete], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["proxy"]
