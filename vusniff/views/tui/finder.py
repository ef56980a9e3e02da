"""The prompt on the last line but one: search for a text, go to a number, a time or a vring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.widgets import Input

from vusniff.views.tui import exporting
from vusniff.views.tui.filtering import ASKED, HINT
from vusniff.views.tui.reading import SLICE_SECONDS
from vusniff.views.tui.search import Search, target

if TYPE_CHECKING:
    from vusniff.views.tui.app import Room

HINTS = {
    "/": "text in requests, values, descriptors",
    ASKED: HINT,
    exporting.ASKED: exporting.HINT,
    exporting.REPLACE: exporting.REPLACE_HINT,
    ":": "1234 number, 2.5s since start, 12:30:01 time of day, v3 vring",
}


class Finder:
    """Asks, and finds slice by slice."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.asked = ""
        """What the prompt is for: ``/`` or ``:``; empty when it is closed."""
        self.search: Search | None = None
        """The search under way."""
        self.wanted = ""

    def ask(self, what: str) -> None:
        """Open the prompt."""
        prompt = self.room.query_one("#prompt", Input)
        self.asked = what
        prompt.value = ""
        prompt.placeholder = HINTS[what]
        prompt.display = True
        self.room.screen.set_focus(prompt)  # at once: what is typed behind the key belongs to it

    def close(self) -> bool:
        """Close the prompt or stop the search; False when there was neither."""
        if self.asked:
            self.asked = ""
            self.room.query_one("#prompt").display = False
            self.room.screen.set_focus(self.room.view)
            return True
        if self.search is not None:
            self.search = None
            return True
        return False

    def answered(self, words: str) -> None:
        """Enter in the prompt."""
        asked = self.asked
        self.close()
        words = words.strip()
        if not words:
            return
        if asked == "/":
            self.wanted = words
            self.room.view.hit = words.lower()
            self.room.view.refresh()
            self.again(1)
        elif words[0] in "vV" and words[1:].isdecimal():
            self.room.selected.keep(int(words[1:]))
        else:
            row = target(self.room.timeline, words)
            if row is None:
                self.room.tell(f"{words}: give {HINTS[':']}", severity="warning")
            else:
                self.room.leap(row)

    def again(self, step: int) -> None:
        """The next hit in a direction."""
        if not self.wanted:
            self.ask("/")
            return
        view = self.room.view
        self.search = Search(self.room.timeline, view.rows, self.wanted, view.position, step)
        self._work()

    def _work(self) -> None:
        search = self.search
        if search is None:
            return
        found = search.run(SLICE_SECONDS)
        if found is None:
            self.room.say()
            self.room.set_timer(0.001, self._work)
            return
        self.search = None
        view = self.room.view
        if found < 0:
            self.room.tell(f"No message has {self.wanted!r}")
        else:
            if (found - view.position) * search.step <= 0:
                self.room.tell("Went on from the other end")
            self.room.leap(view.shown.row_at(found))
        self.room.say()
