"""Sealing beside the event loop: large messages in another process, which ends with the one that asked."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import time

import pytest
from tests.seal.scene import MESSAGE, NOW, Person, pgp, smime

from gatepost.seal.detect import is_sealed
from gatepost.seal.model import Refused, Sealed, SealOptions
from gatepost.seal.opening import open_
from gatepost.seal.process import SealProcess, SealProcessError
from gatepost.seal.sealing import seal
from gatepost.seal.work import LARGE_OCTETS, SealWork

BOB = "bob@example.net"
LARGE = MESSAGE.replace(b"AAECAwQ=\r\n", b"QUJD" * 19 * 20_000 + b"\r\n")


def pid_of(process: SealProcess) -> int:
    return process.call(os.getpid)


async def test_a_large_message_is_sealed_by_another_process() -> None:
    work = SealWork()
    try:
        assert len(LARGE) > LARGE_OCTETS
        for message in (MESSAGE, LARGE):
            done = await work.seal(message, {BOB: pgp(BOB).key}, (), SealOptions(now=NOW))
            assert isinstance(done, Sealed)
            assert await work.kind_of(done.messages[0].octets) == "openpgp"
            assert open_(done.messages[0].octets, [pgp(BOB).secret], [], NOW).text is not None
        assert await asyncio.to_thread(pid_of, work._process) != os.getpid()
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
