"""The filter language: Wireshark's display filters over the fields of `fields`.

``compile_filter(text)`` gives a `Filter` that is asked of messages (`Filter.match`) or of a whole capture
(`Filter.rows`); ``complete(text, cursor)`` says what may be typed next.

It must not know files, beyond the columns of an index. Start reading in `compiler`.
"""

from __future__ import annotations

from vusniff.errors import FilterError
from vusniff.filter.compiler import Filter, compile_filter
from vusniff.filter.completion import Completion, complete

__all__ = ["Completion", "Filter", "FilterError", "compile_filter", "complete"]
