"""`/healthz` and `/metrics`: what they say, and to whom; on a real socket in the loop of the caller."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvloop
from prometheus_client.parser import text_string_to_metric_families
from tests.support.certificates import Authority

from gatepost.admin.exposition import exposition
from gatepost.admin.health import AdminParts, HealthReport, admin_app
from gatepost.admin.serving import serve_admin
from gatepost.audit.metrics import FAMILIES
from gatepost.mail.network import NetworkSet

COUNTS = {
    ("gatepost_events_total", "server"): 3.0,
    ("gatepost_session_seconds", "mx", "1"): 2.0,
    ("gatepost_session_seconds", "mx", "8"): 1.0,
    ("gatepost_session_seconds", "mx", "sum"): 400.0,
    ("gatepost_unknown_total", "x"): 1.0,
    ("gatepost_verdicts_total", 'a"b\\c\n', "enforce", "reject"): 1.0,
}
GAUGES = {("gatepost_queue_recipients", "deferred"): 4.0, ("gatepost_workers",): 2.0}
LOOPBACK = NetworkSet(["127.0.0.0/8"])


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counts_are_written_as_prometheus_reads_them() -> None:
    text = exposition(COUNTS, GAUGES).decode()
    found = samples(text)
    assert found["gatepost_events_total", "server"] == 3
    assert found["gatepost_session_seconds_bucket", "0.005", "mx"] == 0
    assert found["gatepost_session_seconds_bucket", "0.02", "mx"] == 2
    assert found["gatepost_session_seconds_bucket", "300.0", "mx"] == 2
    assert found["gatepost_session_seconds_bucket", "+Inf", "mx"] == 3
    assert found["gatepost_session_seconds_count", "mx"] == 3
    assert found["gatepost_session_seconds_sum", "mx"] == 400
    assert found["gatepost_verdicts_total", 'a"b\\c\n', "enforce", "reject"] == 1
    assert found["gatepost_queue_recipients", "deferred"] == 4
    assert found["gatepost_workers",] == 2
    assert found["gatepost_record_failures_total",] == 0
    assert "unknown" not in text
    assert all(f"# HELP {name}" in text for name in FAMILIES)


# --- over a socket -----------------------------------------------------------------------------------------------


class Server:
    """What a test asks of a running one."""

    def __init__(self, port: int, tls: ssl.SSLContext | None) -> None:
        self.port = port
        self._tls = tls

    async def get(self, path: str, *headers: str, host: str = "127.0.0.1") -> tuple[int, dict[str, str], str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self._tls)
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", ""]
        writer.write("\r\n".join(lines).encode())
        answer = (await asyncio.wait_for(reader.read(), 10)).decode()
        writer.close()
        head, _, body = answer.partition("\r\n\r\n")
        status, *fields = head.split("\r\n")
        pairs = (each.partition(": ") for each in fields)
        return int(status.split()[1]), {name.lower(): value for name, _, value in pairs}, body


REPORT = HealthReport(workers=(11, 12), queue={"due": 1}, disk_free=10**9)


@asynccontextmanager
async def running(
    report: HealthReport = REPORT, tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None, **parts: object
) -> AsyncIterator[Server]:
    async def health() -> HealthReport:
        return report

    app = admin_app(
        AdminParts(counts=lambda: COUNTS, gauges=lambda: GAUGES, health=health, **parts)  # type: ignore[arg-type]
    )
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    task = asyncio.create_task(serve_admin(sock, app, tls[0] if tls else None))
    try:
        yield Server(port, tls[1] if tls else None)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_trusted_peer_reads_metrics() -> None:
    async with running(trusted=LOOPBACK) as server:
        status, headers, body = await server.get("/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers
    assert samples(body)["gatepost_events_total", "server"] == 3


async def test_others_need_the_token() -> None:
    async with running(token="s3cret") as server:
        for headers in (
            (),
            ("Authorization: Bearer wrong",),
            ("Authorization: Basic s3cret",),
            ("Authorization: Bearer",),
        ):
            assert (await server.get("/metrics", *headers))[0] == 401
        status, _, body = await server.get("/metrics", "Authorization: Bearer s3cret")
    assert status == 200
    assert "gatepost_events_total" in body


async def test_without_a_token_nothing_passes_for_one() -> None:
    async with running() as server:
        for value in ("Bearer ", "Bearer", "Bearer x"):
            assert (await server.get("/metrics", f"Authorization: {value}"))[0] == 401


async def test_a_peer_does_not_become_trusted_by_what_it_says() -> None:
    async with running(trusted=NetworkSet(["192.0.2.1"])) as server:
        status, _, _ = await server.get("/metrics", "X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1")
    assert status == 401


async def test_health_is_short_for_strangers_and_whole_for_trusted_peers() -> None:
    async with running() as server:
        status, _, body = await server.get("/healthz")
        assert (status, json.loads(body)) == (200, {"ok": True})
    async with running(trusted=LOOPBACK) as server:
        _, headers, body = await server.get("/healthz")
        assert json.loads(body) == {
            "ok": True, "workers": [11, 12], "queue": {"due": 1}, "disk_free": 10**9, "record": True, "problems": [],
        }  # fmt: skip
        assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("report", [HealthReport(record=False), HealthReport(problems=("the disk is full",))])
async def test_what_is_not_well_is_503(report: HealthReport) -> None:
    async with running(report) as server:
        status, _, body = await server.get("/healthz")
    assert (status, json.loads(body)) == (503, {"ok": False})


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("localhost", 200),
        ("[::1]:8080", 200),
        ("MX.example.org.", 200),
        ("attacker.example", 421),
        ("mx.example.org.attacker.example", 421),
        ("", 421),
        ("[", 421),
    ],
)
async def test_it_answers_to_its_own_names_only(host: str, status: int) -> None:
    async with running(names=["mx.example.org"]) as server:
        assert (await server.get("/healthz", host=host))[0] == status


async def test_two_names_are_none() -> None:
    async with running() as server:
        assert (await server.get("/healthz", "Host: attacker.example"))[0] in (400, 421)


async def test_what_is_not_there_is_404_and_what_is_no_http_harms_nobody() -> None:
    async with running() as server:
        assert (await server.get("/admin"))[0] == 404
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"EHLO client.example.net\r\n\x00\xff\r\n\r\n")
        assert b"400" in await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert (await server.get("/healthz"))[0] == 200


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_it_runs_in_the_loop_of_the_worker_and_leaves_nothing_behind(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    authority = Authority(tmp_path)
    client = ssl.create_default_context(cafile=str(authority.file))

    async def main() -> None:
        before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        async with running(tls=(authority.server_context("127.0.0.1"), client)) as server:
            assert (await server.get("/healthz"))[0] == 200
            assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
        with pytest.raises(OSError):
            await server.get("/healthz")

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
