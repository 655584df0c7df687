# ruff: noqa: E501 - a row stands on one line, however long
"""The tables of the checks: facts, and what the check of that row decides ("" lets it pass)."""

from __future__ import annotations

import math

import msgspec
import pytest
from tests.policy import facts as f

from gatepost.mail.dkim import DkimResult
from gatepost.mail.reply import Reply
from gatepost.mail.spf import SpfResult
from gatepost.policy.check import CheckSettings
from gatepost.policy.checks import (
    auth_attempts,
    client_access,
    client_connections,
    client_rate,
    command_allowed,
    command_budget,
    content_headers,
    content_lines,
    content_loop,
    content_sealed,
    expn_scope,
    helo_name,
    message_size,
    recipient_count,
    recipient_exists,
    recipient_harvest,
    recipient_rate,
    sender_callout,
    sender_local,
    sender_rate,
    sender_spf,
    tls_required,
)
from gatepost.policy.engine import Policy
from gatepost.policy.facts import Facts, Stage
from gatepost.policy.findings import (
    AccountHold,
    ArrivalWaits,
    FromFacts,
    Listing,
    ListScope,
    ListStanding,
    Pending,
    Room,
    SealNeed,
    SealPlan,
    Unavailable,
)
from gatepost.policy.limits import Charged
from gatepost.policy.registry import CHECKS
from gatepost.policy.verdict import Decision, Verdict

LOGIN = {"service": "submission", "login": "ada@example.org", "tls_version": "TLSv1.3"}
SUBMISSION = {"service": "submission"}
HOLD = AccountHold("ada@example.org", "sudden rise", 1_764_000_000.0)
SPARE = f.level("recipients", 0, "500/1h", spare=499)
FULL = f.level("messages", 60, "60/1h", subject="recipient")
ALL_SPF = sender_spf.Settings(refuse=sender_spf.REFUSABLE)
CALLED = sender_callout.Settings(mode="enforce")
SEALED = content_sealed.Settings(mode="enforce")
TO_PARTNER = content_sealed.Settings(mode="enforce", recipients=("*@partner.example",))
BOTH = ("bob@partner.example", "eve@far.example")
NEED = SealNeed(recipient="bob@partner.example", rule="partners", mode="required", why=("no key is known",))
IF_KNOWN = msgspec.structs.replace(NEED, mode="opportunistic")
FOUND = msgspec.structs.replace(NEED, kind="openpgp", key="0123abcd")
NO_ANSWER = msgspec.structs.replace(NEED, why=("the DNS does not answer",), is_known=False)
NO_ANSWER_IF_KNOWN = msgspec.structs.replace(NO_ANSWER, mode="opportunistic")
OURS = Verdict("helo.name", Reply(550, "5.7.1", "That name is ours"), "called as we are", later=True)


def decide(stage: Stage, facts: Facts, settings: dict[str, CheckSettings] | None = None) -> Decision:
    decision, _ = Policy(CHECKS, settings).decide(stage, facts)
    assert isinstance(decision, Decision), f"{decision} is still needed"
    return decision


def verdict_of(name: str, decision: Decision) -> str:
    """The verdict of check `name` with its code, "" where it did not run or let it pass without a word."""
    found = [e for e in decision.evaluated if e.check == name and (e.verdict != "pass" or e.reason)]
    if not found:
        return ""
    word = found[0].verdict if found[0].mode == "enforce" else f"shadow {found[0].verdict}"
    verdict = decision.verdict
    return f"{word} {verdict.reply.code} {verdict.reply.esc}" if verdict and verdict.name == name else word


