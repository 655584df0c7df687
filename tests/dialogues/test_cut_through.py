"""Dialogues of strangers with a domain whose next hop answers before we do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.gate.hosts import DOWN, NO_USER, TAKEN, at_rcpt
from tests.support.desk import Client, Desk, MemoryContent

from gatepost.audit.event import Event
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.reply import Reply
from gatepost.policy.checks import content_headers
from gatepost.protocol.smtp.client_transaction import RecipientResult
from gatepost.spool.model import NewEntry
from gatepost.spool.port import Content

ADA, BEA, EVE = "ada@through.example", "bea@through.example", "eve@through.example"
MESSAGE = b"From: bob@far.example\r\nSubject: hello\r\n\r\nhello\r\n.\r\n"
KEPT = RecipientResult(Reply(250, "2.0.0", "queued at inner.example"), "data", "delivered")
SPAM = RecipientResult(Reply(550, "5.7.1", "inner.example thinks that this is spam"), "data", "failed")
LATER = RecipientResult(Reply(451, "4.7.1", "inner.example is busy"), "data", "deferred")
BROKE = RecipientResult(Reply(451, "4.4.2", "192.0.2.98 closed"), "data", "deferred", by_peer=False)
REFUSED = "The server that keeps this mailbox refuses the recipient or the sender"
NOT_NOW = "The server that keeps this mailbox does not take the message now, try again later"


class ScriptedLine:
    def __init__(self, passage: ScriptedPassage) -> None:
        self.passage = passage
        self.is_open = True

    async def ask(self, recipient: Recipient) -> RecipientResult:
        self.passage.asked.append(str(recipient.path))
        return self.passage.at_rcpt.get(str(recipient.path), TAKEN)


class ScriptedPassage:
    """`intake.cut_through.Passage`. at_rcpt: answers to RCPT; at_end: to the message, one for each recipient."""

    def __init__(self, at_rcpt: dict[str, RecipientResult] | None = None, at_end: Sequence[RecipientResult] = ()):
        self.at_rcpt = at_rcpt or {}
        self.at_end = list(at_end)
        self.is_down = False
        self.domains: list[str] = []
        self.senders: list[str] = []
        self.asked: list[str] = []
        self.parted = 0
        self.handed: list[tuple[NewEntry, bytes]] = []

    async def line(self, domain: str, envelope: Envelope) -> ScriptedLine | RecipientResult:
        self.domains.append(domain)
        self.senders.append(str(envelope.reverse_path))
        return DOWN if self.is_down else ScriptedLine(self)

    def part(self, line: object) -> None:
        assert isinstance(line, ScriptedLine)
        line.is_open = False
        self.parted += 1

    async def hand_over(self, entry: NewEntry, content: Content) -> tuple[Sequence[RecipientResult], Sequence[Event]]:
        assert isinstance(content, MemoryContent)
        assert not content.is_discarded
        self.handed.append((entry, entry.prefix + b"".join([piece async for piece in content.chunks()])))
        results = self.at_end or [KEPT] * len(entry.envelope.recipients)
        return results, [Event("delivery.attempt", message=entry.id)]


async def opened(desk: Desk, service: str = "mx", ip: str = "203.0.113.9") -> Client:
    client = desk.connect(service, ip=ip)
    await client.read()
    await client.line("LHLO client.example.net" if service == "lmtp" else "EHLO client.example.net")
    await client.line("MAIL FROM:<bob@far.example>")
    return client


async def sent(client: Client, *recipients: str) -> str:
    """The answer to a message for recipients who are all taken."""
    for recipient in recipients:
        assert await client.line(f"RCPT TO:<{recipient}>") == "250 2.1.5 Recipient ok"
    assert (await client.line("DATA")).startswith("354")
    return "\n".join(await client.say(MESSAGE))


async def test_250_is_said_after_the_next_hop_said_it_and_nothing_is_spooled() -> None:
    passage = ScriptedPassage()
    desk = Desk(passage=passage)
    client = await opened(desk)
    assert await sent(client, ADA, BEA) == "250 2.0.0 Message accepted"
    assert passage.senders == ["bob@far.example"]
    assert passage.asked == [ADA, BEA]
    assert passage.parted == 1
    ((entry, octets),) = passage.handed
    assert [str(one.path) for one in entry.envelope.recipients] == [ADA, BEA]
    assert octets.startswith(b"Authentication-Results: mx.example.org;")
    assert b"\r\nReceived: from client.example.net" in octets
    assert octets.endswith(b"\r\n\r\nhello\r\n")
    assert not desk.spool.entries
    assert desk.spool.contents[0].is_discarded
    (event,) = desk.recorder.of("smtp.message")
    (attempt,) = desk.recorder.of("delivery.attempt")
    assert event.reply.startswith("250 2.0.0 Message accepted")
    assert attempt.message == event.id
    client.hang_up()
    assert desk.recorder.of("smtp.session")[0].details["messages"] == 1


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (SPAM, "550 5.7.1 The server that keeps this mailbox refuses the message"),
        (LATER, "451 4.7.1 The server that keeps this mailbox does not take the message now, try again later"),
        (BROKE, "451 4.4.2 The message could not be passed on to the end, try again later"),
        (DOWN, "451 4.4.1 The server that keeps this mailbox cannot be reached now, try again later"),
    ],
)
async def test_what_the_next_hop_refuses_stays_with_the_sender_in_our_own_words(
    answer: RecipientResult, reply: str
) -> None:
    passage = ScriptedPassage(at_end=[answer])
    desk = Desk(passage=passage)
    client = await opened(desk)
    assert await sent(client, ADA) == reply
    assert not desk.spool.entries
    assert desk.spool.contents[0].is_discarded
    (event,) = desk.recorder.of("smtp.message")
    said = next(each for each in event.verdicts if each.check == "cut_through")
    assert answer.reply.text in said.reason
    assert said.verdict == ("reject" if answer is SPAM else "defer")
    assert await client.line("MAIL FROM:<bob@far.example>") == "250 2.1.0 Sender ok"


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (NO_USER, f"550 5.1.1 {REFUSED}"),
        (at_rcpt(452, "4.2.2", "full"), f"452 4.2.2 {NOT_NOW}"),
        (at_rcpt(421, "4.3.2", "going down"), f"451 4.3.2 {NOT_NOW}"),
        (at_rcpt(503, "5.5.1", "bad sequence"), f"554 5.5.1 {REFUSED}"),
        (at_rcpt(550, "", "no"), f"550 5.0.0 {REFUSED}"),
    ],
)
async def test_a_recipient_is_answered_as_the_next_hop_answers(answer: RecipientResult, reply: str) -> None:
    passage = ScriptedPassage({EVE: answer})
    desk = Desk(passage=passage)
    client = await opened(desk)
    assert await client.line(f"RCPT TO:<{EVE}>") == reply
    assert await sent(client, ADA) == "250 2.0.0 Message accepted"
    assert [str(one.path) for one in passage.handed[0][0].envelope.recipients] == [ADA]
    (event,) = desk.recorder.of("smtp.message")
    assert [refused["recipient"] for refused in event.details["refused"]] == [EVE]


async def test_while_the_next_hop_is_down_its_mail_stays_with_the_senders() -> None:
    passage = ScriptedPassage()
    passage.is_down = True
    client = await opened(Desk(passage=passage))
    said = await client.line(f"RCPT TO:<{ADA}>")
    assert said == "451 4.4.1 The server that keeps this mailbox cannot be reached now, try again later"
    passage.is_down = False
    assert await sent(client, ADA) == "250 2.0.0 Message accepted"


async def test_recipients_that_others_answer_for_need_a_message_of_their_own() -> None:
    """One reply stands for all recipients of a message: it must not be that of two servers."""
    client = await opened(Desk(passage=ScriptedPassage()))
    assert await client.line(f"RCPT TO:<{ADA}>") == "250 2.1.5 Recipient ok"
    alone = "452 4.5.3 This recipient needs a message of its own; send it again for it alone"
    assert await client.line("RCPT TO:<ada@example.org>") == alone
    assert await client.line("RCPT TO:<x@inner.example>") == alone
    await client.line("RSET")
    await client.line("MAIL FROM:<bob@far.example>")
    assert await client.line("RCPT TO:<ada@example.org>") == "250 2.1.5 Recipient ok"
    assert await client.line(f"RCPT TO:<{ADA}>") == alone


async def test_a_message_whose_only_cut_through_recipient_was_refused_is_queued_for_the_others() -> None:
    passage = ScriptedPassage({EVE: NO_USER})
    desk = Desk(passage=passage)
    client = await opened(desk)
    await client.line(f"RCPT TO:<{EVE}>")
    assert await sent(client, "ada@example.org") == "250 2.0.0 Message accepted"
    assert not passage.handed
    assert desk.spool.only[0].destinations == ("local",)


async def test_each_domain_is_asked_at_its_own_next_hop() -> None:
    passage = ScriptedPassage({EVE: NO_USER})
    desk = Desk(passage=passage)
    client = await opened(desk)
    await client.line(f"RCPT TO:<{EVE}>")
    assert await sent(client, "zoe@passed.example") == "250 2.0.0 Message accepted"
    assert passage.domains == ["through.example", "passed.example"]
    assert passage.parted == 2
    assert passage.handed[0][0].destinations == ("passed.example",)


async def test_what_the_next_hop_took_for_some_is_kept_for_the_others() -> None:
    """It changed its mind between RCPT and the end: the 250 is for all, and means kept."""
    passage = ScriptedPassage(at_end=[KEPT, SPAM])
    desk = Desk(passage=passage)
    client = await opened(desk)
    assert await sent(client, ADA, BEA) == "250 2.0.0 Message accepted"
    entry, content = desk.spool.only
    assert [str(one.path) for one in entry.envelope.recipients] == [BEA]
    assert entry.destinations == ("through.example",)
    assert content.endswith(b"hello\r\n")
    assert desk.notified == 1


async def test_where_none_was_taken_the_peer_is_to_come_again_if_that_may_help() -> None:
    client = await opened(Desk(passage=ScriptedPassage(at_end=[SPAM, LATER])))
    assert (await sent(client, ADA, BEA)).startswith("451 4.7.1")


async def test_our_own_refusal_comes_first_and_the_next_hop_hears_nothing_of_the_message() -> None:
    passage = ScriptedPassage()
    desk = Desk(passage=passage, policy={"content.headers": content_headers.Settings(require_date=True)})
    client = await opened(desk)
    assert (await sent(client, ADA)).startswith("554 5.6.0")
    assert not passage.handed
    assert passage.parted == 1


async def test_mail_of_peers_that_may_relay_is_queued() -> None:
    """Their senders are known, and a user's program takes 452 for an error."""
    passage = ScriptedPassage()
    desk = Desk(passage=passage, relay_networks=("203.0.113.0/24",))
    client = await opened(desk)
    assert await sent(client, ADA, "ada@example.org") == "250 2.0.0 Message accepted"
    assert not passage.handed
    assert desk.spool.only[0].destinations == ("through.example", "local")


@pytest.mark.parametrize("how", ["RSET", "QUIT", "hang up", "EHLO again.example.net"])
async def test_the_line_to_the_next_hop_ends_with_the_transaction(how: str) -> None:
    passage = ScriptedPassage()
    client = await opened(Desk(passage=passage))
    await client.line(f"RCPT TO:<{ADA}>")
    assert passage.parted == 0
    if how == "hang up":
        client.hang_up()
    else:
        await client.line(how)
    assert passage.parted == 1


async def test_a_message_whose_record_cannot_be_written_is_not_accepted() -> None:
    desk = Desk(passage=ScriptedPassage())
    client = await opened(desk)
    await client.line(f"RCPT TO:<{ADA}>")
    await client.line("DATA")
    desk.recorder.fails = True
    assert "\n".join(await client.say(MESSAGE)).startswith("421 4.3.0")
    assert desk.spool.contents[0].is_discarded


async def test_over_lmtp_each_recipient_has_its_reply() -> None:
    passage = ScriptedPassage()
    client = await opened(Desk(passage=passage), "lmtp")
    assert await sent(client, ADA, BEA) == "250 2.0.0 Message accepted\n250 2.0.0 Message accepted"
