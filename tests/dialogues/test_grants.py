"""POP-before-SMTP in dialogues: whoever logged in over POP3 may send from there for a while, as that account, and
nobody else may."""

from __future__ import annotations

import asyncio
import base64
from functools import partial
from typing import Any

import msgspec
import pytest
from tests.pickup.counter import ADA, Counter, talk
from tests.pickup.counter import Client as Reader
from tests.support.desk import PASSWORD, Client, Desk
from tests.support.memory_standing import MemoryStanding

from gatepost.accounts.credentials import with_app_password, with_password
from gatepost.accounts.model import Account
from gatepost.audit.event import Event, RecordError
from gatepost.gate.bans import GOOD, gateway_key
from gatepost.gate.grants import TABLE
from gatepost.policy.checks import command_allowed
from gatepost.standing.grants import GrantSettings
from gatepost.standing.port import Fact, StandingError, Table

BOB = "bob@example.org"
FAR = "someone@far.example"
HOME = "192.0.2.7"
WINDOW = 1800.0
SETTINGS = GrantSettings(enabled=True, window=WINDOW, networks=("192.0.2.0/24", "127.0.0.0/8", "2001:db8::/32"))
LOGIN_FIRST = "530 5.7.0 Authentication required: log in before you send"
OK = "250 2.1.0 Sender ok"
RCPT_OK = "250 2.1.5 Recipient ok"
DENIED = "550 5.7.1 Relaying denied: log in, or send to an address of this server"


def counter(**changes: Any) -> Counter:
    made = Counter(grants=SETTINGS, **changes)
    made.memory.put(BOB, b"Subject: one\r\n\r\nfirst\r\n")
    return made


async def read_mail(
    at: Counter, account: str = ADA, *, ip: str = HOME, tls: bool = True, password: str = PASSWORD
) -> Reader:
    """A POP3 session that has logged in, or tried to."""
    reader = at.connect("pop3s" if tls else "pop3", ip, tls=tls)
    await reader.line(f"USER {account}")
    await reader.line(f"PASS {password}")
    return reader


async def greet(at: Counter, service: str = "mx", ip: str = HOME, *, tls: bool = False, **more: Any) -> Client:
    client = at.desk.connect(service, ip, tls=tls, **more)
    await client.read()
    await client.say(b"EHLO device.example\r\n")
    return client


async def may_send(at: Counter, sender: str = ADA, *, service: str = "mx", ip: str = HOME, **more: Any) -> bool:
    """Whether mail from `sender` to somebody elsewhere is taken from there."""
    client = await greet(at, service, ip, tls=service != "mx", **more)
    await client.line(f"MAIL FROM:<{sender}>")
    accepted = (await client.line(f"RCPT TO:<{FAR}>")) == RCPT_OK
    client.hang_up()
    return accepted


def told(desk: Desk) -> list[str]:
    """What the record says of grants, in short."""
    return [f"{event.details['what']} {event.login}".rstrip() for event in desk.recorder.of("grant")]


def last(desk: Desk, what: str) -> Event:
    return [event for event in desk.recorder.of("grant") if event.details["what"] == what][-1]


# --- what it is for ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("service", "tls"), [("mx", False), ("mx", True), ("submission", True), ("submissions", True)])
async def test_whoever_read_mail_may_send_from_there_as_that_account(service: str, tls: bool) -> None:
    at = counter()
    await read_mail(at)
    client = await greet(at, service, tls=tls)
    assert await client.line(f"MAIL FROM:<{ADA}>") == OK
    assert await client.line(f"RCPT TO:<{FAR}>") == RCPT_OK
    await client.line("DATA")
    assert await client.say(b"From: ada@example.org\r\nBcc: x@far.example\r\nSubject: hi\r\n\r\nhi\r\n.\r\n") == [
        "250 2.0.0 Message accepted"
    ]
    entry, content = at.desk.spool.only
    assert entry.login == ADA
    assert content == b"From: ada@example.org\r\nSubject: hi\r\n\r\nhi\r\n"
    prefix = entry.prefix.decode()
    assert HOME not in prefix
    assert ("with ESMTPS (" if tls else "with ESMTP id ") in prefix  # no A: nobody has authenticated
    assert "Message-ID: <" in prefix
    (event,) = at.desk.recorder.of("smtp.message")
    (made, used) = at.desk.recorder.of("grant")
    assert event.login == used.login == made.login == ADA
    assert event.details["grant"] == used.details["grant"] == made.id
    assert used.message == event.id
    assert used.session == event.session
    assert made.client is not None
    assert made.client.ip == HOME


