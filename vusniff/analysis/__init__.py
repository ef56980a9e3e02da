"""From evidence to steps: sessions, the timeline of a capture, and how two sessions compare.

Owns the way from evidence to steps (`driver`), who is who (`session`), the decoded message (`compose`), access by
position (`timeline`), and the comparison of two sessions (`compare`, `exchanges`). It must not know rules or views.
Start reading in `driver`, then `session` and `timeline`.
"""
