"""The proxy's addresses: whose socket files are replaced, who may reach them, who is on the other side."""

from __future__ import annotations

import os
import secrets
import socket
import stat
import threading
from pathlib import Path

import pytest

from vusniff.errors import SourceError
from vusniff.sources.host import endpoints
from vusniff.sources.host.endpoints import (
    Listener,
    ProxySide,
    connect,
    differs,
    is_connected_stream,
    listen,
    peer_inode,
    peer_process,
)


def reach(listener: Listener, path: str) -> None:
    """A peer gets through to the listener."""
    sock = connect(ProxySide(False, path))
    assert sock is not None
    accepted = listener.accept()
    assert accepted is not None
    accepted.close()
    sock.close()


def bound(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    return sock


def test_a_socket_of_its_own_is_for_its_owner_only_and_is_removed(tmp_path: Path) -> None:
    side = ProxySide(True, str(tmp_path / "a"))
    before = os.umask(0)
    os.umask(before)
    listener = listen(side)
    assert stat.S_IMODE(os.stat(side.path).st_mode) == 0o600
    assert os.umask(before) == before
    reach(listener, side.path)
    assert listener.accept() is None
    listener.close()
    assert not os.path.exists(side.path)


def test_owner_and_mode_are_those_of_the_socket_it_stands_for(tmp_path: Path) -> None:
    original, path = tmp_path / "original", tmp_path / "a"
    with bound(original):
        original.chmod(0o662)
        listener = listen(ProxySide(True, str(path)), str(original))
        assert stat.S_IMODE(path.stat().st_mode) == 0o662
        assert not differs(str(path), str(original))
        listener.close()
        if os.geteuid() == 0:
            os.chown(original, 1234, 4321)
            listener = listen(ProxySide(True, str(path)), str(original))
            assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)
            listener.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give something away")
@pytest.mark.parametrize("kind", ["link", "another name", "socket"])
def test_what_stands_in_the_place_of_the_socket_is_not_given_away(tmp_path: Path, kind: str) -> None:
    original, path, victim = tmp_path / "original", tmp_path / "socket", tmp_path / "victim"
    bound(original).close()
    os.chown(original, 65534, 65534)
    original.chmod(0o666)
    victim.touch(0o600)
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "another name":
        os.link(victim, path)
    else:
        bound(path).close()
    endpoints.take_over(str(original), str(path))
    assert (victim.stat().st_uid, stat.S_IMODE(victim.stat().st_mode)) == (0, 0o600)
    assert (path.stat().st_uid == 65534) is path.is_socket()


def test_an_owner_that_cannot_be_taken_over_leaves_it_closed_to_others(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a socket to another user needs root")
    tmp_path.chmod(0o777)
    original, path = tmp_path / "original", tmp_path / "a"
    with bound(original):
        original.chmod(0o666)
        child = os.fork()
        if child == 0:  # pragma: no cover, another process
            try:
                os.chdir(tmp_path)
                os.setgroups([])
                os.setresgid(4321, 4321, 4321)
                os.setresuid(4321, 4321, 4321)
                listen(ProxySide(True, "a"), "original")
                os._exit(0 if differs("a", "original") else 3)
            finally:
                os._exit(4)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    bound(path).close()
    listener = listen(ProxySide(True, str(path)))
    reach(listener, str(path))
    listener.close()


@pytest.mark.parametrize(
    "kind", ["alive", "bound", "connected", "datagram", "packet", "file", "directory", "long", "nowhere", "nul"]
)
def test_anything_else_at_the_path_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    words = {
        "alive": "another program is bound to it already",
        "bound": "another program is bound to it already",
        "connected": "another program is bound to it already",
        "datagram": "another program is bound to it already",
        "packet": "another program is bound to it already",
        "file": "not a socket",
        "directory": "not a socket",
        "long": "too long",
        "nowhere": "No such file",
        "nul": "null",
    }
    types = {"datagram": socket.SOCK_DGRAM, "connected": socket.SOCK_DGRAM, "packet": socket.SOCK_SEQPACKET}
    with socket.socket(socket.AF_UNIX, types.get(kind, socket.SOCK_STREAM)) as sock:
        if kind in ("alive", "bound", "datagram", "connected", "packet"):
            sock.bind(str(path))
        if kind == "connected":
            sock.connect(str(path))
        if kind == "alive":
            sock.listen()
        elif kind == "file":
            path.write_text("mine")
        elif kind == "directory":
            path.mkdir()
        wanted = {"long": f"{path}{'x' * 200}", "nowhere": f"{path}/b", "nul": f"{path}\0"}.get(kind, str(path))
        with pytest.raises(SourceError, match=words[kind]):
            listen(ProxySide(True, wanted))
        assert path.exists() == (kind not in ("long", "nowhere", "nul"))


def test_a_socket_that_does_not_listen_yet_is_not_replaced(tmp_path: Path) -> None:
    """It listens a moment later, at the same file, and peers reach it."""
    path = tmp_path / "a"
    with bound(path) as slow, pytest.raises(SourceError, match="bound to it already"):
        listen(ProxySide(True, str(path)))
    path.unlink()
    with bound(path) as slow:
        with pytest.raises(SourceError):
            listen(ProxySide(True, str(path)))
        slow.listen()
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(path))
        assert os.listdir(tmp_path) == ["a"]


