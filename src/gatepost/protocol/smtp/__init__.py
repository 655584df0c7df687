"""SMTP and LMTP without I/O: server and client session, command parser, data framing."""
