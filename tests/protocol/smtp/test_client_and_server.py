"""Our client against our server: whatever is sent arrives octet for octet, and both know at all times who is next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.smtp.conversation import Server

from gatepost.mail.address import NULL_PATH, Path
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.protocol.smtp import client_commands
from gatepost.protocol.smtp.client import Answer, ClientSession, Step
from gatepost.protocol.smtp.client_commands import Needs
from gatepost.protocol.smtp.client_transaction import Receive, Send, SendContent, Transaction
from gatepost.protocol.smtp.extensions import Offer
from gatepost.protocol.smtp.stuffing import DotStuffer

_PATHS = st.sampled_from(
    [
        Path("ada", "example.org"),
        Path("nobody", "example.org"),
        Path("jos\u00e9", "b\u00fccher.example"),
        Path('odd "one"', "[IPv6:2001:db8::1]"),
        Path("", "example.net"),
    ]
)
_RECIPIENTS = st.builds(
    Recipient,
    _PATHS,
    st.sampled_from([(), ("NEVER",), ("SUCCESS", "DELAY")]),
    st.sampled_from(["", "rfc822;a+b=c@example.net", "utf-8;jos\u00e9@example.net"]),
)
_ENVELOPES = st.builds(
    Envelope,
    _PATHS | st.just(NULL_PATH),
    st.lists(_RECIPIENTS, min_size=1, max_size=4).map(tuple),
    body=st.sampled_from(["7BIT", "8BITMIME"]),
    ret=st.sampled_from(["", "FULL", "HDRS"]),
    envid=st.sampled_from(["", "QQ 1+2=3"]),
)
_CONTENTS = st.lists(
    st.sampled_from([b"", b".", b"..", b".x", b"text", b"\xc3\xa9", b"x" * 1500, b"MAIL FROM:<>", b" ."]), max_size=8
).map(lambda lines: b"".join(line + b"\r\n" for line in lines))


class Pair:
    """A client and a server, joined by two pipes that cut as `data` says."""

    def __init__(self, offer: Offer, data: st.DataObject) -> None:
        self.server = Server(offer)
        self.client = ClientSession(lmtp=offer.lmtp)
        self._data = data
        self._answer()
        self.write(
            self.client.send(Step.EHLO, client_commands.hello("LHLO" if offer.lmtp else "EHLO", "c.example.net"))
        )
        self._answer()

    def write(self, octets: bytes) -> None:
        cut = self._data.draw(st.integers(0, len(octets)), label="cut")
        for piece in (octets[:cut], octets[cut:]):
            if piece:
                self.server.say(piece)

    def deliver(self, envelope: Envelope, content: bytes, *, chunked: bool) -> list[int]:
        """The code that each recipient got."""
        transaction = Transaction(self.client, envelope, Needs(len(content), not content.isascii()), chunked=chunked)
        while (action := transaction.next()) is not None:
            if isinstance(action, Send):
                self.write(action.octets)
            elif isinstance(action, Receive):
                transaction.answered(self._answer())
            elif isinstance(action, SendContent) and action.chunked:
                self.write(transaction.chunk(len(content), last=True) + content)
            else:
                transaction.begin_content()
                stuffer = DotStuffer()
                self.write(stuffer.feed(content) + stuffer.finish())
        return [result.reply.code for result in transaction.results if result is not None]

    def _answer(self) -> Answer:
        while (answer := self.client.next_answer()) is None:
            self.client.feed(self._taken())
        return answer

    def _taken(self) -> bytes:
        assert self.server.said, "the client waits for an answer that the server does not owe"
        cut = self._data.draw(st.integers(1, len(self.server.said)), label="answer cut")
        said, self.server.said = self.server.said[:cut], self.server.said[cut:]
        return said


@pytest.mark.parametrize("lmtp", [False, True])
@given(st.lists(st.tuples(_ENVELOPES, _CONTENTS, st.booleans()), min_size=1, max_size=3), st.data())
def test_whatever_the_client_sends_arrives(
    lmtp: bool, messages: list[tuple[Envelope, bytes, bool]], data: st.DataObject
) -> None:
    pair = Pair(Offer("mx.example.org", lmtp=lmtp), data)
    arrived = []
    for envelope, content, chunked in messages:
        codes = pair.deliver(envelope, content, chunked=chunked)
        refused = [recipient.path.local_part == "nobody" for recipient in envelope.recipients]
        assert codes == [550 if no else 250 for no in refused]
        if not all(refused):
            arrived.append((envelope, content))
    assert [content for _, content, _ in pair.server.messages] == [content for _, content in arrived]
    for (sent, content), (received, _, end) in zip(arrived, pair.server.messages, strict=True):
        assert received.reverse_path == sent.reverse_path
        assert (received.ret, received.envid, received.size) == (sent.ret, sent.envid, len(content))
        assert received.recipients == tuple(r for r in sent.recipients if r.path.local_part != "nobody")
        assert end.defects == ()
        assert end.has_8bit is not content.isascii()
    assert pair.server.said == b""
    assert pair.client.is_clean
