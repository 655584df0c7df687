"""Exim with `queue_only`: each message is made durable in its spool and stays there."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from typing import ClassVar

from bench.servers.server import FOREIGN, HOST, ProgramServer, Purpose, find_program

USER = "Debian-exim"
"""The user that Debian's Exim is built for; it does not start where nobody has that name."""


class Exim(ProgramServer):
    """A process for each connection. It needs root, as it changes its user."""

    name: ClassVar[str] = "exim"
    about: ClassVar[str] = (
        "queue_only, host_lookup empty, no ident, limits per connection off; after QUIT it waits for the client to "
        "close, so with one message a connection read its CPU, not its rate"
    )
    purposes: ClassVar[frozenset[Purpose]] = frozenset({"hold"})

    @classmethod
    def version(cls) -> str | None:
        program = find_program("exim4") or find_program("exim")
        if program is None or os.geteuid() != 0:
            return None
        try:
            pwd.getpwnam(USER)
        except KeyError:
            return None
        said = subprocess.run([program, "-bV"], capture_output=True, text=True, check=False).stdout
        found = re.search(r"Exim version (\S+)", said)
        return found[1] if found else None

    def start(self) -> None:
        program = find_program("exim4") or find_program("exim")
        assert program is not None
        user = pwd.getpwnam(USER)
        spool = self.place.folder / "spool"
        spool.mkdir()
        os.chown(spool, user.pw_uid, user.pw_gid)
        settings = self.place.folder / "exim.conf"
        settings.write_text(f"""\
primary_hostname = mx.example.org
exim_path = {program}
spool_directory = {spool}
log_file_path = {spool}/%slog
keep_environment =
local_interfaces = {HOST}
daemon_smtp_ports = {self.port}
host_lookup =
rfc1413_hosts =
tls_advertise_hosts =
queue_only
smtp_accept_max = 1000
smtp_accept_max_per_connection = 1000000
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = recipients
begin acl
recipients:
  deny recipients = {FOREIGN}
  accept
""")
        self.run([program, "-C", str(settings), "-bdf"])
