"""What a protocol is: header and framing, channels, pairing, state, phases, words. Pure: no input or output."""
