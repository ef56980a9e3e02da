"""Device config space by device type, read in any part: a front-end may ask for one field at a time.

Source: the VIRTIO specification, "Device configuration layout" of each device type, and linux/virtio_*.h. Config
space is little-endian on every host (devices of VIRTIO 1; vhost-user back-ends demand VIRTIO_F_VERSION_1). The types
rng, i2c and rtc have none.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from typing import Any

from construct import Bytes, Struct

from vusniff.names import bit_names
from vusniff_dissectors.fields import LITTLE as N
from vusniff_dissectors.fields import MAC, padded_text


class NetStatus(enum.IntFlag):
    """Field status of the network card."""

    VIRTIO_NET_S_LINK_UP = 1
    VIRTIO_NET_S_ANNOUNCE = 2


class CryptoStatus(enum.IntFlag):
    """Field status of the crypto device."""

    VIRTIO_CRYPTO_S_HW_READY = 1


class GpuEvent(enum.IntFlag):
    """Fields events_read and events_clear of the GPU."""

    VIRTIO_GPU_EVENT_DISPLAY = 1


class MediaCapabilities(enum.IntFlag):
    """Field device_caps of the media device: V4L2_CAP_* (linux/videodev2.h), those of video devices."""

    V4L2_CAP_VIDEO_CAPTURE = 0x00000001
    V4L2_CAP_VIDEO_OUTPUT = 0x00000002
    V4L2_CAP_VIDEO_CAPTURE_MPLANE = 0x00001000
    V4L2_CAP_VIDEO_OUTPUT_MPLANE = 0x00002000
    V4L2_CAP_VIDEO_M2M_MPLANE = 0x00004000
    V4L2_CAP_VIDEO_M2M = 0x00008000
    V4L2_CAP_EXT_PIX_FORMAT = 0x00200000
    V4L2_CAP_READWRITE = 0x01000000
    V4L2_CAP_STREAMING = 0x04000000


DEVICES: dict[str, Any] = {
    "net": Struct(
        "mac" / MAC,
        "status" / N.u16,
        "max_virtqueue_pairs" / N.u16,
        "mtu" / N.u16,
        "speed" / N.u32,
        "duplex" / N.u8,
        "rss_max_key_size" / N.u8,
        "rss_max_indirection_table_length" / N.u16,
        "supported_hash_types" / N.u32,
        "supported_tunnel_types" / N.u32,
    ),
    "blk": Struct(
        "capacity" / N.u64,
        "size_max" / N.u32,
        "seg_max" / N.u32,
        "geometry" / Struct("cylinders" / N.u16, "heads" / N.u8, "sectors" / N.u8),
        "blk_size" / N.u32,
        "physical_block_exp" / N.u8,
        "alignment_offset" / N.u8,
        "min_io_size" / N.u16,
        "opt_io_size" / N.u32,
        "writeback" / N.u8,
        "unused0" / N.u8,
        "num_queues" / N.u16,
        "max_discard_sectors" / N.u32,
        "max_discard_seg" / N.u32,
        "discard_sector_alignment" / N.u32,
        "max_write_zeroes_sectors" / N.u32,
        "max_write_zeroes_seg" / N.u32,
        "write_zeroes_may_unmap" / N.u8,
        "unused1" / Bytes(3),
        "max_secure_erase_sectors" / N.u32,
        "max_secure_erase_seg" / N.u32,
        "secure_erase_sector_alignment" / N.u32,
        "zoned"
        / Struct(
            "zone_sectors" / N.u32,
            "max_open_zones" / N.u32,
            "max_active_zones" / N.u32,
            "max_append_sectors" / N.u32,
            "write_granularity" / N.u32,
            "model" / N.u8,
            "unused2" / Bytes(3),
        ),
    ),
    "console": Struct("cols" / N.u16, "rows" / N.u16, "max_nr_ports" / N.u32, "emerg_wr" / N.u32),
    "balloon": Struct("num_pages" / N.u32, "actual" / N.u32, "free_page_hint_cmd_id" / N.u32, "poison_val" / N.u32),
    "scsi": Struct(
        "num_queues" / N.u32,
        "seg_max" / N.u32,
        "max_sectors" / N.u32,
        "cmd_per_lun" / N.u32,
        "event_info_size" / N.u32,
        "sense_size" / N.u32,
        "cdb_size" / N.u32,
        "max_channel" / N.u16,
        "max_target" / N.u16,
        "max_lun" / N.u32,
    ),
    "9p": Struct("tag_len" / N.u16),
    "gpu": Struct(
        "events_read" / N.u32,
        "events_clear" / N.u32,
        "num_scanouts" / N.u32,
        "num_capsets" / N.u32,
        "blob_alignment" / N.u32,
    ),
    "input": Struct("select" / N.u8, "subsel" / N.u8, "size" / N.u8, "reserved" / Bytes(5), "u" / Bytes(128)),
    "vsock": Struct("guest_cid" / N.u64),
    "crypto": Struct(
        "status" / N.u32,
        "max_dataqueues" / N.u32,
        "crypto_services" / N.u32,
        "cipher_algo_l" / N.u32,
        "cipher_algo_h" / N.u32,
        "hash_algo" / N.u32,
        "mac_algo_l" / N.u32,
        "mac_algo_h" / N.u32,
        "aead_algo" / N.u32,
        "max_cipher_key_len" / N.u32,
        "max_auth_key_len" / N.u32,
        "akcipher_algo" / N.u32,
        "max_size" / N.u64,
    ),
    "iommu": Struct(
        "page_size_mask" / N.u64,
        "input_range" / Struct("start" / N.u64, "end" / N.u64),
        "domain_range" / Struct("start" / N.u32, "end" / N.u32),
        "probe_size" / N.u32,
        "bypass" / N.u8,
        "reserved" / Bytes(3),
    ),
    "mem": Struct(
        "block_size" / N.u64,
        "node_id" / N.u16,
        "padding" / Bytes(6),
        "addr" / N.u64,
        "region_size" / N.u64,
        "usable_region_size" / N.u64,
        "plugged_size" / N.u64,
        "requested_size" / N.u64,
    ),
    "sound": Struct("jacks" / N.u32, "streams" / N.u32, "chmaps" / N.u32, "controls" / N.u32),
    "fs": Struct("tag" / padded_text(36), "num_request_queues" / N.u32, "notify_buf_size" / N.u32),
    "pmem": Struct("start" / N.u64, "size" / N.u64),
    "rpmb": Struct("capacity" / N.u8, "max_wr_cnt" / N.u8, "max_rd_cnt" / N.u8),
    "can": Struct("status" / N.u16),
    "bluetooth": Struct("type" / N.u8, "vendor" / N.u16, "msft_opcode" / N.u16),
    "gpio": Struct("ngpio" / N.u16, "padding" / Bytes(2), "gpio_names_size" / N.u32),
    "spi": Struct(
        "cs_max_number" / N.u8,
        "cs_change_supported" / N.u8,
        "tx_nbits_supported" / N.u8,
        "rx_nbits_supported" / N.u8,
        "bits_per_word_mask" / N.u32,
        "mode_func_supported" / N.u32,
        "max_freq_hz" / N.u32,
        "max_word_delay_ns" / N.u32,
        "max_cs_setup_ns" / N.u32,
        "max_cs_hold_ns" / N.u32,
        "max_cs_inactive_ns" / N.u32,
    ),
    "media": Struct("device_caps" / N.u32, "device_type" / N.u32, "card" / padded_text(32)),
}
"""Device type -> its config space with every optional field. A device without a feature may end it earlier."""

NAMES: dict[str, Mapping[str, type[enum.IntFlag]]] = {
    "net": {"status": NetStatus},
    "crypto": {"status": CryptoStatus},
    "gpu": {"events_read": GpuEvent, "events_clear": GpuEvent},
    "media": {"device_caps": MediaCapabilities},
}
"""Device type -> bits of its fields."""

_INPUT_TEXT = (0x01, 0x02)
_INPUT_IDS = 0x03
_INPUT_ABS = 0x12
_INPUT_IDS_LAYOUT = Struct("ids" / Struct("bustype" / N.u16, "vendor" / N.u16, "product" / N.u16, "version" / N.u16))
_INPUT_ABS_LAYOUT = Struct("abs" / Struct("min" / N.i32, "max" / N.i32, "fuzz" / N.i32, "flat" / N.i32, "res" / N.i32))


@functools.cache
def places(device: str) -> tuple[tuple[str, int, int, Any], ...]:
    """Fields of a device's config space: name, first byte, byte behind it, construct."""
    found = []
    start = 0
    for field in DEVICES[device].subcons:
        stop = start + field.sizeof()
        found.append((field.name, start, stop, field))
        start = stop
    return tuple(found)


