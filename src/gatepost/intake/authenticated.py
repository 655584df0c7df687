"""What we found out about who has sent a message, written on top of it for the next reader (RFC 8601)."""

from __future__ import annotations

from gatepost.gate.session import GateSession
from gatepost.mail.authentication_results import MethodResult, authentication_results, dkim_results, spf_result
from gatepost.policy.checks import content_dkim, sender_spf
from gatepost.policy.facts import MessageFacts, SessionFacts


def is_stranger_of_mx(peer: SessionFacts) -> bool:
    """Whose mail is authenticated: what others submit, and hand over on ways that a person has set up, is not."""
    return peer.service == "mx" and peer.may_relay_by is None


def found_by_us(session: GateSession, facts: MessageFacts) -> bytes:
    """The field Authentication-Results with what the enforced checks found, b"" where there are none."""
    peer, policy = session.facts, session.parts.policy
    if not is_stranger_of_mx(peer):
        return b""
    results: list[MethodResult] = []
    if facts.spf is not None and policy.is_enforced(sender_spf.NAME, peer.service):
        results.append(spf_result(facts.spf))
    if isinstance(facts.dkim, tuple) and policy.is_enforced(content_dkim.NAME, peer.service):
        results += dkim_results(facts.dkim)
    return authentication_results(peer.hostname, results) if results else b""
