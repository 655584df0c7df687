"""Octets to commands and replies and back, and the order of a session: sans-IO; drivers live above."""
