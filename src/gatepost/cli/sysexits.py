"""The exit codes of `sendmail` (sysexits.h), which the programs that call it understand."""

from __future__ import annotations

from typing import Final

OK: Final = 0
USAGE: Final = 64
DATA: Final = 65
NO_USER: Final = 67
NO_HOST: Final = 68
UNAVAILABLE: Final = 69
SOFTWARE: Final = 70
TEMPORARY: Final = 75
PROTOCOL: Final = 76
NOT_PERMITTED: Final = 77
CONFIGURATION: Final = 78


class SendmailError(Exception):
    """The message was not taken; says why and what to do. code: of sysexits.h."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def code_for(reply: int, text: str) -> int:
    """What a refusal of the server means to the caller. text: begins with the enhanced code (RFC 3463)."""
    if not 400 <= reply < 600:
        return PROTOCOL
    if reply < 500:
        return TEMPORARY
    if text.startswith(("5.1.2", "5.1.10", "5.4.")):
        return NO_HOST
    if text.startswith("5.1."):
        return NO_USER
    if text.startswith("5.7."):
        return NOT_PERMITTED
    if text.startswith(("5.3.4", "5.6.")):
        return DATA
    return UNAVAILABLE