async def test_on_submission_a_grant_needs_tls_like_everybody() -> None:
    at = counter()
    await read_mail(at)
    client = await greet(at, "submission")
    assert await client.line(f"MAIL FROM:<{ADA}>") == "530 5.7.0 Must issue a STARTTLS command first"
    assert await client.line("STARTTLS") == "220 2.0.0 Ready to start TLS"
    await client.start_tls()
    await client.say(b"EHLO device.example\r\n")
    assert await client.line(f"MAIL FROM:<{ADA}>") == OK


async def test_an_old_device_may_write_paths_as_old_programs_do_where_somebody_read_mail() -> None:
    at = counter()
    before = await greet(at)
    assert (await before.line(f"mail from: {ADA}")).startswith("501 5.5.4 Syntax")
    await read_mail(at)
    client = await greet(at)
    assert await client.line(f"mail from: {ADA}") == OK
    assert await client.line(f"rcpt to:   {FAR}") == RCPT_OK


async def test_without_a_login_nothing_changes() -> None:
    at = counter()
    assert not await may_send(at, service="submission")
    assert not await may_send(at, "stranger@example.net")
    assert told(at.desk) == []


async def test_switched_off_a_login_is_a_login_and_no_more() -> None:
    at = Counter(grants=msgspec.structs.replace(SETTINGS, enabled=False))
    await read_mail(at)
    assert not await may_send(at)
    assert told(at.desk) == []
    assert at.desk.standing.recall_all(TABLE, 0.0) == []


async def test_what_limits_an_account_limits_its_grant() -> None:
    at = counter(policy={"command.allowed": command_allowed.Settings()})
    await read_mail(at)
    client = await greet(at)
    await client.line(f"MAIL FROM:<{ADA}>")
    assert await client.line("VRFY bob@example.org") == "250 2.1.5 <bob@example.org>"
    await client.line("RSET")
    assert (await client.line("VRFY bob@example.org")).startswith("252 ")


# --- whose sender --------------------------------------------------------------------------------------------------


async def test_a_neighbour_behind_the_same_address_is_a_stranger_whose_mail_to_us_comes_in() -> None:
    at = counter()
    await read_mail(at)
    client = await greet(at)
    assert await client.line("MAIL FROM:<neighbour@example.net>") == OK
    assert await client.line(f"RCPT TO:<{FAR}>") == DENIED
    assert await client.line(f"RCPT TO:<{ADA}>") == RCPT_OK
    event = last(at.desk, "not used")
    assert event.details["accounts"] == [ADA]
    assert event.sender == "neighbour@example.net"
    assert event.login == ""


async def test_the_null_sender_is_nobodys() -> None:
    at = counter()
    await read_mail(at)
    client = await greet(at)
    assert await client.line("MAIL FROM:<>") == OK
    assert await client.line(f"RCPT TO:<{FAR}>") == DENIED
    other = await greet(at, "submission", tls=True)
    assert await other.line("MAIL FROM:<>") == LOGIN_FIRST


async def test_another_account_of_ours_is_not_granted_with_it() -> None:
    at = counter()
    await read_mail(at)
    client = await greet(at)
    said = await client.line(f"MAIL FROM:<{BOB}>")
    assert said == "550 5.7.1 That sender is an address of this server: log in to use it"
    assert not await may_send(at, BOB, service="submission")


async def test_of_several_accounts_the_sender_chooses() -> None:
    at = counter()
    (await read_mail(at)).hang_up()
    (await read_mail(at, BOB)).hang_up()
    client = await greet(at)
    for sender, account in (("ada+shop@example.org", ADA), (BOB, BOB), ("info@example.org", BOB), (ADA, ADA)):
        assert await client.line(f"MAIL FROM:<{sender}>") == OK
        assert await client.line(f"RCPT TO:<{FAR}>") == RCPT_OK
        await client.line("RSET")
        assert last(at.desk, "used").login == account, sender
        assert at.desk.recorder.of("smtp.message")[-1].login == account
    assert await client.line("MAIL FROM:<neighbour@example.net>") == OK
    assert await client.line(f"RCPT TO:<{FAR}>") == DENIED


