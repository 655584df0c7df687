from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.spool import NOW, SpoolConformance, add
from tests.support.clock import HandClock

from gatepost.spool.model import Hold
from gatepost.spool.port import SpoolStore
from gatepost.spool.settings import SpoolSettings
from gatepost.store.sqlite.spool import SqliteSpool
from gatepost.store.sqlite.spool_set import SpoolSet


class TestSqliteSpool(SpoolConformance):
    @pytest.fixture
    async def spool(self, tmp_path: Path) -> AsyncIterator[SpoolStore]:
        spool = SqliteSpool.open(tmp_path, "0", SpoolSettings(), HandClock(NOW))
        yield spool
        await spool.close()


class TestSqliteSpoolWithoutMemory(SpoolConformance):
    """Every content is a file."""

    @pytest.fixture
    async def spool(self, tmp_path: Path) -> AsyncIterator[SpoolStore]:
        spool = SqliteSpool.open(tmp_path, "0", SpoolSettings(memory_octets=0), HandClock(NOW))
        yield spool
        await spool.close()


class TestSpoolSetWithAnAdoptedSpool(SpoolConformance):
    """The same through a set that has taken over a spool with one entry, due in a far future."""

    @pytest.fixture
    async def spool(self, tmp_path: Path) -> AsyncIterator[SpoolStore]:
        left_behind = SqliteSpool.open(tmp_path, "7", SpoolSettings(), HandClock(NOW))
        await add(left_behind, held_by=Hold.PERSON)
        await left_behind.close()
        spool = SpoolSet.open(tmp_path, SpoolSettings(), HandClock(NOW))
        assert await spool.adopt() == ["7"]
        yield spool
        await spool.close()
