"""The reference page of the filter language, from the table of fields: docs/filter.md."""

from __future__ import annotations

from collections.abc import Iterator

from vusniff.filter.field import Field, Origin, ValueKind
from vusniff.filter.fields import fields, words_of
from vusniff.filter.regex import PATTERN_LIMIT, TEXT_LIMIT

INTRODUCTION = f"""\
# Filters

`vusniff read --filter EXPR`, the terminal view (key `&`) and the other commands with `--filter` show only the
messages that pass. The syntax is that of Wireshark's display filters, and the fields have the same names in
Wireshark when `vusniff wireshark install` has been run.

    vhost.request == SET_MEM_TABLE && vhost.mem.num_regions > 2
    vring.index == 3
    finding.severity >= warning
    proc.comm contains "ovs" and not vhost.reply == 1
    vhost.latency > 2ms
    fd.kind == eventfd || fd.name matches "^guest-ram"
    vhost.features contains MRG_RXBUF
    ring.in_flight > 0 && !ring.stalled
    vhost.request in {{SET_VRING_NUM, SET_VRING_BASE, 35..37}}

## Syntax

| written | means |
| --- | --- |
| `field` | the message has the field (also when its value is 0 or false) |
| `==` `eq`, `!=` `ne`, `<` `lt`, `<=` `le`, `>` `gt`, `>=` `ge` | comparison |
| `in {{a, b..c}}`, `not in {{...}}` | one of them; ranges include both ends |
| `contains` | text in a text, bytes in bytes, a name among bits; it minds case |
| `matches`, `~` | a regular expression; it ignores case unless it begins with `(?-i)` |
| `field & mask` | bitwise and; alone it means that one of the bits is set |
| `!` `not`, `&&` `and`, `^^` `xor`, <code>&#124;&#124;</code> `or` | the strongest first; brackets group |

A message that has no such field passes no comparison, not even `!=`: `vring.index != 3` shows only messages about
other vrings, `!(vring.index == 3)` everything else as well.

A field that occurs several times in a message (a memory table has many regions) passes when any value does, with
`!=` when all do. `all` and `any` before the field say which, as do `===` (`all_eq`) and `!==` (`any_ne`).

Numbers are decimal, `0x` hexadecimal, `0b` binary, or octal with a leading 0. Text stands in double quotes; `\\"`,
`\\\\`, `\\n`, `\\t`, `\\x41`, `\\101`, `\\u00e9` are escapes, and `r"..."` has none. Bytes are written `52:54:00`
or as text. Times take a unit: `35us`, `2ms`, `1.5s`; without one `vhost.time` counts seconds and `vhost.latency`
nanoseconds. Names of requests, channels, kinds, severities and bits need no quotes. A bit's name may be short where
that is clear: `MRG_RXBUF` for `VIRTIO_NET_F_MRG_RXBUF`. With `contains` a name means that bit of the device at
hand.

A regular expression is Python's, of at most {PATTERN_LIMIT} characters, and runs over the first {TEXT_LIMIT}
characters of a value. One that could take for ever on a text that a peer chose is refused: repeats within repeats,
back-references, and too many repeats and alternatives.

Names of requests are those of all channels, with or without `VHOST_USER_` or `VFIO_USER_`, older ones too.

Fields that any message has, such as `vhost.request`, `vhost.number`, `vhost.reply` and `vhost.latency`, are called so
whatever protocol it is of. `vhost.flags` and `vhost.version` are of vhost-user alone. What only messages of vfio-user
have begins with `vfio`: `vfio.command`, `vfio.id`, `vfio.error`, and the fields of its payloads, such as
`vfio.region_access.offset`. There the client is the `frontend`, and the server the `backend`. What only calls to vhost
in the kernel have begins with `call`: `call.result < 0`, `call.duration_ns`; why one failed is `errno == EFAULT`.
`vhost.transport == kernel` (`user`, `vdpa`, `vduse`) tells who serves the device.

Not there, unlike in Wireshark: functions, slices, arithmetic, and fields on the right-hand side. Not in Wireshark: our
names for values. A request is there `vhost.name == "SET_MEM_TABLE"` (its `vhost.request` knows numbers, which mean
something else on each channel), a bit `vhost.features_names == "VIRTIO_NET_F_MRG_RXBUF"`, a time counts seconds
(`vhost.latency > 0.002`), and text is quoted.

Fields of rings are about the samples between a message and the next one of its session (`--rings`), with one value
for each ring that has some there: `ring.stalled` finds the last message before a ring was not served. Wireshark has
them in files that were written by `vusniff export --to pcapng`.

Fields of `state` are about the device before the message, of vhost-user and of calls to vhost: `state.regions < 2`,
`state.features contains PACKED`. `state.running` and `state.enabled` have one value for each ring that is so:
`state.running == 1` asks whether ring 1 runs, `!state.running` whether none does. `state.vring` is the ring that the
message itself is about: `vhost.request == SET_VRING_NUM && state.vring == armed`. They need each session to be followed
from its beginning, which takes some 10 us a message, as judging it does. Wireshark does not have them.

While a capture is followed, or read from a pipe, a request's `vhost.answered_by` and `vhost.latency` are not known
yet (the reply's are), and fields of findings, logs and rings cannot be used.

## Fields
"""

TITLES = {
    Origin.HEADER: "Header",
    Origin.CONNECTION: "Session and connection",
    Origin.ANSWER: "Request and reply",
    Origin.DESCRIPTOR: "Descriptors",
    Origin.PROCESS: "Sender",
    Origin.STACK: "Call stacks",
    Origin.LOG: "Logs",
    Origin.FINDING: "Findings",
    Origin.RING: "Rings, as sampled",
    Origin.STATE: "The device before the message",
    Origin.BYTES: "Bytes",
    Origin.PAYLOAD: "Payload",
}
SHOWN_WORDS = 14


def page() -> str:
    """The page in Markdown."""
    return INTRODUCTION + "".join(f"{line}\n" for line in _tables())


def _tables() -> Iterator[str]:
    for origin, title in TITLES.items():
        yield ""
        yield f"### {title}"
        yield ""
        yield "| field | type | what it is |"
        yield "| --- | --- | --- |"
        known = [one for one in fields().values() if one.origin is origin]
        if origin is Origin.PAYLOAD:
            known.sort(key=lambda one: one.name)
        for one in known:
            yield f"| `{one.name}` | {one.kind.value}{', several' if one.several else ''} | {_about(one)} |"


def _about(field: Field) -> str:
    words = (
        words_of(field)
        if field.kind not in (ValueKind.BOOLEAN, ValueKind.REQUEST) and field.name != "vhost.name"
        else ()
    )
    if not words or len(words) > SHOWN_WORDS:
        return field.about
    return f"{field.about} ({', '.join(f'`{word}`' for word in words)})"
