"""Calls on vhost devices of the kernel: from the records of the kernel program to frames of a capture.

Owns which descriptors are one device (a process and a node, and of /dev/vhost-net the tap), and which of two records is
the return of the other. What the kernel program reports of a device that is no vhost device is dropped here, and the
program told.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable

from vusniff.bpf import records
from vusniff.bpf.load import CallProgram
from vusniff.capture.recording import Recording
from vusniff.families.vhost_kernel.call import frame
from vusniff.families.vhost_kernel.protocol import VDUSE_NAME, Control, Ioctl
from vusniff.record import Call, Closed, Descriptor, End, Facts, Frame, Lost, Process
from vusniff.sources.host.kernel_devices import family_of_node, kernel_side, path_of, vduse_node
from vusniff.sources.host.kernel_nodes import detail_of, is_open, nodes, open_devices, tap_name
from vusniff.sources.host.unixdiag import full_name
from vusniff.sources.probe import waiting
from vusniff.sources.probe.passed import descriptors
from vusniff.sources.probe.selection import Candidate, Selection
from vusniff.sources.stacks.unwinder import Unwinder
from vusniff.values import dataclass, field, replace

HOLD_NS = 50_000_000
"""As long as a send is held: what happened later is not written before it."""
PIECE_BYTES = 256 << 10
OPEN_LIMIT = 4096
"""Calls that have not returned and are remembered."""
FILES_LIMIT = 4096
"""Descriptors whose device is remembered; of more the oldest are forgotten, and asked for again at their next call."""
LOOKED_AT = 256
"""Descriptors of one device by which it is seen to be open."""
_BACK = 2
_CONTROLS = (
    Control.VDUSE_GET_VQ_STATE,
    Control.VDUSE_SET_STATUS,
    Control.VDUSE_UPDATE_IOTLB,
    Control.VDUSE_SET_VQ_GROUP_ASID,
)


@dataclass(frozen=True, slots=True)
class _Entered:
    """A call that has not returned."""

    request: int
    time: int
    data: bytes
    missing: int
    passed: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class _HeldCall:
    """A call that has returned, and is not written yet."""

    time: int
    tid: int
    frame: Frame
    stacked: bool
    """Its call stack was copied."""


@dataclass(slots=True)
class _CalledDevice:
    """A device as one process has it."""

    connection: int
    rdev: int
    pid: int
    comm: str
    """As its process was called when it was met: later that may have ended."""
    files: set[int] = field(default_factory=set)
    count: int = 0


class Calls:
    """All calls of one capture. ``epoch`` turns kernel time into nanoseconds since the epoch."""

    def __init__(
        self,
        program: CallProgram,
        writer: Recording,
        epoch: Callable[[int], int],
        selection: Selection,
        label: Callable[[int, str], str | None],
        command: Callable[[int], str],
        unwinder: Unwinder | None = None,
    ) -> None:
        self._program = program
        self._writer = writer
        self._epoch = epoch
        self._selection = selection
        self._label = label
        self._command = command
        self._unwinder = unwinder if program.stacks is not None else None
        self._nodes: dict[int, str] = {}
        self._entered: dict[int, _Entered] = {}
        self._devices: dict[tuple[int, str, str], _CalledDevice] = {}
        self._of_file: dict[tuple[int, int, int], _CalledDevice | None] = {}
        """Process, descriptor and device number -> its device; None for one that is not asked for."""
        self._held: deque[_HeldCall] = deque()
        self._lost = 0
        self.lost_stacks = 0
        """Call stacks for which the kernel had no room, once it is closed."""
        self.messages = self.connections = 0
        self._look()
        before = open_devices()
        for one in before:
            program.opened_by(one.pid, one.fds)
        self._before = {(one.pid, fd, one.path) for one in before for fd in one.fds}
        """Open before the capture began, so that what was called on them is not known."""

    def _look(self) -> None:
        for rdev, path in nodes().items():
            if self._nodes.get(rdev) != path:
                self._nodes[rdev] = path
                self._program.judge(rdev, True)

    def drain(self, now: int) -> None:
        """Take what the kernel has, and write what is old enough; ``now`` in kernel time."""
        pieces = []
        while piece := self._program.ring.take(PIECE_BYTES):
            pieces.append(piece)
        self._take_stacks()  # after the calls: the stack of each is handed over before it
        for piece in pieces:
            for _, at, _ in records.split(piece):
                self._take(piece, at)
        if self._held and self._unwinder is not None:
            self._unwinder.turn()
        while self._held and self._held[0].time <= now - HOLD_NS and not self._waits(self._held[0], now):
            self._write()
        if (lost := self._program.lost()) > self._lost:
            self._writer.lost(Lost(None, self._epoch(now), lost - self._lost))
            self._lost = lost

    def _take_stacks(self) -> None:
        ring = self._program.stacks
        while ring is not None and self._unwinder is not None and (piece := ring.take(PIECE_BYTES)):
            self._unwinder.take(piece)

    def _waits(self, call: _HeldCall, now: int) -> bool:
        """Whether its stack is still being unwound, and worth waiting for."""
        if not call.stacked or self._unwinder is None:
            return False
        return self._unwinder.is_pending(call.tid, call.time) and call.time > now - waiting.WAIT_NS

    def _write(self) -> None:
        call = self._held.popleft()
        frame = call.frame
        if call.stacked and self._unwinder is not None:
            stack = self._unwinder.pop(call.tid, call.time) or waiting.LOST
            frame = replace(frame, facts=replace(frame.facts, stack=stack))
        self._writer.frame(frame)

    def check(self, now: int) -> None:
        """End the devices that are closed."""
        if not any(self._is_closed(device) for device in self._devices.values()):
            return
        self.drain(now)  # what was said before is in the ring, also by a process that has ended meanwhile
        waiting = {call.frame.connection for call in self._held} if self._unwinder is not None else ()
        for key, device in list(self._devices.items()):
            if not self._is_closed(device) or device.connection in waiting:
                continue
            del self._devices[key]
            self._of_file = {key: one for key, one in self._of_file.items() if one is not device}
            if self._unwinder is None:  # else nothing of it is held, and others may still wait for their stacks
                self._flush()
            self._writer.close_connection(Closed(device.connection, self._epoch(now), "eof", 0, device.count))

    def _is_closed(self, device: _CalledDevice) -> bool:
        device.files = {fd for fd in device.files if is_open(device.pid, fd, device.rdev)}
        return not device.files

    def _flush(self) -> None:
        while self._held:
            self._write()

    def close(self, now: int) -> None:
        """Write what is left, and detach."""
        self.drain(now)
        while self._held and self._waits(self._held[-1], time.monotonic_ns()):
            time.sleep(waiting.PAUSE_SECONDS)
            self.drain(time.monotonic_ns())
        self._flush()
        self.check(now)
        self.lost_stacks = self._program.lost_stacks()
        self._program.close()

    @property
    def lost(self) -> int:
        """Records that were lost."""
        return self._lost

    def _take(self, piece: bytes, at: int) -> None:
        kind, has_fd, _, tid, tgid, request, time_ns, result, fd, rdev, size, asked = records.CALL_HEAD.unpack_from(
            piece, at
        )
        at += records.CALL_HEAD.size
        passed_at, at = at, at + records.PASSED_FD.size
        data = piece[at : at + size]
        if kind == 0:
            passed = descriptors(piece[passed_at:at], tgid) if has_fd else ()
            self._entered[tid] = _Entered(request, time_ns, data, asked - size, _named(passed, tgid))
            if len(self._entered) > OPEN_LIMIT:
                del self._entered[next(iter(self._entered))]
            return
        entered = self._entered.pop(tid, None)
        stacked = self._unwinder is not None and entered is not None
        if rdev not in self._nodes:
            self._look()
        if rdev not in self._nodes:  # a device of another kind that takes ioctls of these types
            self._program.judge(rdev, False)
            self._ask(tid, entered, False)
            return
        if request == 0 and result < 0 and entered is None:
            return  # nobody asked and nothing was said: a read that would have had to wait
        if entered is None:  # a read has nothing to say when it is entered; of another call the beginning was lost
            entered = _Entered(request, time_ns, b"", 0, ())
        came_back = bool(size) and (request == 0 or bool(request >> 30 & _BACK))
        said = data if came_back else entered.data
        missing = asked - size if asked > size else 0 if came_back else entered.missing
        number = request or _control(self._nodes[rdev], came_back, said)
        device = self._device(tgid, fd, rdev, number) if number else None
        self._ask(tid, entered, device is not None)
        if device is None:
            return
        call = Call(
            device.connection,
            self._epoch(entered.time),
            number,
            said,
            came_back,
            result,
            -result if result < 0 else 0,
            fd,
            time_ns - entered.time,
            Facts(entered.passed, Process(tgid, device.comm, tid)),
            missing,
        )
        device.count += 1
        self.messages += 1
        self._hold(_HeldCall(entered.time, tid, frame(call, self._writer.order), stacked))

    def _hold(self, call: _HeldCall) -> None:
        """Calls return in another order than they begin: one on a vDPA device waits while VDUSE's back-end calls."""
        at = len(self._held)
        while at and self._held[at - 1].time > call.time:
            at -= 1
        self._held.insert(at, call)

    def _ask(self, tid: int, entered: _Entered | None, wanted: bool) -> None:
        """Have the stack of a call unwound, or forgotten."""
        if self._unwinder is None or entered is None:
            return
        if wanted:
            self._unwinder.ask(tid, entered.time)
        else:
            self._unwinder.drop(tid, entered.time)

    def _device(self, pid: int, fd: int, rdev: int, request: int) -> _CalledDevice | None:
        key = pid, fd, rdev
        if key in self._of_file:
            return self._of_file[key]
        if len(self._of_file) >= FILES_LIMIT:
            del self._of_file[next(iter(self._of_file))]
        device = self._of_file[key] = self._meet(pid, fd, rdev, self._nodes[rdev], request)
        return device

    def _meet(self, pid: int, fd: int, rdev: int, path: str, request: int) -> _CalledDevice | None:
        joined_late = (pid, fd, path) in self._before and request != Ioctl.SET_OWNER  # nothing counts before that
        if self._selection.restricts:
            candidate = Candidate(frozenset(), frozenset({path}), frozenset({pid}), frozenset())
            if not self._selection.wants(candidate):
                return None
        detail = detail_of(pid, fd, path)
        known = self._devices.get((pid, path, detail))
        if known is None and detail:  # a tap that was opened after the device
            known = self._devices.pop((pid, path, ""), None)
            if known is not None:
                self._devices[pid, path, detail] = known
        elif known is None:  # asked too late: it is of the only device of its process
            same = [one for (owner, node, _), one in self._devices.items() if (owner, node) == (pid, path)]
            known = same[0] if len(same) == 1 else None
        if known is None:
            comm = self._command(pid)
            ends = (
                End(process=Process(pid, comm, pid, self._label(pid, path))),
                End(process=kernel_side(path, detail, self._served_by(vduse_node(path, detail)))),
            )
            family = family_of_node(path)
            made = self._writer.open(path_of(path, detail), ends, None, joined_late, family)
            known = self._devices[pid, path, detail] = _CalledDevice(made.id, rdev, pid, comm)
            self.connections += 1
        if len(known.files) < LOOKED_AT:
            known.files.add(fd)
        return known

    def _served_by(self, node: str) -> str:
        """The program that has the back-end's node of VDUSE, as far as its calls were seen."""
        owner = next((one for (_, path, _), one in self._devices.items() if path == node), None)
        return "" if owner is None else self._label(owner.pid, node) or full_name(owner.pid, owner.comm)


def _named(passed: tuple[Descriptor, ...], pid: int) -> tuple[Descriptor, ...]:
    """A tap by the name of its interface."""
    return tuple(
        replace(one, name=f"{one.name} ({tap})")
        if one.number is not None and (tap := tap_name(pid, one.number))
        else one
        for one in passed
    )


def _control(path: str, came_back: bool, data: bytes) -> int:
    """Which message was written to a device, or read from it; 0 for one that is not known."""
    kind = int.from_bytes(data[:4], sys.byteorder) if len(data) >= 8 else -1
    if family_of_node(path) == VDUSE_NAME:
        if not came_back:
            return Control.VDUSE_RESPONSE
        return _CONTROLS[kind] if 0 <= kind < len(_CONTROLS) else 0
    if kind == 1:
        return Control.IOTLB_MISS if came_back else Control.IOTLB_MSG
    return (Control.IOTLB_MISS_V2 if came_back else Control.IOTLB_MSG_V2) if kind == 2 else 0
