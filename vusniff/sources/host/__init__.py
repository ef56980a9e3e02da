"""What this machine knows about processes, sockets and descriptors, for all sources.

It asks the kernel (/proc, sock_diag, stat) and believes nothing by its path alone. It must not know captures.
Start reading in `sockets`.
"""
