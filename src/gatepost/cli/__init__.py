"""Noun-verb commands, one module per noun, and the entry point; no rules and no wiring (that is `app`)."""

from gatepost.cli.entry import main

__all__ = ["main"]
