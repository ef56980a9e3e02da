"""Captures in other forms: data, documents and diagrams, for those who do not have vusniff.

One module a form; `chosen` is what is exported, `redact` the copy that may leave the host. Start reading in `chosen`.
It must not know sources, nor print.
"""
