"""Words of the screens and reports that are no request, feature, rule or phase, in a sentence or two each.

The specification's where it has one, see docs/architecture.md, Words.
"""

# ruff: noqa: E501 - rows are read as a table

from __future__ import annotations

from collections.abc import Iterator

from vusniff.views import page
from vusniff.views.page import Page, PageSection, Prose
from vusniff.views.topic import Topic

WORDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("front-end", "frontend", "master"), "The side that has the guest: QEMU, Cloud Hypervisor, DPDK's virtio-user. It sends requests on the main channel. Either side may listen on the socket."),
    (("back-end", "backend", "slave"), "The side that works on the rings: DPDK, Open vSwitch, SPDK, virtiofsd, qemu-storage-daemon. It answers on the main channel, and may ask on a channel of its own."),
    (("main channel", "main"), "The connection on which the front-end asks and the back-end answers: GET_FEATURES to SET_VRING_ENABLE."),
    (("back-end channel", "backend channel", "slave channel"), "A second socket that SET_BACKEND_REQ_FD passes: on it the back-end asks and the front-end answers."),
    (("GPU socket", "gpu"), "A second socket that GPU_SET_SOCKET passes: what vhost-user-gpu tells QEMU about displays."),
    (("session",), "One life of a device on one main connection, with the channels that were opened on it. A reconnect begins a new session."),
    (("connection",), "One pair of connected sockets."),
    (("joined late", "late"), "The capture began when the session was there already: what was said before is unknown, not absent. Rules that need the beginning are not asked."),
    (("unknown", "not seen"), "The capture does not tell: it joined late, lost something, or the source could not see it. It is not the same as no."),
    (("offered",), "Of a feature: the back-end can do it. It says so in its answer to GET_FEATURES or GET_PROTOCOL_FEATURES."),
    (("acknowledged",), "Of a feature: the front-end wants it, by SET_FEATURES or SET_PROTOCOL_FEATURES."),
    (("negotiated",), "Of a feature: offered by the back-end and acknowledged by the front-end."),
    (("refused",), "Of a feature: offered by the back-end and not acknowledged by the front-end, which is the VMM or, by what its driver asks for, the guest. Of a message: answered with a value that is not 0, or by closing the connection."),
    (("unanswered", "no reply", "pending"), "A request that must be answered has no answer yet, or got none before the end."),
    (("ack", "acknowledgement"), "The answer to a request that has none of its own, asked for by need_reply: a u64 that is 0 for success. It needs protocol feature REPLY_ACK."),
    (("need_reply", "need reply"), "Bit 3 of a request's flags: the sender wants an acknowledgement. Allowed once REPLY_ACK is negotiated."),
    (("reply",), "Bit 2 of the flags: the message answers a request. Answers come in the order of their requests."),
    (("FAILED",), "An acknowledgement that is not 0: the other side refused the request."),
    (("MALFORMED",), "The payload does not fit its layout: too short, or lengths inside it that do not add up."),
    (("vring", "ring", "virtqueue"), "A queue in guest memory between driver and device. Network devices have two for each queue pair: 0 receives, 1 sends."),
    (("not set up",), "Of a ring: no size, addresses or kick descriptor yet."),
    (("armed",), "Of a ring: it has a kick descriptor (SET_VRING_KICK) and starts with the first kick, which is not on the socket."),
    (("started",), "Of a ring: the messages show that it runs: VRING_KICK was sent, or SET_VRING_KICK without a descriptor. Kicks of the guest are not on the socket, so most rings are seen as armed."),
    (("running",), "Of a session: at least one ring is armed or started, and enabled."),
    (("stopped",), "Of a ring: GET_VRING_BASE was sent; the answer says where the back-end was."),
    (("enabled", "disabled"), "Of a ring: SET_VRING_ENABLE 1 or 0. Without VHOST_USER_F_PROTOCOL_FEATURES rings are enabled at once. A ring that is started and disabled is not worked on."),
    (("kick",), "The eventfd by which the guest tells the back-end that there is work in a ring (SET_VRING_KICK)."),
    (("call",), "The eventfd by which the back-end interrupts the guest (SET_VRING_CALL)."),
    (("err",), "The eventfd by which the back-end tells an error of a ring (SET_VRING_ERR); hardly any program uses it."),
    (("base",), "Where a ring goes on: the next available index (SET_VRING_BASE, the answer to GET_VRING_BASE). Packed rings have two indices with wrap bits."),
    (("descriptor", "fd"), "An open file that a message passes (SCM_RIGHTS): eventfd, memory, socket. Not a descriptor of a ring."),
    (("region", "memory table", "memory region"), "A piece of guest memory that the front-end shares: guest address, size, address in the front-end's process, offset in its file."),
    (("guest address", "GPA"), "A guest physical address: what the guest's driver writes into rings."),
    (("user address", "UVA", "QVA"), "An address in the front-end's process: what SET_VRING_ADDR has, to be found by the memory table."),
    (("IOTLB",), "Translations of a virtual IOMMU: the back-end asks (miss), the front-end answers (update), and takes them back (invalidate)."),
    (("dirty log", "log"), "Memory in which the back-end notes every page that it writes, during a migration (SET_LOG_BASE)."),
    (("inflight",), "Memory in which the back-end notes requests that it works on, so that another back-end can go on after a crash."),
    (("finding",), "What a rule says of a message: an error (E), a warning (W) or a note (N). . goes to the next, ! lists all."),
    (("error", "E"), "A finding: the specification says must, or programs do not work with it."),
    (("warning", "W"), "A finding: the specification says should, or it follows from layouts and implementations."),
    (("note", "N"), "A finding: worth knowing, and often without harm."),
    (("rule",), "What a finding is judged by: R for the specification, T for known traps. vusniff explain R48 explains one."),
    (("lost", "losses"), "Messages that are known to have been sent and were not captured: the source could not keep up."),
    (("cut",), "The capture has less of a message than was sent (snaplen, a log that shortens), or its file ends in the middle."),
    (("evidence",), "All that a capture holds: messages, openings, ends, losses, exits of processes, lines of logs. Of a verdict: the messages that prove it."),
    (("verdict", "why"), "What came of a session, the likeliest cause, whose fault it is as far as that can be known, and what to try. It stands first in every output; w in the view says why."),
    (("fault",), "In a verdict: the side that did wrong, and whether that is certain, probable or only possible (perhaps). Not known where either side may have to give way."),
    (("step",), "In a verdict: how far a session came that never started."),
    (("caveat", "but"), "In a verdict: what the capture does not show, so that it may be otherwise: it was joined late, messages were lost or not read."),
    (("exit",), "The end of a process that held an end of a connection: its status or signal, as the source saw it."),
    (("folded", "fold"), "A phase, or repeats, shown as one line. o folds and unfolds, O all of them, R repeats."),
    (("follow",), "The view stays with the newest message of a capture that grows: f."),
    (("playback", "play"), "The view shows the messages again with their pauses: Space, faster and slower with > and <. It is not a replay: nothing is sent."),
    (("replay",), "One recorded side is played to a real program: vusniff replay."),
    (("latency", "took"), "Time from a request to its answer, as the source saw both."),
    (("source",), "What saw the messages: proxy, probe (eBPF), strace, a log."),
    (("probe",), "The eBPF programs that watch sends of running processes without touching them: vusniff capture."),
    (("proxy",), "vusniff proxy stands between both sides and passes everything on."),
    (("postcopy",), "A migration in which the guest runs on the destination while its memory still arrives."),
)  # fmt: skip
"""Names of a word, and what it says."""

