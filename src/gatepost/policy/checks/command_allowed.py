"""`command.allowed`: which commands and extensions whom; VRFY and EXPN tell nothing to strangers (RFC 5321 §3.5.3,
§7.3)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

import msgspec

from gatepost.mail.network import NetworkSet
from gatepost.mail.reply import Reply
from gatepost.mail.units import WhoText
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SERVICES, SMTP_SERVICES, AuthFacts, CommandFacts, SessionFacts, Stage
from gatepost.policy.verdict import Verdict

NAME = "command.allowed"
Disabled = Literal["AUTH", "EXPN", "HELP", "VRFY"]
ANYONE: Final = ("anyone",)
AUTHORISED: Final = ("login", "certificate", "grant", "network")
WHO: Final = (*SERVICES, *AUTHORISED, "trusted", *ANYONE)
"""The words of `mail.units.WhoText`; what is none of them is a network."""


class Settings(CheckSettings, frozen=True, kw_only=True):
    """auth, vrfy, expn, help, chunking (BDAT), dsn, smtputf8: who may use it. Services in the list say where, the other
    words say who: `login`, `certificate`, `grant`, `network` (of `relay.networks`), `trusted`, `anyone`, a network.
    auth_on_mx: AUTH on `mx` too (old devices that cannot use another port). disabled: commands nobody may use.
    """

    auth: tuple[WhoText, ...] = ("submission", "submissions", "pop3", "pop3s")
    vrfy: tuple[WhoText, ...] = AUTHORISED
    expn: tuple[WhoText, ...] = AUTHORISED
    help: tuple[WhoText, ...] = ANYONE
    chunking: tuple[WhoText, ...] = ANYONE
    dsn: tuple[WhoText, ...] = ANYONE
    smtputf8: tuple[WhoText, ...] = ANYONE
    auth_on_mx: bool = False
    disabled: tuple[Disabled, ...] = ()

    def of(self, verb: str) -> tuple[str, ...]:
        """The words for a command or extension, upper case; one that has no setting is everybody's."""
        if verb in self.disabled:
            return ()
        words: tuple[str, ...] = getattr(self, verb.lower()) if verb in _SET else ANYONE
        return (*words, "mx") if verb == "AUTH" and self.auth_on_mx else words


_SET: Final = frozenset(("AUTH", "VRFY", "EXPN", "HELP", "CHUNKING", "DSN", "SMTPUTF8"))


class _Rule(msgspec.Struct, frozen=True):
    """What a list of words means. is_empty: nobody."""

    is_empty: bool
    services: frozenset[str]
    ways: frozenset[str]
    networks: NetworkSet


@lru_cache(maxsize=256)
def _rule(words: tuple[str, ...]) -> _Rule:
    given = frozenset(words)
    services = given & frozenset(SERVICES)
    ways = given & frozenset((*AUTHORISED, "trusted", *ANYONE))
    networks = NetworkSet(given - services - ways)
    everybody = not ways and not networks  # only places were named
    return _Rule(not given, services, frozenset(ANYONE) if everybody else ways, networks)


def may_use(verb: str, session: SessionFacts, settings: Settings) -> bool:
    """Whether this peer may use the command or extension (upper case)."""
    words = settings.of(verb)
    if words == ANYONE:
        return True
    rule = _rule(words)
    if rule.is_empty or (rule.services and session.service not in rule.services):
        return False
    return (
        "anyone" in rule.ways
        or ("login" in rule.ways and bool(session.login))
        or ("certificate" in rule.ways and bool(session.certificate))
        or ("grant" in rule.ways and bool(session.grant))
        or ("network" in rule.ways and session.network_may_relay)
        or ("trusted" in rule.ways and session.trusted)
        or (bool(session.client_ip) and session.client_ip in rule.networks)
    )


def single(facts: CommandFacts, settings: Settings) -> Verdict | None:
    """VRFY: 252 to everybody who may not know, whatever the name; the same for EXPN when it is switched off."""
    verb = facts.verb
    if may_use(verb, facts.session, settings):
        return None
    if not settings.of(verb):
        if verb in ("VRFY", "EXPN"):
            return Verdict(NAME, Reply(252, "2.0.0", f"Cannot {verb}, but will take mail for a user of this server"),
                           f"{verb} is switched off", action="reject")  # fmt: skip
        return Verdict(NAME, Reply(502, "5.5.1", "Command not implemented"), f"{verb} is switched off")
    if verb == "VRFY":
        return Verdict(NAME, Reply(252, "2.0.0", "Cannot VRFY, but will take mail for a user of this server"),
                       "VRFY from a peer that may not know", action="reject")  # fmt: skip
    if verb == "EXPN":
        return Verdict(NAME, Reply(550, "5.7.1", "Access denied: log in to expand lists"),
                       "EXPN from a peer that may not know")  # fmt: skip
    return Verdict(NAME, Reply(502, "5.5.1", "Command not implemented"), f"{verb} from a peer that may not use it")


def auth(facts: AuthFacts, settings: Settings) -> Verdict | None:
    """No AUTH on mx: nobody submits there, so a login there is a guess."""
    if may_use("AUTH", facts.session, settings):
        return None
    return Verdict(NAME, Reply(502, "5.5.1", "AUTH is not offered here; use the submission port"),
                   f"AUTH on {facts.session.service}, by a peer that may not use it there")  # fmt: skip


CHECK = Check(
    NAME,
    "which commands and extensions whom: no AUTH on mx, VRFY and EXPN for authorised peers only",
    (
        Step(Stage.AUTH, auth, reads=("session.service", "session.client_ip")),
        Step(Stage.COMMAND, single, reads=("verb", "session.client_ip")),
    ),
    dict.fromkeys(SMTP_SERVICES, "enforce"),
    Settings(),
)
