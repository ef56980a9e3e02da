"""The panes beside the timeline: state, details and bytes of the selected message."""

from __future__ import annotations

from collections.abc import Callable

from vusniff.families.vhost_user.state import DeviceState
from vusniff.views.tui import details
from vusniff.views.tui import state as state_pane
from vusniff.views.tui.analysis import States
from vusniff.views.tui.application import Application
from vusniff.views.tui.bytes import BytesView
from vusniff.views.tui.line import line
from vusniff.views.tui.pace import NEXT_SECONDS, SLICE_SECONDS
from vusniff.views.tui.panes import LinesView
from vusniff.views.tui.passed import Passed
from vusniff.views.tui.story import Story

NO_WIDTH = 40
"""Cells of a pane that has not been arranged yet."""

SESSIONS = 4
"""Sessions for which it is kept where descriptors were passed."""
CARD_LINES = 14
"""About as many lines as the card of a vring has."""


class Selected:
    """What is shown of the selected message."""

    def __init__(self, app: Application, states: States, soon: Callable[[Callable[[], None]], object]) -> None:
        """``soon`` calls a function once the keys that wait have been handled."""
        self.app = app
        self._states = states
        self._soon = soon
        self.state = LinesView(id="state", classes="pane")
        self.details = LinesView(id="details", classes="pane")
        self.bytes = BytesView(id="bytes", classes="pane")
        self.vring: int | None = None
        """The vring whose card is shown."""
        self.kept = False
        """The user chose that vring: its card stays while the timeline moves."""
        self.story: Story | None = None
        """The search for the messages about a vring, while it goes on."""
        self._due = False
        self._working = False
        self._looking = False
        self._sessions: dict[int, Passed] = {}
        """Where descriptors were passed, by session; the one that was used last stands last."""

    @property
    def words(self) -> str:
        """How far the search for the messages about a vring is; empty when there is none."""
        story = self.story
        return f"looking {100 * story.seen // max(1, story.count)} %, Esc stops" if story else ""

    def changed(self) -> None:
        """Another message is selected: the panes are filled once, however many keys came."""
        if not self._due:
            self._due = True
            self._soon(self.show)

    def show(self) -> None:
        """Fill the panes and the first line for the selected message."""
        self._due = False
        row = self.app.view.row
        self.app.refresh_top()
        if row is None:
            for pane in (self.state, self.details):
                pane.show([line(("Nothing here yet.", "dim"))])
            return
        named = state_pane.vring_of(self.app.timeline, row)
        if named is not None and not self.kept:
            self.vring = named
        both = self._states.get(row)
        if self.details.display or self.bytes.display:
            self.details.border_title = f"Message #{row + 1}"
            width = self.details.scrollable_content_region.width or NO_WIDTH
            lost = self.app.view.losses.before(row)
            state = both[1] if both else None
            behind = self.app.view.evidence.behind(row, row)
            self.details.show(details.details(self.app.timeline, row, state, width, lost, self._passed(row), behind))
        self.show_bytes()
        if self.state.display:
            self._show_state(row)

    def _passed(self, row: int) -> Passed | None:
        """Where descriptors were passed in the session of a row that passes some; None until that is known."""
        if not self.app.timeline.frame(row).descriptors:
            return None
        session = self.app.timeline.place(row).session
        passed = self._sessions.pop(session, None) or Passed(self.app.timeline, session)
        self._sessions[session] = passed
        if len(self._sessions) > SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        if passed.run(SLICE_SECONDS / 4):
            return passed
        if not self._looking:
            self._looking = True
            self.app.later(NEXT_SECONDS, lambda: self._look(passed))
        return None

    def _look(self, passed: Passed) -> None:
        """Look for one more slice where descriptors were passed."""
        self._looking = passed in self._sessions.values() and not passed.run(SLICE_SECONDS)
        if self._looking:
            self.app.later(NEXT_SECONDS, lambda: self._look(passed))
        else:
            self.changed()

    def _show_state(self, row: int) -> None:
        both = self._states.get(row)
        if both is None:
            self.state.border_title = f"State after #{row + 1}"
            missing = self._states.missing(row)
            self.state.show([line((f"Working it out: {missing:,} messages to go.", "dim"))])
            if not self._working:
                self._working = True
                self.app.later(NEXT_SECONDS, self._work)
            return
        before, after = both
        same = "changes nothing" if before is after else "* is what it changed"
        kept = f"  pinned to vring {self.vring} (Esc unpins)" if self.kept and self.vring is not None else ""
        self.state.border_title = f"State after #{row + 1}: {same}{kept}"
        if self.vring is None and isinstance(after, DeviceState) and after.vrings:
            self.vring = min(after.vrings)
        width = self.state.scrollable_content_region.width or NO_WIDTH
        self.state.show(state_pane.state_lines(self.app.timeline, row, before, after, self.vring, width))

    def _work(self) -> None:
        """Work for one more slice towards the state that is waited for."""
        self._working = False
        row = self.app.view.row
        if row is None or not self.state.display:
            return
        if self._states.step(row, SLICE_SECONDS):
            self.show()
        else:
            self._show_state(row)

    def show_bytes(self) -> None:
        """Show the bytes, and mark those of the selected field."""
        row = self.app.view.row
        if row is None or not self.bytes.display:
            return
        message = self.app.timeline.message(row)
        data, head = message.data, message.channel.header.size
        current = self.details.current
        header = f", header {head}" if len(data) > head else ""
        self.bytes.border_title = f"Bytes of #{row + 1}: {len(data)}{header}"
        self.bytes.show(data, current.span if current else None, head)

    def select_field(self, at: int) -> None:
        """Put the cursor of the details on the smallest field that byte ``at`` of the message is part of."""
        found = [
            (one.span[1] - one.span[0], number)
            for number, one in enumerate(self.details.lines)
            if one.span and one.span[0] <= at < one.span[1]
        ]
        if found:
            self.details.move_to(min(found)[1])

    def keep(self, vring: int) -> None:
        """Show the card of a vring, also when the timeline moves."""
        self.vring, self.kept = vring, True
        self.show()
        found = [number for number, one in enumerate(self.state.lines) if one.key == f"card {vring}"]
        if found and self.state.size.height:
            last = found[0] + CARD_LINES - self.state.size.height
            self.state.scroll_to(y=max(self.state.scroll_offset.y, min(found[0], last)), animate=False)

    def let_go(self) -> bool:
        """Show the card of the selected message's vring again; False when that was so already."""
        kept, self.kept = self.kept, False
        if kept:
            self.show()
        return kept

    def next_vring(self, by: int) -> None:
        """Show the card of the next vring (``by`` 1) or the one before (-1)."""
        row = self.app.view.row
        both = self._states.get(row) if row is not None else None
        if both is None or not isinstance(both[1], DeviceState) or not both[1].vrings:
            self.app.announce("No vring is set up yet")
            return
        known = sorted(both[1].vrings)
        at = known.index(self.vring) if self.vring in known else -1
        self.keep(known[(at + by) % len(known)])

    def tell_story(self) -> None:
        """Look for the messages about the chosen vring, and then show only those."""
        row = self.app.view.row
        if row is None or self.vring is None:
            self.app.announce("No vring is chosen: [ and ] choose one")
        else:
            self.story = Story(self.app.timeline, self.app.timeline.place(row).session, self.vring)
            self._look_on(self.story)

    def _look_on(self, story: Story) -> None:
        """Look for one more slice for the messages about a vring."""
        if story is not self.story:
            return
        if not story.run(SLICE_SECONDS):
            self.app.refresh_top()
            self.app.later(NEXT_SECONDS, lambda: self._look_on(story))
            return
        self.story = None
        self.app.limit(story.rows, f"vring {story.vring}")
        self.kept = True
        self.app.view.focus()

    def stop(self) -> bool:
        """Stop looking for the messages about a vring; False when none are looked for."""
        story, self.story = self.story, None
        return story is not None
