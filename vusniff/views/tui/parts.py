"""The parts of the terminal view, put together: what each is given, where each stands, and what all may ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from textual.app import App, ComposeResult
from textual.containers import Container, Vertical
from textual.notifications import SeverityLevel

from vusniff.analysis.timeline import Timeline
from vusniff.errors import VusniffError
from vusniff.printable import escape
from vusniff.views.tui.analysis import States
from vusniff.views.tui.arrangement import Arrangement
from vusniff.views.tui.bars import FULL_WORDS, Foot, Top, VerdictLine, pace_words, top_words
from vusniff.views.tui.completing import Completing
from vusniff.views.tui.contrast import readable
from vusniff.views.tui.dividing import Dividing
from vusniff.views.tui.drawing import Drawing
from vusniff.views.tui.exporting import Exporting
from vusniff.views.tui.filtering import Filtering
from vusniff.views.tui.finder import Finder
from vusniff.views.tui.held import HeldPart, HeldScreen
from vusniff.views.tui.judging import Judging
from vusniff.views.tui.keys import FOOTER, KEYS, Shortcut, hints
from vusniff.views.tui.line import TextLine
from vusniff.views.tui.overlays import Overlay
from vusniff.views.tui.panes import LinesView
from vusniff.views.tui.playback import Playback
from vusniff.views.tui.prompt import Prompt, PromptQuestion
from vusniff.views.tui.reading import CaptureReading
from vusniff.views.tui.screens import LinesScreen
from vusniff.views.tui.scrub import Scrub
from vusniff.views.tui.selected import Selected
from vusniff.views.tui.settings import ViewSettings
from vusniff.views.tui.timeline import TimelineView

ANNOUNCED_SECONDS = 3
"""How long a sentence stays in the corner."""
JUMPS = 100
"""Jumps that are remembered for the way back."""


class Parts(App[int]):
    """An application without keys. Its parts see it as an `application.Application`."""

    CSS_PATH = "app.tcss"

    def __init__(
        self, timeline: Timeline, title: str, *, follow: bool = False, cut: Callable[[], str | None] = lambda: None
    ) -> None:
        """``title`` stands on the first line; ``follow`` goes on reading at the end of the capture; ``cut`` says why
        nothing more comes there, if that is known."""
        super().__init__()
        self.animation_level = "none"
        self.timeline = timeline
        self.live = follow
        self.view = TimelineView(timeline, live=follow)
        self.view.follow = follow
        self.view.announce = self.announce
        self.states = States(timeline)
        self.prompt = Prompt(self.view)
        self.selected = Selected(self, self.states, self.call_later)
        self.reading = CaptureReading(self, cut)
        self.view.nothing = lambda: self.reading.waiting
        self.finder = Finder(self, self.selected.keep)
        self.completing = Completing(self.prompt)
        self.filtering = Filtering(self)
        self.judging = Judging(self, self.found)
        self.view.marked = self.judging.numbers
        self.dividing = Dividing(self)
        self.arrangement = Arrangement(self, self.view, self.selected.show)
        self.playback = Playback(self)
        self.scrub = Scrub(self.view, self.playback.seek)
        self.drawing = Drawing(self, self.show_overlay)
        self.exporting = Exporting(self, title, partial(self.prompt.ask, PromptQuestion.REPLACE))
        self.held = HeldPart(self, self.held_changed)
        self.settings = ViewSettings()
        self.shortcuts: Sequence[Shortcut] = KEYS
        self.trail: list[int] = []
        """Rows at which jumps began, the last one last."""
        self.broken: VusniffError | None = None
        """Why the view was left: a message could not be read again."""
        self._title = title

    def get_css_variables(self) -> dict[str, str]:
        """The theme's colours, where they cannot be read better ones."""
        return readable(super().get_css_variables(), not self.no_color)

    def compose(self) -> ComposeResult:
        yield VerdictLine()
        yield Top()
        with Container(id="body"):
            with Vertical(id="messages"):
                yield self.view.heading
                yield self.view
                yield self.scrub
            yield self.selected.state
            yield self.selected.details
            yield self.selected.bytes
        yield self.prompt
        yield self.completing.hints
        yield Foot()

    def announce(self, sentence: str, severity: SeverityLevel = "information", /) -> None:
        """Show a sentence in the corner for a moment."""
        self.clear_notifications()  # the last sentence is the one that counts
        self.notify(escape(sentence), severity=severity, markup=False, timeout=ANNOUNCED_SECONDS)

    def show_overlay(self, overlay: Overlay | None, /) -> None:
        """Show something over the timeline; None for nothing."""
        if overlay is None:
            return

        def picked(line: TextLine | None) -> None:
            if line is not None and overlay.picked is not None:
                overlay.picked(line)

        self.push_screen(LinesScreen(overlay), picked)

    def refresh_top(self) -> None:
        """Bring the first line up to date."""
        working = (self.finder, self.selected, self.drawing, self.exporting, self.filtering, self.reading, self.judging)
        work = [pace_words(self.timeline, 12 if self.size.width >= FULL_WORDS else 4) if self.live else ""]
        work += [next(filter(None, (part.words for part in working)), ""), self.playback.words, self.held.words]
        self.query_one(VerdictLine).show(self.judging.sentence, self.judging.trouble)
        self.query_one(Top).show(*top_words(self._title, self.view, self.judging, self.size, work))

    def later(self, seconds: float, action: Callable[[], None], /) -> None:
        """Do something after so many seconds, unless the view has been left by then."""

        def act() -> None:
            if self.is_running and self.screen_stack:  # screens lose their parts while the view is being left
                action()

        self.set_timer(seconds, act)

    def jump_to(self, row: int, /) -> None:
        """Select a row and remember from where; all messages are shown again where it is hidden."""
        if self.view.row is not None:
            self.trail.append(self.view.row)
            del self.trail[:-JUMPS]
        self.view.follow = False
        if not self.view.shows(row):
            self.limit(None, "")
        self.view.go_to(row)

    def limit(self, rows: Sequence[int] | None, words: str, session: int | None = None, /) -> None:
        """Show these rows only; None shows all."""
        self.filtering.limited(rows)
        self.view.show_rows(rows, words, session)
        self.dividing.begin()
        self.refresh_top()

    def found(self, rows: set[int]) -> None:
        """Findings came up at these rows."""
        self.view.found(rows)
        if self.scrub.display:
            self.scrub.refresh()
        if self.view.row in rows:
            self.selected.changed()
        if isinstance(self.focused, LinesView | TimelineView) and len(self.screen_stack) == 1:
            self.show_keys(self.focused.id or "")

    def held_changed(self) -> None:
        """Other messages wait for the user."""
        if isinstance(self.screen, HeldScreen):
            self.screen.renew()
        elif self.held.said:
            self.announce(self.held.said, "warning")
        elif isinstance(self.focused, LinesView | TimelineView) and len(self.screen_stack) == 1:
            self.show_keys(self.focused.id or "")
        self.refresh_top()

    def show_keys(self, pane: str) -> None:
        """Show on the last line the keys that count in a pane."""
        if pane == "prompt":
            completes = [("Tab", "complete", "")] if self.prompt.question is PromptQuestion.FILTER else []
            self.screen_stack[0].query_one(Foot).show([("Enter", "go", ""), ("Esc", "cancel", ""), *completes])
        elif pane in FOOTER:
            self.screen_stack[0].query_one(Foot).show(
                hints(pane, bool(self.judging.numbers), self.judging.trouble, self.shortcuts, bool(self.held.words))
            )
