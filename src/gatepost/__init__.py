"""Gatepost, a mail server that guards its gate: SMTP and POP3 with every security decision named and recorded.

The package root holds the version and re-exports nothing: import what you need from its sub-package.
"""

__version__ = "0.1.0.dev0"
