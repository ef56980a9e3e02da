"""The room: one screen with timeline, details, bytes and state of a capture, and what its keys do.

It reads on in slices between keys, shows what came, and works out only what is on the screen. Everything it shows
comes from a `Timeline`; a live capture differs from a finished one by nothing but more rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import signal
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import App, ComposeResult, SystemCommand
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.widgets import Input

from vusniff.analysis.timeline import Timeline
from vusniff.errors import ExistsError, OutputError, VusniffError
from vusniff.printable import escape
from vusniff.views.tui import exporting, overlays
from vusniff.views.tui.analysis import States
from vusniff.views.tui.arrangement import Arrangement
from vusniff.views.tui.bars import Foot, Top, top_words
from vusniff.views.tui.bytes import BytesView
from vusniff.views.tui.contrast import readable
from vusniff.views.tui.copying import copied, keep
from vusniff.views.tui.dividing import Dividing
from vusniff.views.tui.exporting import Exporting
from vusniff.views.tui.filtering import Filtering, Prompt
from vusniff.views.tui.finder import Finder
from vusniff.views.tui.judging import Judging
from vusniff.views.tui.keys import FOOTER, KEYS, hints
from vusniff.views.tui.panes import LinesView
from vusniff.views.tui.reading import Reading
from vusniff.views.tui.replay import Player
from vusniff.views.tui.scrub import Scrub
from vusniff.views.tui.selected import Selected
from vusniff.views.tui.timeline import TimelineView

TOLD_SECONDS = 3
ASKING = ("search", "jump", "filter", "export")
"""Actions that open the prompt: what is typed behind their keys, however fast, belongs into it."""


class Room(App[int]):
    """The terminal view."""

    CSS_PATH = "app.tcss"
    TITLE = "vusniff"
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(key.keys, key.action, key.word, show=False, priority=key.action in ASKING, key_display=key.shown)
            for key in KEYS
            if key.action != "command_palette"
        ),
        Binding("escape", "escape", "back", show=False, priority=True),
        Binding("tab", "app.focus_next", show=False),
        Binding("shift+tab", "app.focus_previous", show=False),
    ]

    def __init__(self, timeline: Timeline, title: str, *, follow: bool = False) -> None:
        super().__init__()
        self.animation_level = "none"
        self.timeline = timeline
        self.named = title
        self.live = follow
        self.states = States(timeline)
        self.view = TimelineView(timeline, live=follow)
        self.view.follow = follow
        self.selected = Selected(self)
        self.reading = Reading(self)
        self.finder = Finder(self)
        self.filtering = Filtering(self)
        self.judging = Judging(self)
        self.view.marked = self.judging.numbers
        self.dividing = Dividing(self)
        self.arrangement = Arrangement(self)
        self.player = Player(self)
        self.scrub = Scrub(self)
        self.exporting = Exporting(self)
        self.trail: list[int] = []
        self.filter_words = ""
        """What the rows shown have in common, when they are not all."""
        self.session: int | None = None
        self.broken: VusniffError | None = None
        """Why the view was left: a message could not be read again."""

    def get_css_variables(self) -> dict[str, str]:
        """The theme's colours, where they cannot be read better ones."""
        return readable(super().get_css_variables())

    def compose(self) -> ComposeResult:
        yield Top()
        with Container(id="room"):
            with Vertical(id="messages"):
                yield self.view.heading
                yield self.view
                yield self.scrub
            yield self.selected.state
            yield self.selected.details
            yield self.selected.bytes
        yield Prompt(self)
        yield self.filtering.hints
        yield Foot()

    def on_mount(self) -> None:
        """Show what is there; the rest is read from now on."""
        with contextlib.suppress(ValueError, RuntimeError):  # signals are the main thread's
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, self.exit)
        self.arrangement.resized(self.size)
        self.view.focus()
        self.view.grown()
        self.dividing.begin()
        if len(self.timeline) and not self.live:
            self.view.moved()
        self.say()
        self._foot("timeline")
        self.set_timer(0.001, self.reading.go_on)
        self.set_timer(0.001, self.judging.go_on)

    def say(self) -> None:
        """Bring the first line up to date."""
        self.query_one(Top).say(*top_words(self))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys that open the prompt are text where text is typed."""
        if action in ASKING:
            return len(self.screen_stack) == 1 and not self.finder.asked
        return super().check_action(action, parameters)

    def _handle_exception(self, error: Exception) -> None:
        """A capture that was cut or replaced while it is shown ends the view with a sentence."""
        if isinstance(error, VusniffError):
            self.broken = error
            self.exit(return_code=2)
        else:
            super()._handle_exception(error)

    def pop_screen(self) -> AwaitComplete:
        """Take the topmost screen away. Textual's own screens ask for it once for every key: the room itself stays."""
        return super().pop_screen() if len(self.screen_stack) > 1 else AwaitComplete()

    # -- layout -------------------------------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        """Another size, perhaps another arrangement."""
        self.arrangement.resized(event.size)

    def on_lines_view_resized(self) -> None:
        """A pane is wider or narrower."""
        self.selected.changed()

    def action_pane(self, name: str) -> None:
        """Show a pane, or go to it; once more hides it where there is room for one only."""
        self.arrangement.turn(name)

    def action_zoom(self) -> None:
        """The focused pane alone, and back."""
        self.arrangement.zoom()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """The footer says what counts in the pane with the keys."""
        self._foot(event.widget.id or "")
        if event.widget.id in ("details", "bytes"):
            self.selected.show_bytes()

    def _foot(self, pane: str) -> None:
        if pane == "prompt":
            completes = [("Tab", "complete", "")] if self.filtering.asked else []
            self.screen_stack[0].query_one(Foot).show([("Enter", "go", ""), ("Esc", "cancel", ""), *completes])
        elif pane in FOOTER:
            self.screen_stack[0].query_one(Foot).show(hints(pane, bool(self.judging.numbers)))

    # -- the selected message -----------------------------------------------------------------------------------------

    def on_timeline_view_moved(self) -> None:
        """Another message is selected."""
        if not self.player.playing:
            self.judging.wait()
        self.scrub.moved()
        self.selected.changed()

    def found(self, rows: set[int]) -> None:
        """Findings came up at these rows."""
        self.view.found(rows)
        if self.scrub.display:
            self.scrub.refresh()
        if self.view.row in rows:
            self.selected.changed()
        if isinstance(self.focused, LinesView | TimelineView) and len(self.screen_stack) == 1:
            self._foot(self.focused.id or "")

    def on_lines_view_moved(self, event: LinesView.Moved) -> None:
        """A field is selected: its bytes light up."""
        if event.view is self.selected.details:
            self.selected.show_bytes()

    def on_bytes_view_moved(self, event: BytesView.Moved) -> None:
        """A byte is selected: so is its field."""
        self.selected.select_field(event.at)

    def on_lines_view_followed(self, event: LinesView.Followed) -> None:
        """Enter on a value leads to the message that set it; on a vring to its card."""
        key = event.line.key or ""
        if key.startswith("vring "):
            self.selected.keep(int(key[6:]))
        elif event.line.jump:
            self.leap(event.line.jump - 1)

    def on_timeline_view_opened(self) -> None:
        """Enter on a message."""
        if self.arrangement.narrow:
            self.arrangement.show("details")
        self.selected.details.focus()

    def leap(self, row: int) -> None:
        """Go to a row and remember from where; all messages are shown again where it is hidden."""
        if self.view.row is not None:
            self.trail.append(self.view.row)
            del self.trail[:-100]
        self.view.follow = False
        if not self.view.shows(row):
            self.limit(None, "")
        self.view.go_to(row)

    def action_retrace(self) -> None:
        """To where the last leap began."""
        if self.trail:
            self.view.go_to(self.trail.pop())
        else:
            self.tell("Nowhere to go back to")

    # -- vrings -------------------------------------------------------------------------------------------------------

    def action_vring(self, by: int) -> None:
        """The card of another vring, which then stays while the timeline moves."""
        self.selected.next_vring(by)

    def action_only_vring(self) -> None:
        """Only the messages about the chosen vring."""
        self.selected.tell_story()

    def limit(self, rows: Sequence[int] | None, words: str, session: int | None = None) -> None:
        """Show these rows only; None shows all."""
        self.filter_words, self.session = words, session
        self.filtering.limited(rows)
        self.view.show_rows(rows)
        self.dividing.begin()
        self.say()

    def action_escape(self) -> None:
        """One step back, from the innermost."""
        if len(self.screen_stack) > 1:
            self.screen.dismiss(None)
        elif self.finder.close() or self.selected.stop() or self.filtering.stop() or self.exporting.stop():
            pass
        elif self.player.playing:
            self.player.toggle()
        elif self.arrangement.zoomed:
            self.arrangement.zoom()
        elif self.scrub.display and self.view.has_focus:
            self.scrub.display = False
        elif not self.view.has_focus:
            self.view.focus()
        elif self.view.rows is not None:
            self.limit(None, "")
        elif self.view.hit:
            self.view.hit = ""
            self.view.refresh()
        else:
            self.selected.let_go()
        self.say()

    def tell(self, words: str, severity: SeverityLevel = "information") -> None:
        """A sentence in the corner, for a moment."""
        self.notify(escape(words), severity=severity, markup=False, timeout=TOLD_SECONDS)

    # -- the other keys -----------------------------------------------------------------------------------------------

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the prompt."""
        if self.filtering.asked:
            self.filtering.answered(event.value)
        elif self.finder.asked == exporting.ASKED:
            self.finder.close()
            if event.value.strip():
                self.exporting.begin(event.value.strip())
        elif self.finder.asked == exporting.REPLACE:
            self.finder.close()
            self.exporting.answered(event.value.strip())
        else:
            self.finder.answered(event.value)

    def action_search(self) -> None:
        """Ask for a text."""
        self.finder.ask("/")

    def action_filter(self) -> None:
        """Ask for a filter."""
        self.filtering.ask()

    def action_again(self, step: int) -> None:
        """The next or the previous hit."""
        self.finder.again(step)

    def action_finding(self, step: int) -> None:
        """The next or the previous finding."""
        self.judging.next(step)

    def action_findings(self) -> None:
        """All findings."""
        overlays.pick_finding(self)

    def action_jump(self) -> None:
        """Ask for a place."""
        self.finder.ask(":")

    def action_fold(self) -> None:
        """Fold the phase under the cursor, or unfold it."""
        if self.dividing.ready():
            self.view.fold()

    def action_fold_all(self) -> None:
        """Fold all phases, or unfold them."""
        if self.dividing.ready():
            self.view.fold_all()

    def action_phase(self, step: int) -> None:
        """The next or the previous phase."""
        if self.dividing.ready():
            self.view.to_heading(step)

    def action_repeats(self) -> None:
        """Runs of the same request as one line, and back."""
        self.view.turn_repeats()
        if self.view.shown.repeats is None:
            self.tell("Every message has its own row")
        else:
            self.tell("Runs of the same request are one row: R shows them")

    def action_answer(self) -> None:
        """From a request to its reply, and back."""
        self.view.to_answer()

    def action_clock(self) -> None:
        """The next meaning of the time column."""
        self.view.turn_clock()

    def action_bookmark(self) -> None:
        """Set a bookmark, or take it away."""
        self.view.turn_bookmark()

    def action_bookmarked(self) -> None:
        """To the next bookmark."""
        self.view.to_bookmark()

    def action_follow(self) -> None:
        """Stay with the newest message, or stand still."""
        self.view.follow = not self.view.follow
        if self.view.follow:
            self.view.move_to(self.view.count - 1)
            if not self.live:
                self.view.follow = False
                self.tell("The capture is finished: this is its last message")
        self.say()

    def action_play(self) -> None:
        """Play or pause."""
        self.player.toggle()

    def action_speed(self, by: int) -> None:
        """Play slower or faster."""
        self.player.change(by)

    def action_copy(self, form: str) -> None:
        """To the terminal's clipboard (OSC 52)."""
        if self.view.row is not None:
            self.copy_to_clipboard(copied(self.timeline, self.view.row, form))
            self.tell(f"Copied #{self.view.row + 1} as {form}")

    def action_export(self) -> None:
        """Ask for a file to write what is shown to."""
        self.finder.ask(exporting.ASKED)

    def action_scrub(self) -> None:
        """Show the bar, or hide it."""
        self.scrub.display = not self.scrub.display

    def action_picture(self) -> None:
        """Write the screen as SVG into the working directory."""
        began = time.strftime("vusniff-%Y%m%d-%H%M%S")
        for number in itertools.count(1):
            name = f"{began}.svg" if number == 1 else f"{began}-{number}.svg"
            try:
                keep(name, self.export_screenshot(title="vusniff"))
            except ExistsError:
                continue
            except OutputError as error:
                self.tell(str(error), severity="error")
            except OSError as error:
                self.tell(f"{name} cannot be written: {error.strerror}", severity="error")
            else:
                self.tell(f"Wrote {Path(name).absolute()}")
            return

    def deliver_screenshot(
        self, filename: str | None = None, path: str | None = None, time_format: str | None = None
    ) -> str | None:
        """What the command palette does for a screenshot: ours, and not a file of Textual's in some other folder."""
        self.action_picture()
        return None

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        """The screen as SVG; unlike Textual's, it asks no network for its fonts."""
        svg = super().export_screenshot(title=title, simplify=simplify)
        return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)

    def action_help(self) -> None:
        """All keys."""
        overlays.keys(self)

    def action_sessions(self) -> None:
        """All sessions."""
        overlays.pick_session(self)

    def action_features(self) -> None:
        """All feature bits."""
        overlays.feature_matrix(self)

    def action_compare(self) -> None:
        """This session and the one before."""
        overlays.compare_sessions(self)

    def action_memory(self) -> None:
        """The memory map."""
        overlays.memory_map(self)

    def action_explain(self) -> None:
        """What the request is for."""
        overlays.explain(self)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every key's action, and themes."""
        yield SystemCommand(
            "Theme", "other colours; ansi-dark and ansi-light use the terminal's own", self.search_themes
        )
        for key in KEYS:
            if key.action not in ("command_palette", "quit"):
                yield SystemCommand(f"{key.word} ({key.shown})", key.help, partial(self.run_action, key.action))
        yield SystemCommand("quit (q)", "leave", self.action_quit)
