"""Device types are deduced from what a session shows, each fact counted once."""

from __future__ import annotations

import pytest

from vusniff.families.vhost_user.device import Guess, Sure, deduce


def test_one_program_at_both_ends_is_one_reason() -> None:
    program = "dpdk-testpmd serves net"
    assert deduce(None, None, frozenset(), ("dpdk-testpmd", "dpdk-testpmd")) == Guess("net", Sure.LIKELY, (program,))


@pytest.mark.parametrize("programs", [(), ("bash", "qemu-system-x86")])
def test_nothing_telling_is_no_guess(programs: tuple[str, ...]) -> None:
    assert deduce(None, None, frozenset(), programs) is None
