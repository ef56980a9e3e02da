"""Functions of a context as Lua: which layout a payload has, which requests are answered.

Such a function is Python (a vendor's too), so it is asked for every combination of what may matter, and the answers
become nested ``if``s over what does matter. A function of the payload's size is asked around the sizes of its layouts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

from vusniff.families.vhost_user.device import DEVICES
from vusniff.layouts.parts import Node, NodeKind, layouts_of, tree
from vusniff.message import Choice, Context, Layout

_FACTS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("xen_mmap", (False, True)),
    ("log_shmfd", (False, True)),
    ("packed", (None, False, True)),
    ("postcopy", (False, True)),
    ("device", (None, *DEVICES)),
)
_SMALL_SIZES = range(49)
_LARGEST = 1 << 20


def choosing(choice: Choice, name: Callable[[Layout | None], str]) -> list[str]:
    """Lines of Lua that return the layout of a payload of ``size`` bytes in the context ``c``."""
    if choice is None or isinstance(choice, Layout):
        return [f"return {name(choice)}"]
    sizes = _sizes(layouts_of(choice))

    def leaf(context: Context) -> tuple[str, ...]:
        return _ranges([(size, name(choice(context, size))) for size in sizes])

    return _decide(leaf)


def deciding(fact: Callable[[Context], bool]) -> list[str]:
    """Lines of Lua that return whether something holds in the context ``c``."""
    return _decide(lambda context: (f"return {'true' if fact(context) else 'false'}",))


def _sizes(layouts: Iterable[Layout]) -> list[int]:
    sizes = {*_SMALL_SIZES, _LARGEST}
    for layout in layouts:
        try:
            found = _sizes_of(tree(layout, "little"))
        except Exception:  # a vendor's declaration may fail in any way
            continue
        sizes |= {size + by for size in found for by in (-1, 0, 1)}
    return sorted(size for size in sizes if size >= 0)


def _sizes_of(root: Node) -> set[int]:
    """The sizes that a payload of a layout has, where these are few: of fields that depend on others one is there."""
    if root.size is not None:
        return {root.size}
    sizes = [part.size for part in root.parts if part.kind is not NodeKind.CONDITIONAL]
    either = {part.parts[0].size for part in root.parts if part.kind is NodeKind.CONDITIONAL}
    if None in sizes or None in either:
        return set()
    return {sum(size or 0 for size in sizes) + (size or 0) for size in either}


def _ranges(chosen: list[tuple[int, str]]) -> tuple[str, ...]:
    """Sizes and what is chosen for them -> comparisons, one for each run of the same."""
    runs: list[tuple[int, str]] = []
    for size, layout in chosen:
        if runs and runs[-1][1] == layout:
            runs[-1] = (size, layout)
        else:
            runs.append((size, layout))
    lines = [f"if size <= {last} then return {layout} end" for last, layout in runs[:-1]]
    return (*lines, f"return {runs[-1][1]}")


def _decide(leaf: Callable[[Context], tuple[str, ...]]) -> list[str]:
    answers = {
        values: leaf(Context(**dict(zip((name for name, _ in _FACTS), values, strict=True))))
        for values in product(*(values for _, values in _FACTS))
    }
    return _tests(answers, 0)


def _tests(answers: dict[tuple[Any, ...], tuple[str, ...]], fact: int) -> list[str]:
    """``if``s over the facts from one on, leaving out those that make no difference."""
    if len(set(answers.values())) == 1:
        return list(next(iter(answers.values())))
    name, values = _FACTS[fact]
    branches = {
        value: _tests({key: answer for key, answer in answers.items() if key[fact] == value}, fact + 1)
        for value in values
    }
    if all(branch == branches[values[0]] for branch in branches.values()):
        return branches[values[0]]
    lines: list[str] = []
    for value, branch in branches.items():
        if branch != branches[values[0]]:
            lines += [f"if c.{name} == {_lua(value)} then", *(f"  {line}" for line in branch), "end"]
    return [*lines, *branches[values[0]]]


def _lua(value: bool | str | None) -> str:
    if value is None:
        return "nil"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
