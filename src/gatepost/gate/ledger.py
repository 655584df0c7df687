"""What one transaction counts against the limits of its sender, however it ends.

A message that is kept has been counted at its end, once (`gate.gather_rates.charged`). What does not come about is
taken back; and what the peer tried in vain counts against the spare allowance (`policy.limits`): a recipient that is
refused for good as soon as it is, a transaction that is refused for good or left when it ends. What we put off (4yz)
costs nothing, as the peer has to come again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog

from gatepost.gate.gather_rates import SEEN_SECONDS, key_or_text, rate, seen_key, taken_back
from gatepost.gate.later import is_later
from gatepost.mail.reply import Reply
from gatepost.policy.facts import MailFacts, MessageFacts, RcptFacts
from gatepost.policy.findings import Pending
from gatepost.policy.limits import Cost, Limit, LimitLevel
from gatepost.standing.port import Charge, Operation, StandingError

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

log = structlog.get_logger()
_COUNTING: Final[set[asyncio.Task[None]]] = set()  # a task that nobody holds may vanish before it has run


class Ledger:
    """From MAIL to the end of one transaction.

    allowances: as MAIL found them, for the facts of RCPT. recipient_limits: of the recipients that were accepted.
    """

    __slots__ = ("_new", "_recipients", "_refused", "_seen", "_session", "_whole", "allowances", "recipient_limits")

    def __init__(self, session: GateSession) -> None:
        self._session = session
        self.allowances: Any = ()
        self.recipient_limits: tuple[Limit, ...] = ()
        self._recipients = self._refused = 0
        self._new: dict[str, int] = {}
        self._seen: list[str] = []
        self._whole: MessageFacts | None = None

    @property
    def pending(self) -> Pending:
        """For the facts of the next RCPT."""
        return Pending(self._refused, self._new) if self._refused or self._new else _NOTHING

    @property
    def new(self) -> dict[str, int]:
        """Accepted recipients that are new, by subject."""
        return self._new

    def begin(self, facts: MailFacts) -> None:
        """MAIL was accepted."""
        self.allowances = facts.allowances

    def accept(self, facts: RcptFacts) -> None:
        """A recipient was."""
        self._recipients += 1
        if isinstance(facts.recipient_levels, tuple):
            self.recipient_limits += tuple(
                level.limit for level in facts.recipient_levels if level.limit not in self.recipient_limits
            )
        if not facts.unseen or not isinstance(facts.unseen, tuple):
            return
        self._new = {**self._new, **{subject: self._new.get(subject, 0) + 1 for subject in facts.unseen}}
        recipient = key_or_text(facts.forward_path)
        owners = {level.limit.subject: level.limit.of for level in self._levels}
        self._seen += [seen_key(subject, owners[subject], recipient) for subject in facts.unseen if subject in owners]

    def refuse(self, reply: Reply) -> None:
        """A recipient was not."""
        if reply.is_transient:
            return
        self._refused += 1
        self._count([
            Charge(level.limit.spare_key, rate(level.limit))
            for level in self._levels if level.limit.unit == "recipients"
        ])  # fmt: skip

    def whole(self, facts: MessageFacts) -> None:
        """All of the message was there and may have been counted."""
        self._whole = facts

    def end(self, reply: Reply | None) -> None:
        """The message is not taken: `reply` said so, or the peer left it (None)."""
        operations = taken_back(self._whole) if self._whole is not None else []
        self._whole = None
        if (self._recipients or self._refused) and (reply is None or not reply.is_transient):
            operations += self._spare()
        self._count(operations)

    async def taken(self) -> None:
        """The message is kept: who was new is known from now on."""
        if not self._seen:
            return
        parts = self._session.parts
        until = parts.clock.unix() + SEEN_SECONDS
        try:
            await asyncio.gather(*(parts.standing.remember("good", key, b"", until) for key in self._seen))
        except StandingError as error:
            log.error("recipients not remembered", error=str(error))

    def _spare(self) -> list[Operation]:
        """A transaction that came to nothing; as much of it as the spare allowance holds, which is then used up."""
        operations: list[Operation] = []
        for level in self._levels:
            if level.limit.unit not in ("messages", "recipients"):
                continue  # the other two tell of mail that was sent
            refused = self._refused if level.limit.unit == "recipients" else 0
            room = math.floor(level.limit.quota.units - level.spare_used) - refused
            cost = min(Cost(recipients=self._recipients).of(level.limit), room)
            if cost > 0:
                operations.append(Charge(level.limit.spare_key, rate(level.limit), cost))
        return operations

    @property
    def _levels(self) -> Sequence[LimitLevel]:
        return self.allowances if isinstance(self.allowances, tuple) else ()

    def _count(self, operations: Sequence[Operation]) -> None:
        """In one step, now or, where the counters are elsewhere, soon. The peer's answer does not wait for it."""
        if not operations:
            return
        parts = self._session.parts
        try:
            result = parts.standing.tally(operations, parts.clock.unix())
        except StandingError as error:
            log.error("a transaction is not counted", error=str(error))
            return
        if is_later(result):
            task = asyncio.get_running_loop().create_task(_counted(result))
            _COUNTING.add(task)
            task.add_done_callback(_COUNTING.discard)


_NOTHING: Final = Pending()


async def _counted(result: Awaitable[Any]) -> None:
    try:
        await result
    except StandingError as error:
        log.error("a transaction is not counted", error=str(error))
