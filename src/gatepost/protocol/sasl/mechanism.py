"""What every SASL mechanism does on the server's side: steps in, actions out (RFC 4422 §3, §5).

A mechanism knows no account. Where it needs one, it says so (`NeedsPassword`, `NeedsVerifiers`) and is told the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, Literal, Protocol

import msgspec

from gatepost.protocol.errors import LocalProtocolError

MAX_NAME_OCTETS: Final = 1024  # far above any address; what is longer is no honest login
MAX_PASSWORD_OCTETS: Final = 1024


class Challenge(msgspec.Struct, frozen=True):
    """Send these octets (base64 is the framing's), and pass on what the client answers."""

    data: bytes = b""


class NeedsPassword(msgspec.Struct, frozen=True):
    """Is this the password of that login? Answer with `checked`. name: as the client wrote it, not prepared."""

    name: str
    password: str

    def __repr__(self) -> str:
        """Without the password: values end up in logs."""
        return f"NeedsPassword({self.name!r}, ...)"


class NeedsVerifiers(msgspec.Struct, frozen=True):
    """What do we keep for that login? Answer with `supply`. name: as the client wrote it, not prepared."""

    name: str


class Success(msgspec.Struct, frozen=True):
    """The client is who it says. name: as in the question. data: for the client, to prove ourselves. matched: which
    of the verifiers that were supplied, None where a password was checked."""

    name: str
    data: bytes = b""
    matched: int | None = None


class Failure(msgspec.Struct, frozen=True):
    """It is over. kind: "malformed": not what the mechanism speaks; "cancelled": by the client; "refused": it has not
    proved to be anybody. reason: for the operator, without a word that the client sent. name: the login that it tried,
    "" when it named none."""

    kind: Literal["malformed", "cancelled", "refused"]
    reason: str
    name: str = ""


Action = Challenge | NeedsPassword | NeedsVerifiers | Success | Failure


class Verifier(Protocol):
    """What a server keeps for SCRAM (RFC 5802 §3)."""

    @property
    def salt(self) -> bytes: ...
    @property
    def iterations(self) -> int: ...
    @property
    def stored_key(self) -> bytes: ...
    @property
    def server_key(self) -> bytes: ...


class ServerMechanism:
    """One run of a mechanism, server side. A step that comes out of turn raises LocalProtocolError."""

    name: ClassVar[str]

    def start(self) -> Action:
        """The client sent no initial response: most mechanisms ask for it with an empty challenge (RFC 4422 §5)."""
        return Challenge()

    def step(self, response: bytes) -> Action:
        """The client answered (or sent an initial response)."""
        raise NotImplementedError

    def checked(self, accepted: bool) -> Action:
        """The answer to `NeedsPassword`."""
        raise LocalProtocolError(f"{self.name} did not ask for a password")

    def supply(self, verifiers: Sequence[Verifier]) -> Action:
        """The answer to `NeedsVerifiers`: one or more, all with the salt and the iterations of the first."""
        raise LocalProtocolError(f"{self.name} did not ask for a verifier")


def text_of(octets: bytes, limit: int) -> str | None:
    """`octets` as text; None for what is empty, longer than `limit`, no UTF-8, or holds a NUL."""
    if not 0 < len(octets) <= limit or b"\0" in octets:
        return None
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return None


def is_same_identity(authzid: str, name: str) -> bool:
    """Whether the authorization identity is nobody else's: none, or the login itself. Nobody acts for another here."""
    return not authzid or authzid.casefold() == name.casefold()