OUTCOMES = {
    "running": "At least one ring is armed and enabled where the capture ends, and nothing is known to be wrong.",
    "stopped cleanly": "The rings were stopped by GET_VRING_BASE and the connection was closed: how a VM is shut down.",
    "idle": "The session is open and no ring runs: the guest's driver has not started the device, or has stopped it.",
    "never started": "The session ended, or stands still, before a ring ran. The verdict names the step it came to: "
    "look at the last message before the end, and at what the side that closed did not get.",
    "refused": "A message was answered with an error, or by closing, and the session ended with it. The verdict names "
    "the message, and the value and the limit where the limit is known.",
    "peer died": "A process was killed (a signal, such as SIGSYS of a seccomp filter, SIGSEGV, SIGKILL of the OOM "
    "killer) and the session ended with it: the journal and the program's own log say more.",
    "hung up": "A process that was not killed closed the connection while the device was used: it decided so, and its "
    "own log says why.",
    "ended": "The connection was closed while rings ran, and nothing says that something was wrong: a program that is ended "
    "may leave so.",
    "waiting for an answer": "A request that must be answered had no answer where the capture ends: the other side is "
    "busy, stuck, or does not know that it should answer.",
    "stalled": "Something waits in a ring and the device uses nothing: only what looks into the rings can tell "
    "(--rings of vusniff capture and vusniff proxy).",
    "unknown": "The capture does not tell: it was joined late, is cut, or lost messages.",
}
"""Outcome of a verdict (`vusniff.checks.outcome.Outcome`), and what it says."""
SHORT = {"waiting for an answer": "waiting", "peer died": "died"}
"""Outcome -> the one word by which it is also asked for."""


def normal(word: str) -> str:
    """A word as it is looked up."""
    return " ".join(word.strip().lower().replace("_", " ").replace("-", " ").split())


def topics(word: str) -> list[Topic]:
    """The word's meaning; none for one that is not here."""
    wanted = normal(word)
    found = [_topic(names, about) for names, about in WORDS if wanted in map(normal, names)]
    return [*(_outcome(name) for name in OUTCOMES if wanted in (normal(name), SHORT.get(name))), *found]


def everything() -> Iterator[Topic]:
    """All words, in the order of the table."""
    yield from (_topic(names, about) for names, about in WORDS)
    yield from map(_outcome, OUTCOMES)


def _outcome(name: str) -> Topic:
    section = PageSection(
        "What it says", [Prose([OUTCOMES[name]]), page.facts(("told by", "vusniff summary, check, view"))]
    )
    return Topic("verdict", name, Page(f"{name}: outcome of a verdict", [section]))


def _topic(names: tuple[str, ...], about: str) -> Topic:
    others = f" (also: {', '.join(names[1:])})" if len(names) > 1 else ""
    return Topic("word", names[0], Page(f"{names[0]}{others}: word", [PageSection("What it says", [Prose([about])])]))
