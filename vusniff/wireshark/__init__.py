"""What Wireshark needs of us: a dissector generated from the message tables, and an entry for live capture.

`lua` makes the dissector of the installed tables between the parts of ``runtime.lua``; `extcap` is the program that
Wireshark calls; `folders` is where both go. Start reading in `lua`.
It must not know what a capture says: Wireshark reads that by itself.
"""
