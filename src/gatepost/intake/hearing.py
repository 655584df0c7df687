"""What an SMTP peer says, as the dialogue may have it: no password, and nothing of content."""

from __future__ import annotations

from gatepost.gate.dialogue import Dialogue
from gatepost.protocol.smtp.commands import AuthResponse, Command, Malformed
from gatepost.protocol.smtp.framing import FramingError


class Hearing:
    """Notes what was heard in `dialogue`. Remembers whether the line before was AUTH: a peer that did not listen to its
    refusal sends the password next, as a command."""

    __slots__ = ("_dialogue", "_was_auth")

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._was_auth = False

    def line(self, line: bytes, command: Command | Malformed) -> None:
        """command: what `line` was read as."""
        is_auth = line[:4].upper() == b"AUTH"
        if is_auth:
            line = b" ".join(line.split()[:2])
        elif self._was_auth and isinstance(command, Malformed) and not command.verb:
            is_auth, line = True, b"(not shown: it follows AUTH)"
        self._was_auth = is_auth
        self._dialogue.heard(line)

    def other(self, item: Command | Malformed) -> None:
        """An item of the parser that is no line."""
        if isinstance(item, AuthResponse):
            self._dialogue.heard("*" if item.response is None else "(response to the challenge)")
        elif isinstance(item, FramingError):
            self._dialogue.heard(f"({item.reason})")
