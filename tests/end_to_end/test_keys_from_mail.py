"""A real server keeps the key that comes with a stranger's mail aside, and uses it when somebody trusts it."""

from __future__ import annotations

import json
import smtplib
from pathlib import Path

from tests.dialogues.test_autocrypt import letter
from tests.support.server import ADA, HOST, Server

BOB = "bob@example.net"


def test_a_strangers_key_waits_in_the_store_until_somebody_trusts_it(tmp_path: Path) -> None:
    with Server(tmp_path, ("mx",)) as server:
        with smtplib.SMTP(HOST, server.port("mx")) as client:
            client.sendmail(BOB, [ADA], letter(BOB))

        def kept() -> list[dict[str, str]]:
            found: list[dict[str, str]] = json.loads(server.command("key", "list", "--json"))
            return found

        (row,) = server.wait_for(kept, "the key of the letter")
        assert (row["address"], row["state"], row["source"]) == (BOB, "unproven", "autocrypt")
        server.command("key", "trust", BOB)
        assert [(each["state"], each["source"]) for each in kept()] == [("used", "pinned")]
