"""Web pages, HTTP API, metrics and health over the use cases; no rules of its own."""
