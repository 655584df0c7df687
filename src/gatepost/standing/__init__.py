"""What is remembered between sessions: counters, grants, greylist, bans; port and rules, engines live in `store`."""
