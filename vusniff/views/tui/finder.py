"""Finds messages for the prompt: by a text, slice by slice, or by a number, a time or a vring."""

from __future__ import annotations

from collections.abc import Callable

from vusniff.views.tui.application import Application
from vusniff.views.tui.pace import NEXT_SECONDS, SLICE_SECONDS
from vusniff.views.tui.prompt import PromptQuestion
from vusniff.views.tui.search import Search, beyond, target


class Finder:
    """The search under way, and the text it is for."""

    def __init__(self, app: Application, show_vring: Callable[[int], None]) -> None:
        """``show_vring`` is called with the number of a vring that was asked for."""
        self.app = app
        self.search: Search | None = None
        """The search under way."""
        self.wanted = ""
        """The text that is searched for, as it was typed."""
        self._show_vring = show_vring

    @property
    def words(self) -> str:
        """How far the search is; empty when there is none."""
        search = self.search
        return f"searching {100 * search.seen // max(1, search.count)} %, Esc stops" if search else ""

    def stop(self) -> bool:
        """Stop the search; False when there is none."""
        search, self.search = self.search, None
        return search is not None

    def find(self, text: str) -> None:
        """Search for a text from the selected message on, and highlight it."""
        self.wanted = text
        self.app.view.hit = text.lower()
        self.app.view.refresh()
        self.again(1)

    def go_to(self, words: str) -> None:
        """Go to what is meant by a number, a time or a vring."""
        if words[0] in "vV" and words[1:].isdecimal():
            self._show_vring(int(words[1:]))
            return
        row = target(self.app.timeline, words)
        if row is None:
            self.app.announce(f"{words}: give {PromptQuestion.TARGET.value}", "warning")
            return
        self.app.jump_to(row)
        if (why := beyond(self.app.timeline, words)) is not None:
            self.app.announce(why, "warning")

    def again(self, step: int) -> bool:
        """Go to the next hit (``step`` 1) or the one before (-1); False when nothing has been searched for."""
        if not self.wanted:
            return False
        view = self.app.view
        self.search = Search(self.app.timeline, view.rows, self.wanted, view.position, step)
        self._work()
        return True

    def _work(self) -> None:
        """Search for one slice, and come again where that is not all."""
        search = self.search
        if search is None:
            return
        found = search.run(SLICE_SECONDS)
        if found is None:
            self.app.refresh_top()
            self.app.later(NEXT_SECONDS, self._work)
            return
        self.search = None
        view = self.app.view
        if found < 0:
            where = f" of those shown ({view.words})" if view.words else ""
            self.app.announce(f"No message{where} has {self.wanted!r}")
        else:
            if (found - view.position) * search.step <= 0:
                self.app.announce(f"Went on from the {'first' if search.step > 0 else 'last'} message")
            self.app.jump_to(view.shown.row_at(found))
        self.app.refresh_top()
