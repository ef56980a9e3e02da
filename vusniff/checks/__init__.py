"""Conformance rules and known interoperability traps: what is wrong in a session, whose fault it is, and the evidence.

Pure: fed with messages and the states before and after them, gives findings. It must not know files or screens.
Start reading in `table`, which lists the rules, then in `step`, which is what a rule sees.
"""
