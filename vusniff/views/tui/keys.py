"""Every key of the terminal view, once: bindings, footer, help and command palette are made from this table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Shortcut(NamedTuple):
    """A key and what it does."""

    keys: str
    """As Textual names them, comma-separated."""
    shown: str
    """As the screen shows them."""
    action: str
    """Name of the app's action."""
    word: str
    """For the footer."""
    help: str
    group: str


MOVING = (
    ("↑ ↓  k j", "one row up, down"),
    ("PgUp PgDn", "one page (ctrl+b ctrl+f), half a page (ctrl+u ctrl+d)"),
    ("Home End  g G", "first, last; in a live capture the last row also follows"),
    ("← →  h l", "in the timeline: the rest of long values, and back; in a pane: of long lines"),
    ("Tab", "next pane"),
    ("Enter", "on a message: its details; on a value: what set it"),
    ("Esc", "back: close, unzoom, all messages again, to the timeline"),
)

MOVE, FIND, SHOW, TIME, KEEP = "Move", "Find", "Show", "Time", "Keep"

_ROWS = (
    ("question_mark,f1", "?", "help", "help", "all keys", SHOW),
    ("q,ctrl+q", "q", "quit", "quit", "leave (also ctrl+q, and ctrl+c when nothing is being done)", SHOW),
    ("slash", "/", "search", "search", "search requests, values and descriptors for a text", FIND),
    (
        "ampersand",
        "&",
        "filter",
        "filter",
        "show only messages that pass a filter (Wireshark's syntax); ↑ brings filters back",
        FIND,
    ),
    ("c", "c", "copy('filter')", "copy filter", "copy a filter for messages like this one", KEEP),
    ("n", "n", "again(1)", "next hit", "next hit", FIND),
    ("N", "N", "again(-1)", "previous hit", "previous hit", FIND),
    ("w", "w", "why", "why", "the verdict: what is wrong, whose fault it is, the evidence, what to try", SHOW),
    ("full_stop", ".", "finding(1)", "finding", "next finding: a broken rule, or what is worth knowing", FIND),
    ("comma", ",", "finding(-1)", "finding before", "previous finding", FIND),
    ("exclamation_mark", "!", "findings", "findings", "all findings; pick one to go to it", SHOW),
    ("colon,ctrl+g", ":", "jump", "go to", "go to a number, a time (2.5s, 12:30:01) or a vring (v3)", FIND),
    ("r", "r", "answer", "reply", "from a request to its reply, and back", MOVE),
    ("left_curly_bracket", "{", "phase(-1)", "phase", "to the beginning of the phase, or to the one before", MOVE),
    ("right_curly_bracket", "}", "phase(1)", "phase", "to the next phase", MOVE),
    ("o", "o", "fold", "fold", "fold a phase, or unfold it (also Enter on its heading, a click)", SHOW),
    ("O", "O", "fold_all", "fold all", "fold all phases, or unfold them", SHOW),
    ("W", "W", "callers", "callers", "what one function sends as one row (capture --stacks), and back", SHOW),
    ("L", "L", "logs", "logs", "lines of logs as a number, and back", SHOW),
    ("R", "R", "repeats", "repeats", "runs of the same request as one row, and back", SHOW),
    ("b,backspace", "b", "retrace", "back", "back to where the last jump began", MOVE),
    ("s", "s", "pane('state')", "state", "vrings, memory and features as of the selected message", SHOW),
    ("d", "d", "pane('details')", "details", "all fields of the selected message", SHOW),
    ("x", "x", "pane('bytes')", "bytes", "its bytes; the selected field is marked", SHOW),
    ("z", "z", "zoom", "zoom", "the focused pane alone, and back", SHOW),
    ("left_square_bracket", "[", "vring(-1)", "vring", "card of the vring before", SHOW),
    ("right_square_bracket", "]", "vring(1)", "vring", "card of the next vring", SHOW),
    ("v", "v", "only_vring", "its story", "only the messages about this vring; Esc shows all again", FIND),
    ("S", "S", "sessions", "sessions", "all sessions; pick one to see only its messages", SHOW),
    ("C", "C", "compare", "compare", "this session beside another: what differs", SHOW),
    ("F", "F", "features", "features", "every feature bit: offered, acknowledged, refused", SHOW),
    (
        "M",
        "M",
        "memory",
        "memory",
        "the memory table to scale, with rings, log and in-flight buffer where they lie",
        SHOW,
    ),
    ("Q", "Q", "sequence", "sequence", "the session as a sequence diagram", SHOW),
    (
        "V",
        "V",
        "rings",
        "rings",
        "phases and rings over time: not set up, armed, started, stopped; how full they were",
        SHOW,
    ),
    ("H", "H", "held", "held", "messages that a rule of the proxy holds: send, drop or edit them", SHOW),
    ("T", "T", "times", "reply times", "reply times by request: median, 99 %, longest, histogram", SHOW),
    ("e", "e", "explain", "explain", "what the selected request is for; what the rule of a finding demands", SHOW),
    (
        "t",
        "t",
        "clock",
        "time",
        "time column: since start, time of day, since the row above, within the session, since the bookmark",
        TIME,
    ),
    ("K", "K", "columns", "columns", "choose the timeline's columns and their order; it is remembered", SHOW),
    ("f", "f", "follow", "follow", "stay with the newest message", TIME),
    ("space", "Space", "play", "play", "play from here as it happened; pause", TIME),
    ("P", "P", "scrub", "bar", "bar with phases and findings; a click or a drag on it goes there", TIME),
    ("less_than_sign", "<", "speed(-1)", "slower", "play slower", TIME),
    ("greater_than_sign", ">", "speed(1)", "faster", "play faster; beyond 100x without gaps", TIME),
    ("m", "m", "bookmark", "bookmark", "set a bookmark, or take it away; says the time since the last one", KEEP),
    ("apostrophe", "'", "bookmarked", "next bookmark", "to the next bookmark", MOVE),
    ("y", "y", "copy('text')", "copy", "copy the message as text", KEEP),
    ("Y", "Y", "copy('json')", "copy JSON", "copy the message as JSON", KEEP),
    ("X", "X", "copy('hex')", "copy hex", "copy the message's bytes in hex", KEEP),
    (
        "ctrl+e",
        "ctrl+e",
        "export",
        "export",
        "write what is shown to a file: a capture, text, JSON lines, CSV, HTML, SVG",
        KEEP,
    ),
    ("ctrl+s", "ctrl+s", "picture", "picture", "write the screen as an SVG picture", KEEP),
    ("ctrl+p", "ctrl+p", "command_palette", "commands", "command palette, with themes", SHOW),
)

