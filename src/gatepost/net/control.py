"""The socket in data/run over which commands ask a live worker: one JSON object a line, one answer for each.

Whoever may open the socket is the user that Gatepost runs as, or root. Not here: what is asked (`spool.control` and
other parts' verbs); the wiring joins verbs and handlers.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

MAX_LINE_OCTETS: Final = 1024 * 1024
IDLE_SECONDS: Final = 60.0
MAX_CONNECTIONS: Final = 64

Handler = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class ControlServer:
    """Answers requests `{"do": VERB, ...}` with what the verb's handler returns, which says `"ok"`.

    A request that is malformed, unknown or fails is answered `{"ok": false, "error": ...}`, and the connection goes
    on; a line that is too long ends it.
    """

    def __init__(self, path: Path, handlers: Mapping[str, Handler], on_error: Callable[[str, Exception], None]) -> None:
        """on_error: told the verb and the exception that a handler should not have raised."""
        self._path = path
        self._handlers = handlers
        self._on_error = on_error
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens; a socket that a dead worker left is replaced. Raises OSError."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _short_name(self._path) as name:
                listener.bind(name)
            self._path.chmod(0o600)  # before it listens, nobody can connect
            listener.setblocking(False)
            self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=MAX_LINE_OCTETS)
        except BaseException:
            listener.close()
            raise

    async def close(self) -> None:
        """The socket is gone; requests that run are ended."""
        if self._server is None:
            return
        self._server.close()
        with contextlib.suppress(OSError):  # on a read-only disk it stays, unanswered, until the next start removes it
            self._path.unlink()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= MAX_CONNECTIONS or not _is_ours(writer.get_extra_info("socket")):
            writer.close()
            return
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass  # the command went away, or is none
        except asyncio.CancelledError:
            pass  # close() ends it; a stream's task that is cancelled would be logged as an error
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                line = await reader.readuntil(b"\n")
            answer = await self._answer(line)
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()

    async def _answer(self, line: bytes) -> Mapping[str, Any]:
        try:
            request = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return _refusal(f"a request is one JSON object a line: {error}")
        verb = request.get("do")
        handler = self._handlers.get(verb) if isinstance(verb, str) else None
        if handler is None:
            return _refusal(f'"do" is one of {", ".join(sorted(self._handlers))}; this worker knows no other')
        assert isinstance(verb, str)
        try:
            return await handler(request)
        except Exception as error:
            self._on_error(verb, error)
            return _refusal(f"{verb} failed: {error}; the log of the server has more")


def ask(path: Path, request: Mapping[str, Any], timeout: float = 10.0) -> dict[str, Any]:
    """The answer of the worker that listens at `path`. Blocks, for commands.

    timeout: seconds for all of it. Raises OSError: nobody listens, it does not answer in time, or what it says is no
    answer.
    """
    until = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        with _short_name(path) as name:
            connection.connect(name)
        connection.sendall(msgspec.json.encode(request) + b"\n")
        received = bytearray()
        while not received.endswith(b"\n"):
            connection.settimeout(max(0.001, until - time.monotonic()))
            octets = connection.recv(65536)
            if not octets or len(received) > MAX_LINE_OCTETS:
                raise OSError(errno.ECONNRESET, "the worker ended the connection without an answer")
            received += octets
    try:
        return msgspec.json.decode(bytes(received), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise OSError(errno.EPROTO, f"the worker's answer is no JSON object: {error}") from error


def _refusal(error: str) -> dict[str, Any]:
    return {"ok": False, "error": error}


def _is_ours(connection: Any) -> bool:
    """Whether our own user or root asks. The folder's rights say so already; this holds where they were loosened."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", credentials)
    return user in (0, os.geteuid())


@contextlib.contextmanager
def _short_name(path: Path) -> Any:
    """A name for the socket that fits: the kernel takes 107 octets, data folders may be deeper."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
