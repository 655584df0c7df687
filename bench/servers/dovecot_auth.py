"""Dovecot as Postfix's judge of logins: what most people run beside it. Not here: IMAP or POP3."""

from __future__ import annotations

import subprocess
from pathlib import Path

from argon2 import PasswordHasher, Type

from bench.processes import end, wait_until
from bench.servers.server import LOCAL, PASSWORD, find_program
from gatepost.accounts.credentials import ARGON2_KIB, ARGON2_PASSES

_CONFIG = """\
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
protocols =
ssl = no
auth_mechanisms = plain login
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = scheme=ARGON2ID {folder}/passwords
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={folder}
}}
service auth {{
  unix_listener {socket} {{
    mode = 0666
  }}
}}
"""


class DovecotAuth:
    """Dovecot with one account whose password is hashed as Gatepost hashes it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.socket = folder / "auth"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        program = find_program("dovecot")
        if program is None:
            raise OSError("Dovecot, which judges logins for Postfix, is not installed")
        self._folder.mkdir()
        self._folder.chmod(0o755)
        hashed = PasswordHasher(ARGON2_PASSES, ARGON2_KIB, 1, type=Type.ID).hash(PASSWORD)
        (self._folder / "passwords").write_text(f"{LOCAL}:{{ARGON2ID}}{hashed}\n")
        config = self._folder / "dovecot.conf"
        config.write_text(_CONFIG.format(folder=self._folder, socket=self.socket))
        self._process = subprocess.Popen([program, "-F", "-c", config])
        wait_until(self.socket.exists, "dovecot")

    def stop(self) -> None:
        if self._process is not None:
            end(self._process)