async def test_an_address_is_its_own_accounts_before_that_of_others_who_may_use_it() -> None:
    at = counter()
    bob = at.desk.accounts.find(BOB)
    assert isinstance(bob, Account)
    at.desk.accounts.put(msgspec.structs.replace(bob, send_as=(ADA,)))
    (await read_mail(at)).hang_up()
    at.desk.clock.at += 1
    (await read_mail(at, BOB)).hang_up()
    assert await may_send(at)
    assert last(at.desk, "used").login == ADA
    await at.desk.grants.revoke(ADA, "root")
    assert await may_send(at)
    assert last(at.desk, "used").login == BOB


async def test_in_a_relay_network_a_grant_changes_nothing() -> None:
    at = counter(relay_networks=("192.0.2.0/24",))
    await read_mail(at)
    assert await may_send(at)
    assert await may_send(at, "scanner@example.net")
    assert told(at.desk) == [f"made {ADA}"]
    assert at.desk.recorder.of("smtp.message")[-2].login == ""


async def test_a_grant_counts_for_its_transaction_only() -> None:
    at = counter()
    await read_mail(at)
    client = await greet(at)
    for end in ("RSET", "EHLO device.example"):
        await client.line(f"MAIL FROM:<{ADA}>")
        assert client.session.gate.facts.grant == ADA
        await client.line(end)
        assert client.session.gate.facts.grant == ""
    assert "EXPN" not in await client.line("EHLO device.example")
    assert await client.line("MAIL FROM:<x@example.net>") == OK
    assert await client.line(f"RCPT TO:<{FAR}>") == DENIED


async def test_a_login_goes_before_a_grant() -> None:
    at = counter()
    await read_mail(at)
    client = await greet(at, "submissions", tls=True)
    plain = base64.b64encode(f"\0{BOB}\0{PASSWORD}".encode()).decode()
    assert (await client.line(f"AUTH PLAIN {plain}")).startswith("235 ")
    assert await client.line(f"MAIL FROM:<{ADA}>") == "553 5.7.1 You may not send as this address; use one of your own"
    assert await client.line(f"MAIL FROM:<{BOB}>") == OK
    assert [each for each in told(at.desk) if "used" in each] == []


# --- where ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read_at", "sent_at", "counts"),
    [
        (HOME, HOME, True),
        (HOME, "192.0.2.8", False),
        (HOME, "::ffff:192.0.2.7", True),
        ("198.51.100.7", "198.51.100.7", False),  # in none of the networks
        ("2001:db8:0:1::7", "2001:db8:0:1::8", True),
        ("2001:db8:0:1::7", "2001:db8:0:2::7", False),
        ("127.0.0.1", "127.0.0.1", True),
    ],
)
async def test_a_grant_counts_at_its_address_of_ipv6_in_its_64(read_at: str, sent_at: str, counts: bool) -> None:
    at = counter()
    await read_mail(at, ip=read_at)
    assert await may_send(at, service="submissions", ip=sent_at) is counts


async def test_a_login_elsewhere_leaves_no_trace_in_the_record_of_grants() -> None:
    at = counter()
    await read_mail(at, ip="198.51.100.7")
    assert told(at.desk) == []


@pytest.mark.parametrize("by", ["login", "review"])
async def test_a_gateways_address_has_no_grants_and_loses_those_it_had(by: str) -> None:
    at = counter()
    await read_mail(at)
    await at.desk.standing.remember(GOOD, gateway_key(HOME), b"1", at.desk.clock.unix() + 86400)
    assert not await may_send(at)
    assert told(at.desk) == [f"made {ADA}"]
    if by == "review":
        await at.desk.grants.review()
        assert told(at.desk)[-1] == f"ended {ADA}"
        return
    await read_mail(at, BOB)
    assert told(at.desk)[-2:] == [f"ended {ADA}", f"refused {BOB}"]
    assert "gateway" in last(at.desk, "refused").details["why"]


