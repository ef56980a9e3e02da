"""The kernel side of the probe, and what compiles, loads and attaches it.

Owns the C files, their layouts on this side (`records`), and questions to the running kernel (`kernel`, `btf`,
`offsets`). It must not know captures, messages or views. Start reading in `load`, then `probe.c`.
"""
