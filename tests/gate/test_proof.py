"""What proves an account whose messages are held."""

from __future__ import annotations

import pytest

from gatepost.gate.proof import is_proof

DAY = 86400.0
HELD = 100 * DAY


@pytest.mark.parametrize(
    ("mechanism", "known_since", "proves"),
    [
        ("PLAIN", HELD - DAY, True),
        ("LOGIN", HELD - 30 * DAY, True),
        ("SCRAM-SHA-256", HELD - DAY, True),
        ("SCRAM-SHA-256-PLUS", HELD - DAY, True),
        ("USER", HELD - DAY, True),
        ("PLAIN", HELD - DAY + 1, False),
        ("PLAIN", HELD + DAY, False),
        ("PLAIN", None, False),
        ("EXTERNAL", HELD - DAY, False),
        ("OAUTHBEARER", HELD - DAY, False),
    ],
)
def test_a_login_with_the_password_from_a_network_long_in_use_is_a_proof(
    mechanism: str, known_since: float | None, proves: bool
) -> None:
    assert is_proof(mechanism, known_since, HELD) is proves
