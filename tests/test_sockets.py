"""Which connections there are, who is at both ends, and what their users call them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers.ovs import SCHEMA
from peers.processes import Stage, wait_for_socket, wait_until
from peers.requirements import require
from probing import connected

from vusniff.families.vhost_user.device import deduce
from vusniff.sources.host import labels, ovs
from vusniff.sources.host.held import shareable
from vusniff.sources.host.sockets import SocketRow, describe_candidates, list_connections
from vusniff.sources.host.unixdiag import Diag, Namespaces, path_text, unix_sockets
from vusniff.sources.probe.selection import Candidate, Selection

QEMU = (
    "qemu-system-x86_64 -name guest=vm1,debug-threads=on -chardev socket,id=c0,path=/run/a.sock,server=on "
    "-netdev vhost-user,id=hostnet1,chardev=c0,queues=2 -device virtio-net-pci,netdev=hostnet1 "
    "-chardev socket,id=c1,path=/run/b.sock -device vhost-user-blk-pci,chardev=c1,id=disk1 "
    "-chardev socket,id=mon,path=/run/mon.sock,server=on -mon chardev=mon"
)


def test_a_qemu_command_line() -> None:
    qemu = labels.parse_qemu(tuple(QEMU.split()))
    assert qemu is not None
    assert qemu.name == "vm1"
    assert [(one.id, one.path, one.users, one.family, one.type) for one in qemu.chardevs] == [
        ("c0", "/run/a.sock", ("hostnet1",), "vhost-user", "net"),
        ("c1", "/run/b.sock", ("disk1",), "vhost-user", "blk"),
        ("mon", "/run/mon.sock", (), None, None),
    ]


@pytest.mark.parametrize(
    ("words", "device"),
    [
        ("-netdev vhost-user,id=n,chardev=c", "net"),
        ("-device vhost-user-fs-pci,chardev=c,tag=x", "fs"),
        ("-device vhost-user-snd-pci,chardev=c", "sound"),
        ("-device vhost-user-vga,chardev=c", "gpu"),
        ("-device vhost-user-media-pci,chardev=c", "media"),
        ("-device vhost-user-device-pci,virtio-id=34,chardev=c", "i2c"),
        ("-device vhost-user-test-device-pci,virtio-id=999,chardev=c", None),
        ("-object cryptodev-vhost-user,id=k,chardev=c", "crypto"),
    ],
)
def test_the_type_of_a_device_by_its_command_line(words: str, device: str | None) -> None:
    """And the capture deduces it from there, where the messages do not tell."""
    qemu = labels.parse_qemu(("qemu-system-x86_64", "-chardev", "socket,id=c,path=/run/a.sock", *words.split()))
    assert qemu is not None
    (chardev,) = qemu.chardevs
    assert (chardev.family, chardev.type) == ("vhost-user", device)
    guess = deduce(None, None, frozenset(), (f"vm1 {chardev.users[0]} ({device})",))
    assert (guess.device if guess else None) == device


def _database(path: Path, answer: bytes) -> threading.Thread:
    """Answers one question as ovsdb-server does."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as client:
            client.recv(4096)
            client.sendall(answer)
            client.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


INTERFACES = {
    "id": 0,
    "error": None,
    "result": [
        {
            "rows": [
                {"name": "br0", "type": "internal", "options": ["map", []]},
                {"name": "vhost1", "type": "x", "options": ["map", [["vhost-server-path", "/run/a.sock"]]]},
            ]
        }
    ],
}


@pytest.mark.parametrize(
    ("answer", "path", "label"),
    [
        (json.dumps(INTERFACES).encode(), "/run/a.sock", "ovs-vswitchd vhost1"),
        (json.dumps(INTERFACES).encode(), "/run/openvswitch/vhu7", "ovs-vswitchd vhu7"),
        (
            b'{"result": [5, {"rows": {}}, {"rows": [7, {"name": 3}, {"name": "x", "options": 1}]}]}',
            "/a/b",
            "ovs-vswitchd b",
        ),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "/a/b", "ovs-vswitchd b"),
        (b"[" * 100_000, "/a/b", "ovs-vswitchd b"),
    ],
)
def test_the_port_of_open_vswitch(tmp_path: Path, answer: bytes, path: str, label: str) -> None:
    """Asked of the database that the process was given; whatever that answers gives a name."""
    database = tmp_path / "db.sock"
    thread = _database(database, answer)
    arguments = ("ovs-vswitchd", f"unix:{database}", "--pidfile")
    assert ovs.port_label(os.getpid(), arguments, path) == label
    thread.join()


