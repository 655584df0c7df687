from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocol.smtp.client_auth import (
    MAX_ITERATIONS,
    Credentials,
    ScramSha256,
    choose_mechanism,
    decode_challenge,
    encode,
)
from gatepost.protocol.smtp.client_replies import ProtocolError

USER = Credentials("user", "pencil")
VECTORS = json.loads((Path(__file__).parents[2] / "corpus" / "scram" / "vectors.json").read_text())["vectors"]
RFC7677 = next(vector for vector in VECTORS if vector["mechanism"] == "SCRAM-SHA-256")


def scram() -> ScramSha256:
    exchange = ScramSha256(USER, RFC7677["client_nonce"])
    assert exchange.initial() == RFC7677["client_first"].encode()
    return exchange


def test_scram_sha_256_runs_as_in_rfc_7677() -> None:
    exchange = scram()
    assert exchange.respond(RFC7677["server_first"].encode()) == RFC7677["client_final"].encode()
    assert not exchange.is_complete
    assert exchange.respond(RFC7677["server_final"].encode()) == b""
    assert exchange.is_complete


def test_a_server_that_does_not_know_the_password_is_found_out() -> None:
    exchange = scram()
    exchange.respond(RFC7677["server_first"].encode())
    with pytest.raises(ProtocolError):
        exchange.respond(b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    assert not exchange.is_complete


@pytest.mark.parametrize("iterations", ["0", str(MAX_ITERATIONS + 1), "99999999999999999999", "-1", ""])
def test_a_server_cannot_make_us_compute_for_hours(iterations: str) -> None:
    first = RFC7677["server_first"].replace("i=4096", f"i={iterations}")
    with pytest.raises(ProtocolError):
        scram().respond(first.encode())


def test_a_server_nonce_that_does_not_begin_with_ours_is_refused() -> None:
    with pytest.raises(ProtocolError):
        scram().respond(RFC7677["server_first"].replace("r=rOpr", "r=xOpr").encode())


@given(st.binary(max_size=80))
def test_no_challenge_raises_anything_but_a_protocol_error(challenge: bytes) -> None:
    for mechanism in ("SCRAM-SHA-256", "PLAIN", "LOGIN"):
        exchange = choose_mechanism((mechanism,), USER, "nonce")
        assert exchange is not None
        exchange.initial()
        try:
            for _ in range(4):
                exchange.respond(challenge)
        except ProtocolError:
            continue


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (("LOGIN", "PLAIN", "SCRAM-SHA-256"), "SCRAM-SHA-256"),
        (("LOGIN", "PLAIN"), "PLAIN"),
        (("XOAUTH2", "LOGIN"), "LOGIN"),
        (("GSSAPI",), None),
        ((), None),
    ],
)
def test_the_mechanism_that_gives_least_away_is_chosen(offered: tuple[str, ...], chosen: str | None) -> None:
    exchange = choose_mechanism(offered, USER, "nonce")
    assert (exchange and exchange.mechanism) == chosen


def test_a_password_that_scram_does_not_allow_goes_by_plain() -> None:
    exchange = choose_mechanism(("SCRAM-SHA-256", "PLAIN"), Credentials("user", "a\x07b"), "nonce")
    assert exchange is not None
    assert exchange.mechanism == "PLAIN"


def test_plain_and_login_say_what_they_must() -> None:
    plain = choose_mechanism(("PLAIN",), USER, "")
    login = choose_mechanism(("LOGIN",), USER, "")
    assert plain is not None
    assert login is not None
    assert encode(plain.initial()) == "AHVzZXIAcGVuY2ls"
    assert encode(login.initial()) is None
    assert [login.respond(b"Username:"), login.respond(b"whatever")] == [b"user", b"pencil"]
    assert login.is_complete


def test_a_password_never_shows_in_a_log() -> None:
    assert "pencil" not in repr(USER)
    assert "pencil" not in f"{USER}"


@pytest.mark.parametrize("text", ["!", "dXNlcg", "dXNlcg==x", "é"])
def test_a_challenge_that_is_no_base64_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode_challenge(text)