ROWS: list[tuple[str, Stage, Facts, str]] = [
    ("seal.required", Stage.RCPT, f.rcpt("bob@partner.example", "foreign", **LOGIN), ""),
    ("seal.required", Stage.RCPT, f.rcpt("bob@partner.example", "foreign", seal=FOUND, **LOGIN), ""),
    ("seal.required", Stage.RCPT, f.rcpt("bob@partner.example", "foreign", seal=NEED, **LOGIN), "reject 550 5.7.5"),
    ("seal.required", Stage.RCPT, f.rcpt("bob@partner.example", "foreign", seal=IF_KNOWN, **LOGIN), ""),
    ("seal.required", Stage.RCPT, f.rcpt("bob@partner.example", "foreign", seal=NO_ANSWER, **LOGIN), "defer 451 4.7.5"),
    ("seal.required", Stage.RCPT, f.rcpt("bob@partner.example", "foreign", seal=NO_ANSWER_IF_KNOWN, **LOGIN), "defer 451 4.7.5"),
    ("seal.required", Stage.RCPT, f.rcpt("bob@partner.example", "foreign", seal=Unavailable("x"), **LOGIN), "defer 451 4.7.5"),
    ("seal.required", Stage.MESSAGE, f.message(peer=LOGIN, seal=SealPlan((FOUND, IF_KNOWN))), ""),
    ("seal.required", Stage.MESSAGE, f.message(peer=LOGIN, seal=SealPlan((FOUND, NEED))), "reject 550 5.7.5"),
    ("seal.required", Stage.MESSAGE, f.message(peer=LOGIN, seal=SealPlan((NO_ANSWER, FOUND))), "defer 451 4.7.5"),
    ("seal.required", Stage.MESSAGE, f.message(peer=LOGIN, seal=SealPlan((NO_ANSWER, NEED))), "reject 550 5.7.5"),
    ("seal.required", Stage.MESSAGE, f.message(peer=LOGIN, seal=SealPlan((NEED, NO_ANSWER), "openpgp")), ""),
    ("seal.required", Stage.MESSAGE, f.message(peer=LOGIN, seal=Unavailable("x")), "defer 451 4.7.5"),
    ("sender.held", Stage.MESSAGE, f.message(peer=LOGIN), ""),
    ("sender.held", Stage.MESSAGE, f.message(peer=LOGIN, account_hold=HOLD), "hold 250 2.0.0"),
    ("sender.held", Stage.MESSAGE, f.message(peer={**LOGIN, "service": "mx"}, account_hold=HOLD), "hold 250 2.0.0"),
    ("sender.held", Stage.MESSAGE, f.message(peer=LOGIN, account_hold=Unavailable("no memory")), "defer 451 4.3.0"),
    ("client.access", Stage.CONNECT, f.connect(), ""),
    ("client.access", Stage.CONNECT, f.connect(access=Listing(denied="denied.cidr")), "reject 554 5.7.1"),
    ("client.access", Stage.CONNECT, f.connect(access=Listing(denied="denied.cidr"), trusted=True), "reject 554 5.7.1"),
    ("client.access", Stage.CONNECT, f.connect(access=Listing(denied="denied.cidr"), service="pop3"), "reject 554 5.7.1"),
    ("client.access", Stage.CONNECT, f.connect(access=Listing("allowed.cidr", "denied.cidr")), ""),
    ("client.access", Stage.CONNECT, f.connect(access=Listing(unverified="SERVFAIL")), "defer 421 4.4.3"),
    ("client.access", Stage.CONNECT, f.connect(access=Listing(denied="denied.cidr", unverified="SERVFAIL")), "defer 421 4.4.3"),
    ("client.banned", Stage.CONNECT, f.connect(ban=f.banned(by="root")), "reject 554 5.7.1"),
    ("client.banned", Stage.CONNECT, f.connect(ban=f.banned()), "defer 421 4.7.0"),
    ("client.banned", Stage.CONNECT, f.connect(ban=f.banned(), service="pop3"), "defer 421 4.7.0"),
    ("client.banned", Stage.CONNECT, f.connect(ban=f.banned(by="root"), trusted=True), ""),
    ("client.banned", Stage.CONNECT, f.connect(ban=f.banned(by="root"), network_may_relay=True), "reject 554 5.7.1"),
    ("client.banned", Stage.CONNECT, f.connect(ban=Unavailable("x")), ""),
    ("client.banned", Stage.CONNECT, f.connect(), ""),
    ("client.rate", Stage.CONNECT, f.connect(), ""),
    ("client.rate", Stage.CONNECT, f.connect(arrivals=ArrivalWaits(0.4, 0)), "defer 421 4.7.0"),
    ("client.rate", Stage.CONNECT, f.connect(arrivals=ArrivalWaits(0, math.inf)), "defer 421 4.7.0"),
    ("client.rate", Stage.CONNECT, f.connect(arrivals=ArrivalWaits(9, 9), trusted=True), ""),
    ("client.rate", Stage.CONNECT, f.connect(arrivals=Unavailable("x")), ""),
    ("client.connections", Stage.CONNECT, f.connect(50, 200, 20000), ""),
    ("client.connections", Stage.CONNECT, f.connect(51, 51, 51), "defer 421 4.7.0"),
    ("client.connections", Stage.CONNECT, f.connect(1, 201, 201), "defer 421 4.7.0"),
    ("client.connections", Stage.CONNECT, f.connect(1, 1, 20001), "defer 421 4.3.2"),
    ("client.connections", Stage.CONNECT, f.connect(500, 500, 500, trusted=True), ""),
    ("client.connections", Stage.CONNECT, f.connect(1, 1, 20001, trusted=True), "defer 421 4.3.2"),
    ("client.connections", Stage.CONNECT, msgspec.structs.replace(f.connect(), connections=Unavailable("x")), ""),
    ("helo.name", Stage.HELO, f.helo(), ""),
    ("helo.name", Stage.HELO, f.helo("bad name", well_formed=False), "reject 501 "),
    ("helo.name", Stage.HELO, f.helo("bad name", well_formed=False, network_may_relay=True), ""),
    ("helo.name", Stage.HELO, f.helo("mx.example.org"), "reject"),
    ("helo.name", Stage.HELO, f.helo("MX.example.org."), "reject"),
    ("helo.name", Stage.HELO, f.helo("mx.example.org", is_loopback=True, client_ip="127.0.0.1"), ""),
    ("helo.name", Stage.HELO, f.helo("mx.example.org", trusted=True), ""),
    ("helo.name", Stage.HELO, f.helo("[192.0.2.7]", literal="192.0.2.7"), ""),
    ("helo.name", Stage.HELO, f.helo("[10.0.0.1]", literal="10.0.0.1"), "shadow reject"),
    ("helo.name", Stage.RCPT, f.rcpt(carried=(OURS,)), "reject 550 5.7.1"),
    ("helo.name", Stage.RCPT, f.rcpt("postmaster@example.org", "role", carried=(OURS,)), ""),
    ("helo.name", Stage.RCPT, f.rcpt("abuse@example.org", "role", carried=(OURS,)), ""),
    ("helo.name", Stage.RCPT, f.rcpt("postmaster@far.example", "foreign", carried=(OURS,)), "reject 550 5.7.1"),
    ("helo.name", Stage.RCPT, f.rcpt(carried=(OURS,), **LOGIN), ""),
    ("tls.required", Stage.AUTH, f.auth(tls_version=""), "reject 538 5.7.11"),
    ("tls.required", Stage.AUTH, f.auth(), ""),
    ("tls.required", Stage.AUTH, f.auth(tls_version="", is_loopback=True), ""),
    ("tls.required", Stage.AUTH, f.auth(tls_version="", trusted=True), "reject 538 5.7.11"),
    ("tls.required", Stage.MAIL, f.mail(**SUBMISSION), "reject 530 5.7.0"),
    ("tls.required", Stage.MAIL, f.mail(), ""),
    ("tls.required", Stage.MAIL, f.mail(**SUBMISSION, is_loopback=True), ""),
    ("auth.required", Stage.MAIL, f.mail(**SUBMISSION, tls_version="TLSv1.3"), "reject 530 5.7.0"),
    ("auth.required", Stage.MAIL, f.mail(**SUBMISSION, tls_version="TLSv1.3", trusted=True), "reject 530 5.7.0"),
    ("auth.required", Stage.MAIL, f.mail(**SUBMISSION, tls_version="TLSv1.3", network_may_relay=True), ""),
    ("auth.required", Stage.MAIL, f.mail(**LOGIN), ""),
    ("auth.required", Stage.MAIL, f.mail(**SUBMISSION, tls_version="TLSv1.3", grant="ada@example.org"), ""),
    ("auth.required", Stage.MAIL, f.mail(**SUBMISSION, tls_version="TLSv1.3", granted=("ada@example.org",)), "reject 530 5.7.0"),
    ("auth.required", Stage.MAIL, f.mail(**SUBMISSION, tls_version="TLSv1.3", grant_unknown="x"), "defer 451 4.3.0"),
    ("auth.required", Stage.MAIL, f.mail(), ""),
    ("auth.attempts", Stage.AUTH, f.auth(), ""),
    ("auth.attempts", Stage.AUTH, f.auth(account_wait=60), "defer 421 4.7.0"),
    ("auth.attempts", Stage.AUTH, f.auth(prefix_wait=60), "defer 421 4.7.0"),
    ("auth.attempts", Stage.AUTH, f.auth(prefix_wait=60, known_good=True), ""),
    ("auth.attempts", Stage.AUTH, f.auth(prefix_wait=60, trusted=True), ""),
    ("auth.attempts", Stage.AUTH, f.auth(in_session=2), ""),
    ("auth.attempts", Stage.AUTH, f.auth(in_session=3, trusted=True), "defer 421 4.7.0"),
    ("auth.attempts", Stage.AUTH, f.AuthFacts(session=f.auth().session, mechanism="PLAIN", attempts=Unavailable("x")), "defer 454 4.7.0"),
    ("command.allowed", Stage.AUTH, f.auth(service="mx"), "reject 502 5.5.1"),
    ("command.allowed", Stage.AUTH, f.auth(), ""),
    ("command.allowed", Stage.COMMAND, f.command("VRFY"), "reject 252 2.0.0"),
    ("command.allowed", Stage.COMMAND, f.command("VRFY", **LOGIN), ""),
    ("command.allowed", Stage.COMMAND, f.command("EXPN"), "reject 550 5.7.1"),
    ("command.allowed", Stage.COMMAND, f.command("EXPN", **LOGIN), ""),
    ("command.allowed", Stage.COMMAND, f.command("EXPN", trusted=True), "reject 550 5.7.1"),
    ("command.allowed", Stage.COMMAND, f.command("HELP"), ""),
    ("command.budget", Stage.COMMAND, f.command("NOOP", idle=100), ""),
    ("command.budget", Stage.COMMAND, f.command("NOOP", idle=101), "defer 421 4.7.0"),
    ("command.budget", Stage.COMMAND, f.command("NOOP", idle=101, trusted=True), "defer 421 4.7.0"),
    ("command.budget", Stage.COMMAND, f.command("", counted="unknown"), ""),
    ("command.budget", Stage.COMMAND, f.command("", wait=5, counted="unknown"), "defer 421 4.7.0"),
    ("command.budget", Stage.COMMAND, f.command("VRFY", wait=5, counted="lookups"), "defer 421 4.7.0"),
    ("command.budget", Stage.COMMAND, f.command("EXPN", wait=5, counted="lookups", **LOGIN), "defer 421 4.7.0"),
    ("expn.scope", Stage.COMMAND, f.command("EXPN", scope=ListScope(True), **LOGIN), "reject 550 5.7.1"),
    ("expn.scope", Stage.COMMAND, f.command("EXPN", scope=ListScope(False), **LOGIN), "reject 550 5.7.1"),
    ("expn.scope", Stage.COMMAND, f.command("EXPN", scope=ListScope(False, domain=True), **LOGIN), ""),
    ("expn.scope", Stage.COMMAND, f.command("EXPN", scope=ListScope(True, domain=True), **LOGIN), ""),
    ("expn.scope", Stage.COMMAND, f.command("EXPN", scope=ListScope(True, member=True), **LOGIN), ""),
    ("expn.scope", Stage.COMMAND, f.command("EXPN", scope=ListScope(True, owner=True), **LOGIN), ""),
    ("expn.scope", Stage.COMMAND, f.command("EXPN", scope=ListScope(True), network_may_relay=True), "reject 550 5.7.1"),
    ("expn.scope", Stage.COMMAND, f.command("EXPN", scope=Unavailable("x"), **LOGIN), "defer 451 4.3.0"),
    ("expn.scope", Stage.COMMAND, f.command("VRFY", scope=ListScope(False), **LOGIN), ""),
    ("sender.syntax", Stage.MAIL, f.mail("jürgen@example.net"), "reject 553 5.6.7"),
    ("sender.syntax", Stage.MAIL, f.mail("jürgen@example.net", smtputf8=True), ""),
    ("sender.syntax", Stage.MAIL, f.MailFacts(session=f.session(), syntax=Reply(501, "5.1.7", "x")), "reject 501 5.1.7"),
    ("sender.domain", Stage.MAIL, f.mail(), ""),
    ("sender.domain", Stage.MAIL, f.mail(dns=f.dns("address")), ""),
    ("sender.domain", Stage.MAIL, f.mail(dns=f.dns("literal")), ""),
    ("sender.domain", Stage.MAIL, f.mail("ada@example.org", dns=f.dns("ours")), ""),
    ("sender.domain", Stage.MAIL, f.mail("", dns=f.dns("null path")), ""),
    ("sender.domain", Stage.MAIL, f.mail(dns=f.dns("null mx")), "reject 550 5.7.27"),
    ("sender.domain", Stage.MAIL, f.mail(dns=f.dns("no name")), "reject 550 5.1.8"),
    ("sender.domain", Stage.MAIL, f.mail(dns=f.dns("no records")), "reject 550 5.1.8"),
    ("sender.domain", Stage.MAIL, f.mail(dns=f.dns("no name"), trusted=True), "reject 550 5.1.8"),
    ("sender.domain", Stage.MAIL, f.mail(dns=Unavailable("x")), "defer 450 4.1.8"),
    ("sender.domain", Stage.MAIL, f.mail(dns=f.dns("no name"), network_may_relay=True), ""),
    ("sender.domain", Stage.MAIL, f.mail(dns=f.dns("no name"), **LOGIN), ""),
    ("sender.domain", Stage.MAIL, f.mail(dns=f.dns("no name"), service="lmtp"), ""),
    ("sender.callout", Stage.MAIL, f.mail(callout=f.answer("no")), ""),
    ("sender.login", Stage.MAIL, f.mail(allowed=False, **LOGIN), "reject 553 5.7.1"),
    ("sender.login", Stage.MAIL, f.mail(allowed=True, **LOGIN), ""),
    ("sender.login", Stage.MAIL, f.mail("", allowed=False, **LOGIN), ""),
    ("sender.login", Stage.MAIL, f.mail("", allowed=False, **SUBMISSION, tls_version="x", grant="a@example.org"), "reject 553 5.7.1"),
    ("sender.login", Stage.MAIL, f.mail(allowed=False), ""),
    ("sender.login", Stage.MAIL, f.mail(allowed=Unavailable("x"), **LOGIN), "defer 451 4.3.0"),  # type: ignore[arg-type]
    ("sender.local", Stage.MAIL, f.mail("ada@example.org", ours=True), "reject 550 5.7.1"),
    ("sender.local", Stage.MAIL, f.mail("ada@example.org", ours=True, spf=f.spf("softfail")), "reject 550 5.7.1"),
    ("sender.local", Stage.MAIL, f.mail("ada@example.org", ours=True, spf=f.spf("pass")), ""),
    ("sender.spf", Stage.MAIL, f.mail(), ""),
    ("sender.spf", Stage.MAIL, f.mail(spf=f.spf("pass")), "pass"),
    ("sender.spf", Stage.MAIL, f.mail(spf=f.spf("none")), "pass"),
    ("sender.spf", Stage.MAIL, f.mail(spf=f.spf("neutral")), "pass"),
    ("sender.spf", Stage.MAIL, f.mail(spf=f.spf("fail")), "reject 550 5.7.23"),
    ("sender.spf", Stage.MAIL, f.mail(spf=f.spf("fail"), login="ada@example.org"), ""),
    ("sender.spf", Stage.MAIL, f.mail(spf=f.spf("fail"), service="submission", tls_version="TLSv1.3"), ""),
    ("sender.spf", Stage.MAIL, f.mail(spf=f.spf("softfail")), "pass"),
    ("sender.spf", Stage.MAIL, f.mail(spf=f.spf("permerror")), "pass"),
    ("sender.spf", Stage.MAIL, f.mail(spf=f.spf("temperror")), "pass"),
    ("sender.spf", Stage.MAIL, f.mail(spf=f.spf("fail", has_dmarc=True)), "pass"),
    ("sender.spf", Stage.MESSAGE, f.message(spf=f.spf("fail", has_dmarc=True)), "reject 550 5.7.23"),
    ("sender.spf", Stage.MESSAGE, f.message(spf=f.spf("fail", has_dmarc=True), spf_excuse="example.net"), "pass"),
    ("sender.spf", Stage.MESSAGE, f.message(spf=f.spf("softfail", has_dmarc=True)), ""),
    ("sender.spf", Stage.MESSAGE, f.message(spf=f.spf("pass")), ""),
    ("sender.local", Stage.MAIL, f.mail("ada@example.org", ours=True, trusted=True, client_ip="127.0.0.1"), ""),
    ("sender.local", Stage.MAIL, f.mail("ada@example.org", ours=True, network_may_relay=True), ""),
    ("sender.local", Stage.MAIL, f.mail("ada@example.org", ours=True, service="mx", grant="ada@example.org"), ""),
    ("sender.local", Stage.MAIL, f.mail("ada@example.org", ours=True, granted=("bob@example.org",)), "reject 550 5.7.1"),
    ("sender.local", Stage.MAIL, f.mail("ada@example.org", ours=True, grant_unknown="x"), "defer 451 4.3.0"),
    ("sender.local", Stage.MAIL, f.mail("b@example.net", ours=False, grant_unknown="x"), ""),
    ("sender.local", Stage.MAIL, f.mail("ada@example.org", ours=True, service="lmtp"), ""),
    ("sender.local", Stage.MAIL, f.mail("", ours=False), ""),
    ("sender.rate", Stage.MAIL, f.mail(**LOGIN, allowances=(f.level("messages", 199),)), ""),
    ("sender.rate", Stage.MAIL, f.mail(**LOGIN, allowances=(f.level("messages", 199.5),)), "defer 451 4.7.1"),
    ("sender.rate", Stage.MAIL, f.mail(**LOGIN, allowances=(f.level("messages", 0), f.level("messages", 1000, "1000/1d"))), "defer 451 4.7.1"),
    ("sender.rate", Stage.MAIL, f.mail(**LOGIN, allowances=(f.level("recipients", 500, "500/1h"),)), "defer 451 4.7.1"),
    ("sender.rate", Stage.MAIL, f.mail(**LOGIN, size=10**6, allowances=(f.level("octets", 0, "1MB/1h"),)), ""),
    ("sender.rate", Stage.MAIL, f.mail(**LOGIN, size=10**6, allowances=(f.level("octets", 1, "1MB/1h"),)), "defer 451 4.7.1"),
    ("sender.rate", Stage.MAIL, f.mail(**LOGIN, size=10**6 + 1, allowances=(f.level("octets", 0, "1MB/1h"),)), "reject 550 5.7.1"),
    ("sender.rate", Stage.MAIL, f.mail(**LOGIN, allowances=(f.level("new_recipients", 50, "50/1h"),)), ""),
    ("sender.rate", Stage.MAIL, f.mail(**LOGIN, allowances=(f.level("messages", 0, spare=200),)), "defer 451 4.7.1"),
    ("sender.rate", Stage.MAIL, f.mail(**LOGIN, allowances=(SPARE,)), ""),
    ("sender.rate", Stage.MAIL, f.mail(**LOGIN, allowances=Unavailable("x")), "defer 451 4.3.0"),
    ("sender.rate", Stage.MAIL, f.mail(), ""),
    ("sender.rate", Stage.RCPT, f.rcpt(**LOGIN, accepted=99, allowances=(f.level("recipients", 400, "500/1h"),)), ""),
    ("sender.rate", Stage.RCPT, f.rcpt(**LOGIN, accepted=100, allowances=(f.level("recipients", 400, "500/1h"),)), "defer 451 4.7.1"),
    ("sender.rate", Stage.RCPT, f.rcpt(**LOGIN, accepted=500, allowances=(f.level("recipients", 0, "500/1h"),)), "defer 451 4.7.1"),
    ("sender.rate", Stage.RCPT, f.rcpt(**LOGIN, pending=Pending(refused=1), allowances=(SPARE,)), "defer 451 4.7.1"),
    ("sender.rate", Stage.RCPT, f.rcpt(**LOGIN, unseen=("account",), allowances=(f.level("new_recipients", 49, "50/1h"),)), ""),
    ("sender.rate", Stage.RCPT, f.rcpt(**LOGIN, unseen=("account",), pending=Pending(new={"account": 1}), allowances=(f.level("new_recipients", 49, "50/1h"),)), "defer 451 4.7.1"),
    ("sender.rate", Stage.RCPT, f.rcpt(**LOGIN, unseen=(), pending=Pending(new={"account": 1}), allowances=(f.level("new_recipients", 50, "50/1h"),)), ""),
    ("sender.rate", Stage.RCPT, f.rcpt(**LOGIN, unseen=Unavailable("x")), "defer 451 4.3.0"),
    ("sender.rate", Stage.RCPT, f.rcpt("nobody@example.org", "unknown", **LOGIN, allowances=(f.level("recipients", 500, "500/1h"),)), "defer 451 4.7.1"),
    ("sender.rate", Stage.MESSAGE, f.message(charged=Charged((f.level("messages", 200),))), ""),
    ("sender.rate", Stage.MESSAGE, f.message(charged=Charged((f.level("messages", 200),), fits=False)), "defer 451 4.7.1"),
    ("sender.rate", Stage.MESSAGE, f.message(octets=2 * 10**6, charged=Charged((f.level("octets", 0, "1MB/1h"),), fits=False)), "reject 550 5.7.1"),
    ("sender.rate", Stage.MESSAGE, f.message(charged=Unavailable("x")), "defer 451 4.3.0"),
    ("sender.rate", Stage.MESSAGE, f.message(header=f.header(received=101), charged=Charged((f.level("messages", 200),), fits=False)), ""),
    ("message.size", Stage.MAIL, f.mail(size=50 * 2**20), ""),
    ("message.size", Stage.MAIL, f.mail(size=50 * 2**20 + 1), "reject 552 5.3.4"),
    ("message.size", Stage.MESSAGE, f.message(octets=50 * 2**20 + 1), "reject 552 5.3.4"),
    ("recipient.syntax", Stage.RCPT, f.rcpt("a%b.example@inner.example", "relay"), "reject 550 5.7.1"),
    ("recipient.syntax", Stage.RCPT, f.rcpt("b.example!a@inner.example", "catch-all"), "reject 550 5.7.1"),
    ("recipient.syntax", Stage.RCPT, f.rcpt('"a@b.example"@inner.example', "relay"), "reject 550 5.7.1"),
    ("recipient.syntax", Stage.RCPT, f.rcpt("50%off@example.org", "account"), ""),
    ("recipient.syntax", Stage.RCPT, f.rcpt("jürgen@example.org", "account"), "reject 553 5.6.7"),
    ("relay", Stage.RCPT, f.rcpt(), ""),
    ("relay", Stage.RCPT, f.rcpt("x@far.example", "foreign"), "reject 550 5.7.1"),
    ("relay", Stage.RCPT, f.rcpt("x@far.example", "foreign", trusted=True), "reject 550 5.7.1"),
    ("relay", Stage.RCPT, f.rcpt("x@far.example", "foreign", is_loopback=True, client_ip="127.0.0.1"), "reject 550 5.7.1"),
    ("relay", Stage.RCPT, f.rcpt("x@far.example", "foreign", **LOGIN), ""),
    ("relay", Stage.RCPT, f.rcpt("x@far.example", "foreign", network_may_relay=True), ""),
    ("relay", Stage.RCPT, f.rcpt("x@far.example", "foreign", certificate="ada@example.org"), ""),
    ("relay", Stage.RCPT, f.rcpt("x@far.example", "foreign", service="lmtp", network_may_relay=True), "reject 550 5.7.1"),
    ("relay", Stage.RCPT, f.rcpt("x@far.example", "foreign", grant="ada@example.org"), ""),
    ("relay", Stage.RCPT, f.rcpt("x@far.example", "foreign", granted=("ada@example.org",)), "reject 550 5.7.1"),
    ("relay", Stage.RCPT, f.rcpt("x@far.example", "foreign", grant_unknown="x"), "defer 451 4.3.0"),
    ("relay", Stage.RCPT, f.rcpt(grant_unknown="x"), ""),
    ("relay", Stage.RCPT, f.rcpt("x@inner.example", "relay"), ""),
    ("relay", Stage.RCPT, f.rcpt(resolution=Unavailable("x")), "defer 451 4.3.0"),
    ("recipient.domain", Stage.RCPT, f.rcpt("x@far.example", "foreign", **LOGIN), ""),
    ("recipient.domain", Stage.RCPT, f.rcpt("x@far.example", "foreign", dns=f.dns("address"), **LOGIN), ""),
    ("recipient.domain", Stage.RCPT, f.rcpt("x@far.example", "foreign", dns=f.dns("no name"), **LOGIN), "reject 550 5.1.2"),
    ("recipient.domain", Stage.RCPT, f.rcpt("x@far.example", "foreign", dns=f.dns("no records"), **LOGIN), "reject 550 5.1.2"),
    ("recipient.domain", Stage.RCPT, f.rcpt("x@far.example", "foreign", dns=f.dns("null mx"), **LOGIN), "reject 556 5.1.10"),
    ("recipient.domain", Stage.RCPT, f.rcpt("x@far.example", "foreign", dns=Unavailable("x"), **LOGIN), ""),
    ("recipient.domain", Stage.RCPT, f.rcpt("x@far.example", "foreign", dns=f.dns("no name"), network_may_relay=True), ""),
    ("recipient.exists", Stage.RCPT, f.rcpt("x@inner.example", "relay", probe=f.answer("yes")), ""),
    ("recipient.exists", Stage.RCPT, f.rcpt("x@inner.example", "relay", probe=f.answer("no")), "reject 550 5.1.1"),
    ("recipient.exists", Stage.RCPT, f.rcpt("x@inner.example", "relay", probe=f.answer("no"), **LOGIN), "reject 550 5.1.1"),
    ("recipient.exists", Stage.RCPT, f.rcpt("x@inner.example", "relay", probe=f.answer("unknown")), ""),
    ("recipient.exists", Stage.RCPT, f.rcpt("x@inner.example", "relay", probe=f.answer("not asked")), ""),
    ("recipient.exists", Stage.RCPT, f.rcpt("nobody@example.org", "unknown"), "reject 550 5.1.1"),
    ("recipient.exists", Stage.RCPT, f.rcpt("nobody@example.org", "unknown", **LOGIN), "reject 550 5.1.1"),
    ("recipient.exists", Stage.RCPT, f.rcpt("list@example.org", "list"), ""),
    ("recipient.harvest", Stage.RCPT, f.rcpt("x@example.org", "unknown", harvest=f.harvest(5)), ""),
    ("recipient.harvest", Stage.RCPT, f.rcpt("x@example.org", "unknown", harvest=f.harvest(6)), "slow"),
    ("recipient.harvest", Stage.RCPT, f.rcpt("x@example.org", "unknown", harvest=f.harvest(31, is_full=True)), "defer 421 4.7.0"),
    ("recipient.harvest", Stage.RCPT, f.rcpt("x@example.org", "unknown", harvest=f.harvest(31, 31, is_full=True)), "defer 421 4.7.0"),
    ("recipient.harvest", Stage.RCPT, f.rcpt("x@example.org", "unknown", harvest=f.harvest(31, 32, is_full=True)), "slow"),
    ("recipient.harvest", Stage.RCPT, f.rcpt("x@example.org", "unknown", harvest=f.harvest(31, 500, is_full=True, decoy=True)), "defer 421 4.7.0"),
    ("recipient.harvest", Stage.RCPT, f.rcpt("x@example.org", "unknown", harvest=f.harvest(31, is_full=True), **LOGIN), "defer 421 4.7.0"),
    ("recipient.harvest", Stage.RCPT, f.rcpt("x@example.org", "unknown", harvest=f.harvest(31, is_full=True), trusted=True), ""),
    ("recipient.harvest", Stage.RCPT, f.rcpt("x@example.org", "unknown", harvest=Unavailable("x")), ""),
    ("recipient.harvest", Stage.RCPT, f.rcpt(harvest=f.harvest(31, is_full=True, counts=False)), ""),
    ("recipient.count", Stage.RCPT, f.rcpt(accepted=99), ""),
    ("recipient.count", Stage.RCPT, f.rcpt(accepted=100), "defer 452 4.5.3"),
    ("recipient.count", Stage.RCPT, f.rcpt(accepted=100, **LOGIN), ""),
    ("recipient.count", Stage.RCPT, f.rcpt(accepted=1000, **LOGIN), "defer 452 4.5.3"),
    ("recipient.quota", Stage.RCPT, f.rcpt(rooms=(Room("ada@example.org", 999, 1000),)), ""),
    ("recipient.quota", Stage.RCPT, f.rcpt(rooms=(Room("ada@example.org", 1000, 1000),)), "defer 452 4.2.2"),
    ("recipient.quota", Stage.RCPT, f.rcpt(size=11, rooms=(Room("ada@example.org", 990, 1000),)), "defer 452 4.2.2"),
    ("recipient.quota", Stage.RCPT, f.rcpt(size=10, rooms=(Room("ada@example.org", 990, 1000),)), ""),
    ("recipient.quota", Stage.RCPT, f.rcpt(rooms=(Room("ada@example.org", 1000, 1000), Room("bob@example.org", 0, 1000))), ""),
    ("recipient.quota", Stage.RCPT, f.rcpt(rooms=Unavailable("x")), ""),
    ("recipient.list", Stage.RCPT, f.rcpt("team@example.org", "list", list_standing=ListStanding("team@example.org", "members", True, False)), ""),
    ("recipient.list", Stage.RCPT, f.rcpt("team@example.org", "list", list_standing=ListStanding("team@example.org", "members", False, False)), "reject 550 5.7.2"),
    ("recipient.list", Stage.RCPT, f.rcpt("team@example.org", "list", list_standing=ListStanding("team@example.org", "members", False, True)), ""),
    ("recipient.list", Stage.RCPT, f.rcpt("team@example.org", "list", list_standing=ListStanding("team@example.org", "owners", True, False)), "reject 550 5.7.2"),
    ("recipient.list", Stage.RCPT, f.rcpt("team@example.org", "list", list_standing=ListStanding("team@example.org", "owners", False, True)), ""),
    ("recipient.list", Stage.RCPT, f.rcpt("team@example.org", "list", list_standing=ListStanding("team@example.org", "anyone", False, False)), ""),
    ("recipient.list", Stage.RCPT, f.rcpt("team@example.org", "list", sender="", list_standing=ListStanding("team@example.org", "members", False, False)), ""),
    ("recipient.list", Stage.RCPT, f.rcpt("team@example.org", "list", list_standing=Unavailable("x")), "defer 451 4.3.0"),
    ("recipient.rate", Stage.RCPT, f.rcpt(recipient_levels=(FULL,)), ""),
    ("content.framing", Stage.MESSAGE, f.message(defects=("bare-lf",)), "reject 550 5.6.0"),
    ("content.framing", Stage.MESSAGE, f.message(), ""),
    ("content.lines", Stage.MESSAGE, f.message(longest_line=65537), "reject 554 5.6.0"),
    ("content.lines", Stage.MESSAGE, f.message(longest_line=65536), "shadow reject"),
    ("content.lines", Stage.MESSAGE, f.message(longest_line=998), ""),
    ("content.lines", Stage.MESSAGE, f.message(has_8bit=True), "shadow reject"),
    ("content.lines", Stage.MESSAGE, f.message(has_8bit=True, declared_8bit=True), ""),
    ("content.lines", Stage.MESSAGE, f.message(header=f.header(octets=131073)), "reject 554 5.6.0"),
    ("content.lines", Stage.MESSAGE, f.message(header=f.header(fields=1001)), "reject 554 5.6.0"),
    ("content.headers", Stage.MESSAGE, f.message(header=f.header(counts={"date": 1})), "reject 554 5.6.0"),
    ("content.headers", Stage.MESSAGE, f.message("", header=f.header(counts={})), ""),
    ("content.headers", Stage.MESSAGE, f.message(header=f.header(counts={"from": 2})), "reject 554 5.6.0"),
    ("content.headers", Stage.MESSAGE, f.message(header=f.header(counts={"from": 1})), ""),
    ("content.headers", Stage.MESSAGE, f.message(header=f.header(counts={"from": 1, "subject": 2})), "reject 554 5.6.0"),
    ("content.headers", Stage.MESSAGE, f.message(header=f.header(defects=("a line without a field name",))), "reject 554 5.6.0"),
    ("content.loop", Stage.MESSAGE, f.message(header=f.header(received=100)), ""),
    ("content.loop", Stage.MESSAGE, f.message(header=f.header(received=101)), "reject 554 5.4.6"),
    ("content.loop", Stage.MESSAGE, f.message(header=f.header(delivered_to=("ADA@example.org",))), "reject 554 5.4.6"),
    ("content.loop", Stage.MESSAGE, f.message(header=f.header(delivered_to=("bob@example.org",))), ""),
    ("content.dkim", Stage.MESSAGE, f.message(), ""),
    ("content.dkim", Stage.MESSAGE, f.message(dkim=(DkimResult("pass", "example.net"),)), "pass"),
    ("content.dkim", Stage.MESSAGE, f.message(dkim=(DkimResult("fail", "example.net"),)), "pass"),
    ("content.dkim", Stage.MESSAGE, f.message(dkim=(DkimResult("temperror"), DkimResult("permerror"))), "pass"),
    ("content.dkim", Stage.MESSAGE, f.message(peer=LOGIN, dkim=(DkimResult("fail", "example.net"),)), ""),
    ("content.from", Stage.MESSAGE, f.message(peer=LOGIN), ""),
    ("content.from", Stage.MESSAGE, f.message(peer=LOGIN, from_=FromFacts(("b@x.example",), ("b@x.example",))), "reject 550 5.7.1"),
    ("content.from", Stage.MESSAGE, f.message(peer=LOGIN, from_=FromFacts(("ada@example.org", "b@x.example"), ("b@x.example",))), "reject 550 5.7.1"),
    ("content.from", Stage.MESSAGE, f.message(peer=LOGIN, from_=FromFacts(("ada@example.org", "a@example.org"), needs_sender=True)), ""),
    ("content.from", Stage.MESSAGE, f.message(peer=LOGIN, from_=FromFacts(defect="it names no address")), "reject 550 5.7.1"),
    ("content.from", Stage.MESSAGE, f.message(peer=LOGIN, from_=Unavailable("x")), "defer 451 4.3.0"),
    ("content.from", Stage.MESSAGE, f.message(peer={"grant": "ada@example.org"}, from_=FromFacts(("b@x.example",), ("b@x.example",))), "reject 550 5.7.1"),
    ("content.from", Stage.MESSAGE, f.message(peer={"certificate": "ada@example.org"}, from_=FromFacts(("b@x.example",), ("b@x.example",))), "reject 550 5.7.1"),
    ("content.from", Stage.MESSAGE, f.message(from_=FromFacts(("b@x.example",), ("b@x.example",))), ""),
    ("content.from", Stage.MESSAGE, f.message(peer={"network_may_relay": True}, from_=FromFacts(("b@x.example",), ("b@x.example",))), ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "stage", "facts", "expected"), ROWS)
