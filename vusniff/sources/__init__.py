"""Ways of seeing: each folder is one.

Sources write what they saw to a capture, and know no protocol beyond where a message ends.
"""
