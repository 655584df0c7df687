"""The servers that are compared, each set up in a temporary folder on loopback ports for the same work."""
