"""Logs of DPDK's vhost library: VHOST_CONFIG of 20.11 to 25.11, also in those of Open vSwitch, SPDK and testpmd.

Words: lib/vhost/vhost_user.c (vhost_user_msg_handler: ``read message NAME``; each handler: what it read) and
lib/vhost/socket.c. Since 22.03 the path of the socket stands in brackets in front of each text; before, connections
cannot be told apart. DPDK tells names, order, memory regions, indices of kick and call descriptors, enable, negotiated
features and protocol features, bases at a stop; never what was offered, ring addresses, sizes or its answers, but those
that it says were needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from vusniff.families.vhost_user.protocol import F_RING_PACKED
from vusniff.families.vhost_user.protocol import FrontendRequest as F
from vusniff.sources.logs.facts import (
    BACKEND,
    FRONTEND,
    Fact,
    LoggedEnd,
    LoggedMessage,
    LoggedOpening,
    LoggedText,
    request_of,
)
from vusniff.sources.logs.prefix import Line

MARK = re.compile(rb"VHOST_|v[hH]ost|guest (?:physical|virtual) +addr|mmap off")
"""What a line has that this is about."""
KEYS = 4096
"""Connections with a message that is not complete."""
REGIONS = 64
WHY_LIMIT = 200
"""Characters of a line that are told as the reason of an end."""
LINES = 64
"""Lines behind a message that is not complete."""
_HEAD = re.compile(r"(?:VHOST_(?:CONFIG|DATA|LOG_\w+): *)(?:\((?P<path>[^()]{1,256})\) +)?(?P<text>.*)", re.S)
_NEW = re.compile(r"new vhost user connection is \d+")
_CLIENT = re.compile(r"(?:(?P<path>\S+): )?connected$")
_READ = re.compile(r"read message (VHOST_USER_\w+)$")
_SIZE = re.compile(r"guest memory region(?: \d+)?,? size: (0x[0-9a-f]+)$")
_REGION = {
    "guest_address": re.compile(r"guest physical addr: (0x[0-9a-f]+)$"),
    "user_address": re.compile(r"guest virtual +addr: (0x[0-9a-f]+)$"),
    "mmap_offset": re.compile(r"mmap off +: (0x[0-9a-f]+)$"),
}
_VALUES: tuple[tuple[re.Pattern[str], int, Callable[[re.Match[str]], dict[str, int]]], ...] = (
    (re.compile(r"negotiated Virtio features: (0x[0-9a-f]+)$"), F.SET_FEATURES, lambda m: {"u64": int(m[1], 16)}),
    (
        re.compile(r"negotiated Vhost-user protocol features: (0x[0-9a-f]+)$"),
        F.SET_PROTOCOL_FEATURES,
        lambda m: {"u64": int(m[1], 16)},
    ),
    (
        re.compile(r"set queue enable: (\d+) to qp idx: (\d+)$"),
        F.SET_VRING_ENABLE,
        lambda m: {"index": int(m[2]), "num": int(m[1])},
    ),
    (re.compile(r"new device status\(0x([0-9a-f]+)\):$", re.I), F.SET_STATUS, lambda m: {"u64": int(m[1], 16)}),
    (
        re.compile(r"log mmap size: (\d+), offset: (\d+)$"),
        F.SET_LOG_BASE,
        lambda m: {"log_size": int(m[1]), "log_offset": int(m[2])},
    ),
)
_FILE = re.compile(r"vring (kick|call) idx:(\d+) file:(-?\d+)$")
_BASE = re.compile(r"vring base idx:(\d+) last_used_idx:\d+ last_avail_idx:(\d+)\.?$")
_STOP = re.compile(r"vring base idx:(\d+) file:(-?\d+)$")
_INFLIGHT = re.compile(r"(get|set)_inflight_fd (num_queues|queue_size|mmap_size|mmap_offset): (\d+)$")
_FAILED = re.compile(r"vhost message handling failed|vhost read message .*failed|failed to alloc queue", re.I)
_RESET = re.compile(r"recvmsg failed(?: on fd \d+)?(?:$| \(Connection reset by peer\))")
"""A socket that cannot be read: the other side closed with bytes unread (DPDK 26.07, read_fd_message)."""
_ALONE = "DPDK"
"""What the only connection is called where no path is told."""
_TROUBLE = re.compile(r"fail|invalid|expect|unexpected|too many|cannot|could ?n.t|truncated|not handled", re.I)
FILES = {"kick": F.SET_VRING_KICK, "call": F.SET_VRING_CALL}


class Dpdk:
    """One log."""

    writer = BACKEND
    program = "DPDK"

    def __init__(self) -> None:
        self._waiting: dict[str, list[Fact]] = {}
        """Connection -> its last message, which later lines tell more of, and what came behind it."""
        self._now = _ALONE
        """The connection of the last line: what follows a memory region has no path in old versions."""
        self._packed: dict[str, bool] = {}
        """Connection -> whether its rings are packed, where its features were told: then a base has more than an
        index, which is all that is told."""

    def feed(self, line: Line) -> list[Fact]:
        """What a line tells, together with what it completes."""
        head = _HEAD.search(line.text)
        if head is None:
            return self._more(line, line.text, None)
        key = head["path"] or _ALONE
        if key in ("device", "dma", "thread", "vduse"):  # words that stand where a path would
            key = _ALONE
        self._now = key
        text = head["text"].strip()
        found = _READ.match(text)
        if found:
            request = request_of(found[1])
            if request is not None:
                return [*self._complete(key), *self._begin(LoggedMessage(line, key, request))]
        if _NEW.match(text):
            self._packed.pop(key, None)
            return [*self._complete(key), LoggedOpening(line, key, True), LoggedText(line, key)]
        client = _CLIENT.match(text)
        if client:
            key = client["path"] or key
            self._packed.pop(key, None)
            return [*self._complete(key), LoggedOpening(line, key, False), LoggedText(line, key)]
        if text == "vhost peer closed":
            return [*self._complete(key), LoggedText(line, key), LoggedEnd(line, key, FRONTEND, "eof")]
        if _FAILED.match(text):
            facts = [*self._complete(key), LoggedText(line, key)]
            why = _why(facts)
            if _RESET.match(why):
                return [*facts, LoggedEnd(line, key, FRONTEND, "reset")]
            return [*facts, LoggedEnd(line, key, BACKEND, f'after it wrote "{why}"')]
        return self._more(line, text, key)

    def finish(self) -> list[Fact]:
        """What was not complete at the end of the log."""
        return [fact for key in list(self._waiting) for fact in self._complete(key)]

    def _begin(self, message: LoggedMessage) -> list[Fact]:
        done: list[Fact] = []
        if len(self._waiting) >= KEYS:
            done = self._complete(next(iter(self._waiting)))
        self._waiting[message.key] = [message]
        return done

    def _complete(self, key: str) -> list[Fact]:
        facts = self._waiting.pop(key, [])
        if facts and isinstance(facts[0], LoggedMessage) and facts[0].request == F.SET_MEM_TABLE:
            regions = facts[0].values.get("regions")
            if regions:
                whole = all(len(region) == 4 for region in regions)
                facts[0].values |= {"num_regions": len(regions), "padding": 0} if whole else {}
                facts[0].descriptors = len(regions)
        return facts

    def _more(self, line: Line, text: str, key: str | None) -> list[Fact]:
        """More of the message before, or a line of its own; ``key`` is None for one that does not say that it is
        DPDK's."""
        waiting = self._waiting.get(self._now)
        message = waiting[0] if waiting else None
        if isinstance(message, LoggedMessage) and waiting is not None:
            told = self._tells(message, text, line)
            if told is not None:
                waiting += told
                return []
            if len(waiting) < LINES:
                waiting.append(LoggedText(line, key))
                return []
        return [LoggedText(line, key if key != _ALONE else None)]

    def _tells(self, message: LoggedMessage, text: str, line: Line) -> list[Fact] | None:
        """What a line says of a message: facts that follow from it; None where it says nothing of it."""
        for pattern, request, values in _VALUES:
            if message.request == request and (found := pattern.match(text)):
                message.values |= values(found)
                if request == F.SET_FEATURES and len(self._packed) < KEYS:
                    self._packed[message.key] = bool(message.values["u64"] & F_RING_PACKED)
                return []
        if message.request == F.SET_MEM_TABLE:
            return self._memory(message, text)
        found = _FILE.match(text)
        if found and message.request == FILES[found[1]]:
            passed = int(found[3]) >= 0
            message.values |= {"u64": int(found[2]) | (0 if passed else 0x100)}
            message.descriptors = int(passed)
            return []
        found = _STOP.match(text)
        if found and message.request == F.GET_VRING_BASE:
            index, base = int(found[1]), int(found[2]) & 0xFFFFFFFF
            message.values |= {"index": index}
            return [LoggedMessage(line, message.key, F.GET_VRING_BASE, True, {"index": index, "num": base})]
        found = _BASE.match(text)
        if found and message.request == F.SET_VRING_BASE:
            split = self._packed.get(message.key) is False
            message.values |= {"index": int(found[1])} | ({"num": int(found[2])} if split else {})
            return []
        found = _INFLIGHT.match(text)
        if found and message.request in (F.GET_INFLIGHT_FD, F.SET_INFLIGHT_FD):
            message.values[found[2]] = int(found[3])
            return []
        return None

    def _memory(self, message: LoggedMessage, text: str) -> list[Fact] | None:
        regions: list[dict[str, int]] = message.values.get("regions", [])
        found = _SIZE.match(text)
        if found and len(regions) < REGIONS:
            message.values["regions"] = [*regions, {"size": int(found[1], 16)}]
            return []
        for name, pattern in _REGION.items():
            found = pattern.match(text)
            if found and regions:
                regions[-1][name] = int(found[1], 16)
                return []
        return [] if regions and text.startswith(("host  virtual", "mmap ")) else None


def _why(facts: Sequence[Fact]) -> str:
    """The first line behind a message that tells of trouble; the last of all where none does."""
    texts = [
        head["text"].strip()
        for fact in facts
        if isinstance(fact, LoggedText) and (head := _HEAD.search(fact.line.text))
    ]
    return next((text for text in texts if _TROUBLE.search(text)), texts[-1] if texts else "")[:WHY_LIMIT]
