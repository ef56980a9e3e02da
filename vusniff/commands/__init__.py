"""One module a command: its arguments, and what runs them."""
