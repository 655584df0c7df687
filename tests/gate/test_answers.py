"""What a mail host's reply says about an address: only a plain no counts as one."""

from __future__ import annotations

import pytest
from tests.gate.hosts import DOWN, at_rcpt

from gatepost.gate.answers import says
from gatepost.mail.reply import Reply
from gatepost.protocol.smtp.client_transaction import RecipientResult


@pytest.mark.parametrize(
    ("code", "esc", "text", "expected"),
    [
        (250, "2.1.5", "ok", "yes"),
        (251, "", "will forward", "yes"),
        (550, "5.1.1", "User unknown", "no"),
        (550, "5.1.1", "Recipient address rejected: User unknown in relay recipient table", "no"),
        (550, "5.1.10", "RESOLVER.ADR.RecipientNotFound", "no"),
        (550, "5.1.2", "no such domain here", "no"),
        (550, "5.2.1", "mailbox disabled", "no"),
        (550, "5.4.1", "Recipient address rejected: Access denied. [AM1.example]", "no"),
        (550, "5.4.1", "no answer from host", "unknown"),
        (550, "", "No such user here", "no"),
        (551, "", "User not local", "no"),
        (553, "", "mailbox name invalid", "no"),
        (550, "5.2.2", "mailbox full", "yes"),
        (552, "5.2.2", "over quota", "yes"),
        (452, "4.2.2", "over quota", "yes"),
        (450, "4.7.1", "Greylisted, come back later", "unknown"),
        (450, "", "mailbox busy", "unknown"),
        (451, "4.3.0", "try again", "unknown"),
        (421, "4.7.0", "too many connections", "unknown"),
        (550, "5.7.1", "Callouts are not welcome", "unknown"),
        (550, "5.7.1", "blocked using bl.example", "unknown"),
        (550, "5.1.0", "Address rejected: verification is not allowed", "unknown"),
        (550, "5.1.0", "Address rejected", "no"),
        (550, "5.1.8", "bad sender's system address", "unknown"),
        (550, "", "Sender verify failed", "unknown"),
        (550, "", "callback refused", "unknown"),
        (550, "", "Your host is on a blacklist", "unknown"),
        (550, "", "relaying denied", "unknown"),
        (550, "", "we take no bounces", "unknown"),
        (554, "", "transaction failed", "unknown"),
        (503, "", "bad sequence", "unknown"),
    ],
)
def test_a_reply_to_rcpt_says_so(code: int, esc: str, text: str, expected: str) -> None:
    assert says(at_rcpt(code, esc, text)) == expected


@pytest.mark.parametrize("at", ["connect", "helo", "mail", "data"])
def test_a_refusal_before_rcpt_says_nothing_of_the_address(at: str) -> None:
    result = RecipientResult(Reply(550, "5.1.1", "no such user"), at, "failed")  # type: ignore[arg-type]
    assert says(result) == "unknown"


def test_our_own_words_about_a_host_say_nothing() -> None:
    assert says(DOWN) == "unknown"
    assert says(RecipientResult(Reply(553, "5.6.7", "beyond ASCII"), "rcpt", "failed", by_peer=False)) == "unknown"
