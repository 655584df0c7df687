"""The durable queue: entry states, transitions and port; engines live in `store`, attempts in `delivery`."""
