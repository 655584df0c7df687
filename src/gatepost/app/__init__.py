"""The wiring: the one place where the parts are built and joined."""
