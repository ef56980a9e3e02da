"""Fuzzing: bytes that nobody would send, to everything that reads bytes.

`harnesses` is the table of what is tried; it needs nothing but vusniff. `guided` runs one of them under atheris, `run`
runs all of them (``make fuzz``) and repeats a single input. `hostile` makes whole captures with hostile fields,
`commands` runs every command on them. `corpus/` holds the inputs that every run of pytest replays.
"""
