"""The exceptions that may reach the command line, which prints them as one sentence and exits with 2.

What a peer sends or a file contains never raises these: malformed and unknown input is a value. They are for
what the user asked for and cannot be had: a file that is not a capture, a socket that cannot be bound, a filter
that does not parse.
"""

from vusniff.printable import escape


class VusniffError(Exception):
    """Base of the errors a user may see: one sentence that says what, where, and what to do."""


class CaptureError(VusniffError):
    """A capture file cannot be read or written as one."""


class NoCaptureError(CaptureError):
    """A file is not a capture: it may be a log that can be made one."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not a capture: it does not start like a pcapng file")
        self.name = name


class OutputError(VusniffError):
    """A file cannot be written, or must not be."""


class ExistsError(OutputError):
    """A file is there already, and is not of the kind that may be replaced."""


class SourceError(VusniffError):
    """A source (proxy, probe, import) cannot do what it was asked to."""


class DissectorError(VusniffError):
    """A dissector distribution cannot be loaded, or a message cannot be decoded as the user described it."""


class FilterError(VusniffError):
    """A filter that cannot be used: what is wrong, and where."""

    def __init__(self, sentence: str, text: str, start: int, length: int = 1) -> None:
        """``start`` and ``length`` count characters of the filter's ``text``; length 0 marks a place between two."""
        super().__init__(pointed("filter", sentence, text, start, length))
        self.sentence = sentence
        self.text = text
        self.start = start
        self.length = length

    @property
    def column(self) -> int:
        """Where it stands, counted from 1."""
        return self.start + 1


class RuleError(VusniffError):
    """A fault rule that cannot be used: where it was given, what is wrong, and at which character."""

    def __init__(self, where: str, sentence: str, text: str, start: int, length: int = 1) -> None:
        """``where`` is such as ``rule 2`` or ``rules.txt:7``; the others are as in `FilterError`."""
        super().__init__(pointed(where, sentence, text, start, length))
        self.sentence = sentence
        self.start = start


def pointed(where: str, sentence: str, text: str, start: int, length: int) -> str:
    """A sentence with the text that it is about, and marks below the characters that it means."""
    line = " ".join(text.split("\n"))
    shown = escape(line if len(line) <= 200 else line[:200] + " ...")
    marks = " " * len(escape(line[:start])) + "^" * max(1, len(escape(line[start : start + length])))
    return f"{escape(where)}: {escape(sentence)}\n    {shown}\n    {marks[: len(shown) + 1]}"