KEYS = tuple(Shortcut(*row) for row in _ROWS)


def with_keys(chosen: Mapping[str, str]) -> tuple[Shortcut, ...]:
    """The shortcuts with other keys for some actions. Raises ValueError for an action that there is not."""
    known = {key.action for key in KEYS}
    for action in chosen:
        if action not in known:
            raise ValueError(f"there is no action {action!r} to give a key to; there are {', '.join(sorted(known))}")
    return tuple(
        key._replace(keys=chosen[key.action], shown=chosen[key.action].partition(",")[0])
        if key.action in chosen
        else key
        for key in KEYS
    )


GROUPS = (MOVE, FIND, SHOW, TIME, KEEP)

FOOTER = {
    "timeline": (
        "search",
        "filter",
        "answer",
        "pane('state')",
        "pane('details')",
        "pane('bytes')",
        "sessions",
        "help",
        "quit",
    ),
    "state": ("vring(-1)", "vring(1)", "only_vring", "features", "memory", "zoom", "help", "quit"),
    "details": ("explain", "copy('text')", "pane('bytes')", "zoom", "help", "quit"),
    "bytes": ("copy('hex')", "zoom", "help", "quit"),
}
"""Actions that count in a pane, most useful first; those of `MORE` follow where there is room."""

FINDINGS = (". !", "findings", "finding(1)")
"""What counts in the timeline once there are findings: the next one, and all of them."""
WHY = ("w", "why", "why")
"""What counts there once there is trouble."""

MORE = (
    "fold",
    "repeats",
    "follow",
    "play",
    "clock",
    "jump",
    "sequence",
    "rings",
    "times",
    "features",
    "memory",
    "bookmark",
    "explain",
    "copy('text')",
    "scrub",
    "export",
    "command_palette",
)

FIRST = {
    "timeline": (("Enter", "details", ""), ("Tab", "pane", "app.focus_next")),
    "state": (("Enter", "who set it", ""), ("Esc", "timeline", "")),
    "details": (("Enter", "go there", ""), ("Esc", "timeline", "")),
    "bytes": (("←↑↓→", "move", ""), ("Esc", "timeline", "")),
}


def hints(
    pane: str,
    found: bool = False,
    trouble: bool = False,
    shortcuts: Sequence[Shortcut] = KEYS,
    held: bool = False,
) -> list[tuple[str, str, str]]:
    """The last line as (key, word, action), in the order in which they get room; ``found``: there are findings;
    ``trouble``: the verdict says that something is wrong; ``held``: a message waits for the user."""
    by_action = {key.action: key for key in shortcuts}
    wanted = FOOTER[pane]
    chosen = [by_action[action] for action in (*wanted, *(action for action in MORE if action not in wanted))]
    findings = [FINDINGS] if found and pane == "timeline" else []
    findings = [WHY, *findings] if trouble and pane == "timeline" else findings
    waits = [(by_action["held"].shown, by_action["held"].word, "held")] if held else []
    return [*waits, *FIRST[pane], *findings, *((key.shown, key.word, key.action) for key in chosen)]