def test_the_port_of_a_real_database() -> None:
    require([] if SCHEMA.exists() else ["openvswitch-switch-dpdk"])
    with Stage() as stage:
        database = stage.path("db.sock")

        def run(*words: str) -> None:
            subprocess.run(words, cwd=stage.directory, check=True, capture_output=True, timeout=60)

        run("ovsdb-tool", "create", "conf.db", str(SCHEMA))
        control = ["--no-chdir", f"--unixctl={stage.path('database.ctl')}", f"--remote=punix:{database}"]
        server = stage.start("database", ["ovsdb-server", str(stage.path("conf.db")), *control])
        wait_for_socket(database, server)
        words = "init -- add-br br0 -- add-port br0 vhost1 -- set Interface vhost1 type=dpdkvhostuserclient"
        words += " options:vhost-server-path=/run/vm1.sock"
        run("ovs-vsctl", "--no-wait", "--timeout=30", f"--db=unix:{database}", *words.split())
        found = ovs.port_label(os.getpid(), ("ovs-vswitchd", f"unix:{database}"), "/run/vm1.sock")
        assert found == "ovs-vswitchd vhost1"


def test_no_database_is_no_delay() -> None:
    assert (
        ovs.port_label(os.getpid(), ("ovs-vswitchd", "unix:/no/such/db.sock"), "/run/a.sock") == "ovs-vswitchd a.sock"
    )
    assert ovs.port_label(os.getpid(), ("ovs-vswitchd",), None) == "ovs-vswitchd"


