"""The IOTLB table against a plain dict that does the same the long way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vusniff.families.vhost_user.iotlb import MAX_ENTRIES, STEPS, Entry, Iotlb

PAGES = st.integers(0, 40)
STEP = st.tuples(st.booleans(), PAGES, st.integers(0, 5))


def _plainly(entries: dict[int, Entry], update: bool, start: int, size: int) -> dict[int, Entry]:
    if update:
        return {**entries, start: (size, start + 7, 3)}
    return {at: entry for at, entry in entries.items() if at + entry[0] <= start or start + size <= at}


@given(st.lists(STEP, max_size=3 * STEPS))
def test_it_holds_what_a_dict_would(steps: list[tuple[bool, int, int]]) -> None:
    table, entries = Iotlb(), dict[int, Entry]()
    for update, start, size in steps:
        before, was = table, dict(entries)
        table = table.updated(start, (size, start + 7, 3)) if update else table.invalidated(start, size)
        entries = _plainly(entries, update, start, size)
        assert dict(before) == was
    assert dict(table) == entries
    assert len(table) == len(entries)


def test_the_oldest_entry_goes_first() -> None:
    table = Iotlb()
    for start in range(MAX_ENTRIES + 10):
        table = table.updated(start, (1, start, 1))
    assert len(table) == MAX_ENTRIES
    assert next(iter(table)) == 10
    assert table[10] == (1, 10, 1)


def test_nothing_is_left_of_an_empty_table() -> None:
    table = Iotlb()
    assert table.invalidated(0, 1 << 64) is table
    assert dict(table.updated(1, (1, 1, 1)).invalidated(0, 1 << 64)) == {}
