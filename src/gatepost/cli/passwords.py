"""How a command is given a password: typed twice on a terminal, or as a line of standard input."""

from __future__ import annotations

import getpass
import sys

from gatepost.cli.errors import USAGE, CommandError


def ask(address: str, from_stdin: bool) -> str:
    """The new password of `address`. Raises CommandError where there is nobody to ask."""
    if from_stdin:
        line = sys.stdin.readline()
        if not line:
            raise CommandError("standard input is empty; write the password to it, as one line", USAGE)
        return line.removesuffix("\n").removesuffix("\r")
    if not sys.stdin.isatty():
        raise CommandError("there is no terminal to ask for the password; use --password-stdin", USAGE)
    first = getpass.getpass(f"Password for {address}: ")
    if getpass.getpass("The same again: ") != first:
        raise CommandError("the two passwords differ; nothing was changed, try again")
    return first
