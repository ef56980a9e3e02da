"""Where rings stand, read from the memory that front-end and back-end share, without stopping anybody.

`split`, `packed`, `inflight` and `dirty` are the layouts: bytes -> values, pure. `access` finds the memory, `reader`
reads the rings of one device. It must not know messages: where rings are comes as a `vusniff.families.places.Places`.
Nothing here writes to memory, and nothing maps it: a mapped file that is truncated would kill us, and a hole that is
touched would be allocated in the guest. Start reading in `reader`.
"""
