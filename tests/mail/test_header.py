"""Header sections: found in a stream, walked, and never changed but where a field is taken out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.mail.header import MAX_FIELDS, section_end, walk


@pytest.mark.parametrize(
    ("octets", "end"),
    [
        (b"From: a\r\n\r\nbody", 11),
        (b"\r\nbody", 2),
        (b"From: a\r\n", -1),
        (b"", -1),
        (b"From: a\r\n\r\n", 11),
        (b"From: a\n\nbody", -1),
    ],
)
def test_the_body_begins_behind_the_first_blank_line(octets: bytes, end: int) -> None:
    assert section_end(octets) == end


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_end_is_found_however_the_octets_are_cut(first: int, second: int) -> None:
    octets = b"From: a\r\nTo: b\r\n\r\nbody\r\n\r\n"
    seen = 0
    for cut in (*sorted((first, second)), len(octets)):
        end = section_end(octets[:cut], seen)
        if end >= 0:
            break
        seen = min(cut, len(octets))
    assert end == 18


@pytest.mark.parametrize(
    ("section", "names", "defects"),
    [
        (b"From: a\r\nTo: b\r\n\r\n", [b"from", b"to"], 0),
        (b"From: a\r\n folded\r\n\tagain\r\nTo: b\r\n\r\n", [b"from", b"to"], 0),
        (b"FROM : a\r\n\r\n", [b"from"], 0),
        (b"From a line of an mbox\r\nTo: b\r\n\r\n", [b"to"], 1),
        (b" folded from nothing\r\nTo: b\r\n\r\n", [b"to"], 1),
        (b"no field\r\n\r\n", [], 1),
        (b"bad name: x\r\n\r\n", [], 1),
        (b"\xff: x\r\n\r\n", [], 1),
        (b": x\r\n\r\n", [], 1),
        (b"\r\n", [], 0),
        (b"", [], 0),
        (b"Subject: no blank line", [b"subject"], 0),
    ],
)
def test_fields_and_defects(section: bytes, names: list[bytes], defects: int) -> None:
    walked = walk(section)
    assert [field.name for field in walked.fields] == names
    assert len(walked.defects) == defects


def test_values_are_unfolded() -> None:
    walked = walk(b"Subject:  a\r\n b\r\n\tc \r\nX: \r\n\r\n")
    assert walked.values(b"subject") == [b"a b\tc"]
    assert walked.values(b"x") == [b""]


def test_a_field_is_taken_out_with_its_continuation_and_nothing_else_changes() -> None:
    section = b"From: a\r\nBcc: x,\r\n y\r\nTo: b\r\nbcc:z\r\nX-Bcc: stays\r\n\r\n"
    walked = walk(section)
    assert walked.without(walked.named(b"bcc")) == b"From: a\r\nTo: b\r\nX-Bcc: stays\r\n\r\n"


@given(st.binary(max_size=200))
def test_no_octets_raise_and_fields_lie_inside(octets: bytes) -> None:
    walked = walk(octets)
    at = 0
    for field in walked.fields:
        assert at <= field.start < field.end <= len(octets)
        walked.value(field)
        at = field.end
    assert walked.without(()) == octets


def test_a_flood_of_fields_is_not_walked_to_its_end_and_each_defect_is_named_once() -> None:
    walked = walk(b"no field\r\n" * 50 + b"a:\r\n" * (MAX_FIELDS + 5) + b"Bcc: b@example.org\r\n\r\n")
    assert len(walked.fields) == MAX_FIELDS
    assert walked.defects == ("a line without a field name", f"more than {MAX_FIELDS} fields")
    assert walk(b"a:\r\n" * MAX_FIELDS + b"\r\n").defects == ()
