"""Noun-verb commands, one module per noun, and the entry point; no rules and no wiring (that is `app`)."""
