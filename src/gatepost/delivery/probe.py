"""Asking mail hosts what they would take: MAIL and RCPT, no content, QUIT.

`gate` asks so about recipients and senders (`gate.asking.MailHosts`), `intake` about the recipients of a message that
it will hand over. Not here: what an answer means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from gatepost.delivery.conversation import Conversation
from gatepost.delivery.mx import NoRoute, arrange
from gatepost.delivery.next_hop import NextHop, Timeouts
from gatepost.delivery.outbound_opening import OpenFailed, open_conversation, part, trouble
from gatepost.delivery.routing import Router
from gatepost.mail.address import Path
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.network import parse_ip
from gatepost.mail.reply import Reply
from gatepost.ports.clock import Clock
from gatepost.ports.connect import ConnectError, Connector
from gatepost.protocol.smtp import client_commands as commands
from gatepost.protocol.smtp.client import State, Step
from gatepost.protocol.smtp.client_commands import Needs
from gatepost.protocol.smtp.client_replies import ProtocolError
from gatepost.protocol.smtp.client_transaction import STAGES, Kind, RecipientResult

# A session waits for the answer, and its peer for that session: RFC 5321's minutes are for mail that can wait.
TIMEOUTS: Final = Timeouts(
    connect=10.0, greeting=20.0, hello=20.0, tls=10.0, mail=20.0, rcpt=20.0, block=10.0, quit=2.0, opening=30.0,
    message=60.0,
)  # fmt: skip
LINE_SECONDS: Final = 1800.0  # a line that is kept open for the recipients of one transaction
NO_CONTENT: Final = Needs(0)


class Line:
    """An open transaction on which recipients are asked about, one by one. `end` it.

    Invariant: nothing is outstanding between two calls. Never raises for what the peer does: once it is lost, each
    further recipient is told so.
    """

    def __init__(self, hop: NextHop, talk: Conversation, envelope: Envelope) -> None:
        """envelope: with its reverse-path; recipients come one by one."""
        self.hop = hop
        self._talk = talk
        self._session = talk.session
        self._envelope = envelope
        self._begun = False
        self._refused: RecipientResult | None = None

    @property
    def is_open(self) -> bool:
        """Whether another recipient can be asked about."""
        return self._refused is None

    async def ask(self, recipient: Recipient) -> RecipientResult:
        """What the peer says to RCPT; its refusal of the connection's MAIL where there was one."""
        offer = self._session.offer
        unfit = commands.unfit(self._envelope, NO_CONTENT, offer) or commands.unfit_recipient(recipient, offer)
        if unfit is not None:
            return RecipientResult(unfit, "rcpt", "failed", by_peer=False)
        try:
            if not self._begun:
                await self._begin(recipient)
            if self._refused is not None:
                return self._refused
            utf8 = commands.wants_smtputf8(self._with(recipient), NO_CONTENT, offer)
            return await self._said(Step.RCPT, commands.rcpt(recipient, offer, utf8=utf8))
        except (ConnectError, ProtocolError) as error:
            self._talk.stream.close()
            self._refused = RecipientResult(trouble(error), "rcpt", "deferred", by_peer=False)
            return self._refused
        except BaseException:
            self.close()
            raise

    def take_dialogue(self) -> list[str]:
        """What was said since the last call, for the record."""
        return self._talk.take_dialogue()

    async def end(self) -> None:
        """QUIT, within seconds; the transaction comes to nothing."""
        self._refused = self._refused or _ended()
        await part(self._talk)

    def close(self) -> None:
        """At once."""
        self._refused = self._refused or _ended()
        self._talk.stream.close()

    async def _begin(self, first: Recipient) -> None:
        self._begun = True
        self._talk.ends_in(LINE_SECONDS)
        # Its size is not known yet, and the peer shall not refuse a message of none.
        offer = msgspec.structs.replace(self._session.offer, size=None)
        utf8 = commands.wants_smtputf8(self._with(first), NO_CONTENT, offer)
        line = commands.mail(self._envelope, NO_CONTENT, offer, utf8=utf8)
        result = await self._said(Step.MAIL, line)
        if not result.reply.is_positive:
            self._refused = result

    async def _said(self, step: Step, line: bytes) -> RecipientResult:
        talk, session = self._talk, self._session
        if session.state is State.CLOSED:
            raise ConnectError("the peer has closed the session")
        await talk.write(session.send(step, line))
        reply = (await talk.answer()).reply
        kind: Kind = "delivered" if reply.is_positive else "deferred" if reply.is_transient else "failed"
        return RecipientResult(reply, STAGES[step], kind)

    def _with(self, recipient: Recipient) -> Envelope:
        return msgspec.structs.replace(self._envelope, recipients=(recipient,))


class HostClient:
    """Opens lines to mail hosts and asks on them: `gate.asking.MailHosts`. draw: 0 <= x < 1, each time another."""

    def __init__(
        self,
        router: Router,
        connector: Connector,
        hostname: str,
        clock: Clock,
        draw: Callable[[], float],
        source: Sequence[str] = (),
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        """source: local addresses to ask from, none for the system's choice."""
        self._router = router
        self._connector = connector
        self._hostname = hostname
        self._clock = clock
        self._draw = draw
        self._source = source
        self._timeouts = timeouts
        self._parting: set[asyncio.Task[None]] = set()

    async def find(self, domain: str) -> Sequence[NextHop] | Reply:
        """The hosts that take the domain's mail, in the order in which to try them; or why there are none."""
        found = await self._router.find(domain, smarthost=False)
        return found.reply if isinstance(found, NoRoute) else arrange(found, self._draw)

    async def ask(self, host: Any, reverse_path: Path, recipients: Sequence[Path]) -> tuple[RecipientResult, ...]:
        """What `host`, one that `find` gave, says to MAIL and to a RCPT for each of `recipients`."""
        line = await self.line(host, Envelope(reverse_path=reverse_path))
        if isinstance(line, RecipientResult):
            return (line,) * len(recipients)
        results = tuple([await line.ask(Recipient(path)) for path in recipients])
        self.part(line)
        return results

    async def line(self, hop: NextHop, envelope: Envelope) -> Line | RecipientResult:
        """A line to `hop`, in clear where its TLS is broken and need not be; or what came in the way."""
        try:
            talk = await open_conversation(
                self._connector, self._from_here(hop), self._hostname, self._clock, self._timeouts
            )
        except OpenFailed as failed:
            if failed.tls_failed and hop.tls == "may" and not hop.implicit_tls:
                return await self.line(msgspec.structs.replace(hop, tls="off"), envelope)
            return failed.result
        return Line(hop, talk, envelope)

    def part(self, line: Line) -> None:
        """The line is ended; nobody waits for it."""
        task = asyncio.get_running_loop().create_task(line.end())
        self._parting.add(task)
        task.add_done_callback(self._parting.discard)

    async def close(self) -> None:
        """The lines that are being ended are."""
        if self._parting:
            await asyncio.wait(self._parting)

    def _from_here(self, hop: NextHop) -> NextHop:
        if hop.address.startswith("unix:"):
            return hop
        version = parse_ip(hop.address).version
        fitting = [source for source in self._source if parse_ip(source).version == version]
        return msgspec.structs.replace(hop, source=fitting[0]) if fitting else hop


def _ended() -> RecipientResult:
    return RecipientResult(Reply(451, "4.4.2", "The line to the next hop has ended"), "rcpt", "deferred", by_peer=False)
