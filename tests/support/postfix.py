"""A real Postfix in a folder of its own, on a loopback port; it knows nothing of the machine's own Postfix.

with Postfix({"relayhost": "[127.0.0.1]:2525"}) as postfix:
    smtplib.SMTP("127.0.0.1", postfix.port) ...
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from tests.programs import need_root, program
from tests.support.server import HOST, TURN_SECONDS, free_port

_T = TypeVar("_T")
PATIENCE_SECONDS: Final = 30.0
_MASTER: Final = """\
{host}:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
lmtp unix - - n - - lmtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
showq unix n - n - - showq
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """settings: lines of main.cf. Mail for example.net is kept in `mail(user)`, for the users that `users` names."""

    def __init__(self, settings: Mapping[str, str] | None = None, users: tuple[str, ...] = ("carol",)) -> None:
        need_root("Postfix changes its user")
        self._postfix = program("postfix")
        # Not pytest's folder: Postfix's processes are of another user, and must pass through.
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-postfix-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self._etc = self.folder / "etc"
        self._boxes = self.folder / "boxes"
        user = pwd.getpwnam("postfix")
        for folder in (self._etc, self.folder / "spool", self.folder / "lib", self._boxes):
            folder.mkdir()
        for folder in (self.folder / "lib", self._boxes):
            os.chown(folder, user.pw_uid, user.pw_gid)
        boxes = " ".join(f"{{{name}@example.net={name}/}}" for name in users)
        main = {
            "compatibility_level": "3.6",
            "queue_directory": str(self.folder / "spool"),
            "data_directory": str(self.folder / "lib"),
            "maillog_file": str(self.folder / "maillog"),
            "maillog_file_prefixes": str(self.folder),
            "inet_interfaces": HOST,
            "inet_protocols": "ipv4",
            "smtp_bind_address": HOST,
            "myhostname": "postfix.example.net",
            "mydestination": "",
            "local_recipient_maps": "",
            "alias_maps": "",
            "mynetworks": "127.0.0.0/8",
            "virtual_mailbox_domains": "example.net",
            "virtual_mailbox_base": str(self._boxes),
            "virtual_mailbox_maps": f"inline:{{ {boxes} }}",
            "virtual_minimum_uid": "1",
            "virtual_uid_maps": f"static:{user.pw_uid}",
            "virtual_gid_maps": f"static:{user.pw_gid}",
            "notify_classes": "",
            "smtpd_tls_loglevel": "1",
            "in_flow_delay": "0",
            "smtp_dns_support_level": "disabled",
        }
        lines = [f"{key} = {value}\n" for key, value in {**main, **(settings or {})}.items()]
        (self._etc / "main.cf").write_text("".join(lines))
        (self._etc / "master.cf").write_text(_MASTER.format(host=HOST, port=self.port))

    def __enter__(self) -> Self:
        try:
            subprocess.run([self._postfix, "-c", self._etc, "start"], check=True, capture_output=True, timeout=30)
        except subprocess.CalledProcessError as error:
            raise AssertionError(f"Postfix does not start: {error.stderr.decode()}\n{self.logged()}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(f"--- the log of Postfix\n{self.logged()}")
        pid = int((self.folder / "spool/pid/master.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        self.wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the end of Postfix")
        shutil.rmtree(self.folder)

    def logged(self) -> str:
        log = self.folder / "maillog"
        return log.read_text(errors="replace") if log.exists() else ""

    def mail(self, user: str = "carol") -> list[bytes]:
        """What lies in a user's Maildir, the oldest first."""
        files = (self._boxes / user / "new").glob("*")
        return [file.read_bytes() for file in sorted(files, key=lambda file: file.stat().st_mtime_ns)]

    def wait_for_mail(self, user: str = "carol", count: int = 1) -> list[bytes]:
        self.wait_for(lambda: len(self.mail(user)) >= count, f"{count} messages for {user}")
        return self.mail(user)

    def wait_for(self, found: Callable[[], _T], what: str) -> _T:
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            if result := found():
                return result
            time.sleep(TURN_SECONDS)
        raise AssertionError(f"after {PATIENCE_SECONDS:.0f} s, still not: {what}\n{self.logged()}")
