"""The application of the terminal view: what keys, clicks and Textual's own events do to its parts.

All it shows comes from a `Timeline`; a live capture differs from a finished one only by more rows. Work is done by the
parts, in slices between keys. The parts know neither this module nor `parts`, only `application.Application`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import SystemCommand
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Input

from vusniff.errors import OutputError, VusniffError
from vusniff.views.tui import overlays
from vusniff.views.tui.bytes import BytesView
from vusniff.views.tui.copying import copied, keep_picture
from vusniff.views.tui.held import HeldScreen
from vusniff.views.tui.keys import KEYS, with_keys
from vusniff.views.tui.pace import NEXT_SECONDS
from vusniff.views.tui.panes import LinesView
from vusniff.views.tui.parts import Parts
from vusniff.views.tui.prompt import PromptQuestion
from vusniff.views.tui.rows import ALL_COLUMNS, columns_of
from vusniff.views.tui.screens import LinesScreen, all_keys

ASKING = ("search", "jump", "filter", "export", "columns")
"""Actions that open the prompt. What is typed behind their keys, however fast, belongs into the prompt."""


class TuiApp(Parts):
    """The terminal view."""

    TITLE = "vusniff"
    first_session: int | None = None
    """The session that is shown alone at first."""
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(key.keys, key.action, key.word, False, key.shown, priority=key.action in ASKING, id=key.action)
            for key in KEYS
            if key.action != "command_palette"
        ),
        Binding("escape", "escape", "back", show=False, priority=True),
        Binding("ctrl+c", "interrupt", "stop or leave", show=False, priority=True),
        Binding("ctrl+q", "quit", "leave", show=False, priority=True),
        Binding("tab", "app.focus_next", show=False),
        Binding("shift+tab", "app.focus_previous", show=False),
    ]

    def on_mount(self) -> None:
        """Show what is there; the rest is read from now on."""
        with contextlib.suppress(ValueError, RuntimeError):  # signals are the main thread's
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, self.exit)
        if self.held.holder is not None:
            asyncio.get_running_loop().add_reader(self.held.holder.fileno(), self._hold_news)
        self._use_settings()
        self.arrangement.resized(self.size)
        self.view.focus()
        self.view.grown()
        self.dividing.begin()
        if len(self.timeline) and not self.live:
            self.view.moved()
        self.refresh_top()
        if (session := self.first_session) is not None:
            self.limit(self.timeline.rows_of(session), f"session {session}", session)
        self.show_keys("timeline")
        self.later(NEXT_SECONDS, self.reading.go_on)
        self.later(NEXT_SECONDS, self.judging.go_on)

    def _use_settings(self) -> None:
        """Theme, columns and keys as the user likes them; what is wrong with them is said."""
        settings = self.settings
        wrong = [settings.trouble] if settings.trouble else []
        if settings.theme:
            if settings.theme in self.available_themes:
                self.theme = settings.theme
            else:
                wrong.append(f"{settings.path}: there is no theme {settings.theme!r}")
        try:
            self.view.columns = columns_of(settings.columns) if settings.columns else ALL_COLUMNS
            self.shortcuts = with_keys(settings.keys)
            self.set_keymap(dict(settings.keys))
        except ValueError as error:
            wrong.append(f"{settings.path}: {error}")
        if wrong:
            self.announce("; ".join(wrong), "warning")
        self.theme_changed_signal.subscribe(self, lambda theme: self._remember(theme=theme.name))

    def _remember(self, theme: str | None = None, columns: str | None = None) -> None:
        """Keep a setting for the next time."""
        try:
            self.settings = self.settings.saved(theme=theme, columns=columns)
        except OutputError as error:
            self.announce(str(error), "error")

    # -- what Textual asks for ----------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys that open the prompt are text where text is typed."""
        if action in ASKING:
            return len(self.screen_stack) == 1 and self.prompt.question is None
        return super().check_action(action, parameters)

    def _handle_exception(self, error: Exception) -> None:
        """A capture that was cut or replaced while it is shown ends the view with a sentence."""
        if isinstance(error, VusniffError):
            self.broken = error
            self.exit(return_code=2)
        else:
            super()._handle_exception(error)

    def pop_screen(self) -> AwaitComplete:
        """Take the topmost screen away, but not the first one. Textual's own screens ask for it once for every key."""
        return super().pop_screen() if len(self.screen_stack) > 1 else AwaitComplete()

    # -- layout -------------------------------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        """Arrange the panes for another size."""
        self.arrangement.resized(event.size)
        self.refresh_top()

    def on_lines_view_resized(self) -> None:
        """A pane is wider or narrower."""
        self.selected.changed()

    def action_pane(self, name: str) -> None:
        self.arrangement.turn(name)

    def action_zoom(self) -> None:
        self.arrangement.zoom()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """The last line says which keys count in the pane with the focus."""
        self.show_keys(event.widget.id or "")
        if event.widget.id in ("details", "bytes"):
            self.selected.show_bytes()

    # -- the selected message -----------------------------------------------------------------------------------------

    def on_timeline_view_moved(self) -> None:
        """Another message is selected."""
        if not self.playback.playing:
            self.judging.wait()
        self.scrub.moved()
        self.selected.changed()

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
            self.jump_to(event.line.jump - 1)

    def on_timeline_view_opened(self) -> None:
        """Enter on a message."""
        if self.arrangement.narrow:
            self.arrangement.show("details")
        self.selected.details.focus()

    def action_interrupt(self) -> None:
        """Ctrl+C: what is being typed or worked on ends; where nothing is, the view does."""
        if len(self.screen_stack) > 1 or self.prompt.question is not None:
            self.action_escape()
        elif self._stop():
            self.refresh_top()
        else:
            self.exit()

    def _stop(self) -> bool:
        """Stop what is being worked on; False when nothing is."""
        parts = (self.finder, self.selected, self.filtering, self.drawing, self.exporting)
        return any(part.stop() for part in parts)

    def action_retrace(self) -> None:
        if self.trail:
            self.view.go_to(self.trail.pop())
        else:
            self.announce("Nowhere to go back to")

    # -- vrings -------------------------------------------------------------------------------------------------------

    def action_vring(self, by: int) -> None:
        self.selected.next_vring(by)

    def action_only_vring(self) -> None:
        self.selected.tell_story()

    def action_escape(self) -> None:
        """One step back, from the innermost."""
        if isinstance(self.screen, LinesScreen):
            self.screen.action_leave()
        elif len(self.screen_stack) > 1:
            self.screen.dismiss(None)
        elif self.prompt.close() or self._stop():
            pass
        elif self.playback.playing:
            self.playback.toggle()
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
        self.refresh_top()

    # -- the other keys: `keys.KEYS` says what each does --------------------------------------------------------------

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the prompt."""
        question, text = self.prompt.question, event.value.strip()
        if question is PromptQuestion.FILTER and not self.completing.accepts(text):
            return
        self.prompt.used(text)
        self.prompt.close()
        if question is PromptQuestion.FILTER:
            self.filtering.apply(text)
        elif question is PromptQuestion.COLUMNS:
            self._choose_columns(text)
        elif question is PromptQuestion.REPLACE:
            self.exporting.answered(text)
        elif not text:
            return
        elif question is PromptQuestion.FILE:
            self.exporting.begin(text)
        elif question is PromptQuestion.TARGET:
            self.finder.go_to(text)
        elif question is PromptQuestion.TEXT:
            self.finder.find(text)

    def _choose_columns(self, words: str) -> None:
        try:
            columns = columns_of(words) if words else ALL_COLUMNS
        except ValueError as error:
            self.announce(str(error), "warning")
            return
        self.view.show_columns(columns)
        self._remember(columns="" if columns == ALL_COLUMNS else " ".join(columns))

    def action_columns(self) -> None:
        self.prompt.ask(PromptQuestion.COLUMNS)
        self.prompt.value = " ".join(self.view.columns)
        self.prompt.cursor_position = len(self.prompt.value)

    def action_search(self) -> None:
        self.prompt.ask(PromptQuestion.TEXT)

    def action_filter(self) -> None:
        self.completing.ask(self.filtering.text)

    def action_again(self, step: int) -> None:
        if not self.finder.again(step):
            self.prompt.ask(PromptQuestion.TEXT)

    def action_why(self) -> None:
        self.show_overlay(overlays.why(self, self.judging))

    def action_finding(self, step: int) -> None:
        self.judging.next(step)

    def action_held(self) -> None:
        if self.held.first is None:
            self.announce("No message is held: a rule of vusniff proxy --tui with hold does that")
        else:
            self.push_screen(HeldScreen(self.held))

    def _hold_news(self) -> None:
        """Who holds messages has news."""
        holder = self.held.holder
        if holder is not None and self.is_running and self.screen_stack:
            number = holder.fileno()
            if not self.held.news():
                asyncio.get_running_loop().remove_reader(number)

    def action_findings(self) -> None:
        self.show_overlay(overlays.pick_finding(self, self.judging))

    def action_jump(self) -> None:
        self.prompt.ask(PromptQuestion.TARGET)

    def action_fold(self) -> None:
        if self.dividing.ready():
            self.view.fold()

    def action_fold_all(self) -> None:
        if self.dividing.ready():
            self.view.fold_all()

    def action_phase(self, step: int) -> None:
        if self.dividing.ready():
            self.view.to_heading(step)

    def action_repeats(self) -> None:
        self.view.turn_repeats()
        if self.view.shown.repeats is None:
            self.announce("Every message has its own row")
        else:
            self.announce("Runs of the same request are one row: R shows them")

    def action_callers(self) -> None:
        if not self.view.turn_callers():
            self.announce("No call stacks were recorded: vusniff capture --stacks does")
        elif self.view.callers is None:
            self.announce("Every message has its own row")
        else:
            self.announce("What one function sends is one row: W shows them")

    def action_logs(self) -> None:
        folded = self.view.evidence.fold_logs()
        self.view.refresh()
        self.announce("Lines of logs are counted: L shows them" if folded else "Lines of logs are shown")

    def action_answer(self) -> None:
        self.view.to_answer()

    def action_clock(self) -> None:
        self.view.turn_clock()

    def action_bookmark(self) -> None:
        self.view.turn_bookmark()

    def action_bookmarked(self) -> None:
        self.view.to_bookmark()

    def action_follow(self) -> None:
        self.view.follow = not self.view.follow
        if self.view.follow:
            self.view.move_to(self.view.count - 1)
            if not self.live:
                self.view.follow = False
                self.announce("The capture is finished: this is its last message")
        self.refresh_top()

    def action_play(self) -> None:
        if self.playback.toggle():
            self.scrub.display = True

    def action_speed(self, by: int) -> None:
        self.playback.change(by)

    def action_copy(self, form: str) -> None:
        if self.view.row is not None:
            self.copy_to_clipboard(copied(self.timeline, self.view.row, form))
            self.announce(f"Copied #{self.view.row + 1} as {form}")

    def action_export(self) -> None:
        self.prompt.ask(PromptQuestion.FILE)

    def action_scrub(self) -> None:
        self.scrub.display = not self.scrub.display

    def action_picture(self) -> None:
        try:
            name = keep_picture(self.export_screenshot(title="vusniff"))
        except OutputError as error:
            self.announce(str(error), "error")
        else:
            self.announce(f"Wrote {Path(name).absolute()}")

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
        self.show_overlay(all_keys(self.shortcuts))

    def action_sessions(self) -> None:
        self.show_overlay(overlays.pick_session(self))

    def action_features(self) -> None:
        self.show_overlay(overlays.feature_matrix(self, self.states))

    def action_compare(self) -> None:
        self.show_overlay(overlays.compare_sessions(self, self.states, self.show_overlay))

    def action_sequence(self) -> None:
        from vusniff.views.tui import drawings  # the first picture does not wait for what draws

        self.drawing.begin(drawings.ladder_of(self))

    def action_rings(self) -> None:
        from vusniff.views.tui import drawings

        self.drawing.begin(drawings.rings(self))

    def action_times(self) -> None:
        from vusniff.views.tui import drawings

        self.drawing.begin(drawings.reply_times(self))

    def action_memory(self) -> None:
        self.show_overlay(overlays.memory_map(self, self.states))

    def action_explain(self) -> None:
        details = self.selected.details
        self.show_overlay(overlays.explain(self, details.current if details.has_focus else None))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every key's action, and themes."""
        yield SystemCommand(
            "Theme", "other colours; ansi-dark and ansi-light use the terminal's own", self.search_themes
        )
        for key in KEYS:
            if key.action not in ("command_palette", "quit"):
                yield SystemCommand(f"{key.word} ({key.shown})", key.help, partial(self.run_action, key.action))
        yield SystemCommand("quit (q)", "leave", self.action_quit)
