"""Other kernels, booted under emulation with this machine's file system: all three ways to attach, all ways to send.

Kernels are those that ``tests/vm/fetch.py`` has unpacked.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vm.calls import MISUSED, PACKETS, REUSED, TABLES
from vm.fetch import FOLDER
from vm.inside import SIGNALLED, WRITTEN

ROOT = Path(__file__).parents[2]
BOOT_SECONDS = 900
UNSEEN_BY_RAWTP = ("io_uring SEND", "io_uring WRITE", "io_uring SENDMSG", "io_uring worker")

# The guest's root is read without a cache, a page of a library at a time: the same once more, with one.
TAG = "cached"
CACHED = (
    f"-fsdev local,id={TAG},path=/,security_model=none,readonly=on,multidevs=remap"
    f" -device virtio-9p-pci,fsdev={TAG},mount_tag={TAG}"
)
ENTER = (
    f"mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose {TAG} /mnt"
    " && for one in proc sys dev run tmp; do mount --rbind /$one /mnt/$one; done && exec chroot /mnt"
)
# An emulated machine is slow at these, and no test here is about them: guards against speculation, clearing of memory,
# small pages, rules about what programs may open, and long waits for all processors.
FAST = (
    *("mitigations=off", "init_on_alloc=0", "transparent_hugepage=always", "audit=0", "apparmor=0"),
    "rcupdate.rcu_expedited=1",
)
RULES = "/usr/lib/udev/rules.d"
PORTS = 'SUBSYSTEM=="virtio-ports", KERNEL=="vport*", ATTR{name}=="?*", SYMLINK+="virtio-ports/$attr{name}"\n'
"""The one rule of udev that virtme-ng needs, in place of those of this machine, which load a driver for each part."""

pytestmark = [pytest.mark.xdist_group("vm"), pytest.mark.timeout(BOOT_SECONDS + 60)]


def kernels() -> list[Path]:
    """Unpacked kernels, by image."""
    return sorted(FOLDER.glob("*/boot/vmlinuz-*"))


def boot(image: Path, rules: Path, *words: str) -> list[dict[str, Any]]:
    """What a command in a virtual machine with this kernel prints as results; ``rules``: an empty folder."""
    vng = shutil.which("vng", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if vng is None:
        missing("virtme-ng (pip install virtme-ng)")
        raise AssertionError
    # The guest has its own /tmp; what we run may lie below ours.
    outside = {Path(path).resolve() for path in (sys.prefix, ROOT)} | {Path(sys.prefix)}
    shares = [f"--rodir={path}={path}" for path in outside if path.is_relative_to("/tmp")]
    (rules / "ports.rules").write_text(PORTS)
    shares += [f"--rodir={RULES}={rules}", *(f"--append={word}" for word in FAST)]
    script = f"cd {ROOT} && PYTHONPATH={ROOT}:{ROOT}/tests PYTHONDONTWRITEBYTECODE=1 {sys.executable} {' '.join(words)}"
    command = [vng, "--disable-kvm", "--force-9p", "-r", str(image), "--user", "root", "--memory", "2G", "--cpus", "2"]
    done = subprocess.run(
        [*command, *shares, f"--qemu-opts={CACHED}", "--", f"{ENTER} sh -c {shlex.quote(script)}"],
        capture_output=True,
        text=True,
        timeout=BOOT_SECONDS,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"PATH": f"{Path(vng).parent}:{os.environ['PATH']}"},
    )
    lines = [line.partition("RESULT ")[2] for line in done.stdout.splitlines() if "RESULT " in line]
    assert lines, (done.stdout + done.stderr)[-4000:]
    return [json.loads(line) for line in lines]


def missing(what: str) -> None:
    """Skips with the name of what is missing; fails where everything is to be there."""
    sentence = f"the tests on other kernels need {what}"
    if os.environ.get("CI") == "true":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


def test_some_kernel_is_there() -> None:
    if not kernels():
        missing(f"a kernel in {FOLDER}: run tests/vm/fetch.py")
    assert kernels()


def tree_and_logger(image: Path) -> tuple[str, str]:
    """The unpacked package of a kernel, and the logger that programs load in the same boot: booting takes longer."""
    if shutil.which("gcc") is None or shutil.which("dpdk-testpmd") is None:
        missing("gcc and dpdk-testpmd")
    logger = FOLDER / "ioctlog.so"
    source = ROOT / "tests/vm/ioctlog.c"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", logger, source, "-ldl"], check=True)
    return str(image.parents[1]), str(logger)


def same_calls(told: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Calls as they compare: what came back where it did, else what was given."""
    return [
        (one["fd"], one["request"], one["back"] if one["request"] >> 30 & 2 else one["given"], one["errno"])
        for one in told
    ]


