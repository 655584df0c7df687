"""POP-before-SMTP: what is remembered of an address that somebody logged in from, and the rules of its grants. Pure.

A grant lets whoever has the address send as one account for a while. It proves that this account logged in from there,
not that what comes now is from the same machine: so it is short, of few accounts, and never for an address that many
share. Not here: where it is kept, who asks, and its record (`gate.grants`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import msgspec

from gatepost.mail.units import Duration, NetworkText, show_duration

KEPT_SECONDS: Final = 7 * 86400.0  # an ended grant waits so long for somebody who puts its end on the record
SHARED_SECONDS: Final = 86400.0  # those behind a shared address do not all log in within one window
LONGEST_WINDOW: Final = 86400.0  # an address of a provider's pool is somebody else's within a day
OVER: Final = "the window is over"


class GrantSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[relay.pop_before_smtp]`. window: seconds from the last login. networks: where grants are made and count at all.
    require_tls: the login must have been encrypted, or come from this machine. max_accounts_per_address: more accounts
    than that within the window, and the address is one that many share."""

    enabled: bool = False
    window: Duration = 1800.0
    networks: tuple[NetworkText, ...] = ()
    require_tls: bool = True
    max_accounts_per_address: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3


class Grant(msgspec.Struct, frozen=True, omit_defaults=True):
    """One account at one address.

    id: of the event that tells how it was made. since: the first of the logins that kept it alive; until: its end;
    both seconds since 1970. by: where the login was ("pop3", "pop3s", or what another server said of it). credential:
    the app password that was used, "" for the account's own password, None where it is not known. proof: what the
    account's credentials were then; others end it.
    """

    account: str
    id: str
    since: float
    until: float
    by: str
    credential: str | None = ""
    proof: str = ""


class Held(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered of one address: its grants, those included whose end nobody has recorded yet; the accounts
    that logged in within the window, and when; until when it counts as one that many share."""

    grants: tuple[Grant, ...] = ()
    seen: dict[str, float] = {}
    shared_until: float = 0.0

    def live(self, now: float) -> tuple[Grant, ...]:
        """The grants that count, the latest login first."""
        live = [each for each in reversed(self.grants) if each.until > now]
        return tuple(sorted(live, key=lambda each: -each.until))

    def kept_until(self, now: float, settings: GrantSettings) -> float:
        """The end of all this as a fact; `now` or earlier when there is nothing to remember."""
        ends = [each.until + KEPT_SECONDS for each in self.grants]
        ends += [at + settings.window for at in self.seen.values()]
        return max([*ends, self.shared_until])


NOTHING: Final = Held()


class SeenLogin(msgspec.Struct, frozen=True):
    """A login that went well, at an address where grants are made.

    is_private: nobody else could read it (TLS, or this machine). is_gateway: the address is a proxy's or a gateway's.
    ends: when the credential does, None for never. The rest as in `Grant`; id: for the event, if a grant comes of it.
    """

    account: str
    id: str
    by: str
    is_private: bool
    is_gateway: bool = False
    credential: str | None = ""
    proof: str = ""
    ends: float | None = None


class Ended(msgspec.Struct, frozen=True):
    """A grant that is over, and why."""

    grant: Grant
    why: str


class Outcome(msgspec.Struct, frozen=True):
    """What becomes of an address. grant: that was made or, where `is_new` is False, prolonged. refused: why there is
    none, "" with a grant."""

    held: Held
    grant: Grant | None = None
    is_new: bool = False
    refused: str = ""
    ended: tuple[Ended, ...] = ()


def after_login(held: Held, login: SeenLogin, now: float, settings: GrantSettings) -> Outcome:
    """The login counts for the address, and makes or prolongs a grant unless something speaks against it.

    A shared address and a gateway's lose all grants. A login in clear makes none, and ends none either: it is no proof
    of anything.
    """
    held, ended = without(held, lambda grant: "" if grant.until > now else OVER)
    seen = {account: at for account, at in held.seen.items() if at > now - settings.window}
    seen.pop(login.account, None)
    seen[login.account] = now  # the last of the dict: when it has to be cut, it stays
    shared_until = held.shared_until if held.shared_until > now else 0.0
    if len(seen) > settings.max_accounts_per_address:
        shared_until = now + SHARED_SECONDS
        seen = dict(list(seen.items())[-settings.max_accounts_per_address - 1 :])
    held = Held(held.grants, seen, shared_until)
    if login.is_gateway:
        return _nobody(held, ended, "a proxy or gateway has the address, and others stand behind it")
    if shared_until:
        return _nobody(
            held,
            ended,
            f"more than {settings.max_accounts_per_address} accounts logged in from the address within "
            f"{show_duration(settings.window)}, so others stand behind it",
        )
    if settings.require_tls and not login.is_private:
        return Outcome(held, refused="the login was not encrypted", ended=ended)
    return _granted(held, login, now, settings, ended)


def _granted(held: Held, login: SeenLogin, now: float, settings: GrantSettings, ended: tuple[Ended, ...]) -> Outcome:
    until = now + settings.window
    if login.ends is not None:
        until = min(until, login.ends)
    before = next((grant for grant in held.grants if grant.account == login.account), None)
    grant = Grant(
        login.account,
        before.id if before else login.id,
        before.since if before else now,
        until,
        login.by,
        login.credential,
        login.proof,
    )
    others = tuple(each for each in held.grants if each is not before)
    return Outcome(Held((*others, grant), held.seen, held.shared_until), grant, is_new=before is None, ended=ended)


def _nobody(held: Held, ended: tuple[Ended, ...], why: str) -> Outcome:
    left, more = without(held, lambda _: why)
    return Outcome(left, refused=why, ended=(*ended, *more))


def without(held: Held, why_over: Callable[[Grant], str]) -> tuple[Held, tuple[Ended, ...]]:
    """`held` without the grants for which `why_over` has a reason, and those with it."""
    judged = [(grant, why_over(grant)) for grant in held.grants]
    ended = tuple(Ended(grant, why) for grant, why in judged if why)
    if not ended:
        return held, ()
    return msgspec.structs.replace(held, grants=tuple(grant for grant, why in judged if not why)), ended
