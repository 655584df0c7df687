"""Whatever is configured and whatever a peer says: mail for others is taken only from those who may relay.

The sessions run through everything from octets to the spool. What a peer has proved is followed here by hand, from what
it did and what it heard, and never read from the server.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from tests.support.desk import PASSWORD, Client, Desk

from gatepost.accounts.authentication import Denied, Login
from gatepost.accounts.model import Account
from gatepost.audit.event import Event
from gatepost.mail.network import NetworkSet, holder_of
from gatepost.policy.check import Check, CheckSettings
from gatepost.policy.checks import command_allowed
from gatepost.policy.checks.command_allowed import WHO
from gatepost.policy.facts import SMTP_SERVICES
from gatepost.policy.registry import CHECKS
from gatepost.ports.wire import PeerCertificate
from gatepost.standing.grants import GrantSettings

OURS: Final = ("example.org", "catch.example", "inner.example", "mx.example.org")
ACCOUNTS: Final = ("ada@example.org", "bob@example.org")
ADDRESSES: Final = ("127.0.0.1", "192.0.2.7", "192.0.2.8", "198.51.100.7", "2001:db8::7", "")
NETWORKS: Final = ("192.0.2.7/32", "192.0.2.0/24", "198.51.100.0/24", "2001:db8::/64", "127.0.0.0/8")
CERTIFICATES: Final = (
    None,
    PeerCertificate("aa" * 32, "CN=ada", ("ada@example.org",)),
    PeerCertificate("bb" * 32, "CN=alias", ("info@example.org",)),
    PeerCertificate("cc" * 32, "CN=far", ("x@far.example",)),
)
SENDERS: Final = ("", "ada@example.org", "bob@example.org", "ada+x@example.org", "x@far.example", "root@mx.example.org")
RECIPIENTS: Final = (
    "<x@far.example>",
    "<x@far.example.org>",
    "<x@sub.example.org>",
    "<ada@example.org>",
    "<info@example.org>",
    "<x@inner.example>",
    "<x%far.example@example.org>",
    "<x%far.example@inner.example>",
    '<"x@far.example"@catch.example>',
    '<"x@far.example"@inner.example>',
    "<far.example!x@inner.example>",
    "<@example.org:x@far.example>",
    "<@far.example,@example.org:x@far.example>",
    "<x@[192.0.2.1]>",
    "<postmaster>",
    "<postmaster@far.example>",
    "<x@EXAMPLE.ORG>",
    "<x@example.org.>",
    "<x@far.example> NOTIFY=NEVER",
    "x@far.example",
    "<x@far.example\x00@example.org>",
    "<ada@example.org>,<x@far.example>",
)


def plain(name: str, password: str) -> str:
    return "AUTH PLAIN " + base64.b64encode(f"\0{name}\0{password}".encode()).decode()


LINES: Final = st.one_of(
    st.sampled_from(RECIPIENTS).map(lambda to: f"RCPT TO:{to}"),
    st.sampled_from(SENDERS).map(lambda sender: f"MAIL FROM:<{sender}>"),
    st.sampled_from(
        ("EHLO c.example", "HELO c.example", "LHLO c.example", "RSET", "STARTTLS", "NOOP", "VRFY ada", "*")
    ),
    st.sampled_from(("MESSAGE", "BDAT 0 LAST", "AUTH EXTERNAL =", "AUTH EXTERNAL", "=")),
    st.tuples(st.sampled_from((*ACCOUNTS, "nobody@example.org")), st.sampled_from((PASSWORD, "wrong"))).map(
        lambda pair: plain(*pair)
    ),
    st.sampled_from((*ADDRESSES[:4], "[UNAVAILABLE]")).map(lambda ip: f"XCLIENT ADDR={ip} LOGIN=ada@example.org"),
)


@st.composite
def settings_of(draw: st.DrawFn, check: Check) -> CheckSettings:
    """Any mode and services, as far as a configuration may say so; the words of `command.allowed` too."""
    changes: dict[str, Any] = {}
    if check.optional:
        changes["mode"] = draw(st.sampled_from((None, "enforce", "shadow", "off")))
        changes["services"] = draw(st.none() | st.lists(st.sampled_from(SMTP_SERVICES), max_size=4).map(tuple))
    if check.name == command_allowed.NAME:
        words = st.lists(st.sampled_from((*WHO, *NETWORKS)), max_size=4).map(tuple)
        changes.update({name: draw(words) for name in ("auth", "vrfy", "expn", "dsn", "chunking")})
        changes["auth_on_mx"] = draw(st.booleans())
    return msgspec.structs.replace(check.settings, **changes)


@st.composite
def servers(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "policy": {check.name: draw(settings_of(check)) for check in CHECKS},
        "trusted": draw(st.lists(st.sampled_from(NETWORKS), max_size=3)),
        "relay_networks": draw(st.lists(st.sampled_from(NETWORKS), max_size=2)),
        "granted": draw(st.lists(st.sampled_from(ADDRESSES[1:5]), max_size=2)),
    }


PEERS: Final = st.fixed_dictionaries(
    {
        "service": st.sampled_from(SMTP_SERVICES),
        "ip": st.sampled_from(ADDRESSES),
        "tls": st.booleans(),
        "xclient": st.booleans(),
        "shows": st.sampled_from(CERTIFICATES),
        "user": st.sampled_from(("", "www", "root")),
    }
)


class Follower:
    """One peer, and what it has proved so far: kept from what it did and heard."""

    def __init__(self, desk: Desk, networks: list[str], granted: list[str], peer: dict[str, Any]) -> None:
        if peer["ip"]:
            peer = {**peer, "user": ""}  # only a unix socket knows its user
        self._networks = NetworkSet(networks)
        self._shows = peer["shows"]
        self._ip: str = peer["ip"]
        self._service: str = peer["service"]
        self._is_local_user = bool(peer["user"]) and self._service in ("submission", "submissions")
        self._certificate = self._shows
        self._has_logged_in = self._speaks_for_another = self._is_named = False
        self._granted = {holder_of(ip) for ip in granted}
        self._sender = ""
        self.client: Client = desk.connect(**peer)
        at_once(self.client)

    @property
    def may_relay(self) -> bool:
        if self._service == "lmtp":
            return False
        certified = self._certificate is not None and any(each in ACCOUNTS for each in self._certificate.addresses)
        by_network = bool(self._ip) and self._ip in self._networks
        return self._has_logged_in or self._has_grant or certified or by_network or self._is_local_user

    @property
    def _has_grant(self) -> bool:
        """A grant of the address counts under the sender addresses of its account."""
        is_hers = self._sender in ("ada@example.org", "ada+x@example.org", "root@mx.example.org")
        return is_hers and self._service != "lmtp" and bool(self._ip) and holder_of(self._ip) in self._granted

    async def say(self, line: str) -> str:
        """Says the line, and follows what it means."""
        if line == "MESSAGE":
            if not (await self._line("DATA")).startswith("354"):
                return ""
            return await self._line("From: ada@example.org\r\n\r\nhello\r\n.")
        said = await self._line(line)
        if said.startswith("235"):
            self._has_logged_in = True
        elif line.startswith("MAIL") and said.startswith("250"):
            self._sender = line.partition("<")[2].partition(">")[0]
        elif line == "STARTTLS" and said.startswith("220"):
            await self.client.start_tls(self._shows)
            self._has_logged_in = False
            self._certificate = None if self._speaks_for_another else self._shows
        elif line.startswith("XCLIENT") and said.startswith("220"):
            # The proxy's login, user and certificate are not its client's, nor is its address when it names none.
            named = re.findall(r"ADDR=([0-9.]+)", line)
            self._ip = named[0] if named else self._ip if self._is_named else ""
            self._is_named = self._is_named or bool(named)
            self._has_logged_in = self._is_local_user = False
            self._certificate, self._speaks_for_another = None, True
        return said

    async def _line(self, line: str) -> str:
        return "\n".join(await self.client.say(line.encode() + b"\r\n"))


def at_once(client: Client) -> None:
    """Answers that are to be slow are not, here."""
    later = client.wire.call_later

    def call_later(seconds: float, callback: Callable[[], None]) -> Any:
        return asyncio.get_running_loop().call_soon(callback) if seconds < 100 else later(seconds, callback)

    client.wire.call_later = call_later  # type: ignore[method-assign, assignment]


def unhashed(desk: Desk) -> None:
    """Passwords are compared, and not hashed: it is not they that are tested."""

    async def password(name: str, given: str) -> Login | Denied:
        found = desk.accounts.find(name)
        return Login(found) if isinstance(found, Account) and given == PASSWORD else Denied("x", "wrong")

    desk.parts.gate.authenticator.password = password  # type: ignore[method-assign]


def grant_event(**fields: Any) -> Event:
    return Event("grant", **fields)


def is_foreign(domain: str) -> bool:
    return domain.lower() not in OURS and domain != ""


async def play(server: dict[str, Any], peer: dict[str, Any], lines: list[str]) -> None:
    granted = server["granted"]
    grants = GrantSettings(enabled=True, networks=NETWORKS)
    desk = Desk(**{key: value for key, value in server.items() if key != "granted"}, grants=grants)
    unhashed(desk)
    relayed: set[str] = set()
    try:
        for ip in granted:
            account = desk.accounts.items["ada@example.org"]
            assert isinstance(account, Account)
            await desk.grants.logged_in(ip, account, "", by="pop3s", is_private=True, event_of=grant_event)
        follower = Follower(desk, server["relay_networks"], granted, peer)
        await follower.client.read()
        for line in lines:
            if follower.client.wire.is_closed:
                break
            might_relay = follower.may_relay
            said = await follower.say(line)
            if line.startswith("RCPT") and said.startswith("250"):
                path = follower.client.session.protocol.envelope.recipients[-1].path
                if is_foreign(path.domain):
                    event("relayed")
                    assert might_relay, f"{line} was accepted from {peer} after {lines}"
                    relayed.add(str(path))
            if line in ("MESSAGE", "BDAT 0 LAST") and said.startswith("250"):
                event("message kept")
        for entry, _ in desk.spool.entries.values():
            foreign = [each.path for each in entry.envelope.recipients if is_foreign(each.path.domain)]
            assert {str(path) for path in foreign} <= relayed
    finally:
        desk.close()


def with_a_greeting(lines: list[str]) -> list[str]:
    """Most random sessions would get no further than a 503."""
    return ["EHLO c.example", "LHLO c.example", *lines]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(servers(), PEERS, st.lists(LINES, min_size=1, max_size=14).map(with_a_greeting))
def test_no_configuration_and_no_session_relays_for_a_stranger(
    server: dict[str, Any], peer: dict[str, Any], lines: list[str]
) -> None:
    asyncio.run(play(server, peer, lines))


# What gives a right, and what takes it away again.
TURNS: Final = (
    plain("ada@example.org", PASSWORD),
    plain("ada@example.org", "wrong"),
    "STARTTLS",
    "XCLIENT ADDR=198.51.100.7 LOGIN=ada@example.org",
    "XCLIENT ADDR=192.0.2.8",
    "XCLIENT ADDR=[UNAVAILABLE]",
    "XCLIENT NAME=c.example",
    "AUTH EXTERNAL =",
    "RSET",
)


@st.composite
def plain_servers(draw: st.DrawFn) -> dict[str, Any]:
    """Most of what a configuration says about a peer, with the checks as they come."""
    return {
        "policy": {command_allowed.NAME: command_allowed.Settings(auth_on_mx=draw(st.booleans()))},
        "trusted": list(NETWORKS) if draw(st.booleans()) else [],
        "relay_networks": draw(st.sampled_from(([], [], ["192.0.2.8/32"]))),
        "granted": draw(st.sampled_from(([], ["192.0.2.7"], ["2001:db8::1", "192.0.2.8"]))),
    }


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    plain_servers() | servers(),
    PEERS,
    st.lists(st.sampled_from(TURNS), max_size=3),
    st.sampled_from(SENDERS),
    st.sampled_from(RECIPIENTS),
)
def test_nor_does_a_session_whose_rights_came_and_went(
    server: dict[str, Any], peer: dict[str, Any], turns: list[str], sender: str, recipient: str
) -> None:
    lines = [each for turn in turns for each in with_a_greeting([turn])]
    at_last = [f"MAIL FROM:<{sender}>", f"RCPT TO:{recipient}", "RCPT TO:<x@far.example>", "MESSAGE"]
    asyncio.run(play(server, peer, lines + with_a_greeting(at_last)))


XCLIENTS: Final = tuple(turn for turn in TURNS if turn.startswith("XCLIENT"))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    PEERS.map(lambda peer: {**peer, "xclient": True}),
    st.booleans(),
    st.lists(st.sampled_from(TURNS), max_size=1),
    st.sampled_from(XCLIENTS),
    st.lists(st.sampled_from(TURNS), max_size=2),
    st.sampled_from(SENDERS),
)
def test_nor_does_a_proxy_with_every_right_lend_one_to_its_clients(
    peer: dict[str, Any], may_relay: bool, before: list[str], named: str, after: list[str], sender: str
) -> None:
    server: dict[str, Any] = {
        "policy": {command_allowed.NAME: command_allowed.Settings(auth_on_mx=True)},
        "trusted": list(NETWORKS),
        "relay_networks": [f"{peer['ip']}/32"] if may_relay and "." in peer["ip"] else [],
        "granted": [peer["ip"]] if peer["ip"] else [],
    }
    lines = [each for turn in (*before, named, *after) for each in with_a_greeting([turn])]
    asyncio.run(play(server, peer, [*lines, *with_a_greeting([f"MAIL FROM:<{sender}>", "RCPT TO:<x@far.example>"])]))
