from __future__ import annotations

import pytest

from gatepost.mail.address import Path
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.reply import Reply
from gatepost.protocol.smtp.client import ClientSession, Step
from gatepost.protocol.smtp.client_commands import Needs
from gatepost.protocol.smtp.client_replies import ProtocolError
from gatepost.protocol.smtp.client_transaction import Receive, RecipientResult, Send, SendContent, Transaction

ENVELOPE = Envelope(Path("ada", "example.org"), tuple(Recipient(Path(name, "example.net")) for name in "abc"))
GROUP = (
    b"MAIL FROM:<ada@example.org>\r\nRCPT TO:<a@example.net>\r\nRCPT TO:<b@example.net>\r\n"
    b"RCPT TO:<c@example.net>\r\nDATA\r\n"
)


def ready(*offer: str, lmtp: bool = False) -> ClientSession:
    session = ClientSession(lmtp=lmtp)
    session.feed(b"220 mx\r\n")
    session.next_answer()
    session.send(Step.EHLO, b"")
    session.feed("".join(f"250-{word}\r\n" for word in ("mx", *offer)).encode() + b"250 HELP\r\n")
    session.next_answer()
    return session


class Course:
    """Runs a transaction against replies that are given one by one; `sent` is what left, the content as one item."""

    def __init__(self, session: ClientSession, envelope: Envelope = ENVELOPE, *, chunked: bool = False) -> None:
        self.session = session
        self.transaction = Transaction(session, envelope, Needs(10), chunked=chunked)
        self.sent: list[bytes] = []

    def run(self, *replies: str) -> list[tuple[str, str, int]]:
        left = [f"{reply}\r\n".encode() for reply in replies]
        while (action := self.transaction.next()) is not None:
            if isinstance(action, Send):
                self.sent.append(action.octets)
            elif isinstance(action, SendContent) and not action.chunked:
                self.transaction.begin_content()
                self.sent.append(b"(content)")
            elif isinstance(action, SendContent):
                self.sent.append(self.transaction.chunk(10, last=True))
            elif isinstance(action, Receive):
                while (answer := self.session.next_answer()) is None:
                    self.session.feed(left.pop(0))
                self.transaction.answered(answer)
        assert not left, "the transaction ended before all replies were read"
        return [self.brief(result) for result in self.transaction.results]

    @staticmethod
    def brief(result: RecipientResult | None) -> tuple[str, str, int]:
        assert result is not None
        return result.kind, result.at, result.reply.code


def test_a_pipelined_transaction_leaves_in_one_group() -> None:
    course = Course(ready("PIPELINING"))
    results = course.run("250 ok", "250 ok", "550 5.1.1 no", "450 4.2.1 later", "354 go", "250 2.0.0 kept")
    assert course.sent == [GROUP, b"(content)"]
    assert results == [("delivered", "data", 250), ("failed", "rcpt", 550), ("deferred", "rcpt", 450)]
    assert course.session.is_clean
    assert not course.session.needs_reset


def test_without_pipelining_each_command_waits() -> None:
    course = Course(ready())
    course.run("250 ok", "250 ok", "550 no", "250 ok", "354 go", "250 kept")
    assert course.sent == [*GROUP.splitlines(keepends=True), b"(content)"]


def test_all_recipients_refused_and_yet_354_is_ended_by_a_lone_dot() -> None:
    course = Course(ready("PIPELINING"))
    results = course.run("250 ok", "550 no", "550 no", "550 no", "354 go", "554 5.5.1 no valid recipients")
    assert course.sent == [GROUP, b".\r\n"]
    assert results == [("failed", "rcpt", 550)] * 3
    assert course.session.is_clean


def test_all_recipients_refused_and_data_too() -> None:
    course = Course(ready("PIPELINING"))
    results = course.run("250 ok", "550 no", "450 no", "550 no", "503 no recipients")
    assert results == [("failed", "rcpt", 550), ("deferred", "rcpt", 450), ("failed", "rcpt", 550)]
    assert course.session.needs_reset


def test_without_pipelining_data_for_nobody_is_never_sent() -> None:
    course = Course(ready())
    course.run("250 ok", "550 no", "550 no", "550 no")
    assert b"DATA\r\n" not in course.sent


def test_rset_goes_ahead_of_the_next_message_only_where_the_last_led_nowhere() -> None:
    session = ready("PIPELINING")
    Course(session).run("250 ok", "550 no", "550 no", "550 no", "503 no")
    course = Course(session)
    course.run("250 reset", "250 ok", "250 ok", "250 ok", "250 ok", "354 go", "250 kept")
    assert course.sent[0] == b"RSET\r\n" + GROUP
    course = Course(session)
    course.run("250 ok", "250 ok", "250 ok", "250 ok", "354 go", "250 kept")
    assert course.sent[0] == GROUP


@pytest.mark.parametrize(("reply", "kind"), [("451 4.3.0 later", "deferred"), ("550 5.7.1 never", "failed")])
def test_a_refused_mail_is_the_result_of_all(reply: str, kind: str) -> None:
    code = int(reply[:3])
    assert Course(ready()).run(reply) == [(kind, "mail", code)] * 3
    pipelined = Course(ready("PIPELINING"))
    assert pipelined.run(reply, "503 no", "503 no", "503 no", "503 no") == [(kind, "mail", code)] * 3


