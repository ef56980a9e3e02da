"""What is handed out is whole: the source distribution, the links of the documents, a licence where it differs."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "captures" / "README.md"]


def test_the_source_distribution_leaves_nothing_out() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("only in a checkout: this is a distribution")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = {name.split("/")[0] for name in listed.splitlines()}
    found = re.search(r"targets\.sdist\]\ninclude = (\[.*?\])", (ROOT / "pyproject.toml").read_text("utf-8"), re.DOTALL)
    assert found is not None
    included = set(ast.literal_eval(found[1]))
    assert names - included - {"pyproject.toml", ".gitignore"} == set()  # those two are always in it
    assert {name for name in included if not (ROOT / name).exists()} == set()


def test_every_capture_is_installed() -> None:
    found = re.search(r"wheel\.shared-data\]\n(.*?)\n\n", (ROOT / "pyproject.toml").read_text("utf-8"), re.DOTALL)
    assert found is not None
    installed = dict(re.findall(r'^"(.*?)" = "(.*?)"$', found[1], re.MULTILINE))
    for capture in (ROOT / "captures").glob("*.pcapng"):
        assert installed[f"captures/{capture.name}"] == f"share/vusniff/captures/{capture.name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text("utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize(
    ("pattern", "licence"),
    [("bpf/*.c", "GPL-2.0-only"), ("bpf/*.h", "GPL-2.0-only"), ("wireshark/*.lua", "GPL-2.0-or-later")],
)
def test_files_of_another_licence_say_so(pattern: str, licence: str) -> None:
    files = sorted((ROOT / "vusniff").glob(pattern))
    assert files
    for file in files:
        assert f"SPDX-License-Identifier: {licence}" in file.read_text("utf-8").splitlines()[0], file
