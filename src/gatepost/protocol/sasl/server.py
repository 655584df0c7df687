"""Which mechanisms a server offers, and a fresh run of each."""

from __future__ import annotations

from gatepost.protocol.sasl.external import External
from gatepost.protocol.sasl.mechanism import ServerMechanism
from gatepost.protocol.sasl.plain import Login, Plain
from gatepost.protocol.sasl.scram_server import ScramSha256, ScramSha256Plus


def offered_mechanisms(end_point: bytes, identity: str = "") -> tuple[str, ...]:
    """The mechanisms for a connection, best first, as EHLO, CAPA and AUTH name them.

    end_point: its tls-server-end-point, b"" when it has no TLS: then -PLUS is not offered. identity: the account that
    the connection itself has proved, "" for none: then EXTERNAL is not. Whether AUTH is offered at all is not decided
    here.
    """
    external = (External.name,) if identity else ()
    plus = (ScramSha256Plus.name,) if end_point else ()
    return (*external, *plus, ScramSha256.name, Plain.name, Login.name)


def server_mechanism(name: str, *, nonce: str, end_point: bytes, identity: str = "") -> ServerMechanism | None:
    """A fresh run of the mechanism `name` (upper case), None for one that is not offered on this connection.

    nonce: fresh for each call, at least 18 random octets as text without a comma. end_point, identity: as above.
    """
    if name not in offered_mechanisms(end_point, identity):
        return None
    match name:
        case External.name:
            return External(identity)
        case ScramSha256Plus.name:
            return ScramSha256Plus(nonce, end_point)
        case ScramSha256.name:
            return ScramSha256(nonce, plus_offered=bool(end_point))
        case Plain.name:
            return Plain()
        case _:
            return Login()
