"""What will be sealed, on its way into a spool without a key: no file shows it while it arrives; what of it is kept in
clear all the same is a file like any other."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.spool import PREFIX, SpoolConformance, new_entry, whole
from tests.store.test_spool_encrypted import KEY, LARGE, MARKER, found_on_disk, opened

from gatepost.spool.port import Content, SpoolError, SpoolFullError, SpoolStore
from gatepost.store.sqlite.spool_cipher import CHUNK_OCTETS


class AlwaysForSealing:
    """A spool that takes all content for what will be sealed."""

    def __init__(self, spool: SpoolStore) -> None:
        self._spool = spool

    def new_content(self, *, for_sealing: bool = True) -> Content:
        return self._spool.new_content(for_sealing=True)

    def __getattr__(self, name: str) -> object:
        return getattr(self._spool, name)


class TestSpoolOfWhatMayBeSealed(SpoolConformance):
    @pytest.fixture
    async def spool(self, tmp_path: Path) -> AsyncIterator[AlwaysForSealing]:
        spool = opened(tmp_path, "")
        yield AlwaysForSealing(spool)
        await spool.close()


def arrived(spool: SpoolStore, body: bytes) -> Content:
    content = spool.new_content(for_sealing=True)
    for at in range(0, len(body), 10_007):
        content.write(body[at : at + 10_007])
    return content


async def octets_of(content: Content) -> bytes:
    return b"".join([piece async for piece in content.chunks()])


def content_files(data: Path) -> list[Path]:
    return sorted((data / "spool" / "0" / "content").iterdir())


@pytest.mark.parametrize("key", ["", KEY], ids=["no spool key", "a spool key"])
async def test_what_will_be_sealed_is_on_no_disk_while_it_arrives_and_goes_without_a_trace(
    tmp_path: Path, key: str
) -> None:
    spool = opened(tmp_path, key)
    content = arrived(spool, LARGE)
    (file,) = content_files(tmp_path)
    assert file.stat().st_size > len(LARGE) - CHUNK_OCTETS, "all but the end of it is there"
    assert found_on_disk(tmp_path) == []
    content.finish()
    assert await octets_of(content) == LARGE
    content.discard()
    assert content_files(tmp_path) == []
    await spool.close()


async def test_else_it_would_be_found(tmp_path: Path) -> None:
    """The search finds what is in clear."""
    spool = opened(tmp_path, "")
    content = spool.new_content()
    content.write(LARGE)
    assert found_on_disk(tmp_path) == content_files(tmp_path) != []
    content.discard()
    await spool.close()


@pytest.mark.parametrize("body", [LARGE, b"x" * CHUNK_OCTETS * 5, b"y" * (CHUNK_OCTETS * 5 + 1)])
async def test_what_is_kept_in_clear_all_the_same_is_one_plain_file(tmp_path: Path, body: bytes) -> None:
    spool = opened(tmp_path, "")
    content = arrived(spool, body)
    content.finish()
    reader = content.chunks()
    first = await anext(reader)
    entry = new_entry(octets=len(body))
    await spool.add(entry, content)
    (file,) = content_files(tmp_path)
    assert (file.name, file.read_bytes()) == (entry.id, body)
    assert file.stat().st_mode & 0o777 == 0o600
    assert first + b"".join([piece async for piece in reader]) == body, "who has begun to read reads to the end"
    assert await octets_of(content) == body
    content.discard()
    assert await whole(spool, entry.id) == PREFIX + body
    await spool.close()
    again = opened(tmp_path, "")
    assert await whole(again, entry.id) == PREFIX + body
    await again.close()


@pytest.mark.parametrize("point", ["content.write", "content.sync", "content.rename", "content.folder"])
async def test_a_disk_that_is_full_just_then_leaves_nothing_and_a_second_try_keeps_it(
    tmp_path: Path, point: str
) -> None:
    full: set[str] = set()

    def faults(passed: str) -> None:
        if passed in full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    spool = opened(tmp_path, "", faults=faults)
    content = arrived(spool, LARGE)
    content.finish()
    entry = new_entry(octets=len(LARGE))
    full.add(point)
    with pytest.raises(SpoolFullError):
        await spool.add(entry, content)
    assert len(content_files(tmp_path)) == 1
    full.clear()
    assert await octets_of(content) == LARGE
    await spool.add(entry, content)
    assert await whole(spool, entry.id) == PREFIX + LARGE
    assert [path.name for path in content_files(tmp_path)] == [entry.id]
    await spool.close()


async def test_what_a_crash_leaves_is_readable_to_nobody_and_gone_at_the_next_start(tmp_path: Path) -> None:
    spool = opened(tmp_path, "")
    content = arrived(spool, LARGE)
    (file,) = content_files(tmp_path)
    left = file.read_bytes()
    content.discard()
    await spool.close()
    file.write_bytes(left)  # as if nobody had been there to remove it
    assert MARKER not in left
    again = opened(tmp_path, "")
    assert content_files(tmp_path) == []
    await again.close()


async def test_a_file_that_somebody_changed_meanwhile_is_not_kept(tmp_path: Path) -> None:
    spool = opened(tmp_path, "")
    content = arrived(spool, LARGE)
    content.finish()
    (file,) = content_files(tmp_path)
    with file.open("r+b") as changed:
        changed.seek(100_000)
        changed.write(b"?")
    with pytest.raises(SpoolError, match="not what was stored"):
        await spool.add(new_entry(octets=len(LARGE)), content)
    content.discard()
    assert content_files(tmp_path) == []
    await spool.close()
