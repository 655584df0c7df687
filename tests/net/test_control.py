from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gatepost.net.control import MAX_LINE_OCTETS, ControlServer, ask


async def double(request: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"ok": True, "twice": 2 * request["number"]}


class Desk:
    """A server with two verbs, and what its handlers raised."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.errors: list[tuple[str, Exception]] = []
        self.has_begun = asyncio.Event()
        self.server = ControlServer(
            path, {"double": double, "never": self.never}, lambda verb, error: self.errors.append((verb, error))
        )

    async def never(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.has_begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def ask(self, request: Mapping[str, Any], timeout: float = 10) -> dict[str, Any]:
        return await asyncio.to_thread(ask, self.path, request, timeout)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "run" / "worker-0.sock")
    await desk.server.start()
    yield desk
    await desk.server.close()


async def test_a_request_is_answered_by_its_verbs_handler(desk: Desk) -> None:
    assert await desk.ask({"do": "double", "number": 21}) == {"ok": True, "twice": 42}


async def test_an_unknown_verb_names_the_known_ones(desk: Desk) -> None:
    for request in ({"do": "dance"}, {}, {"do": ["double"]}):
        answer = await desk.ask(request)
        assert not answer["ok"]
        assert "double, never" in answer["error"]


async def test_a_handler_that_fails_is_reported_and_the_server_goes_on(desk: Desk) -> None:
    answer = await desk.ask({"do": "double"})
    assert not answer["ok"]
    assert "double failed" in answer["error"]
    assert [verb for verb, _ in desk.errors] == ["double"]
    assert (await desk.ask({"do": "double", "number": 1}))["ok"]


@pytest.mark.parametrize("line", [b"\n", b"{]\n", b"[1]\n", b'"x"\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"{}x\n"])
async def test_what_is_no_request_is_refused_and_the_connection_goes_on(desk: Desk, line: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(desk.path))
    writer.write(line + b'{"do":"double","number":4}\n')
    assert b'"ok":false' in await reader.readline()
    assert b'"twice":8' in await reader.readline()
    writer.close()


async def test_an_endless_line_ends_the_connection(desk: Desk) -> None:
    reader, writer = await asyncio.open_unix_connection(str(desk.path))
    writer.write(b"x" * (2 * MAX_LINE_OCTETS))
    with contextlib.suppress(ConnectionResetError):  # an end with octets unread is a reset
        assert await reader.read() == b""
    writer.close()
    assert (await desk.ask({"do": "double", "number": 1}))["ok"]


async def test_the_socket_is_for_its_owner_only(desk: Desk) -> None:
    assert stat.S_IMODE(desk.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(desk.path.parent.stat().st_mode) == 0o700


async def test_a_request_that_is_not_answered_in_time_is_an_error_of_the_system(desk: Desk) -> None:
    with pytest.raises(OSError, match="timed out"):
        await desk.ask({"do": "never"}, timeout=0.05)


async def test_closing_ends_requests_that_run(desk: Desk) -> None:
    asked = asyncio.create_task(desk.ask({"do": "never"}))
    await desk.has_begun.wait()
    await desk.server.close()
    with pytest.raises(OSError, match="without an answer"):
        await asked
    assert not desk.path.exists()


async def test_the_socket_of_a_dead_worker_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with pytest.raises(OSError, match="refused"):
        ask(path, {})
    desk = Desk(path)
    await desk.server.start()
    assert (await desk.ask({"do": "double", "number": 1}))["ok"]
    await desk.server.close()


async def test_a_data_folder_may_be_deeper_than_a_socket_name_is_long(tmp_path: Path) -> None:
    desk = Desk(tmp_path / ("deep" * 40) / "run" / "worker-0.sock")
    await desk.server.start()
    assert (await desk.ask({"do": "double", "number": 1}))["ok"]
    await desk.server.close()
    assert not desk.path.exists()


def test_nobody_listening_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        ask(tmp_path / "worker-0.sock", {})
    with pytest.raises(OSError, match="No such file"):
        ask(tmp_path / "none" / "worker-0.sock", {})
