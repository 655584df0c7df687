"""Logging in to a next hop: SASL exchanges, client side (RFC 4954 §4; PLAIN, LOGIN, SCRAM-SHA-256).

Not here: whether the connection is safe enough for a password (`delivery.outbound`), and the server's side (`sasl`).
"""

from __future__ import annotations

import base64
import binascii
import re
from contextlib import suppress
from typing import Final, Protocol

import msgspec
from scramp import ScramClient, ScramException

from gatepost.protocol.smtp.client_replies import ProtocolError

# A hostile server names the iterations, and we compute them: 0.3 s of CPU at this many. RFC 7677 §4 asks for 4096.
MAX_ITERATIONS: Final = 600_000
_ITERATIONS = re.compile(r"(?:^|,)i=(\d{1,20})(?:,|$)")


class Credentials(msgspec.Struct, frozen=True):
    """A login at a next hop."""

    login: str
    password: str

    def __repr__(self) -> str:
        """Without the password: values end up in logs."""
        return f"Credentials(login={self.login!r}, password=...)"


class Exchange(Protocol):
    """One run of a mechanism."""

    mechanism: str

    def initial(self) -> bytes | None:
        """The initial response, None when the server speaks first."""
        ...

    def respond(self, challenge: bytes) -> bytes:
        """The answer to a 334. Raises ProtocolError when the server does not keep to the mechanism."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether a 235 now ends it: for SCRAM only once the server has proved that it knows the password too."""
        ...


class Plain:
    """RFC 4616."""

    mechanism = "PLAIN"
    is_complete = True

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def initial(self) -> bytes | None:
        return f"\0{self._credentials.login}\0{self._credentials.password}".encode()

    def respond(self, challenge: bytes) -> bytes:
        raise ProtocolError("the server goes on asking after AUTH PLAIN")


class Login:
    """The LOGIN that servers have always known: two questions, whose wording does not count."""

    mechanism = "LOGIN"

    def __init__(self, credentials: Credentials) -> None:
        self._answers = [credentials.password.encode(), credentials.login.encode()]

    @property
    def is_complete(self) -> bool:
        return not self._answers

    def initial(self) -> bytes | None:
        return None

    def respond(self, challenge: bytes) -> bytes:
        if not self._answers:
            raise ProtocolError("the server goes on asking after AUTH LOGIN")
        return self._answers.pop()


class ScramSha256:
    """RFC 5802 and 7677, without channel binding. nonce: fresh for each exchange, printable ASCII without a comma."""

    mechanism = "SCRAM-SHA-256"

    def __init__(self, credentials: Credentials, nonce: str) -> None:
        self._client = ScramClient([self.mechanism], credentials.login, credentials.password, c_nonce=nonce)
        self._step = 0
        self.is_complete = False

    def initial(self) -> bytes | None:
        first: str = self._client.get_client_first()
        return first.encode()

    def respond(self, challenge: bytes) -> bytes:
        self._step += 1
        try:
            text = challenge.decode()
            if self._step == 1:
                return self._final(text)
            if self._step == 2:
                self._client.set_server_final(text)  # raises when the server's signature is not right
                self.is_complete = True
                return b""
        except (ScramException, ValueError, KeyError, IndexError, TypeError) as error:
            raise ProtocolError(f"the server's SCRAM message is wrong: {type(error).__name__}") from error
        raise ProtocolError("the server goes on asking after SCRAM has ended")

    def _final(self, server_first: str) -> bytes:
        iterations = _ITERATIONS.search(server_first)
        if iterations is None or not 0 < int(iterations[1]) <= MAX_ITERATIONS:
            raise ProtocolError(f"the server asks for no or more than {MAX_ITERATIONS} SCRAM iterations")
        self._client.set_server_first(server_first)
        final: str = self._client.get_client_final()
        return final.encode()


def choose_mechanism(offered: tuple[str, ...], credentials: Credentials, nonce: str) -> Exchange | None:
    """The best mechanism that both sides know, None for none: SCRAM-SHA-256, which shows the password to nobody,
    before PLAIN before LOGIN."""
    if ScramSha256.mechanism in offered:
        with suppress(ScramException):  # a login or password that SASLprep (RFC 4013) does not allow
            return ScramSha256(credentials, nonce)
    if Plain.mechanism in offered:
        return Plain(credentials)
    return Login(credentials) if Login.mechanism in offered else None


def encode(response: bytes | None) -> str | None:
    """An initial response as AUTH carries it: base64, "=" when it is empty, None when there is none."""
    if response is None:
        return None
    return base64.b64encode(response).decode("ascii") or "="


def decode_challenge(text: str) -> bytes:
    """The octets behind a 334. Raises ProtocolError for what is no base64."""
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError("a 334 holds no base64") from error
