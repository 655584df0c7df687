"""The server that the manual's examples look at: its configuration, accounts, one message that waits, and a record."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
from tests.seal.scene import pgp
from tests.support.clock import HandClock
from tests.support.dns_server import DnsServer

from gatepost.accounts.model import Account
from gatepost.audit.event import Event, EventClient
from gatepost.audit.writer import AuditWriter
from gatepost.mail.address import parse_mailbox
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.ids import make_id
from gatepost.spool.model import Hold, NewEntry, Settlement, State
from gatepost.spool.settings import SpoolSettings
from gatepost.standing.grants import Grant, Held
from gatepost.store.data_folder import prepare
from gatepost.store.lmdb.standing import LmdbStanding
from gatepost.store.sqlite.accounts import SqliteAccounts
from gatepost.store.sqlite.spool import SqliteSpool

TEN = 1_795_514_400.0  # 2026-11-24 10:00:00 UTC
PREFIX = "01M86FYZ80"  # of the IDs made then
WAITING = PREFIX + "A1B2C3D4E5F6G7H8"
KEPT = PREFIX + "KEPT000000000000"
REFUSED = PREFIX + "RE1AYDEN1ED00000"
DELIVERED = PREFIX + "DE11VERED0000000"
SESSIONS = tuple(f"{PREFIX}S00000000000000{number}" for number in range(3))
HOST = "mx.example.org"
FOUND = "prize.exe looks like a program"
REPLY = "451 4.4.1 no connection with mx.partner.example[192.0.2.25]:25: timed out"

CONFIGURATION = """\
hostname   = "mx.example.org"
data       = "data"
postmaster = "ada@example.org"
workers    = 2

[[listen]]
address = "127.0.0.1:2525"
service = "mx"
[[listen]]
address = "127.0.0.1:2587"
service = "submission"
[[listen]]
address = "127.0.0.1:2995"
service = "pop3s"

[domain."example.org"]
[domain."example.net"]
relay_to = "smtp://10.0.0.5:25"