def size_of(device: str) -> int:
    """Bytes of the whole config space with every optional field."""
    return places(device)[-1][2]


def decode(device: str, offset: int, data: bytes) -> dict[str, Any]:
    """The fields that lie wholly in ``data``, which was read or is written at ``offset``. Never raises."""
    end = offset + len(data)
    values: dict[str, Any] = {}
    for name, start, stop, field in places(device):
        if start < offset or stop > end:
            continue
        values[name] = _plain(field.parse(data[start - offset : stop - offset]))
        bits = NAMES.get(device, {}).get(name)
        if bits is not None:
            values[f"{name}_names"] = bit_names(bits, values[name])
    if device == "9p" and "tag_len" in values:
        text = data[2 - offset :][: values["tag_len"]]
        values["tag"] = text.decode("utf-8", "backslashreplace")
    if device == "input" and offset == 0:
        values.update(_input(values, data[8:]))
    return values


def _input(values: dict[str, Any], data: bytes) -> dict[str, Any]:
    """What the union of an input device's config space holds by its select field (VIRTIO, "Input Device")."""
    select = values.get("select")
    size = min(values.get("size", 0), len(data))
    if select in _INPUT_TEXT:
        return {"string": data[:size].decode("utf-8", "backslashreplace")}
    if select == _INPUT_IDS and size >= 8:
        return dict(_plain(_INPUT_IDS_LAYOUT.parse(data)))
    if select == _INPUT_ABS and size >= 20:
        return dict(_plain(_INPUT_ABS_LAYOUT.parse(data)))
    return {}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if name != "_io"}
    return value.hex() if isinstance(value, bytes) else value
