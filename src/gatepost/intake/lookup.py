"""VRFY and EXPN for those who may know (RFC 5321 §3.5); strangers never come here (`command.allowed`)."""

from __future__ import annotations

from typing import Any, Final

from gatepost.accounts.model import Alias, Found, MailingList, Resolution
from gatepost.accounts.port import AccountsError
from gatepost.gate.gather_commands import asked_path
from gatepost.gate.later import then
from gatepost.gate.session import GateSession
from gatepost.mail.address import Path
from gatepost.mail.reply import Reply

MAX_MEMBERS: Final = 500  # lines of one EXPN reply
NO_SUCH: Final = Reply(550, "5.1.1", "No such recipient here")
UNKNOWABLE: Final = Reply(252, "2.5.2", "Cannot VRFY, but will take mail for that address")
NO_LIST: Final = Reply(550, "5.1.1", "No such list here")
FAILED: Final = Reply(451, "4.3.0", "Temporary failure, try again later")


def verify(gate: GateSession, text: str) -> Any:
    """250 with the mailbox, 252 for what another host decides, 550 for nobody of ours."""
    path = asked_path(gate, text)
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
    """250 with a line for each target of an alias or member of a list, as it is written there: what a list in a list
    holds is its own business (`expn.scope`)."""
    path = asked_path(gate, text)
    if path is None:
        return Reply(501, "5.1.3", "EXPN takes the address of a list")
    directory = gate.parts.directory
    try:
        return then(directory.entry(path), lambda entry: _expanded(entry[0], entry[1], directory.postmaster))
    except AccountsError:
        return FAILED


def _expanded(resolution: Resolution, found: Found | None, postmaster: Path | None) -> Reply:
    match found:
        case MailingList():
            names = found.members
        case Alias() if resolution.kind == "alias":
            names = found.targets
        case _ if resolution.kind == "role" and postmaster is not None:
            names = (str(postmaster),)
        case _:
            return NO_LIST
    lines = [f"<{name}>" for name in names[:MAX_MEMBERS]]
    if len(names) > MAX_MEMBERS:
        lines.append(f"and {len(names) - MAX_MEMBERS} more")
    return Reply(250, "2.1.5", "\n".join(lines)) if lines else NO_LIST
