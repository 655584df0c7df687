"""Fuzz targets of signed mail: a DKIM-Signature with its message and its key record, and Authentication-Results."""

from __future__ import annotations

from typing import Final

from tests.fuzz.cutting import pieces

from gatepost.mail.authentication_results import MethodResult, authentication_results, claims, dkim_results
from gatepost.mail.dkim import DkimResult
from gatepost.mail.header import HeaderSection, section_end, walk
from gatepost.ports.resolver import Answer, Outcome
from gatepost.verify.dkim import MAX_SIGNATURES, MAX_TOLD, Verification

NOW: Final = 1_760_000_000.0
US: Final = "mx.example.org"


def dkim(octets: bytes) -> None:
    """Whatever comes: the first line is the key record, the rest the message. A result for each signature, the same
    however the body is cut; a field for the next reader of one name, which nothing in it can end."""
    record, _, message = octets.partition(b"\n")
    end = section_end(message)
    end = len(message) if end < 0 else end
    section, body = walk(message[:end]), message[end:]
    found = results(section, (body,), record)
    assert found == results(section, pieces(body), record), "what is found depends on how the body was cut"
    assert len(found) <= MAX_SIGNATURES + 1
    for each in found:
        assert each.reason or each.result == "pass"
        assert (each.reason + each.domain + each.selector + each.identity + each.mark).isascii()
        assert len(each.signed) <= MAX_TOLD
    field = authentication_results(US, [*dkim_results(found), MethodResult("spf", "none")])
    (only,) = walk(field + b"\r\n").fields
    assert only.name == b"authentication-results"
    assert claims(field.partition(b":")[2].replace(b"\r\n", b""), US)
    for value in section.values(b"authentication-results"):
        claims(value, US)


def results(section: HeaderSection, body: tuple[bytes, ...], record: bytes) -> tuple[DkimResult, ...]:
    verification = Verification(section, NOW)
    for piece in body:
        verification.feed(piece)
    answer = Answer(Outcome.FOUND, (record.decode("latin-1"),))
    return verification.results(dict.fromkeys(verification.key_names, answer))
