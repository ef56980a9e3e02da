"""From evidence to steps: sessions, the timeline of a capture, and how two sessions compare. Rules are not here."""
