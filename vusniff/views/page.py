"""A page for people: titles, facts, lists and tables, as plain text or as Markdown. Knows nothing of what it says."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from vusniff.printable import cell, escape, shorten

WIDTH = 110
"""Columns at which lines of text are broken, where the screen is not narrower."""
GAP = "  "
LEAST_CELL = 20
"""Columns that the last cell of a row needs, to be broken into lines where a table is too wide."""


class NamedValues(NamedTuple):
    """Labels with values, one below the other."""

    rows: Sequence[tuple[str, str]]


class Items(NamedTuple):
    """Sentences, one below the other."""

    lines: Sequence[str]


class Prose(NamedTuple):
    """Paragraphs."""

    paragraphs: Sequence[str]


class Table(NamedTuple):
    """Rows of cells under their names."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


Part = NamedValues | Items | Prose | Table


class PageSection(NamedTuple):
    """A title and what stands under it."""

    title: str
    parts: Sequence[Part]


class Page(NamedTuple):
    """Everything, under one title."""

    title: str
    sections: Sequence[PageSection]
    lead: PageSection | None = None
    """What stands above the title: a sentence, and what belongs to it."""


def facts(*rows: tuple[str, str | None]) -> NamedValues:
    """Named values without those that are not known."""
    return NamedValues([(name, value) for name, value in rows if value])


def shortened(rows: Sequence[Sequence[str]], most: int) -> list[Sequence[str]]:
    """At most so many rows: where there are more, the middle is left out and counted."""
    if len(rows) <= most or not rows:
        return list(rows)
    head = most // 2
    tail = most - head - 1
    left_out = len(rows) - head - tail
    gap = (f"... {left_out} more", *[""] * (len(rows[0]) - 1))
    return [*rows[:head], gap, *rows[len(rows) - tail :]]


def _wrapped(text: str, first: str, rest: str, width: int) -> Iterator[str]:
    yield from textwrap.wrap(
        " ".join(map(shorten, escape(text).split(" "))),
        max(width, len(first) + LEAST_CELL),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table in text: cells under their names, without lines."""
    cells = [[cell(text) for text in row] for row in (columns, *rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    for row in cells:
        yield GAP.join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()


def _fitted_lines(table: Table, room: int) -> Iterator[str]:
    """A table in at most ``room`` columns: where it is wider, last cells are broken into lines, or each row stands by
    itself, with a line for each cell that says something."""
    lines = list(table_lines(table.columns, table.rows))
    if max(map(len, lines)) <= room:
        yield from lines
        return
    rows = [[cell(text) for text in row] for row in (table.columns, *table.rows)]
    before = sum(max(len(row[place]) for row in rows) + len(GAP) for place in range(len(table.columns) - 1))
    if room - before >= LEAST_CELL:
        for line in lines:
            yield from _broken(line[before:], line[:before], " " * before, room)
        return
    label = max(map(len, rows[0][1:]))
    named = f"{rows[0][0]} " if rows[0][0].isalpha() else ""
    for row in rows[1:]:
        yield f"{named}{row[0]}"
        for name, said in zip(rows[0][1:], row[1:], strict=True):
            if said and said != "-":
                yield from _broken(said, f"  {name:<{label}}{GAP}", " " * (label + 2 + len(GAP)), room)


def _broken(text: str, first: str, rest: str, room: int) -> Iterator[str]:
    yield from textwrap.wrap(
        text, max(room, len(first) + LEAST_CELL), initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    ) or [first.rstrip()]


def _text_of(part: Part, width: int, room: int | None) -> Iterator[str]:
    match part:
        case NamedValues(rows):
            label = max((len(name) for name, _ in rows), default=0)
            for name, value in rows:
                yield from _wrapped(value, f"  {name:<{label}}{GAP}", " " * (label + 2 + len(GAP)), width)
        case Items(lines):
            for line in lines:
                yield from _wrapped(line, "  ", "    ", width)
        case Prose(paragraphs):
            for paragraph in paragraphs:
                yield from _wrapped(paragraph, "  ", "  ", width)
        case Table(columns, rows):
            found = table_lines(columns, rows) if room is None else _fitted_lines(part, room - 2)
            yield from (f"  {line}" for line in found)


def text(page: Page, room: int | None = None) -> str:
    """The page as plain text; ``room`` is the width of the screen. Without one, tables are as wide as they are."""
    width = min(WIDTH, room or WIDTH)
    lines: list[str] = []
    if page.lead is not None:
        lines += _wrapped(page.lead.title, "", "  ", width)
        for part in page.lead.parts:
            lines += _text_of(part, width, room)
        lines.append("")
    lines += _title(page.title, room)
    for section in page.sections:
        lines += ["", *_title(section.title, room)]
        for part in section.parts:
            lines += _text_of(part, width, room)
    return "\n".join(lines) + "\n"


def _title(words: str, room: int | None) -> Iterable[str]:
    return [escape(words)] if room is None else _broken(escape(words), "", "  ", room)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_of(part: Part) -> Iterator[str]:
    from vusniff.views.markdown import literal

    match part:
        case NamedValues(rows):
            yield from (f"- **{literal(name)}**: {literal(value)}" for name, value in rows)
        case Items(lines):
            yield from (f"- {literal(line)}" for line in lines)
        case Prose(paragraphs):
            yield "\n\n".join(map(literal, paragraphs))
        case Table(columns, rows):
            yield _row(map(literal, columns))
            yield _row("---" for _ in columns)
            yield from (_row(map(literal, row)) for row in rows)


def markdown(page: Page) -> str:
    """The page as Markdown."""
    from vusniff.views.markdown import literal

    lines: list[str] = []
    if page.lead is not None:
        lines = [f"**{literal(page.lead.title)}**"]
        for part in page.lead.parts:
            lines += ["", *_markdown_of(part)]
        lines.append("")
    lead = "".join(f"{line}\n" for line in lines)
    return f"{lead}# {literal(page.title)}\n{markdown_of_sections(page.sections)}"


def markdown_of_sections(sections: Iterable[PageSection]) -> str:
    """Sections of a page as Markdown."""
    from vusniff.views.markdown import literal

    lines: list[str] = []
    for section in sections:
        lines += ["", f"## {literal(section.title)}"]
        for part in section.parts:
            lines += ["", *_markdown_of(part)]
    return "".join(f"{line}\n" for line in lines)


def as_dict(page: Page) -> dict[str, Any]:
    """The page as JSON: title, and sections of title, facts, lines and rows."""
    return {"title": page.title, "sections": [_section_dict(section) for section in page.sections]}


def _section_dict(section: PageSection) -> dict[str, Any]:
    made: dict[str, Any] = {"title": section.title}
    for part in section.parts:
        match part:
            case NamedValues(rows):
                made["facts"] = {name.strip(): value for name, value in rows}
            case Items(lines) | Prose(lines):
                made["lines"] = list(lines)
            case Table(columns, rows):
                made["rows"] = [dict(zip(columns, row, strict=True)) for row in rows]
    return made
