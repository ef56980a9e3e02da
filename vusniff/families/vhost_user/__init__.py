"""The vhost-user family: a device's state and phases from the messages of one session."""
