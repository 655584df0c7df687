"""PLAIN (RFC 4616) and LOGIN, server side: the client shows the password itself."""

from __future__ import annotations

from typing import ClassVar

from gatepost.protocol.errors import LocalProtocolError
from gatepost.protocol.sasl.mechanism import (
    MAX_NAME_OCTETS,
    MAX_PASSWORD_OCTETS,
    Action,
    Challenge,
    Failure,
    NeedsPassword,
    ServerMechanism,
    Success,
    is_same_identity,
    text_of,
)


class _Password(ServerMechanism):
    """What the two have in common: in the end somebody else looks at name and password."""

    def __init__(self) -> None:
        self._asked: str | None = None

    def checked(self, accepted: bool) -> Action:
        name, self._asked = self._asked, None
        if name is None:
            raise LocalProtocolError(f"{self.name} did not ask for a password")
        return Success(name) if accepted else Failure("refused", "the name or the password is wrong", name)

    def _ask(self, name: str, password: str) -> NeedsPassword:
        self._asked = name
        return NeedsPassword(name, password)


class Plain(_Password):
    """`authzid NUL authcid NUL passwd` in one response (RFC 4616 §2)."""

    name: ClassVar = "PLAIN"

    def step(self, response: bytes) -> Action:
        parts = response.split(b"\0")
        if len(parts) != 3:
            return Failure("malformed", "PLAIN: not two NULs")
        name, password = text_of(parts[1], MAX_NAME_OCTETS), text_of(parts[2], MAX_PASSWORD_OCTETS)
        if name is None or password is None:
            return Failure("malformed", "PLAIN: the name or password is empty, too long or no UTF-8", name or "")
        authzid = text_of(parts[0], MAX_NAME_OCTETS) if parts[0] else ""
        if authzid is None:
            return Failure("malformed", "PLAIN: the authorization identity is too long or no UTF-8", name)
        if not is_same_identity(authzid, name):
            return Failure("refused", "an authorization identity that is not the login", name)
        return self._ask(name, password)


class Login(_Password):
    """Two questions and two answers (draft-murchison-sasl-login: never a standard, spoken by old clients)."""

    name: ClassVar = "LOGIN"

    def __init__(self) -> None:
        super().__init__()
        self._login: str | None = None

    def start(self) -> Action:
        return Challenge(b"Username:")

    def step(self, response: bytes) -> Action:
        if self._login is None:
            # Some clients send the name as initial response; then the question for it is left out.
            self._login = text_of(response, MAX_NAME_OCTETS)
            if self._login is None:
                return Failure("malformed", "LOGIN: the name is empty, too long or no UTF-8")
            return Challenge(b"Password:")
        name = self._login
        password = text_of(response, MAX_PASSWORD_OCTETS)
        if password is None:
            return Failure("malformed", "LOGIN: the password is empty, too long or no UTF-8", name)
        return self._ask(name, password)
