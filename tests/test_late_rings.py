"""Rings of devices that were set up before: what QEMU's monitor says, what becomes of it, monitors that misbehave."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from peers.processes import wait_until
from test_ring_history import BASE, MOVES, run

from vusniff.capture.writer import CaptureWriter
from vusniff.record import End, Process, Sample
from vusniff.sources.host import labels
from vusniff.sources.rings import libvirt, qmp
from vusniff.sources.rings.qmp import Monitor, MonitorError, devices

SECOND = 1_000_000_000
RING = {"num": 128, "desc": 0x7F0000000000, "avail": 0x7F0000000800, "used": 0x7F0000001000, "kick": 0, "call": 0}
STATUS: dict[str, Any] = {
    "vhost-started": True,
    "num-vqs": 2,
    "guest-features": {"transports": ["VIRTIO_RING_F_EVENT_IDX: Used & avail. event fields enabled"]},
    "vhost-dev": {"acked-features": {}},
}
NAME = "/machine/peripheral/disk0/virtio-backend"
ANSWERS: dict[str, Any] = {
    "qmp_capabilities": {},
    "x-query-virtio": [{"path": NAME, "name": "virtio-blk"}, {"path": 5}, "what"],
    "x-query-virtio-status": STATUS,
    "x-query-virtio-vhost-queue-status": RING,
    "qom-get": "c0",
}


@contextlib.contextmanager
def monitor(path: Path, answer: Callable[[dict[str, Any]], bytes], greeting: bytes = b'{"QMP": {}}\n') -> Iterator[str]:
    """A monitor that serves one client."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError, ValueError):
                link, _ = listener.accept()
                with link, link.makefile("rb") as lines:
                    link.sendall(greeting)
                    for line in lines:
                        link.sendall(answer(json.loads(line)))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield str(path)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def answers(changes: dict[str, Any]) -> Callable[[dict[str, Any]], bytes]:
    def answer(asked: dict[str, Any]) -> bytes:
        value = (ANSWERS | changes)[asked["execute"]]
        if asked["execute"] == "x-query-virtio-vhost-queue-status" and asked["arguments"]["queue"] != 0:
            return b'{"error": {"class": "GenericError"}}\n'
        return b'{"event": "RESUME"}\n' + json.dumps({"return": value}).encode() + b"\n"

    return answer


def test_a_monitor_tells_where_rings_are(tmp_path: Path) -> None:
    with monitor(tmp_path / "m", answers({})) as path:
        (device,) = devices(path)
    assert (device.pid, device.name, device.users) == (os.getpid(), NAME, frozenset({"c0"}))
    (place,) = device.places.rings
    assert (place.index, place.size, place.packed, place.event_index) == (0, 128, False, True)
    areas = [(one.user_address, one.size) for one in device.places.regions]
    assert areas == [(RING["desc"], 2048), (RING["avail"], 262), (RING["used"], 1030)]


def test_a_packed_ring(tmp_path: Path) -> None:
    status = STATUS | {"guest-features": {"transports": ["VIRTIO_F_RING_PACKED: Device supports packed virtqueue"]}}
    with monitor(tmp_path / "m", answers({"x-query-virtio-status": status})) as path:
        (device,) = devices(path)
    assert device.places.rings[0].packed
    assert [one.size for one in device.places.regions] == [2048, 4, 4]


@pytest.mark.parametrize(
    "changes",
    [
        {"x-query-virtio-status": STATUS | {"vhost-started": False}},
        {"x-query-virtio-status": 7},
        {"x-query-virtio": []},
    ],
)
def test_devices_that_vhost_does_not_serve(tmp_path: Path, changes: dict[str, Any]) -> None:
    with monitor(tmp_path / "m", answers(changes)) as path:
        assert devices(path) == []


@pytest.mark.parametrize(
    "ring", [RING | {"num": 0}, RING | {"num": 1 << 20}, RING | {"desc": -1}, RING | {"used": "x"}, [], "x", None]
)
def test_a_ring_that_cannot_be(tmp_path: Path, ring: object) -> None:
    with monitor(tmp_path / "m", answers({"x-query-virtio-vhost-queue-status": ring})) as path:
        (device,) = devices(path)
    assert device.places.rings == ()
    assert device.places.why == "QEMU's monitor does not tell where its rings are"


