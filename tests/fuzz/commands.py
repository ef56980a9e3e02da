"""Every command on hostile captures, in one process, thousands of them.

usage: PYTHONPATH=tests:. python -m fuzz.commands [--count N] [--seed N] [--case N]

A case is two captures of `hostile`, a log and some commands on them, all by seed and number. For every command: it ends
by itself, with 0, 1 or 2, in bounded time and memory; it raises nothing; what it says on standard error are sentences;
and what it prints does not steer a terminal. A case that fails is kept in ``.fuzz/found`` with a line that repeats it.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import functools
import gzip
import io
import os
import random
import re
import resource
import shlex
import signal
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fuzz.harnesses import RULE_RAISED, corpus_of, harness_of
from fuzz.hostile import EXAMPLES, TEXTS, hostile, message
from vusniff import cli
from vusniff.errors import VusniffError
from vusniff.sources.logs.reading import FORMATS as LOGS

COMMANDS_OF_A_CASE = 12
VIEWS_EVERY = 100
"""Cases between two that open the terminal view, which takes as long as a hundred commands."""
CPU_SECONDS = 4.0
"""One command may take; the slowest on captures as small as these takes a tenth of it."""
WALL_SECONDS = 120.0
BYTES = 3 << 30
"""Address space of the process."""
FOUND = Path(".fuzz") / "found"
PACKED = (".gz", ".zst")
PIECES = (b"", b"9", b"-1", b"\xff", b'"', b"<", b"}", b" = ", b"\x1b[31m", b"9" * 5000, b" " * 9000, b"[red]<b>#1 @a")
"""What is put into logs."""
SIZES = ((120, 40), (80, 24), (60, 18), (20, 5))
KEYS = (
    "j",
    "k",
    "G",
    "g",
    "n",
    "p",
    "v",
    "Q",
    "V",
    "T",
    "s",
    "d",
    "x",
    "m",
    "f",
    "tab",
    "enter",
    "escape",
    "slash",
    "z",
    "c",
    "question_mark",
)

Say = Callable[[random.Random], list[str]]


class TooLongError(BaseException):
    """A command did not end."""


@dataclass(frozen=True, slots=True)
class Form:
    """One way to call a command."""

    say: Say
    printed: bool = True
    """What it writes on standard output is for a terminal: no control characters."""
    files: tuple[str, ...] = ()
    """What it writes besides."""
    stdin: bool = False
    """Standard input is the capture."""


def number(dice: random.Random) -> str:
    """Of a message or a session."""
    return str(dice.choice((1, 1, 1, 2, 2, 3, 5, 9, 14, 0, -1, 99999)))


EXPRESSIONS = (
    *("vhost.request == SET_MEM_TABLE", "vhost.reply", "fd.kind == eventfd", "!(vring.index == 0)", "vhost.malformed"),
    *(
        'fd.name matches "g.*"',
        "vhost.time > 0.5",
        "finding.severity >= warning",
        "vhost.u64 & 0x40000000",
        "sock.path",
    ),
    *(
        'proc.comm contains "qemu" or vhost.latency > 1ms',
        "vhost.number in {1..5, 9}",
        "vhost.mem.size > 4096",
        "((",
        "",
    ),
    *("all fd.size == 4096 xor any fd.number < 5", 'vhost.name contains "VRING" and vhost.size < 9', "finding.rule"),
)


def expression(dice: random.Random) -> str:
    """A filter, most of them right."""
    text = dice.choice(EXPRESSIONS)
    return text if dice.random() < 0.9 else text[: dice.randrange(len(text) + 1)] + dice.choice(TEXTS)[:40]


def words(*fixed: str) -> Say:
    """The same words each time."""
    return lambda dice: list(fixed)


def setting(dice: random.Random) -> str:
    """What ``edit --set`` takes."""
    path = dice.choice(
        ("num", "index", "u64", "flags", "request", "size", "payload", "fds", "regions[0].size", "header.flags")
    )
    said = dice.choice(("0", "1", "0xffffffff", "18446744073709551615", "none", "00ff", "-1", dice.choice(TEXTS)[:40]))
    return f"{number(dice)}.{path}={said}"


def hexadecimal(dice: random.Random) -> list[str]:
    """What ``decode`` takes."""
    one = dice.choice(EXAMPLES)
    data = message(dice, one, dice.choice(("little", "big")), dice.choice((0, 1, 3))).hex()
    if dice.random() < 0.2:
        data = data[: dice.randrange(len(data) + 1)] + dice.choice(("", "zz", "00"))
    extra = ["--json"] if dice.random() < 0.3 else []
    return ["decode", "--channel", str(one.channel), "--fds", str(dice.choice((0, 1, 8, 300))), *extra, data or "00"]


def device(dice: random.Random) -> list[str]:
    """An option that most commands have."""
    return ["--device", dice.choice(("net", "blk", "fs", "gpu", "nothing"))] if dice.random() < 0.2 else []


RULES = (
    *("vhost.request == SET_VRING_NUM @2 : drop", "vhost.reply == 1 30% : delay 300ms, repeat 2"),
    *("vring.index == 1 @2,5 per session : set vring.size=0, fds none", "vhost.request == SET_OWNER : kill 9"),
    *("vhost.features && vhost.reply == 1 : clear vhost.features 5 VERSION_1", "vhost.request : hold", " : ", ""),
    *("vhost.request == SET_OWNER && vring.index == 1 : drop", "finding.rule : drop", "vhost.request : answer -1"),
)


def rules(dice: random.Random) -> list[str]:
    """A proxy with rules that cannot listen: it ends with what it says of the rules, or of the socket."""
    text = dice.choice(RULES)
    if dice.random() < 0.4:
        text = text[: dice.randrange(len(text) + 1)] + dice.choice(TEXTS)[:40] + text[dice.randrange(len(text) + 1) :]
    given = ["--rules", dice.choice(("a.pcapng", "log", "nothing"))] if dice.random() < 0.2 else [f"--rule={text}"]
    return ["proxy", "--listen", "no/such/folder", "--connect", "b", "-w", "x.pcapng", "-q", *given, "--seed", "1"]


FORMS: tuple[Form, ...] = (
    Form(rules),
    Form(lambda dice: ["read", "a.pcapng", *device(dice)]),
    Form(words("read", "-v", "a.pcapng")),
    Form(words("read", "-x", "-v", "a.pcapng")),
    Form(lambda dice: ["read", "--json", "a.pcapng", *device(dice)], printed=False),
    Form(words("read", "--phases", "a.pcapng")),
    Form(lambda dice: ["read", "--filter", expression(dice), "a.pcapng"]),
    Form(lambda dice: ["read", "--session", number(dice), "a.pcapng"]),
    Form(words("read", "a.pcapng", "b.pcapng")),
    Form(words("read", "-"), stdin=True),
    Form(lambda dice: ["state", "a.pcapng", *device(dice)]),
    Form(lambda dice: ["state", "--at", number(dice), "a.pcapng"]),
    Form(lambda dice: ["state", "--json", "--session", number(dice), "a.pcapng"], printed=False),
    Form(lambda dice: ["rings", "a.pcapng", *device(dice)]),
    Form(words("rings", "--json", "a.pcapng"), printed=False),
    Form(lambda dice: ["draw", dice.choice(["rings", "sequence", "replies", "memory"]), "a.pcapng", *device(dice)]),
    Form(lambda dice: ["top", "--once", "a.pcapng", *(["--per-ring"] if dice.random() < 0.5 else [])]),
    Form(words("top", "--json", "a.pcapng"), printed=False),
    Form(lambda dice: ["summary", "a.pcapng", *device(dice)]),
    Form(words("summary", "--format", "markdown", "a.pcapng", "b.pcapng")),
    Form(words("summary", "--format", "json", "a.pcapng"), printed=False),
    Form(lambda dice: ["check", "a.pcapng", *device(dice)]),
    Form(words("check", "--format", "json", "a.pcapng"), printed=False),
    Form(words("check", "--format", "sarif", "a.pcapng"), printed=False),
    Form(words("check", "--format", "junit", "a.pcapng"), printed=False),
    Form(lambda dice: ["check", "--filter", expression(dice), "--fail-on", "note", "a.pcapng"]),
    Form(words("check", "-"), stdin=True),
    Form(lambda dice: ["find", "--jobs", "1", ".", expression(dice)]),
    Form(lambda dice: ["find", "--jobs", "1", "--json", "a.pcapng", expression(dice)], printed=False),
    Form(words("diff", "a.pcapng", "b.pcapng")),
    Form(words("diff", "--format", "markdown", "a.pcapng", "b.pcapng")),
    Form(words("diff", "--format", "json", "a.pcapng", "b.pcapng"), printed=False),
    Form(lambda dice: ["diff", "--session-b", number(dice), "a.pcapng"]),
    Form(words("export", "--format", "jsonl", "a.pcapng"), printed=False),
    Form(words("export", "--format", "csv", "a.pcapng"), printed=False),
    Form(words("export", "--format", "text", "a.pcapng")),
    Form(words("export", "--format", "markdown", "a.pcapng")),
    Form(words("export", "--format", "html", "a.pcapng", "-o", "out.html"), files=("out.html",)),
    Form(words("export", "--format", "mermaid", "a.pcapng")),
    Form(words("export", "--format", "svg", "a.pcapng"), printed=False),
    Form(words("export", "a.pcapng", "-o", "out.pcapng"), files=("out.pcapng",)),
    Form(words("export", "-", "--format", "pcapng", "-o", "out.pcapng"), stdin=True, files=("out.pcapng",)),
    Form(words("export", "--redact", "a.pcapng", "-o", "out.pcapng"), files=("out.pcapng",)),
    Form(words("export", "--redact", "--format", "text", "a.pcapng")),
    Form(lambda dice: ["export", "--format", "csv", "--filter", expression(dice), "a.pcapng"], printed=False),
    Form(lambda dice: ["symbolize", "a.pcapng", "-o", "out.pcapng"], files=("out.pcapng",)),
    Form(lambda dice: ["edit", "a.pcapng", "-o", "out.pcapng", "--drop", number(dice)], files=("out.pcapng",)),
    Form(lambda dice: ["edit", "a.pcapng", "-o", "out.pcapng", "--set", setting(dice)], files=("out.pcapng",)),
    Form(
        lambda dice: ["edit", "a.pcapng", "-o", "out.pcapng", "--repeat", f"{number(dice)}=3", "--delay", "1=2s"],
        files=("out.pcapng",),
    ),
    Form(lambda dice: ["edit", "a.pcapng", "-o", "-", "--session", number(dice)], printed=False),
    Form(words("export", "--format", "otlp", "a.pcapng"), printed=False),
    Form(words("export", "--format", "perfetto", "a.pcapng", "-o", "out.pftrace"), files=("out.pftrace",)),
    Form(words("export", "--format", "parquet", "a.pcapng", "-o", "out.parquet"), files=("out.parquet",)),
    Form(
        lambda dice: ["export", "a.pcapng", "-o", f"out.csv{dice.choice(PACKED)}"], files=("out.csv.gz", "out.csv.zst")
    ),
    Form(lambda dice: ["read", f"c.pcapng{dice.choice(PACKED)}"]),
    Form(lambda dice: ["check", f"c.pcapng{dice.choice(PACKED)}"]),
    Form(words("export", "--redact", "--format", "otlp", "a.pcapng"), printed=False),
    Form(words("import", "strace", "log", "-o", "out.pcapng"), files=("out.pcapng",)),
    Form(words("import", "log", "peer.log", "-o", "out.pcapng"), files=("out.pcapng",)),
    Form(
        lambda dice: ["import", "log", "peer.log", "log", "--format", dice.choice(tuple(LOGS)), "-o", "out.pcapng"],
        files=("out.pcapng",),
    ),
    Form(words("import", "log", "peer.log", "--lines-only", "-o", "out.pcapng"), files=("out.pcapng",)),
    Form(hexadecimal),
    Form(lambda dice: ["explain", dice.choice(("SET_MEM_TABLE", "MQ", "vring", "9", "R01", *TEXTS))]),
    Form(lambda dice: ["replay", "a.pcapng", "--to", "backend", "--connect", "none", "--timeout", "0.001"]),
    Form(lambda dice: ["replay", "a.pcapng", "--to", "frontend", "--connect", "none", "--timeout", "0.001"]),
    Form(
        words("test", "--to", "backend", "--connect", "none", "--expect", "log", "--keep", "kept", "--timeout", "0.001")
    ),
    Form(words("test", "--to", "frontend", "--connect", "none", "--timeout", "0.001")),
    Form(lambda dice: ["test", "--to", "backend", "--list", "--only", dice.choice(("*", "data-*", *TEXTS))]),
)

STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")
"""Characters that must not reach a terminal; standard error is one, whatever a form prints."""
HIDES = re.compile("[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")
"""Characters that show a text otherwise than it is."""
STRICT = True
"""Whether such characters count. True once everything that is printed goes through one door."""
SENTENCES = re.compile(
    r"(vusniff: |usage: |vusniff [a-z ]+: error: |    |no messages[a-z ]*: |no message passes |no session |no samples "
    r"|session \d+: )"
)
"""How lines of standard error begin."""


def complaint(form: Form, status: object, out: bytes, err: str) -> str | None:
    """What is wrong with how a command ended, None for nothing."""
    if status not in (0, 1, 2):
        return f"it ended with {status}"
    if "Traceback (most recent call last)" in err:
        return "it printed a traceback"
    if STRICT and (wrong := _steering(err)):
        return f"standard error: {wrong}"
    if wrong := next((line for line in err.split("\n") if line and not SENTENCES.match(line)), None):
        return f"standard error has a line that is no sentence of ours: {wrong!r}"
    if status == 2 and not err.strip():
        return "it ended with 2 and did not say why"
    if RULE_RAISED.encode() in out:
        return f"a rule raised: {out[: out.find(RULE_RAISED.encode()) + 200][-400:]!r}"
    if form.printed:
        try:
            text = out.decode()
        except UnicodeDecodeError as error:
            return f"it printed what is no UTF-8: {error}"
        if STRICT and (wrong := _steering(text)):
            return f"standard output: {wrong}"
    return None


def _steering(text: str) -> str | None:
    found = STEERS.search(text) or HIDES.search(text)
    if found is None:
        return None
    line = text[text.rfind("\n", 0, found.start()) + 1 :].partition("\n")[0]
    return f"{found[0]!r} in {line!r}"


# -- running ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """Raises TooLongError in what takes too long."""

    def end(signal_number: int, frame: types.FrameType | None) -> None:
        raise TooLongError(f"more than {CPU_SECONDS} s of CPU or {WALL_SECONDS} s")

    for which in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(which, end)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def _streams(out: io.TextIOWrapper, err: io.TextIOWrapper, stdin: str) -> Iterator[None]:
    """Standard streams of a command: files, as strict as those of a terminal; their descriptors too."""
    kept, streams = [os.dup(number) for number in range(3)], (sys.stdout, sys.stderr)
    with open(stdin, "rb") as file:
        for number, one in enumerate((file, out, err)):
            os.dup2(one.fileno(), number)
    sys.stdout, sys.stderr = out, err
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        for number, fd in enumerate(kept):
            os.dup2(fd, number)
            os.close(fd)


def _stream(errors: str) -> io.TextIOWrapper:
    return open(os.memfd_create("stream"), "w+", encoding="utf-8", errors=errors)


def called(form: Form, argv: Sequence[str]) -> str | None:
    """Call a command in this process; what is wrong with how it went, None for nothing."""
    out, err = _stream("strict"), _stream("backslashreplace")
    status: object
    try:
        with _streams(out, err, "a.pcapng" if form.stdin else os.devnull), _bounded():
            try:
                status = cli.main(argv)
            except SystemExit as left:
                status = left.code
        out.flush()
        err.flush()
        printed, said = (os.pread(one.fileno(), 1 << 26, 0) for one in (out, err))
        return complaint(form, status, printed, said.decode("utf-8", "replace"))
    except (Exception, TooLongError) as error:
        return "".join(traceback.format_exception(error))
    finally:
        with contextlib.suppress(UnicodeEncodeError, OSError):
            out.close()
        err.close()
        for name in form.files:
            Path(name).unlink(missing_ok=True)


async def _view(dice: random.Random, keys: list[str]) -> None:
    from vusniff.analysis.timeline import Timeline, read_all
    from vusniff.capture.index import Index
    from vusniff.views.tui.app import TuiApp

    with Index("a.pcapng") as index:
        timeline = Timeline(index)
        read_all(timeline)
        app = TuiApp(timeline, "a.pcapng", follow=False)
        async with app.run_test(size=dice.choice(SIZES)) as pilot:
            for key in keys:
                await pilot.press(key)
            await pilot.pause()


def viewed(dice: random.Random, keys: list[str]) -> str | None:
    """Open the terminal view without a terminal and press keys; what is wrong, None for nothing."""
    try:
        asyncio.run(_view(dice, keys))
    except VusniffError:
        return None
    except Exception as error:
        return "".join(traceback.format_exception(error))
    return None


def prepare(dice: random.Random) -> None:
    """Write the files of a case in this directory."""
    for name in ("a.pcapng", "b.pcapng"):
        Path(name).write_bytes(hostile(dice))
    for name, corpus in (("log", "strace"), ("peer.log", "log")):
        log = dice.choice(_logs(corpus))
        for _ in range(dice.choice((0, 1, 3))):
            at = dice.randrange(len(log) + 1)
            log = log[:at] + dice.choice(PIECES) + log[at + dice.randrange(3) :]
        Path(name).write_bytes(log)
    packed = {".gz": gzip.compress(Path("a.pcapng").read_bytes(), 1), ".zst": _zstd(Path("a.pcapng").read_bytes())}
    for ending, data in packed.items():
        if data and dice.random() < 0.5:
            at = dice.randrange(len(data))
            data = data[:at] + dice.randbytes(dice.choice((0, 1, 8))) + data[at + dice.choice((0, 1, 99)) :]
        Path(f"c.pcapng{ending}").write_bytes(data)


def _zstd(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=1).compress(data)


@functools.cache
def _logs(corpus: str) -> list[bytes]:
    start = corpus == "log"  # the first byte of those says of which format they are
    return [path.read_bytes()[start:] for path in corpus_of(harness_of(corpus))]


# -- many -------------------------------------------------------------------------------------------------------------


def case(seed: int, which: int, spent: collections.Counter[str]) -> Iterator[tuple[str, str | None]]:
    """All commands of a case as command lines, with what is wrong with each."""
    dice = random.Random(f"{seed}/{which}")
    prepare(dice)
    for form in dice.sample(FORMS, COMMANDS_OF_A_CASE):
        argv = form.say(dice)
        line = f"vusniff {shlex.join(argv)}" + (" < a.pcapng" if form.stdin else "")
        start = time.process_time()
        wrong = called(form, argv)
        spent[" ".join(word for word in argv[:3] if "pcapng" not in word)] += int((time.process_time() - start) * 1e6)
        yield line, wrong
    if which % VIEWS_EVERY == VIEWS_EVERY - 1:
        keys = [dice.choice(KEYS) for _ in range(8)]
        yield f"vusniff view a.pcapng (keys {' '.join(keys)})", viewed(dice, keys)


def keep(found: Path, line: str, wrong: str) -> None:
    """Keep the files of a case, and say how it is repeated."""
    found.mkdir(parents=True, exist_ok=True)
    for name in ("a.pcapng", "b.pcapng", "c.pcapng.gz", "c.pcapng.zst", "log", "peer.log"):
        (found / name).write_bytes(Path(name).read_bytes())
    (found / "report.txt").write_text(f"{line}\n\n{wrong}\n", encoding="utf-8", errors="backslashreplace")
    shown = wrong if len(wrong) < 3000 else f"{wrong[:1000]}\n...\n{wrong[-2000:]}"
    print(f"{shown.encode('ascii', 'backslashreplace').decode()}\nsee {found}/report.txt", flush=True)
    print(f"repeat it: cd {found} && {line.encode('ascii', 'backslashreplace').decode()}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """0 when nothing was found, else 1."""
    parser = argparse.ArgumentParser(prog="fuzz.commands", description="Run every command on hostile captures.")
    parser.add_argument("--count", type=int, default=10_000, help="commands (10,000)")
    parser.add_argument("--seed", type=int, default=1, help="other captures (1)")
    parser.add_argument("--case", type=int, help="only the case with this number")
    parser.add_argument("--slowest", action="store_true", help="say which commands took most")
    args = parser.parse_args(arguments)
    os.environ.update(TZ="UTC", COLUMNS="100", LINES="40")
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    root, done, failed, start = Path.cwd(), 0, 0, time.process_time()
    spent: collections.Counter[str] = collections.Counter()
    which = args.case or 0
    with tempfile.TemporaryDirectory(prefix="vusniff-fuzz-") as folder:
        os.chdir(folder)
        while done < args.count and failed < 20:
            for line, wrong in case(args.seed, which, spent):
                done += 1
                if wrong is not None:
                    failed += 1
                    print(f"case {which} of seed {args.seed}: {line.encode('ascii', 'backslashreplace').decode()}")
                    keep(root / FOUND / f"commands-{args.seed}-{which}", line, wrong)
            which += 1
            if args.case is not None:
                break
        os.chdir(root)
    print(
        f"{done:,} commands on {which:,} captures, {failed} of them wrong, {time.process_time() - start:.0f} s of CPU"
    )
    if args.slowest:
        for name, taken in spent.most_common(20):
            print(f"{taken / 1e6:8.2f} s {name}")
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