async def test_a_client_that_a_proxy_names_has_its_own_grants_and_one_it_cannot_name_has_none() -> None:
    at = counter(trusted=("192.0.2.0/28",))
    await read_mail(at, ip="192.0.2.77")
    client = await greet(at, "mx", "192.0.2.1", xclient=True)
    await client.line("XCLIENT ADDR=192.0.2.77")
    await client.line("EHLO device.example")
    assert await client.line(f"MAIL FROM:<{ADA}>") == OK
    assert await client.line(f"RCPT TO:<{FAR}>") == RCPT_OK
    (await read_mail(at, ip="192.0.2.1")).hang_up()
    unnamed = await greet(at, "mx", "192.0.2.1", xclient=True)
    await unnamed.line("XCLIENT ADDR=[UNAVAILABLE]")
    await unnamed.line("EHLO device.example")
    await unnamed.line(f"MAIL FROM:<{ADA}>")
    assert await unnamed.line(f"RCPT TO:<{FAR}>") != RCPT_OK
    reader = at.connect("pop3s", "192.0.2.1", tls=True)
    gate = reader.session.gate
    gate.peer = msgspec.structs.replace(gate.peer, direct="192.0.2.1")  # PROXY UNKNOWN
    await reader.line(f"USER {BOB}")
    assert (await reader.line(f"PASS {PASSWORD}")).startswith("+OK")
    assert f"made {BOB}" not in told(at.desk)


# --- what makes none -----------------------------------------------------------------------------------------------


async def test_a_wrong_password_makes_no_grant() -> None:
    at = counter()
    await read_mail(at, password="a wrong password")
    assert not await may_send(at, service="submissions")
    assert told(at.desk) == []


async def test_a_login_that_got_no_maildrop_makes_no_grant() -> None:
    at = counter()
    first = await read_mail(at, ip="198.51.100.7")
    await read_mail(at)
    assert told(at.desk) == []
    first.hang_up()


@pytest.mark.parametrize("require_tls", [True, False])
async def test_on_loopback_a_login_in_clear_is_as_good(require_tls: bool) -> None:
    at = Counter(grants=msgspec.structs.replace(SETTINGS, require_tls=require_tls))
    await talk(f"""
        S: +OK mx.example.org POP3 server ready
        C: USER {ADA}
        S: +OK Send the password
        C: PASS {PASSWORD}
        S: +OK 3 messages (76 octets)
        C: QUIT
        S: +OK Goodbye
    """, at, ip="127.0.0.1")  # fmt: skip
    assert told(at.desk) == [f"made {ADA}"]


async def test_more_accounts_than_allowed_end_all_grants_of_the_address() -> None:
    at = Counter(grants=msgspec.structs.replace(SETTINGS, max_accounts_per_address=1))
    at.memory.put(BOB, b"x\r\n")
    await read_mail(at)
    assert await may_send(at)
    await read_mail(at, BOB)
    assert not await may_send(at)
    assert told(at.desk) == [f"made {ADA}", f"used {ADA}", f"ended {ADA}", f"refused {BOB}"]


async def test_a_login_that_cannot_be_recorded_makes_no_grant_and_opens_no_maildrop() -> None:
    at = counter()
    record = at.desk.recorder.record

    def broken(event: Event) -> None:
        if event.kind == "grant":
            raise RecordError("the disk is full")
        record(event)

    at.desk.recorder.record = broken  # type: ignore[method-assign]
    reader = at.connect("pop3s", HOME, tls=True)
    await reader.line(f"USER {ADA}")
    assert await reader.line(f"PASS {PASSWORD}") == "-ERR [SYS/TEMP] The record cannot be written, try again later"
    assert at.memory.locked == set()
    at.desk.recorder.record = record  # type: ignore[method-assign]
    assert not await may_send(at)


# --- its end -------------------------------------------------------------------------------------------------------


async def test_the_window_is_counted_from_the_last_login() -> None:
    at = counter()
    (await read_mail(at)).hang_up()
    at.desk.clock.at += WINDOW - 1
    assert await may_send(at)
    (await read_mail(at)).hang_up()
    at.desk.clock.at += WINDOW - 1
    assert await may_send(at)
    at.desk.clock.at += 1
    assert not await may_send(at, service="submissions")
    await at.desk.grants.review()
    await at.desk.grants.review()
    assert told(at.desk) == [f"made {ADA}", f"used {ADA}", f"prolonged {ADA}", f"used {ADA}", f"ended {ADA}"]
    end = last(at.desk, "ended")
    assert end.details["why"] == "the window is over"
    assert end.details["grant"] == last(at.desk, "made").id


