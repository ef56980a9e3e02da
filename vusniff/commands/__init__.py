"""One module a command: its arguments, and what runs them.

``add_arguments(parser)`` and ``run(args) -> exit status``; only the module of the command that is asked for is
imported. A command must not decode or judge by itself: that is done elsewhere, and put together here. Start reading in
`vusniff.cli`.
"""
