"""Plays one side of a recorded session against a real program, and says what it did differently.

`script` reduces a capture to what is played and refuses what cannot be; `objects` makes the descriptors anew; `link`
owns the sockets; `frontend` and `backend` play their side; `differences` compares. Knows nothing of how it is printed.
It must not know sources. Start reading in `script`.
"""
