"""How an account proves itself, whose messages are held because it sent too much (`sender.rate`, action "hold").

The proof is a fresh login with its password (SCRAM, PLAIN, LOGIN, or USER and PASS of POP3) from a network that the
account had used for a day or more before the first message from there was held; and it proves what was sent from that
network, no more. A thief who knows the password sends from elsewhere, or has come there only now; and the user's own
mail program, which logs in every few minutes, does not let the thief's messages go. Whoever shares the user's network
or machine proves as much as the user does. What is left a person releases: `gatepost queue release`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog

from gatepost.audit.event import Event
from gatepost.gate.later import is_later
from gatepost.mail.network import is_loopback, prefix_of
from gatepost.spool.port import SpoolError
from gatepost.standing.port import StandingError

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

log = structlog.get_logger()

KNOWN_FOR: Final = 86400.0  # seconds that a network must have been in use before what it shall prove
KNOWN_SECONDS: Final = 90 * 86400.0  # so long a network that is used no more is remembered
RENEWED_AFTER: Final = 30 * 86400.0  # a network in use is remembered anew so rarely: each is a write to the disk
HELD_SECONDS: Final = 30 * 86400.0
PASSWORD_MECHANISMS: Final = frozenset(("PLAIN", "LOGIN", "USER", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"))


def is_proof(mechanism: str, known_since: float | None, held_since: float) -> bool:
    """Whether a login proves the account. known_since: the first one from that network, None for this one; held_since:
    the first message that is held; both seconds since 1970."""
    return mechanism in PASSWORD_MECHANISMS and known_since is not None and known_since <= held_since - KNOWN_FOR


async def note_held(session: GateSession, account: str) -> None:
    """A message of `account` from this peer is held; its logins from the peer's network are looked at from now on."""
    parts, network = session.parts, network_of(session)
    if not network:
        return
    now, key = parts.clock.unix(), held_key(account, network)
    try:
        if await _recalled(session, key) is None:
            await parts.standing.remember("good", key, f"{now:.0f}".encode(), now + HELD_SECONDS)
    except StandingError as error:
        log.error("held message not noted; release it with `gatepost queue release`", error=str(error))


async def note_login(session: GateSession, account: str, mechanism: str) -> None:
    """`account` logged in: remember its network, and release what is held from there if this proves it."""
    network = network_of(session)
    if not network:
        return
    try:
        known_since = await _known_since(session, home_key(account, network))
        held = await _recalled(session, held_key(account, network))
        if held is not None and is_proof(mechanism, known_since, float(held)):
            await _release(session, account, network)
    except StandingError as error:
        log.error("networks of logins cannot be looked at", error=str(error))


def held_key(account: str, network: str) -> str:
    """Where it is remembered that messages of an account from a network are held."""
    return f"held:{account}|{network}"


def home_key(account: str, network: str) -> str:
    """Where it is remembered since when an account has logged in from a network."""
    return f"home:{account}|{network}"


def network_of(session: GateSession) -> str:
    """The peer's /24 or /64; "" for loopback and `trusted` peers: they are others' doors, a web mail's or a proxy's,
    and prove nothing."""
    ip = session.peer.ip
    return "" if not ip or is_loopback(ip) or session.facts.trusted else prefix_of(ip)


async def _known_since(session: GateSession, key: str) -> float | None:
    """The first login from there, None when this is the first."""
    parts = session.parts
    now = parts.clock.unix()
    value = await _recalled(session, key)
    since, renewed = map(float, value.split()) if value is not None else (None, 0.0)
    if since is None or now - renewed > RENEWED_AFTER:
        packed = f"{now if since is None else since:.0f} {now:.0f}".encode()
        await parts.standing.remember("good", key, packed, now + KNOWN_SECONDS)
    return since


async def _recalled(session: GateSession, key: str) -> bytes | None:
    value: Any = session.parts.standing.recall("good", key, session.parts.clock.unix())
    found: bytes | None = await value if is_later(value) else value
    return found


async def _release(session: GateSession, account: str, network: str) -> None:
    """Let go what is held, and put it on the record. Raises RecordError."""
    parts = session.parts
    if parts.release_held is None:
        return
    try:
        released = await parts.release_held(account, network)
    except SpoolError as error:
        log.error("held messages not released; use `gatepost queue release`", account=account, error=str(error))
        return
    await parts.standing.forget("good", held_key(account, network))
    if released:
        details = {"what": "held messages released", "account": account, "messages": released[:100],
                   "count": len(released), "why": f"a login from {network}, long in use"}  # fmt: skip
        parts.recorder.record(Event("server", session=session.id, details=details))
