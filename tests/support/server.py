"""A real `gatepost serve` in a folder of its own, on free loopback ports, for tests that talk to it with programs.

    with Server(tmp_path, services=("mx", "submission", "pop3")) as server:
        smtplib.SMTP("127.0.0.1", server.port("mx")) ...
        server.wait_for_mail("ada@example.org", 1)

Its accounts are those of `tests.support.desk` (password PASSWORD); its domain is example.org. A test that fails sees
the server's log.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from tests.support.desk import PASSWORD, standard_accounts
from tests.support.dns_server import resolver_for_everybody

from gatepost.accounts.model import Found
from gatepost.store.data_folder import prepare
from gatepost.store.sqlite.accounts import SqliteAccounts

_T = TypeVar("_T")

HOST: Final = "127.0.0.1"
HOSTNAME: Final = "mx.example.org"
ADA: Final = "ada@example.org"
BOB: Final = "bob@example.org"
SECRET: Final = PASSWORD
PATIENCE_SECONDS: Final = 20.0
TURN_SECONDS: Final = 0.02
GATEPOST: Final = Path(sys.executable).parent / "gatepost"
SERVICES: Final = ("mx", "submission", "submissions", "pop3", "pop3s")
# Clients that leave this machine get ports above these; a port from here stays free between our look and the bind.
_PORTS: Final = range(20_000, 32_000)
_CHANCE: Final = random.SystemRandom()  # the common one begins anew with each test, in every process alike
_given: set[int] = set()


class ServerFailed(AssertionError):
    """The server did not do what the test waited for; the message ends with its log."""


def free_port(host: str = HOST) -> int:
    """A TCP port that nobody listens on, and that was not given out before: who asked for that may bind it later."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in _CHANCE.sample(_PORTS, 50):
        if port in _given:
            continue
        with socket.socket(family) as sock:
            try:
                sock.bind((host, port))
            except OSError:
                continue
            _given.add(port)
            return port
    raise OSError("no free port")


