"""Nothing here reads the environment of whoever runs the tests."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_configuration_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEPOST_CONFIG", raising=False)
