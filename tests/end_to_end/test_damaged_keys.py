"""A server whose keys.db cannot be read: mail that needs no key goes on, what needs one is put off, and all is told."""

from __future__ import annotations

import smtplib
from pathlib import Path

from tests.support.server import ADA, HOST, SECRET, Server, any_certificate

BOB, EVE = "bob@partner.example", "eve@far.example"
CONFIG = """
[domain."example.org"]
[seal]
discovery = ["pinned", "imported"]
[[seal.rule]]
recipients = ["*@partner.example"]
mode = "required"
"""


def test_mail_that_needs_no_key_goes_on_and_what_needs_one_is_put_off(tmp_path: Path) -> None:
    server = Server(tmp_path, ("mx", "submissions"), config=CONFIG)
    keys = server.data / "keys.db"
    with server:
        assert keys.exists()
        server.stop()
        keys.write_bytes(b"not a database" * 1000)
        server.start()
        alert = server.wait_for_event("alert")
        assert "keys.db is no database of keys; restore a backup of it" in str(alert["details"])
        with smtplib.SMTP(HOST, server.port("mx")) as client:
            client.sendmail(EVE, [ADA], b"From: eve@far.example\r\nSubject: In-clear\r\n\r\nHello\r\n")
        assert b"Hello" in server.wait_for_subject("In-clear")
        with smtplib.SMTP_SSL(HOST, server.port("submissions"), context=any_certificate()) as client:
            client.login(ADA, SECRET)
            client.mail(ADA)
            assert client.rcpt(EVE)[0] == 250
            code, said = client.rcpt(BOB)
            assert (code, said[:5]) == (451, b"4.7.5")
            keys.unlink()  # as if a backup were put back
            code, said = client.rcpt(BOB)
            assert (code, said[:5]) == (550, b"5.7.5")
