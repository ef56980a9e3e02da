"""Captures of real programs are shown as they were when somebody last looked: a change of output is a reviewed diff."""

from __future__ import annotations

import difflib
import itertools
from pathlib import Path

import pytest

from captures import golden


@pytest.mark.parametrize("ending", golden.VIEWS)
@pytest.mark.parametrize("capture", golden.captures(), ids=lambda path: path.stem)
def test_output_is_as_expected(capture: Path, ending: str) -> None:
    expected = golden.expected(capture, ending).read_text(encoding="utf-8").splitlines()
    difference = difflib.unified_diff(
        expected, golden.printed(capture, ending).splitlines(), "expected", "printed", n=0
    )
    first = list(itertools.islice(difference, 20))
    assert not first, "\n".join(["make golden, if this change is meant:", *first])


def test_there_are_captures() -> None:
    assert {"qemu-testpmd", "virtio-user-packed-reconnect", "qemu-blk", "qemu-ovs"} <= {
        path.stem for path in golden.captures()
    }
