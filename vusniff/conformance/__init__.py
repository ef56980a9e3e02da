"""The conformance test: scripted scenarios against a real back-end or front-end, and what came of each.

A scenario is a row of pure data: what the specification says, the steps, what is expected (`scenario`). `trial` plays
one to a back-end, `frontend_trial` one to a front-end; `runner` starts, restarts and ends the peer. It must not know
commands, and rows must not hold code. Start reading in `scenario`, then in a table such as `negotiation`, then in
`trial`.
"""
