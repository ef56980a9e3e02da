"""`dataclass`, for every value class of vusniff: that of the standard library, except that it starts fast.

The standard library compiles up to eight functions for a frozen class when the class is made. A short command makes 60
to 80 such classes and uses few of them: that took 50 of its 150 ms of CPU. Here ``__init__``, ``__eq__``, ``__hash__``
and ``__repr__`` are compiled, by the standard library, when a class first needs one of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, *, init=True, repr=True, eq=True, frozen=False, slots=False):
        """As `dataclasses.dataclass`, with those of its parameters that vusniff uses."""
        if cls is None:
            return lambda cls: dataclass(cls, init=init, repr=repr, eq=eq, frozen=frozen, slots=slots)
        own = set(vars(cls))
        cls.__doc__ = cls.__doc__ or ""  # in place of an empty one, the standard library would inspect the class
        cls = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
        wanted = {"__init__": init, "__repr__": repr, "__eq__": eq, "__hash__": eq and frozen}
        for name in [name for name, is_wanted in wanted.items() if is_wanted and name not in own]:
            setattr(cls, name, _compiled_later(cls, name, frozen))
        if eq and not frozen and "__hash__" not in own:
            cls.__hash__ = None
        if frozen:
            cls.__setattr__, cls.__delattr__ = _refuse_to_set, _refuse_to_delete
            if slots:
                cls.__getstate__, cls.__setstate__ = _get_state, _set_state
        return cls


def _compiled_later(cls: type, name: str, frozen: bool) -> Callable[..., Any]:
    """A method that compiles the real one, puts it in its own place, and calls it."""

    def method(self: Any, *args: Any, **named: Any) -> Any:
        # What the standard library compiles asks for the fields by name: it fits every class that has them.
        twin = dataclasses.make_dataclass(
            cls.__name__,
            [(field.name, field.type, field) for field in dataclasses.fields(cls)],
            namespace={"__post_init__": None} if hasattr(cls, "__post_init__") else None,
            init=name == "__init__",
            repr=name == "__repr__",
            eq=name in ("__eq__", "__hash__"),
            frozen=frozen,
        )
        compiled = vars(twin)[name]
        compiled.__qualname__ = f"{cls.__qualname__}.{name}"
        setattr(cls, name, compiled)
        return compiled(self, *args, **named)

    return method


def _refuse_to_set(self: object, name: str, value: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)