async def test_an_end_in_the_middle_of_a_session_counts_from_the_next_message_on() -> None:
    at = counter()
    await read_mail(at)
    client = await greet(at, "submissions", tls=True)
    assert await client.line(f"MAIL FROM:<{ADA}>") == OK
    at.desk.clock.at += WINDOW
    assert await client.line(f"RCPT TO:<{FAR}>") == RCPT_OK
    await client.line("RSET")
    assert await client.line(f"MAIL FROM:<{ADA}>") == LOGIN_FIRST


async def test_a_session_knows_the_end_without_looking_again() -> None:
    at = counter()
    await read_mail(at)
    at.desk.clock.at += WINDOW - 0.5
    client = await greet(at, "submissions", tls=True)
    at.desk.clock.at += 0.5
    assert await client.line(f"MAIL FROM:<{ADA}>") == LOGIN_FIRST


@pytest.mark.parametrize("which", [ADA, HOME])
async def test_revoked_it_ends_at_once_in_running_sessions_too(which: str) -> None:
    at = counter()
    await read_mail(at)
    client = await greet(at, "submissions", tls=True)
    assert await client.line(f"MAIL FROM:<{ADA}>") == OK
    await client.line("RSET")
    ((address, grant),) = await at.desk.grants.revoke(which, "root")
    assert (address, grant.account) == (HOME, ADA)
    at.desk.clock.at += 1.5
    assert await client.line(f"MAIL FROM:<{ADA}>") == LOGIN_FIRST
    assert last(at.desk, "ended").details["by"] == "root"
    assert await at.desk.grants.revoke(which, "root") == []


@pytest.mark.parametrize("by", ["use", "review"])
async def test_a_new_password_ends_it(by: str) -> None:
    at = counter()
    await read_mail(at)
    account = at.desk.accounts.find(ADA)
    assert isinstance(account, Account)
    at.desk.accounts.put(with_password(account, PASSWORD, 1.0))  # the same text; it is another password all the same
    if by == "review":
        await at.desk.grants.review()
    assert not await may_send(at, service="submissions")
    assert told(at.desk) == [f"made {ADA}", f"ended {ADA}"]
    assert "password" in last(at.desk, "ended").details["why"]


@pytest.mark.parametrize("by", ["use", "review"])
async def test_without_its_account_it_ends(by: str) -> None:
    at = counter()
    await read_mail(at)
    at.desk.accounts.remove(ADA)
    if by == "review":
        await at.desk.grants.review()
    assert not await may_send(at, service="submissions")
    assert told(at.desk)[:2] == [f"made {ADA}", f"ended {ADA}"]
    # Somebody new under the old address has not logged in.
    at.desk.accounts.put(Account(ADA, created=at.desk.clock.unix()))
    assert not await may_send(at, service="submissions")


async def test_an_app_password_that_is_removed_ends_its_grant_and_a_new_one_does_not() -> None:
    at = counter()
    account = at.desk.accounts.find(ADA)
    assert isinstance(account, Account)
    with_device, password = with_app_password(account, "printer", 1.0, None)
    at.desk.accounts.put(with_device)
    (await read_mail(at, password=password)).hang_up()
    assert last(at.desk, "made").details["app_password"] == "printer"
    at.desk.accounts.put(with_app_password(with_device, "phone", 2.0, None)[0])
    assert await may_send(at)
    at.desk.accounts.put(account)
    assert not await may_send(at)


async def test_networks_that_are_taken_away_end_what_was_granted_there() -> None:
    at = counter()
    await read_mail(at)
    narrower = Counter(
        grants=msgspec.structs.replace(SETTINGS, networks=("198.51.100.0/24",)), standing=at.desk.standing
    )
    assert not await may_send(narrower)
    await narrower.desk.grants.review()
    assert last(narrower.desk, "ended").details["why"] == "the address is in none of `networks` any more"
    await read_mail(at, BOB)
    off = Counter(standing=at.desk.standing)
    await off.desk.grants.review()
    assert last(off.desk, "ended").details["why"] == "POP-before-SMTP was switched off"


# --- several workers, and memories that answer late or not at all --------------------------------------------------


