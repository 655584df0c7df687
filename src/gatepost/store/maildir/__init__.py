"""The Maildir engine of the maildrop port; what POP3 makes of a maildrop lives in `protocol.pop3` and `pickup`."""
