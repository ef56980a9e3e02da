"""The options of ``vusniff proxy`` for fault rules, and who is asked about messages that a rule holds.

Rules are read before anything begins. The process that records reads them again: what a file says is its own.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from vusniff import terminal
from vusniff.errors import DissectorError, RuleError, SourceError
from vusniff.printable import escape

if TYPE_CHECKING:
    from vusniff.faults.deciding import HeldMessage, RuleDecider
    from vusniff.faults.rule import FaultRule
    from vusniff.record import Frame
    from vusniff.sources.proxy.host import FaultHost, GoOn
    from vusniff.sources.proxy.loop import Loop
    from vusniff.sources.proxy.plan import FaultPlan

PROMPT = "send (s), drop (d), edit ACTIONS (e set num=0, fds none), look (l)? "


def add_fault_arguments(parser: argparse.ArgumentParser) -> None:
    """What is not passed on as it comes."""
    faults = parser.add_argument_group(
        "faults", "Rules say what is done to messages; docs/faults.md has the actions and examples."
    )
    faults.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="RULE",
        help="'FILTER [@N[,M]] [P%%] : ACTION[, ACTION]': what to do to messages that a filter matches, such as "
        "'vhost.request == SET_VRING_KICK @2 : drop'; the first rule that matches wins",
    )
    faults.add_argument(
        "--rules", action="append", default=[], metavar="FILE", help="rules in a file, one a line; # begins a comment"
    )
    seed = "the seed of the chances in rules; without it a random one, which is printed"
    faults.add_argument("--hold-fd", type=int, help=argparse.SUPPRESS)
    faults.add_argument("--seed", type=_seed, metavar="N", help=seed)


def _seed(word: str) -> int:
    if not word.isdigit() or len(word) > 18:
        raise argparse.ArgumentTypeError(f"{word} is not a whole number")
    return int(word)


def fault_words(args: argparse.Namespace) -> list[str]:
    """For the command line of the process that records."""
    words = [f"--rule={rule}" for rule in args.rule] + [f"--rules={file}" for file in args.rules]
    return words + ([] if args.seed is None else [f"--seed={args.seed}"])


def faults_of(args: argparse.Namespace, say: Callable[[str], None], note: Callable[[str], None]) -> FaultHost | None:
    """What relays need for the rules; None without rules. Raises VusniffError for what is wrong with them."""
    if not args.rule and not args.rules:
        if args.seed is not None:
            raise SourceError("--seed is about the chances in rules: give --rule or --rules as well")
        return None
    from vusniff.faults.deciding import RuleDecider
    from vusniff.faults.rule import rules_of
    from vusniff.sources.proxy.host import FaultHost

    rules = rules_of(args.rule, [(file, _text_of(file)) for file in args.rules])
    if not rules:
        raise SourceError(f"there is no rule in {', '.join(args.rules)}")
    for rule in rules:
        _check(rule, args)
    if args.seed is None and any(rule.chance < 1 for rule in rules):
        args.seed = random.SystemRandom().randrange(1 << 32)
        note(f"the seed of the chances is --seed {args.seed}")
    decider = RuleDecider(rules, args.seed or 0, say)
    holds = any(rule.has("hold") for rule in rules)
    if not holds:
        return FaultHost(decider)
    if args.hold_fd is None:
        return FaultHost(decider, TerminalAsker(decider))
    from vusniff.commands.holding import ViewAsker

    return FaultHost(decider, ViewAsker(decider, args.hold_fd))


def _text_of(file: str) -> str:
    from vusniff.faults.rule import FILE_LIMIT

    try:
        with open(file, "rb") as opened:
            data = opened.read(FILE_LIMIT + 1)
    except OSError as error:
        raise SourceError(f"cannot read the rules of {file}: {error.strerror}") from None
    if len(data) > FILE_LIMIT:
        raise SourceError(f"{file} has more than {FILE_LIMIT >> 20} MiB: it holds no rules")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SourceError(f"{file}:{line}: rules are text in UTF-8, and this line is not") from None


def _check(rule: FaultRule, args: argparse.Namespace) -> None:
    """Refuses what this command cannot do."""
    for action in rule.actions:
        at = rule.text.find(action.name)
        if action.name == "kill" and not args.peer_command:
            sentence = "kill is for a program that the proxy has started: give -- COMMAND"
            raise RuleError(f"rule {rule.number}", sentence, rule.text, at, len(action.name))
        asks = args.hold_fd is not None or (not args.json and sys.stdin.isatty() and sys.stderr.isatty())
        if action.name == "hold" and not asks:
            sentence = "hold asks at the terminal: run the proxy at one, without --json"
            raise RuleError(f"rule {rule.number}", sentence, rule.text, at, len(action.name))


class TerminalAsker:
    """Asks at the terminal about one message after the other, and goes on with its work meanwhile."""

    def __init__(self, decider: RuleDecider) -> None:
        self._decider = decider
        self._waiting: deque[tuple[HeldMessage, FaultPlan, GoOn]] = deque()
        self._ended = False

    def ask(self, loop: Loop, frame: Frame, plan: FaultPlan, go_on: GoOn) -> None:
        """A message is held. See `vusniff.sources.proxy.host.Asker`."""
        import select

        held = self._decider.held.pop(id(frame))
        self._waiting.append((held, plan, go_on))
        if self._ended:
            loop.after(0, self.end)
        elif len(self._waiting) == 1:
            self._show()
            loop.watch(sys.stdin.fileno(), select.EPOLLIN, lambda _: self._answered(loop))

    def _show(self) -> None:
        held, plan, _ = self._waiting[0]
        message = held.message
        what = f"{message.name}{' reply' if message.reply else ''}"
        terminal.say(f"rule {plan.rule} holds a {what} of {counted(len(held.frame.data), 'byte')}: {_values(held)}")
        terminal.ask(PROMPT)

    def _answered(self, loop: Loop) -> None:
        typed = os.read(sys.stdin.fileno(), 4096).decode("utf-8", "replace")
        if not typed:
            loop.ignore(sys.stdin.fileno())
            self.end()
            return
        for line in typed.splitlines():
            if not self._waiting:
                break
            held, plan, go_on = self._waiting[0]
            try:
                decided = self._decided(line.strip(), held, plan)
            except (RuleError, DissectorError, SourceError) as error:
                terminal.say(str(error))
                decided = None
            if decided is None:
                terminal.ask(PROMPT)
                continue
            self._waiting.popleft()
            if not go_on(decided):
                terminal.say("its connection has ended, and nothing was sent")
            if self._waiting:
                self._show()
        if not self._waiting:
            loop.ignore(sys.stdin.fileno())

    def _decided(self, line: str, held: HeldMessage, plan: FaultPlan) -> FaultPlan | None:
        """What the user wants; None: nothing yet."""
        from vusniff.commands.holding import decided

        word, _, rest = line.partition(" ")
        match word.lower():
            case "s" | "send" | "c" | "continue":
                return decided(self._decider, held, plan, "send", "")
            case "d" | "drop":
                return decided(self._decider, held, plan, "drop", "")
            case "e" | "edit":
                return decided(self._decider, held, plan, "edit", rest)
            case "l" | "look":
                terminal.tell_lines(held.frame.data[:4096].hex(" ", 4) + "\n")
                return None
        raise SourceError("say s to send it, d to drop it, e and actions to edit it, l to look at its bytes")

    def end(self) -> int:
        """Nobody answers any more: all goes on. Gives how many messages that were."""
        self._ended, count = True, len(self._waiting)
        while self._waiting:
            _, plan, go_on = self._waiting.popleft()
            go_on(plan)
        return count


def _values(held: HeldMessage) -> str:
    """The values of a message in a line."""
    payload = held.message.payload
    if payload is None:
        return "its payload is not decoded"
    said = ", ".join(f"{name}={value}" for name, value in payload.items() if not name.endswith("_names"))
    return escape(said if len(said) <= 400 else said[:400] + " ...") or "no payload"


def counted(number: int, what: str) -> str:
    """As `vusniff.amounts.counted`, which is not needed where nothing is held."""
    from vusniff.amounts import counted as words

    return words(number, what)
