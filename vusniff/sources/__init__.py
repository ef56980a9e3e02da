"""Ways of seeing: each folder is one.

A source writes what it saw to a capture. Of a protocol it must not know more than where a message ends. `reporting`
is what all say of the capture that they write, `stopping` how a recording is ended. Start reading in `proxy`.
"""
