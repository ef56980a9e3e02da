"""Stands between two peers, passes everything on and records it. Start reading in `proxy`."""
