"""What a protocol is: header and framing, channels, pairing, state, phases, words. Pure: no input or output.

`family` says what a family brings, `registry` finds the installed ones. For all of them, `framing` cuts streams into
messages, `pairing` says which reply answers which request, and `phase` what a session is divided into. Each folder is
one family. It must not know captures, sessions or views. Start reading in `family`, then in `vhost_user.family`.
"""
