"""A capture as a Parquet table: the columns of the CSV export with their types. Needs pyarrow, an extra."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from typing import Any

from vusniff.errors import VusniffError
from vusniff.views.export.chosen import Chosen
from vusniff.views.export.lines import COLUMNS, row

GROUP = 65536
"""Messages of a row group."""
_NUMBERS = frozenset(
    ("number", "session", "connection", "request", "flags", "size", "pid", "answers", "answered_by", "latency_ns")
)
_TRUTHS = frozenset(("reply", "need_reply"))
_MOST = (1 << 63) - 1
"""The largest number that a column holds. A broken clock or a forged file has larger ones: they are left out."""


def parquet(chosen: Chosen) -> Iterator[bytes]:
    """Pieces of the file. Raises VusniffError where pyarrow is not installed."""
    try:
        pyarrow: Any = importlib.import_module("pyarrow")
        files: Any = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise VusniffError(
            "parquet needs the Python package pyarrow: install it, or export --format csv, which DuckDB reads as well"
        ) from None
    kinds: dict[str, Any] = dict.fromkeys(COLUMNS, pyarrow.string())
    kinds |= dict.fromkeys(_NUMBERS, pyarrow.int64()) | dict.fromkeys(_TRUTHS, pyarrow.bool_())
    kinds |= {"time": pyarrow.timestamp("ns", tz="UTC"), "time_ns": pyarrow.int64()}
    schema = pyarrow.schema(list(kinds.items()))
    out = _Drain()
    with files.ParquetWriter(pyarrow.PythonFile(out, "w"), schema, compression="zstd") as writer:
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for message in chosen.messages():
            for name, value in zip(COLUMNS, row(chosen, message), strict=True):
                columns[name].append(_value(name, value, message.time_ns))
            if len(columns["number"]) == GROUP:
                writer.write_table(pyarrow.table(columns, schema))
                for values in columns.values():
                    values.clear()
                yield out.take()
        writer.write_table(pyarrow.table(columns, schema))
    yield out.take()


def _value(name: str, value: Any, time_ns: int) -> Any:
    if name in _NUMBERS or name in ("time", "time_ns"):
        number = time_ns if name == "time" else value
        return number if number is None or abs(number) <= _MOST else None
    if value is None:
        return None
    return bool(value) if name in _TRUTHS else str(value)


class _Drain(io.RawIOBase):
    """What is written is taken out piece by piece."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._at += len(self._parts[-1])
        return len(self._parts[-1])

    def take(self) -> bytes:
        """What was written since the last call."""
        data, self._parts = b"".join(self._parts), []
        return data
