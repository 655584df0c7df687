"""The SQLite engine: spool, accounts and other durable tables of one machine; no Maildir, no counters."""
