"""Send it on: routing, attempts, final delivery, retry schedule, DSN; the client session lives in `protocol`."""
