"""SASL mechanisms without I/O, server and client side; who may log in is decided by `accounts`."""
