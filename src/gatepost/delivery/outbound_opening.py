"""Opening a session with a next hop: greeting, EHLO or HELO, STARTTLS, AUTH; in the end it is ready for mail, or there
is a result that says why not.

Not here: the mail itself (`outbound`), and trying another next hop, or the same one without TLS (the delivery loop).
"""

from __future__ import annotations

import asyncio
import secrets
from ipaddress import ip_address
from typing import Final

from gatepost.delivery.conversation import Conversation
from gatepost.delivery.next_hop import NextHop, Timeouts
from gatepost.mail.reply import Reply
from gatepost.ports.clock import Clock
from gatepost.ports.connect import ConnectError, Connector, Stream, TlsCheck, TlsError
from gatepost.protocol.smtp import client_commands as commands
from gatepost.protocol.smtp.client import ClientSession, Step
from gatepost.protocol.smtp.client_auth import Credentials, choose_mechanism, decode_challenge, encode
from gatepost.protocol.smtp.client_replies import ProtocolError
from gatepost.protocol.smtp.client_transaction import Kind, RecipientResult, Stage

_MAX_AUTH_ROUNDS: Final = 6


class OpenFailed(Exception):
    """No session came about; `result` holds for every recipient at this next hop.

    A greeting of 5yz is "failed" at "connect": whether another host of the domain may still take the mail is for the
    caller to find out (RFC 5321 §5.1). tls_failed: TLS was tried and did not come about; where `NextHop.tls` is "may",
    the caller connects again with "off". dialogue: what was said until then.
    """

    def __init__(self, result: RecipientResult, dialogue: list[str], *, tls_failed: bool = False) -> None:
        super().__init__(str(result.reply))
        self.result = result
        self.dialogue = dialogue
        self.tls_failed = tls_failed


class _Refused(Exception):
    """Inside this module: it ends here, with this result."""

    def __init__(self, at: Stage, reply: Reply, kind: Kind | None = None, *, by_peer: bool = True) -> None:
        super().__init__(str(reply))
        decided = kind or ("deferred" if reply.is_transient else "failed")
        self.result = RecipientResult(reply, at, decided, by_peer)


async def open_conversation(
    connector: Connector, hop: NextHop, hostname: str, clock: Clock, timeouts: Timeouts
) -> Conversation:
    """A conversation whose session is READY for mail. hostname: what we call ourselves. Raises OpenFailed."""
    stream = await _connect(connector, hop, timeouts)
    talk = Conversation(stream, ClientSession(lmtp=hop.protocol == "lmtp"), clock, timeouts)
    talk.ends_in(timeouts.opening)
    opening = _Opening(talk, hop, hostname)
    try:
        await opening.run()
    except _Refused as refused:
        await part(talk)
        raise OpenFailed(refused.result, talk.take_dialogue(), tls_failed=opening.tls_failed) from refused
    except (ConnectError, ProtocolError) as error:
        stream.close()
        result = RecipientResult(trouble(error), opening.at, "deferred", by_peer=False)
        raise OpenFailed(result, talk.take_dialogue(), tls_failed=opening.tls_failed) from error
    except BaseException:
        stream.close()
        raise
    return talk


def trouble(error: ConnectError | ProtocolError) -> Reply:
    """Our own words for a connection that broke, or a peer that does not speak SMTP."""
    if isinstance(error, TlsError):
        return Reply(454, "4.7.5", str(error))
    return Reply(451, "4.4.2" if isinstance(error, ConnectError) else "4.5.0", str(error))


async def part(talk: Conversation) -> None:
    """Says QUIT where that is in order, waits a moment for the answer, closes. Never raises for what the peer does."""
    session = talk.session
    try:
        if session.may_send(Step.QUIT):
            talk.ends_in(talk.timeouts.quit)
            await talk.write(session.send(Step.QUIT, commands.QUIT))
            await talk.answer()
    except (ConnectError, ProtocolError):
        pass  # the mail is settled, or never began
    finally:
        talk.stream.close()


async def _connect(connector: Connector, hop: NextHop, timeouts: Timeouts) -> Stream:
    check: TlsCheck = "verify" if hop.tls == "verify" else "encrypt"
    try:
        return await connector.connect(
            hop.address,
            hop.port,
            timeout=timeouts.connect,
            source=hop.source,
            implicit_tls=hop.name if hop.implicit_tls else "",
            check=check,
        )
    except ConnectError as error:
        tls_failed = isinstance(error, TlsError)
        reply = Reply(454, "4.7.5", str(error)) if tls_failed else Reply(451, "4.4.1", str(error))
        result = RecipientResult(reply, "connect", "deferred", by_peer=False)
        raise OpenFailed(result, [], tls_failed=tls_failed) from error


