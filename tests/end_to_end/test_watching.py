"""A server that is attacked: the attack is found in its record, stopped, and its postmaster and webhook hear of it."""

from __future__ import annotations

import json
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import Authority
from tests.support.server import ADA, HOSTNAME, Server

from gatepost.audit.event import Event
from gatepost.audit.writer import AuditWriter
from gatepost.net.clock import SystemClock, SystemIds

CONFIG = """
[domain."example.org"]
[policy."sender.domain"]
mode = "off"
[detectors.relaying]
attempts = 4
[alerts]
webhook = "https://127.0.0.1:{port}/hook"
webhook_token = "a-token"
webhook_private = true
"""


class Hook:
    """A web server on loopback that notes what is posted to it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.posted: list[tuple[str, str, Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.posted.append((self.path, self.headers["Authorization"], json.loads(body)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[Hook]:
    authority = Authority(tmp_path / "authority")
    made = Hook(authority.server_context("127.0.0.1"))
    yield made
    made.close()


def probe(server: Server) -> None:
    """What programs that look for open relays do."""
    with smtplib.SMTP("127.0.0.1", server.port("mx"), timeout=20) as client:
        for sender in ("a@probe.example", "b@probe.example"):
            for number in range(3):
                client.ehlo("probe.example")
                client.mail(sender)
                code, _ = client.rcpt(f"x@drop{number}.example")
                assert code == 550
                client.rset()


def test_an_attack_is_found_stopped_and_told(tmp_path: Path, hook: Hook) -> None:
    server = Server(
        tmp_path / "server",
        ("mx",),
        top="trusted = []",  # the attacker comes from this machine
        config=CONFIG.format(port=hook.port),
        environment={"SSL_CERT_FILE": str(tmp_path / "authority" / "root.pem")},
        workers=2,
    )
    with server:
        probe(server)
        (alert,) = server.wait_for(
            lambda: [e for e in server.events("alert") if "detector" in e["details"]], "an alert"
        )
        assert alert["details"]["pattern"] == "foreign recipients"
        assert alert["details"]["ban"] == ["127.0.0.1"]
        ban = server.wait_for_event("ban")
        assert (ban["details"]["what"], ban["details"]["event"]) == ("laid", alert["id"])
        with socket.create_connection(("127.0.0.1", server.port("mx")), 10) as sock:
            assert sock.recv(100).startswith(b"421 4.7.0 Your network is banned")

        (mail,) = server.wait_for_mail(ADA)
        message = message_from_bytes(mail, policy=policy.default)
        assert message["Subject"] == "[mx.example.org] relaying: 127.0.0.1"
        assert message["Auto-Submitted"] == "auto-generated"
        assert message["Return-Path"] == "<>"
        assert f"gatepost audit show {alert['id']}" in message.get_content()

        server.wait_for(lambda: hook.posted, "a post")
        ((path, token, body),) = hook.posted
        assert (path, token) == ("/hook", "Bearer a-token")
        assert [each["id"] for each in body["alerts"]] == [alert["id"]]

        server.wait_for(lambda: len(told(server)) == 2, "both ways told")
        assert "Attempts to relay" in server.command("audit", "report")

    with server:  # after a restart only what is new is told
        another = raised(server, "a test")
        mails = server.wait_for_mail(ADA, 2)
        server.wait_for(lambda: len(hook.posted) == 2, "a second post")
        assert [each["id"] for each in hook.posted[1][2]["alerts"]] == [another]
        assert message_from_bytes(mails[1], policy=policy.default)["Subject"] == "[mx.example.org] a test"


def raised(server: Server, what: str) -> str:
    """The ID of an alert that somebody else puts on the record."""
    writer = AuditWriter(server.data / "audit", HOSTNAME, 950, SystemClock(), SystemIds())
    event = Event("alert", details={"what": what})
    writer.record(event)
    writer.close()
    return event.id


def told(server: Server) -> list[dict[str, Any]]:
    return [event for event in server.events("server") if event["details"]["what"] == "alerts told"]
