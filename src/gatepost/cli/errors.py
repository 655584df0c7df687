"""How a command fails: one text on standard error that says what to do, and an exit code. Never a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Final

DONE: Final = 0
FAILED: Final = 1  # refused, or it did not work
USAGE: Final = 2  # wrong words on the command line
TRACE: Final = "GATEPOST_TRACE"


class CommandError(Exception):
    """A command cannot do what it was asked; the message says why and what to do. code: FAILED or USAGE."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def report(error: Exception) -> int:
    """Tells the person, and returns the exit code."""
    if os.environ.get(TRACE):
        traceback.print_exception(error)
    for line in _explained(error).split("\n"):
        print(f"gatepost: {line}", file=sys.stderr)
    return error.code if isinstance(error, CommandError) else FAILED


def _explained(error: Exception) -> str:
    if isinstance(error, CommandError) or _is_told(error):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the system'}: {error.strerror}; {_advice(error)}"
    return (
        f"this is a mistake in Gatepost itself ({type(error).__name__}: {error}); "
        f"run the command again with {TRACE}=1 in the environment, and report what it prints"
    )


def _advice(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "run this as root, or as the user that the server runs as"
    return "see that the disk, the path and its rights are fine"


def _is_told(error: Exception) -> bool:
    """Whether the part that raised it wrote its text for operators. Loaded late: most commands do not fail."""
    from gatepost.accounts.credentials import PasswordError
    from gatepost.accounts.port import AccountsError
    from gatepost.audit.event import RecordError
    from gatepost.config.problem import ConfigError
    from gatepost.maildrop.port import MaildropError
    from gatepost.net.listener import ListenError
    from gatepost.net.privileges import PrivilegeError
    from gatepost.net.tls_certificates import CertificateError
    from gatepost.seal.port import KeyStoreError
    from gatepost.spool.port import SpoolError
    from gatepost.standing.port import StandingError
    from gatepost.store.backup_target import BackupError
    from gatepost.store.data_folder import DataError

    return isinstance(error, (
        AccountsError, BackupError, CertificateError, ConfigError, DataError, KeyStoreError, ListenError, MaildropError,
        PasswordError, PrivilegeError, RecordError, SpoolError, StandingError,
    ))  # fmt: skip
