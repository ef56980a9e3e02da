"""The capture file: pcapng in, pcapng out, and the columns that everything behind it reads.

Owns blocks and options (`pcapng`), what ours say (`facts`, `packet`), the writer, the reader and its index. It knows
where the header of a message is and nothing of sessions. It must not know sources or views. Start reading in `facts`
for what a file holds, in `scan` for how it is read (`interfaces`: which connections; `other_packets`: what is not
common), in `writer` for how it is written (`written`: which connections; `blocks`: what is in a block; `waiting`: what
a full or failing disk does).
"""
