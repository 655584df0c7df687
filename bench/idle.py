"""Connections that are held and say nothing: how many, what each costs, and how a fresh client fares beside them."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from statistics import median
from typing import Final

import msgspec

from bench.load import HOST
from bench.processes import memory_octets
from bench.results import IdleLine
from bench.script import HELO
from bench.servers.server import Server

FRESH: Final = 50
PER_SOURCE: Final = 1000
PATIENCE_SECONDS: Final = 10.0


class IdleJob(msgspec.Struct, frozen=True):
    """connections: held at once. An operator's limit on open files may leave fewer, and the report says so."""

    connections: int
    tls: bool


IDLE_JOBS: Final = (IdleJob(19_000, tls=False), IdleJob(1_000, tls=True))


def hold(server: Server, job: IdleJob) -> IdleLine:
    """The line of a server that runs. Never raises for what it does: a connection that is refused is not held."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    fresh(server.port)
    before, empty = median(fresh(server.port) for _ in range(FRESH)), memory_octets(server.root)
    held: list[socket.socket] = []
    problem = ""
    try:
        while len(held) < job.connections:
            held.append(_connect(server.port, len(held), context if job.tls else None))
    except (OSError, ValueError) as error:
        problem = str(error)
    try:
        if not held:
            return IdleLine(server.name, job.tls, job.connections, 0, 0, before, 0, problem)
        time.sleep(1.0)
        each = (memory_octets(server.root) - empty) / len(held)
        after = float("nan")
        with suppress(OSError, ValueError):
            after = median(fresh(server.port) for _ in range(FRESH))
        return IdleLine(server.name, job.tls, job.connections, len(held), each, before, after if after == after else 0)
    finally:
        for sock in held:
            sock.close()


def fresh(port: int) -> float:
    """Milliseconds that a new client waits for greeting, EHLO and NOOP. Raises OSError, ValueError."""
    began = time.perf_counter()
    with _connect(port, 60_000, None) as sock:
        _say(sock, b"NOOP\r\n")
        taken = time.perf_counter() - began
        _say(sock, b"QUIT\r\n")
    return taken * 1000


def _connect(port: int, number: int, context: ssl.SSLContext | None) -> socket.socket:
    sock = socket.socket()
    sock.settimeout(PATIENCE_SECONDS)
    try:
        sock.bind((f"127.0.2.{1 + number // PER_SOURCE}", 0))
        sock.connect((HOST, port))
        _reply(sock)
        _say(sock, f"EHLO {HELO}\r\n".encode())
        if context is not None:
            _say(sock, b"STARTTLS\r\n")
            sock = context.wrap_socket(sock)
            _say(sock, f"EHLO {HELO}\r\n".encode())
    except BaseException:
        sock.close()
        raise
    return sock


def _say(sock: socket.socket, octets: bytes) -> None:
    sock.sendall(octets)
    _reply(sock)


def _reply(sock: socket.socket) -> None:
    """Reads one reply. Raises ValueError for one that is no success."""
    octets = b""
    while not octets.endswith(b"\n") or octets.splitlines()[-1][3:4] == b"-":
        more = sock.recv(4096)
        if not more:
            raise ValueError("the server closed the connection")
        octets += more
    if not octets.startswith(b"2"):
        raise ValueError(octets.decode("latin-1").strip())
