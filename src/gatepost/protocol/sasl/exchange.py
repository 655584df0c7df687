"""A SASL exchange as SMTP (RFC 4954) and POP3 (RFC 5034) frame it: base64 lines, `*` to cancel, replies.

Not here: the mechanisms, and whether a login may be tried at all (policy).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final

from gatepost.mail.reply import Reply
from gatepost.protocol.errors import LocalProtocolError
from gatepost.protocol.sasl.mechanism import (
    Action,
    Challenge,
    Failure,
    NeedsPassword,
    NeedsVerifiers,
    ServerMechanism,
    Success,
    Verifier,
)

MAX_LINE_OCTETS: Final = 12_288  # RFC 4954 §4.1, without CRLF
MAX_STEPS: Final = 8  # no mechanism of ours takes more than three

ACCEPTED: Final = Reply(235, "2.7.0", "Authentication successful")
REFUSED: Final = Reply(535, "5.7.8", "Authentication credentials invalid")
MALFORMED: Final = Reply(501, "5.5.2", "Authentication response cannot be read")
CANCELLED: Final = Reply(501, "5.7.0", "Authentication cancelled")
UNAVAILABLE: Final = Reply(454, "4.7.0", "Temporary authentication failure")


class Exchange:
    """One AUTH command, from the mechanism's name to success or failure.

    Call `begin` once, then for each action: send a `Challenge` and hand the answer to `feed` (a raw line) or `respond`
    (decoded); look up what a `NeedsPassword` or `NeedsVerifiers` asks and call `checked` or `supply`; stop at `Success`
    or `Failure`. No octets from a client raise; calls out of turn raise LocalProtocolError.
    """

    def __init__(self, mechanism: ServerMechanism) -> None:
        self.mechanism = mechanism
        self._waits_for: type[Action] | None = None
        self._success: Success | None = None
        self._steps = 0
        self._begun = False

    @property
    def is_over(self) -> bool:
        """Success or Failure was given."""
        return self._begun and self._waits_for is None

    def begin(self, initial: bytes | None) -> Action:
        """The first action. initial: the decoded initial response (b"" for "="), None when there was none."""
        if self._begun:
            raise LocalProtocolError("begin() is called once")
        self._begun = True
        return self._gives(self.mechanism.start() if initial is None else self.mechanism.step(initial))

    def feed(self, line: bytes) -> Action:
        """The client's answer to a challenge as it stands on the line, without CRLF."""
        if line == b"*":
            return self.respond(None)
        octets = decode_line(line)
        if octets is None:
            self._turn_of(Challenge)
            return self._gives(Failure("malformed", "the response is no base64"))
        return self.respond(octets)

    def respond(self, response: bytes | None) -> Action:
        """The same, decoded; None: the client cancels."""
        self._turn_of(Challenge)
        if response is None:
            return self._gives(Failure("cancelled", "the client cancelled"))
        if self._success is not None:
            # What the server says last went out as a challenge; the client has nothing to add (RFC 4954 §4).
            success, self._success = self._success, None
            if response:
                return self._gives(Failure("malformed", "the client goes on after the end", success.name))
            return self._gives(Success(success.name, b"", success.matched))
        return self._gives(self.mechanism.step(response))

    def checked(self, accepted: bool) -> Action:
        """Whether the password of a `NeedsPassword` is right."""
        self._turn_of(NeedsPassword)
        return self._gives(self.mechanism.checked(accepted))

    def supply(self, verifiers: Sequence[Verifier]) -> Action:
        """What is kept for the login of a `NeedsVerifiers`; for unknown logins too (`fake_verifier`)."""
        self._turn_of(NeedsVerifiers)
        return self._gives(self.mechanism.supply(verifiers))

    def _turn_of(self, action: type[Action]) -> None:
        if self._waits_for is not action:
            waits_for = self._waits_for.__name__ if self._waits_for else "nothing"
            raise LocalProtocolError(f"{self.mechanism.name} waits for {waits_for}, not for {action.__name__}")

    def _gives(self, action: Action) -> Action:
        self._steps += 1
        if self._steps > MAX_STEPS:
            action = Failure("malformed", "the exchange does not come to an end")
        if isinstance(action, Success) and action.data:
            self._success = action
            action = Challenge(action.data)
        self._waits_for = None if isinstance(action, Success | Failure) else type(action)
        return action


def decode_line(line: bytes) -> bytes | None:
    """The octets of a base64 line, None for what is none or too long."""
    if len(line) > MAX_LINE_OCTETS:
        return None
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        return None


def decode_initial(text: bytes) -> bytes | None:
    """The initial response of an AUTH command: `=` is an empty one (RFC 4954 §4). None for what is no base64."""
    return b"" if text == b"=" else decode_line(text)


def encode(challenge: Challenge) -> bytes:
    """The challenge as it follows `334 ` and `+ `."""
    return base64.b64encode(challenge.data)


def failure_reply(failure: Failure) -> Reply:
    """What an SMTP client reads. Why it was refused is not told: who guesses learns nothing."""
    match failure.kind:
        case "malformed":
            return MALFORMED
        case "cancelled":
            return CANCELLED
        case _:
            return REFUSED
