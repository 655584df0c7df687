"""The key of an address: from the store, from what we publish, or looked up; over ports.

A key that changed is no reason to use the new one: the old one stays until somebody says that the new one is right,
and everybody who asks is told. What could not be asked is unknown, never "no key".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from gatepost.mail.address import AddressError
from gatepost.ports.clock import Clock
from gatepost.ports.fetch import Fetcher
from gatepost.ports.resolver import Resolver
from gatepost.seal.cms.names import address_key
from gatepost.seal.keeping import is_same, keep
from gatepost.seal.key_names import KeyPlaces
from gatepost.seal.keys import KeyChecks, fingerprint_of
from gatepost.seal.lookups import Looked, look_for_openpgpkey, look_for_smimea, look_in_directory
from gatepost.seal.model import DiscoveryMethod, Kind, RecipientKey, Refused, Source
from gatepost.seal.port import Absence, KeptKey, KeyStore, PublishedKeys
from gatepost.seal.settings import DiscoverySettings

KINDS: Final[tuple[Kind, ...]] = ("openpgp", "smime")
LOOKED_UP: Final[dict[DiscoveryMethod, Kind]] = {"wkd": "openpgp", "openpgpkey": "openpgp", "smimea": "smime"}
"""The methods that ask somebody, and the kind of key that they find."""
SILENT_SECONDS: Final = 30.0
MAX_SILENT: Final = 1000
MAX_ASKED: Final = 10_000
KEPT_FOR_GOOD: Final = frozenset[Source]({"pinned", "imported"})  # before the places that are asked
SHORTEST: Final = timedelta(minutes=5)  # a record with a TTL of 0 is not asked for each recipient


class KeyFound(msgspec.Struct, frozen=True):
    """key: to be used. warnings: for people: its owner seems to have another one by now."""

    key: RecipientKey
    warnings: tuple[str, ...] = ()


class NoKey(msgspec.Struct, frozen=True):
    """There is no key for `address` that may be used. reasons: what each place said. codes: why keys that there are may
    not be used, for programs: "changed" where another one came in the place of one that was used, and the codes of
    `Refused`. unproven: the fingerprint of the newest key that came with a mail that anybody could have written."""

    address: str
    reasons: tuple[str, ...]
    codes: frozenset[str] = frozenset()
    unproven: str = ""


class KeyUnknown(msgspec.Struct, frozen=True):
    """It could not be found out; ask again later. reasons: what gave no answer, first."""

    address: str
    reasons: tuple[str, ...]


KeyOutcome = KeyFound | NoKey | KeyUnknown


class Discovery:
    """Finds keys. Raises KeyStoreError where the store cannot answer; everything else is an outcome.

    published: keys of our own addresses, which are not asked for over the network; None where there are none.
    """

    def __init__(
        self,
        store: KeyStore,
        clock: Clock,
        resolver: Resolver,
        fetcher: Fetcher,
        settings: DiscoverySettings,
        published: PublishedKeys | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._resolver = resolver
        self._fetcher = fetcher
        self._settings = settings
        self._published = published
        self._checks = KeyChecks()
        self._silent: dict[tuple[DiscoveryMethod, str], tuple[float, Looked]] = {}
        self._asked: dict[str, float] = {}  # when revocations are asked for next, by address

    async def find(
        self, address: str, kinds: Sequence[Kind] = KINDS, *, refresh: bool = False, asks: bool = True
    ) -> KeyOutcome:
        """The key of `address` by the first method that has one.

        kinds: those that will do. refresh: what was looked up before, with or without success, is looked up anew.
        asks: False to look at what is kept only.
        """
        key = address_key(address)
        try:
            places = KeyPlaces(address)
        except AddressError as error:
            return NoKey(address, (f"{address!r} is not an address: {error}",))
        search = _Search(
            key, places, tuple(kinds), self._clock.now(), await self._store.find(key), refresh, self._checks
        )
        if self._published is not None and (own := await self._own(search, self._published)) is not None:
            return KeyFound(own)
        if asks and "wkd" in self._settings.discovery and "openpgp" in kinds:
            await self._ask_for_revocations(search)
        is_asked = asks and set(KINDS) <= set(kinds) and any(each in LOOKED_UP for each in self._settings.discovery)
        absence = None if refresh else await self._store.absence(key, search.now)
        for method in self._settings.discovery:
            # What one look-up found stands for all of them: the places before it were asked then, and had nothing.
            ways = [each for each in self._settings.discovery if each in LOOKED_UP] if method in LOOKED_UP else [method]
            found = next(filter(None, map(search.kept, ways)), None)
            if found is None and asks and absence is None and LOOKED_UP.get(method) in kinds:
                found = await self._looked_up(method, search)
            if found is not None:
                return KeyFound(found, search.warnings(found))
        search.tell_changes()
        if search.failures:
            return KeyUnknown(key, (*search.failures, *search.reasons))
        if absence is not None:
            return self._none(search, absence.reasons, absence.codes)
        reasons = tuple(search.reasons) or (f"no place that is asked has a key for {key}",)
        if is_asked:
            until = search.now + timedelta(seconds=self._settings.cache_absence)
            await self._store.put_absence(Absence(key, until, reasons, search.codes))
        return self._none(search, reasons, search.codes)

    def _none(self, search: _Search, reasons: tuple[str, ...], codes: frozenset[str]) -> NoKey:
        """No key, but perhaps one that people can say is right."""
        unproven = [each for each in search.rows if each.state == "unproven" and each.key.kind in search.kinds]
        if "autocrypt" not in self._settings.discovery or not unproven:
            return NoKey(search.address, reasons, codes)
        told = tuple(search.told(each, "has perhaps the key") for each in unproven)
        newest = max(unproven, key=lambda each: each.key.found_at or each.first_seen)
        return NoKey(search.address, (*told, *reasons), codes, newest.key.fingerprint)

    async def _own(self, search: _Search, published: PublishedKeys) -> RecipientKey | None:
        """The key that we publish ourselves for the address."""
        for each in await published.of_address(search.address):
            if each.kind in search.kinds:
                found = self._checks.check(each.material, search.address, search.now)
                if isinstance(found, Refused):
                    search.refused(found)
                else:
                    return msgspec.structs.replace(found, source="local", found_at=each.since)
        return None

    async def _looked_up(self, method: DiscoveryMethod, search: _Search) -> RecipientKey | None:
        looked = await self._look(method, search.places)
        if looked.is_failure:
            search.failures.append(looked.reason)
        elif looked.reason:
            search.reasons.append(looked.reason)
        lifetime = timedelta(seconds=self._settings.cache)
        if looked.lifetime is not None:
            lifetime = max(SHORTEST, min(lifetime, looked.lifetime))
        sound: list[RecipientKey] = []
        for octets in looked.keys:
            checked = self._checks.check(octets, search.address, search.now)
            if isinstance(checked, Refused):
                search.refused(checked)
                if checked.code == "revoked":
                    await self._withdraw(fingerprint_of(octets), search)
                continue
            sound.append(
                msgspec.structs.replace(
                    checked, source=method, found_at=search.now, cached_until=search.now + lifetime
                )
            )  # fmt: skip
        # Of several, the one that we know: others have been added to it.
        sound.sort(key=lambda key: not search.is_used(key))
        return await self._taken(sound[0], search) if sound else None

    async def _look(self, method: DiscoveryMethod, places: KeyPlaces) -> Looked:
        """What the place says. One that is silent is left alone for a moment: a letter to a hundred people there would
        wait a hundred times."""
        at, now = (method, places.domain), self._clock.monotonic()
        until, silent = self._silent.get(at, (0.0, None))
        if silent is not None and now < until:
            return silent
        if method == "wkd":
            looked = await look_in_directory(places, self._fetcher, self._resolver, self._settings.timeout)
        else:
            look = look_for_openpgpkey if method == "openpgpkey" else look_for_smimea
            looked = await look(places, self._resolver)
        if len(self._silent) >= MAX_SILENT:
            self._silent.clear()
        self._silent.pop(at, None)
        if looked.is_failure:
            self._silent[at] = (self._clock.monotonic() + SILENT_SECONDS, looked)
        return looked

    async def _ask_for_revocations(self, search: _Search) -> None:
        """Keys that no look-up renews are looked for where their owner would publish that they are revoked, once in the
        time for which a look-up is remembered. No answer says nothing: the key is used, and asked for again soon."""
        used = {
            each.key.fingerprint for each in search.rows if each.state == "used" and each.key.source in KEPT_FOR_GOOD
        }
        now = self._clock.monotonic()
        if not used or now < self._asked.get(search.address, 0.0):
            return
        looked = await self._look("wkd", search.places)
        if len(self._asked) >= MAX_ASKED:
            self._asked.clear()
        self._asked[search.address] = now + (SHORTEST.total_seconds() if looked.is_failure else self._settings.cache)
        for octets in looked.keys:
            if fingerprint_of(octets) in used:
                checked = self._checks.check(octets, search.address, search.now)
                if isinstance(checked, Refused) and checked.code == "revoked":
                    search.refused(checked)
                    await self._withdraw(fingerprint_of(octets), search)

    async def _withdraw(self, fingerprint: str, search: _Search) -> None:
        """A key whose owner revoked it is used no more, wherever it once came from."""
        for each in search.rows:
            if each.key.fingerprint == fingerprint and each.state != "withdrawn":
                note = f"its owner revoked it; found {search.now:%Y-%m-%d}"
                await self._store.put(msgspec.structs.replace(each, state="withdrawn", note=note))
        search.rows = await self._store.find(search.address)

    async def _taken(self, found: RecipientKey, search: _Search) -> RecipientKey | None:
        """`found` is kept; it is returned where it may be used, else an older one that it does not replace."""
        search.rows = await keep(self._store, found, search.now)
        if search.is_used(found):
            return found
        for each in search.rows:
            if each.state == "used" and each.key.kind == found.kind and (older := search.usable(each)) is not None:
                if older.cached_until is not None and found.cached_until is not None:
                    older = msgspec.structs.replace(older, cached_until=max(older.cached_until, found.cached_until))
                    await self._store.put(msgspec.structs.replace(each, key=older))
                return older
        search.reasons += [
            f"the key {each.key.fingerprint} of {each.key.address} is not used: {each.note}"
            for each in search.rows
            if is_same(each.key, found) and each.state in ("replaced", "withdrawn")
        ]
        return None


class _Search:
    """One search as far as it went. rows: what the store has for the address. reasons, failures: why there was nothing,
    for good and for now."""

    def __init__(
        self, address: str, places: KeyPlaces, kinds: tuple[Kind, ...], now: datetime, rows: tuple[KeptKey, ...],
        refresh: bool, checks: KeyChecks,
    ) -> None:  # fmt: skip
        self.address, self.places, self.kinds, self.now, self.rows = address, places, kinds, now, rows
        self.reasons: list[str] = []
        self.failures: list[str] = []
        self.codes: frozenset[str] = frozenset()
        self._refresh = refresh
        self._checks = checks

    def kept(self, method: DiscoveryMethod) -> RecipientKey | None:
        """A key that came by `method`, as long as it is remembered."""
        for each in self.rows:
            if each.state != "used" or each.key.source != method or each.key.kind not in self.kinds:
                continue
            if method in LOOKED_UP and self._refresh:
                continue
            if each.key.cached_until is not None and each.key.cached_until <= self.now:
                continue
            if (found := self.usable(each)) is not None:
                return found
        return None

    def usable(self, kept: KeptKey) -> RecipientKey | None:
        """The key, checked at this moment."""
        key = kept.key
        checked = self._checks.check(key.material, self.address, self.now)
        if isinstance(checked, Refused):
            self.refused(checked)
            return None
        return msgspec.structs.replace(
            checked, source=key.source, found_at=key.found_at, cached_until=key.cached_until
        )  # fmt: skip

    def refused(self, why: Refused) -> None:
        """A key may not be used."""
        self.codes |= {why.code}
        if why.reason not in self.reasons:
            self.reasons.append(why.reason)

    def tell_changes(self) -> None:
        """There may be a key, which nobody has said is right."""
        waiting = [text for kind in self.kinds for text in self.changes(kind)]
        self.reasons += waiting
        self.codes |= {"changed"} if waiting else set()

    def is_used(self, key: RecipientKey) -> bool:
        return any(each.state == "used" and is_same(each.key, key) for each in self.rows)

    def warnings(self, used: RecipientKey) -> tuple[str, ...]:
        """What somebody who uses `used` has to be told."""
        displaced = [each for each in self.rows if each.state == "displaced" and each.key.kind == used.kind]
        return (*self.changes(used.kind), *(f"the key of {self.address} changed: {each.note}" for each in displaced))

    def changes(self, kind: Kind) -> list[str]:
        return [
            self.told(each, "has changed its key:")
            for each in self.rows
            if each.state == "waiting" and each.key.kind == kind
        ]

    def told(self, kept: KeptKey, what: str) -> str:
        """For people, with what they can do."""
        return (
            f"{self.address} {what} {kept.key.fingerprint}, which {kept.note}; compare it with its owner, then run "
            f'"gatepost key trust {self.address} {kept.key.fingerprint}"'
        )
