"""nodemailer as a client, with every check of ours at its default: as a stranger, and as a user that submits."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.programs import program, unpacked
from tests.support.server import ADA, BOB, HOST, HOSTNAME, SECRET, Server

STRANGER = "stranger@example.net"
SCRIPT = Path(__file__).with_name("nodemailer_send.js")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server"), ("mx", "submission", "submissions"), top="trusted = []\n") as server:
        yield server


def send(server: Server, service: str, sender: str, recipient: str, subject: str, **transport: Any) -> dict[str, Any]:
    """What nodemailer told; it verifies our certificate."""
    options = {
        "host": HOST,
        "port": server.port(service),
        "name": "client.example.net",
        "tls": {"ca": server.certificate.read_text(), "servername": HOSTNAME},
        **transport,
    }
    mail = {
        "from": f"Somebody <{sender}>",
        "to": recipient,
        "subject": subject,
        "text": "Grüße\n.\n..dots\n",
        "attachments": [{"filename": "data.bin", "content": "x" * 100_000}],
    }
    done = subprocess.run(
        [program("node"), SCRIPT],
        input=json.dumps({"transport": options, "mail": mail}).encode(),
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "NODE_PATH": str(unpacked("usr/share/nodejs/nodemailer").parent)},
    )
    assert done.stdout, done.stderr.decode()
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("secure", ["starttls", "clear"])
def test_nodemailer_sends_to_a_local_recipient_as_a_stranger(server: Server, secure: str) -> None:
    option = {"requireTLS": True} if secure == "starttls" else {"ignoreTLS": True}
    told = send(server, "mx", STRANGER, ADA, f"nodemailer {secure}", **option)
    assert told["accepted"] == [ADA], told
    mail = server.wait_for_subject(f"nodemailer {secure}", ADA)
    assert (b"with ESMTPS (" if secure == "starttls" else b"with ESMTP id") in mail


@pytest.mark.parametrize("service", ["submission", "submissions"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_nodemailer_logs_in_and_submits(server: Server, service: str, mechanism: str) -> None:
    subject = f"nodemailer {service} {mechanism}"
    told = send(
        server, service, ADA, BOB, subject,
        secure=service == "submissions", requireTLS=True, auth={"user": ADA, "pass": SECRET}, authMethod=mechanism,
    )  # fmt: skip
    assert told["accepted"] == [BOB], told
    assert b"with ESMTPSA (" in server.wait_for_subject(subject, BOB)


def test_nodemailer_with_a_wrong_password_is_told_so(server: Server) -> None:
    told = send(server, "submission", ADA, BOB, "never", requireTLS=True, auth={"user": ADA, "pass": "wrong"})
    assert told["response"].startswith("535 5.7.8")
