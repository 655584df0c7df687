"""The DNS client: `DnsResolver` stands behind `ports.resolver`. dnspython encodes and decodes; sockets, retries and
cache are ours. What an answer means for mail is decided elsewhere."""
