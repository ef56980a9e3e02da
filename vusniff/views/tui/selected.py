"""The panes beside the timeline: state, details and bytes of the selected message, kept up to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vusniff.families.vhost_user.protocol import HEADER_SIZE
from vusniff.views.tui import details
from vusniff.views.tui import state as state_pane
from vusniff.views.tui.bytes import BytesView
from vusniff.views.tui.line import line
from vusniff.views.tui.panes import LinesView
from vusniff.views.tui.passed import Passed
from vusniff.views.tui.reading import SLICE_SECONDS
from vusniff.views.tui.story import Story

if TYPE_CHECKING:
    from vusniff.views.tui.app import Room

NO_WIDTH = 40
"""Width to begin with, before the panes are arranged."""

SESSIONS = 4
"""Sessions of which it is remembered where descriptors were passed."""
CARD_LINES = 14
"""About as many as a vring's card has."""


class Selected:
    """What is shown of the selected message."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.state = LinesView(id="state", classes="pane")
        self.details = LinesView(id="details", classes="pane")
        self.bytes = BytesView(id="bytes", classes="pane")
        self.vring: int | None = None
        """The vring whose card is shown."""
        self.kept = False
        """The user chose it: it stays while the timeline moves."""
        self.story: Story | None = None
        """The messages about a vring that are being looked for."""
        self._due = False
        self._working = False
        self._looking = False
        self._sessions: dict[int, Passed] = {}
        """Where descriptors were passed, by session; used last stands last."""

    def changed(self) -> None:
        """Another message is selected: the panes follow once, however many keys came."""
        if not self._due:
            self._due = True
            self.room.call_later(self.show)

    def show(self) -> None:
        """Bring the panes and the first line up to the selected message."""
        self._due = False
        row = self.room.view.row
        self.room.say()
        if row is None:
            for pane in (self.state, self.details):
                pane.show([line(("Nothing here yet.", "dim"))])
            return
        named = state_pane.vring_of(self.room.timeline, row)
        if named is not None and not self.kept:
            self.vring = named
        both = self.room.states.get(row)
        if self.details.display or self.bytes.display:
            self.details.border_title = f"Message #{row + 1}"
            width = self.details.scrollable_content_region.width or NO_WIDTH
            lost = self.room.view.losses.before(row)
            state = both[1] if both else None
            self.details.show(details.details(self.room.timeline, row, state, width, lost, self._passed(row)))
        self.show_bytes()
        if self.state.display:
            self._show_state(row)

    def _passed(self, row: int) -> Passed | None:
        """Where descriptors were passed in the session of a row that passes some; None until that is known."""
        if not self.room.timeline.frame(row).descriptors:
            return None
        session = self.room.timeline.place(row).session
        passed = self._sessions.pop(session, None) or Passed(self.room.timeline, session)
        self._sessions[session] = passed
        if len(self._sessions) > SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        if passed.run(SLICE_SECONDS / 4):
            return passed
        if not self._looking:
            self._looking = True
            self.room.set_timer(0.001, lambda: self._look(passed))
        return None

    def _look(self, passed: Passed) -> None:
        """One more slice of where descriptors were passed."""
        self._looking = passed in self._sessions.values() and not passed.run(SLICE_SECONDS)
        if self._looking:
            self.room.set_timer(0.001, lambda: self._look(passed))
        elif self.room.screen_stack:
            self.changed()

    def _show_state(self, row: int) -> None:
        both = self.room.states.get(row)
        if both is None:
            self.state.border_title = f"State after #{row + 1}"
            missing = self.room.states.missing(row)
            self.state.show([line((f"Working it out: {missing:,} messages to go.", "dim"))])
            if not self._working:
                self._working = True
                self.room.set_timer(0.001, self._work)
            return
        before, after = both
        same = "changes nothing" if before is after else "* is what it changed"
        kept = f"  vring {self.vring} kept (Esc lets go)" if self.kept and self.vring is not None else ""
        self.state.border_title = f"State after #{row + 1}: {same}{kept}"
        if self.vring is None and after.vrings:
            self.vring = min(after.vrings)
        width = self.state.scrollable_content_region.width or NO_WIDTH
        self.state.show(state_pane.state_lines(self.room.timeline, row, before, after, self.vring, width))

    def _work(self) -> None:
        """One more slice towards the state that is waited for."""
        self._working = False
        row = self.room.view.row
        if row is None or not self.state.display:
            return
        if self.room.states.step(row, SLICE_SECONDS):
            self.show()
        else:
            self._show_state(row)

    def show_bytes(self) -> None:
        """The bytes; those of the selected field are marked."""
        row = self.room.view.row
        if row is None or not self.bytes.display:
            return
        data = self.room.timeline.message(row).data
        current = self.details.current
        header = f", header {HEADER_SIZE}" if len(data) > HEADER_SIZE else ""
        self.bytes.border_title = f"Bytes of #{row + 1}: {len(data)}{header}"
        self.bytes.show(data, current.span if current else None)

    def select_field(self, at: int) -> None:
        """Put the cursor of the details on the smallest field that a byte is part of."""
        found = [
            (one.span[1] - one.span[0], number)
            for number, one in enumerate(self.details.lines)
            if one.span and one.span[0] <= at < one.span[1]
        ]
        if found:
            self.details.move_to(min(found)[1])

    def keep(self, vring: int) -> None:
        """Show the card of a vring, and go on doing so."""
        self.vring, self.kept = vring, True
        self.show()
        found = [number for number, one in enumerate(self.state.lines) if one.key == f"card {vring}"]
        if found and self.state.size.height:
            last = found[0] + CARD_LINES - self.state.size.height
            self.state.scroll_to(y=max(self.state.scroll_offset.y, min(found[0], last)), animate=False)

    def let_go(self) -> bool:
        """Follow the messages' vrings again; False when that was so."""
        kept, self.kept = self.kept, False
        if kept:
            self.show()
        return kept

    def next_vring(self, by: int) -> None:
        """The card of the next vring, or the one before."""
        row = self.room.view.row
        both = self.room.states.get(row) if row is not None else None
        if both is None or not both[1].vrings:
            self.room.tell("No vring is set up yet")
            return
        known = sorted(both[1].vrings)
        at = known.index(self.vring) if self.vring in known else -1
        self.keep(known[(at + by) % len(known)])

    def tell_story(self) -> None:
        """Only the messages about the chosen vring, when all of them are found."""
        row = self.room.view.row
        if row is None or self.vring is None:
            self.room.tell("No vring is chosen: [ and ] choose one")
        else:
            self.story = Story(self.room.timeline, self.room.timeline.place(row).session, self.vring)
            self._look_on(self.story)

    def _look_on(self, story: Story) -> None:
        """One more slice of the messages about a vring."""
        if story is not self.story:
            return
        if not story.run(SLICE_SECONDS):
            self.room.say()
            self.room.set_timer(0.001, lambda: self._look_on(story))
            return
        self.story = None
        self.room.limit(story.rows, f"vring {story.vring}")
        self.kept = True
        self.room.view.focus()

    def stop(self) -> bool:
        """Look no further for messages about a vring; False when none are being looked for."""
        story, self.story = self.story, None
        return story is not None
