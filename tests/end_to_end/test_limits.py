"""An account's limits at a server with two workers: exact, held, and released by proof."""

from __future__ import annotations

import asyncio
import json
import smtplib
import socket
import time
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


def log_in(server: Server, ip: str) -> Proxied:
    client = Proxied(server, ip)
    client.starttls(context=any_certificate())
    client.login(ADA, SECRET)
    return client


def send(server: Server, ip: str = "203.0.113.66") -> str:
    """The code that ends it, and "held" for a message that is kept and not sent."""
    client = log_in(server, ip)
    code, text = client.mail(ADA)
    if code == 250:
        client.rcpt(BOB)
        code, text = client.data(MESSAGE)
    client.close()
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
        codes = [send(server, f"203.0.113.{n}") for n in range(5)]
        assert codes.count("250") == 3
        server.stop()
        server.start()
        client = log_in(server, "203.0.113.9")
        code, text = client.mail(ADA)
        assert code == 451
        assert b"Too many messages from your account (3 an hour are allowed). Try again in " in text
        client.close()
        assert shown(server)["limits"][0]["left"] == 0
        assert len(server.wait_for_mail(BOB, 3)) == 3


def test_what_is_held_at_any_worker_is_released_when_the_account_proves_itself(tmp_path: Path) -> None:
    config = CONFIG + '[policy."sender.rate"]\naction = "hold"\n'
    proxied = {"submission": "proxy_protocol = true"}
    with Server(tmp_path, ("submission",), config=config, listen=proxied, workers=2) as server:
        known_network(server, "198.51.100.0/24")
        sent = [send(server, "198.51.100.7") for _ in range(2)] + [send(server) for _ in range(2)]
        sent += [send(server, "198.51.100.7") for _ in range(4)]
        assert sent == ["250"] * 3 + ["held"] * 3 + ["451"] * 2
        server.wait_for_mail(BOB, 3)
        assert shown(server)["held_messages"] == 3
        log_in(server, "203.0.113.66").close()
        assert shown(server)["held_messages"] == 3
        log_in(server, "198.51.100.77").close()
        assert len(server.wait_for_mail(BOB, 5)) == 5
        (held,) = json.loads(server.command("queue", "list", "--state", "held", "--json"))
        server.command("queue", "release", held["id"])
        assert len(server.wait_for_mail(BOB, 6)) == 6
        assert shown(server)["held_messages"] == 0
        (event,) = [event for event in server.events("server") if event["details"]["what"] == "held messages released"]
        assert event["details"]["account"] == ADA
        assert event["details"]["count"] == 2
