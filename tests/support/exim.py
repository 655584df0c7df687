"""A real Exim that sends one message and ends: its own configuration, spool and log in a folder; no daemon, no queue.

with Exim(folder, transport) as exim: exim.send("ada@example.org", ["bob@example.org"], octets)
"""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from shutil import chown, copyfile, rmtree
from types import TracebackType
from typing import Final, Self

from tests.programs import need_root, unpacked

PATIENCE_SECONDS: Final = 20.0
USER: Final = "nobody"
# Debian's Exim is built for a user whom the package's script makes, and that has not run: libnss-wrapper shows it one.
BUILT_FOR: Final = "Debian-exim"
WRAPPER: Final = "libnss_wrapper.so"
_CONFIGURATION: Final = """\
exim_path = {exim}
exim_user = {user}
exim_group = nogroup
spool_directory = {spool}
log_file_path = {spool}/%slog
primary_hostname = client.example.net
local_interfaces = 127.0.0.1
keep_environment = LD_PRELOAD : NSS_WRAPPER_PASSWD : NSS_WRAPPER_GROUP
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
        program = unpacked("usr/sbin/exim4")
        # Not pytest's folder: Exim's delivery is of another user, and must pass through.
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-exim-"))
        self.folder.chmod(0o755)
        # Without the set-user-ID bit, with which it would be loaded without the wrapper when it calls itself.
        self._exim = Path(copyfile(program, self.folder / "exim4"))
        self._exim.chmod(0o755)
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
        self._environment = {"LD_PRELOAD": WRAPPER, **self._users()}

    def _users(self) -> dict[str, str]:
        """The machine's users and groups, and the one that it lacks; as libnss-wrapper wants to be told."""
        nobody = pwd.getpwnam(USER)
        lines = {
            "passwd": f"{BUILT_FOR}:x:{nobody.pw_uid}:{nobody.pw_gid}::/nonexistent:/bin/false\n",
            "group": f"{BUILT_FOR}:x:{nobody.pw_gid}:\n",
        }
        environment = {}
        for name, line in lines.items():
            file = self.folder / name
            file.write_text(Path("/etc", name).read_text() + line)
            file.chmod(0o644)
            environment[f"NSS_WRAPPER_{name.upper()}"] = str(file)
        return environment

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
        environment = {**os.environ, **self._environment}
        done = subprocess.run(
            words, input=octets, capture_output=True, timeout=PATIENCE_SECONDS, check=False, env=environment
        )
        log = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode == 0, log
        assert log.endswith("\n  Completed\n"), log
        return log
