"""POP3 without I/O: server session, command parser, multi-line answers."""
