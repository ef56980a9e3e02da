"""One module a command: its arguments, and what runs them.

``add_arguments(parser)`` and ``run(args) -> exit status``; only the module of the command that is asked for is
imported. What a command does is elsewhere: here it is put together. Start reading in `vusniff.cli`.
"""
