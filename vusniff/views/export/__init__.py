"""Captures in other forms: data, documents and diagrams, for those who do not have vusniff."""
