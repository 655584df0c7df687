"""Run inside `unshare --net --mount`: a network that is only loopback, with our key directory at its port 443, a DNS at
53, and one program that looks for a key there.

    python -m tests.peers.network_of_its_own FOLDER HOST PROGRAM...

FOLDER holds keys.db, pair.pem (the directory's certificate and key), root.pem (whom the program shall trust) and
resolv.conf. HOST is the one name that the DNS knows. The program's output is ours, and its exit status.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import ssl
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.support.dns_server import DnsServer

from gatepost.admin.public import PublicParts, public_app
from gatepost.admin.public_serving import serve_public
from gatepost.store.sqlite.keys import SqliteKeys

_SET_FLAGS, _UP = 0x8914, 0x1  # SIOCSIFFLAGS, IFF_UP (netdevice(7))


def bring_loopback_up() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP))


def put_over(file: Path, place: str) -> None:
    """`file` stands at `place`, in this namespace only."""
    subprocess.run(["mount", "--bind", str(file), place], check=True)


async def serve_and_run(folder: Path, host: str, words: list[str]) -> int:
    keys = SqliteKeys(folder / "keys.db")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pair.pem")
    sock = socket.create_server(("127.0.0.1", 443))
    serving = asyncio.create_task(serve_public(sock, public_app(PublicParts(keys, ("example.org",))), context))
    dns = DnsServer({host: {"A": ["127.0.0.1"]}})
    dns.port = 53
    try:
        async with dns:
            program = await asyncio.create_subprocess_exec(*words)
            return await program.wait()
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        keys.close()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    bring_loopback_up()
    put_over(place / "resolv.conf", "/etc/resolv.conf")
    put_over(place / "root.pem", "/etc/ssl/certs/ca-certificates.crt")
    sys.exit(asyncio.run(serve_and_run(place, sys.argv[2], sys.argv[3:])))