class _Opening:
    """The steps from the greeting to READY. at: how far it came."""

    def __init__(self, talk: Conversation, hop: NextHop, hostname: str) -> None:
        self.at: Stage = "connect"
        self.tls_failed = False
        self._talk = talk
        self._session = talk.session
        self._hop = hop
        self._hostname = hostname

    async def run(self) -> None:
        await self._accepted(self._talk)
        self.at = "helo"
        await self._greet()
        if self._talk.stream.tls is None:
            await self._start_tls()
        if self._hop.credentials is not None:
            await self._log_in(self._hop.credentials)

    async def _accepted(self, talk: Conversation) -> None:
        answer = await talk.answer()
        if not answer.reply.is_positive:
            raise _Refused(self.at, answer.reply)

    async def _greet(self) -> None:
        """EHLO or LHLO; HELO for a peer that does not know EHLO (RFC 5321 §3.2)."""
        session, talk = self._session, self._talk
        line = commands.hello("LHLO" if session.lmtp else "EHLO", self._hostname)
        await talk.write(session.send(Step.EHLO, line))
        answer = await talk.answer()
        if answer.reply.is_positive:
            return
        if answer.reply.is_transient or session.lmtp:
            raise _Refused(self.at, answer.reply)
        await talk.write(session.send(Step.HELO, commands.hello("HELO", self._hostname)))
        await self._accepted(talk)

    async def _start_tls(self) -> None:
        """STARTTLS and EHLO again; in clear it goes on only where the next hop's `tls` is "may" (RFC 3207)."""
        session, talk, check = self._session, self._talk, self._hop.tls
        if check == "off":
            return
        if not session.offer.starttls:
            if check == "may":
                return
            raise _Refused(self.at, Reply(454, "4.7.4", "The next hop offers no TLS, which is required"), by_peer=False)
        await talk.write(session.send(Step.STARTTLS, commands.STARTTLS))
        answer = await talk.answer()
        if not answer.reply.is_positive:
            if check == "may" and session.closed_by is None:
                return
            raise _Refused(self.at, answer.reply, "deferred")  # TLS may be back tomorrow; the mail is not at fault
        self.tls_failed = True
        state = await talk.stream.start_tls(self._hop.name, check, talk.timeouts.tls)
        if check == "verify" and not state.verified:
            raise TlsError(f"{self._hop}: the certificate is not valid: {state.error}")
        self.tls_failed = False
        session.tls_started()
        await self._greet()

    async def _log_in(self, credentials: Credentials) -> None:
        session, talk = self._session, self._talk
        if not is_safe_for_password(talk.stream):
            text = "The password for the next hop goes out over verified TLS or loopback only"
            raise _Refused(self.at, Reply(454, "4.7.0", text), by_peer=False)
        exchange = choose_mechanism(session.offer.auth, credentials, secrets.token_urlsafe(24))
        if exchange is None:
            text = "The next hop offers no login by SCRAM-SHA-256, PLAIN or LOGIN"
            raise _Refused(self.at, Reply(454, "4.7.0", text), by_peer=False)
        line = commands.auth(exchange.mechanism, encode(exchange.initial()))
        await talk.write(session.send(Step.AUTH, line), shown=f"AUTH {exchange.mechanism} (hidden)")
        for _ in range(_MAX_AUTH_ROUNDS):
            reply = (await talk.answer()).reply
            if not reply.is_positive:
                raise _Refused(self.at, reply, "deferred")  # the operator's to mend: no reason to bounce the mail
            if reply.code < 300:
                break
            # Deriving the key from the password takes up to a third of a second: not on the loop.
            response = await asyncio.to_thread(exchange.respond, decode_challenge(reply.text))
            await talk.write(session.send(Step.AUTH, commands.auth_response(response)), shown="(hidden)")
        if not exchange.is_complete:
            raise ProtocolError("the next hop ended the login before it had proved that it knows the password")


def is_safe_for_password(stream: Stream) -> bool:
    """Whether nobody between us and the peer can read or take over what is said: verified TLS, loopback, a socket."""
    if stream.tls is not None and stream.tls.verified:
        return True
    try:
        return ip_address(stream.peer_address).is_loopback
    except ValueError:
        return stream.peer_address.startswith("/")
