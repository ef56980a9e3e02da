"""Ways of seeing: each folder is one.

A source writes what it saw to a capture. Of a protocol it must not know more than where a message ends. Start reading
in `proxy`.
"""
