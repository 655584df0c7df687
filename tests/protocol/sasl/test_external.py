"""EXTERNAL: the client names nobody or itself."""

from __future__ import annotations

import pytest

from gatepost.protocol.errors import LocalProtocolError
from gatepost.protocol.sasl.exchange import Exchange
from gatepost.protocol.sasl.external import External
from gatepost.protocol.sasl.mechanism import Challenge, Failure, Success
from gatepost.protocol.sasl.server import offered_mechanisms, server_mechanism


@pytest.mark.parametrize("response", [b"", b"ada@example.org", b"Ada@Example.ORG"])
def test_nobody_and_oneself_succeed(response: bytes) -> None:
    assert Exchange(External("ada@example.org")).begin(response) == Success("ada@example.org")
    exchange = Exchange(External("ada@example.org"))
    assert exchange.begin(None) == Challenge()
    assert exchange.respond(response) == Success("ada@example.org")


@pytest.mark.parametrize("response", [b"bob@example.org", b"ada@example.org\0", b"\xff", b"ada", b"a" * 2000])
def test_everything_else_fails(response: bytes) -> None:
    assert isinstance(Exchange(External("ada@example.org")).begin(response), Failure)


def test_it_is_offered_only_where_the_connection_has_proved_somebody() -> None:
    assert "EXTERNAL" not in offered_mechanisms(b"x")
    assert offered_mechanisms(b"x", "ada@example.org")[0] == "EXTERNAL"
    assert server_mechanism("EXTERNAL", nonce="n" * 24, end_point=b"x") is None
    with pytest.raises(LocalProtocolError):
        External("")
