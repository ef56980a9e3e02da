"""Construct behind one door: what a layout consists of, and values from bytes and bytes from values."""
