"""The live table of ``vusniff top``: devices of a host, or each ring of them. Rows come from `vusniff.views.top`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, Static

from vusniff.analysis.devices import DeviceTable
from vusniff.errors import VusniffError
from vusniff.printable import escape
from vusniff.views import top
from vusniff.views.top import COLUMNS, SORTABLE, TONES, TopRow
from vusniff.views.tui.contrast import readable
from vusniff.views.tui.line import Part, TextLine, cut
from vusniff.views.tui.panes import LinesView

SECONDS = 0.5
"""Time between two looks."""
KEYS = "s sort  S reverse  / filter  r rings  p pause  Enter open the session  q quit"


class TopApp(App[int]):
    """Ends with the number of the session that is to be opened, or None."""

    CSS_PATH = "app.tcss"
    TITLE = "vusniff top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("ctrl+c,ctrl+q", "quit", "quit", show=False, priority=True),
        Binding("s", "sort", "sort by the next column"),
        Binding("S", "reverse", "the other way round"),
        Binding("r", "rings", "each ring, or devices"),
        Binding("p", "pause", "pause"),
        Binding("slash", "filter", "filter", priority=True),
        Binding("escape", "escape", "back", show=False),
    ]

    def __init__(
        self,
        table: DeviceTable,
        now: Callable[[], int],
        arrangement: TopArrangement,
        follow: Callable[[], None] = lambda: None,
        note: str = "",
    ) -> None:
        """``follow`` is called at each look; ``note`` says why less is seen than could be."""
        super().__init__()
        self.table, self.now, self.arrangement = table, now, arrangement
        self._follow, self._note = follow, note
        self.lines = LinesView(id="devices")
        self._heading = Static(id="heading", markup=False)
        self._top = Static(id="top", markup=False)
        self._foot = Static(KEYS, id="foot", markup=False)
        self._prompt = Input(id="prompt", compact=True, placeholder="words that a row must hold")
        self._rows: dict[str, TopRow] = {}
        self.broken: VusniffError | None = None
        self.paused = False

    def get_css_variables(self) -> dict[str, str]:
        """Colours that can be read on the background."""
        return readable(super().get_css_variables(), not self.no_color)

    def compose(self) -> ComposeResult:
        """One line, the table, one line."""
        yield self._top
        yield self._heading
        yield self.lines
        yield self._prompt
        yield self._foot

    def on_mount(self) -> None:
        """Begin to look."""
        self.lines.focus()
        self.look()
        self.set_interval(SECONDS, self.look)

    def look(self) -> None:
        """Read on, and show what there is now."""
        if self.paused:
            return
        try:
            self._follow()
            self.table.timeline.update()
        except VusniffError as error:
            self.broken = error
            self.exit(None)
            return
        self.show()

    def show(self) -> None:
        """The table as it is arranged."""
        now, how = self.now(), self.arrangement
        devices = list(self.table.devices())
        rows = top.arranged(top.rows_of(devices, how.each), how.sort, how.words, now, how.reverse)
        self._rows = {key_of(row): row for row in rows}
        heading, lines = table_lines(rows, now, how, self.size.width - 1)
        self._heading.update(heading)
        self.lines.show(lines)
        said = [top.summary(devices), f"sorted by {how.sort}{' (reversed)' if how.reverse else ''}"]
        said += [f"filter: {how.words}"] if how.words else []
        said += ["paused"] if self.paused else []
        said += [self._note] if self._note else []
        self._top.update(cut(escape(" · ".join(said)), self.size.width))

    def on_resize(self) -> None:
        """Other columns may have room."""
        if self.is_running:
            self.show()

    def action_sort(self) -> None:
        """By the next column."""
        at = SORTABLE.index(self.arrangement.sort)
        self.arrangement.sort = SORTABLE[(at + 1) % len(SORTABLE)]
        self.show()

    def action_reverse(self) -> None:
        """The other way round."""
        self.arrangement.reverse = not self.arrangement.reverse
        self.show()

    def action_rings(self) -> None:
        """Rings or devices."""
        self.arrangement.each = not self.arrangement.each
        self.show()

    def action_pause(self) -> None:
        """Stand still, or go on."""
        self.paused = not self.paused
        self.show()

    def action_filter(self) -> None:
        """Ask for words."""
        self._prompt.display = True
        self._prompt.value = self.arrangement.words
        self._prompt.focus()

    def action_escape(self) -> None:
        """Close the prompt; without one, forget the filter."""
        if self._prompt.display:
            self._prompt.display = False
            self.lines.focus()
            return
        self.arrangement.words = ""
        self.show()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        if self._prompt.display:
            self.arrangement.words = event.value
            self.show()

    def on_input_submitted(self) -> None:
        """Enter keeps the filter."""
        self._prompt.display = False
        self.lines.focus()

    def on_lines_view_followed(self, event: LinesView.Followed) -> None:
        """Enter opens the session of a row."""
        row = self._rows.get(event.line.key or "")
        if row is None:
            return
        if row.device.session:
            self.exit(row.device.session)
        else:
            self.notify(escape(row.device.why or "there is no session of it"), markup=False)


class TopArrangement:
    """How the table is arranged: kept while a session is looked at."""

    def __init__(self, sort: str = "state", words: str = "", each: bool = False) -> None:
        self.sort, self.words, self.each, self.reverse = sort, words, each, False


def key_of(row: TopRow) -> str:
    """Names a row, so that the cursor stays on it."""
    device = row.device
    return f"{device.session} {device.path} {device.frontend} {row.ring.number if row.ring else ''}"


def table_lines(
    rows: Sequence[TopRow], now_ns: int, how: TopArrangement, width: int = 200
) -> tuple[str, list[TextLine]]:
    """The heading, and a line for each row. Where there is no room for all columns, some are left out."""
    table = [top.cells(row, now_ns) for row in rows]
    shown, sizes = top.fitted(table, width, how.sort)
    gap = "  "
    heading = gap.join(top.filled(COLUMNS[number].name, number, sizes[number]) for number in shown)
    lines = []
    for row, cells in zip(rows, table, strict=True):
        tone = TONES.get(row.condition, "")
        parts = [
            Part(top.filled(cells[number], number, sizes[number]) + gap, tone if number == top.STATE else "")
            for number in shown
        ]
        lines.append(TextLine(tuple(parts), key=key_of(row)))
    return heading.rstrip(), lines


def run_top(app: TopApp) -> int | None:
    """Show it until the user leaves; the session that is to be opened, or None. Raises VusniffError."""
    with contextlib.suppress(KeyboardInterrupt):
        app.run()
    if app.broken is not None:
        raise app.broken
    return app.return_value


def clock() -> int:
    """Now, for devices that live."""
    return time.time_ns()
