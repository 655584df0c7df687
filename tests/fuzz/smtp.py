"""Fuzz targets of SMTP: the server against a strict reader, the client against any peer, both against each other."""

from __future__ import annotations

from tests.fuzz.cutting import pieces
from tests.fuzz.strict_smtp import Desynchronised, Reader
from tests.protocol.smtp.conversation import Server

from gatepost.mail.address import Path
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.reply import Reply
from gatepost.protocol.smtp import client_commands
from gatepost.protocol.smtp.client import Answer, ClientSession, Step
from gatepost.protocol.smtp.client_commands import Needs
from gatepost.protocol.smtp.client_replies import MAX_TEXT_CHARACTERS, ProtocolError
from gatepost.protocol.smtp.client_transaction import Receive, Send, Transaction
from gatepost.protocol.smtp.commands import StartTls
from gatepost.protocol.smtp.extensions import Offer
from gatepost.protocol.smtp.limits import MAX_AUTH_LINE_OCTETS
from gatepost.protocol.smtp.stuffing import ContentError, DotStuffer

OFFER = Offer("mx.example.org", size_limit_octets=1000, auth=("PLAIN",), xclient=True)
NO_TLS = Reply(454, "4.7.0", "Not now")
ENVELOPE = Envelope(
    Path("bob", "example.net"), (Recipient(Path("ada", "example.org")), Recipient(Path("nobody", "example.org")))
)


def server(octets: bytes) -> None:
    """Whatever a client sends: no exception, the same answers however it is cut, the same messages as a strict reader
    sees, and little of it held."""
    whole = served(octets, (octets,))
    cut = served(octets, pieces(octets))
    assert (cut.said, cut.commands, cut.messages) == (whole.said, whole.commands, whole.messages), "it depends on cuts"
    read = Reader(octets, whole.said)
    taken = [content for _, content, _ in whole.messages]
    if read.messages != taken:
        raise Desynchronised(f"taken: {taken!r:.300}; a strict reader sees {read.messages!r:.300}")


def served(octets: bytes, cut: tuple[bytes, ...]) -> Server:
    """The server that was sent `octets`."""
    assert b"".join(cut) == octets
    one = Server(OFFER, refuse={StartTls: NO_TLS})
    for piece in cut:
        one.say(piece)
        assert one.session.is_closed or one.parser.read_ahead <= MAX_AUTH_LINE_OCTETS
    return one


def client(octets: bytes) -> None:
    """Whatever a peer answers: nothing but ProtocolError, the same answers however they are cut, bounded texts."""
    whole, cut = heard((octets,)), heard(pieces(octets))
    # What comes unasked ends it, and is seen the earlier the more comes at once.
    assert whole == cut[: len(whole)], "what is understood depends on how it was cut"
    for answer in whole:
        if isinstance(answer, Answer):
            assert len(answer.reply.text) <= MAX_TEXT_CHARACTERS + 3
            assert answer.reply.text.replace("\n", "").isprintable()


def heard(cut: tuple[bytes, ...]) -> list[Answer | str]:
    """The answers of a peer that says this, until it makes no sense or there is no more of it."""
    session, found, left = ClientSession(), [], list(cut)

    def answer() -> Answer | None:
        while (one := session.next_answer()) is None and session.waits_for is not None:
            if not left:
                return None
            session.feed(left.pop(0))
        if one is not None:
            found.append(one)
        return one

    try:
        if (greeting := answer()) is None or not greeting.reply.is_positive:
            return found
        session.send(Step.EHLO, client_commands.hello("EHLO", "client.example.net"))
        if (greeted := answer()) is None or not greeted.reply.is_positive:
            return found
        for _ in range(3):
            if not session.is_clean or not converse(session, answer):
                break
    except ProtocolError:
        found.append("no SMTP")
    return found


def converse(session: ClientSession, answer) -> bool:  # type: ignore[no-untyped-def]
    """One transaction; False if the peer stops answering."""
    transaction = Transaction(session, ENVELOPE, Needs(10, False), chunked=session.offer.chunking)
    while (action := transaction.next()) is not None:
        if isinstance(action, Receive):
            one = answer()
            if one is None:
                return session.closed_by is not None
            transaction.answered(one)
        elif not isinstance(action, Send):
            if action.chunked:
                transaction.chunk(10, last=True)
            else:
                transaction.begin_content()
    assert all(result is not None for result in transaction.results), "a recipient without a result"
    return True


def pair(octets: bytes) -> None:
    """Whatever the content: it arrives octet for octet, or is not sent at all."""
    chunked, content = bool(octets[:1] and octets[0] & 1), octets[1:]
    peer, session = Server(Offer("mx.example.org")), ClientSession()

    def answer() -> Answer:
        while (one := session.next_answer()) is None:
            assert peer.said, "the client waits for an answer that the server does not owe"
            session.feed(peer.said)
            peer.said = b""
        return one

    answer()
    peer.say(session.send(Step.EHLO, client_commands.hello("EHLO", "client.example.net")))
    answer()
    stuffer = DotStuffer()
    try:
        stuffed = b"".join([stuffer.feed(piece) for piece in pieces(content)]) + stuffer.finish()
    except ContentError:
        rest = content.replace(b"\r\n", b"")
        assert b"\r" in rest or b"\n" in rest, "it could have been sent"
        return
    envelope = Envelope(ENVELOPE.reverse_path, ENVELOPE.recipients, body="8BITMIME")
    transaction = Transaction(session, envelope, Needs(len(content), not content.isascii()), chunked=chunked)
    while (action := transaction.next()) is not None:
        if isinstance(action, Send):
            peer.say(action.octets)
        elif isinstance(action, Receive):
            transaction.answered(answer())
        elif action.chunked:
            peer.say(transaction.chunk(len(content), last=True) + content)
        else:
            transaction.begin_content()
            peer.say(stuffed)
    assert session.is_clean
    assert not peer.said
    if b"\0" in content:
        assert not peer.messages
        return
    ((_, arrived, _),) = peer.messages
    assert arrived == content if chunked else arrived in (content, content + b"\r\n"), "it did not arrive as it was"
