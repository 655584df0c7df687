"""When a peer's SPF is looked at, how often, how long that may take, and which signature excuses a fail."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tests.policy import facts as f
from tests.support import virtual_time
from tests.support.desk import Desk

from gatepost.gate.gather_spf import KEPT_SECONDS, excuse, is_free_of_spf, spf
from gatepost.gate.later import is_later
from gatepost.gate.session import GateSession
from gatepost.mail.dkim import DkimResult
from gatepost.mail.spf import SpfResult
from gatepost.policy.checks import sender_spf
from gatepost.ports.resolver import Answer, Outcome

BOB, EVE = "bob@far.example", "eve@far.example"
SIGNED = DkimResult("pass", "far.example")


def session_of(desk: Desk, record: str = "v=spf1 ip4:192.0.2.7 -all", **known: Any) -> GateSession:
    """Of a stranger from 192.0.2.7; far.example has `record`."""
    if record:
        desk.resolver.put("far.example", "TXT", record)
    session = desk.connect().session.gate
    session.know(helo="client.example.net", **known)
    return session


async def result(session: GateSession, sender: str = BOB, **changes: Any) -> SpfResult | None:
    found = spf(session, f.mail(sender, **changes))
    return await found if is_later(found) else found


async def test_a_session_that_sends_many_messages_from_one_domain_asks_once() -> None:
    desk = Desk()
    session = session_of(desk)
    for sender in (BOB, BOB, EVE):
        found = await result(session, sender)
        assert found is not None
        assert found.result == "pass"
    assert desk.resolver.asked == [("far.example", "TXT")]
    await result(session, "bob@other.example")
    assert ("other.example", "TXT") in desk.resolver.asked


async def test_what_is_kept_has_an_end_and_is_about_one_greeting_and_one_address() -> None:
    desk = Desk()
    session = session_of(desk)
    await result(session)
    desk.resolver.put("far.example", "TXT", "v=spf1 -all")
    assert await result(session) == SpfResult("pass", "far.example", mechanism="ip4:192.0.2.7", found_at="far.example")
    desk.clock.at += KEPT_SECONDS + 1
    found = await result(session)
    assert found is not None
    assert found.result == "fail"
    for change in ({"client_ip": "192.0.2.8"}, {"helo": "other.example.net"}):
        asked = len(desk.resolver.asked)
        session.know(**change)
        await result(session)
        assert len(desk.resolver.asked) > asked


async def test_a_record_that_names_the_local_part_is_looked_at_for_each_sender() -> None:
    desk = Desk()
    session = session_of(desk, "v=spf1 exists:%{l}.users.far.example -all")
    desk.resolver.put("bob.users.far.example", "A", "127.0.0.2")
    assert [(await result(session, sender) or f.spf("none")).result for sender in (BOB, EVE, BOB)] == [
        "pass", "fail", "pass",
    ]  # fmt: skip


async def test_trouble_with_the_dns_is_not_kept() -> None:
    desk = Desk()
    desk.resolver.fail("far.example", "TXT")
    session = session_of(desk, "")
    for _ in range(2):
        found = await result(session)
        assert found is not None
        assert found.result == "temperror"
    assert len(desk.resolver.asked) == 2


@pytest.mark.parametrize(
    "known",
    [
        {"trusted": True},
        {"is_loopback": True},
        {"client_ip": ""},
        {"network_may_relay": True},
        {"login": "ada@example.org"},
        {"certificate": "ada@example.org"},
        {"grant": "ada@example.org"},
    ],
)
async def test_nobody_is_asked_about_a_peer_that_is_no_stranger(known: dict[str, Any]) -> None:
    desk = Desk()
    session = session_of(desk, **known)
    assert is_free_of_spf(session.facts)
    assert spf(session, f.mail(BOB)) is None
    assert not desk.resolver.asked


async def test_where_the_check_is_off_only_our_own_domains_are_asked_about() -> None:
    desk = Desk(policy={"sender.spf": sender_spf.Settings(mode="off")})
    session = session_of(desk)
    assert await result(session) is None
    desk.resolver.put("example.org", "TXT", "v=spf1 ip4:192.0.2.7 -all")
    found = await result(session, "ada@example.org", ours=True)
    assert found is not None
    assert found.result == "pass"


@pytest.mark.parametrize(
    ("record", "refuse", "asks"),
    [
        ("v=spf1 -all", ("fail",), True),
        ("v=spf1 ~all", ("fail",), False),
        ("v=spf1 ~all", ("fail", "softfail"), True),
        ("v=spf1 ?all", ("fail",), False),
        ("v=spf1 -all", (), False),
    ],
)
async def test_a_dmarc_record_is_looked_for_only_where_it_decides(
    record: str, refuse: tuple[sender_spf.Refusable, ...], asks: bool
) -> None:
    desk = Desk(policy={"sender.spf": sender_spf.Settings(refuse=refuse)})
    desk.resolver.put("_dmarc.far.example", "TXT", "v=DMARC1; p=none")
    found = await result(session_of(desk, record))
    assert found is not None
    assert found.has_dmarc is asks
    assert (("_dmarc.far.example", "TXT") in desk.resolver.asked) is asks


async def test_what_is_known_already_needs_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    session = session_of(desk, "v=spf1 include:other.example -all")
    monkeypatch.setattr(desk.resolver, "cached", lambda name, rdtype: desk.resolver.answers.get((name, rdtype)))
    waiting = spf(session, f.mail(BOB))
    assert is_later(waiting)  # other.example is not known
    await waiting
    session.spf = None
    desk.resolver.put("other.example", "TXT", "v=spf1 ip4:192.0.2.7 -all")
    asked = len(desk.resolver.asked)
    found = spf(session, f.mail(BOB))
    assert isinstance(found, SpfResult)
    assert found.result == "pass"
    assert len(desk.resolver.asked) == asked


def test_a_dns_that_never_answers_is_waited_for_as_long_as_the_settings_say() -> None:
    async def main() -> tuple[SpfResult | None, float]:
        desk = Desk(policy={"sender.spf": sender_spf.Settings(timeout=7.0)})
        session = session_of(desk)

        async def never(name: str, rdtype: str) -> Answer:
            await asyncio.sleep(1000)
            return Answer(Outcome.FAILED)

        desk.resolver.query = never  # type: ignore[method-assign]
        before = asyncio.get_running_loop().time()
        return await result(session), asyncio.get_running_loop().time() - before

    found, took = virtual_time.run(main())
    assert found is not None
    assert (found.result, took) == ("temperror", 7.0)


@pytest.mark.parametrize(
    ("author", "signatures", "expected"),
    [
        (b"Bob <bob@far.example>", (SIGNED,), "far.example"),
        (b"bob@far.example", (), ""),
        (b"bob@far.example", (DkimResult("fail", "far.example"),), ""),
        (b"bob@far.example", (DkimResult("pass", "far.example", is_testing=True),), ""),
        (b"bob@far.example", (DkimResult("pass", "spam.example"), SIGNED), "far.example"),
        (b"bob@far.example", (DkimResult("pass", "mail.far.example"),), "mail.far.example"),
        (b"bob@far.example", (DkimResult("pass", "example"),), ""),
        (b"bob@far.example", (DkimResult("pass", "ar.example"),), ""),
        (b"carl@author.example", (DkimResult("pass", "author.example"),), "author.example"),
        (b"carl@author.example, dora@author.example", (DkimResult("pass", "author.example"),), ""),
        (b"no address", (SIGNED,), "far.example"),
        (b"<<", (DkimResult("pass", "spam.example"),), ""),
    ],
)
async def test_a_passing_signature_of_the_authors_or_the_senders_domain_excuses_a_fail(
    author: bytes, signatures: tuple[DkimResult, ...], expected: str
) -> None:
    failed = SpfResult("fail", "far.example", has_dmarc=True)
    facts = f.message(BOB, header=f.header(authors=(author,)), spf=failed, dkim=signatures)
    session = session_of(Desk())
    assert excuse(session, facts) == expected
    passed = msgspec.structs.replace(failed, result="pass")
    assert excuse(session, msgspec.structs.replace(facts, spf=passed)) == ""
