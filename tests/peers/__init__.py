"""Real programs that speak vhost-user, started from the distribution's packages, and what they say of themselves."""
