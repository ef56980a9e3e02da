"""Construct behind one door: what a layout consists of, values from bytes, bytes from values.

Owns everything that is asked of a construct declaration. `parts` walks a declaration once and makes a tree of plain
values of it; whoever wants to know what a layout consists of (the generated parser, filters, Wireshark, reference
pages, redaction, the bytes of a field) walks that tree. Construct itself runs only to read what the generated parser
refuses (`dissect`), to build (`build`), and for shapes that the walk does not know; no other package of the spine
imports it, and a contract proves that.

Must not know sessions, files or screens: what decides a layout beyond the header arrives as `vusniff.message.Context`.

Start with `parts`, then `dissect.payload`, which is what everybody calls.
"""
