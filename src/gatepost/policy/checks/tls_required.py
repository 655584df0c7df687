"""`tls.required`: no password and no submission in clear (RFC 8314 §3.3, RFC 4954 §4)."""

from __future__ import annotations

from gatepost.mail.network import NetworkSet
from gatepost.mail.reply import Reply
from gatepost.mail.units import NetworkText
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SERVICES, SUBMISSION, AuthFacts, MailFacts, SessionFacts, Stage
from gatepost.policy.verdict import Verdict

NAME = "tls.required"


class Settings(CheckSettings, frozen=True, kw_only=True):
    """networks: peers that must use TLS on `mx` too, as CIDR (a partner that agreed to it)."""

    networks: tuple[NetworkText, ...] = ()


def has_privacy(session: SessionFacts) -> bool:
    """TLS, or a peer on this very machine: nobody else reads what is said."""
    return bool(session.tls_version) or session.is_loopback


def before_auth(facts: AuthFacts, settings: Settings) -> Verdict | None:
    """Always: a password in clear is a password lost. No setting removes this step."""
    if has_privacy(facts.session):
        return None
    return Verdict(NAME, Reply(538, "5.7.11", "Encryption required: use STARTTLS before you log in"),
                   "a login without TLS, and the peer is not on loopback")  # fmt: skip


def before_mail(facts: MailFacts, settings: Settings) -> Verdict | None:
    """On submission, and on mx for the networks that are named."""
    session = facts.session
    if has_privacy(session):
        return None
    if session.service in SUBMISSION or (settings.networks and session.client_ip in NetworkSet(settings.networks)):
        return Verdict(NAME, Reply(530, "5.7.0", "Must issue a STARTTLS command first"),
                       f"mail without TLS on {session.service}")  # fmt: skip
    return None


CHECK = Check(
    NAME,
    "TLS before a login, and before mail on submission; loopback excepted",
    (
        Step(Stage.AUTH, before_auth, reads=("session.client_ip", "session.tls_version")),
        Step(Stage.MAIL, before_mail, reads=("session.client_ip", "session.tls_version")),
    ),
    dict.fromkeys(SERVICES, "enforce"),
    Settings(),
    optional=False,
)
