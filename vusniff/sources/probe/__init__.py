"""Records running peers by an eBPF program, without touching them.

`probe` reads the kernel's ring buffer, `sends` puts sends in order, `links` makes connections of sockets, `endings`
says which have ended. It must not know who is the front-end, nor what a message means. Start reading in `probe`.
"""
