"""The page about the conformance test: how it is used, every scenario, and what packaged peers make of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vusniff.conformance.manners import Manner
from vusniff.conformance.scenario import Result, Scenario
from vusniff.families.vhost_user.protocol import ProtocolFeature, feature_name

HEAD = """# Conformance test

`vusniff test` puts a vhost-user back-end or front-end through scripted scenarios and judges it by the specification
(the vhost-user document of QEMU 11.1).

    vusniff test --to backend --connect /tmp/disk.sock --device blk -- \\
        qemu-storage-daemon --blockdev driver=file,node-name=d0,filename=disk.img \\
        --export type=vhost-user-blk,id=e0,node-name=d0,addr.type=unix,addr.path=/tmp/disk.sock,writable=on

What stands after `--` is started, and started again whenever it has ended; without it the program runs already. With
`--listen PATH` it connects to us, once for each scenario. `--device` names the kind of device: then real requests go
through its rings, so that "works" means that data moved. A disk is written: its second sector, which gets back what was
there.

| Result | Means |
| --- | --- |
| pass | as expected |
| fail | the specification says must, and it was not so; or a signal killed the program; or it hung |
| inconclusive | not as expected, and the specification does not demand it; or it could not be seen |
| not applicable | the program does not offer what the scenario is about |

Each scenario leaves a capture in the directory of `--keep` (`./vusniff-test`), as any other: `vusniff read`, `check`,
`view` and `replay` take it. When a signal killed the program, the scenario is cut to the shortest part that still does.

`--format tap`, `junit` and `json` are for programs. `--only 'memory-*'` chooses scenarios, `--list` shows them.
`--expect FILE` names known deviations, one a line, so that a CI job fails on changes only:

    request-unknown  inconclusive  # acknowledges with 0 what it does not know

`--fuzz N --seed S` says N messages of mutated sessions instead: fields at their borders by the layouts, messages
moved, dropped and said again, descriptors left out and exchanged. What kills the back-end or hangs it is cut to its
shortest part, and `vusniff replay` plays its capture. With `--to frontend` our back-end answers some requests so, and
asks requests so on its channel. The front-end is started anew for each session, so far fewer messages are said. What
kills it is found.

Exit status: 0 all as expected, 1 not, 2 not played.
"""


FRONTENDS = """    vusniff test --to frontend --listen /tmp/net.sock --device net --timeout 6 -- \\
        qemu-system-x86_64 -m 256 -object memory-backend-memfd,id=m,size=256M,share=on -numa node,memdev=m \\
        -chardev socket,id=c,path=/tmp/net.sock -netdev vhost-user,id=n,chardev=c -device virtio-net-pci,netdev=n

The front-end is started anew for each scenario, and talks to a small back-end of ours. It gets five times `--timeout`
to start a ring, because a guest may have to boot. Where our back-end does nothing wrong, what the front-end says is
also held to the rules of `vusniff check` that say must.
"""


NOTES = """## What was looked into

- `pieces-every-byte`, `pieces-bytes` with DPDK and Open vSwitch: DPDK takes a header with one recvmsg(2) and a
  payload with one read(2), and ends the connection when either gives fewer bytes than it wants (`read_vhost_message`
  in lib/vhost/vhost_user.c, DPDK 22.11 to 26.07: "Unexpected header size read", "read control message failed"). So a
  header and its payload may come apart (`pieces-header`), and neither may come in pieces: the action `split 12` of
  the proxy ends the connection at SET_VRING_ADDR, whose payload has 40 bytes. The socket is a stream, and a read of
  one may give less than was sent at once (POSIX, read; unix(7), SOCK_STREAM): it is DPDK that has to read on. The
  specification does not say that a message comes in one piece, nor that it may not, so the result is inconclusive.
  Front-ends send each message with one call: in use it is not seen.

Of qemu-storage-daemon, virtiofsd (C) and passt, which serve the protocol by libvhost-user or by what was made of it
(subprojects/libvhost-user/libvhost-user.c of QEMU):

- `no-such-ring-set-vring-num`, `-base`, `-addr`, `no-such-ring-get-vring-base`: the index of the message is not
  compared with the number of rings (`vu_set_vring_num_exec` and its like), so memory beside the rings is written.
- `memory-count-huge`: the number of regions that the message promises is believed (`vu_set_mem_table_exec`).
- `memory-file-too-small-used`, `log-descriptor-too-small`: as much is mapped as the message says, also beyond the end
  of the file (`vu_set_mem_table_exec`, `vu_set_log_base_exec`). Who uses what lies there is killed by SIGBUS (mmap(2)).
  DPDK, Open vSwitch and virtiofsd (Rust) end in the same way.
