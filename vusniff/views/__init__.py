"""What people and programs are shown: text, JSON, pages, reports, diagrams, the terminal view.

Owns words and their arrangement, and works nothing out: all of it comes from a timeline, live too. It must not know
sources. Start reading in `text` for a line, in `words` for a value, in `tui` for the screen, in `export` for files.
"""
