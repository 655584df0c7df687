"""`client.access`: who may start a session at all, by the operator's tables of networks and host names."""

from __future__ import annotations

from gatepost.mail.reply import Reply
from gatepost.mail.units import AccessText
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.facts import SERVICES, ConnectFacts, Stage
from gatepost.policy.findings import Listing
from gatepost.policy.verdict import Verdict

NAME = "client.access"


class Settings(CheckSettings, frozen=True, kw_only=True):
    """allow, deny: addresses, networks, host names (".example.net" for every host below it), "file:PATH" for a table
    with one of these on each line. only_listed: who is not in `allow` starts no session. silent: refusals close the
    connection without a word."""

    allow: tuple[AccessText, ...] = ()
    deny: tuple[AccessText, ...] = ()
    only_listed: bool = False
    silent: bool = False


def decide(facts: ConnectFacts, settings: Settings) -> Verdict | None:
    """`allow` wins over `deny`; a name that could not be verified might be in either. A program of this machine (a
    unix socket) has no address to be listed."""
    listing = facts.access
    if not isinstance(listing, Listing) or not facts.session.client_ip or listing.allowed:
        return None
    if listing.unverified:
        return Verdict(NAME, Reply(421, "4.4.3", "The name of your host cannot be verified now, try again later"),
                       f"the tables hold host names, and {listing.unverified}", close=True)  # fmt: skip
    if listing.denied:
        return _refusal(f"denied by {listing.denied}", settings)
    if settings.only_listed:
        return _refusal("only those in `allow` may start a session, and this peer is not", settings)
    return None


def _refusal(reason: str, settings: Settings) -> Verdict:
    reply = Reply(554, "5.7.1", "No service for your address; if that is wrong, tell the postmaster by other means")
    return Verdict(NAME, reply, reason, close=True, silent=settings.silent)


CHECK = Check(
    NAME,
    "allow and deny tables: addresses, networks, verified host names, files",
    (Step(Stage.CONNECT, decide, needs=("access",), reads=("session.client_ip", "access")),),
    dict.fromkeys(SERVICES, "enforce"),
    Settings(),
)
