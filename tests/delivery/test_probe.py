"""Asking mail hosts: what is said on the wire, and that nothing a host does is raised."""

from __future__ import annotations

from typing import Any

import pytest
from tests.delivery.parts import ZoneResolver
from tests.support.scripted_peer import CLOSE, SILENT, ScriptedPeer
from tests.support.virtual_time import LoopClock

from gatepost.delivery.next_hop import NextHop
from gatepost.delivery.probe import HostClient, Line
from gatepost.delivery.routing import Router
from gatepost.delivery.settings import DeliverySettings, Route, Smarthost, parse_hop_url
from gatepost.mail.address import NULL_PATH, Path
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.reply import Reply
from gatepost.ports.connect import TlsError
from gatepost.protocol.smtp.client_transaction import RecipientResult

BOB, EVE = Path("bob", "far.example"), Path("eve", "far.example")
HOP = NextHop("192.0.2.7", "mx.far.example")
ZONE = {"far.example": {"MX": ["10 mx.far.example"]}, "mx.far.example": {"A": ["192.0.2.7"]}}


def client(peer: ScriptedPeer, *, source: tuple[str, ...] = (), **settings: Any) -> HostClient:
    chosen = DeliverySettings("mx.example.org", private=True, **settings)
    router = Router(chosen, ZoneResolver(ZONE), lambda: 0.5)  # type: ignore[arg-type]
    return HostClient(router, peer, "mx.example.org", peer.clock, lambda: 0.5, source)


async def asked(peer: ScriptedPeer, *recipients: Path, hop: NextHop = HOP) -> list[tuple[str, str, int]]:
    asking = client(peer)
    results = await asking.ask(hop, NULL_PATH, recipients or (BOB,))
    await asking.close()
    return [(result.kind, result.at, result.reply.code) for result in results]


@pytest.fixture
def clock() -> LoopClock:
    return LoopClock()


async def test_mail_and_recipients_are_said_and_no_content(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, RCPT=["250 2.1.5 Ok", "550 5.1.1 No"])
    assert await asked(peer, BOB, EVE) == [("delivered", "rcpt", 250), ("failed", "rcpt", 550)]
    assert peer.lines == [
        "EHLO mx.example.org",
        "MAIL FROM:<>",
        "RCPT TO:<bob@far.example>",
        "RCPT TO:<eve@far.example>",
        "QUIT",
    ]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ({"greeting": "554 go away"}, ("failed", "connect", 554)),
        ({"greeting": SILENT}, ("deferred", "connect", 451)),
        ({"greeting": "what?"}, ("deferred", "connect", 451)),
        ({"MAIL": "550 5.7.1 no null sender"}, ("failed", "mail", 550)),
        ({"MAIL": CLOSE}, ("deferred", "rcpt", 451)),
        ({"RCPT": "450 4.7.1 greylisted"}, ("deferred", "rcpt", 450)),
        ({"RCPT": SILENT}, ("deferred", "rcpt", 451)),
        ({"RCPT": "354 what?"}, ("deferred", "rcpt", 451)),
        ({"RCPT": "421 4.3.2 going down"}, ("deferred", "rcpt", 421)),
    ],
)
async def test_whatever_a_host_does_is_an_answer(
    clock: LoopClock, script: dict[str, Any], expected: tuple[str, str, int]
) -> None:
    first, second = await asked(ScriptedPeer(clock, **script), BOB, EVE)
    assert first == expected
    assert second == (expected if expected[2] != 421 else ("deferred", "rcpt", 451))


async def test_a_host_that_refuses_the_connection_is_an_answer(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock)
    peer.refuses_connection = True
    assert await asked(peer) == [("deferred", "connect", 451)]


async def test_a_host_whose_tls_is_broken_is_asked_in_clear(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, ("STARTTLS", "PIPELINING"))
    peer.tls_result = TlsError("handshake failed")
    assert await asked(peer) == [("delivered", "rcpt", 250)]
    assert peer.connections == 2


async def test_an_address_that_the_host_cannot_be_told_is_not_its_answer(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, ("PIPELINING",))
    (result,) = await client(peer).ask(HOP, NULL_PATH, (Path("jürgen", "far.example"),))
    assert (result.kind, result.by_peer) == ("failed", False)
    assert not any(line.startswith("RCPT") for line in peer.lines)


async def test_the_source_address_is_one_of_the_right_family(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock)
    await client(peer, source=("2001:db8::1", "192.0.2.99")).ask(HOP, NULL_PATH, (BOB,))
    assert peer.asked["source"] == "192.0.2.99"


async def test_a_smarthost_is_never_asked_and_a_route_is(clock: LoopClock) -> None:
    """A smarthost takes everything: it would say yes for every address of the world."""
    peer = ScriptedPeer(clock)
    smarthost = parse_hop_url("smtp://192.0.2.200")
    found = await client(peer, smarthost=None).find("far.example")
    assert not isinstance(found, Reply)
    assert [hop.address for hop in found] == ["192.0.2.7"]
    found = await client(peer, smarthost=Smarthost(smarthost)).find("far.example")
    assert not isinstance(found, Reply)
    assert [hop.address for hop in found] == ["192.0.2.7"]
    routed = await client(peer, routes={"far.example": Route(parse_hop_url("smtp://192.0.2.8"))}).find("far.example")
    assert not isinstance(routed, Reply)
    assert [hop.address for hop in routed] == ["192.0.2.8"]


async def test_a_domain_without_a_host_is_a_reply(clock: LoopClock) -> None:
    found = await client(ScriptedPeer(clock)).find("absent.example")
    assert isinstance(found, Reply)
    assert found.code == 550


async def test_a_line_asks_about_recipients_on_the_real_sender_one_by_one(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, RCPT=["250 2.1.5 Ok", "550 5.1.1 No"])
    asking = client(peer)
    line = await asking.line(HOP, Envelope(Path("ada", "example.net"), size=12345, body="8BITMIME"))
    assert isinstance(line, Line)
    assert (await line.ask(Recipient(BOB))).kind == "delivered"
    assert line.is_open
    assert (await line.ask(Recipient(EVE))).kind == "failed"
    asking.part(line)
    await asking.close()
    assert peer.lines[1:] == [
        "MAIL FROM:<ada@example.net> BODY=8BITMIME",
        "RCPT TO:<bob@far.example>",
        "RCPT TO:<eve@far.example>",
        "QUIT",
    ]
    assert not line.is_open
    assert (await line.ask(Recipient(BOB))).kind == "deferred"


async def test_a_line_that_is_lost_says_so_for_each_further_recipient(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock, RCPT=["250 2.1.5 Ok", CLOSE])
    line = await client(peer).line(HOP, Envelope(Path("ada", "example.net")))
    assert isinstance(line, Line)
    assert (await line.ask(Recipient(BOB))).kind == "delivered"
    for _ in range(2):
        result = await line.ask(Recipient(EVE))
        assert (result.kind, result.by_peer) == ("deferred", False)
    assert not line.is_open


async def test_no_line_to_a_host_that_is_down(clock: LoopClock) -> None:
    peer = ScriptedPeer(clock)
    peer.refuses_connection = True
    assert isinstance(await client(peer).line(HOP, Envelope()), RecipientResult)
