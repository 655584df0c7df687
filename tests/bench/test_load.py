"""The load generators: they say what the script says, count what was answered as expected, and nothing else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import script
from bench.load import Generator, Load
from bench.load_python import decode
from bench.sink import Counter, Sink


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    running = Sink(tmp_path)
    yield running
    running.stop()


@pytest.fixture(params=["compiled", "python"])
def generator(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator:
    if request.param == "python":
        monkeypatch.setattr("bench.load.shutil.which", lambda name: None)
    found = Generator(tmp_path)
    if request.param == "compiled" and found.name == "bench/load_python.py":
        pytest.skip("no C compiler is installed: apt-get install gcc libc6-dev")
    return found


def steps(octets: int = 4096) -> tuple[script.Step, ...]:
    return (*script.opening(), *script.message("ada@example.org", octets), script.CLOSING)


@pytest.mark.parametrize("per_connection", [1, 7])
def test_every_message_reaches_the_server_once(generator: Generator, sink: Sink, per_connection: int) -> None:
    seen = generator.run(Load(steps(), 5, per_connection), sink.port, 70)
    assert (seen.done, seen.failed) == (70, 0), seen.first_failure
    assert sink.counter.value == 70
    assert (seen.connections == 70) is (per_connection == 1)
    assert 0 < seen.p50_ms <= seen.p95_ms <= seen.p99_ms
    assert seen.cpu_seconds > 0


def test_a_message_larger_than_the_socket_s_buffer_arrives(generator: Generator, sink: Sink) -> None:
    seen = generator.run(Load(steps(8 * 2**20), 2), sink.port, 4)
    assert (seen.done, seen.failed, sink.counter.value) == (4, 0, 4)


def test_a_reply_that_was_not_expected_is_a_failure_and_is_shown(generator: Generator, sink: Sink) -> None:
    load = Load((*script.opening(), *script.refused("mallory@example.com"), script.CLOSING), 2)
    seen = generator.run(load, sink.port, 6)  # the sink refuses nobody
    assert (seen.done, seen.failed) == (0, 6)
    assert "250" in seen.first_failure


def test_a_script_is_read_as_it_was_written() -> None:
    written = [*script.opening(tls=True, login=b"AUTH PLAIN x\r\n"), *script.message("ada@example.org", 900)]
    assert decode(script.encode(written)) == written


@pytest.mark.parametrize("octets", [400, 1024, 4096, 100 * 1024])
def test_content_is_as_long_as_asked_for_and_has_one_end(octets: int) -> None:
    made = script.content(octets)
    assert abs(len(made) - octets) <= 2
    assert made.endswith(b"\r\n.\r\n")
    assert made.count(b"\r\n.\r\n") == 1
    assert made.count(b"\n") == made.count(b"\r\n") == made.count(b"\r")


async def test_the_sink_finds_the_end_of_content_wherever_it_is_cut(sink: Sink) -> None:
    dialogue = b"EHLO a\r\nMAIL FROM:<b@example.net>\r\nRCPT TO:<c@example.org>\r\nDATA\r\nx\r\n..\r\n.y\r\n\r\n.\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
    await reader.readline()
    for at in range(len(dialogue)):
        writer.write(dialogue[at : at + 1])
        await writer.drain()
        await asyncio.sleep(0)
    writer.write(b"QUIT\r\n")
    replies = (await reader.read()).splitlines()
    writer.close()
    assert [line[:3] for line in replies if line[3:4] == b" "] == [b"250", b"250", b"250", b"354", b"250", b"221"]
    assert sink.counter.value == 1


def test_a_counter_is_seen_by_everybody_who_opens_its_file(tmp_path: Path) -> None:
    one, other = Counter(tmp_path / "counter"), Counter(tmp_path / "counter")
    one.add()
    other.add()
    assert (one.value, other.value) == (2, 2)


def test_the_generator_in_python_is_run_by_this_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.load.shutil.which", lambda name: None)
    generator = Generator(tmp_path)
    assert list(generator._program) == [sys.executable, "-m", "bench.load_python"]
