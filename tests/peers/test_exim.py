"""Exim as a client, with every check of ours at its default: as a stranger, and as a user that submits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.exim import Exim
from tests.support.server import ADA, BOB, SECRET, Server

STRANGER = "stranger@example.net"
LOGIN = (ADA, SECRET)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server"), ("mx", "submission", "submissions"), top="trusted = []\n") as server:
        yield server


def content(sender: str, subject: str) -> bytes:
    """As programs hand it over: Exim adds Date and Message-ID."""
    return f"From: {sender}\nTo: somebody\nSubject: {subject}\n\nHello from Exim.\n.\n..dots\n".encode()


@pytest.mark.parametrize("secure", ["starttls", "clear"])
def test_exim_sends_to_a_local_recipient_as_a_stranger(server: Server, secure: str) -> None:
    tls = "hosts_require_tls = *" if secure == "starttls" else "hosts_avoid_tls = *"
    with Exim(f"port = {server.port('mx')}\n{tls}") as exim:
        log = exim.send(STRANGER, [ADA], content(STRANGER, f"exim {secure}"))
    assert 'C="250 2.0.0 Message accepted' in log
    mail = server.wait_for_subject(f"exim {secure}", ADA)
    assert mail.endswith(b"\n\nHello from Exim.\n.\n..dots\n")
    assert (b"with ESMTPS (" if secure == "starttls" else b"with ESMTP id") in mail


@pytest.mark.parametrize(
    ("service", "tls"), [("submission", "hosts_require_tls = *"), ("submissions", "protocol = smtps")]
)
def test_exim_logs_in_and_submits(server: Server, service: str, tls: str) -> None:
    subject = f"exim {service}"
    with Exim(f"port = {server.port(service)}\n{tls}\nhosts_require_auth = *", LOGIN) as exim:
        log = exim.send(ADA, [BOB, ADA], content(ADA, subject))
    assert log.count('C="250 2.0.0 Message accepted') == 2
    for account in (ADA, BOB):
        assert b"with ESMTPSA (" in server.wait_for_subject(subject, account)
