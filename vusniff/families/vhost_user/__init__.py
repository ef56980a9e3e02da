"""The vhost-user family: one row in `family`, and what it is made of.

`protocol` holds the numbers, `reading` what decides how bytes are read, `replies` which requests are answered, `state`
and `advance` the device, `phases` how a session is divided, `device` which type of device it is. Layouts and message
tables are not here: they arrive with the dissectors.
It must not know captures, sessions or views. Start reading in `family`.
"""
