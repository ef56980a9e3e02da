"""Turns logs of strace into a capture.

`log` is the language of strace, `sockets` finds the connections in it, `strace` writes the capture. No line of a log
raises. Start reading in `strace`.
It must not know sessions.
"""