- `log-too-small`: `vu_log_write` asserts that the log is large enough.
- `ring-not-called`, `ring-call-removed`: `vu_queue_notify` writes to the call descriptor also where there is none. The
  error makes it give up the device (`vu_panic`), and no ring is served from then on. virtiofsd ends.
- virtiofsd (C), `pieces-header`, `cut-payload-7`: `vu_message_read_default` asserts that one read(2) gives all of the
  payload. Which of the two it is depends on how fast the pieces come.
- virtiofsd (C), `empty-get-vring-base`, `long-get-vring-base`, `before-start-stop`, `ring-stops-twice`,
  `ring-kick-replaced`: `fv_queue_set_started` and `fv_queue_cleanup_thread` (tools/virtiofsd/fuse_virtio.c) assert that
  a ring which is stopped has been started, and that one which is started has been stopped.
- passt, `driver-address` and its like: SIGSYS comes from seccomp(2). passt makes a system call that it has forbidden
  itself; which one was not looked into.

Of DPDK and Open vSwitch, which has DPDK's lib/vhost (22.11):

- `disabled-discards`: `rte_vhost_dequeue_burst` takes nothing from a ring that is disabled.
- `ring-restarts-by-kick`: GET_VRING_BASE forgets the addresses of the ring (`vring_invalidate`), and it waits until
  SET_VRING_ADDR gives them again.
- `descriptors-call-deaf-used`: `vhost_vring_call_split` writes to the call descriptor with eventfd_write, which is a
  write(2): of a socket whose other end is closed that raises SIGPIPE, and testpmd leaves it at its default.
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _needs(row: Scenario) -> str:
    names = [feature_name(one) for one in ProtocolFeature if row.needs & one]
    names += [f"feature bit {bit}" for bit in range(64) if row.features >> bit & 1]
    names += [" or ".join(row.device)] if row.device else []
    names += ["--device"] if row.works and not row.device else []
    return ", ".join(names)


def _scenarios(rows: Sequence[Scenario]) -> Iterator[str]:
    yield "| Scenario | What is done | The specification | Needs |"
    yield "| --- | --- | --- | --- |"
    for row in rows:
        says = f"{row.section}: {row.says}" if row.says else row.section
        yield f"| `{row.id}` | {_cell(row.about)} | {_cell(says)} | {_cell(_needs(row))} |"


def _manners(rows: Sequence[Manner]) -> Iterator[str]:
    yield "| Scenario | What our back-end does | What the front-end is to do | The specification |"
    yield "| --- | --- | --- | --- |"
    for row in rows:
        says = f"{row.section}: {row.says}" if row.says else row.section
        yield f"| `{row.id}` | {_cell(row.about)} | {row.goal.value} | {_cell(says)} |"


def _results(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| Program | Version | " + " | ".join(result.value for result in Result) + " | Seconds |"
    yield "| --- | --- |" + " ---: |" * (len(Result) + 1)
    for one in results:
        counts = " | ".join(str(one["counts"].get(result.value, 0)) for result in Result)
        yield f"| {_cell(one['name'])} | {_cell(one['version'])} | {counts} | {one['seconds']:.0f} |"
    for one in results:
        found = [row for row in one["scenarios"] if row["result"] in ("fail", "inconclusive")]
        if not found:
            continue
        yield f"\n### {one['name']}\n"
        yield "| Scenario | Result | What it did | The specification |"
        yield "| --- | --- | --- | --- |"
        for row in found:
            says = f"{row['section']}: {row['says']}" if row["says"] else f"{row['section']}: does not say"
            yield f"| `{row['id']}` | {row['result']} | {_cell(row['why'] or '')} | {_cell(says)} |"


def page(backend: Sequence[Scenario], frontend: Sequence[Manner], results: Sequence[Mapping[str, Any]]) -> str:
    """The whole page."""
    lines = [HEAD, f"## {len(backend)} scenarios for back-ends\n", *_scenarios(backend)]
    lines += [f"\n## {len(frontend)} scenarios for front-ends\n", FRONTENDS, *_manners(frontend)]
    if results:
        lines += ["\n## What packaged programs make of them\n"]
        lines += ["Written by `make conformance`, which says what each program was started with.\n", *_results(results)]
        lines += ["", NOTES]
    return "\n".join(lines).rstrip() + "\n"