@pytest.mark.parametrize(
    ("greeting", "answer", "why"),
    [
        (b"", b"", "does not answer; another program may use it"),
        (b"{}\n", b"{", "does not answer"),
        (b"{}\n", b"what\n", "Expecting value"),
        (b"{}\n", b"[" * 100_000 + b"\n", "."),
        (b"x" * 5_000_000, b"", "not a monitor|does not answer"),
        (b"{}\n", b'{"event": "' + b"x" * 3_000_000 + b'"}\n' * 2, "."),
    ],
    ids=["silent", "half an answer", "no JSON", "nested", "no line", "too long"],
)
def test_a_monitor_that_misbehaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, greeting: bytes, answer: bytes, why: str
) -> None:
    monkeypatch.setattr(qmp, "SECONDS", 0.2)
    with monitor(tmp_path / "m", lambda asked: answer, greeting) as path, pytest.raises(MonitorError, match=why):
        Monitor(path)


def test_a_monitor_that_takes_its_time_for_each_answer_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "MONITOR_SECONDS", 0.2)
    asked: list[object] = []

    def answer(said: dict[str, Any]) -> bytes:
        asked.append(said)
        return answers({"x-query-virtio-status": STATUS | {"num-vqs": 1 << 40}})(said)

    slow = monitor(tmp_path / "m", lambda said: time.sleep(0.01) or answer(said))  # type: ignore[func-returns-value]
    with slow as path, pytest.raises(MonitorError, match="does not answer"):
        devices(path)
    assert len(asked) < qmp.QUEUES


def test_answers_of_any_depth_and_any_type(tmp_path: Path) -> None:
    """What can just be read is too deep to be written."""
    refused = 0
    depths = (*range(sys.getrecursionlimit() - 240, sys.getrecursionlimit(), 4), 100_000)
    for number, depth in enumerate(depths):
        deep = b'{"return": {"vhost-started": 1, "guest-features": ' + b"[" * depth + b"]" * depth + b"}}\n"

        def answer(said: dict[str, Any], deep: bytes = deep) -> bytes:
            return deep if said["execute"] == "x-query-virtio-status" else answers({})(said)

        with monitor(tmp_path / f"m{number}", answer) as path:
            try:
                devices(path)
            except MonitorError:
                refused += 1
    assert refused
    wrongs: tuple[Any, ...] = (None, True, -1, 1e999, "x" * 5000, [], {}, [[]], {"path": {}})
    for wrong in wrongs:
        for number, name in enumerate(ANSWERS):
            with monitor(tmp_path / f"{number}-{len(repr(wrong))}", answers({name: wrong})) as path:
                with contextlib.suppress(MonitorError):
                    assert [ring for one in devices(path) for ring in one.places.rings if ring.size is True] == []
                (tmp_path / f"{number}-{len(repr(wrong))}").unlink()


def test_a_process_names_any_number_of_monitors_and_few_are_asked(tmp_path: Path) -> None:
    words = [word for number in range(2000) for word in ("-qmp", f"unix:{tmp_path}/{number}")]
    words += ["-chardev", "socket,id=c,path=/x", "-netdev", "vhost-user,chardev=c,id=n"]
    program = tmp_path / "qemu-system-x86_64"
    program.symlink_to(sys.executable)
    with subprocess.Popen([program, "-c", "input()", *words], stdin=subprocess.PIPE) as child:
        try:
            wait_until(lambda: len(labels.command_line(child.pid)) > 4000, "the command line")
            assert list(qmp.monitors(child.pid)) == [f"{tmp_path}/{number}" for number in range(qmp.MONITORS)]
        finally:
            child.kill()


def test_nothing_is_said_to_another_process(tmp_path: Path) -> None:
    asked: list[object] = []

    def answer(said: dict[str, Any]) -> bytes:
        asked.append(said)
        return b"{}\n"

    with monitor(tmp_path / "m", answer) as path, pytest.raises(MonitorError, match="another process listens there"):
        devices(path, os.getpid() + 1)
    assert asked == []


