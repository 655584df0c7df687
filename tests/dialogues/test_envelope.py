"""Dialogues about addresses that do not exist: domains of senders and recipients, recipients at a next hop, senders at
their own host."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from tests.gate.hosts import NO_USER, TAKEN, ScriptedHosts, at_rcpt
from tests.support.desk import PASSWORD, Client, Desk, talk

from gatepost.audit.event import Event
from gatepost.policy.checks import recipient_exists, recipient_harvest, sender_callout
from gatepost.policy.verdict import Evaluated

HOSTS = {"ada@inner.example": TAKEN, "bob@far.example": TAKEN}


def told(event: Event, check: str) -> Evaluated:
    """What a check that did not let pass said, on the record."""
    found: Evaluated = next(each for each in event.verdicts if each.check == check and each.verdict != "pass")
    return found


async def stranger(desk: Desk, ip: str = "203.0.113.9") -> Client:
    client = desk.connect(ip=ip)
    await client.read()
    await client.line("EHLO client.example.net")
    return client


# --- domains ------------------------------------------------------------------------------------------------------


async def test_senders_whose_domain_takes_no_mail_are_refused_and_a_dead_resolver_refuses_nobody() -> None:
    desk = Desk()
    desk.resolver.lack("absent.example")
    desk.resolver.put("nothing.example", "MX")
    desk.resolver.put("silent.example", "MX", "0 .")
    desk.resolver.fail("broken.example", "MX")
    await talk(
        """
        S: 220 mx.example.org ESMTP
        C: EHLO client.example.net
        S: 250*
        C: MAIL FROM:<bob@absent.example>
        S: 550 5.1.8 The domain of the sender has no mail host in the DNS; correct the sender
        C: MAIL FROM:<bob@silent.example>
        S: 550 5.7.27 The domain of the sender takes no mail (null MX); use another sender
        C: MAIL FROM:<bob@broken.example>
        S: 450 4.1.8 The DNS does not tell now whether your sender's domain exists, try again later
        C: MAIL FROM:<bob@[192.0.2.7]>
        S: 250 2.1.0 Sender ok
        C: RSET
        S: 250 2.0.0 Ok
        C: MAIL FROM:<>
        S: 250 2.1.0 Sender ok
        C: QUIT
        S: 221 2.0.0 Goodbye
        """,
        desk,
    )
    absent, null, broken, *_ = desk.recorder.of("smtp.message")
    assert told(absent, "sender.domain").reason == "absent.example does not exist"
    assert told(null, "sender.domain").facts["sender_dns"].by == "null mx"
    assert "SERVFAIL" in told(broken, "sender.domain").reason


async def test_a_relay_network_and_a_login_are_not_asked_for_their_domain() -> None:
    desk = Desk(relay_networks=("203.0.113.0/24",))
    desk.resolver.lack("absent.example")
    client = await stranger(desk)
    assert await client.line("MAIL FROM:<printer@absent.example>") == "250 2.1.0 Sender ok"


async def test_our_own_domains_need_no_dns() -> None:
    """Many a server's own domain is known inside only."""
    desk = Desk(trusted=("203.0.113.0/24",))
    desk.resolver.lack("example.org")
    client = await stranger(desk)
    assert await client.line("MAIL FROM:<root@example.org>") == "250 2.1.0 Sender ok"
    await client.line("RSET")
    assert await client.line("MAIL FROM:<root@mx.example.org>") == "250 2.1.0 Sender ok"


async def user(desk: Desk) -> Client:
    client = desk.connect("submission", tls=True)
    await client.read()
    await client.line("EHLO client.example.net")
    assert (await client.line(f"AUTH PLAIN {_plain('ada@example.org')}")).startswith("235")
    assert await client.line("MAIL FROM:<ada@example.org>") == "250 2.1.0 Sender ok"
    return client


def _plain(name: str) -> str:
    return b64encode(f"\0{name}\0{PASSWORD}".encode()).decode()


