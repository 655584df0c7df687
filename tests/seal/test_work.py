"""Sealing beside the event loop: large messages in another process, which ends with the one that asked."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.seal.scene import MESSAGE, NOW, Person, pgp, smime

from gatepost.seal.detect import is_sealed
from gatepost.seal.model import Refused, Sealed, SealedFor, SealOptions, SigningKey
from gatepost.seal.opening import open_
from gatepost.seal.process import SealProcess, SealProcessError
from gatepost.seal.sealing import seal, seal_pieces
from gatepost.seal.work import LARGE_OCTETS, SealWork
from gatepost.spool.port import SpoolError

ADA, BOB = "ada@example.org", "bob@example.net"
OPTIONS = SealOptions(now=NOW)
LARGE = MESSAGE.replace(b"AAECAwQ=\r\n", b"QUJD" * 19 * 20_000 + b"\r\n")


def pid_of(process: SealProcess) -> int:
    return process.call(os.getpid)


async def pieces(octets: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(octets), 100_000):
        yield octets[at : at + 100_000]


async def sealed(work: SealWork, message: bytes, person: Person, signers: tuple[SigningKey, ...] = ()) -> bytes:
    """The one message that it becomes."""
    options = SealOptions(now=NOW)
    head, *found = [
        each async for each in work.seal_pieces(pieces(message), len(message), {BOB: person.key}, signers, options)
    ]
    assert isinstance(head, SealedFor), head
    assert (head.recipients, head.is_signed) == ((BOB,), bool(signers))
    return b"".join(each for each in found if isinstance(each, bytes))


@pytest.mark.parametrize("kind", ["openpgp", "smime"])
@pytest.mark.parametrize("message", [MESSAGE, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("is_signed", [False, True], ids=["encrypted", "signed"])
async def test_in_pieces_a_message_is_sealed_as_in_one(kind: str, message: bytes, is_signed: bool) -> None:
    person, ada = (pgp(BOB), pgp(ADA)) if kind == "openpgp" else (smime(BOB), smime(ADA))
    work = SealWork()
    try:
        octets = await sealed(work, message, person, (ada.signing,) if is_signed else ())
        assert await work.kind_of(pieces(octets), len(octets)) == kind
        assert await work.kind_of(pieces(message), len(message)) is None
        opened = open_(octets, [person.secret], [ada.known()], NOW)
        assert opened.text is not None
        assert opened.text.endswith(message.partition(b"\r\n\r\n")[2])
        assert opened.verdict.signature == ("good" if is_signed else "none")
        again = [each async for each in work.seal_pieces(pieces(octets), len(octets), {BOB: person.key}, (), OPTIONS)]
        assert [each.code for each in again if isinstance(each, Refused)] == ["sealed"]
    finally:
        await work.close()


async def test_large_messages_are_sealed_by_another_process() -> None:
    work = SealWork()
    try:
        assert len(LARGE) > LARGE_OCTETS
        await sealed(work, LARGE, pgp(BOB))
        assert await asyncio.to_thread(pid_of, work._process) != os.getpid()
    finally:
        await work.close()


async def test_whoever_stops_in_the_middle_leaves_no_octets_to_the_next_message() -> None:
    """A spool without room ended one message, and the next one would have got the rest of it."""
    work = SealWork()
    try:
        stopped = work.seal_pieces(pieces(LARGE), len(LARGE), {BOB: pgp(BOB).key}, (), OPTIONS)
        async with aclosing(stopped):
            async for each in stopped:
                if isinstance(each, bytes):
                    break
        octets = await sealed(work, LARGE, smime(BOB))
        assert open_(octets, [smime(BOB).secret], [], NOW).text is not None
    finally:
        await work.close()


async def test_a_content_that_cannot_be_read_to_its_end_is_not_sealed_as_if_it_were_whole() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield LARGE[:LARGE_OCTETS]
        raise SpoolError("the file ends too early")

    work = SealWork()
    try:
        with pytest.raises(SpoolError):
            await anext(work.seal_pieces(broken(), len(LARGE), {BOB: pgp(BOB).key}, (), OPTIONS))
        assert isinstance(await work.seal(LARGE, {BOB: pgp(BOB).key}, (), OPTIONS), Sealed)
    finally:
        await work.close()


def test_a_process_whose_server_dies_in_the_middle_ends_without_an_answer() -> None:
    process = SealProcess()
    process.begin(seal_pieces, {BOB: pgp(BOB).key}, (), OPTIONS)
    process.feed(LARGE[:LARGE_OCTETS])
    child = process._process
    assert child is not None
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.close()
    with child.stdout:
        assert child.stdout.read() == b""
    assert child.wait(10) == 0


class Memory:
    """The most that the process which seals has held so far: its own memory, and its files without a name."""

    def __init__(self, work: SealWork) -> None:
        self._work = work
        self._files = 0

    def look(self) -> None:
        child = self._work._process._process
        if child is not None:
            folder = Path(f"/proc/{child.pid}/fd")
            self._files = max(self._files, sum(stat_of(each) for each in folder.iterdir()))

    @property
    def octets(self) -> int:
        child = self._work._process._process
        assert child is not None
        return self._files + high_water(child.pid)


def stat_of(link: Path) -> int:
    try:
        return link.stat().st_size if "memfd:" in os.readlink(link) else 0
    except FileNotFoundError:
        return 0


def high_water(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def own_high_water_begins() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return high_water(os.getpid())


async def seal_many(work: SealWork, memory: Memory, person: Person, octets: int, messages: int) -> None:
    """Messages of so many octets, all at once, whose pieces nobody keeps."""
    piece = base64.encodebytes(os.urandom(57 * 3000)).replace(b"\n", b"\r\n")

    async def content() -> AsyncIterator[bytes]:
        yield MESSAGE
        for _ in range(octets // len(piece)):
            yield piece

    async def one() -> None:
        options = SealOptions(now=NOW)
        signer = (pgp(ADA) if person.key.kind == "openpgp" else smime(ADA)).signing
        async for each in work.seal_pieces(content(), octets, {BOB: person.key}, (signer,), options):
            assert not isinstance(each, Refused)
            memory.look()

    await asyncio.gather(*(one() for _ in range(messages)))


MB = 1_000_000


@pytest.mark.parametrize(("person", "times"), [(pgp(BOB), 2), (smime(BOB), 1)], ids=["openpgp: twice", "smime: once"])
@pytest.mark.parametrize(("octets", "messages"), [(25 * MB, 1), (5 * MB, 20)], ids=["one of 25 MB", "20 of 5 MB"])
async def test_sealing_takes_no_more_memory_than_the_manual_says(
    person: Person, times: int, octets: int, messages: int
) -> None:
    """docs/reference/limits.md, "Sealing": one large message at a time, OpenPGP twice, S/MIME once, and 55 MB."""
    work = SealWork()
    memory = Memory(work)
    before = own_high_water_begins()
    try:
        await seal_many(work, memory, person, octets, messages)
        assert memory.octets < times * octets + 55 * MB
        assert high_water(os.getpid()) - before < 15 * MB  # who serves holds no message
    finally:
        await work.close()


async def test_a_process_that_dies_seals_nothing_and_the_next_one_does() -> None:
    work = SealWork()
    try:
        pid = await asyncio.to_thread(pid_of, work._process)
        os.kill(pid, signal.SIGKILL)
        refused = await work.seal(LARGE, {BOB: pgp(BOB).key}, (), SealOptions(now=NOW))
        assert isinstance(refused, Refused)
        assert refused.code == "unavailable"
        assert isinstance(await work.seal(LARGE, {BOB: pgp(BOB).key}, (), SealOptions(now=NOW)), Sealed)
    finally:
        await work.close()


def test_it_ends_when_it_is_closed() -> None:
    process = SealProcess()
    assert process.call(is_sealed, MESSAGE) is None
    assert process.close() == 0
    assert process.close() is None


def test_what_fails_there_is_told_here() -> None:
    process = SealProcess()
    with pytest.raises(SealProcessError, match="TypeError"):
        process.call(is_sealed)
    assert process.call(is_sealed, MESSAGE) is None  # and it goes on
    process.close()


@pytest.mark.parametrize("person", [pgp(BOB), smime(BOB)], ids=lambda person: person.key.kind)
def test_a_message_of_25_mb_takes_less_than_a_second_of_one_core(person: Person) -> None:
    message = MESSAGE.replace(b"AAECAwQ=\r\n", base64.encodebytes(os.urandom(18_500_000)).replace(b"\n", b"\r\n"))
    assert len(message) > 25_000_000
    began = time.process_time()
    done = seal(message, {BOB: person.key}, None, SealOptions(now=NOW))
    took = time.process_time() - began
    assert isinstance(done, Sealed)
    assert took < 1.0
