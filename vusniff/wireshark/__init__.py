"""What Wireshark needs of us: a dissector generated from the message tables, and an entry for live capture."""
