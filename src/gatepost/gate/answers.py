"""What a mail host's reply to MAIL FROM:<> and RCPT says about the address that was asked about. Pure.

Not here: asking (`gate.probes`, `gate.callouts`, and the client behind `gate.asking`).
"""

from __future__ import annotations

import re
from typing import Final, Literal

from gatepost.mail.reply import Reply
from gatepost.protocol.smtp.client_transaction import RecipientResult

Says = Literal["yes", "no", "unknown"]

ABOUT_THE_ADDRESS: Final = re.compile(r"5\.1\.\d+|5\.2\.1")  # RFC 3463 §3.2; 5.2.1: disabled, takes no messages
# Exchange Online's words for an address that its directory does not have ("Access denied").
NOT_IN_DIRECTORY: Final = ("5.4.1", "recipient address rejected")
FULL: Final = re.compile(r"[245]\.2\.2|[245]\.2\.3")  # the mailbox is there
CODES: Final = frozenset({550, 551, 553})  # that mean the mailbox where there is no enhanced code (RFC 5321 §4.2.3)
# A refusal with one of these words may be about us, or about asking.
ABOUT_US: Final = re.compile(
    r"black|block|spam|abuse|polic|reputation|\brbl\b|dnsbl|\bbl\b|call-?(?:out|back)|verif|bounce|relay|denied|"
    r"not allowed|not permitted|authent|\bspf\b|reverse|\bhelo\b|null sender|empty sender|try again|later",
    re.IGNORECASE,
)


def says(result: RecipientResult) -> Says:
    """Whether the host has the address. Only a reply to RCPT that is plainly about the mailbox is a no.

    A refusal of the null sender, of our address or name, and every 4yz (greylisting, a host in trouble) tell nothing,
    nor does one that RFC 3463 calls anything but addressing.
    """
    reply = result.reply
    if not result.by_peer or result.at != "rcpt":
        return "unknown"
    if reply.is_positive:
        return "yes"
    if FULL.fullmatch(reply.esc):
        return "yes"
    if reply.is_transient:
        return "unknown"
    if reply.esc == NOT_IN_DIRECTORY[0] and reply.text.lower().startswith(NOT_IN_DIRECTORY[1]):
        return "no"
    if reply.esc:
        return "no" if ABOUT_THE_ADDRESS.fullmatch(reply.esc) and not _is_about_asking(reply) else "unknown"
    return "no" if reply.code in CODES and not ABOUT_US.search(reply.text) else "unknown"


def _is_about_asking(reply: Reply) -> bool:
    """5.1.0 ("other address status") and 5.1.7, 5.1.8 (the sender's address) say what they like."""
    if reply.esc in ("5.1.7", "5.1.8"):
        return True
    return reply.esc == "5.1.0" and ABOUT_US.search(reply.text) is not None


def shown(result: RecipientResult) -> str:
    """The reply for the record, and where it came when that was not RCPT."""
    words = str(result.reply)[:200]
    return words if result.at == "rcpt" or not result.by_peer else f"{words} (at {result.at})"
