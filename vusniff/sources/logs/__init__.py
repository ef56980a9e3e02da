"""A source made of the logs of peers: what they say of messages, and the other lines.

A log gives facts, not bytes: what it tells of a message becomes a frame of kind TOLD. `prefix` takes off what loggers
put in front of a line, one module a format knows the words of its programs, `importing` writes the capture.
It must not know sessions. Start reading in `importing`, then in `reading`.
"""
