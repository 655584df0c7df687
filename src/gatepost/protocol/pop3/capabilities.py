"""What a server offers, as CAPA lists it (RFC 2449 §5 and §6)."""

from __future__ import annotations

import msgspec


class Offer(msgspec.Struct, frozen=True):
    """What this peer may use now. login: a password may be sent as it is (inside TLS, or on loopback). mechanisms: of
    SASL, best first. stls: TLS can be started."""

    login: bool
    mechanisms: tuple[str, ...] = ()
    stls: bool = False


def capability_lines(offer: Offer) -> bytes:
    """The answer to CAPA after its first line, the final dot included.

    The same in every state: what is legal when is the client's to know (RFC 2449 §6 announces all of them in both).
    No version: whoever looks for an old one learns nothing.
    """
    lines = ["TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "EXPIRE NEVER", "UTF8 USER", "LANG"]
    if offer.login:
        lines.append("USER")
    if offer.mechanisms:
        lines.append("SASL " + " ".join(offer.mechanisms))
    if offer.stls:
        lines.append("STLS")
    lines.append("IMPLEMENTATION Gatepost")
    return "".join(f"{line}\r\n" for line in [*lines, "."]).encode("ascii")


def mechanism_lines(offer: Offer) -> bytes:
    """The answer to AUTH without an argument after its first line, the final dot included."""
    return "".join(f"{line}\r\n" for line in [*offer.mechanisms, "."]).encode("ascii")