[relay.pop_before_smtp]
enabled  = true
networks = ["192.0.2.0/24"]
"""


def build(folder: Path) -> Path:
    """The configuration file; everything else is below its folder."""
    file = folder / "gatepost.toml"
    file.write_text(f'{CONFIGURATION}\n[dns]\nresolvers = ["{_resolver()}"]\n')
    data = prepare(folder / "data")
    store = SqliteAccounts(data.accounts)
    for name in ("ada", "bob"):
        store.put(Account(f"{name}@example.org", created=TEN - 86400))
    store.close()
    asyncio.run(_fill_spool(folder / "data"))
    asyncio.run(_fill_standing(data.standing))
    _fill_record(data.audit)
    for address, name in (("judge@court.example", "judge.asc"), ("ada@example.org", "ada.asc")):
        (folder / name).write_bytes(pgp(address).key.material)
    os.environ.pop("GATEPOST_CONFIG", None)
    return file


_DNS: list[tuple[DnsServer, AbstractContextManager[DnsServer]]] = []


def _resolver() -> str:
    """The address of a DNS in which our domains are; one in each test process."""
    if not _DNS:
        mx = {"MX": [f"10 {HOST}."]}
        zone = {
            HOST: {"A": ["192.0.2.1"], "TXT": ["v=spf1 a -all"]},
            "1.2.0.192.in-addr.arpa": {"PTR": [f"{HOST}."]},
            "example.org": {**mx, "TXT": ["v=spf1 mx -all"]},
            "example.net": mx,
        }
        server = DnsServer(zone)
        serving = server.in_thread()
        serving.__enter__()  # for as long as the process lives
        _DNS.append((server, serving))
    return _DNS[0][0].address


async def _fill_spool(data: Path) -> None:
    clock = HandClock(TEN)
    spool = SqliteSpool.open(data, "0", SpoolSettings(), clock)
    content = spool.new_content()
    content.write(b"From: ada@example.org\r\nTo: grace@partner.example\r\nSubject: Minutes\r\n\r\nAs discussed.\r\n")
    content.finish()
    recipients = (Recipient(parse_mailbox("grace@partner.example")),)
    envelope = Envelope(reverse_path=parse_mailbox("ada@example.org"), recipients=recipients)
    entry = NewEntry(
        id=WAITING, envelope=envelope, received_at=TEN, prefix=b"", octets=content.octets,
        destinations=("partner.example",), login="ada@example.org", client="192.0.2.61",
    )  # fmt: skip
    await spool.add(entry, content)
    await spool.lease(TEN, 1)
    clock.at = TEN + 30
    await spool.settle([Settlement(WAITING, 0, State.DEFERRED, TEN + 330, REPLY)])
    content = spool.new_content()
    content.write(b"From: news@bulk.example\r\nTo: bob@example.org\r\nSubject: Prize\r\n\r\nSee the attached file.\r\n")
    content.finish()
    envelope = Envelope(parse_mailbox("news@bulk.example"), (Recipient(parse_mailbox("bob@example.org")),))
    entry = NewEntry(
        id=KEPT, envelope=envelope, received_at=TEN, prefix=b"", octets=content.octets, destinations=("local",),
        client="198.51.100.9", held_by=Hold.QUARANTINE, hold_reason=f"content.scan: {FOUND}",
    )  # fmt: skip
    await spool.add(entry, content)
    await spool.close()


async def _fill_standing(folder: Path) -> None:
    """A grant that still counts: commands look at the true time."""
    standing = LmdbStanding(folder)
    now = time.time()
    grant = Grant("bob@example.org", f"{PREFIX}GRANTED000000000", now - 300, now + 1500, "pop3s")
    await standing.remember("grant", "192.0.2.44", msgspec.json.encode(Held((grant,))), now + 86400)
    standing.close()


class _Ids:
    def __init__(self) -> None:
        self._made = 0

    def new(self) -> str:
        self._made += 1
        return make_id(int(TEN * 1000), self._made)


def _fill_record(audit: Path) -> None:
    clock = HandClock(TEN)
    writer = AuditWriter(audit, HOST, 0, clock, _Ids())

    def told(kind: Any, **fields: Any) -> None:
        clock.at += 0.25
        writer.record(Event(kind, **fields))

    user = EventClient("192.0.2.61", 40112, tls="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384")
    stranger = EventClient("198.51.100.7", 51234)
    ada: dict[str, Any] = {
        "session": SESSIONS[0], "service": "submission", "client": user, "helo": "[192.0.2.61]",
        "login": "ada@example.org",
    }  # fmt: skip
    told("auth", **ada, reply="235 2.7.0 Authentication successful", details={"mechanism": "SCRAM-SHA-256"})
    for event_id, recipient in ((WAITING, "grace@partner.example"), (DELIVERED, "bob@example.org")):
        told("smtp.message", **ada, id=event_id, sender="ada@example.org", recipients=(recipient,), octets=86,
             verdicts=[_passed(name) for name in ("tls.required", "auth.required", "sender.login", "relay")],
             reply=f"250 2.0.0 Message accepted ({event_id})", took_ms=12)  # fmt: skip
    told("smtp.session", **ada, id=SESSIONS[0], verdicts=[_passed("client.connections")], took_ms=900,
         dialogue=["S: 220 mx.example.org ESMTP", "C: EHLO [192.0.2.61]", "S: 250-mx.example.org"],
         details={"messages": 2})  # fmt: skip
    scan = {"check": "content.scan", "mode": "enforce", "verdict": "quarantine", "reason": FOUND}
    told("smtp.message", session=SESSIONS[2], service="mx", client=EventClient("198.51.100.9", 40025), id=KEPT,
         helo="mail.bulk.example", sender="news@bulk.example", recipients=("bob@example.org",), octets=88,
         verdicts=[_passed("relay"), scan], reply=f"250 2.0.0 Message accepted ({KEPT})",
         details={"held": "quarantine"})  # fmt: skip
    told("delivery.attempt", message=DELIVERED, sender="ada@example.org", recipients=("bob@example.org",),
         reply="250 2.1.5 delivered", took_ms=4,
         details=_attempt("local", "delivered", "bob@example.org", "250 2.1.5 delivered"))  # fmt: skip
    relay = {
        "check": "relay", "mode": "enforce", "verdict": "reject",
        "reason": "far.example is not ours, and the peer may not relay",
        "facts": {"forward_path": "somebody@far.example", "resolution": "foreign"},
    }  # fmt: skip
    refusal = f"550 5.7.1 Relaying denied: log in, or send to an address of this server ({REFUSED})"
    told("smtp.message", session=SESSIONS[1], service="mx", client=stranger, helo="stranger.example.net", id=REFUSED,
         sender="stranger@example.net", verdicts=[_passed("sender.syntax"), _passed("recipient.syntax"), relay],
         details={"refused": [{"recipient": "somebody@far.example", "reply": refusal}], "ended": "QUIT"})  # fmt: skip
    told("smtp.session", session=SESSIONS[1], service="mx", client=stranger, helo="stranger.example.net",
         id=SESSIONS[1], dialogue=["S: 220 mx.example.org ESMTP", "C: EHLO stranger.example.net"],
         took_ms=400, details={"messages": 0})  # fmt: skip
    clock.at += 30
    told("delivery.attempt", message=WAITING, sender="ada@example.org", recipients=("grace@partner.example",),
         reply=REPLY, took_ms=30000,
         details=_attempt("partner.example", "deferred", "grace@partner.example", REPLY))  # fmt: skip
    writer.close()


def _passed(name: str) -> dict[str, str]:
    return {"check": name, "mode": "enforce", "verdict": "pass"}


def _attempt(destination: str, verdict: str, recipient: str, reply: str) -> dict[str, Any]:
    result = {"recipient": recipient, "verdict": verdict, "reply": reply, "failures": 0}
    return {"destination": destination, "verdict": verdict, "results": [result]}
