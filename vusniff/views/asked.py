"""What was asked of ``vusniff explain``: error texts, names, numbers and words, one or several.

Error texts come first, because they need none of the tables of messages.
"""

from __future__ import annotations

from collections.abc import Sequence

from vusniff.errors import VusniffError
from vusniff.printable import escape
from vusniff.views.topic import Topic

SHOWN = 60
"""Characters of an unknown text that are repeated."""
LONGEST = 2048
"""Characters of a text that are looked at: no number in it has more digits than Python reads."""


def topics(words: Sequence[str], device: str | None = None) -> list[Topic]:
    """All meanings of what was asked; several words are one name or text where they make one, else each is looked up.

    Raises VusniffError for what nothing is called.
    """
    words = [word[:LONGEST] for word in words]
    whole = " ".join(words)[:LONGEST]
    found = _topics(whole, device)
    if not found and len(words) > 1:
        each = [_topics(word, device) for word in words]
        if all(each) or not _is_text(whole):
            for word, meanings in zip(words, each, strict=True):
                if not meanings:
                    raise VusniffError(_unknown(word, device))
                found += meanings
    if not found:
        raise VusniffError(_unknown(whole, device))
    return found


def _is_text(words: str) -> bool:
    """Whether it may be an error text: at least three words."""
    return len(words.split()) >= 3


def _topics(words: str, device: str | None) -> list[Topic]:
    if len(words) > 6 and device is None:
        from vusniff.views.texts import pages

        if found := pages.topics(words):
            return found
    from vusniff.views import explain, glossary

    return [*explain.named(words, device), *(glossary.topics(words) if device is None else [])]


def _unknown(words: str, device: str | None) -> str:
    from vusniff.views import explain

    if not _is_text(words):
        return explain.unknown(words)
    from vusniff.views import texts

    shown = escape(words if len(words) <= SHOWN else words[:SHOWN] + " ...")
    near = texts.like(words)
    if near:
        return f"no known error text is in '{shown}'; the nearest are {' and '.join(repr(one) for one in near)}"
    return (
        f"no known error text is in '{shown}': give a whole line of QEMU, DPDK, libvhost-user, rust-vmm, virtiofsd, "
        "SPDK, Open vSwitch or Cloud Hypervisor, or the name of a request, feature, rule or phase"
    )