def holds_testpmd(pair: dict[str, Any]) -> None:
    """testpmd's calls are what the logger has seen, and its rings stood where its own counters say."""
    assert "refused" not in pair, pair["refused"]
    assert pair["status"] == 0
    assert len(pair["told"]) >= 30
    assert same_calls(pair["seen"]) == same_calls(pair["told"])
    # The tap's name is asked of /proc: too late for a process that lives as short as this one under emulation.
    assert set(pair["paths"]) <= {"/dev/vhost-net (labtap0)", "/dev/vhost-net"}
    assert pair["sides"] == [path.replace("/dev/vhost-net", "kernel vhost") for path in pair["paths"]]
    bindings = [one for one in pair["seen"] if one["request"] == 0x4008AF30]
    bound = [one["names"] for one in bindings if not one["given"].endswith("ffffffff")]
    assert len(bound) == 4
    assert all("device:10:200" in name for (name,) in bound)
    received, sent = pair["packets"]
    assert received == sent >= PACKETS
    used = {int(ring): count for ring, count in pair["used"].items()}
    assert (used[0] + used[2], used[1] + used[3]) == (received, sent)


def holds_misuse(misuse: dict[str, Any]) -> None:
    """The kernel's errors are told, and nothing of what is no vhost device."""
    assert "refused" not in misuse, misuse["refused"]
    assert misuse["told"] == [
        ["SET_VRING_NUM", errno.EPERM],
        ["SET_OWNER", 0],
        ["SET_OWNER", errno.EBUSY],
        ["SET_MEM_TABLE", errno.E2BIG],
        ["SET_VRING_NUM", errno.EINVAL],
        ["NET_SET_BACKEND", errno.EFAULT],
        *[["IOTLB_MSG_V2", errno.EFAULT]] * 3,  # by copies of the descriptor
        ["SET_MEM_TABLE", errno.EPERM],
    ]
    assert misuse["seen"][:MISUSED] == misuse["told"]
    assert misuse["seen"][MISUSED:] == [["SET_OWNER", 0]] * REUSED
    assert misuse["table"] == [8 + 32 * 600, 8 + 32]
    assert not misuse["leaked"], "bytes of a file at the address of a closed device were captured"
    # The foreign owner has ended before its files could be looked at.
    stacks = {(file, cut) for file, cut, length in misuse["stacks"] if length > 10}
    assert stacks == {("libc.so.6", "")}


def has_vduse(image: Path) -> bool:
    """Whether a kernel can have block devices that a process serves on the vDPA bus: Debian's since 6.12."""
    return any("CONFIG_VDPA_USER=m" in one.read_text() for one in image.parent.glob("config-*"))


EVERY = os.environ.get("VUSNIFF_EVERY_KERNEL") == "1"
OWN = [one for one in kernels() if EVERY or not has_vduse(one)] or kernels()
"""Kernels on which all is attached: a later one that was fetched for VDUSE is booted for that, and for all if asked."""


@pytest.mark.parametrize("image", OWN, ids=lambda image: image.name)
def test_every_way_to_attach(image: Path, tmp_path: Path) -> None:
    if shutil.which("qemu-system-x86_64") is None:
        missing("the package qemu-system-x86")
    words = *tree_and_logger(image), "fentry", "kprobe", "rawtp"
    *results, kernel, pair, misuse, losses = boot(image, tmp_path, "tests/vm/inside.py", *words)
    holds_testpmd(pair)
    holds_misuse(misuse)
    assert losses["lost"] > 0
    assert losses["kept"] + losses["lost"] >= TABLES
    assert f"the kernel's buffer was full: also lost were {losses['lost']} call records" in losses["said"]
    assert image.name.endswith(kernel["kernel"])
    assert [result["mode"] for result in results] == ["fentry", "kprobe", "rawtp"]
    for result in results:
        assert "refused" not in result, result["refused"]
        unseen = UNSEEN_BY_RAWTP if result["mode"] == "rawtp" else ()
        arrived = [data for name, _, data in result["sent"] if name not in unseen]
        assert result["seen"] == "".join(arrived)
        assert sum(bool(data) for data in arrived) >= 6
        assert result["identities"]
        assert result["path"]
        assert result["pid"]
        assert result["lost"] == 0
        in_kernel = 0 if result["mode"] == "rawtp" else SIGNALLED
        assert result["signals"] == [WRITTEN + in_kernel, None]
        assert result["closed"] == ["reset", "killed"]
        assert result["exits"] == [[True, 9, True]]
        failed = sum(not data for name, _, data in result["sent"] if name not in unseen)
        assert f"{failed} sends failed and are not in the capture" in result["said"]
        by_kernel = [cut for _, cut, _ in result["stacks"] if cut]
        by_worker = [data for name, _, data in result["sent"] if name == "io_uring worker" and name not in unseen]
        assert len(by_kernel) == sum(map(bool, by_worker)), result["stacks"]
        assert all(cut.startswith("a thread of the kernel sent it") for cut in by_kernel)
        places = {(file, length > 10) for file, cut, length in result["stacks"] if not cut}
        assert places == {("libc.so.6", True)}


