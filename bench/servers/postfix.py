"""Postfix, as fast as it goes: no name lookups, no delay, no limits per client, up to 300 processes, no log file."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from bench.processes import wait_until
from bench.servers.dovecot_auth import DovecotAuth
from bench.servers.server import HOST, LOCAL, Place, Purpose, Server, find_program

_MASTER = """\
{host}:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""


class Postfix(Server):
    """It needs root, as it changes its user."""

    name: ClassVar[str] = "postfix"
    about: ClassVar[str] = (
        "hold queue by an access table, smtpd_peername_lookup=no, disable_dns_lookups, in_flow_delay=0, per-client "
        "limits off, process limit 300, no log file; logins by Dovecot with the same argon2id hash, which it computes "
        "at every login, while Gatepost remembers a success for a while"
    )
    purposes: ClassVar[frozenset[Purpose]] = frozenset({"hold", "deliver", "relay", "idle", "tls", "login"})

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._boxes = place.folder / "boxes"
        self._etc = place.folder / "etc"
        self._logins = DovecotAuth(place.folder / "dovecot") if place.purpose == "login" else None

    @classmethod
    def version(cls) -> str | None:
        program = find_program("postconf")
        if program is None or os.geteuid() != 0:
            return None
        return subprocess.run(
            [program, "-h", "mail_version"], capture_output=True, text=True, check=True
        ).stdout.strip()

    @property
    def root(self) -> int:
        return int((self.place.folder / "spool/pid/master.pid").read_text())

    @property
    def roots(self) -> Sequence[int]:
        return [self.root] if self._logins is None else [self.root, self._logins.pid]

    @property
    def maildir(self) -> Path:
        return self._boxes / "ada"

    def _settings(self) -> dict[str, str]:
        place, user = self.place, pwd.getpwnam("postfix")
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": str(place.folder / "spool"),
            "data_directory": str(place.folder / "lib"),
            "inet_interfaces": HOST,
            "inet_protocols": "ipv4",
            "myhostname": "mx.example.org",
            "mydestination": "",
            "local_recipient_maps": "",
            "alias_maps": "",
            "mynetworks": "127.0.0.0/8" if place.purpose == "relay" else "192.0.2.255/32",
            "relayhost": f"[{HOST}]:{place.sink}",
            "virtual_mailbox_domains": "example.org",
            "virtual_mailbox_base": str(self._boxes),
            "virtual_mailbox_maps": f"inline:{{ {{{LOCAL}=ada/}} }}",
            "virtual_minimum_uid": "1",
            "virtual_uid_maps": f"static:{user.pw_uid}",
            "virtual_gid_maps": f"static:{user.pw_gid}",
            "notify_classes": "",
            "smtpd_peername_lookup": "no",
            "disable_dns_lookups": "yes",
            "smtp_dns_support_level": "disabled",
            "in_flow_delay": "0",
            "default_process_limit": "300",
            "smtpd_client_connection_count_limit": "0",
            "smtpd_client_connection_rate_limit": "0",
            "smtpd_client_message_rate_limit": "0",
            "smtpd_client_recipient_rate_limit": "0",
            "smtpd_error_sleep_time": "0",
            "smtpd_hard_error_limit": "1000000",
            "smtpd_soft_error_limit": "1000000",
            "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
            "message_size_limit": "52428800",
            "mailbox_size_limit": "0",
            "virtual_mailbox_limit": "0",
        }
        if place.purpose == "hold":
            settings["smtpd_recipient_restrictions"] = f"check_recipient_access inline:{{ {LOCAL}=HOLD }}"
        if self._logins is not None:
            settings |= {
                "smtpd_sasl_auth_enable": "yes",
                "smtpd_sasl_type": "dovecot",
                "smtpd_sasl_path": str(self._logins.socket),
                "smtpd_tls_auth_only": "yes",
            }
        if place.purpose in ("tls", "idle", "login"):
            settings |= {
                "smtpd_tls_security_level": "may",
                "smtpd_tls_cert_file": str(place.certificate),
                "smtpd_tls_key_file": str(place.key),
                "smtpd_tls_session_cache_database": f"btree:{place.folder}/lib/smtpd_scache",
                "tls_random_source": "dev:/dev/urandom",
            }
        return settings

    def start(self) -> None:
        if self._logins is not None:
            self._logins.start()  # OSError where there is no Dovecot
        user = pwd.getpwnam("postfix")
        for folder in (self._etc, self.place.folder / "spool", self.place.folder / "lib", self._boxes):
            folder.mkdir()
        for folder in (self.place.folder / "lib", self._boxes):
            os.chown(folder, user.pw_uid, user.pw_gid)
        (self._etc / "main.cf").write_text("".join(f"{key} = {value}\n" for key, value in self._settings().items()))
        (self._etc / "master.cf").write_text(_MASTER.format(host=HOST, port=self.port))
        program = find_program("postfix")
        assert program is not None
        done = subprocess.run([program, "-c", self._etc, "start"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"Postfix does not start: {done.stderr.strip()}")
        wait_until(self.answers, "postfix")

    def stop(self) -> None:
        if self._logins is not None:
            self._logins.stop()
        with suppress(OSError, ValueError):
            pid = self.root
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of Postfix")
