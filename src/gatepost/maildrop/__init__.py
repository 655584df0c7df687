"""What is kept for an account: port, POP3's view, quotas; engines live in `store`."""
