"""A server that nobody attacks, beside those that are attacked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.overload.visitor import NOBODY_TRUSTED
from tests.support.server import Server


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its clients stand in no relation to any attack: what is slow here is the machine."""
    with Server(tmp_path_factory.mktemp("control"), ("mx",), top=NOBODY_TRUSTED) as running:
        yield running