async def test_a_user_hears_at_once_that_a_domain_is_mistyped() -> None:
    desk = Desk()
    desk.resolver.lack("exmaple.net")
    desk.resolver.put("silent.example", "MX", "0 .")
    desk.resolver.fail("broken.example", "MX")
    client = await user(desk)
    said = [
        await client.line(f"RCPT TO:<{recipient}>")
        for recipient in ("x@exmaple.net", "x@silent.example", "x@broken.example", "x@far.example", "bob@example.org")
    ]
    assert said == [
        "550 5.1.2 The domain of this recipient has no mail host; check its spelling",
        "556 5.1.10 The domain of this recipient takes no mail (null MX)",
        "250 2.1.5 Recipient ok",
        "250 2.1.5 Recipient ok",
        "250 2.1.5 Recipient ok",
    ]
    assert ("example.org", "MX") not in desk.resolver.asked
    desk.close()


async def test_a_domain_that_has_a_route_is_not_looked_up() -> None:
    desk = Desk(routed="partner.lan")
    desk.resolver.lack("partner.lan")
    client = await user(desk)
    assert await client.line("RCPT TO:<x@partner.lan>") == "250 2.1.5 Recipient ok"
    desk.close()


# --- recipients at the next hop -----------------------------------------------------------------------------------


async def rcpt(client: Client, recipient: str, sender: str = "bob@far.example") -> str:
    await client.line("RSET")
    await client.line(f"MAIL FROM:<{sender}>")
    return await client.line(f"RCPT TO:<{recipient}>")


async def test_a_recipient_that_the_next_hop_does_not_have_is_refused_in_our_own_words() -> None:
    desk = Desk(hosts=ScriptedHosts(HOSTS))
    client = await stranger(desk)
    assert await rcpt(client, "ada@inner.example") == "250 2.1.5 Recipient ok"
    assert (
        await rcpt(client, "eve@inner.example") == "550 5.1.1 No such recipient here; check the spelling of the address"
    )
    client.hang_up()
    event = desk.recorder.of("smtp.message")[-1]
    assert "no such user at inner.example" in told(event, "recipient.exists").reason
    assert "inner.example[" not in str(event.reply)


async def test_while_the_next_hop_is_down_its_mail_is_taken_unless_that_is_not_wanted() -> None:
    hosts = ScriptedHosts(HOSTS)
    hosts.down = {"192.0.2.25"}
    client = await stranger(Desk(hosts=hosts))
    assert await rcpt(client, "eve@inner.example") == "250 2.1.5 Recipient ok"
    settings = recipient_exists.Settings(unknown="defer")
    client = await stranger(Desk(hosts=hosts, policy={"recipient.exists": settings}))
    assert await rcpt(client, "eve@inner.example") == "450 4.1.1 The recipient cannot be verified now, try again later"


async def test_a_next_hop_that_takes_every_name_is_told_to_the_operator_and_refuses_nobody() -> None:
    desk = Desk(hosts=ScriptedHosts(other=TAKEN))
    client = await stranger(desk)
    for name in ("ada", "eve", "zoe"):
        assert await rcpt(client, f"{name}@inner.example") == "250 2.1.5 Recipient ok"
    assert [what for what, _ in desk.alerts] == ["recipient.exists"]


async def test_names_that_the_next_hop_does_not_have_count_as_harvesting() -> None:
    hosts = ScriptedHosts(HOSTS)
    desk = Desk(hosts=hosts, policy={"recipient.harvest": recipient_harvest.Settings(free=30, share=1)})
    client = await stranger(desk)
    for number in range(30):
        assert (await rcpt(client, f"u{number}@inner.example")).startswith("550 5.1.1")
    assert (await rcpt(client, "u31@inner.example")).startswith("421 4.7.0")
    assert len([one for *_, one in hosts.asked if one[0] == "u0@inner.example"]) == 1


async def test_the_next_hop_is_not_asked_where_the_check_is_off() -> None:
    hosts = ScriptedHosts(HOSTS)
    client = await stranger(Desk(hosts=hosts, policy={"recipient.exists": recipient_exists.Settings(mode="off")}))
    assert await rcpt(client, "eve@inner.example") == "250 2.1.5 Recipient ok"
    assert not hosts.asked


# --- senders at their own host ------------------------------------------------------------------------------------


def callouts(**settings: Any) -> dict[str, Any]:
    return {"sender.callout": sender_callout.Settings(**{"mode": "enforce", **settings})}


async def test_nobody_is_called_unless_that_is_wanted() -> None:
    hosts = ScriptedHosts(HOSTS)
    client = await stranger(Desk(hosts=hosts))
    assert await rcpt(client, "ada@example.org", "eve@far.example") == "250 2.1.5 Recipient ok"
    assert not hosts.asked


