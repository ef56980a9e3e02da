"""Records the real captures of this directory again, from programs of the distribution, through ``vusniff proxy``.

usage: PYTHONPATH=tests record.py [PAIR...]    as root; default: all that are kept here

Name, boot and kernel of the machine are replaced: they say nothing about vhost-user.
"""

from __future__ import annotations

import io
import struct
import sys
import tempfile
from pathlib import Path

from peers.pairs import PAIRS, Pair
from peers.processes import Stage
from peers.proxied import run_through_proxy
from peers.troubles import TROUBLES
from peers.vfio import PAIR as VFIO

from vusniff.capture.facts import Host
from vusniff.capture.writer import CaptureWriter

HERE = Path(__file__).resolve().parent
KEPT = ("qemu-testpmd", "virtio-user-packed-reconnect", "qemu-blk", "qemu-ovs", "vfio-user")
TROUBLE = HERE / "trouble"
"""What `docs/situations.md` shows."""
HOST = Host("lab", "00000000-0000-4000-8000-000000000000", "Linux", "x86_64")
LIMIT = 300_000
"""Bytes that a capture in a repository may have."""


def without_machine(capture: bytes) -> bytes:
    """The capture with HOST in its first block, where the machine is described."""
    header = io.BytesIO()
    CaptureWriter(header, source="proxy", host=HOST).close()
    (length,) = struct.unpack_from("=I", capture, 4)
    return header.getvalue() + capture[length:]


def record(pair: Pair, directory: Path) -> None:
    """Run one pair, and keep what was seen of it."""
    with Stage(Path("/tmp") / f"vusniff-{pair.name}") as stage, tempfile.TemporaryDirectory() as place:
        seen = Path(place) / "seen.pcapng"
        run_through_proxy(pair, stage, seen)
        capture = without_machine(seen.read_bytes())
    if len(capture) > LIMIT:
        raise SystemExit(f"{pair.name}: {len(capture)} bytes are too many for a repository ({LIMIT})")
    (directory / f"{pair.name}.pcapng").write_bytes(capture)
    print(f"{pair.name}: {len(capture)} bytes")


def main(names: list[str]) -> None:
    """Record the pairs named."""
    places = dict.fromkeys((*PAIRS, VFIO), HERE) | dict.fromkeys(TROUBLES, TROUBLE)
    for pair, directory in places.items():
        if pair.name in (names or (*KEPT, *(one.name for one in TROUBLES))):
            if missing := pair.missing():
                raise SystemExit(f"{pair.name} needs {', '.join(missing)}")
            record(pair, directory)


if __name__ == "__main__":
    main(sys.argv[1:])
