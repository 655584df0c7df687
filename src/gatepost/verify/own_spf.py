"""What an SPF record of ours says about our own hosts, as far as its words alone tell it.

Not here: evaluating a record for a peer (RFC 7208 §4), which follows every include (`verify.spf`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from gatepost.mail.network import NetworkSet
from gatepost.verify.spf_record import SpfSyntaxError, parse_record

_ELSEWHERE: Final = ("include:", "redirect=", "exists:", "ptr")  # what only a look-up tells
_FAILING: Final = "-~"


class Reading(msgspec.Struct, frozen=True):
    """missing: our addresses that the record does not name. follows: words that it leaves to other records, in which
    the missing ones may be. everybody: it lets the whole world send. fails: whoever it does not name fails."""

    missing: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    everybody: bool = False
    fails: bool = False


def error_in(record: str) -> str:
    """Why others cannot read the record, so that none of it counts (RFC 7208 §4.6); "" where they can."""
    try:
        parse_record(record)
    except SpfSyntaxError as error:
        return f"others cannot read it: {error}"
    return ""


class Sender(msgspec.Struct, frozen=True):
    """Whom a record should let send. name: of the host. addresses: of that name. sending: that mail leaves from. is_mx:
    whether the MX of the record's domain leads to that name, None where nobody knows."""

    name: str
    addresses: tuple[str, ...]
    sending: tuple[str, ...]
    is_mx: bool | None = False


def read(record: str, domain: str, sender: Sender) -> Reading:
    """What `record` at `domain` says about `sender`."""
    named: list[str] = []
    follows: list[str] = []
    everybody, fails = False, False
    for word in record.split()[1:]:
        qualifier, term = (word[0], word[1:]) if word[0] in "+-~?" else ("+", word)
        name, _, value = term.partition(":")
        name, value = name.lower().partition("/")[0], value.lower().partition("/")[0].removesuffix(".")
        if name == "all":
            everybody, fails = qualifier == "+", qualifier in _FAILING
            break  # what stands behind it is never looked at (RFC 7208 §5.1)
        if term.lower().startswith(_ELSEWHERE):
            follows.append(word)
        elif qualifier != "+":
            continue
        elif name in ("ip4", "ip6"):
            named.append(term.partition(":")[2])
        elif name == "a":
            named += sender.addresses if (value or domain) == sender.name else ()
        elif name == "mx":
            is_mx = sender.is_mx if value in ("", domain) else None
            named += sender.addresses if is_mx else ()
            follows += [word] if is_mx is None else []
    networks = _networks(named)
    missing = tuple(ip for ip in sender.sending if not everybody and ip not in networks)
    return Reading(missing, tuple(follows), everybody, fails)


def _networks(texts: Iterable[str]) -> NetworkSet:
    """Those that can be read; the others name nobody."""
    readable = []
    for text in texts:
        try:
            NetworkSet([text])
        except ValueError:
            continue
        readable.append(text)
    return NetworkSet(readable)