async def test_a_sender_that_its_own_host_does_not_have_is_refused_at_rcpt() -> None:
    hosts = ScriptedHosts(HOSTS)
    desk = Desk(hosts=hosts, policy=callouts())
    client = await stranger(desk)
    assert await rcpt(client, "ada@example.org") == "250 2.1.5 Recipient ok"
    said = await rcpt(client, "ada@example.org", "eve@far.example")
    assert said == "550 5.1.7 The sender address does not exist where its mail goes; correct the sender"
    assert hosts.asked == [("192.0.2.25", "", ["bob@far.example"]), ("192.0.2.25", "", ["eve@far.example"])]
    client.hang_up()
    assert "eve@far.example" in told(desk.recorder.of("smtp.message")[-1], "sender.callout").reason


async def test_before_mail_is_accepted_where_that_is_configured() -> None:
    client = await stranger(Desk(hosts=ScriptedHosts(HOSTS), policy=callouts(at="mail")))
    assert (await client.line("MAIL FROM:<eve@far.example>")).startswith("550 5.1.7")
    assert await client.line("MAIL FROM:<bob@far.example>") == "250 2.1.0 Sender ok"


@pytest.mark.parametrize(
    ("recipient", "sender", "answer"),
    [
        ("nobody@example.org", "eve@far.example", "550 5.1.1"),
        ("x@far.example", "eve@far.example", "550 5.7.1"),
        ("postmaster@example.org", "eve@far.example", "250"),
        ("abuse@example.org", "eve@far.example", "250"),
        ("ada@example.org", "", "250"),
        ("ada@example.org", "eve@[192.0.2.7]", "250"),
    ],
)
async def test_whom_no_question_is_asked_about(recipient: str, sender: str, answer: str) -> None:
    """Recipients that are refused anyhow, roles that stay reachable, and what takes no bounce: the null sender, which
    every callout uses."""
    hosts = ScriptedHosts(HOSTS)
    client = await stranger(Desk(hosts=hosts, policy=callouts()))
    assert (await rcpt(client, recipient, sender)).startswith(answer)
    assert not hosts.asked


async def test_peers_that_may_relay_and_trusted_ones_cause_no_callout() -> None:
    hosts = ScriptedHosts(HOSTS)
    for desk in (
        Desk(hosts=hosts, policy=callouts(), relay_networks=("203.0.113.0/24",)),
        Desk(hosts=hosts, policy=callouts(), trusted=("203.0.113.0/24",)),
    ):
        client = await stranger(desk)
        assert await rcpt(client, "ada@example.org", "eve@far.example") == "250 2.1.5 Recipient ok"
    assert not hosts.asked


async def test_in_shadow_it_is_a_signal_on_the_record() -> None:
    desk = Desk(hosts=ScriptedHosts(HOSTS), policy=callouts(mode="shadow"))
    client = await stranger(desk)
    assert await rcpt(client, "ada@example.org", "eve@far.example") == "250 2.1.5 Recipient ok"
    client.hang_up()
    assert told(desk.recorder.of("smtp.message")[-1], "sender.callout").mode == "shadow"


@pytest.mark.parametrize("answer", [at_rcpt(450, "4.7.1", "Greylisted"), at_rcpt(550, "5.7.1", "no callouts")])
async def test_greylisting_and_no_callouts_are_no_answer(answer: Any) -> None:
    hosts = ScriptedHosts(other=answer)
    client = await stranger(Desk(hosts=hosts, policy=callouts()))
    assert await rcpt(client, "ada@example.org", "eve@far.example") == "250 2.1.5 Recipient ok"
    client = await stranger(Desk(hosts=hosts, policy=callouts(unknown="defer")))
    said = await rcpt(client, "ada@example.org", "eve@far.example")
    assert said == "450 4.1.7 The sender address cannot be verified now, try again later"


async def test_a_mail_host_that_calls_us_is_not_called_back() -> None:
    """It asks about postmaster from an address of its own, as some do: no question may cause another."""
    hosts = ScriptedHosts(other=NO_USER)
    client = await stranger(Desk(hosts=hosts, policy=callouts(at="mail")), ip="192.0.2.25")
    assert await client.line("MAIL FROM:<verify@far.example>") == "250 2.1.0 Sender ok"
    assert not hosts.asked