class Server:
    """One server and its data folder, which outlives a restart.

    services: each gets a listener on loopback. top: TOML lines before the first table. config: TOML after the
    listeners. listen: further keys of a service's listener, as TOML lines. accounts: what is there at the start.
    watched_by: makes of the words that start it those that start it under a program that watches it.
    """

    def __init__(
        self,
        folder: Path,
        services: Sequence[str] = SERVICES,
        *,
        top: str = "",
        config: str = '[domain."example.org"]\n',
        listen: Mapping[str, str] | None = None,
        accounts: Iterable[Found] | None = None,
        workers: int = 1,
        data: Path | None = None,
        environment: Mapping[str, str] | None = None,
        watched_by: Callable[[Sequence[str]], list[str]] = list,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.data = data or folder / "data"
        self.file = folder / "gatepost.toml"
        self.log = folder / "serve.log"
        self.ports = {service: free_port() for service in services}
        self._proxied = {service for service, lines in (listen or {}).items() if "proxy_protocol = true" in lines}
        self._environment = {**os.environ, "SSL_CERT_FILE": str(folder / "nobody.pem"), **(environment or {})}
        self._watched_by = watched_by
        self._process: subprocess.Popen[bytes] | None = None
        text = f'hostname = "{HOSTNAME}"\ndata = "{self.data}"\nworkers = {workers}\npostmaster = "{ADA}"\n{top}\n'
        for service, port in self.ports.items():
            text += f'[[listen]]\naddress = "{HOST}:{port}"\nservice = "{service}"\n{(listen or {}).get(service, "")}\n'
        if "[dns]" not in config:
            config += f'[dns]\nresolvers = ["{resolver_for_everybody()}"]\n'
        self.file.write_text(text + config)
        store = SqliteAccounts(prepare(self.data).accounts)
        for item in standard_accounts() if accounts is None else accounts:
            if "example.org" in item.address:
                store.put(item)
        store.close()

    # --- its life ------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            if error is not None:
                print(f"--- the log of the server\n{self.logged()}")

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Returns when it serves. Raises ServerFailed."""
        with self.log.open("ab") as log:
            words = self._watched_by([str(GATEPOST), "--config", str(self.file), "serve"])
            self._process = subprocess.Popen(words, stdout=log, stderr=log, env=self._environment)
        try:
            for service in self.ports:
                self.wait_for(lambda service=service: self._answers(service), f"{service} answers")  # type: ignore[misc]
        except ServerFailed:
            self.kill()
            raise

    def stop(self, seconds: float = 40.0) -> None:
        """SIGTERM, then its end; not running is well, an exit status other than 0 is not."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(f"not ended {seconds} s after SIGTERM\n{self.logged()}") from None
        self._process = None
        if status != 0:
            raise ServerFailed(f"exit status {status}\n{self.logged()}")

    def kill(self) -> None:
        """SIGKILL to everything of it, as at a power cut; no farewell."""
        process, self._process = self._process, None
        if process is None:
            return
        processes = self.processes(process.pid)
        for pid in [process.pid, *processes]:
            _kill(pid)
        process.wait()
        for pid in processes:
            _wait_gone(pid)

    def kill_supervisor(self, seconds: float = 40.0) -> None:
        """SIGKILL to the supervisor alone. Returns when all those below it have ended by themselves, or raises
        ServerFailed."""
        process, self._process = self._process, None
        assert process is not None
        below = self.processes(process.pid)
        process.kill()
        process.wait()
        for pid in below:
            _wait_gone(pid, seconds)

    def processes(self, of: int | None = None) -> list[int]:
        """PIDs below the supervisor: leaders and workers."""
        below: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            below.setdefault(int(fields[1]), []).append(int(stat.parent.name))
        found, look = [], [of or self.pid]
        while look:
            children = below.get(look.pop(), [])
            found += children
            look += children
        return found

    def workers(self) -> list[int]:
        """PIDs of the workers: those without children of their own."""
        everybody = self.processes()
        return [pid for pid in everybody if not self.processes(pid)]

    def logged(self) -> str:
        """What it has said on standard error, over all starts."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    # --- talking to it -------------------------------------------------------------------------------------------

    def port(self, service: str) -> int:
        return self.ports[service]

    @property
    def certificate(self) -> Path:
        """The self-signed one, for clients that check; it names localhost and 127.0.0.1 too."""
        return self.data / "tls" / "self-signed.pem"

    def connect(self, service: str = "mx", timeout: float = 10.0) -> socket.socket:
        """A bare connection."""
        return socket.create_connection((HOST, self.ports[service]), timeout)

    def command(self, *words: str, stdin: str = "", status: int = 0) -> str:
        """What `gatepost WORDS` prints. Raises ServerFailed for another exit status."""
        done = subprocess.run(
            [GATEPOST, "--config", str(self.file), *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=self._environment,
        )
        if done.returncode != status:
            raise ServerFailed(f"gatepost {' '.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout if status == 0 else done.stderr

    def _answers(self, service: str) -> bool:
        try:
            with self.connect(service) as sock:
                if service in self._proxied:
                    sock.sendall(b"PROXY UNKNOWN\r\n")
                if service.endswith("s"):
                    with any_certificate().wrap_socket(sock) as tls:
                        return bool(tls.recv(1))
                return service == "admin" or bool(sock.recv(1))
        except OSError:
            return False

    # --- what came of it -----------------------------------------------------------------------------------------

    def wait_for(self, found: Callable[[], _T], what: str, seconds: float = PATIENCE_SECONDS) -> _T:
        """What `found` returns, once it is true. Raises ServerFailed: it took too long, or the server is gone."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._process is not None and self._process.poll() is not None:
                raise ServerFailed(f"exit status {self._process.returncode}; waited for: {what}\n{self.logged()}")
            if result := found():
                return result
            time.sleep(TURN_SECONDS)
        raise ServerFailed(f"after {seconds:.0f} s, still not: {what}\n{self.logged()}")

    def mail(self, account: str = ADA) -> list[bytes]:
        """The messages in an account's Maildir, as they lie there, the oldest first."""
        user, _, domain = account.partition("@")
        maildir = self.data / "maildrops" / domain / user
        files = [path for folder in ("new", "cur") for path in (maildir / folder).glob("*")]
        return [path.read_bytes() for path in sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name))]

    def wait_for_mail(self, account: str = ADA, count: int = 1) -> list[bytes]:
        """The messages of an account, once there are `count`."""
        self.wait_for(lambda: len(self.mail(account)) >= count, f"{count} messages for {account}")
        return self.mail(account)

    def wait_for_subject(self, subject: str, account: str = ADA) -> bytes:
        """The message of an account with this Subject field, once it is there."""
        line = f"Subject: {subject}\n".encode()
        return self.wait_for(
            lambda: next((mail for mail in self.mail(account) if line in mail), b""), f"{subject!r} for {account}"
        )

    def events(self, kind: str = "", **fields: object) -> list[dict[str, Any]]:
        """What is on the record, oldest first; fields: values that an event's members must have."""
        found = []
        for file in sorted(self.data.glob("audit/*/*.jsonl")):
            for line in file.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    continue  # being written
                event = json.loads(line)
                if (not kind or event["kind"] == kind) and all(event.get(k) == v for k, v in fields.items()):
                    found.append(event)
        return sorted(found, key=lambda event: str(event["id"]))

    def wait_for_event(self, kind: str, **fields: object) -> dict[str, Any]:
        """The last event that is so."""
        return self.wait_for(lambda: self.events(kind, **fields), f"an event {kind} {fields}")[-1]


def any_certificate() -> ssl.SSLContext:
    """A client's context that takes what it is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def event_id(reply: bytes | str) -> str:
    """The ID at the end of a reply."""
    text = reply.decode() if isinstance(reply, bytes) else reply
    found = re.search(r"\(([0-9A-HJKMNP-TV-Z]{26})\)", text)
    assert found, f"no event ID in {text!r}"
    return found[1]


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _wait_gone(pid: int, seconds: float = 10.0) -> None:
    """A killed process holds its locks until it is gone."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state in "ZX":
            return
        time.sleep(TURN_SECONDS)
    raise ServerFailed(f"process {pid} is still there after {seconds:.0f} s")