LISTEN = """
import json, os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print(flush=True)
link, _ = listener.accept()
lines = link.makefile("rwb", buffering=0)
lines.write(b"{}\\n")
for line in lines:
    lines.write(json.dumps({"return": []}).encode() + b"\\n")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a process mounts of its own")
def test_a_monitor_in_a_container(tmp_path: Path) -> None:
    """Its path is one among the mounts of its process, and not among ours."""
    program, own = tmp_path / "qemu-system-x86_64", tmp_path / "own"
    program.symlink_to(sys.executable)
    own.mkdir()
    script = f"mount -t tmpfs own {own} && exec {program} -c {shlex.quote(LISTEN)} {own}/m -qmp unix:{own}/m,server=on"
    words = ["unshare", "--mount", "sh", "-c", script]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert not (own / "m").exists()
        (path,) = qmp.monitors(child.pid)
        assert devices(path, child.pid) == []
        child.kill()


def test_a_monitor_that_libvirt_has_is_asked_by_virsh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process that libvirt calls the domain of this name, and of no other."""
    said, virsh = tmp_path / "said", tmp_path / "virsh"
    answers = {name: json.dumps({"return": value, "id": "libvirt-7"}) for name, value in ANSWERS.items()}
    virsh.write_text(
        f"#!{sys.executable}\nimport json, sys\nopen({str(said)!r}, 'a').write(repr(sys.argv[1:]) + '\\n')\n"
        f"asked = json.loads(sys.argv[-1])\nprint({answers!r}[asked['execute']])\n"
    )
    virsh.chmod(0o755)
    monkeypatch.setattr(libvirt, "PID_FILES", tmp_path)
    program = tmp_path / "qemu-system-x86_64"
    program.symlink_to(sys.executable)
    words = [str(program), "-c", "input()", "-name", "guest=web-1,debug-threads=on"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as child:
        wait_until(lambda: len(labels.command_line(child.pid)) == len(words), "the command line")
        assert libvirt.domain(child.pid) is None
        (tmp_path / "web-1.pid").write_text(f"{child.pid + 1}\n")
        assert libvirt.domain(child.pid) is None
        (tmp_path / "web-1.pid").write_text(f"{child.pid}\n")
        assert libvirt.domain(child.pid) == "web-1"
        with pytest.raises(MonitorError, match="virsh, which asks it, is not there"):
            qmp.devices_of_domain("web-1", child.pid)
        monkeypatch.setattr(libvirt, "VIRSH", str(virsh))
        (device,) = qmp.devices_of_domain("web-1", child.pid)
        child.kill()
    assert (device.pid, device.users) == (child.pid, frozenset({"c0"}))
    assert [ring.size for ring in device.places.rings] == [128, 128]
    first = said.read_text().splitlines()[0]
    assert first.startswith("['--connect', 'qemu:///system', 'qemu-monitor-command', '--domain', 'web-1', ")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exec sleep 100", "does not answer"),
        ("exit 1", "does not reach"),
        ("echo what", "."),
        ("yes", "does not answer"),
    ],
)
def test_virsh_may_say_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str) -> None:
    virsh = tmp_path / "virsh"
    virsh.write_text(f"#!/bin/sh\n{script}\n")
    virsh.chmod(0o755)
    monkeypatch.setattr(libvirt, "VIRSH", str(virsh))
    monkeypatch.setattr(libvirt, "SECONDS", 0.2)
    with pytest.raises(MonitorError, match=why):
        qmp.devices_of_domain("web-1", os.getpid())


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(MonitorError, match="No such file"):
        Monitor(str(tmp_path / "m"))


def test_a_device_on_whose_socket_nobody_spoke(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    with CaptureWriter(path, source="probe", order="little") as writer:
        ends = End(7, Process(12, "qemu-system-x86", None, "vm1 disk0 (blk)")), End(8, Process(34, "qemu-storage-da"))
        one = writer.open("/run/disk.sock", ends, None, True)
        assert writer.describe(one.id) == 1
        for at, used in enumerate((690, 790), 1):
            position = replace(MOVES, used=used, told_by="QMP")
            writer.evidence(Sample(BASE + at * SECOND, (position,), ends=((1, 0),)), by_file=True)
    _, *lines = run("rings", path)[1].splitlines()
    assert ["(place told by QMP)" in line for line in lines] == [True, True]
    (device,) = map(json.loads, run("top", path, "--json")[1].splitlines())
    assert (device["vm"], device["device"], device["words"]) == ("vm1 disk0 (blk)", "blk", "moving (from QMP)")
    assert device["rings"][0]["told_by"] == "QMP"
    one = json.loads(run("rings", path, "--json")[1].splitlines()[0])
    assert (one["session"], one["connection"], one["told_by"], one["state"]) == (None, 1, "QMP", "moving")
    assert "# ring 0 moves (place told by QMP)" in run("read", path)[1]
    for words in (("check", path), ("state", path), ("summary", path)):
        assert run(*words)[0] in (0, 1, 2)
