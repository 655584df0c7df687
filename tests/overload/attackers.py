"""Hostile peers, in a process of their own: they must not slow the honest client down by taking its interpreter.

    python -m tests.overload.attackers KIND PORT NUMBER

It says "ready" once the attack stands, goes on until its standard input ends, and then prints what it saw as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import socket
import struct
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final

import uvloop
from tests.overload.bombs import BOMBS

HOST: Final = "127.0.0.1"
ONE_ADDRESS: Final = "127.9.0.5"
GREETING: Final = b"EHLO client.example.net\r\n"
ENVELOPE: Final = (GREETING, b"MAIL FROM:<bob@example.net>\r\n", b"RCPT TO:<ada@example.org>\r\n", b"DATA\r\n")
PATIENCE_SECONDS: Final = 6.0  # what is sent on a busy machine is not stuck yet
AT_ONCE: Final = 200  # connections being opened
PAUSE_SECONDS: Final = 1.0  # before a peer that was sent away comes again


def network(number: int) -> str:
    """An address of loopback in a /24 of its own."""
    return f"127.{20 + number // 250}.{number % 250}.1"


class Attack:
    """What the attackers of one process share. seen: how often each thing happened."""

    def __init__(self, port: int, number: int) -> None:
        self.port = port
        self.number = number
        self.seen: Counter[str] = Counter()
        self.stands = asyncio.Event()
        self._opening = asyncio.Semaphore(AT_ONCE)

    async def connect(self, source: str) -> socket.socket:
        """A connection from `source`, its socket not blocking. Raises OSError."""
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        try:
            sock.setblocking(False)
            # The port is chosen when it connects: as many to one server as there are ports, from each address.
            sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
            sock.bind((source, 0))
            async with self._opening:
                await loop.sock_connect(sock, (HOST, self.port))
        except BaseException:
            sock.close()
            raise
        self.seen["connected"] += 1
        return sock

    async def heard(self, sock: socket.socket) -> bytes:
        """What the server says next, b"" when it has closed. Counts the code of a greeting or refusal."""
        octets = await asyncio.get_running_loop().sock_recv(sock, 65536)
        if octets:
            self.seen[octets[:3].decode("ascii", "replace")] += 1
        return octets


async def crowd(attack: Attack) -> None:
    """Connections from one address, opened anew as soon as they are refused; those that are let in say nothing."""

    async def one() -> None:
        while True:
            try:
                sock = await attack.connect(ONE_ADDRESS)
                try:
                    while await attack.heard(sock):
                        pass
                finally:
                    sock.close()
            except OSError:
                attack.seen["failed"] += 1
            if attack.seen["connected"] >= attack.number:
                attack.stands.set()
            await asyncio.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))

    await asyncio.gather(*(one() for _ in range(attack.number)))


async def trickle(attack: Attack) -> None:
    """Each peer, from a network of its own, sends an octet a second of a command that never ends."""
    loop = asyncio.get_running_loop()
    socks = [await attack.connect(network(number)) for number in range(attack.number)]
    attack.stands.set()
    while True:
        for sock in socks:
            try:
                await loop.sock_sendall(sock, b"E")
                attack.seen["octets"] += 1
            except OSError:
                attack.seen["failed"] += 1
        await asyncio.sleep(1.0)


async def deaf(attack: Attack) -> None:
    """Peers that ask for long answers and never read one."""
    loop = asyncio.get_running_loop()
    flood = GREETING * 2000

    async def one(number: int) -> None:
        sock = await attack.connect(network(number))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            while True:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await loop.sock_sendall(sock, flood)
                attack.seen["floods"] += 1
        except TimeoutError:
            attack.seen["stuck"] += 1
        except OSError:
            attack.seen["cut off"] += 1
        if attack.seen["stuck"] + attack.seen["cut off"] == attack.number:
            attack.stands.set()
        await asyncio.Event().wait()  # the connection stays, unread

    await asyncio.gather(*(one(number) for number in range(attack.number)))


async def burst(attack: Attack) -> None:
    """Connections that are reset as soon as they stand, from as many networks as it takes not to be refused."""
    while attack.seen["connected"] < attack.number:
        batch = [attack.connect(network(number)) for number in range(AT_ONCE)]
        for sock in await asyncio.gather(*batch, return_exceptions=True):
            if isinstance(sock, OSError):
                attack.seen["failed"] += 1
            elif isinstance(sock, socket.socket):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
    attack.stands.set()


async def flood(attack: Attack) -> None:
    """Commands without end, each in as many octets as the network takes; whoever is cut off comes again."""
    loop = asyncio.get_running_loop()
    floods = (
        GREETING + b"NOOP\r\n" * 40000,
        GREETING + b"MAIL FROM:<bob@example.net>\r\n" + b"RCPT TO:<ada@example.org>\r\n" * 10_000,
        GREETING + b"MAIL FROM:<bob@example.net>\r\nRSET\r\n" * 5000,
        b"\r\n" * 100_000,
        b"\0" * 100_000,
        b"x" * 5_000_000,
    )

    async def one(number: int) -> None:
        for turn in range(1_000_000):
            try:
                sock = await attack.connect(network(number * 40 + turn % 40))
                try:
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        await loop.sock_sendall(sock, floods[(number + turn) % len(floods)])
                        while await attack.heard(sock):
                            pass
                finally:
                    sock.close()
            except TimeoutError:
                attack.seen["gave up"] += 1
            except OSError:
                attack.seen["cut off"] += 1
            attack.stands.set()
            await asyncio.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))

    await asyncio.gather(*(one(number) for number in range(attack.number)))


async def guess(attack: Attack) -> None:
    """Wrong passwords for many names, over connection after connection, from one address."""
    loop = asyncio.get_running_loop()

    async def one(number: int) -> None:
        for turn in range(1_000_000):
            try:
                sock = await attack.connect(ONE_ADDRESS)
                try:
                    await attack.heard(sock)
                    await loop.sock_sendall(sock, GREETING)
                    await attack.heard(sock)
                    for guessed in range(5):
                        name = f"guessed{number}-{turn}-{guessed}@example.org"
                        secret = b64encode(f"\0{name}\0wrong password".encode())
                        await loop.sock_sendall(sock, b"AUTH PLAIN " + secret + b"\r\n")
                        attack.seen["guesses"] += 1
                        if not await attack.heard(sock):
                            break
                finally:
                    sock.close()
            except OSError:
                attack.seen["cut off"] += 1
            attack.stands.set()
            await asyncio.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))

    await asyncio.gather(*(one(number) for number in range(attack.number)))


async def bombs(attack: Attack) -> None:
    """Messages that are made to cost, one after the other."""
    loop = asyncio.get_running_loop()

    async def one(number: int) -> None:
        for turn in range(1_000_000):
            pieces, _ = list(BOMBS.values())[(number + turn) % len(BOMBS)]
            try:
                sock = await attack.connect(network(number * 200 + turn % 200))
                try:
                    for line in ENVELOPE:
                        await attack.heard(sock)
                        await loop.sock_sendall(sock, line)
                    await attack.heard(sock)
                    for piece in (*pieces, b".\r\n"):
                        await loop.sock_sendall(sock, piece)
                    await attack.heard(sock)
                    attack.seen["bombs"] += 1
                finally:
                    sock.close()
            except OSError:
                attack.seen["cut off"] += 1
            attack.stands.set()

    await asyncio.gather(*(one(number) for number in range(attack.number)))


KINDS: Final[dict[str, Callable[[Attack], Coroutine[Any, Any, None]]]] = {
    "crowd": crowd, "trickle": trickle, "deaf": deaf, "burst": burst, "flood": flood, "guess": guess, "bombs": bombs,
}  # fmt: skip


async def main(kind: str, port: int, number: int) -> None:
    attack = Attack(port, number)
    running = asyncio.create_task(KINDS[kind](attack))
    standing = asyncio.create_task(attack.stands.wait())
    await asyncio.wait((running, standing), return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    running.cancel()
    print(json.dumps(attack.seen), flush=True)


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Attackers have machines of their own; here they share two cores with the server and the client it must serve.
    os.nice(10)
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
