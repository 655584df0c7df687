"""An account's limits at a server with two workers: exact, held, and released by proof."""

from __future__ import annotations

import asyncio
import json
import smtplib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.server import ADA, BOB, HOST, SECRET, Server, any_certificate

from gatepost.store.lmdb.standing import LmdbStanding

CONFIG = """
[domain."example.org"]
[limits.account]
messages = ["3/1h"]
"""
MESSAGE = f"From: {ADA}\r\nTo: {BOB}\r\nSubject: hello\r\n\r\nhello\r\n"


class Proxied(smtplib.SMTP):
    """A client that a proxy in front speaks for."""

    def __init__(self, server: Server, ip: str) -> None:
        self._ip = ip
        super().__init__(HOST, server.port("submission"), timeout=20.0)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        sock = socket.create_connection((host, port), timeout)
        sock.sendall(f"PROXY TCP4 {self._ip} {HOST} 40112 587\r\n".encode())
        return sock


@contextmanager
def logged_in(server: Server, ip: str) -> Iterator[Proxied]:
    client = Proxied(server, ip)
    client.starttls(context=any_certificate())
    client.login(ADA, SECRET)
    yield client
    client.close()


def send(client: smtplib.SMTP) -> str:
    """The code that ends it, and "held" for a message that is kept and not sent."""
    code, text = client.mail(ADA)
    if code == 250:
        client.rcpt(BOB)
        code, text = client.data(MESSAGE)
    else:
        client.rset()
    return "held" if b"kept but not sent" in text else str(code)


def shown(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.command("account", "show", ADA, "--json"))
    return found


def known_network(server: Server, network: str) -> None:
    """ada has logged in from there for a week."""

    async def remember() -> None:
        store = LmdbStanding(server.data / "standing")
        since = time.time() - 7 * 86400
        await store.remember("good", f"home:{ADA}|{network}", f"{since:.0f} {since:.0f}".encode(), since + 90 * 86400)
        store.close()

    asyncio.run(remember())


def test_the_limit_is_exact_over_workers_and_outlives_a_restart(tmp_path: Path) -> None:
    proxied = {"submission": "proxy_protocol = true"}
    with Server(tmp_path, ("submission",), config=CONFIG, listen=proxied, workers=2) as server:
        codes = []
        for number in range(5):
            with logged_in(server, f"203.0.113.{number}") as client:
                codes.append(send(client))
        assert codes.count("250") == 3
        server.stop()
        server.start()
        with logged_in(server, "203.0.113.9") as client:
            code, text = client.mail(ADA)
        assert code == 451
        assert b"Too many messages from your account (3 an hour are allowed). Try again in " in text
        assert shown(server)["limits"][0]["left"] == 0


def test_what_is_held_at_any_worker_is_released_when_the_account_proves_itself(tmp_path: Path) -> None:
    config = CONFIG + '[policy."sender.rate"]\naction = "hold"\n'
    proxied = {"submission": "proxy_protocol = true"}
    with Server(tmp_path, ("submission",), config=config, listen=proxied, workers=2) as server:
        known_network(server, "198.51.100.0/24")
        with logged_in(server, "198.51.100.7") as home, logged_in(server, "203.0.113.66") as thief:
            sent = [send(client) for client in (home, thief, home, thief, home, home, home, thief)]
        assert sent == ["250"] * 3 + ["held"] * 3 + ["451"] * 2
        server.wait_for_mail(BOB, 3)
        assert shown(server)["held_messages"] == 3
        with logged_in(server, "203.0.113.66"):
            pass
        assert shown(server)["held_messages"] == 3
        with logged_in(server, "198.51.100.77"):
            pass
        assert len(server.wait_for_mail(BOB, 5)) == 5
        (held,) = json.loads(server.command("queue", "list", "--state", "held", "--json"))
        server.command("queue", "release", held["id"])
        assert len(server.wait_for_mail(BOB, 6)) == 6
        assert shown(server)["held_messages"] == 0
        (event,) = [event for event in server.events("server") if event["details"]["what"] == "held messages released"]
        assert event["details"]["account"] == ADA
        assert event["details"]["count"] == 2
