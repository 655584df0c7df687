"""The ways of alerts: a message in the spool that cannot come back, and a post that is made again when it should be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from email import message_from_bytes, policy
from typing import Any

import pytest
from tests.audit.parts import NOON
from tests.support.desk import CountingIds, Desk
from tests.support.memory_resolver import MemoryResolver

from gatepost.app.alert_ways import PostmasterMail, Webhook, couriers
from gatepost.audit.alerts import Alert, CannotTell
from gatepost.audit.settings import AlertSettings
from gatepost.mail.address import Path, parse_mailbox
from gatepost.ports.fetch import Fetched, FetchError
from gatepost.spool.port import SpoolFullError

HOST = "mx.example.org"
FOUND = Alert("01A", "2025-11-24T12:00:00.000000Z", NOON, {"what": "guessing: 192.0.2.7", "problem": "много попыток"})


def mail(desk: Desk, postmaster: Path | None) -> PostmasterMail:
    gate = desk.parts.gate
    return PostmasterMail(HOST, postmaster, gate.directory, desk.spool, desk.recorder, desk.clock, CountingIds(),
                          desk.parts.notify)  # fmt: skip


def test_the_postmaster_gets_a_message_that_nothing_comes_back_from() -> None:
    desk = Desk()
    note = asyncio.run(mail(desk, parse_mailbox("ada@example.org"))([FOUND], 0))
    entry, octets = desk.spool.only
    assert (entry.id, entry.destinations, entry.octets) == (note, ("local",), len(octets))
    assert entry.envelope.reverse_path.is_null
    assert [str(each.path) for each in entry.envelope.recipients] == ["ada@example.org"]
    assert entry.envelope.recipients[0].notify == ("NEVER",)
    assert octets.isascii()
    assert b"\n" not in octets.replace(b"\r\n", b"")
    message = message_from_bytes(octets, policy=policy.default)
    assert message["To"] == "ada@example.org"
    assert message["Subject"] == "[mx.example.org] guessing: 192.0.2.7"
    assert "много попыток" in message.get_content()
    (event,) = desk.recorder.of("smtp.message")
    assert (event.id, event.service, event.details) == (note, "delivery", {"why": "alert", "alerts": ["01A"]})
    assert desk.notified == 1


@pytest.mark.parametrize(
    ("postmaster", "destination"), [("ada@example.org", "local"), ("op@far.example", "far.example"), ("", "local")]
)
def test_it_goes_where_the_postmaster_is(postmaster: str, destination: str) -> None:
    """Without a postmaster it is kept aside, as other mail for one."""
    desk = Desk()
    asyncio.run(mail(desk, parse_mailbox(postmaster) if postmaster else None)([FOUND], 0))
    entry, _ = desk.spool.only
    assert entry.destinations == (destination,)
    assert str(entry.envelope.recipients[0].path) == (postmaster or "postmaster@mx.example.org")


def test_what_cannot_be_kept_or_recorded_is_told_later() -> None:
    desk = Desk()
    desk.spool.fails = SpoolFullError("no room")
    with pytest.raises(CannotTell, match="no room") as raised:
        asyncio.run(mail(desk, None)([FOUND], 0))
    assert not raised.value.is_final
    assert all(content.is_discarded for content in desk.spool.contents)
    desk.spool.fails = None
    desk.recorder.fails = True
    with pytest.raises(CannotTell, match="the disk is full"):
        asyncio.run(mail(desk, None)([FOUND], 0))
    assert desk.spool.entries == {}


class Answers:
    """A `Fetcher` that says one thing."""

    def __init__(self, answer: int | FetchError) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Any]] = []

    async def fetch(self, url: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Fetched:
        self.asked.append((url, headers))
        if isinstance(self.answer, FetchError):
            raise self.answer
        return Fetched(self.answer, {}, b"")


@pytest.mark.parametrize(
    ("answer", "final"),
    [
        (302, True), (400, True), (401, True), (404, True), (410, True), (408, False), (429, False), (500, False),
        (503, False), (FetchError("no such host"), False),
    ],
)  # fmt: skip
def test_a_post_is_made_again_unless_that_changes_nothing(answer: int | FetchError, final: bool) -> None:
    hook = Webhook(HOST, "https://hooks.example.net/x", "", Answers(answer))
    with pytest.raises(CannotTell) as raised:
        asyncio.run(hook([FOUND], 0))
    assert raised.value.is_final is final


def test_a_post_carries_the_token() -> None:
    answers = Answers(202)
    assert asyncio.run(Webhook(HOST, "https://hooks.example.net/x", "secret", answers)([FOUND], 0)) == "202"
    assert answers.asked == [
        ("https://hooks.example.net/x", {"Content-Type": "application/json", "Authorization": "Bearer secret"})
    ]


@pytest.mark.parametrize(
    ("settings", "ways"),
    [
        (AlertSettings(), ["mail"]),
        (AlertSettings(webhook="https://hooks.example.net/x"), ["mail", "webhook"]),
        (AlertSettings(mail=False), []),
    ],
)
def test_the_settings_say_which_ways_there_are(settings: AlertSettings, ways: list[str]) -> None:
    async def tell(*_: Any) -> str:
        return ""

    assert [each.way for each in couriers(HOST, settings, tell, MemoryResolver())] == ways