class LaterStanding(MemoryStanding):
    """Another host's memory: what it says has to be waited for."""

    def recall(self, table: Table, key: str, now: float) -> Any:
        async def later() -> bytes | None:
            await asyncio.sleep(0)
            return MemoryStanding.recall(self, table, key, now)

        return later()

    async def replace(
        self, table: Table, key: str, before: bytes | None, value: bytes, until: float, now: float
    ) -> bool:
        await asyncio.sleep(0)
        if MemoryStanding.recall(self, table, key, now) != before:
            return False
        await self.remember(table, key, value, until)
        return True


class CountingStanding(MemoryStanding):
    """Counts what is asked of the table of grants."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def recall(self, table: Table, key: str, now: float) -> bytes | None:
        self.asked += table == TABLE
        return super().recall(table, key, now)

    def recall_all(self, table: Table, now: float) -> list[Fact]:
        self.asked += table == TABLE
        return super().recall_all(table, now)


async def test_it_works_over_a_memory_that_answers_later() -> None:
    at = counter(standing=LaterStanding())
    await read_mail(at)
    assert await may_send(at)
    assert await may_send(at, service="submissions")
    assert not await may_send(at, "x@example.net")
    await at.desk.grants.revoke(ADA, "root")
    assert not await may_send(at)


async def test_a_session_with_a_message_needs_one_look_up_and_elsewhere_none() -> None:
    standing = CountingStanding()
    at = counter(standing=standing)
    await read_mail(at)
    standing.asked = 0
    assert await may_send(at)
    assert standing.asked == 1
    await may_send(at, "x@example.net", ip="198.51.100.1")
    assert standing.asked == 1
    other = Counter(standing=standing)
    await may_send(other)
    assert standing.asked == 1


async def test_workers_that_change_one_address_at_the_same_time_lose_nothing() -> None:
    at = counter(standing=LaterStanding())
    workers = [at, *(counter(standing=at.desk.standing) for _ in range(2))]
    found = [at.desk.accounts.find(name) for name in (ADA, BOB)]
    logins = [
        worker.desk.grants.logged_in(HOME, account, "", by="pop3", is_private=True, event_of=partial(Event, "grant"))
        for worker in workers
        for account in found
        if isinstance(account, Account)
    ]
    await asyncio.gather(*logins)
    assert sorted(grant.account for _, grant in at.desk.grants.all()) == [ADA, BOB]
    assert sorted(_whats(workers)) == ["made", "made", "prolonged", "prolonged", "prolonged", "prolonged"]
    for worker in workers:
        worker.desk.clock.at += WINDOW
    await asyncio.gather(*(worker.desk.grants.review() for worker in workers))
    assert _whats(workers).count("ended") == 2


def _whats(workers: list[Counter]) -> list[str]:
    return [event.details["what"] for worker in workers for event in worker.desk.recorder.of("grant")]


class Broken(MemoryStanding):
    """Grants cannot be had."""

    broken = False

    def recall(self, table: Table, key: str, now: float) -> bytes | None:
        if self.broken and table == TABLE:
            raise StandingError("the grants cannot be read")
        return super().recall(table, key, now)


@pytest.mark.parametrize("service", ["mx", "submissions"])
async def test_when_grants_cannot_be_read_the_peer_is_put_off_not_refused(service: str) -> None:
    at = counter(standing=Broken())
    await read_mail(at)
    at.desk.standing.broken = True  # type: ignore[attr-defined]
    client = await greet(at, service, tls=service != "mx")
    assert await client.line(f"MAIL FROM:<{ADA}>") == "451 4.3.0 Temporary failure, try again later"
    if service == "mx":
        assert await client.line("MAIL FROM:<x@example.net>") == OK
        assert await client.line(f"RCPT TO:<{FAR}>") == "451 4.3.0 Temporary failure, try again later"
        assert await client.line(f"RCPT TO:<{ADA}>") == RCPT_OK
    at.desk.standing.broken = False  # type: ignore[attr-defined]
    assert await client.line("RSET") == "250 2.0.0 Ok"
    assert await client.line(f"MAIL FROM:<{ADA}>") == OK


async def test_a_login_goes_well_though_no_grant_can_be_kept() -> None:
    at = counter(standing=Broken())
    at.desk.standing.broken = True  # type: ignore[attr-defined]
    reader = at.connect("pop3s", HOME, tls=True)
    await reader.line(f"USER {ADA}")
    assert (await reader.line(f"PASS {PASSWORD}")).startswith("+OK 3 messages")
    assert told(at.desk) == [f"refused {ADA}"]
