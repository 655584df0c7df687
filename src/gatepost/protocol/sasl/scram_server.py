"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, server side (RFC 5802, RFC 7677): the password never crosses the wire."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import ClassVar

from gatepost.protocol.errors import LocalProtocolError
from gatepost.protocol.sasl.mechanism import (
    Action,
    Challenge,
    Failure,
    NeedsVerifiers,
    ServerMechanism,
    Success,
    Verifier,
    is_same_identity,
)
from gatepost.protocol.sasl.scram import (
    BINDING_TYPE,
    ClientFinal,
    ClientFirst,
    ScramError,
    base64_text,
    is_proof,
    parse_client_final,
    parse_client_first,
    server_signature,
)


class ScramSha256(ServerMechanism):
    """Without channel binding."""

    name: ClassVar = "SCRAM-SHA-256"

    def __init__(self, nonce: str, *, plus_offered: bool = False) -> None:
        """nonce: our share, fresh for each exchange, printable ASCII without a comma. plus_offered: the client saw
        -PLUS among our mechanisms; one that could bind and did not see it is talking through somebody."""
        self._nonce = nonce
        self._plus_offered = plus_offered
        self._first: ClientFirst | None = None
        self._verifiers: Sequence[Verifier] = ()
        self._server_first = ""

    def step(self, response: bytes) -> Action:
        try:
            if self._first is None:
                return self._begin(parse_client_first(response))
            if not self._verifiers:
                raise LocalProtocolError("supply() has to come before the client's final message")
            return self._finish(self._first, parse_client_final(response))
        except ScramError as error:
            return Failure("malformed", f"{self.name}: {error}", self._first.name if self._first else "")

    def supply(self, verifiers: Sequence[Verifier]) -> Action:
        if self._first is None or self._verifiers:
            raise LocalProtocolError(f"{self.name} did not ask for a verifier")
        if not verifiers:
            raise LocalProtocolError("an unknown login has a verifier too: one that no password fits")
        self._verifiers = verifiers
        salt, iterations = verifiers[0].salt, verifiers[0].iterations
        self._server_first = f"r={self._first.nonce}{self._nonce},s={base64_text(salt)},i={iterations}"
        return Challenge(self._server_first.encode())

    def _begin(self, first: ClientFirst) -> Action:
        if refusal := self._refuses_binding(first):
            return Failure("refused", f"{self.name}: {refusal}", first.name)
        if not is_same_identity(first.authzid, first.name):
            return Failure("refused", "an authorization identity that is not the login", first.name)
        self._first = first
        return NeedsVerifiers(first.name)

    def _finish(self, first: ClientFirst, final: ClientFinal) -> Action:
        nonce = first.nonce + self._nonce
        if not hmac.compare_digest(final.nonce.encode(), nonce.encode()):
            return Failure("refused", f"{self.name}: the nonce is not the one we sent", first.name)
        if not hmac.compare_digest(final.binding, first.header + self._binding_data()):
            return Failure("refused", f"{self.name}: the channel binding is not this connection's", first.name)
        auth_message = f"{first.bare},{self._server_first},{final.without_proof}".encode()
        matched = None
        for number, verifier in enumerate(self._verifiers):  # all of them: time must not tell which one fits
            if is_proof(final.proof, verifier.stored_key, auth_message):
                matched = number
        if matched is None:
            return Failure("refused", "the name or the password is wrong", first.name)
        signature = server_signature(self._verifiers[matched].server_key, auth_message)
        return Success(first.name, f"v={base64_text(signature)}".encode(), matched)

    def _refuses_binding(self, first: ClientFirst) -> str:
        """Why the channel binding flag is not acceptable, "" when it is (RFC 5802 §6)."""
        if first.flag == "p":
            return "the client binds to the channel, which needs -PLUS"
        if first.flag == "y" and self._plus_offered:
            return "the client was not shown that we offer -PLUS: somebody is in between"
        return ""

    def _binding_data(self) -> bytes:
        return b""


class ScramSha256Plus(ScramSha256):
    """Bound to the certificate that the client saw: who sits in between has another one."""

    name: ClassVar = "SCRAM-SHA-256-PLUS"

    def __init__(self, nonce: str, end_point: bytes) -> None:
        """end_point: the tls-server-end-point of this connection (RFC 5929 §4), never empty."""
        if not end_point:
            raise LocalProtocolError("-PLUS needs the channel binding of the connection")
        super().__init__(nonce, plus_offered=True)
        self._end_point = end_point

    def _refuses_binding(self, first: ClientFirst) -> str:
        if first.flag != "p":
            return "the client does not bind to the channel, which -PLUS is about"
        if first.binding_type != BINDING_TYPE:
            return f"the client binds by another type than {BINDING_TYPE}"
        return ""

    def _binding_data(self) -> bytes:
        return self._end_point
