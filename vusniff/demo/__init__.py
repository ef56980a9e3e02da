"""A small but true front-end and back-end: what `vusniff demo` shows, and what tests and users can talk to.

Both are programs of their own: they use sockets, memfds and eventfds as QEMU and a back-end do, and know nothing of
the rest of vusniff but the protocol's numbers. Neither decodes for display, and neither is used by the analysis.
It must not know captures. Start reading in `wire`, then in `frontend`.
"""
