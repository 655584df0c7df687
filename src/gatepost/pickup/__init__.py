"""Hand it out: the POP3 session driver; the order of a session lives in `protocol`, the messages in `maildrop`."""
