"""Keys that a test fills in: `seal.port.KeyStore`, in memory."""

from __future__ import annotations

from datetime import datetime

import msgspec

from gatepost.seal.model import Kind
from gatepost.seal.port import SOURCES, Absence, KeptKey

_ORDER = {"used": 0, "waiting": 1, "unproven": 2, "displaced": 3, "replaced": 3, "withdrawn": 3}
replace = msgspec.structs.replace


class MemoryKeys:
    """Passes the suite of the engines."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str], KeptKey] = {}
        self._absent: dict[str, Absence] = {}

    async def find(self, address: str) -> tuple[KeptKey, ...]:
        return tuple(sorted((each for each in self._kept.values() if each.key.address == address), key=_rank))

    async def list(self, kind: Kind | None = None) -> tuple[KeptKey, ...]:
        found = [each for each in self._kept.values() if kind in (None, each.key.kind)]
        return tuple(sorted(found, key=lambda each: (each.key.address, _rank(each))))

    async def put(self, kept: KeptKey) -> None:
        at = (kept.key.address, kept.key.kind, kept.key.fingerprint)
        old = self._kept.get(at)
        if old is not None:
            key = kept.key
            if old.state != "unproven" and SOURCES.index(old.key.source) < SOURCES.index(key.source):
                key = replace(key, source=old.key.source, cached_until=old.key.cached_until)
            kept = replace(kept, key=key, first_seen=old.first_seen)
        self._kept[at] = kept
        self._absent.pop(kept.key.address, None)

    async def put_unproven(self, kept: KeptKey, now: datetime, *, of_address: int, in_all: int) -> bool:
        old = self._kept.get((kept.key.address, kept.key.kind, kept.key.fingerprint))
        if old is not None and old.state != "unproven":
            return False
        absent = self._absent.get(kept.key.address)
        await self.put(kept)
        if absent is not None:
            self._absent[kept.key.address] = absent
        unproven = [(at, each) for at, each in self._kept.items() if each.state == "unproven"]
        unproven.sort(key=lambda pair: pair[1].key.found_at or now, reverse=True)
        of_it = [pair for pair in unproven if pair[0][0] == kept.key.address]
        ended = [pair for pair in unproven if pair[1].key.cached_until and pair[1].key.cached_until <= now]
        for at, _ in [*ended, *of_it[of_address:], *unproven[in_all:]]:
            self._kept.pop(at, None)
        return True

    async def trust(self, address: str, fingerprint: str, now: datetime) -> KeptKey | None:
        chosen = next((each for each in await self.find(address) if each.key.fingerprint == fingerprint), None)
        if chosen is None:
            return None
        for at, each in self._kept.items():
            if each.key.address != address or each.key.kind != chosen.key.kind:
                continue
            if each is chosen:
                key = replace(each.key, source="pinned", cached_until=None)
                self._kept[at] = replace(each, key=key, state="used", note="")
            elif each.state != "withdrawn":
                note = f"{fingerprint} was trusted instead on {now:%Y-%m-%d}"
                self._kept[at] = replace(each, state="replaced", note=note)
        return self._kept[address, chosen.key.kind, fingerprint]

    async def remove(self, address: str, fingerprint: str = "") -> int:
        gone = [at for at in self._kept if at[0] == address and fingerprint in ("", at[2])]
        for at in gone:
            del self._kept[at]
        if not fingerprint:
            self._absent.pop(address, None)
        return len(gone)

    async def absence(self, address: str, now: datetime) -> Absence | None:
        found = self._absent.get(address)
        return found if found is not None and found.until > now else None

    async def put_absence(self, absence: Absence) -> None:
        self._absent[absence.address] = absence


def _rank(kept: KeptKey) -> tuple[int, int, float]:
    return _ORDER[kept.state], SOURCES.index(kept.key.source), -kept.first_seen.timestamp()
