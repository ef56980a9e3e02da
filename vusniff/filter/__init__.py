"""The filter language: Wireshark's display filters over the fields of `fields`.

``compile_filter(text)`` gives a `Filter` that is asked of messages (`Filter.match`) or of a whole capture
(`Filter.rows`); ``complete(text, cursor)`` says what may be typed next.
"""

from __future__ import annotations

from vusniff.errors import FilterError
from vusniff.filter.compiler import Filter, compile_filter

__all__ = ["Filter", "FilterError", "compile_filter"]