def test_a_peer_that_refuses_mail_and_accepts_the_rest_gets_nothing() -> None:
    course = Course(ready("PIPELINING"))
    results = course.run("550 no", "250 ok", "250 ok", "250 ok", "354 go", "250 thanks")
    assert course.sent == [GROUP, b".\r\n"]
    assert results == [("failed", "mail", 550)] * 3


@pytest.mark.parametrize(("reply", "kind"), [("451 later", "deferred"), ("554 never", "failed")])
def test_refused_data_and_refused_content_count_for_the_accepted_recipients_only(reply: str, kind: str) -> None:
    code = int(reply[:3])
    refused_data = Course(ready("PIPELINING")).run("250 ok", "250 ok", "550 no", "250 ok", reply)
    refused_content = Course(ready("PIPELINING")).run("250 ok", "250 ok", "550 no", "250 ok", "354 go", reply)
    assert refused_data == refused_content == [(kind, "data", code), ("failed", "rcpt", 550), (kind, "data", code)]


def test_552_to_rcpt_counts_as_452() -> None:
    course = Course(ready("PIPELINING"))
    results = course.run("250 ok", "250 ok", "552 too many", "552 5.2.2 full", "354 go", "250 ok")
    assert results == [("delivered", "data", 250), ("deferred", "rcpt", 552), ("failed", "rcpt", 552)]
    assert [result and result.is_one_too_many for result in course.transaction.results] == [False, True, False]


def test_421_in_mid_group_defers_all_who_have_no_result() -> None:
    course = Course(ready("PIPELINING"))
    results = course.run("250 ok", "550 no", "421 4.3.2 going down")
    assert results == [("failed", "rcpt", 550), ("deferred", "rcpt", 421), ("deferred", "rcpt", 421)]
    assert all(result and result.by_peer for result in course.transaction.results)


def test_421_after_the_final_dot_defers() -> None:
    course = Course(ready("PIPELINING"))
    assert course.run("250 ok", "250 ok", "250 ok", "250 ok", "354 go", "421 down") == [("deferred", "data", 421)] * 3


def test_what_is_lost_is_deferred_where_it_was_lost() -> None:
    course = Course(ready("PIPELINING"))
    course.transaction.next()
    course.session.feed(b"250 ok\r\n550 no\r\n")
    for _ in range(2):
        answer = course.session.next_answer()
        assert answer is not None
        course.transaction.answered(answer)
    course.transaction.lost(Reply(451, "4.4.2", "gone"))
    assert [course.brief(result) for result in course.transaction.results] == [
        ("failed", "rcpt", 550),
        ("deferred", "rcpt", 451),
        ("deferred", "rcpt", 451),
    ]
    assert [result and result.by_peer for result in course.transaction.results] == [True, False, False]


def test_lmtp_has_a_result_for_each_accepted_recipient() -> None:
    course = Course(ready("PIPELINING", lmtp=True))
    results = course.run("250 ok", "250 ok", "550 no", "250 ok", "354 go", "250 kept", "452 4.2.2 full")
    assert results == [("delivered", "data", 250), ("failed", "rcpt", 550), ("deferred", "data", 452)]


def test_lmtp_354_for_nobody_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError):
        Course(ready("PIPELINING", lmtp=True)).run("250 ok", "550 no", "550 no", "550 no", "354 go")


def test_chunked_content_follows_the_answers_and_data_is_never_said() -> None:
    course = Course(ready("PIPELINING", "CHUNKING"), chunked=True)
    results = course.run("250 ok", "250 ok", "250 ok", "550 no", "250 kept")
    assert course.sent == [GROUP.replace(b"DATA\r\n", b""), b"BDAT 10 LAST\r\n"]
    assert results == [("delivered", "data", 250), ("delivered", "data", 250), ("failed", "rcpt", 550)]


def test_no_chunk_leaves_for_nobody() -> None:
    course = Course(ready("PIPELINING", "CHUNKING"), chunked=True)
    course.run("250 ok", "550 no", "550 no", "550 no")
    assert len(course.sent) == 1


def test_who_cannot_be_offered_to_the_peer_is_not() -> None:
    envelope = Envelope(
        ENVELOPE.reverse_path, (Recipient(Path("ä", "example.net")), Recipient(Path("b", "example.net")))
    )
    course = Course(ready("PIPELINING"), envelope)
    results = course.run("250 ok", "250 ok", "354 go", "250 kept")
    assert results == [("failed", "rcpt", 553), ("delivered", "data", 250)]
    assert b"RCPT TO:<b@example.net>\r\nDATA" in course.sent[0]
    assert course.sent[0].count(b"RCPT") == 1


def test_a_message_that_is_too_large_is_not_even_announced() -> None:
    course = Course(ready("PIPELINING", "SIZE 9"))
    assert course.run() == [("failed", "mail", 552)] * 3
    assert course.sent == []
    assert course.session.is_clean


@pytest.mark.parametrize(("offer", "passed_on"), [(("DSN",), True), ((), False)])
def test_the_result_says_whether_the_peer_took_over_the_duty_to_notify(offer: tuple[str, ...], passed_on: bool) -> None:
    course = Course(ready("PIPELINING", *offer))
    course.run("250 ok", "250 ok", "250 ok", "550 no", "354 go", "250 kept")
    assert [result and result.dsn_passed_on for result in course.transaction.results] == [passed_on, passed_on, False]
