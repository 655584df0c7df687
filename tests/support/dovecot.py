"""A real Dovecot with IMAP on loopback, in a folder of its own, that takes any user with one password.

Its configuration ends with the lines that a test gives, so an example of the manual can be tried as it stands.
"""

from __future__ import annotations

import imaplib
import os
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.programs import need_root, program
from tests.support.certificates import self_signed_context
from tests.support.server import HOST, any_certificate, free_port

PASSWORD: Final = "what-dovecot-knows"
PATIENCE_SECONDS: Final = 20.0


class Dovecot:
    """Runs while it is entered. port: of IMAP, with STARTTLS."""

    def __init__(self, extra: str) -> None:
        need_root("Dovecot starts as root and becomes other users")
        self._program = program("dovecot")
        self._extra = extra
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        # Not below pytest's folder, which is closed to the users that Dovecot becomes.
        self._folder = tempfile.TemporaryDirectory(prefix="dovecot-")

    def __enter__(self) -> Self:
        folder = Path(self._folder.name)
        folder.chmod(0o755)
        mail = folder / "mail"
        mail.mkdir()
        mail.chmod(0o777)
        self_signed_context(folder, "localhost")  # it leaves certificate and key there
        config = folder / "dovecot.conf"
        config.write_text(_CONFIG.format(folder=folder, port=self.port, password=PASSWORD) + self._extra)
        self._process = subprocess.Popen([self._program, "-F", "-c", config], env={**os.environ, "LC_ALL": "C"})
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            with suppress(OSError, imaplib.IMAP4.error):
                imaplib.IMAP4(HOST, self.port, timeout=5).logout()
                return self
            time.sleep(0.05)
        log = self.logged()
        self.stop()
        raise AssertionError(f"Dovecot did not start: {log}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(f"--- the log of Dovecot\n{self.logged()}")
        self.stop()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE_SECONDS)
        self._folder.cleanup()

    def logged(self) -> str:
        log = Path(self._folder.name) / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def log_in(self, user: str, password: str = PASSWORD, *, tls: bool = True) -> bool:
        """Whether an IMAP client logs in."""
        client = imaplib.IMAP4(HOST, self.port, timeout=PATIENCE_SECONDS)
        try:
            if tls:
                client.starttls(any_certificate())
            client.login(user, password)
        except imaplib.IMAP4.error:
            return False
        finally:
            with suppress(OSError, imaplib.IMAP4.error):
                client.logout()
        return True


_CONFIG = """\
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
auth_verbose = yes
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{folder}/pair.pem
ssl_key = <{folder}/pair.pem
disable_plaintext_auth = no
auth_failure_delay = 0
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:{folder}/mail/%u
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={folder}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""
