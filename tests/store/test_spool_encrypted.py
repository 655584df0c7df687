"""A spool with a key: nothing of a message is readable on the disk, and what was changed there is never read."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest
from tests.conformance.spool import NOW, PREFIX, SpoolConformance, add, new_entry, whole, written
from tests.support.clock import HandClock

from gatepost.spool.port import SpoolError, SpoolStore
from gatepost.spool.settings import SpoolSettings
from gatepost.store.sqlite.spool import SqliteSpool
from gatepost.store.sqlite.spool_backup import backup_spools
from gatepost.store.sqlite.spool_cipher import CHUNK_OCTETS, TAG_OCTETS, EntryKey, SpoolCipher, TamperedError
from gatepost.store.sqlite.spool_reader import SqliteSpoolReader
from gatepost.store.sqlite.spool_reading import _opened_chunks

KEY = "a key of more than thirty-two letters"
MARKER = b"a sentence that must not be found"
SMALL = b"From: bob@example.net\r\nSubject: " + MARKER + b"\r\n\r\n" + MARKER + b"\r\n"
LARGE = SMALL + b"".join(MARKER + b" %d\r\n" % number for number in range(12_000))  # over inline_octets


def opened(data: Path, key: str = KEY, **more: object) -> SqliteSpool:
    return SqliteSpool.open(data, "0", SpoolSettings(key=key), HandClock(NOW), **more)  # type: ignore[arg-type]


class TestSpoolWithAKey(SpoolConformance):
    @pytest.fixture
    async def spool(self, tmp_path: Path) -> AsyncIterator[SpoolStore]:
        spool = opened(tmp_path)
        yield spool
        await spool.close()


def found_on_disk(data: Path) -> list[Path]:
    """Files with a readable part of a message, or of our trace field."""
    return [
        path for path in data.rglob("*")
        if path.is_file() and any(word in path.read_bytes() for word in (MARKER, b"client.example.net by"))
    ]  # fmt: skip


@pytest.mark.parametrize("body", [b"", SMALL, LARGE, b"x" * CHUNK_OCTETS * 5, b"y" * (CHUNK_OCTETS * 5 + 1)])
async def test_what_was_added_is_read_and_nothing_of_it_is_on_the_disk(tmp_path: Path, body: bytes) -> None:
    spool = opened(tmp_path)
    pieces = [body[at : at + 10_007] for at in range(0, len(body), 10_007)]
    content = written(spool, *pieces)
    assert b"".join([piece async for piece in content.chunks()]) == body
    assert found_on_disk(tmp_path) == []
    entry = new_entry(octets=len(body))
    await spool.add(entry, content)
    assert b"".join([piece async for piece in content.chunks()]) == body
    assert await whole(spool, entry.id) == PREFIX + body
    assert SqliteSpoolReader(tmp_path, (KEY,)).content(entry.id) == PREFIX + body
    assert found_on_disk(tmp_path) == []  # the write-ahead log is among them
    await spool.close()
    assert found_on_disk(tmp_path) == []
    again = opened(tmp_path)
    assert await whole(again, entry.id) == PREFIX + body
    await again.close()


async def test_without_the_key_or_with_another_one_nothing_is_read_and_nothing_is_lost(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    entry_id = await add(spool, body=SMALL)
    await spool.close()
    for key in ("", "another key of more than thirty-two letters"):
        other = opened(tmp_path, key)
        with pytest.raises(SpoolError, match="key"):
            await whole(other, entry_id)
        with pytest.raises(SpoolError, match="key"):
            SqliteSpoolReader(tmp_path, (key,) if key else ()).content(entry_id)
        await other.close()
    right = opened(tmp_path)
    assert await whole(right, entry_id) == PREFIX + SMALL
    await right.close()


async def test_what_lay_there_before_the_key_is_still_read(tmp_path: Path) -> None:
    before = opened(tmp_path, "")
    entry_id = await add(before, body=SMALL)
    await before.close()
    spool = opened(tmp_path)
    assert await whole(spool, entry_id) == PREFIX + SMALL
    await spool.close()


async def test_with_a_new_key_older_messages_are_read_and_new_ones_need_no_older_key(tmp_path: Path) -> None:
    new = "a new key of more than thirty-two letters"
    before = opened(tmp_path)
    old_ids = [await add(before, body=body) for body in (SMALL, LARGE)]
    await before.close()
    both = SqliteSpool.open(tmp_path, "0", SpoolSettings(key=new, previous_keys=(KEY,)), HandClock(NOW))
    new_ids = [await add(both, body=body) for body in (SMALL, LARGE)]
    for entry_id, body in zip((*old_ids, *new_ids), (SMALL, LARGE) * 2, strict=True):
        assert await whole(both, entry_id) == PREFIX + body
        assert SqliteSpoolReader(tmp_path, (new, KEY)).content(entry_id) == PREFIX + body
    await both.close()
    assert [SqliteSpoolReader(tmp_path, keys).locked() for keys in ((new, KEY), (new,), (KEY,), ())] == [0, 2, 2, 4]
    after = opened(tmp_path, new)
    assert await whole(after, new_ids[1]) == PREFIX + LARGE
    with pytest.raises(SpoolError, match="or in previous_keys"):
        await whole(after, old_ids[0])
    await after.close()
    clear = SqliteSpool.open(tmp_path, "0", SpoolSettings(previous_keys=(new, KEY)), HandClock(NOW))
    plain_id = await add(clear, body=SMALL)
    assert await whole(clear, old_ids[0]) == PREFIX + SMALL
    await clear.close()
    assert SqliteSpoolReader(tmp_path).content(plain_id) == PREFIX + SMALL


async def read_into(got: list[bytes], spool: SpoolStore, entry_id: str) -> None:
    async for piece in spool.read(entry_id):
        got.append(piece)


def _changed(octets: bytes) -> list[bytes]:
    """Every way to change a stored content that an attacker with the disk might try."""
    size = CHUNK_OCTETS + TAG_OCTETS
    chunks = [octets[at : at + size] for at in range(0, len(octets), size)]
    flipped = [octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :] for at in (0, size - 1, size, len(octets) - 1)]
    return [
        *flipped, octets[:-1], octets[:size], octets + b"\0", b"", b"".join(chunks[:-1]),
        b"".join([chunks[1], chunks[0], *chunks[2:]]), b"".join([*chunks[:-1], chunks[0], chunks[-1]]),
    ]  # fmt: skip


async def test_a_changed_file_never_yields_all_of_a_message_nor_a_changed_octet(tmp_path: Path) -> None:
    number = 0
    while True:
        damage: list[str] = []
        data = tmp_path / str(number)
        spool = opened(data, on_damage=lambda entry_id, _, damage=damage: damage.append(entry_id))
        entry_id = await add(spool, body=LARGE)
        file = data / "spool" / "0" / "content" / entry_id
        changes = _changed(file.read_bytes())
        file.write_bytes(changes[number])
        got: list[bytes] = []
        with pytest.raises(SpoolError, match="damaged"):
            await read_into(got, spool, entry_id)
        assert (PREFIX + LARGE).startswith(b"".join(got))
        assert len(b"".join(got)) < len(PREFIX + LARGE)
        await spool.close()
        assert damage == [entry_id]
        number += 1
        if number == len(changes):
            return


@pytest.mark.parametrize("column", ["prefix", "octets"])
async def test_a_changed_row_is_never_read(tmp_path: Path, column: str) -> None:
    spool = opened(tmp_path)
    entry_id, other_id = await add(spool, body=SMALL), await add(spool, body=SMALL + b"more\r\n")
    await spool.close()
    database = apsw.Connection(str(tmp_path / "spool" / "0" / "spool.db"))
    stored = database.execute(f"SELECT {column} FROM content ORDER BY number").fetchall()
    changes = [stored[1][0], stored[0][0][:-1], stored[0][0][:-1] + bytes([stored[0][0][-1] ^ 1])]
    for changed in changes:
        database.execute(f"UPDATE content SET {column} = ? WHERE number = 1", (changed,))
        with pytest.raises(SpoolError):
            SqliteSpoolReader(tmp_path, (KEY,)).content(entry_id)
    database.close()
    again = opened(tmp_path)
    with pytest.raises(SpoolError):
        await whole(again, entry_id)
    assert (await whole(again, other_id)).endswith(b"more\r\n")
    await again.close()


async def test_a_backup_holds_ciphertext_and_no_key(tmp_path: Path) -> None:
    spool = opened(tmp_path / "data")
    entry_ids = [await add(spool, body=body) for body in (SMALL, LARGE)]
    backup_spools(tmp_path / "data", tmp_path / "copy")
    await spool.close()
    assert found_on_disk(tmp_path / "copy") == []
    assert not [path for path in (tmp_path / "copy").rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    for entry_id, body in zip(entry_ids, (SMALL, LARGE), strict=True):
        assert SqliteSpoolReader(tmp_path / "copy", (KEY,)).content(entry_id) == PREFIX + body


async def test_after_a_full_disk_no_nonce_is_used_for_other_octets(tmp_path: Path) -> None:
    fails = False

    def faults(point: str) -> None:
        if fails and point == "content.write":
            raise OSError(28, os.strerror(28))

    spool = opened(tmp_path, faults=faults)
    content = spool.new_content()
    content.write(b"a" * 300_000)
    fails = True
    with pytest.raises(OSError, match="No space"):
        content.write(b"b" * CHUNK_OCTETS * 2)
    fails = False
    with pytest.raises(SpoolError):
        content.write(b"c" * CHUNK_OCTETS * 2)
    content.discard()
    await spool.close()


def test_a_file_that_becomes_shorter_while_it_is_read_is_no_shorter_message(tmp_path: Path) -> None:
    key = EntryKey(bytes(32))
    first = key.content_chunk(0, b"x" * CHUNK_OCTETS, is_last=False)
    (tmp_path / "content").write_bytes(first)
    descriptor = os.open(tmp_path / "content", os.O_RDONLY)
    try:
        with pytest.raises(TamperedError):
            _opened_chunks(descriptor, key, 0, 2, 2)
    finally:
        os.close(descriptor)


def test_chunks_have_their_place_and_their_entry() -> None:
    key = EntryKey(bytes(32))
    first, last = key.content_chunk(0, b"one", is_last=False), key.content_chunk(1, b"two", is_last=True)
    assert key.open_content_chunk(0, first, is_last=False) == b"one"
    for index, stored, is_last in ((1, first, False), (0, first, True), (1, last, False), (2, last, True)):
        with pytest.raises(TamperedError):
            key.open_content_chunk(index, stored, is_last=is_last)
    with pytest.raises(TamperedError):
        key.open_prefix(key.content(b"x"))
    cipher = SpoolCipher(KEY)
    assert cipher.is_of(cipher.check_value())
    assert not SpoolCipher(KEY + "!").is_of(cipher.check_value())
