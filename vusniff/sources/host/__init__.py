"""What this machine knows about processes, sockets and descriptors, for all sources. It must not know captures."""
