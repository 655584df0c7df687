"""Detectors: who abuses the server, seen over a window of events. Each is a pure function; acting is others' work."""
