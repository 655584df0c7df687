"""What every KeyStore does. An engine's test module subclasses this and gives `store`; what publishes too subclasses
`PublishedKeysConformance` with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from gatepost.seal.model import RecipientKey
from gatepost.seal.port import Absence, KeptKey, KeyStore, PublishedKey, PublishedKeys

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
DAY = timedelta(days=1)
BOB, CAROL = "bob@example.net", "carol@example.com"


def kept(address: str = BOB, fingerprint: str = "aa" * 20, **more: Any) -> KeptKey:
    state, note = more.pop("state", "used"), more.pop("note", "")
    first_seen = more.pop("first_seen", NOW)
    values: dict[str, Any] = {"kind": "openpgp", "material": b"\x99\x00key", "found_at": NOW, **more}
    key = RecipientKey(address=address, fingerprint=fingerprint, **values)
    return KeptKey(key=key, first_seen=first_seen, state=state, note=note)


class KeyStoreConformance:
    """The suite."""

    async def test_what_was_put_is_found_whole(self, store: KeyStore) -> None:
        whole = kept(
            kind="smime", valid_until=NOW + DAY, algorithm="rsa3072", user_id="CN=B\u00f6b", source="wkd",
            cached_until=NOW + DAY, state="waiting", note="it came after another one",
        )  # fmt: skip
        await store.put(whole)
        assert await store.find(BOB) == (whole,)
        assert await store.find(CAROL) == ()

    async def test_used_keys_come_first_and_of_those_the_most_trusted_source(self, store: KeyStore) -> None:
        order: list[tuple[Any, Any]] = [
            ("pinned", "used"), ("imported", "used"), ("wkd", "used"), ("autocrypt", "used"), ("openpgpkey", "used"),
            ("smimea", "used"), ("imported", "waiting"), ("pinned", "replaced"),
        ]  # fmt: skip
        for number, (source, state) in reversed(list(enumerate(order))):
            await store.put(kept(fingerprint=f"{number:040d}", source=source, state=state))
        assert [(each.key.source, each.state) for each in await store.find(BOB)] == order

    async def test_the_same_key_is_kept_once_with_its_more_trusted_source_and_its_first_day(
        self, store: KeyStore
    ) -> None:
        """A look-up that finds what somebody imported makes it no key that is forgotten again."""
        await store.put(kept(source="imported", first_seen=NOW))
        await store.put(
            kept(source="wkd", first_seen=NOW + DAY, found_at=NOW + DAY, cached_until=NOW + 2 * DAY, material=b"new")
        )
        (found,) = await store.find(BOB)
        assert (found.key.source, found.key.cached_until, found.first_seen) == ("imported", None, NOW)
        assert (found.key.material, found.key.found_at) == (b"new", NOW + DAY)
        await store.put(kept(source="pinned"))
        (found,) = await store.find(BOB)
        assert found.key.source == "pinned"

    async def test_a_trusted_key_is_pinned_and_the_others_of_its_kind_are_replaced(self, store: KeyStore) -> None:
        old, new = kept(fingerprint="aa" * 20, source="wkd"), kept(fingerprint="bb" * 20, source="wkd", state="waiting")
        gone = kept(fingerprint="cc" * 20, state="withdrawn", note="revoked")
        other = kept(fingerprint="dd" * 32, kind="smime")
        for each in (old, new, gone, other, kept(CAROL)):
            await store.put(each)
        trusted = await store.trust(BOB, "bb" * 20, NOW)
        assert trusted is not None
        assert (trusted.key.source, trusted.key.cached_until, trusted.state) == ("pinned", None, "used")
        states = {each.key.fingerprint[:2]: each.state for each in await store.find(BOB)}
        assert states == {"bb": "used", "aa": "replaced", "cc": "withdrawn", "dd": "used"}
        assert await store.find(CAROL) == (kept(CAROL),)
        replaced = next(each for each in await store.find(BOB) if each.state == "replaced")
        assert replaced.note == f"{'bb' * 20} was trusted instead on 2026-11-24"

    async def test_an_unproven_key_takes_the_place_of_none_and_leaves_the_absence(self, store: KeyStore) -> None:
        await store.put(kept(source="imported"))
        unproven = kept(source="autocrypt", state="unproven", cached_until=NOW + DAY)
        assert not await store.put_unproven(unproven, NOW, of_address=4, in_all=9)
        assert await store.find(BOB) == (kept(source="imported"),)
        await store.put_absence(Absence(CAROL, NOW + DAY))
        stranger = msgspec.structs.replace(unproven, key=msgspec.structs.replace(unproven.key, address=CAROL))
        assert await store.put_unproven(stranger, NOW, of_address=4, in_all=9)
        assert await store.find(CAROL) == (stranger,)
        assert await store.absence(CAROL, NOW) is not None

    async def test_of_unproven_keys_the_newest_stay_until_their_end(self, store: KeyStore) -> None:
        """Strangers write as many as they like."""

        def unproven(number: int, address: str = BOB) -> KeptKey:
            found = NOW + number * timedelta(minutes=1)
            return kept(
                address, f"{number:040d}", source="autocrypt", state="unproven", first_seen=found, found_at=found,
                cached_until=found + DAY,
            )  # fmt: skip

        for number in range(4):
            assert await store.put_unproven(unproven(number), NOW, of_address=2, in_all=3)
        assert {each.key.fingerprint[-1] for each in await store.find(BOB)} == {"2", "3"}
        for number in (4, 5):
            await store.put_unproven(unproven(number, CAROL), NOW, of_address=2, in_all=3)
        assert [each.key.fingerprint[-1] for each in await store.find(BOB)] == ["3"]
        await store.put_unproven(unproven(2000, "eve@example.net"), NOW + 1.01 * DAY, of_address=2, in_all=3)
        assert [each.key.address for each in await store.list()] == ["eve@example.net"]

    async def test_an_unproven_key_that_is_found_elsewhere_has_that_place_s_end(self, store: KeyStore) -> None:
        await store.put(kept(source="autocrypt", state="unproven", cached_until=NOW + 30 * DAY))
        await store.put(kept(source="openpgpkey", cached_until=NOW + DAY))
        (found,) = await store.find(BOB)
        assert (found.key.source, found.key.cached_until, found.state) == ("openpgpkey", NOW + DAY, "used")

    async def test_trust_in_a_key_that_is_not_there_changes_nothing(self, store: KeyStore) -> None:
        await store.put(kept())
        assert await store.trust(BOB, "bb" * 20, NOW) is None
        assert await store.trust(CAROL, "aa" * 20, NOW) is None
        assert await store.find(BOB) == (kept(),)

    async def test_one_key_or_all_of_an_address_are_removed(self, store: KeyStore) -> None:
        for fingerprint in ("aa" * 20, "bb" * 20, "cc" * 20):
            await store.put(kept(fingerprint=fingerprint))
        await store.put(kept(CAROL))
        assert await store.remove(BOB, "bb" * 20) == 1
        assert await store.remove(BOB, "bb" * 20) == 0
        assert {each.key.fingerprint[:2] for each in await store.find(BOB)} == {"aa", "cc"}
        assert await store.remove(BOB) == 2
        assert await store.list() == (kept(CAROL),)

    async def test_all_keys_are_listed_by_address_or_those_of_a_kind(self, store: KeyStore) -> None:
        for each in (kept(CAROL), kept(BOB), kept(BOB, "dd" * 32, kind="smime")):
            await store.put(each)
        assert [each.key.address for each in await store.list()] == [BOB, BOB, CAROL]
        assert [each.key.kind for each in await store.list("smime")] == ["smime"]

    async def test_a_look_up_in_vain_is_remembered_until_its_end(self, store: KeyStore) -> None:
        await store.put_absence(Absence(BOB, NOW + DAY, ("404", "b\u00f6"), frozenset({"expired"})))
        assert await store.absence(BOB, NOW) == Absence(BOB, NOW + DAY, ("404", "b\u00f6"), frozenset({"expired"}))
        assert await store.absence(BOB, NOW + DAY) is None
        assert await store.absence(CAROL, NOW) is None
        await store.put_absence(Absence(BOB, NOW + 2 * DAY, ("again",)))
        assert await store.absence(BOB, NOW + DAY) == Absence(BOB, NOW + 2 * DAY, ("again",))

    async def test_a_key_that_arrives_or_a_removal_ends_it(self, store: KeyStore) -> None:
        await store.put_absence(Absence(BOB, NOW + DAY))
        await store.put(kept(BOB))
        assert await store.absence(BOB, NOW) is None
        await store.put_absence(Absence(CAROL, NOW + DAY))
        assert await store.remove(CAROL) == 0
        assert await store.absence(CAROL, NOW) is None


def shown(address: str = "ada@example.org", **more: Any) -> PublishedKey:
    values: dict[str, Any] = {
        "kind": "openpgp", "fingerprint": "aa" * 20, "material": b"key\x00", "wkd_hash": "h" * 32, "since": NOW, **more,
    }  # fmt: skip
    return PublishedKey(address=address, **values)


class PublishedKeysConformance:
    """The suite."""

    async def test_a_published_key_is_in_the_directory_of_its_domain_and_in_no_other(
        self, store: PublishedKeys
    ) -> None:
        await store.publish(shown(valid_until=NOW + DAY))
        assert await store.in_directory("example.org", "h" * 32) == (shown(valid_until=NOW + DAY),)
        assert await store.in_directory("example.net", "h" * 32) == ()
        assert await store.in_directory("example.org", "x" * 32) == ()

    async def test_a_second_key_of_the_same_kind_takes_the_place_of_the_first(self, store: PublishedKeys) -> None:
        await store.publish(shown())
        await store.publish(shown(fingerprint="bb" * 20))
        await store.publish(shown(kind="smime", fingerprint="cc" * 32))
        assert [each.fingerprint[:2] for each in await store.published("example.org")] == ["bb", "cc"]
        assert [each.fingerprint[:2] for each in await store.in_directory("example.org", "h" * 32)] == ["bb"]
        assert [each.kind for each in await store.of_address("ada@example.org")] == ["openpgp", "smime"]
        assert await store.of_address("eve@example.org") == ()

    async def test_what_is_unpublished_is_shown_no_more(self, store: PublishedKeys) -> None:
        smime = msgspec.structs.replace(shown(), kind="smime")
        for each in (shown(), smime, shown("eve@example.net")):
            await store.publish(each)
        assert await store.unpublish("ada@example.org", "openpgp") == 1
        assert await store.published() == (shown("eve@example.net"), smime)
        assert await store.unpublish("ada@example.org") == 1
        assert await store.unpublish("ada@example.org") == 0
