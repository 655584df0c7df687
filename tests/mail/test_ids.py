"""IDs sort by time, tell their time, and nothing else passes for one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.mail.ids import id_time, is_id, make_id

_TIMES = st.integers(0, (1 << 48) - 1)
_ENTROPY = st.integers(0, (1 << 80) - 1)


def test_the_layout_is_that_of_a_ulid() -> None:
    assert make_id(1_469_918_176_385, 0) == "01ARYZ6S410000000000000000"
    assert make_id((1 << 48) - 1, (1 << 80) - 1) == "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"


@given(_TIMES, _TIMES, _ENTROPY, _ENTROPY)
def test_ids_sort_as_their_times(a: int, b: int, x: int, y: int) -> None:
    assert ((a, x) < (b, y)) is (make_id(a, x) < make_id(b, y))


@given(st.integers(0, 253_402_300_799_999), _ENTROPY)
def test_an_id_tells_its_time(unix_ms: int, entropy: int) -> None:
    event_id = make_id(unix_ms, entropy)
    assert is_id(event_id)
    assert abs(id_time(event_id) - datetime.fromtimestamp(unix_ms / 1000, UTC)).total_seconds() < 0.001


@pytest.mark.parametrize(
    "text", ["", "0" * 25, "0" * 27, "I" * 26, "0" * 25 + "l", "../../../../../../etc/pass", "\u0660" * 26]
)
def test_nothing_else_is_an_id(text: str) -> None:
    assert not is_id(text)
    with pytest.raises(ValueError, match="is not an ID"):
        id_time(text)
