"""What a command imports before it does anything: modules, never times (`bench/bench_start.py` measures those)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vusniff.cli import RULES_MAY_RAISE

ROOT = Path(__file__).parent.parent
CAPTURE, OTHER = (str(ROOT / "captures" / name) for name in ("qemu-blk.pcapng", "qemu-testpmd.pcapng"))
NEVER = {
    *("bcc", "bz2", "email", "hashlib", "importlib.metadata", "lzma", "msgspec", "pathlib", "pdb", "pickle"),
    *("rich", "tempfile", "textual", "zipfile"),
    *(["inspect"] if sys.version_info < (3, 13) else []),  # since then dataclasses ask it for annotations
}
"""What the text of no command needs, each of them slow to import or a sign of it."""
COMMANDS = {
    ("--help",): {"construct", "dataclasses", "json"},
    ("read", CAPTURE): {"vusniff.checks.table", "vusniff.filter", "vusniff.views.page"},
    ("summary", CAPTURE): {"vusniff.filter", "vusniff.views.diff", "vusniff.views.markdown"},
    ("check", CAPTURE): {"difflib", "vusniff.filter", "vusniff.views.reports", "xml"},
    ("diff", CAPTURE, OTHER): {"vusniff.checks.table", "vusniff.filter", "vusniff.views.markdown"},
    ("explain", "SET_MEM_TABLE"): {
        "vusniff.analysis.session",
        "vusniff.capture",
        "vusniff.filter",
        "vusniff.views.markdown",
    },
    ("decode", "0800000001000000080000000000000000010000"): {
        "vusniff.checks.table",
        "vusniff.filter",
        "vusniff.views.page",
    },
}
"""Command line -> what it does not need besides."""
SCRIPT = """
import sys
from vusniff.cli import main
try:
    main()
except SystemExit:
    pass
print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_command_imports_only_what_its_output_needs(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words],
        capture_output=True,
        text=True,
        check=True,
        env={name: os.environ[name] for name in os.environ if name != RULES_MAY_RAISE} | {"COLUMNS": "80"},
    )
    imported = set(done.stderr.splitlines()[-1].split())
    assert "vusniff.cli" in imported
    assert done.stdout
    assert sorted(imported & (NEVER | COMMANDS[words])) == []


def test_what_construct_asks_for_later_is_there() -> None:
    """Modules that stand for others while construct is imported, and nowhere else."""
    script = """
import sys
import vusniff.layouts
assert not {"pdb", "hashlib", "pickle", "platform"} & set(sys.modules)
import construct, io, pdb, pickle
from construct.core import hashlib
assert construct.debug.pdb.post_mortem is pdb.post_mortem
assert hashlib.sha1(b"").hexdigest().startswith("da39")
assert construct.Struct("one" / construct.Byte).compile().parse(b"\\x07").one == 7
assert construct.Pickled.parse(pickle.dumps([1, 2])) == [1, 2]
assert construct.lib.py3compat.ONWINDOWS is False
"""
    subprocess.run([sys.executable, "-c", script], check=True)