def test_a_check_decides_as_its_table_says(name: str, stage: Stage, facts: Facts, expected: str) -> None:
    assert verdict_of(name, decide(stage, facts)) == expected


SETTINGS: list[tuple[str, CheckSettings, Stage, Facts, str]] = [
    ("content.sealed", content_sealed.Settings(), Stage.MESSAGE, f.message(peer=LOGIN, sealed=""), ""),
    ("content.sealed", SEALED, Stage.MESSAGE, f.message(peer=LOGIN, sealed=""), "reject 550 5.7.1"),
    ("content.sealed", SEALED, Stage.MESSAGE, f.message(peer=LOGIN, sealed="openpgp"), ""),
    ("content.sealed", SEALED, Stage.MESSAGE, f.message(peer=LOGIN, sealed="smime"), ""),
    ("content.sealed", SEALED, Stage.MESSAGE, f.message(peer=LOGIN, sealed=Unavailable("no memory")), "defer 451 4.3.0"),
    ("content.sealed", SEALED, Stage.MESSAGE, f.message(peer={"network_may_relay": True}, sealed=""), ""),
    ("content.sealed", TO_PARTNER, Stage.MESSAGE, f.message(recipients=("eve@far.example",), peer=LOGIN, sealed=None), ""),
    ("content.sealed", TO_PARTNER, Stage.MESSAGE, f.message(recipients=BOTH, peer=LOGIN, sealed=""), "reject 550 5.7.1"),
    ("content.sealed", TO_PARTNER, Stage.MESSAGE, f.message(recipients=BOTH, peer=LOGIN, sealed="smime"), ""),
    ("content.sealed", content_sealed.Settings(mode="enforce", services=("mx",)), Stage.MESSAGE, f.message(sealed=""), "reject 550 5.7.1"),
    ("client.access", client_access.Settings(only_listed=True), Stage.CONNECT, f.connect(), "reject 554 5.7.1"),
    ("client.access", client_access.Settings(only_listed=True), Stage.CONNECT, f.connect(trusted=True, is_loopback=True, client_ip="127.0.0.1"), "reject 554 5.7.1"),
    ("client.access", client_access.Settings(only_listed=True), Stage.CONNECT, f.connect(access=Listing("allowed.cidr")), ""),
    ("client.access", client_access.Settings(only_listed=True), Stage.CONNECT, f.connect(client_ip=""), ""),
    ("client.access", client_access.Settings(only_listed=True, services=("submission",)), Stage.CONNECT, f.connect(), ""),
    ("client.banned", CheckSettings(mode="shadow"), Stage.CONNECT, f.connect(ban=f.banned(by="root")), "shadow reject"),
    ("client.rate", client_rate.Settings(mode="off"), Stage.CONNECT, f.connect(arrivals=ArrivalWaits(9, 9)), ""),
    ("client.connections", client_connections.Settings(per_address=2), Stage.CONNECT, f.connect(3, 3, 3), "defer 421 4.7.0"),
    ("helo.name", helo_name.Settings(refuse_at="helo"), Stage.HELO, f.helo("mx.example.org"), "reject 550 5.7.1"),
    ("helo.name", helo_name.Settings(mode="shadow"), Stage.HELO, f.helo("x y", well_formed=False), "shadow reject"),
    ("helo.name", helo_name.Settings(mode="off"), Stage.HELO, f.helo("x y", well_formed=False), ""),
    ("tls.required", tls_required.Settings(networks=("192.0.2.0/24",)), Stage.MAIL, f.mail(), "reject 530 5.7.0"),
    ("tls.required", tls_required.Settings(networks=("192.0.2.0/24",)), Stage.MAIL, f.mail(client_ip="198.51.100.1"), ""),
    ("auth.attempts", auth_attempts.Settings(per_session=1), Stage.AUTH, f.auth(in_session=1), "defer 421 4.7.0"),
    ("command.allowed", command_allowed.Settings(auth_on_mx=True), Stage.AUTH, f.auth(service="mx"), ""),
    ("command.allowed", command_allowed.Settings(disabled=("HELP",)), Stage.COMMAND, f.command("HELP"), "reject 502 5.5.1"),
    ("command.allowed", command_allowed.Settings(disabled=("VRFY",)), Stage.COMMAND, f.command("VRFY", **LOGIN), "reject 252 2.0.0"),
    ("command.allowed", command_allowed.Settings(disabled=("EXPN",)), Stage.COMMAND, f.command("EXPN", **LOGIN), "reject 252 2.0.0"),
    ("command.allowed", command_allowed.Settings(expn=("anyone",)), Stage.COMMAND, f.command("EXPN"), ""),
    ("command.allowed", command_allowed.Settings(vrfy=("login",)), Stage.COMMAND, f.command("VRFY", network_may_relay=True), "reject 252 2.0.0"),
    ("command.allowed", command_allowed.Settings(vrfy=("network",)), Stage.COMMAND, f.command("VRFY", network_may_relay=True), ""),
    ("command.allowed", command_allowed.Settings(vrfy=("grant",)), Stage.COMMAND, f.command("VRFY", grant="ada@example.org"), ""),
    ("command.allowed", command_allowed.Settings(vrfy=("certificate",)), Stage.COMMAND, f.command("VRFY", certificate="ada@example.org"), ""),
    ("command.allowed", command_allowed.Settings(vrfy=("trusted",)), Stage.COMMAND, f.command("VRFY", trusted=True), ""),
    ("command.allowed", command_allowed.Settings(vrfy=("192.0.2.0/24",)), Stage.COMMAND, f.command("VRFY"), ""),
    ("command.allowed", command_allowed.Settings(vrfy=("192.0.2.0/24",)), Stage.COMMAND, f.command("VRFY", client_ip="198.51.100.1", **SUBMISSION), "reject 252 2.0.0"),
    ("command.allowed", command_allowed.Settings(vrfy=("192.0.2.0/24",)), Stage.COMMAND, f.command("VRFY", client_ip=""), "reject 252 2.0.0"),
    ("command.allowed", command_allowed.Settings(vrfy=("submission", "login")), Stage.COMMAND, f.command("VRFY", **LOGIN), ""),
    ("command.allowed", command_allowed.Settings(vrfy=("submissions", "login")), Stage.COMMAND, f.command("VRFY", **LOGIN), "reject 252 2.0.0"),
    ("command.allowed", command_allowed.Settings(help=("submission",)), Stage.COMMAND, f.command("HELP"), "reject 502 5.5.1"),
    ("command.allowed", command_allowed.Settings(auth=("mx", "192.0.2.7/32")), Stage.AUTH, f.auth(service="mx"), ""),
    ("command.allowed", command_allowed.Settings(auth=("mx", "192.0.2.7/32")), Stage.AUTH, f.auth(service="mx", client_ip="192.0.2.8"), "reject 502 5.5.1"),
    ("command.allowed", command_allowed.Settings(auth=()), Stage.AUTH, f.auth(), "reject 502 5.5.1"),
    ("command.budget", command_budget.Settings(idle=20), Stage.COMMAND, f.command("NOOP", idle=21), "defer 421 4.7.0"),
    ("expn.scope", expn_scope.Settings(see=("owner",)), Stage.COMMAND, f.command("EXPN", scope=ListScope(True, domain=True, member=True), **LOGIN), "reject 550 5.7.1"),
    ("expn.scope", expn_scope.Settings(see=("anyone",)), Stage.COMMAND, f.command("EXPN", scope=ListScope(True), network_may_relay=True), ""),
    ("sender.local", sender_local.Settings(networks=("192.0.2.0/24",)), Stage.MAIL, f.mail("ada@example.org", ours=True), ""),
    ("sender.local", sender_local.Settings(networks=("198.51.100.0/24",)), Stage.MAIL, f.mail("ada@example.org", ours=True), "reject 550 5.7.1"),
    ("sender.callout", CALLED, Stage.RCPT, f.rcpt(callout=f.answer("yes")), ""),
    ("sender.callout", CALLED, Stage.RCPT, f.rcpt(callout=f.answer("no")), "reject 550 5.1.7"),
    ("sender.callout", CALLED, Stage.MAIL, f.mail(callout=f.answer("no")), "reject 550 5.1.7"),
    ("sender.callout", CALLED, Stage.RCPT, f.rcpt(callout=f.answer("unknown")), ""),
    ("sender.callout", CALLED, Stage.RCPT, f.rcpt(callout=f.answer("not asked")), ""),
    ("sender.callout", CALLED, Stage.RCPT, f.rcpt(callout=f.answer("no"), network_may_relay=True), ""),
    ("sender.callout", CALLED, Stage.RCPT, f.rcpt("x@example.org", "unknown", callout=f.answer("no")), ""),
    ("sender.callout", sender_callout.Settings(mode="shadow"), Stage.RCPT, f.rcpt(callout=f.answer("no")), "shadow reject"),
    ("sender.callout", sender_callout.Settings(mode="enforce", unknown="defer"), Stage.RCPT, f.rcpt(callout=f.answer("unknown")), "defer 450 4.1.7"),
    ("sender.callout", sender_callout.Settings(mode="enforce", unknown="defer"), Stage.RCPT, f.rcpt(callout=f.answer("not asked")), ""),
    ("sender.spf", ALL_SPF, Stage.MAIL, f.mail(spf=f.spf("softfail")), "reject 550 5.7.23"),
    ("sender.spf", ALL_SPF, Stage.MAIL, f.mail(spf=f.spf("permerror")), "reject 550 5.7.24"),
    ("sender.spf", ALL_SPF, Stage.MAIL, f.mail(spf=f.spf("temperror")), "defer 451 4.7.24"),
    ("sender.spf", ALL_SPF, Stage.MAIL, f.mail(spf=f.spf("neutral")), "pass"),
    ("sender.spf", ALL_SPF, Stage.MAIL, f.mail(spf=f.spf("softfail", has_dmarc=True)), "pass"),
    ("sender.spf", ALL_SPF, Stage.MESSAGE, f.message(spf=f.spf("softfail", has_dmarc=True)), "reject 550 5.7.23"),
    ("sender.spf", sender_spf.Settings(refuse=()), Stage.MAIL, f.mail(spf=f.spf("fail")), "pass"),
    ("sender.spf", sender_spf.Settings(refuse=()), Stage.MESSAGE, f.message(spf=f.spf("fail", has_dmarc=True)), ""),
    ("sender.spf", sender_spf.Settings(mode="shadow"), Stage.MAIL, f.mail(spf=f.spf("fail")), "shadow reject"),
    ("sender.spf", sender_spf.Settings(mode="off"), Stage.MAIL, f.mail(spf=f.spf("fail")), ""),
    ("recipient.exists", recipient_exists.Settings(unknown="defer"), Stage.RCPT, f.rcpt("x@inner.example", "relay", probe=f.answer("unknown")), "defer 450 4.1.1"),
    ("recipient.exists", recipient_exists.Settings(unknown="defer"), Stage.RCPT, f.rcpt("x@inner.example", "relay", probe=f.answer("not asked")), ""),
    ("recipient.harvest", recipient_harvest.Settings(free=0), Stage.RCPT, f.rcpt("x@example.org", "unknown", harvest=f.harvest(1)), "slow"),
    ("recipient.harvest", recipient_harvest.Settings(share=90), Stage.RCPT, f.rcpt("x@example.org", "unknown", harvest=f.harvest(31, 10, is_full=True)), "slow"),
    ("message.size", message_size.Settings(limit=1000), Stage.MESSAGE, f.message(octets=1001), "reject 552 5.3.4"),
    ("message.size", message_size.Settings(service={"submission": 2000}), Stage.MESSAGE, f.message(octets=2000, peer=LOGIN), ""),
    ("message.size", message_size.Settings(service={"submission": 2000}), Stage.MESSAGE, f.message(octets=2001, peer=LOGIN), "reject 552 5.3.4"),
    ("message.size", message_size.Settings(service={"submission": 2000}), Stage.MESSAGE, f.message(octets=2001), ""),
    ("message.size", message_size.Settings(account={"ada@example.org": 9}), Stage.MAIL, f.mail(size=10, **LOGIN), "reject 552 5.3.4"),
    ("message.size", message_size.Settings(account={"ada@example.org": 9}), Stage.MAIL, f.mail(size=10), ""),
    ("message.size", message_size.Settings(limit=5, account={"ada@example.org": 9}), Stage.MAIL, f.mail(size=9, **LOGIN), ""),
    ("message.size", message_size.Settings(limit=5, domain={"example.org": 9}), Stage.MAIL, f.mail(size=9), ""),
    ("message.size", message_size.Settings(limit=5, domain={"example.org": 9}), Stage.MAIL, f.mail(size=10), "reject 552 5.3.4"),
    ("message.size", message_size.Settings(limit=5, domain={"example.org": 9}), Stage.RCPT, f.rcpt(size=9), ""),
    ("message.size", message_size.Settings(limit=5, domain={"example.org": 9}), Stage.RCPT, f.rcpt("x@far.example", "foreign", size=9, **LOGIN), "reject 552 5.3.4"),
    ("message.size", message_size.Settings(limit=20, domain={"example.org": 9}), Stage.RCPT, f.rcpt(size=10), "reject 552 5.3.4"),
    ("message.size", message_size.Settings(domain={"example.org": 20}, account={"ada@example.org": 9}), Stage.RCPT, f.rcpt(size=10, **LOGIN), "reject 552 5.3.4"),
    ("message.size", message_size.Settings(limit=5, domain={"example.org": 9}), Stage.MESSAGE, f.message(octets=9), ""),
    ("message.size", message_size.Settings(limit=5, domain={"example.org": 9}), Stage.MESSAGE, f.message("", ("ada@example.org", "x@far.example"), octets=9), "reject 552 5.3.4"),
    ("sender.rate", sender_rate.Settings(action="reject"), Stage.MAIL, f.mail(**LOGIN, allowances=(f.level("messages", 200),)), "reject 550 5.7.1"),
    ("sender.rate", sender_rate.Settings(action="reject"), Stage.MAIL, f.mail(**LOGIN, allowances=(f.level("messages", 0, spare=200),)), "defer 451 4.7.1"),
    ("sender.rate", sender_rate.Settings(action="reject"), Stage.MAIL, f.mail(allowances=(f.level("messages", 200, subject="address"),)), "defer 451 4.7.1"),
    ("sender.rate", sender_rate.Settings(action="hold"), Stage.MAIL, f.mail(**LOGIN, allowances=(f.level("messages", 200),)), ""),
    ("sender.rate", sender_rate.Settings(action="hold"), Stage.MAIL, f.mail(**LOGIN, allowances=(f.level("messages", 200, spare=200),)), "defer 451 4.7.1"),
    ("sender.rate", sender_rate.Settings(action="hold"), Stage.MAIL, f.mail(**LOGIN, size=9, allowances=(f.level("octets", 0, "8/1h"),)), "reject 550 5.7.1"),
    ("sender.rate", sender_rate.Settings(action="hold"), Stage.MAIL, f.mail(allowances=(f.level("messages", 200, subject="address"),)), "defer 451 4.7.1"),
    ("sender.rate", sender_rate.Settings(action="hold"), Stage.MESSAGE, f.message(peer=LOGIN, charged=Charged((f.level("messages", 200),), fits=False, spare_fits=True)), "hold 250 2.0.0"),
    ("sender.rate", sender_rate.Settings(action="hold"), Stage.MESSAGE, f.message(peer=LOGIN, charged=Charged((f.level("messages", 200),), fits=False)), "defer 451 4.7.1"),
    ("recipient.rate", recipient_rate.Settings(mode="enforce"), Stage.RCPT, f.rcpt(recipient_levels=(FULL,)), "defer 450 4.2.1"),
    ("recipient.rate", recipient_rate.Settings(mode="enforce"), Stage.RCPT, f.rcpt(recipient_levels=Unavailable("x")), ""),
    ("recipient.rate", recipient_rate.Settings(mode="enforce"), Stage.MESSAGE, f.message(recipient_limits=(FULL.limit,), charged=Charged(full=(FULL,))), "defer 450 4.2.1"),
    ("recipient.rate", recipient_rate.Settings(mode="enforce"), Stage.MESSAGE, f.message(recipient_limits=(FULL.limit, f.level("messages", 0, subject="recipient", of="bob@example.org").limit), charged=Charged(full=(FULL,))), ""),
    ("recipient.count", recipient_count.Settings(limit=150), Stage.RCPT, f.rcpt(accepted=150), "defer 452 4.5.3"),
    ("content.lines", content_lines.Settings(longest_line=2000), Stage.MESSAGE, f.message(longest_line=2001), "reject 554 5.6.0"),
    ("content.headers", content_headers.Settings(require_date=True), Stage.MESSAGE, f.message(header=f.header(counts={"from": 1})), "reject 554 5.6.0"),
    ("content.loop", content_loop.Settings(hops=5), Stage.MESSAGE, f.message(header=f.header(received=6)), "reject 554 5.4.6"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "stage", "facts", "expected"), SETTINGS)
