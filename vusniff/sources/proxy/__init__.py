"""Stands between two peers, passes everything on and records it.

`proxy` joins sockets to connections, `relay` passes one connection on, `recorder` writes what came by. It must not know
who is the front-end, nor what a message means. Start reading in `proxy`.
"""