def test_nothing_is_said_to_a_socket_of_another_user(tmp_path: Path) -> None:
    """Who calls a program ovs-vswitchd cannot have root talk to the sockets of others."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a socket of root, and a process of another user")
    path = tmp_path / "db.sock"
    with socket.socket(socket.AF_UNIX) as listener, subprocess.Popen(["sleep", "60"], user=65534) as other:
        listener.bind(str(path))
        listener.listen()
        assert ovs.port_label(other.pid, ("ovs-vswitchd", f"unix:{path}"), "/a/b") == "ovs-vswitchd b"
        with listener.accept()[0] as client:
            assert client.recv(1) == b""
        other.kill()


def test_the_way_libvirt_writes_it() -> None:
    words = (
        "/usr/bin/qemu-system-x86_64",
        "-name",
        "vm,,2,process=qemu:vm2",
        "-chardev",
        "socket,id=charnet0,fd=33,server=on",
        "-netdev",
        '{"type":"vhost-user","chardev":"charnet0","id":"hostnet0"}',
        "-device",
        '{"driver":"virtio-net-pci","netdev":"hostnet0","id":"net0"}',
        "-chardev",
        '{"id":"c1","backend":{"type":"socket","data":{"addr":{"type":"unix","data":{"path":"/x"}}}}}',
    )
    qemu = labels.parse_qemu(words)
    assert qemu is not None
    assert qemu.name == "vm,2"
    assert [(one.id, one.path, one.fd, one.users) for one in qemu.chardevs] == [("charnet0", None, 33, ("hostnet0",))]


def test_other_programs_have_no_vm_name() -> None:
    assert labels.parse_qemu(("/usr/bin/python3", "-name", "x")) is None
    assert labels.parse_qemu(()) is None
    assert labels.label(os.getpid(), "/run/a.sock") is None
    assert labels.label(0, "/run/a.sock") is None


@given(st.lists(st.text(max_size=40), max_size=8))
def test_any_command_line_gives_names_or_none(words: list[str]) -> None:
    arguments = ("qemu-system-x86_64", *words)
    assert labels.parse_qemu(arguments) is not None
    list(labels.vdevs(arguments))
    labels.names_path(arguments, "/run/a.sock")


def test_bound_names() -> None:
    assert path_text(b"/run/a.sock\0") == "/run/a.sock"
    assert path_text(b"\0abstract") == "@abstract"
    assert path_text(b"\xff\0") == "\\xff"
    assert path_text(b"") is None


def test_a_connection_of_our_own(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    near, far = connected(path)
    with near, far:
        inodes = os.fstat(near.fileno()).st_ino, os.fstat(far.fileno()).st_ino
        (row,) = [row for row in list_connections() if row.path == path]
        assert row.inodes == inodes
        assert row.state == "connected"
        assert [[party.pid for party in side] for side in row.parties] == [[os.getpid()], [os.getpid()]]
        assert row.listener is None
        assert not row.likely
        found = unix_sockets()
        assert found[inodes[0]].peer == inodes[1]
        assert found[inodes[1]].path == path
    with contextlib.closing(Diag()) as diag:
        assert diag.one(inodes[0]) is None


def test_a_listener_without_a_connection(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        (row,) = [row for row in list_connections() if row.path == path]
        assert (row.state, row.connected) == ("listening", False)
        assert row.listener is not None
        assert row.listener.pid == os.getpid()


def test_another_network_namespace(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("another network namespace needs root")
    path = tmp_path / "s"
    program = (
        "import socket,sys; l=socket.socket(1); l.bind(sys.argv[1]); l.listen(); a=socket.socket(1);"
        "a.connect(sys.argv[1]); b,_=l.accept(); print('there', flush=True); sys.stdin.read()"
    )
    words = ["unshare", "--net", sys.executable, "-c", program, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert [row.state for row in list_connections() if row.path == str(path)] == ["connected"]
        other.communicate()


def test_a_namespace_is_entered_by_any_process_that_lives_there(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("another network namespace needs root")
    words = ["unshare", "--net", "sh", "-c", "readlink /proc/self/ns/net; read line"]
    gone = subprocess.Popen(["true"])
    gone.wait()
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        number = int(other.stdout.readline().strip().removeprefix("net:[").removesuffix("]"))
        namespaces = Namespaces()
        for pid in (gone.pid, os.getpid(), other.pid):
            diag = namespaces.diag(number, pid)
            assert diag is not None
            assert list(diag.all()) == []
            namespaces.close()
        other.communicate("\n")
    assert namespaces.diag(number, other.pid) is None
    namespaces.try_again()
    assert namespaces.diag(number, os.getpid()) is None
    own = namespaces.diag(0)
    assert own is not None
    assert list(own.all()) != []
    namespaces.close()


def test_what_a_process_holds() -> None:
    event, memory = os.eventfd(0), os.memfd_create("guest-ram")
    os.ftruncate(memory, 4096)
    found = shareable(os.getpid())
    assert f"memfd:{os.fstat(memory).st_ino}" in found
    assert found[f"memfd:{os.fstat(memory).st_ino}"].size == 4096
    assert any(key.startswith("eventfd:") for key in found)
    os.close(event)
    os.close(memory)
    assert shareable(0) == {}


def test_selection() -> None:
    one = Candidate(frozenset({7, 8}), frozenset({"/run/vm1/net0.sock"}), frozenset({os.getpid()}))
    assert Selection().wants(one)
    assert Selection(paths=("/run/vm1/*",)).wants(one)
    assert Selection(paths=("net0.sock",)).wants(one)
    assert not Selection(paths=("/run/vm2/*",)).wants(one)
    assert Selection(inodes=(8,)).wants(one)
    assert not Selection(inodes=(9,)).wants(one)
    assert Selection(pids=(os.getppid(),)).wants(one)
    assert not Selection(pids=(os.getpid(),), inodes=(9,)).wants(one)
    assert Selection(comms=(Path("/proc/self/comm").read_text().strip()[:4] + "*",)).wants(one)
    assert not Selection(vms=("vm1",)).wants(one)


def test_a_file_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "s").touch()
    status = (tmp_path / "s").stat()
    device = os.major(status.st_dev) << 20 | os.minor(status.st_dev)
    bound = Candidate(
        frozenset(), frozenset({"/in/container/s.sock"}), frozenset(), frozenset({(device, status.st_ino)})
    )
    assert Selection(paths=(str(tmp_path / "?"),)).wants(bound)
    assert not Selection(paths=(str(tmp_path / "?x"),)).wants(bound)


def test_what_exists_in_words() -> None:
    row = SocketRow("/run/a", (1, 2), "connected", ((), ()), None, True, "x")
    assert describe_candidates([row]) == "this 1 looks like vhost-user: /run/a (? <-> ?)"
    assert describe_candidates([row] * 10).endswith(" and 2 more")


@pytest.mark.slow
def test_a_virtual_machine_and_its_disk() -> None:
    require([] if Path("/usr/bin/qemu-storage-daemon").exists() else ["qemu-system-x86", "qemu-system-common"])
    with Stage() as stage:
        path, disk = stage.path("blk.sock"), stage.path("disk")
        disk.write_bytes(bytes(1 << 20))
        export = f"type=vhost-user-blk,id=e0,node-name=d0,addr.type=unix,addr.path={path},writable=on"
        blockdev = f"driver=file,node-name=d0,filename={disk}"
        monitor = stage.path("vhost-qmp.sock")
        chardev = f"socket,path={monitor},server=on,wait=off,id=m0"
        storage = ["qemu-storage-daemon", "--blockdev", blockdev, "--export", export, "--chardev", chardev]
        stage.start("backend", [*storage, "--monitor", "chardev=m0"])
        wait_until(monitor.is_socket, f"a socket at {monitor}")
        wait_until(path.is_socket, f"a socket at {path}")
        (listening,) = [row for row in list_connections() if row.path == str(path)]
        assert (listening.state, listening.likely) == ("listening", True)
        (asked,) = [row for row in list_connections() if row.path == str(monitor)]
        assert not asked.likely, asked.evidence
        words = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-name", "guest=vm1", "-m", "64"]
        words += ["-object", "memory-backend-memfd,id=m,size=64M,share=on", "-machine", "pc,accel=tcg,memory-backend=m"]
        words += ["-chardev", f"socket,id=c0,path={path}", "-device", "vhost-user-blk-pci,chardev=c0,id=disk1"]
        machine = stage.start("machine", words)

        def rows() -> list[SocketRow]:
            return [row for row in list_connections() if row.path == str(path) and row.state == "connected"]

        wait_until(lambda: bool(rows()), "the connection")
        (row,) = rows()
        assert row.label.startswith("vm1 disk1 (blk) <-> qemu-storage-daemon")
        assert row.likely
        assert row.evidence == "command line of qemu-system-x86_64"
        assert row.listener is not None
        assert labels.vm_name(machine.pid) == "vm1"
        assert Selection(vms=("vm1",)).wants(Candidate(frozenset(), frozenset(), frozenset({machine.pid})))
        command = [sys.executable, "-m", "vusniff", "sockets"]
        table = subprocess.run(command, capture_output=True, text=True, check=True)
        assert f"{path} vm1 disk1 (blk) (qemu-system-x86_64 {machine.pid})" in " ".join(table.stdout.split())
        assert re.search("looks? like vhost-user", table.stderr), "others may run on this machine"
        lines = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout.splitlines()
        (described,) = [one for one in map(json.loads, lines) if one["path"] == str(path)]
        assert described["likely"] is True
        assert described["ends"][0][0]["label"] == "vm1 disk1 (blk)"
        assert (described["ends"][0][0]["comm"], described["ends"][0][0]["name"]) == (
            "qemu-system-x86",
            "qemu-system-x86_64",
        )
        narrow = ["script", "-qec", f"stty cols 80; NO_COLOR=1 {shlex.join(command)}", "/dev/null"]
        shown = subprocess.run(narrow, capture_output=True, text=True, check=True).stdout
        assert re.search(rf"connected  {re.escape(str(path))}\s+connected by +vm1 disk1 \(blk\)", shown)