# Three minutes a kernel under emulation: not of the default run.
if EVERY:

    @pytest.mark.parametrize("image", kernels(), ids=lambda image: image.name)
    def test_more_pairs(image: Path, tmp_path: Path) -> None:
        """testpmd, QEMU with vhost=on and a vsock, on each kernel: their calls are what the logger has seen."""
        pairs = boot(image, tmp_path, "tests/vm/more.py", *tree_and_logger(image))
        assert [pair["name"] for pair in pairs] == ["testpmd", "vsock", "qemu"]
        testpmd, vsock, qemu = pairs
        holds_testpmd(testpmd)
        for pair, side, least in ((vsock, "kernel vhost-vsock", 15), (qemu, "kernel vhost (labtap1)", 20)):
            assert "refused" not in pair, pair["refused"]
            assert pair["status"] == 0, pair["errors"]
            assert pair["sides"] == [side]
            assert same_calls(pair["seen"]) == same_calls(pair["told"])
            assert len(pair["told"]) >= least
        assert (vsock["address"], vsock["came"], vsock["sent"].strip()) == (42, "from the guest", "from the host")
        assert qemu["used"]["1"], "nothing was sent by the guest"


ROOTS = [(), *([(os.environ["VUSNIFF_LIBBLKIO"],)] if "VUSNIFF_LIBBLKIO" in os.environ else [])]
"""With our driver, and with libblkio of a distribution that has it, where that is asked for."""
WITH_VDUSE = [one for one in kernels() if has_vduse(one)]

# Debian 12's own kernel has none: the test is there where a later one was fetched (tests/vm/fetch.py).
if WITH_VDUSE:

    @pytest.mark.parametrize("image", WITH_VDUSE, ids=lambda image: image.name)
    @pytest.mark.parametrize("root", ROOTS, ids=lambda root: "libblkio" if root else "driver")
    def test_both_sides_of_vduse(image: Path, root: tuple[str, ...], tmp_path: Path) -> None:
        """Calls and messages of the driver, and those of the back-end, are what the logger has seen."""
        if shutil.which("qemu-storage-daemon") is None or shutil.which("vdpa") is None:
            missing("qemu-storage-daemon and vdpa (iproute2)")
        [result] = boot(image, tmp_path, "tests/vm/vduse.py", *tree_and_logger(image), *root)
        assert "refused" not in result, result["refused"]
        assert result["read"] == "the first sector"
        assert result["early"] == [], "a device was there before the probe"
        driver = "/dev/vhost-vdpa-0 (vduse0, vduse)"
        assert result["sides"][driver][1] == "VDUSE vduse0 (qemu-storage-daemon)"
        for side, node, most in (("front", "/dev/vhost-vdpa-", 20), ("back", "/dev/vduse/", 30)):
            seen = [one for one in result["seen"] if one["path"].startswith(node)]
            for one in seen:  # the logger gives what is read and written no number
                control = one["request"] <= 0x1FF
                one |= {"request": 0, "given": one["given"] or one["back"]} if control else {}
            told = [
                one | {"given": one["given"] or one["back"]} if not one["request"] else one
                for one in result["told"][side]
            ]
            if root and side == "front":  # the logger does not hear how libblkio writes messages of the IOTLB
                assert all(one["request"] for one in told)
                messages = [one for one in seen if not one["request"]]
                assert messages
                seen = [one for one in seen if one["request"]]
            assert same_calls(seen) == same_calls(told)
            assert len(told) > most
