"""Gatherers of SPF: its result for a stranger's MAIL, and what may excuse a fail once the content is there.

What the cache of the DNS knows needs no task. A session keeps its last result: many send message after message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from gatepost.gate import gather_dkim
from gatepost.gate.later import then
from gatepost.mail.address import AddressError
from gatepost.mail.header_address import HeaderAddressError, parse_address_list
from gatepost.mail.spf import SpfResult
from gatepost.mail.text import printable
from gatepost.policy.checks import sender_spf
from gatepost.policy.facts import MailFacts, MessageFacts, SessionFacts
from gatepost.ports.resolver import Answer, Resolver
from gatepost.verify.dmarc_presence import has_dmarc
from gatepost.verify.spf import Client, check_host

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

KEPT_SECONDS: Final = 300.0  # of a session's last result; the records may change meanwhile


class Kept(msgspec.Struct, frozen=True):
    """The last result of a session. of: what it is about."""

    of: tuple[str, ...]
    result: SpfResult
    until: float


def is_free_of_spf(peer: SessionFacts) -> bool:
    """Whether nobody asks for the SPF of this peer: it may relay, is trusted, or is this machine."""
    return peer.trusted or peer.is_loopback or not peer.client_ip or peer.may_relay_by is not None


def spf(session: GateSession, facts: MailFacts) -> Any:
    """The `SpfResult`, None where nobody looks; an awaitable where the DNS must be asked."""
    parts, peer = session.parts, session.facts
    if parts.resolver is None or is_free_of_spf(peer):
        return None
    settings = cast("sender_spf.Settings", parts.policy.settings_of(sender_spf.CHECK))
    if not facts.sender_is_ours and sender_spf.CHECK.mode_for(peer.service, settings) == "off":
        return None  # `sender.local` alone would ask, and only about our own domains
    path = facts.reverse_path
    kept, now = session.spf, parts.clock.monotonic()
    if (
        kept is not None
        and now < kept.until
        and _is_about(kept, peer.client_ip, peer.helo, path.domain, path.local_part)
    ):
        return kept.result
    client = Client(
        ip=peer.client_ip, reverse_path=path, helo=peer.helo, hostname=peer.hostname, now=parts.clock.unix()
    )
    result = _at_once(_evaluated(cast("Resolver", _Known(parts.resolver)), client, settings))
    if result is None:
        return _asked(session, parts.resolver, client, settings)
    return _keep(session, client, result)


def excuse(session: GateSession, facts: MessageFacts) -> Any:
    """The domain of a passing signature that excuses a fail, "" where there is none; an awaitable while signatures are
    not verified yet (where `content.dkim` is off)."""
    found = facts.spf
    settings = cast("sender_spf.Settings", session.parts.policy.settings_of(sender_spf.CHECK))
    if found is None or not sender_spf.waits(found, settings):
        return ""
    dkim = facts.dkim if isinstance(facts.dkim, tuple) else gather_dkim.dkim(session, facts)
    domains = (found.domain, _author_domain(facts))
    return then(dkim, lambda results: sender_spf.excusing(results, domains))


def _author_domain(facts: MessageFacts) -> str:
    """The domain of the one author that From names, "" where it names none, or several, or cannot be read."""
    try:
        mailboxes = [each for value in facts.header.authors for each in parse_address_list(value).mailboxes]
        return mailboxes[0].path.ascii_domain if len(mailboxes) == 1 else ""
    except (HeaderAddressError, AddressError):
        return ""


def _is_about(kept: Kept, *of: str) -> bool:
    """The local part counts only where a record names it."""
    return kept.of == of or (not kept.result.names_sender and kept.of[:3] == of[:3])


async def _evaluated(resolver: Resolver, client: Client, settings: sender_spf.Settings) -> SpfResult:
    result = await check_host(resolver, client)
    if result.result in sender_spf.WAITING and result.result in settings.refuse:
        return msgspec.structs.replace(result, has_dmarc=await has_dmarc(resolver, result.domain))
    return result


async def _asked(session: GateSession, resolver: Resolver, client: Client, settings: sender_spf.Settings) -> SpfResult:
    try:
        async with asyncio.timeout(settings.timeout):
            result = await _evaluated(resolver, client, settings)
    except TimeoutError:
        path = client.reverse_path
        reason = f"the DNS brought no result in {settings.timeout:g} s"
        if path.is_null:
            return SpfResult("temperror", printable(client.helo), "helo", reason=reason)
        return SpfResult("temperror", path.ascii_domain, reason=reason)
    return _keep(session, client, result)


def _keep(session: GateSession, client: Client, result: SpfResult) -> SpfResult:
    if result.result != "temperror":
        path = client.reverse_path
        of = client.ip, client.helo, path.domain, path.local_part
        session.spf = Kept(of, result, session.parts.clock.monotonic() + KEPT_SECONDS)
    return result


class _NotKnown(Exception):
    """A question would have to be asked."""


class _Known:
    """A `Resolver` that asks nobody."""

    __slots__ = ("cached",)

    def __init__(self, resolver: Resolver) -> None:
        self.cached = resolver.cached

    async def query(self, name: str, rdtype: str) -> Answer:
        raise _NotKnown


def _at_once(evaluation: Coroutine[Any, Any, SpfResult]) -> SpfResult | None:
    """Its result, None where something must be asked for: over `_Known` it waits for nothing."""
    try:
        evaluation.send(None)
    except StopIteration as done:
        result: SpfResult = done.value
        return result
    except _NotKnown:
        return None
    raise AssertionError("an evaluation over what is known has waited")
