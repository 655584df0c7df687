"""Domains, logins, credentials, aliases, lists and authentication over a port; engines live in `store`."""
