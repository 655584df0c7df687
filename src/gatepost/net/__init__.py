"""Listeners, TLS contexts, workers, the supervisor and the DNS client: moves octets, decides nothing."""
