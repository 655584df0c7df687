"""What becomes of a key that was found, imported or came with mail, beside those that an address has already."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from gatepost.seal.model import RecipientKey
from gatepost.seal.port import SOURCES, KeptKey, KeyStore

MAX_WAITING: Final = 4  # of an address and kind: a domain may show another key each day, and each is a row


async def keep(store: KeyStore, found: RecipientKey, now: datetime) -> tuple[KeptKey, ...]:
    """Keeps `found` as `placed` says, and returns all keys of the address. Of many that wait, the newest stay. Raises
    KeyStoreError."""
    for kept in placed(found, await store.find(found.address), now):
        await store.put(kept)
    rows = await store.find(found.address)
    waiting = [each for each in rows if each.state == "waiting" and each.key.kind == found.kind]
    newest_first = sorted(waiting, key=lambda each: (is_same(each.key, found), each.first_seen), reverse=True)
    if not newest_first[MAX_WAITING:]:
        return rows
    for each in newest_first[MAX_WAITING:]:
        await store.remove(found.address, each.key.fingerprint)
    return await store.find(found.address)


def placed(found: RecipientKey, rows: Sequence[KeptKey], now: datetime) -> list[KeptKey]:
    """What is to be put into the store when `found` was found and `rows` is what it has for the address.

    The first key of an address and kind is used. Another one waits, unless it comes from a more trusted place than all
    that are used: otherwise whoever writes one letter could keep the key of the domain's own directory out.
    """
    same = next((each for each in rows if is_same(each.key, found)), None)
    first_seen = same.first_seen if same else now
    rivals = [each for each in rows if each.state == "used" and each.key.kind == found.kind]
    rivals = [each for each in rivals if not is_same(each.key, found)]
    if same is not None and (same.state in ("used", "withdrawn") or (same.state == "replaced" and rivals)):
        return [msgspec.structs.replace(same, key=found)]
    if all(_rank(found) < _rank(each.key) for each in rivals):
        note = f"{found.fingerprint} was found on {now:%Y-%m-%d} ({found.source}), and is used from then on"
        displaced = [
            msgspec.structs.replace(
                each, state="displaced", note=f"{note}, {each.key.fingerprint} ({each.key.source}) no more"
            )
            for each in rivals
        ]  # fmt: skip
        return [*displaced, KeptKey(key=found, first_seen=first_seen)]
    older = rivals[0].key
    note = f"was found on {first_seen:%Y-%m-%d} ({found.source}), {older.fingerprint} before ({older.source})"
    return [KeptKey(key=found, first_seen=first_seen, state="waiting", note=note)]


def is_same(one: RecipientKey, other: RecipientKey) -> bool:
    return one.kind == other.kind and one.fingerprint == other.fingerprint


def _rank(key: RecipientKey) -> int:
    return SOURCES.index(key.source)
