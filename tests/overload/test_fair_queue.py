"""A hundred thousand messages to one slow destination wait, and nobody else's mail waits with them."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

from tests.overload.visitor import Peer
from tests.support.server import Server
from tests.support.sink import Sink
from tests.support.system_clock import SystemClock

from gatepost.mail.address import Path as MailPath
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.ids import make_id
from gatepost.spool.model import NewEntry
from gatepost.spool.settings import SpoolSettings
from gatepost.store.data_folder import DataFolder
from gatepost.store.sqlite.spool_set import SpoolSet

WAITING = 100_000
AT_ONCE = 2000
PREFIX = b"Received: by mx.example.org\r\n"
BODY = b"From: bulk@example.org\r\nSubject: one of many\r\n\r\nhello\r\n"
PROMPT_SECONDS = 10.0


async def fill(data: Path) -> None:
    """A spool as it lies there after a mailing to one place."""
    spool = SpoolSet.open(DataFolder(data).root, SpoolSettings(), SystemClock())
    now = time.time()
    bulk = MailPath("bulk", "example.org")

    async def add(number: int) -> None:
        content = spool.new_content()
        content.write(BODY)
        content.finish()
        envelope = Envelope(bulk, (Recipient(MailPath(f"member{number}", "slow.example")),))
        entry = NewEntry(
            id=make_id(int(now * 1000), number), envelope=envelope, received_at=now - 60, prefix=PREFIX,
            octets=len(PREFIX) + len(BODY), destinations=("slow.example",),
        )  # fmt: skip
        await spool.add(entry, content)

    for start in range(0, WAITING, AT_ONCE):
        await asyncio.gather(*(add(number) for number in range(start, start + AT_ONCE)))
    await spool.close()


def test_a_large_mailing_to_one_slow_destination_delays_nobody_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent, Sink() as quick:  # it takes connections only
        config = (
            '[domain."example.org"]\n[relay]\nnetworks = ["127.0.0.0/8"]\n'
            f'[route."slow.example"]\nto = "smtp://127.0.0.1:{silent.getsockname()[1]}"\n'
            f'[route."quick.example"]\nto = "smtp://{quick.address}"\n'
        )
        server = Server(tmp_path, ("mx",), config=config)
        asyncio.run(fill(server.data))
        with server:
            silent.settimeout(20.0)
            held = silent.accept()[0]  # the mailing is being delivered
            began = time.monotonic()
            for number in range(3):
                with Peer(server) as peer:
                    peer.reply()
                    peer.say(b"EHLO client.example.net\r\n")
                    peer.say(b"MAIL FROM:<carol@example.net>\r\n")
                    assert peer.say(b"RCPT TO:<dave@quick.example>\r\n").startswith(b"250")
                    content = b"From: carol@example.net\r\nSubject: %d\r\n\r\nhello\r\n" % number
                    assert peer.data(content).startswith(b"250")
                quick.wait_for(number + 1)
            assert time.monotonic() - began < PROMPT_SECONDS
            waiting = server.command("queue", "list", "--json").count('"id"')
            assert waiting > 0
            held.close()
            server.kill()  # the silent peer would hold up its farewell


def test_a_large_mailing_does_not_delay_somebody_else_who_writes_to_the_same_destination(tmp_path: Path) -> None:
    with Sink() as hop:
        config = (
            '[domain."example.org"]\n[relay]\nnetworks = ["127.0.0.0/8"]\n'
            f'[route."slow.example"]\nto = "smtp://{hop.address}"\n'
        )
        server = Server(tmp_path, ("mx",), config=config)
        asyncio.run(fill(server.data))
        with server:
            hop.wait_for(1)
            with Peer(server) as peer:
                peer.reply()
                peer.say(b"EHLO client.example.net\r\n")
                peer.say(b"MAIL FROM:<carol@example.net>\r\n")
                assert peer.say(b"RCPT TO:<dave@slow.example>\r\n").startswith(b"250")
                before = len(hop.taken)
                assert peer.data(b"From: carol@example.net\r\nSubject: hello\r\n\r\nhello\r\n").startswith(b"250")
            server.wait_for(lambda: place_of("carol@example.net", hop), "it is delivered", 60)
            ahead = place_of("carol@example.net", hop) - before
            assert ahead < WAITING / 50, f"{ahead} of the mailing went first"
            server.kill()  # there is no need to wait for the rest


def place_of(reverse_path: str, hop: Sink) -> int:
    """How many were taken before the first from there, and it; 0: none was taken."""
    return next((place for place, taken in enumerate(hop.taken, 1) if taken.reverse_path == reverse_path), 0)
