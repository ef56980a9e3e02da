"""Call stacks: from registers and a copy of a thread's stack to files, addresses and names.

Owns the unwinding by libdw (elfutils), which is optional. Start reading in `unwinder`, which runs in the source and has
its rights: it looks at /proc and opens files, and reads none of them. `worker` has no rights and reads them. Copies of
stacks go no further than there: they hold whatever the program had on its stack. Must not know sockets or messages.
"""
