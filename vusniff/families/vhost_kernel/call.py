"""From a call to the frame that a capture holds of it."""

from __future__ import annotations

from vusniff.families.vhost_kernel.protocol import CAME_BACK, FAILED, KERNEL_ASKS, RETURNED, head
from vusniff.record import Call, Frame
from vusniff.values import replace

_U32, _U64 = (1 << 32) - 1, (1 << 64) - 1
_I32 = 1 << 31


def frame(call: Call, order: str) -> Frame:
    """The frame of a call. What the kernel said by itself comes from its end."""
    flags = (RETURNED if call.result is not None else 0) | (FAILED if call.error else 0)
    flags |= CAME_BACK if call.came_back else 0
    result = -1 if call.error else min(max(call.result or 0, -_I32), _I32 - 1)
    size = len(call.data) + call.missing
    header = head(
        order, call.request & _U32, flags, size, call.error & _U32, result, call.fd & _U32, call.duration_ns & _U64
    )
    end = int(call.request in KERNEL_ASKS)
    facts = replace(call.facts, process=None) if end else call.facts
    return Frame(call.connection, end, call.time_ns, header + call.data, facts, missing=call.missing)
