"""The exceptions that may reach the command line, which prints them as one sentence and exits with 2.

What a peer sends or a file contains never raises these: malformed and unknown input is a value. They are for
what the user asked for and cannot be had: a file that is no capture, a socket that cannot be bound, a filter
that does not parse.
"""


class VusniffError(Exception):
    """Base of the errors a user may see: one sentence that says what, where, and what to do."""


class CaptureError(VusniffError):
    """A capture file cannot be read or written as one."""


class SourceError(VusniffError):
    """A source (proxy, probe, import) cannot do what it was asked to."""


class DissectorError(VusniffError):
    """A dissector distribution cannot be loaded, or a message cannot be decoded as the user described it."""