def test_a_setting_changes_what_its_check_decides(
    name: str, settings: CheckSettings, stage: Stage, facts: Facts, expected: str
) -> None:
    assert verdict_of(name, decide(stage, facts, {name: settings})) == expected


@pytest.mark.parametrize(
    ("facts", "told", "kept"),
    [
        (f.connect(arrivals=ArrivalWaits(0.4, 0)), "try again in 1 seconds", "120"),
        (f.connect(arrivals=ArrivalWaits(0, math.inf)), "try again in 60 seconds", "480"),
        (f.connect(ban=f.banned()), "until 2025-11-24 17:00 UTC; try again after that", "harvesting"),
        (f.connect(ban=f.banned(by="root")), "tell the postmaster by other means", "harvesting"),
        (f.connect(access=Listing(denied="denied.cidr")), "tell the postmaster by other means", "denied.cidr"),
    ],
)
def test_a_refusal_at_the_connection_ends_it_and_says_what_to_do(facts: Facts, told: str, kept: str) -> None:
    """`kept` is for the operator only."""
    verdict = decide(Stage.CONNECT, facts).verdict
    assert verdict is not None
    assert verdict.close
    assert not verdict.silent
    assert told in verdict.reply.text
    assert kept in verdict.reason
    assert kept not in verdict.reply.text


