"""Turns logs of strace into a capture. Start reading in `strace`."""
