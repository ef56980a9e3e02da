"""`dataclass`, `field`, `fields` and `replace` of the standard library, except that a class is made fast.

The standard library compiles up to eight functions for a frozen class when the class is made. A short command makes 60
to 80 such classes and uses few of them: that took 50 of its 150 ms of CPU. Here ``__eq__``, ``__hash__`` and
``__repr__`` are compiled when a class first needs one of them, ``__init__`` when it has made some objects.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from vusniff.later import later

with later("inspect"):  # asked only for what no class of ours needs
    import dataclasses

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import fields as fields
    from dataclasses import replace as replace
else:
    field, fields, replace = dataclasses.field, dataclasses.fields, dataclasses.replace

    def dataclass(cls=None, /, *, init=True, repr=True, eq=True, frozen=False, slots=False):
        """As `dataclasses.dataclass`, with those of its parameters that vusniff uses."""
        if cls is None:
            return lambda cls: dataclass(cls, init=init, repr=repr, eq=eq, frozen=frozen, slots=slots)
        own = set(vars(cls))
        cls.__doc__ = cls.__doc__ or cls.__name__  # where there is none, the standard library inspects the class for it
        cls = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
        wanted = {"__init__": init, "__repr__": repr, "__eq__": eq, "__hash__": eq and frozen}
        for name in [name for name, is_wanted in wanted.items() if is_wanted and name not in own]:
            made_later = _filled_at_first if name == "__init__" else _compiled_later
            setattr(cls, name, made_later(cls, name, frozen))
        if eq and not frozen and "__hash__" not in own:
            cls.__hash__ = None
        if frozen:
            cls.__setattr__, cls.__delattr__ = _refuse_to_set, _refuse_to_delete
            if slots:
                cls.__getstate__, cls.__setstate__ = _get_state, _set_state
        return cls


FILLED = 32
"""Objects of a class that are made before its ``__init__`` is compiled."""
_set = object.__setattr__


def _compiled_later(cls: type, name: str, frozen: bool) -> Callable[..., Any]:
    """A method that makes the real one, puts it in its own place, and calls it."""

    def method(self: Any, *args: Any, **named: Any) -> Any:
        made = _init_of(cls, frozen) if name == "__init__" else _method_of(cls, name)
        made.__qualname__ = f"{cls.__qualname__}.{name}"
        setattr(cls, name, made)
        return made(self, *args, **named)

    return method


def _filled_at_first(cls: type, name: str, frozen: bool) -> Callable[..., Any]:
    """``__init__`` that fills the first `FILLED` objects field by field, and is compiled then: of most classes a short
    command makes a few, and compiling one for each took 10 of its 100 ms of CPU. Arguments that do not fit are left to
    the compiled one, which says so."""
    compiled = _compiled_later(cls, name, frozen)
    then = getattr(cls, "__post_init__", None)
    made, known = 0, None

    def method(self: Any, *args: Any, **named: Any) -> None:
        nonlocal made, known
        made += 1
        if known is None:
            known = _parameters(cls)
        parameters, fields = known
        values = {**dict(zip(parameters, args, strict=False)), **named}
        fits = len(values) == len(args) + len(named) and values.keys() <= parameters.keys()
        if made > FILLED or not fits or any(name not in values and make is None for name, make in fields):
            compiled(self, *args, **named)
            return
        for name, make in fields:
            _set(self, name, values[name] if name in values or make is None else make())
        if then is not None:
            then(self)

    return method


def _parameters(cls: Any) -> tuple[dict[str, None], list[tuple[str, Callable[[], Any] | None]]]:
    """What ``__init__`` of a class takes, and what it sets: each field with what makes its default, None for none."""
    parameters: dict[str, None] = {}
    fields: list[tuple[str, Callable[[], Any] | None]] = []
    for field in dataclasses.fields(cls):
        make = None if field.default_factory is dataclasses.MISSING else field.default_factory
        if field.default is not dataclasses.MISSING:
            make = partial(_same, field.default)
        if field.init:
            parameters[field.name] = None
        if field.init or make is not None:
            fields.append((field.name, make))
    return parameters, fields


def _same(value: Any) -> Any:
    return value


def _init_of(cls: Any, frozen: bool) -> Callable[..., Any]:
    """``__init__`` of a class: the standard library would compile two methods more with it."""
    known: dict[str, Any] = {"_set": object.__setattr__, "_absent": dataclasses.MISSING}
    parameters, lines = ["self"], []
    for field in dataclasses.fields(cls):
        name, made, value = field.name, f"_made_{field.name}", field.name
        if field.default_factory is not dataclasses.MISSING:
            known[made] = field.default_factory
            value = f"{made}() if {name} is _absent else {name}" if field.init else f"{made}()"
            parameters += [f"{name}=_absent"] if field.init else []
        elif field.default is not dataclasses.MISSING:
            known[made] = field.default
            value = name if field.init else made
            parameters += [f"{name}={made}"] if field.init else []
        elif field.init:
            parameters.append(name)
        else:
            continue  # `__post_init__` sets it
        lines.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    exec(f"def __init__({', '.join(parameters)}):\n  " + "\n  ".join(lines or ["pass"]), known)
    init: Callable[..., Any] = known["__init__"]
    return init


def _method_of(cls: Any, name: str) -> Callable[..., Any]:
    """``__repr__``, ``__eq__`` or ``__hash__`` of the standard library: they ask by name, and fit every class that has
    the fields."""
    fields = [(field.name, field.type, field) for field in dataclasses.fields(cls)]
    hashed = name == "__hash__"
    twin = dataclasses.make_dataclass(
        cls.__name__,
        fields,
        namespace={"__doc__": cls.__doc__},
        init=False,
        repr=name == "__repr__",
        eq=name == "__eq__",
        unsafe_hash=hashed,
    )
    made: Callable[..., Any] = vars(twin)[name]
    return made


def _refuse_to_set(self: object, name: str, value: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)
