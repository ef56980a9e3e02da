"""Requests of the vhost-user-gpu socket, sent by the back-end, and their layouts.

Source: the vhost-user-gpu document of QEMU and the structures of QEMU's hw/display/vhost-user-gpu.c; responses are
those of virtio-gpu (linux/virtio_gpu.h). The header has the shape of vhost-user's with no version: flags are 0 in
requests and 4 in replies. The channel knows no acknowledgements.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from construct import Array, Bytes, Computed, Struct, this

from vusniff.message import Dissector, MessageSpec, Names
from vusniff_dissectors import layouts as k
from vusniff_dissectors.fields import Integers
from vusniff_dissectors.layouts import layout
from vusniff_dissectors.values import GpuResponse


def _cursor_pos(n: Integers) -> list[Any]:
    return ["scanout_id" / n.u32, "x" / n.u32, "y" / n.u32]


def _rectangle(n: Integers) -> list[Any]:
    return [*_cursor_pos(n), "w" / n.u32, "h" / n.u32]


def _dmabuf_scanout(n: Integers) -> list[Any]:
    return [
        *_rectangle(n),
        "fdw" / n.u32,
        "fdh" / n.u32,
        "stride" / n.u32,
        "flags" / n.u32,
        "fourcc" / n.i32,
    ]


def _control_header(n: Integers) -> list[Any]:
    return [
        "type" / n.u32,
        "flags" / n.u32,
        "fence_id" / n.u64,
        "ctx_id" / n.u32,
        "ring_idx" / n.u8,
        "padding" / Bytes(3),
    ]


CURSOR_POS = layout("cursor_pos", lambda n: Struct(*_cursor_pos(n)))
CURSOR_UPDATE = layout(
    "cursor_update", lambda n: Struct(*_cursor_pos(n), "hot_x" / n.u32, "hot_y" / n.u32, "cursor" / Bytes(64 * 64 * 4))
)
SCANOUT = layout("scanout", lambda n: Struct("scanout_id" / n.u32, "w" / n.u32, "h" / n.u32))
UPDATE = layout(
    "update",
    lambda n: Struct(*_rectangle(n), "data" / Bytes(this.w * this.h * 4), "data_size" / Computed(this.w * this.h * 4)),
)
"""20 bytes and four for each pixel."""
DMABUF_UPDATE = layout("update", lambda n: Struct(*_rectangle(n)))
DMABUF_SCANOUT = layout("dmabuf_scanout", lambda n: Struct(*_dmabuf_scanout(n)))
DMABUF_SCANOUT2 = layout("dmabuf_scanout2", lambda n: Struct(*_dmabuf_scanout(n), "modifier" / n.u64))
EDID_REQUEST = layout("edid_request", lambda n: Struct("scanout_id" / n.u32))
_RESPONSE_NAMES: Mapping[str, Names] = {"type": GpuResponse}
DISPLAY_INFO = layout(
    "virtio_gpu_resp_display_info",
    lambda n: Struct(
        *_control_header(n),
        "displays"
        / Array(
            16,
            Struct("x" / n.u32, "y" / n.u32, "width" / n.u32, "height" / n.u32, "enabled" / n.u32, "flags" / n.u32),
        ),
    ),
    _RESPONSE_NAMES,
)
EDID = layout(
    "virtio_gpu_resp_edid",
    lambda n: Struct(*_control_header(n), "size" / n.u32, "padding2" / n.u32, "edid" / Bytes(1024)),
    _RESPONSE_NAMES,
)

_QEMU = "QEMU vhost_user_gpu_handle_display"
_SECTION = "vhost-user-gpu, Communication"
_DMABUF = "dma-buf; none when the scanout is disabled"


def _spec(code: int, name: str, about: str, sent_by: str, handled_by: str = _QEMU, **facts: Any) -> MessageSpec:
    return MessageSpec(code, name, about=about, sent_by=sent_by, handled_by=handled_by, section=_SECTION, **facts)


SPECS = (
    _spec(
        1,
        "GPU_GET_PROTOCOL_FEATURES",
        "Asks which features of the GPU protocol the front-end offers.",
        "contrib/vhost-user-gpu set_gpu_protocol_features, when it gets the socket",
        "QEMU vhost_user_gpu_handle_display",
        reply=k.GPU_PROTOCOL_FEATURES,
        answered=True,
    ),
    _spec(
        2,
        "GPU_SET_PROTOCOL_FEATURES",
        "Sets the features of the GPU protocol in use.",
        "contrib/vhost-user-gpu protocol_features_cb",
        payload=k.GPU_PROTOCOL_FEATURES,
    ),
    _spec(
        3,
        "GPU_GET_DISPLAY_INFO",
        "Asks for the size and place of the displays; the reply is virtio-gpu's own response.",
        "contrib/vhost-user-gpu vg_get_display_info, when the guest asks",
        reply=DISPLAY_INFO,
        answered=True,
    ),
    _spec(
        4,
        "GPU_CURSOR_POS",
        "Moves the pointer and shows it.",
        "contrib/vhost-user-gpu vg_process_cursor_cmd",
        "QEMU vhost_user_gpu_handle_cursor",
        payload=CURSOR_POS,
    ),
    _spec(
        5,
        "GPU_CURSOR_POS_HIDE",
        "Moves the pointer and hides it.",
        "contrib/vhost-user-gpu vg_process_cursor_cmd",
        "QEMU vhost_user_gpu_handle_cursor",
        payload=CURSOR_POS,
    ),
    _spec(
        6,
        "GPU_CURSOR_UPDATE",
        "Sets place, hot spot and picture (64 x 64 pixels) of the pointer.",
        "contrib/vhost-user-gpu vg_process_cursor_cmd",
        "QEMU vhost_user_gpu_handle_cursor",
        payload=CURSOR_UPDATE,
    ),
    _spec(
        7,
        "GPU_SCANOUT",
        "Sets the size of a scanout; 0 x 0 turns it off.",
        "contrib/vhost-user-gpu vg_set_scanout",
        payload=SCANOUT,
    ),
    _spec(
        8,
        "GPU_UPDATE",
        "Sends the pixels of a rectangle of a scanout.",
        "contrib/vhost-user-gpu vg_resource_flush",
        payload=UPDATE,
    ),
    _spec(
        9,
        "GPU_DMABUF_SCANOUT",
        "Shows a dma-buf as a scanout; without a descriptor turns it off.",
        "contrib/vhost-user-gpu virgl_cmd_set_scanout",
        payload=DMABUF_SCANOUT,
        fds=(0, 1),
        fds_meaning=_DMABUF,
    ),
    _spec(
        10,
        "GPU_DMABUF_UPDATE",
        "Says that a rectangle of a dma-buf scanout has changed, and waits until it is shown (empty reply).",
        "contrib/vhost-user-gpu virgl_cmd_resource_flush",
        "QEMU vhost_user_gpu_handle_display, answered by vhost_user_gpu_unblock",
        payload=DMABUF_UPDATE,
        answered=True,
    ),
    _spec(
        11,
        "GPU_GET_EDID",
        "Asks for the EDID of a scanout; QEMU does not answer for one that it does not have.",
        "contrib/vhost-user-gpu vg_get_edid, when the guest asks",
        payload=EDID_REQUEST,
        reply=EDID,
        answered=True,
        requires_feature="VHOST_USER_GPU_PROTOCOL_F_EDID negotiated",
    ),
    _spec(
        12,
        "GPU_DMABUF_SCANOUT2",
        "As GPU_DMABUF_SCANOUT, with the modifier of the dma-buf.",
        "contrib/vhost-user-gpu virgl_cmd_set_scanout",
        payload=DMABUF_SCANOUT2,
        fds=(0, 1),
        fds_meaning=_DMABUF,
        requires_feature="VHOST_USER_GPU_PROTOCOL_F_DMABUF2 negotiated",
    ),
)

DISSECTOR = Dissector("gpu", {spec.code: spec for spec in SPECS})
