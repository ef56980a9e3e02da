"""Sessions that break one rule each, and their like that do not."""
