"""``vusniff decode``: one message from a log, as fields or JSON."""

from __future__ import annotations

import argparse
import enum
import re
import sys

from vusniff import terminal
from vusniff.channel import Channel, Sender
from vusniff.commands.forms import add_json
from vusniff.errors import DissectorError
from vusniff.families.registry import channel_named, channels, family_of
from vusniff.families.vhost_user.protocol import (
    F_RING_PACKED,
    MAX_FDS,
    PROTOCOL_FEATURE_ALIASES,
    Channels,
    FrontendRequest,
    ProtocolFeature,
)
from vusniff.message import Context, Message
from vusniff.names import mask_of
from vusniff.record import Descriptor, Facts, FrameKind

PROTOCOL_PREFIX = "VHOST_USER_PROTOCOL_F_"

_DUMP_LINE = re.compile(r"\s*([0-9a-fA-F]{4,8})(:| ) +(.*)")
"""A line of xxd, hexdump -C or a packet dump: offset, bytes, printed characters."""
_SHORT_NUMBER = re.compile(r"0[xX]([0-9a-fA-F])(?![0-9a-fA-F])")
_SEPARATORS = re.compile(r"0[xX]|\\x|[\s:,;.\-_'\"{}()\[\]]")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``vusniff decode``."""
    known = [channel for channel in channels() if channel.requester is not None]
    parser.add_argument(
        "--channel",
        choices=[str(channel) for channel in known],
        default="main",
        help="what the message was seen on (main)",
    )
    parser.add_argument(
        "--sender",
        choices=[sender.value for sender in Sender],
        help="who sent it (default: who sends requests there, or replies if it is one)",
    )
    parser.add_argument("--fds", type=int, default=0, metavar="N", help="descriptors that came with it (0)")
    parser.add_argument(
        "--protocol-features",
        metavar="LIST",
        help="negotiated protocol features, names such as MQ,REPLY_ACK or a number (XEN_MMAP and LOG_SHMFD matter)",
    )
    parser.add_argument(
        "--features",
        metavar="LIST",
        help="negotiated features, names such as VIRTIO_F_RING_PACKED or a number; they say what ring indices mean",
    )
    parser.add_argument("--device", metavar="TYPE", help="device type (net, blk, fs, ...): names features and config")
    add_json(parser, "print the message as one JSON object")
    parser.add_argument(
        "hex",
        nargs="+",
        metavar="HEX",
        help="header and payload in hexadecimal; spaces, 0x, colons, commas and dumps of xxd are fine; - reads them "
        "from standard input",
    )


def run(args: argparse.Namespace) -> int:
    """Print the message; 2 when its payload does not fit its layout."""
    from vusniff.families.vhost_user.device import DEVICES
    from vusniff.views import jsonl, text, words

    if args.device is not None and args.device not in DEVICES:
        raise DissectorError(f"--device {args.device}: no such device type; there are {', '.join(DEVICES)}")
    if not 0 <= args.fds <= MAX_FDS:
        raise DissectorError(f"--fds {args.fds}: a message carries 0 to {MAX_FDS} descriptors")
    given = sys.stdin.read() if args.hex == ["-"] else " ".join(args.hex)
    message = message_of(
        bytes_of(given),
        channel_named(args.channel),
        Sender(args.sender) if args.sender else None,
        args.fds,
        protocol_features_of(args.protocol_features),
        features_of(args.features, args.device),
        args.device,
    )
    if args.json:
        # One message has no capture: what only a capture can tell is unknown.
        unknown = {"time_ns": None, "session": None, "connection": None}
        terminal.put_json(jsonl.encode({**jsonl.message_dict(message), **unknown}) + b"\n")
    else:
        title = words.title_of(message)
        terminal.put_line(f"{text.arrow(message.channel, message.sender)} {title} {words.summary(message)}".rstrip())
        for line in text.details(message):
            terminal.put_line(line)
    if message.malformed:
        terminal.flush()
        terminal.say(f"{message.name} does not fit: {message.malformed}")
        return 2
    return 0


def bytes_of(text: str) -> bytes:
    """The bytes of a message as people paste them. Raises DissectorError for what is not hexadecimal."""
    plain = _SHORT_NUMBER.sub(r"0\1", "\n".join(_undump(text)))
    digits = _SEPARATORS.sub("", plain)
    try:
        return bytes.fromhex(digits)
    except ValueError:
        wrong = next((character for character in digits if character not in "0123456789abcdefABCDEF"), None)
        what = f"{wrong!r} is not a hexadecimal digit" if wrong else f"{len(digits)} digits do not make whole bytes"
        raise DissectorError(f"{what}; give header and payload in hexadecimal, two digits a byte") from None


def _undump(text: str) -> list[str]:
    """Lines without the offsets and printed characters of a dump; all lines as they are if they are no dump."""
    found: list[str] = []
    count = 0
    for line in filter(str.strip, text.splitlines()):
        match = _DUMP_LINE.fullmatch(line)
        if match is None:
            # hexdump -C ends with a line that is only the offset.
            if found and re.fullmatch(r"[0-9a-fA-F]{7,8}", line.strip()) and int(line.strip(), 16) == count:
                continue
            return text.splitlines()
        offset, mark, rest = match.groups()
        digits = _dumped(rest, 2 if mark == ":" else 3)
        if int(offset, 16) != count or not digits:
            return text.splitlines()
        found.append(digits)
        count += len(digits) // 2
    return found


def _dumped(rest: str, gap: int) -> str:
    """The hexadecimal column of a dump line; the printed characters stand between bars or behind ``gap`` blanks."""
    column = re.split(rf" {{{gap},}}|\|", rest)[0]
    digits = column.replace(" ", "")
    return digits if len(digits) % 2 == 0 and re.fullmatch(r"[0-9a-fA-F]+", digits) else ""


def protocol_features_of(words: str | None) -> ProtocolFeature:
    """Protocol features from a number or a list of names. Raises DissectorError with the name that is none."""
    return ProtocolFeature(_mask(words or "0", ProtocolFeature, "--protocol-features", PROTOCOL_PREFIX))


def features_of(words: str | None, device: str | None) -> int | None:
    """Feature bits from a number or a list of names, None where nothing was said."""
    if words is None:
        return None
    from vusniff.layouts import dissect
    from vusniff.message import Layout, enum_of

    spec = dissect.spec_of(Channels.MAIN, FrontendRequest.SET_FEATURES)
    layout = spec.payload if spec else None
    names = layout.names.get("u64", enum.IntFlag) if isinstance(layout, Layout) else enum.IntFlag
    kind = enum_of(names, Context(device=device))
    return _mask(words, kind if issubclass(kind, enum.IntFlag) else enum.IntFlag, "--features", "VIRTIO_F_")


def _mask(words: str, kind: type[enum.IntFlag], option: str, prefix: str) -> int:
    try:
        number = int(words, 0)
    except ValueError:
        pass
    else:
        if not 0 <= number < 1 << 64:
            raise DissectorError(f"{option}: {words} does not fit in 64 bits")
        return number
    listed = [word.strip().upper().removeprefix(prefix) for word in re.split(r"[,\s|]+", words) if word]
    try:
        return mask_of(kind, listed, PROTOCOL_FEATURE_ALIASES)
    except KeyError as error:
        known = ", ".join(name.removeprefix(prefix) for name in kind.__members__)
        raise DissectorError(f"{option}: {error.args[0]} is not a known name; there are {known}") from None


def message_of(
    data: bytes,
    channel: Channel,
    sender: Sender | None = None,
    fds: int = 0,
    protocol_features: ProtocolFeature = ProtocolFeature(0),  # noqa: B008
    features: int | None = None,
    device: str | None = None,
) -> Message:
    """Decode one whole message, in the byte order in which its size agrees with its length.

    Raises DissectorError when it is shorter than a header or its size field does not agree with its length.
    """
    from vusniff.analysis.compose import decode

    header = channel.header
    if len(data) < header.size:
        raise DissectorError(f"{len(data)} bytes are not a message: a header alone has {header.size}")
    there = len(data) - header.size
    order = next((order for order, read in header.read.items() if read(data, 0)[2] == there), None)
    if order is None:
        told = header.read["little"](data, 0)[2]
        more = "give one message at a time" if there > told else "give the whole message"
        raise DissectorError(f"the header says that {told} bytes of payload follow, but {there} do; {more}")
    request, flags, size = header.read[order](data, 0)
    reply = header.is_reply(flags)
    context = Context(
        order=order,
        xen_mmap=ProtocolFeature.XEN_MMAP in protocol_features,
        log_shmfd=ProtocolFeature.LOG_SHMFD in protocol_features,
        packed=None if features is None else bool(features & F_RING_PACKED),
        device=device,
    )
    if sender is None:
        requester = channel.requester
        other = Sender.BACKEND if requester is Sender.FRONTEND else Sender.FRONTEND
        family = family_of(channel)
        turned = channel is family.main and request in family.other_way
        sender = other if reply is not turned else requester
    _, _, _, decoded = decode(data, 0, FrameKind.MESSAGE, channel, context, sender)
    return Message(
        number=1,
        time_ns=0,
        session=0,
        connection=0,
        channel=channel,
        sender=sender,
        request=request,
        name=decoded.name,
        flags=flags,
        size=size,
        payload=decoded.payload,
        data=data,
        facts=Facts((Descriptor(),) * fds),
        malformed=decoded.malformed,
        trailing=decoded.trailing,
        layout=decoded.layout,
        spec=decoded.spec,
        more=header.others(data, order),
    )
