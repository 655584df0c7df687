"""`gatepost bench` on a real installation: it measures beside the server that serves, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.server import Server

WORDS = ("bench", "--sessions", "5", "--seconds", "1")


def test_it_measures_an_installation_that_serves_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with Server(tmp_path, ("mx",)) as server:
        before = {path.name for path in server.data.iterdir()}
        found = json.loads(server.command(*WORDS, "--json"))
        assert {path.name for path in server.data.iterdir()} == before
        assert not server.mail()
        assert server.events("smtp.message") == []
        text = server.command(*WORDS)
    assert found["workers"] == 1
    assert found["accept"]["messages"] > 5
    assert (found["accept"]["failed"], found["accept"]["first_failure"]) == (0, "")
    assert 0 < found["accept"]["p50_ms"] <= found["accept"]["p95_ms"]
    assert found["accept"]["cpu_ms"] > 0
    assert found["disk"]["append_per_second"] > 0
    assert found["disk"]["file_ms"] > 0
    assert found["login"]["hash_ms"] > 1
    (resolver,) = found["dns"]
    assert (resolver["asked"], resolver["failed"]) == (5, 0)
    assert found["limited_by"] == found["findings"][0]["limit"]
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["machine", "disk", "accept", "login", "dns"]
    assert lines[6].startswith("limit ")