def test_one_of_many_who_replace_a_stale_socket_file_gets_it(tmp_path: Path) -> None:
    """The others are refused, and nobody's socket is taken away: who got it is reached at the path."""
    path = tmp_path / "a"
    for _ in range(30):
        bound(path).close()
        listeners: list[Listener] = []
        refused: list[SourceError] = []
        barrier = threading.Barrier(4)

        def try_to(
            barrier: threading.Barrier = barrier,
            listeners: list[Listener] = listeners,
            refused: list[SourceError] = refused,
        ) -> None:
            barrier.wait()
            try:
                listeners.append(listen(ProxySide(True, str(path))))
            except SourceError as error:
                refused.append(error)

        threads = [threading.Thread(target=try_to) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(listeners) + len(refused) == 4
        (listener,) = listeners
        reach(listener, str(path))
        listener.close()
        assert os.listdir(tmp_path) == []


def test_somebody_elses_file_is_not_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    listener = listen(ProxySide(True, str(path)))
    path.unlink()
    with bound(path):
        listener.close()
        assert path.exists()


def test_abstract_sockets() -> None:
    name = "@vusniff-test-" + secrets.token_hex(8)
    listener = listen(ProxySide(True, name), "/nowhere")
    reach(listener, name)
    with pytest.raises(SourceError, match="in use"):
        listen(ProxySide(True, name))
    listener.close()


def test_connecting_waits_for_what_may_come_and_tells_what_will_not(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert connect(ProxySide(False, str(path))) is None
    with bound(path):
        assert connect(ProxySide(False, str(path))) is None
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        with pytest.raises(SourceError, match=f"cannot connect to {path}"):
            connect(ProxySide(False, str(path)))


def test_who_is_on_the_other_side() -> None:
    a, b = socket.socketpair()
    with a, b:
        assert peer_inode(a) == os.fstat(b.fileno()).st_ino
        assert peer_inode(b) == os.fstat(a.fileno()).st_ino
        process = peer_process(a)
        assert process is not None
        assert process.pid == os.getpid()
        assert process.comm == Path("/proc/self/comm").read_text().rstrip("\n")
        assert is_connected_stream(a)
    inet = socket.socket()
    with inet:
        assert not is_connected_stream(inet)
        assert peer_inode(inet) is None


@pytest.mark.parametrize("path", ["", "@"])
def test_a_path_without_a_name_is_refused(path: str) -> None:
    with pytest.raises(SourceError, match="names no socket: give a path, or @NAME"):
        ProxySide(True, path)


def test_spellings_of_one_path_are_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len({ProxySide(True, path).place for path in ("a", "./a", str(tmp_path / "a"))}) == 1
    assert ProxySide(True, "@a").place != ProxySide(True, "a").place
