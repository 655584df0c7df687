"""A real Exim that sends one message and ends: its own configuration, spool and log in a folder; no daemon, no queue.

with Exim(folder, transport) as exim: exim.send("ada@example.org", ["bob@example.org"], octets)
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from shutil import chown, rmtree
from types import TracebackType
from typing import Final, Self

from tests.programs import need_root, unpacked

PATIENCE_SECONDS: Final = 20.0
# Exim gives up its rights for a user of its own; the packages' scripts, which make that user, have not run.
USER: Final = "nobody"
_CONFIGURATION: Final = """\
exim_path = {exim}
exim_user = {user}
exim_group = nogroup
spool_directory = {spool}
log_file_path = {spool}/%slog
primary_hostname = client.example.net
local_interfaces = 127.0.0.1
keep_environment =
trusted_users = root
never_users =
disable_ipv6 = true
queue_run_in_order = true
tls_advertise_hosts =

begin acl

begin routers
ours:
  driver = manualroute
  domains = *
  route_list = * 127.0.0.1
  self = send
  transport = smtp

begin transports
smtp:
  driver = smtp
  helo_data = client.example.net
  allow_localhost = true
  message_linelength_limit = 998
{transport}

begin retry
*  *  F,1h,15m

begin authenticators
{authenticators}
"""
_PLAIN: Final = "plain:\n  driver = plaintext\n  public_name = PLAIN\n  client_send = ^{user}^{password}\n"


class Exim:
    """transport: options of its smtp transport, as the port. login: address and password."""

    def __init__(self, transport: str, login: tuple[str, str] | None = None) -> None:
        need_root("Exim changes its user")
        self._exim = unpacked("usr/sbin/exim4")
        # Not pytest's folder: Exim's delivery is of another user, and must pass through.
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-exim-"))
        self.folder.chmod(0o755)
        self._spool = self.folder / "spool"
        self._spool.mkdir()
        chown(self._spool, USER, "nogroup")
        self._file = self.folder / "exim.conf"
        authenticators = _PLAIN.format(user=login[0], password=login[1]) if login else ""
        options = "\n".join(f"  {line.strip()}" for line in transport.strip().splitlines())
        text = _CONFIGURATION.format(
            exim=self._exim, user=USER, spool=self._spool, transport=options, authenticators=authenticators
        )
        self._file.write_text(text)
        self._file.chmod(0o644)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        rmtree(self.folder)

    def send(self, sender: str, recipients: Sequence[str], octets: bytes) -> str:
        """Its log, once the message has been delivered. Raises AssertionError where it was not."""
        # Told to be verbose it logs to standard error too, which the process that delivers keeps open to its end.
        words = [str(self._exim), "-C", str(self._file), "-v", "-odf", "-oi", "-f", sender, "--", *recipients]
        done = subprocess.run(words, input=octets, capture_output=True, timeout=PATIENCE_SECONDS, check=False)
        log = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode == 0, log
        assert log.endswith("\n  Completed\n"), log
        return log
