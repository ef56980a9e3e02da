"""Giving up rights for good: for processes of ours that handle what others have made.

Knows no command. Who is chosen, and why, is said where it is done.
"""

from __future__ import annotations

import ctypes
import os

from vusniff.values import dataclass

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_SIGKILL = 9


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who is not root."""

    uid: int
    gid: int


NOBODY = User(65534, 65534)


def drop(user: User | None) -> None:
    """Become this user, and give up all capabilities. Raises OSError."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    libc = ctypes.CDLL(None, use_errno=True)
    # capset(2): version 3, ourselves; effective, permitted and inheritable, twice 32 bits, all empty. What is not
    # permitted any more is not ambient either.
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def shut_off() -> None:
    """Nobody may look into this process, others of its user neither, nor does a core dump hold its memory; and it ends
    when its parent does."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
