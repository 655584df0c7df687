"""Keys that come with mail: the header field Autocrypt (Level 1, §2.1), read, and kept where it may be believed.

Departs from the specification in two things. A key that came with mail whose author nothing proves is kept for people
to say that it is right, and never used before, since who can write any From could choose the key. And a key that
changed is not taken over: it waits, as every other does.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from gatepost.mail.address import Path
from gatepost.mail.header import HeaderSection
from gatepost.mail.header_address import HeaderAddressError, parse_address_list
from gatepost.seal.cms.names import address_key
from gatepost.seal.keeping import is_same, keep
from gatepost.seal.keys import check_key
from gatepost.seal.model import RecipientKey, Refused
from gatepost.seal.port import KeptKey, KeyStore

NAME: Final = b"autocrypt"
MAX_FIELD_OCTETS: Final = 48 * 1024  # a key of ML-DSA with its signatures fits; Level 1 asks senders for 10 KiB
LIFETIME: Final = timedelta(days=35)  # §3.3: a peer that has not sent a key for so long has perhaps none any more
RENEWED: Final = timedelta(days=1)  # the same key in each mail is not written each time
MAX_UNPROVEN: Final = 4  # of an address: each is a row, and strangers write them
MAX_UNPROVEN_IN_ALL: Final = 2000  # 10 KiB each as a rule, 100 MB if all are as large as can be
_KNOWN: Final = frozenset({"addr", "prefer-encrypt", "keydata"})


class AutocryptField(msgspec.Struct, frozen=True):
    """address: as `address_key` writes it. is_mutual: its owner wants answers encrypted. key: binary."""

    address: str
    key: bytes
    is_mutual: bool = False


class Observed(msgspec.Struct, frozen=True):
    """What came of a message. kept: how the key is kept, None where nothing is. reason: why not, "" without a field."""

    kept: KeptKey | None = None
    reason: str = ""


async def observe_autocrypt(
    header: HeaderSection, store: KeyStore, now: datetime, *, is_author_proven: bool
) -> Observed:
    """Keeps the key that a received message tells of its author, if there is one that may be used.

    is_author_proven: the account that submitted it may write as From says, or the domain in From has signed it. Without
    that the key is "unproven". now: aware, UTC. Raises KeyStoreError; a message is not refused for that.
    """
    if not any(field.name == NAME for field in header.fields):
        return Observed()
    field = author_field(header)
    if field is None:
        return Observed(reason="the field Autocrypt is malformed, is there twice, or belongs to another address")
    checked = await asyncio.to_thread(check_key, field.key, field.address, now)  # milliseconds, by strangers' choice
    if isinstance(checked, Refused):
        return Observed(reason=checked.reason)
    if checked.kind != "openpgp":
        return Observed(reason="Autocrypt is for OpenPGP keys")
    found = msgspec.structs.replace(checked, source="autocrypt", found_at=now, cached_until=now + LIFETIME)
    if not is_author_proven:
        note = f"came with a mail on {now:%Y-%m-%d} (autocrypt), and nothing proves that it is from its owner"
        kept = KeptKey(key=found, first_seen=now, state="unproven", note=note)
        is_new = await store.put_unproven(kept, now, of_address=MAX_UNPROVEN, in_all=MAX_UNPROVEN_IN_ALL)
        return Observed(kept if is_new else None, "" if is_new else "the key is known already")
    same = _of(found, await store.find(field.address))
    is_known = same is not None and same.state != "unproven"
    if is_known and same and same.key.found_at is not None and same.key.found_at > now - RENEWED:
        return Observed(same)
    return Observed(_of(found, await keep(store, found, now)))


def _of(key: RecipientKey, rows: Sequence[KeptKey]) -> KeptKey | None:
    return next((each for each in rows if is_same(each.key, key)), None)


def author_field(header: HeaderSection) -> AutocryptField | None:
    """The one Autocrypt field that belongs to the one author; None where there is none, or more than one (§2.3)."""
    if any(value.lower().startswith(b"multipart/report") for value in header.values(b"content-type")):
        return None
    path = author_of(header)
    if path is None:
        return None
    author = address_key(str(path))
    fields = [field for value in header.values(NAME) if (field := parse_autocrypt(value)) is not None]
    own = [field for field in fields if field.address == author]
    return own[0] if len(own) == 1 else None


def author_of(header: HeaderSection) -> Path | None:
    """The one address in the one From; None where there are more, or none that can be read."""
    authors = header.values(b"from")
    if len(authors) != 1:
        return None
    try:
        mailboxes = parse_address_list(authors[0]).mailboxes
    except HeaderAddressError:
        return None
    return mailboxes[0].path if len(mailboxes) == 1 else None


def parse_autocrypt(value: bytes) -> AutocryptField | None:
    """The field's value, unfolded; None for what is malformed. An attribute that is not known and does not begin with
    "_" makes it so (§2.1): a later version may mean something that we would get wrong."""
    if len(value) > MAX_FIELD_OCTETS:
        return None
    attributes: dict[str, str] = {}
    for part in value.decode("utf-8", "replace").split(";"):
        if not part.strip():
            continue
        name, sign, content = (each.strip() for each in part.partition("="))
        name = name.lower()
        if name.startswith("_"):
            continue
        if not sign or name not in _KNOWN or name in attributes:
            return None
        attributes[name] = content
    address = address_key(attributes.get("addr", ""))
    try:
        key = base64.b64decode("".join(attributes.get("keydata", "").split()), validate=True)
    except (ValueError, binascii.Error):
        return None
    if not address or not key:
        return None
    return AutocryptField(address, key, attributes.get("prefer-encrypt", "").lower() == "mutual")