def test_what_a_domain_says_about_a_fail_is_told_only_where_the_settings_say_so() -> None:
    facts = f.mail(spf=f.spf("fail", explanation="Ask the help desk"))
    for explain in (False, True):
        verdict = decide(Stage.MAIL, facts, {"sender.spf": sender_spf.Settings(explain=explain)}).verdict
        assert verdict is not None
        assert ("(example.net says: Ask the help desk)" in verdict.reply.text) is explain


@pytest.mark.parametrize(
    ("stage", "facts", "reason"),
    [
        (
            Stage.MAIL,
            f.mail(spf=SpfResult("pass", "far.example", mechanism="mx", found_at="far.example")),
            "pass for far.example: mx in the record of far.example",
        ),
        (Stage.MAIL, f.mail(spf=f.spf("softfail")), "softfail for example.net: -all is about 192.0.2.7"),
        (Stage.MAIL, f.mail(spf=f.spf("fail", has_dmarc=True)), "a DMARC record lets it wait"),
        (
            Stage.MESSAGE,
            f.message(spf=f.spf("fail", has_dmarc=True), spf_excuse="far.example"),
            "signature of far.example excuses it",
        ),
    ],
)
def test_what_spf_found_is_on_the_record_though_nothing_is_refused(stage: Stage, facts: Facts, reason: str) -> None:
    (noted,) = [each for each in decide(stage, facts).evaluated if each.check == "sender.spf" and each.reason]
    assert noted.verdict == "pass"
    assert reason in noted.reason
    assert isinstance(noted.facts["spf"], SpfResult)


def test_access_can_be_refused_without_a_word() -> None:
    settings = {"client.access": client_access.Settings(silent=True)}
    verdict = decide(Stage.CONNECT, f.connect(access=Listing(denied="denied.cidr")), settings).verdict
    assert verdict is not None
    assert verdict.silent


def test_every_check_has_a_row_that_refuses_or_is_noted_and_one_that_passes() -> None:
    for check in CHECKS:
        outcomes = {bool(expected) for name, _, _, expected in ROWS if name == check.name}
        if set(check.defaults.values()) == {"off"}:  # it is its settings that make it run
            outcomes |= {bool(expected) for name, *_, expected in SETTINGS if name == check.name}
        assert outcomes == {True, False}, check.name


def test_no_reply_names_a_rule_and_every_refusal_has_a_reason() -> None:
    names = {check.name for check in CHECKS}
    for _, stage, facts, _ in ROWS:
        verdict = decide(stage, facts).verdict
        if verdict is not None:
            assert verdict.reason
            assert not any(name in verdict.reply.text for name in names if "." in name)
