"""What the doctor says is true: it tries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from probing import needs_probe

from vusniff.bpf.kernel import missing_capabilities

SYSTEM = "/usr/bin/python3"


def doctor(*words: str, prefix: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*prefix, *words, "-m", "vusniff", "doctor", "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment, cwd="/")


def checks(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, object]]:
    assert done.stderr == ""
    return {one["check"]: one for one in map(json.loads, done.stdout.splitlines())}


@needs_probe
def test_it_says_what_works() -> None:
    done = doctor(sys.executable)
    found = checks(done)
    assert done.returncode == 0
    assert set(found) == {
        *("kernel", "bcc", "BTF", "capabilities", "lockdown", "fentry", "kprobe", "rawtp", "devices", "processes"),
    }
    assert found["rawtp"]["ok"]
    assert all(one["ok"] or one["advice"] for one in found.values())


def test_without_bcc_it_says_what_to_install() -> None:
    done = doctor(sys.executable, VUSNIFF_BCC="/nonexistent")
    found = checks(done)
    assert done.returncode == 1
    assert not found["bcc"]["ok"]
    assert not any(found[mode]["ok"] for mode in ("fentry", "kprobe", "rawtp"))


@needs_probe
def test_the_unit_of_systemd_has_the_capabilities_that_are_needed_and_no_more(installation: Path) -> None:
    unit = (Path(__file__).parent.parent / "share" / "systemd" / "vusniff.service").read_text()
    lines = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#"))
    wanted = lines["AmbientCapabilities"].split()
    assert lines["CapabilityBoundingSet"].split() == wanted
    asked = "from vusniff.bpf.kernel import *; from vusniff.sources.host.unixdiag import *; "
    asked += "print(missing_capabilities(), held_sockets() is not None)"

    def answer(capabilities: list[str]) -> str:
        words = ",".join(["-all", *(f"+{one.removeprefix('CAP_').lower()}" for one in capabilities)])
        prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
        prefix += [f"--inh-caps={words}", f"--ambient-caps={words}", f"--bounding-set={words}"]
        environment = os.environ | {"PYTHONPATH": str(installation), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [*prefix, SYSTEM, "-c", asked], capture_output=True, text=True, check=True, env=environment, cwd="/"
        ).stdout.strip()

    assert answer(wanted) == "[] True"
    for left_out in wanted:
        assert answer([one for one in wanted if one != left_out]) != "[] True", left_out


@needs_probe
def test_without_privileges_it_names_the_capabilities(installation: Path) -> None:
    prefix = ("setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all")
    done = doctor(SYSTEM, prefix=prefix, PYTHONPATH=str(installation))
    found = checks(done)
    assert done.returncode == 1
    assert found["capabilities"]["found"] == "CAP_PERFMON and CAP_BPF missing"
    assert "super-user" not in done.stdout
    for mode in ("fentry", "kprobe", "rawtp"):
        assert "lacks CAP_PERFMON and CAP_BPF" in str(found[mode]["found"])


@needs_probe
def test_nobody_with_two_capabilities_can_capture_by_raw_tracepoints(installation: Path) -> None:
    caps = "-all,+bpf,+perfmon"
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    prefix = (*nobody, f"--inh-caps={caps}", f"--ambient-caps={caps}", f"--bounding-set={caps}")
    found = checks(doctor(SYSTEM, prefix=prefix, PYTHONPATH=str(installation)))
    assert found["rawtp"]["ok"], found["rawtp"]


def test_capabilities_are_those_of_this_process() -> None:
    if os.geteuid() != 0:
        assert missing_capabilities() == ["CAP_PERFMON", "CAP_BPF"]
    else:
        pytest.importorskip("vusniff")
        assert missing_capabilities() == []
