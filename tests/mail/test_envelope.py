"""Which notifications a recipient's sender wants (RFC 3461 section 4.1)."""

from __future__ import annotations

import pytest

from gatepost.mail.address import Path
from gatepost.mail.envelope import Envelope, Notify, Recipient


@pytest.mark.parametrize(
    ("notify", "wanted"),
    [
        ((), {"FAILURE", "DELAY"}),
        (("NEVER",), set()),
        (("SUCCESS",), {"SUCCESS"}),
        (("FAILURE", "SUCCESS"), {"FAILURE", "SUCCESS"}),
        (("DELAY",), {"DELAY"}),
    ],
)
def test_wanted_notifications(notify: tuple[Notify, ...], wanted: set[str]) -> None:
    recipient = Recipient(Path("ada", "example.org"), notify)
    assert {event for event in ("SUCCESS", "FAILURE", "DELAY") if recipient.wants(event)} == wanted  # type: ignore[arg-type]


def test_an_envelope_without_words_is_that_of_a_notification_to_nobody() -> None:
    envelope = Envelope()
    assert envelope.reverse_path.is_null
    assert (envelope.recipients, envelope.body, envelope.size) == ((), "7BIT", None)
