"""The layout of a packet of ours, for those who write and who read it.

A packet is `LEAD_SIZE` bytes of exported-PDU tags, of the same length in every packet so that a reader can take block
header and message header at once, and the bytes of the frame::

    12 dissector   "vhost_user", that of another family, or "data" for what is not a whole message
    35 direction   0: sent by the end that connected, 1: by the other
    33 protocol    "vhost-user", or another family
    36 info        the message in words, NUL-padded to 64
     0 end

Its options are ``epb_flags`` (direction), ``epb_packetid`` (message number), after a loss ``epb_dropcount``, and where
there is more to say a custom option (see `facts`) and comments about descriptors: 24 bytes when there is not. The
original length exceeds the captured one by `Frame.missing`.
"""

from __future__ import annotations

from vusniff.capture import pcapng

DISSECTOR = b"vhost_user"
DISSECTOR_DATA = b"data"
PROTOCOL = b"vhost-user"
INFO_SIZE = 64
LEAD_SIZE = 112
NAME_LIMIT = 12
"""Bytes of the longest name of a family: tags are filled up to that, and as long in every packet."""
_PADDED = NAME_LIMIT - 3
"""Fewest bytes of a name with which they are."""
INTERFACE_LIMIT = 1 << 16
"""Interfaces of one section: what a reader keeps of them at once. After so many a writer begins another section."""
FRAME_LIMIT = pcapng.PACKET_LIMIT - LEAD_SIZE
"""Bytes of a frame that fit into one packet; the rest of a longer one follows in packets of its own."""


def dissector_of(family: str) -> bytes:
    """The name under which Wireshark finds the dissector of a family."""
    return family.replace("-", "_").encode("ascii", "replace")[:NAME_LIMIT]


def lead(end: int, info: str, dissector: bytes = DISSECTOR, family: str = "vhost-user") -> bytes:
    """The tags in front of a frame: `LEAD_SIZE` bytes."""
    words = info.encode("utf-8", "replace")[: INFO_SIZE - 1].ljust(INFO_SIZE, b"\0")
    return (
        pcapng.tag(pcapng.TAG_DISSECTOR, dissector.ljust(_PADDED, b"\0"))
        + pcapng.tag(pcapng.TAG_DIRECTION, end.to_bytes(4, "big"))
        + pcapng.tag(pcapng.TAG_PROTOCOL, family.encode("ascii", "replace")[:NAME_LIMIT].ljust(_PADDED, b"\0"))
        + pcapng.tag(pcapng.TAG_INFO, words)
        + pcapng.tag(pcapng.TAG_END, b"")
    )
