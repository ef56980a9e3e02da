"""The dissectors of vhost-user: main channel, back-end channel, vhost-user-gpu socket.

Registered by the entry point ``vhost-user`` of the group ``vusniff.dissectors``, as a vendor's would be.
It must not know sessions, states or views: a dissector says what bytes mean. Start reading in `frontend`.
"""

from __future__ import annotations

from vusniff.message import Dissector
from vusniff_dissectors import backend, frontend, gpu

DISSECTORS: tuple[Dissector, ...] = (frontend.DISSECTOR, backend.DISSECTOR, gpu.DISSECTOR)
