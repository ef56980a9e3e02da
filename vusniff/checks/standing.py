"""Where a session stands, or stood at its end: the few values that a verdict rests on, without its messages.

Made from what the checker remembers anyway, when a session ends or is asked about. Knows neither sentences nor rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from vusniff.amounts import duration
from vusniff.channel import Sender
from vusniff.checks.peers import Peer
from vusniff.checks.stalls import Stall, stalls
from vusniff.checks.step import SessionHistory, Spoken, decoded
from vusniff.families.family import State
from vusniff.families.vhost_user.protocol import F_PROTOCOL_FEATURES, Channels, FrontendRequest, GpuRequest
from vusniff.families.vhost_user.state import DeviceState, Refusal, RingState, Seen, Vring, running
from vusniff.message import Message
from vusniff.record import Closed, Exit
from vusniff.values import dataclass, field

PAGE = 4096
"""No dirty log is smaller."""
SOON_NS = 1_000_000_000
"""How soon after a message a close counts as caused by it, and how long a front-end waits that is kept waiting."""
MAPS = frozenset(
    {
        FrontendRequest.SET_MEM_TABLE,
        FrontendRequest.ADD_MEM_REG,
        FrontendRequest.REM_MEM_REG,
        FrontendRequest.SET_LOG_BASE,
        FrontendRequest.SET_INFLIGHT_FD,
    }
)
"""Requests at which a back-end has to map or unmap memory."""
EVERYTHING = 1 << 62
"""`Standing.whole_until` of a session of which nothing is missing."""


class Point(NamedTuple):
    """One message, as far as a sentence about it needs it."""

    number: int
    name: str
    time_ns: int
    request: int
    value: int | None = None
    """Its only number (features, a count, a result), else the size it speaks of."""
    vring: int | None = None
    need_reply: bool = False

    def __str__(self) -> str:
        return f"{self.name} (#{self.number})"


class Rings(NamedTuple):
    """All rings of a session in numbers; message numbers are 0 for never."""

    addressed: int = 0
    """The first SET_VRING_ADDR that still counts."""
    armed: int = 0
    """The first message that started a ring which still runs."""
    running: int = 0
    """How many run."""
    enabled: int = 0
    """How many are enabled."""
    disabled: int = 0
    """How many of those that run are surely disabled."""
    began: bool = False
    """A ring was started, whether it runs or not."""
    unasked: int = 0
    """How many of those that run nobody has enabled or disabled."""

    @property
    def served(self) -> int:
        """How many run and may be served."""
        return self.running - self.disabled


@dataclass(slots=True)
class Standing:
    """One session."""

    session: int
    judged: bool
    """There are rules for its family; else little is known."""
    frontend: Peer
    backend: Peer
    device: str | None
    first_ns: int
    end_ns: int
    """When it was closed, or how late the capture tells of."""
    fresh: bool
    """Seen from its first byte."""
    whole_until: int
    """Number of the last message before something was lost or unreadable; `EVERYTHING` for never."""
    unseen: bool
    """Whole messages of the front-end may be missing."""
    answered: bool
    """The back-end has said something."""
    last_request: Point | None
    """Of the front-end, on the main channel."""
    last_reply: Point | None
    """Of the back-end, on the main channel."""
    asked_back: Point | None
    """What the back-end said first on the main channel that has no reply flag: what only a front-end says."""
    waiting: Point | None
    """The oldest request of the front-end that must be answered and was not."""
    waiting_backend: Point | None
    """The same of the back-end, on its own channel."""
    before: Point | None = None
    """The request of the front-end before its last."""
    slowest: tuple[int, Point] | None = None
    """The longest wait for an answer that came, in nanoseconds, and the request."""
    slow_before: Point | None = None
    """The request right before that one, where it asked for no answer and has to do with memory."""
    gap_ns: int = 0
    """Between the last two requests of the front-end."""
    spoken: tuple[Spoken, ...] = ()
    """What was said that is no message: the first of each side."""
    features_offered: Seen[int] | None = None
    features: Seen[int] | None = None
    protocol_offered: Seen[int] | None = None
    protocol: Seen[int] | None = None
    queue_num: Seen[int] | None = None
    slots: Seen[int] | None = None
    status_written: int | None = None
    """The last SET_STATUS."""
    regions: int | None = None
    """Memory regions; None where that is not known."""
    regions_by: int = 0
    rings: Rings = field(default_factory=Rings)
    used: bool = False
    """A ring was stopped at another base than it began with: something flowed."""
    unused: bool = False
    """Every ring that was stopped was stopped at the base it began with."""
    stalls: tuple[Stall, ...] = ()
    """Rings in which nothing moves."""
    refusal: Refusal | None = None
    """The last request that was refused."""
    closed: Closed | None = None
    closer: Sender | None = None
    exits: list[tuple[Sender | None, Exit]] = field(default_factory=list)
    """Ends of processes that held an end of its connections, and which side they were."""
    told: bool = False
    """A log tells of it: no bytes were seen."""
    calls: bool = False
    """It is one of calls to the kernel."""
    made: Mapping[str, Seen[bool]] | None = None
    """Of one on the node by which VDUSE devices are made, which has no rings: name -> whether it is there."""
    timed: bool = True
    """Its times were measured; else they only keep the order."""
    roles: tuple[str, str] = ("front-end", "back-end")
    """What its family calls the two sides."""
    family: str = "vhost-user"
    """Name of its family."""

    @property
    def last(self) -> Point | None:
        """The last message on the main channel."""
        points = [point for point in (self.last_request, self.last_reply) if point is not None]
        return max(points, default=None)

    @property
    def quiet_ns(self) -> int:
        """How long nothing had been said on the main channel."""
        return max(self.end_ns - self.last.time_ns, 0) if self.last else 0

    @property
    def unread(self) -> bool:
        """The back-end closed before it had read the requests since its last reply: which of them it read is not
        known."""
        closed = self.closer is Sender.BACKEND and self.closed is not None and self.closed.reason == "reset"
        request, reply = self.last_request, self.last_reply
        return closed and request is not None and (reply is None or reply.number < request.number - 1)

    @property
    def started(self) -> bool:
        """A ring was started, as far as the back-end can have read that it was."""
        proved = self.last_reply.number if self.last_reply is not None else 0
        return self.rings.began and not (self.unread and self.rings.armed > proved)

    @property
    def asks_enabling(self) -> bool:
        """Rings have to be enabled one by one: feature bit 30 is acknowledged."""
        return self.features is not None and bool(self.features.value & F_PROTOCOL_FEATURES)

    @property
    def never_enabled(self) -> bool:
        """Rings were started and wait to be enabled: none was enabled or disabled yet."""
        return self.asks_enabling and 0 < self.rings.running == self.rings.unasked and not self.rings.enabled

    @property
    def one_sided(self) -> bool:
        """The front-end acknowledged features and shared memory, and the answer to its first question was not seen."""
        asked = self.waiting is not None and self.waiting.request == FrontendRequest.GET_FEATURES
        nothing = not self.answered and self.asked_back is None and not self.spoken
        return self.judged and asked and nothing and self.features is not None and self.regions_by > 0

    def role(self, side: Sender | None) -> str:
        """``the back-end``, or what its family calls it; ``a peer`` where the side is not known."""
        return "a peer" if side is None else f"the {self.roles[side is Sender.BACKEND]}"

    @property
    def link(self) -> str:
        """What the sides are joined by, and what is closed at the end: ``the connection``, or the file of a device."""
        return "the device file" if self.calls else "the connection"

    def apart(self, nanoseconds: int) -> str:
        """A time that passed as words with a space behind: ``1.00 ms ``; empty where times were not measured."""
        return f"{duration(nanoseconds)} " if self.timed else ""

    def knows(self, number: int) -> bool:
        """Nothing is missing of what came before a message."""
        return self.fresh and number <= self.whole_until

    def peer(self, side: Sender | None) -> Peer | None:
        """Who sits on a side."""
        return {Sender.FRONTEND: self.frontend, Sender.BACKEND: self.backend}.get(side) if side else None


def point(message: Message) -> Point:
    """What is kept of a message."""
    values = decoded(message) or {}
    value = next((values[key] for key in VALUES if key in values), None)
    index = values.get("index")
    return Point(
        message.number,
        message.name,
        message.time_ns,
        message.request or 0,
        value if isinstance(value, int) else None,
        index if isinstance(index, int) else None,
        message.need_reply and not message.reply,
    )


def stand(
    memory: SessionHistory,
    state: State,
    judged: bool,
    end_ns: int,
    closed: Closed | None = None,
    closer: Sender | None = None,
    sides: Sequence[Sender | None] = (),
    calls: bool = False,
) -> Standing:
    """Where a session stands; ``judged``: there are rules for it; ``sides``: which side each exit of the memory was."""
    standing = Standing(
        memory.session,
        judged,
        memory.frontend,
        memory.backend,
        memory.device,
        memory.first_ns,
        end_ns,
        memory.fresh,
        EVERYTHING if memory.incomplete_since is None else memory.incomplete_since,
        memory.unseen,
        memory.answered,
        point(memory.last_main) if memory.last_main else None,
        point(memory.last_reply) if memory.last_reply else None,
        point(memory.asked_back) if memory.asked_back else None,
        _waiting(memory, main=True),
        _waiting(memory, main=False),
        point(memory.main_before) if memory.main_before else None,
        (memory.slow_ns, point(memory.slowest)) if memory.slowest else None,
        point(memory.slow_before) if memory.slow_before else None,
        memory.last_main.time_ns - memory.main_before.time_ns if memory.last_main and memory.main_before else 0,
        tuple(_spoken(memory)),
        closed=closed,
        closer=closer,
        exits=list(zip(sides, memory.exits, strict=True)),
        told=memory.from_log,
        calls=calls,
        timed=memory.timed,
        roles=memory.roles,
        family=memory.family,
    )
    if not judged and memory.unanswered:
        standing.waiting = point(next(iter(memory.unanswered.values())))
    failed = memory.last_reply
    if not judged and failed is not None and failed.failed:
        standing.refusal = Refusal(failed.answers or 0, failed.name, failed.more.get("error", 0), failed.number)
    if isinstance(state, DeviceState):
        standing.features_offered, standing.features = state.features_offered, state.features
        standing.protocol_offered, standing.protocol = state.protocol_features_offered, state.protocol_features
        standing.queue_num, standing.slots = state.queue_num, state.max_mem_slots
        standing.status_written = memory.status_written.value if memory.status_written else None
        standing.regions = None if state.regions is None else len(state.regions)
        standing.regions_by = state.regions_by
        standing.rings = _rings(state, memory.kicked, calls)
        standing.made = getattr(state, "made", None)
        standing.used, standing.unused = bool(memory.used), bool(memory.unused) and not memory.used
        standing.stalls = stalls(memory, state, end_ns)
        standing.refusal = _log_refused(memory) or (state.refused[-1] if state.refused else None)
    return standing


def _log_refused(memory: SessionHistory) -> Refusal | None:
    """The last reply refuses SET_LOG_BASE: 8 bytes, a small number. libvhost-user repeats the size of the log there."""
    reply = memory.last_reply
    value = (decoded(reply) or {}).get("u64") if reply is not None else None
    if reply is None or reply.request != FrontendRequest.SET_LOG_BASE or not value or value >= PAGE:
        return None
    return Refusal(reply.answers or 0, reply.name, value, reply.number)


def drawn(request: Message) -> bool:
    """It is answered when something was drawn, which may take as long as nobody looks (QEMU 10.2,
    vhost_user_gpu_unblock)."""
    return request.channel is Channels.GPU and request.request == GpuRequest.GPU_DMABUF_UPDATE


def _waiting(memory: SessionHistory, main: bool) -> Point | None:
    """The oldest request that must be answered, of the front-end or of the back-end."""
    found = [
        entry.message
        for link in memory.links.values()
        for entry in link.waiting
        if entry.must and (entry.message.channel is Channels.MAIN) is main and not drawn(entry.message)
    ]
    return point(min(found, key=lambda message: message.number)) if found else None


def is_started(ring: Vring) -> bool:
    """The kernel was told to serve it; vhost-user has no such request: there a kick does that."""
    return ring.life is not None and ring.life.value is RingState.STARTED


def _rings(state: DeviceState, began: bool, calls: bool) -> Rings:
    """``calls``: a kick descriptor alone starts no ring."""
    addressed = armed = run = enabled = disabled = unasked = 0
    for ring in state.vrings.values():
        if ring.addresses is not None:
            addressed = min(addressed or EVERYTHING, ring.addresses.by)
        if ring.enabled is not None and ring.enabled.value:
            enabled += 1
        if ring.life is None:
            continue
        if is_started(ring) if calls else running(ring):
            run += 1
            disabled += ring.enabled is not None and not ring.enabled.value
            unasked += ring.enabled is None or not (ring.enabled.value or ring.enabled.by)
            armed = min(armed or EVERYTHING, ring.life.by)
    return Rings(addressed, armed, run, enabled, disabled, began or bool(run), unasked)


def _spoken(memory: SessionHistory) -> Iterator[Spoken]:
    """What was said that is no message. Who said it before any message came is known by the name of the process; where
    that does not tell it was not the front-end, whose requests could be read."""
    names = {memory.frontend.comm: Sender.FRONTEND, memory.backend.comm: Sender.BACKEND}
    for one in memory.spoken.values():
        if one.side is None and memory.last_main is not None:
            by_name = names.get(one.comm) if one.comm and len(names) > 1 else None
            yield one._replace(side=by_name or Sender.BACKEND)
        else:
            yield one


VALUES = ("u64", "num", "size", "num_regions")
"""Fields that may be the one number of a message, the first that is there."""
STEPS: dict[int, str] = {
    **dict.fromkeys((FrontendRequest.GET_FEATURES, FrontendRequest.SET_OWNER), "the first question"),
    **dict.fromkeys(
        (
            FrontendRequest.GET_PROTOCOL_FEATURES,
            FrontendRequest.SET_PROTOCOL_FEATURES,
            FrontendRequest.SET_FEATURES,
            FrontendRequest.GET_QUEUE_NUM,
            FrontendRequest.GET_MAX_MEM_SLOTS,
            FrontendRequest.GET_STATUS,
            FrontendRequest.SET_STATUS,
        ),
        "negotiation",
    ),
    **dict.fromkeys((FrontendRequest.GET_CONFIG, FrontendRequest.SET_CONFIG), "the config space"),
    **dict.fromkeys(
        (FrontendRequest.SET_MEM_TABLE, FrontendRequest.ADD_MEM_REG, FrontendRequest.REM_MEM_REG), "memory"
    ),
    **dict.fromkeys((FrontendRequest.GET_INFLIGHT_FD, FrontendRequest.SET_INFLIGHT_FD), "the inflight area"),
    **dict.fromkeys(
        (
            FrontendRequest.SET_VRING_NUM,
            FrontendRequest.SET_VRING_BASE,
            FrontendRequest.SET_VRING_ADDR,
            FrontendRequest.SET_VRING_KICK,
            FrontendRequest.SET_VRING_CALL,
            FrontendRequest.SET_VRING_ERR,
        ),
        "setting up the rings",
    ),
    FrontendRequest.SET_VRING_ENABLE: "enabling the rings",
}
"""Request -> how far a session is that ends with it."""


def step_of(standing: Standing) -> str:
    """How far a session came that never started."""
    last = standing.last
    if last is None or not standing.answered:
        return "connecting"
    if standing.rings.running and standing.asks_enabling and not standing.rings.enabled:
        return "enabling the rings"
    if last.request == FrontendRequest.SET_OWNER and standing.protocol_offered is not None:
        return "negotiation"
    request = last.request
    if standing.calls:
        from vusniff.families.vhost_kernel.protocol import USER

        request = USER.get(request, 0)
    return STEPS.get(request, f"after {last.name}")
