"""The world as small Protocols and their values: clock, resolver, connect, fetch; no implementation."""
