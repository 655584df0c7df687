"""Sessions that were there before a ban: it ends them too, at every worker.

A worker asks once a second whether a ban was laid anywhere (one read, whatever the number of connections), and when
one was, looks at the peers that it has. So a command costs nothing more, and who says nothing is sent away as well.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import structlog

from gatepost.gate.bans import LAID, VERSION, Bans
from gatepost.gate.later import is_later
from gatepost.mail.reply import Reply
from gatepost.policy.checks import client_banned
from gatepost.policy.engine import Policy
from gatepost.policy.facts import ConnectFacts
from gatepost.policy.verdict import Decision, Evaluated
from gatepost.ports.clock import Clock
from gatepost.standing.port import StandingError, StandingStore

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

log = structlog.get_logger()

LOOK_SECONDS: Final = 1.0
PEERS_AT_ONCE: Final = 200  # looked up in a row, a few microseconds each; then sessions have their turn


class Expelling:
    """The sessions of this worker, and the bans that concern them.

    present: those whose connection stands (`GateSession.came`).
    """

    def __init__(self, policy: Policy, bans: Bans, standing: StandingStore, clock: Clock) -> None:
        self.present: set[GateSession] = set()
        self._policy = policy
        self._bans = bans
        self._standing = standing
        self._clock = clock
        self._laid: bytes | None = None

    async def watch(self) -> None:
        """Look once a second, for ever."""
        is_told = False
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
                is_told = False
            except StandingError as error:
                if not is_told:
                    log.error("bans cannot be read: sessions of banned peers go on", error=str(error))
                is_told = True
            except Exception:
                log.exception("sessions of banned peers not looked for")

    async def look(self) -> None:
        """End the sessions of peers under a ban, if one was laid since the last look. Raises StandingError."""
        now = self._clock.unix()
        laid, version = await _had(self._standing.tally([LAID, VERSION], now))
        if laid == self._laid:
            return
        by_address: dict[str, list[GateSession]] = defaultdict(list)
        for session in self.present:
            if session.peer.ip and not session.facts.trusted:
                by_address[session.peer.ip].append(session)
        for number, (ip, sessions) in enumerate(by_address.items(), 1):
            ban = await _had(self._bans.find(ip, version, now))
            if ban is not None:
                for session in sessions:
                    self._expel(session, ban)
            if not number % PEERS_AT_ONCE:
                await asyncio.sleep(0)
        self._laid = laid  # not before: what could not be read is looked at again

    def _expel(self, session: GateSession, ban: Any) -> None:
        """By the check's own verdict, in its mode; but 421 even where a new session would hear 554: this one was fine
        when it began."""
        mode = self._policy.mode(client_banned.NAME, session.facts.service)
        verdict = client_banned.decide(ConnectFacts(session=session.facts, ban=ban), client_banned.CHECK.settings)
        if mode == "off" or verdict is None or session.expel is None:
            return
        evaluated = Evaluated(client_banned.NAME, mode, verdict.word, verdict.reason)
        if evaluated in session.evaluated:
            return  # it was told of this ban before
        session.note(Decision(verdict if mode == "enforce" else None, (evaluated,)))
        if mode == "enforce":
            session.expel(Reply(421, "4.7.0", verdict.reply.text, session.id))


async def _had(value: Any) -> Any:
    return await value if is_later(value) else value
