"""VRFY and EXPN for those who may know (RFC 5321 §3.5); strangers never come here (`command.allowed`)."""

from __future__ import annotations

from typing import Any, Final

from gatepost.accounts.model import Resolution, Target
from gatepost.accounts.port import AccountsError
from gatepost.gate.later import then
from gatepost.gate.session import GateSession
from gatepost.mail.address import AddressError, Path, parse_mailbox, parse_path
from gatepost.mail.reply import Reply

MAX_MEMBERS: Final = 500  # lines of one EXPN reply
NO_SUCH: Final = Reply(550, "5.1.1", "No such recipient here")
UNKNOWABLE: Final = Reply(252, "2.5.2", "Cannot VRFY, but will take mail for that address")
NO_LIST: Final = Reply(550, "5.1.1", "No such list here")
FAILED: Final = Reply(451, "4.3.0", "Temporary failure, try again later")


def verify(gate: GateSession, text: str) -> Any:
    """250 with the mailbox, 252 for what another host decides, 550 for nobody of ours."""
    path = _path(gate, text)
    if path is None:
        return Reply(501, "5.1.3", "VRFY takes an address")
    try:
        return then(gate.parts.directory.resolve(path), lambda found: _verified(path, found))
    except AccountsError:
        return FAILED


def _verified(path: Path, found: Resolution) -> Reply:
    if found.kind in ("foreign", "relay"):
        return UNKNOWABLE
    if found.kind == "unknown":
        return NO_SUCH
    return Reply(250, "2.1.5", f"<{path}>")


def expand(gate: GateSession, text: str) -> Any:
    """250 with a line for each address behind an alias or list."""
    path = _path(gate, text)
    if path is None:
        return Reply(501, "5.1.3", "EXPN takes the address of a list")
    directory = gate.parts.directory

    def resolved(found: Resolution) -> Any:
        if found.kind not in ("alias", "list", "role"):
            return NO_LIST
        return then(directory.expand(path), _expanded)

    try:
        return then(directory.resolve(path), resolved)
    except AccountsError:
        return FAILED


def _expanded(targets: list[Target]) -> Reply:
    lines = [f"<{target.path}>" for target in targets[:MAX_MEMBERS]]
    if len(targets) > MAX_MEMBERS:
        lines.append(f"and {len(targets) - MAX_MEMBERS} more")
    return Reply(250, "2.1.5", "\n".join(lines)) if lines else NO_LIST


def _path(gate: GateSession, text: str) -> Path | None:
    """The address in `text`, with or without angle brackets; a bare name is one of this host (RFC 5321 §3.5.1)."""
    text = text.strip()
    try:
        if text.startswith("<"):
            path, rest = parse_path(text, null_allowed=False)
            return None if rest else path
        return parse_mailbox(text if "@" in text else f"{text}@{gate.facts.hostname}")
    except AddressError:
        return None
