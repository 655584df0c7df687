"""Outbound sessions against real servers: our own, in memory, cut anywhere; and aiosmtpd over sockets and TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path as File
from typing import Any

import msgspec
import pytest
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword, Session
from aiosmtpd.smtp import Envelope as ServerEnvelope
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.protocol.smtp.conversation import Server
from tests.support.certificates import Authority
from tests.support.virtual_time import LoopClock

from gatepost.delivery.outbound import Job, NextHop, OutboundSession
from gatepost.mail.address import Path
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.reply import Reply
from gatepost.net.connector import StreamConnector
from gatepost.net.trust import TrustStore
from gatepost.ports.connect import ConnectError, TlsState
from gatepost.protocol.smtp.client_auth import Credentials
from gatepost.protocol.smtp.commands import Data, EndOfChunk, EndOfData, Mail
from gatepost.protocol.smtp.extensions import Offer

LINES = st.lists(st.sampled_from([b"", b".", b"..", b"x", b".x", b"text", "ä".encode()]), max_size=30)
FULL = Envelope(
    Path("ada", "example.org"),
    (
        Recipient(Path("bob", "example.net"), ("SUCCESS", "FAILURE"), "rfc822;b+b=@example.net"),
        Recipient(Path("eve", "example.net"), ("NEVER",)),
    ),
    ret="HDRS",
    envid="id=1+1",
)


def job(envelope: Envelope, content: bytes, piece: int = 1000) -> Job:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(content), piece):
            yield content[at : at + piece]

    return Job(envelope, pieces, len(content), not content.isascii())


class InMemory:
    """A connection to `server` without a socket: a `Connector` and its `Stream`. Reads give `cut` octets at a time."""

    local_address, peer_address, tls = "127.0.0.1", "127.0.0.1", None

    def __init__(self, server: Server, cut: int) -> None:
        self.server = server
        self._cut = cut

    async def connect(self, host: str, port: int, **options: Any) -> InMemory:
        return self

    async def read(self, timeout: float) -> bytes:
        octets, self.server.said = self.server.said[: self._cut], self.server.said[self._cut :]
        if not octets and not self.server.session.is_closed:
            raise ConnectError("both sides wait for the other")
        return octets

    async def write(self, octets: bytes, timeout: float) -> None:
        if self.server.session.is_closed:
            raise ConnectError("closed")
        for at in range(0, len(octets), self._cut):
            self.server.say(octets[at : at + self._cut])

    async def start_tls(self, name: str, check: Any, timeout: float) -> TlsState:
        raise NotImplementedError

    def close(self) -> None:
        pass


@given(
    lines=LINES,
    piece=st.integers(1, 50),
    cut=st.integers(1, 50),
    lmtp=st.booleans(),
    chunking=st.booleans(),
    refused=st.sampled_from([None, Mail, Data, EndOfData, EndOfChunk]),
)
@settings(max_examples=150)
def test_our_own_server_gets_what_was_sent_wherever_the_octets_were_cut(
    lines: list[bytes], piece: int, cut: int, lmtp: bool, chunking: bool, refused: type[Any] | None
) -> None:
    content = b"".join(line + b"\r\n" for line in [*lines, b"y" * 70_000 if chunking else b"y"])
    offer = Offer("mx.example.net", lmtp=lmtp, chunking=chunking)
    server = Server(offer, {refused: Reply(451, "4.3.0", "Later")} if refused else None)
    connection = InMemory(server, 10_000 if chunking else cut)

    async def main() -> list[str]:
        hop = NextHop("127.0.0.1", "mx.example.net", protocol="lmtp" if lmtp else "smtp")
        session = await OutboundSession.open(connection, hop, "mx.example.org", LoopClock())
        kinds: list[str] = []
        for _ in range(2):
            kinds += [result.kind for result in await session.deliver(job(FULL, content, piece))]
            assert session.is_reusable
        await session.quit()
        return kinds

    kinds = asyncio.run(main())
    never_met = (EndOfData, Data) if chunking else (EndOfChunk,)
    if refused is None or refused in never_met:
        assert kinds == ["delivered"] * 4
        expected = msgspec.structs.replace(
            FULL, size=len(content), body="7BIT" if content.isascii() else "8BITMIME", smtputf8=False
        )
        assert [(envelope, octets) for envelope, octets, _ in server.messages] == [(expected, content)] * 2
    else:
        assert kinds == ["deferred"] * 4
        assert server.messages == []
    assert server.session.is_closed  # QUIT was understood, so nothing was out of step


@given(lines=LINES, cut=st.integers(1, 50), refused=st.sampled_from([None, Mail, Data, EndOfData]))
@settings(max_examples=50)
def test_messages_that_overlap_reach_our_own_server_wherever_the_octets_were_cut(
    lines: list[bytes], cut: int, refused: type[Any] | None
) -> None:
    content = b"".join(line + b"\r\n" for line in [*lines, b"y"])
    server = Server(Offer("mx.example.net"), {refused: Reply(451, "4.3.0", "Later")} if refused else None)

    async def main() -> list[str]:
        hop = NextHop("127.0.0.1", "mx.example.net")
        session = await OutboundSession.open(InMemory(server, cut), hop, "mx.example.org", LoopClock())
        last = job(FULL, content)
        overlapped = msgspec.structs.replace(job(FULL, content), following=lambda: last)
        kinds: list[str] = []
        for message in (job(FULL, content), overlapped, last):
            kinds += [result.kind for result in await session.deliver(message)]
        assert session.is_reusable
        await session.quit()
        return kinds

    assert asyncio.run(main()) == ["deferred" if refused else "delivered"] * 6
    assert [octets for _, octets, _ in server.messages] == [content] * (0 if refused else 3)
    assert server.session.is_closed


# --- aiosmtpd ---


class Sink:
    """Keeps what it gets; refuses one recipient, and in LMTP answers for each."""

    def __init__(self) -> None:
        self.messages: list[ServerEnvelope] = []

    async def handle_RCPT(  # noqa: N802 - the name is aiosmtpd's
        self, server: SMTP, session: Session, envelope: ServerEnvelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody"):
            return "550 5.1.1 No such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: ServerEnvelope
    ) -> str:
        self.messages.append(envelope)
        return "\r\n".join(["250 2.0.0 Kept"] * (len(envelope.rcpt_tos) if isinstance(server, LMTP) else 1))


def only_ada(
    server: SMTP, session: Session, envelope: ServerEnvelope, mechanism: str, credentials: LoginPassword
) -> AuthResult:
    return AuthResult(success=(credentials.login, credentials.password) == (b"ada", b"secret"), handled=False)


@asynccontextmanager
async def listening(sink: Sink, kind: type[SMTP] = SMTP, **options: Any) -> AsyncIterator[int]:
    """The port of an aiosmtpd that hands its mail to `sink`."""
    servers: list[SMTP] = []

    def make() -> SMTP:
        servers.append(kind(sink, hostname="mx.example.net", **options))
        return servers[-1]

    listener = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for server in servers:
            if isinstance(server.transport, asyncio.Transport):
                with suppress(AttributeError):  # Python 3.11.2 aborts no TLS connection that is gone already
                    server.transport.abort()
        await asyncio.sleep(0)


def opening(port: int, trust: TrustStore | None = None, **hop: Any) -> Coroutine[Any, Any, OutboundSession]:
    next_hop = msgspec.structs.replace(NextHop("127.0.0.1", "mx.example.net", port), **hop)
    return OutboundSession.open(StreamConnector(trust), next_hop, "mx.example.org", LoopClock())


TO = tuple(Recipient(Path(name, "example.net")) for name in ("bob", "nobody", "eve"))
CONTENT = b"Subject: dots\r\n\r\n" + b".\r\n..\r\n.text\r\nmore\r\n" * 5000


async def test_aiosmtpd_gets_the_message_octet_for_octet() -> None:
    sink = Sink()
    async with listening(sink) as port:
        session = await opening(port)
        for _ in range(3):
            results = await session.deliver(job(Envelope(Path("ada", "example.org"), TO), CONTENT))
            assert [result.kind for result in results] == ["delivered", "failed", "delivered"]
            assert session.is_reusable
        await session.quit()
    assert [message.content for message in sink.messages] == [CONTENT] * 3
    assert sink.messages[0].rcpt_tos == ["bob@example.net", "eve@example.net"]


async def test_aiosmtpd_lmtp() -> None:
    sink = Sink()
    async with listening(sink, LMTP) as port:
        session = await opening(port, protocol="lmtp")
        results = await session.deliver(job(Envelope(Path("ada", "example.org"), TO), CONTENT))
        await session.quit()
    assert [result.kind for result in results] == ["delivered", "failed", "delivered"]
    assert sink.messages[0].content == CONTENT


@pytest.mark.parametrize("password", ["secret", "wrong"])
async def test_aiosmtpd_with_starttls_and_login(tmp_path: File, password: str) -> None:
    authority, sink = Authority(tmp_path), Sink()
    context = authority.server_context("mx.example.net")
    async with listening(sink, tls_context=context, authenticator=only_ada, auth_required=True) as port:
        opened = opening(port, TrustStore(authority.file), tls="verify", credentials=Credentials("ada", password))
        if password == "secret":
            session = await opened
            results = await session.deliver(job(Envelope(Path("ada", "example.org"), TO[:1]), CONTENT))
            assert results[0].kind == "delivered"
            assert session.tls is not None
            assert session.tls.verified
            await session.quit()
        else:
            with pytest.raises(Exception, match="535"):
                await opened
    assert len(sink.messages) == (password == "secret")
