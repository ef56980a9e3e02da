"""A rule about a request that only Acme's front-end sends."""

from __future__ import annotations

from vusniff.checks.finding import FINE, Key, Level, Rule, Said, Sayings, Side
from vusniff.checks.step import Step
from vusniff.families.vhost_user.protocol import Channels

BOTH = 0x3


def one_mode(step: Step) -> Sayings:
    """A front-end asks for fast or for quiet, never for both"""
    mode = step.values.get("mode", 0)
    if mode & BOTH != BOTH:
        return FINE
    return (Said(f"ACME_SET_MODE has mode {int(mode):#x}: fast and quiet exclude each other"),)


RULES = (
    Rule(
        "A01",
        "acme-mode",
        Level.MUST,
        Side.FRONTEND,
        "Acme device guide, chapter 4",
        one_mode,
        (Key(Channels.MAIN, 0x1000, False),),
    ),
)
