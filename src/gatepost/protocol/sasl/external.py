"""EXTERNAL (RFC 4422, appendix A), server side: who the client is, a layer below has proved; here it says so."""

from __future__ import annotations

from typing import ClassVar

from gatepost.protocol.errors import LocalProtocolError
from gatepost.protocol.sasl.mechanism import (
    MAX_NAME_OCTETS,
    Action,
    Failure,
    ServerMechanism,
    Success,
    is_same_identity,
    text_of,
)


class External(ServerMechanism):
    """The client names nobody, or itself."""

    name: ClassVar = "EXTERNAL"

    def __init__(self, identity: str) -> None:
        """identity: that the connection has proved (a client certificate), never empty."""
        if not identity:
            raise LocalProtocolError("EXTERNAL needs an identity that the connection has proved")
        self._identity = identity

    def step(self, response: bytes) -> Action:
        if not response:
            return Success(self._identity)
        authzid = text_of(response, MAX_NAME_OCTETS)
        if authzid is None:
            return Failure("malformed", "EXTERNAL: the authorization identity is too long or no UTF-8")
        if not is_same_identity(authzid, self._identity):
            return Failure("refused", "an authorization identity that is not the certificate's", self._identity)
        return Success(self._identity)
