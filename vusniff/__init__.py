"""See what a vhost-user front-end and back-end say to each other.

As a library: captures are opened, messages decoded, states and findings worked out, without the command line.

>>> import vusniff
>>> timeline = vusniff.open_capture("captures/qemu-blk.pcapng")
>>> timeline.message(1).name, timeline.message(1).reply
('GET_FEATURES', True)
>>> session = timeline.sessions[0]
>>> session.guess.device
'blk'
>>> regions = [len(step.state.regions) for step in vusniff.analyze(timeline) if step.message.name == "ADD_MEM_REG"]
>>> regions[:2]
[1, 1]
>>> timeline.state(len(timeline) - 1).vrings[0].num
Seen(value=128, by=41)

One message of a log is decoded by `decode`:

>>> message = vusniff.decode(bytes.fromhex("0800000001000000080000000000000000010000"), channel="main")
>>> message.name, message.payload
('SET_VRING_NUM', {'index': 0, 'num': 256})

A vendor's messages are a tuple of `Dissector`, named by an entry point of the group ``vusniff.dissectors``.
"""

import sys

if sys.argv[:1] == ["-m"]:
    # Python was started with -m, and looks for its module just now: the working directory is first on the import path.
    # It may be anybody's, /tmp for example. No module is imported before this line, not even __future__.
    try:
        if sys.path[0] == sys.modules["os"].getcwd():
            del sys.path[0]
    except OSError:  # it has been removed, and is not there
        pass

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vusniff.analysis.timeline import Timeline as Timeline
    from vusniff.channel import Channel as Channel
    from vusniff.channel import Sender as Sender
    from vusniff.errors import CaptureError as CaptureError
    from vusniff.errors import DissectorError as DissectorError
    from vusniff.errors import SourceError as SourceError
    from vusniff.errors import VusniffError as VusniffError
    from vusniff.families.vhost_user.protocol import ProtocolFeature as ProtocolFeature
    from vusniff.families.vhost_user.state import DeviceState as DeviceState
    from vusniff.library import Analyzed as Analyzed
    from vusniff.library import analyze as analyze
    from vusniff.library import decode as decode
    from vusniff.library import evidence as evidence
    from vusniff.library import open_capture as open_capture
    from vusniff.message import Context as Context
    from vusniff.message import Dissector as Dissector
    from vusniff.message import Layout as Layout
    from vusniff.message import Message as Message
    from vusniff.message import MessageSpec as MessageSpec
    from vusniff.record import Descriptor as Descriptor
    from vusniff.record import Exit as Exit
    from vusniff.record import LogLine as LogLine
    from vusniff.record import OtherEvidence as OtherEvidence
    from vusniff.record import Position as Position
    from vusniff.record import RingDump as RingDump
    from vusniff.record import Sample as Sample

_WHERE = {
    "vusniff.errors": ("CaptureError", "DissectorError", "SourceError", "VusniffError"),
    "vusniff.library": ("Analyzed", "analyze", "decode", "evidence", "open_capture"),
    "vusniff.message": ("Context", "Dissector", "Layout", "Message", "MessageSpec"),
    "vusniff.channel": ("Channel", "Sender"),
    "vusniff.families.vhost_user.protocol": ("ProtocolFeature",),
    "vusniff.record": ("Descriptor", "Exit", "LogLine", "OtherEvidence", "Position", "RingDump", "Sample"),
    "vusniff.families.vhost_user.state": ("DeviceState",),
    "vusniff.analysis.timeline": ("Timeline",),
}
_MODULES = {name: module for module, names in _WHERE.items() for name in names}

__all__ = sorted(_MODULES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})  # what is not imported yet is shown by help(vusniff) all the same


def __getattr__(name: str) -> Any:
    # Nothing is imported before it is used: the command line starts often.
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)
