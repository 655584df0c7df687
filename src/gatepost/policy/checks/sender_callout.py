"""`sender.callout`: the sender's own mail host would take a bounce to it."""

from __future__ import annotations

from typing import Final, Literal

from gatepost.mail.reply import Reply
from gatepost.mail.units import DomainText, Duration, Quota
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import MailFacts, RcptFacts, Stage
from gatepost.policy.findings import AddressAnswer
from gatepost.policy.verdict import Verdict

NAME = "sender.callout"
# Hosts of many domains: they take every question for an attack on their users, or answer yes to all.
PROVIDERS: Final = (
    "aol.com", "gmail.com", "gmx.de", "gmx.net", "google.com", "googlemail.com", "hotmail.com", "icloud.com",
    "live.com", "mail.ru", "mimecast.com", "mailgun.org", "messagelabs.com", "outlook.com", "pphosted.com", "proton.me",
    "protonmail.ch", "qq.com", "sendgrid.net", "t-online.de", "web.de", "yahoo.com", "yahoodns.net", "yandex.net",
    "yandex.ru", "zoho.com",
)  # fmt: skip


class Settings(CheckSettings, frozen=True, kw_only=True):
    """at: before MAIL is accepted, or at RCPT, where the recipients that are refused anyhow cost no question and
    postmaster stays reachable. unknown: what happens when the host was asked and does not tell. accepted_for,
    refused_for: how long an answer is remembered. per_domain, total: questions at most. providers: domains of senders,
    or of their mail hosts, that are never asked, and all below them. timeout: for one question."""

    at: Literal["mail", "rcpt"] = "rcpt"
    unknown: Literal["accept", "defer"] = "accept"
    accepted_for: Duration = 7 * 86400.0
    refused_for: Duration = 7200.0
    per_domain: Quota = Quota(20, 3600.0)
    total: Quota = Quota(500, 3600.0)
    providers: tuple[DomainText, ...] = PROVIDERS
    timeout: Duration = 15.0


def decide(facts: MailFacts | RcptFacts, settings: Settings) -> Verdict | None:
    """Only a plain no refuses. Who was not asked passes: a budget that is used up must not stop the mail."""
    answer = facts.callout
    if not isinstance(answer, AddressAnswer):
        return None
    if answer.says == "no":
        reply = Reply(550, "5.1.7", "The sender address does not exist where its mail goes; correct the sender")
        return Verdict(NAME, reply, f"{answer.host} takes no bounce to {facts.reverse_path}: {answer.why}")
    if answer.says == "unknown" and settings.unknown == "defer":
        reply = Reply(450, "4.1.7", "The sender address cannot be verified now, try again later")
        return Verdict(NAME, reply, f"it is not known whether {facts.reverse_path} takes a bounce: {answer.why}")
    return None


_READS: Final = ("reverse_path", "callout")
CHECK = Check(
    NAME,
    "the sender's mail host takes a bounce to it (off unless configured)",
    (
        Step(Stage.MAIL, decide, needs=("callout",), reads=_READS),
        Step(Stage.RCPT, decide, needs=("callout",), reads=_READS, last=True),  # a question costs somebody else
    ),
    {"mx": "off"},
    Settings(),
    strangers_only=True,
)
