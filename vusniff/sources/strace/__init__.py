"""Turns logs of strace into a capture.

`log` is the language of strace, `sockets` finds the sockets in it and `devices` the calls on devices, `choosing` says
which sockets are vhost-user, `arranging` who spoke when, and `strace` writes the capture. No line of a log raises.
Start reading in `strace`.
It must not know sessions.
"""
