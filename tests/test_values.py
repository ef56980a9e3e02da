"""Value classes behave as those of the standard library, although their methods are compiled later."""

from __future__ import annotations

import dataclasses
import pickle
import re
from dataclasses import FrozenInstanceError, field, replace
from pathlib import Path
from typing import Any

import pytest

from vusniff.values import FILLED, dataclass

SOURCES = [*Path("vusniff").rglob("*.py"), *Path("dissectors").rglob("*.py")]


@dataclass(frozen=True, slots=True)
class Point:
    """A point."""

    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list, compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """The same, of the standard library."""

    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list, compare=False)


@dataclass(slots=True)
class Counter:
    """Not frozen."""

    count: int = 0


@dataclass(slots=True, eq=False)
class Thing:
    """Equal only to itself."""

    name: str


@dataclass(frozen=True)
class Sized:
    """Computes a field."""

    text: str
    size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.text))

    def __hash__(self) -> int:
        return self.size


def test_values_are_made_shown_compared_and_hashed_as_by_the_standard_library() -> None:
    assert repr(Point(1, tags=["a"])) == repr(Model(1, tags=["a"])).replace("Model", "Point")
    assert Point(1, tags=["a"]) == Point(1, tags=["b"]) != Point(2)
    assert Point(1) != object()
    assert hash(Point(1)) == hash(Point(1, tags=["a"])) == hash(Model(1))
    assert Point(1).tags is not Point(1).tags
    assert replace(Point(1), y=3) == Point(1, 3)
    assert [one.name for one in dataclasses.fields(Point)] == ["x", "y", "tags"]
    assert Point.__match_args__ == ("x", "y", "tags")
    with pytest.raises(TypeError, match=re.escape("Point.__init__() missing 1 required positional argument: 'x'")):
        Point()  # type: ignore[call-arg]


def test_objects_are_the_same_before_and_after_init_is_compiled() -> None:
    @dataclass(frozen=True, slots=True)
    class Fresh:
        """Of which none was made."""

        x: int
        size: int = field(init=False)
        y: int = 2
        tags: list[str] = field(default_factory=list)

        def __post_init__(self) -> None:
            object.__setattr__(self, "size", len(self.tags))

    made = [Fresh(number, tags=["a"]) for number in range(2 * FILLED)]
    assert [(one.x, one.size, one.y, one.tags) for one in made] == [
        (number, 1, 2, ["a"]) for number in range(len(made))
    ]
    assert Fresh(1, 3) == Fresh(x=1, y=3)


@pytest.mark.parametrize(
    ("args", "named", "words"),
    [
        ((), {}, "missing 1 required positional argument: 'x'"),
        ((1, 2, [], 4), {}, "takes from 2 to 4 positional arguments but 5 were given"),
        ((1,), {"x": 1}, "got multiple values for argument 'x'"),
        ((1,), {"z": 1}, "got an unexpected keyword argument 'z'"),
    ],
)
def test_arguments_that_do_not_fit_are_told_at_the_first_object(
    args: tuple[Any, ...], named: dict[str, Any], words: str
) -> None:
    @dataclass(frozen=True, slots=True)
    class Fresh:
        """Of which none was made."""

        x: int
        y: int = 2
        tags: list[str] = field(default_factory=list)

    with pytest.raises(TypeError, match=re.escape(words)):
        Fresh(*args, **named)


def test_the_first_thing_asked_of_a_class_may_be_any_of_its_methods() -> None:
    for ask in (repr, hash, lambda one: one == one, lambda one: {one: 1}[one]):

        @dataclass(frozen=True, slots=True)
        class Fresh:
            """Nothing was compiled yet."""

            x: int = 1

        one = object.__new__(Fresh)
        object.__setattr__(one, "x", 5)
        ask(one)
        assert (one, hash(one)) == (Fresh(5), hash(Fresh(5)))


def test_a_frozen_value_cannot_be_changed_and_can_be_pickled() -> None:
    point: Any = Point(1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
        del point.x
    assert pickle.loads(pickle.dumps(point)) == point


def test_what_is_not_frozen_is_not_hashed_and_what_has_no_equality_keeps_its_own() -> None:
    counter = Counter()
    counter.count += 1
    assert counter == Counter(1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(counter)
    assert Thing("a") != Thing("a")
    assert len({Thing("a"), Thing("a")}) == 2


def test_methods_that_a_class_writes_itself_are_kept() -> None:
    assert (Sized("abc").size, hash(Sized("abc")), repr(Sized("abc"))) == (3, 3, "Sized(text='abc')")


def test_every_value_class_is_one_that_starts_fast() -> None:
    slow = [str(path) for path in SOURCES if re.search(r"^(from|import) dataclasses", path.read_text(), re.M)]
    assert (len(SOURCES) > 200, slow) == (True, [])
