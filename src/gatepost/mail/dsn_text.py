"""The words of a delivery status notification: what a status code means to the person who wrote the message.

Not here: the report's form (`mail.dsn`).
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from gatepost.mail.trace import date

SUBJECTS: Final[Mapping[str, str]] = {
    "failed": "Your message could not be delivered",
    "delayed": "Your message is delayed",
    "delivered": "Your message was delivered",
    "relayed": "Your message was passed on",
    "expanded": "Your message was passed on to several recipients",
}
_TITLES: Final[Mapping[str, str]] = {
    "failed": "Your message was NOT delivered to these recipients. It will not be tried again.",
    "delayed": "Your message has not been delivered to these recipients yet. You need not send it again: it is kept "
    "here and tried regularly.",
    "delivered": "Your message was delivered to these recipients, as you asked to be told.",
    "relayed": "Your message was passed on to a server that sends no confirmations of delivery. You will hear nothing "
    "more about these recipients unless something goes wrong.",
    "expanded": "Your message was passed on to everybody that these addresses stand for. You will hear nothing more "
    "about them unless something goes wrong.",
}
# By RFC 3463 code without its class digit; what is not here is told by its subject (the second digit) alone.
_MEANINGS: Final[Mapping[str, str]] = {
    "0.0": "The postmaster of this server has given the message up. Ask there for the reason.",
    "1.0": "The address was refused. Check its spelling, or ask the recipient for the right one.",
    "1.1": "There is no such mailbox. Check the spelling before the @, or ask the recipient for the right address.",
    "1.2": "The domain after the @ does not exist or takes no mail. Check its spelling.",
    "1.3": "The address is not written as the other server wants it. Check its spelling.",
    "1.6": "The recipient has moved and left no new address.",
    "1.10": "The domain after the @ says that it takes no mail at all. Look for another address of the recipient.",
    "2.0": "The mailbox cannot take the message.",
    "2.1": "The mailbox is switched off. Reach the recipient another way.",
    "2.2": "The recipient's mailbox is full. Reach the recipient another way, or try again in a few days.",
    "2.3": "The message is larger than the recipient may receive. Send less, or put it where it can be fetched.",
    "3.4": "The message is larger than the other server takes. Send less, or put it where it can be fetched.",
    "4.1": "The other server does not answer. Check the domain after the @; if it is right, try again later.",
    "4.2": "The connection to the other server broke down.",
    "4.3": "The address of the other server could not be looked up. Check the domain after the @.",
    "4.4": "No way to the other server was found. Check the domain after the @; if it is right, tell the recipient.",
    "4.6": "The message would have gone round in a circle. Tell the postmaster: two servers send mail to each other.",
    "4.7": "It was tried for days without success. Try again later, or reach the recipient another way.",
    "6.3": "The other server cannot take this message as it is written. Send it as plain text, or without attachments.",
    "6.7": "The other server cannot handle addresses with letters beyond ASCII. Use another address of the recipient.",
    "7.1": "The other server refused the message. If it says why, follow that; else ask its postmaster.",
    "7.5": "No connection that is safe enough could be made to the other server. Tell the postmaster.",
}
_SUBJECT_MEANINGS: Final[Mapping[str, str]] = {
    "1": "There is something wrong with the address. Check its spelling.",
    "2": "The recipient's mailbox cannot take the message.",
    "3": "The other server cannot take the message.",
    "4": "The message could not be brought to the other server.",
    "5": "The two servers did not understand each other. Tell the postmaster.",
    "6": "The other server cannot take the content of the message.",
    "7": "The other server refused the message for reasons of its security policy.",
}
_UNKNOWN: Final = "The other server gave no reason that a program understands; its answer is below."
_SUCCESS: Final[Mapping[str, str]] = {
    "delivered": "It lies in the mailbox.",
    "relayed": "The next server has it.",
    "expanded": "It is on its way to each of them.",
}


def section_title(action: str) -> str:
    """The sentence above the recipients that have `action` in common."""
    return _TITLES[action]


def explanation(action: str, status: str, retry_until: datetime | None) -> str:
    """What happened at one recipient and what to do. status: "5.1.1"."""
    if action in _SUCCESS:
        return _SUCCESS[action]
    _, _, detail = status.partition(".")
    meaning = _MEANINGS.get(detail) or _SUBJECT_MEANINGS.get(detail.partition(".")[0], _UNKNOWN)
    if action == "delayed" and retry_until is not None:
        return f"{meaning} It will be tried until {date(retry_until)}; then you are told."
    return meaning


def wrapped(text: str, indent: str = "") -> list[str]:
    """`text` in lines of at most 74 characters, each behind `indent`; a longer word is cut."""
    return textwrap.wrap(text, 74, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
