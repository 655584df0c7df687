"""Another process that seals large messages, so that the one that serves goes on serving.

It is started anew, never forked off a worker: no connection, key of TLS or half-written message goes along. It ends
when its standard input does, so it outlives nobody. One question at a time; `work` decides what goes here. What is long
goes through the pipes in pieces both ways, so that neither side holds more of it than it needs.
"""

from __future__ import annotations

import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, Any, Final

LENGTH_OCTETS: Final = 8
_VALUE, _PIECE, _END, _FAILED = b"v", b"p", b".", b"x"


class SealProcessError(Exception):
    """The process has ended, or cannot be started; the message says how."""


class SealProcess:
    """Calls functions in the other process, which is started at the first call. Blocks: for one thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function`, one at the top of a module of ours, returns there. Raises SealProcessError."""
        self._ask(function, arguments, has_content=False)
        return self._answer()[1]

    def begin(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Asks `function` for values and octets, one after the other, of a content whose pieces are its first argument.
        Next come `feed` for each piece, `feed(b"")`, then `answer` until None. Raises SealProcessError, as they do."""
        self._ask(function, arguments, has_content=True)

    def feed(self, piece: bytes) -> None:
        """The next piece of the content, b"" for its end."""
        self._write(_PIECE if piece else _END, piece)

    def answer(self) -> Any:
        """The next one, None when there is none any more."""
        kind, value = self._answer()
        return None if kind == _END else value

    def _ask(self, function: Callable[..., Any], arguments: tuple[Any, ...], *, has_content: bool) -> None:
        try:
            self._process = self._process or self._start()
        except OSError as error:
            raise SealProcessError(f"the process that seals cannot be started: {error}") from error
        self._write(_VALUE, _pickled((function, arguments, has_content)))

    def _write(self, kind: bytes, octets: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            _send(self._process.stdin, kind, octets)
        except OSError as error:
            self.close()
            raise SealProcessError(f"the process that seals has failed: {error}") from error

    def _answer(self) -> tuple[bytes, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            frame = _receive(self._process.stdout)
        except OSError as error:
            self.close()
            raise SealProcessError(f"the process that seals has failed: {error}") from error
        if frame is None:
            status = self.close()
            raise SealProcessError(f"the process that seals has ended with status {status} in the middle of its work")
        kind, octets = frame
        if kind == _FAILED:
            raise SealProcessError(f"the process that seals could not do it: {octets.decode('utf-8', 'replace')}")
        return kind, _unpickled(octets) if kind == _VALUE else octets

    def close(self) -> int | None:
        """The exit status of the process, which is over then; None where there was none."""
        process, self._process = self._process, None
        if process is None:
            return None
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was not written has no reader any more
                    pipe.close()
        try:
            return process.wait(1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    @staticmethod
    def _start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _send(pipe: IO[bytes], kind: bytes, octets: bytes) -> None:
    pipe.write(kind + len(octets).to_bytes(LENGTH_OCTETS, "big"))
    pipe.write(octets)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> tuple[bytes, bytes] | None:
    """What kind the next frame is of and what it holds, None at the end."""
    head = pipe.read(1 + LENGTH_OCTETS)
    if len(head) <= LENGTH_OCTETS:
        return None
    length = int.from_bytes(head[1:], "big")
    octets = pipe.read(length)
    return (head[:1], octets) if len(octets) == length else None


def _pickled(value: object) -> bytes:
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)


def _unpickled(octets: bytes) -> Any:
    """Only ever of our own process, through a pipe that nobody else has."""
    return pickle.loads(octets)  # noqa: S301 - the other end is ours


class _CutOff(Exception):
    """Who asked is gone in the middle of a content, which must not count as whole."""


def _content(pipe: IO[bytes]) -> Iterator[bytes]:
    """The pieces of a content up to its end. Raises _CutOff."""
    while (frame := _receive(pipe)) is not None:
        if frame[0] == _END:
            return
        yield frame[1]
    raise _CutOff


def _answered(questions: IO[bytes], question: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The frames that answer it, the last one included."""
    function, arguments, has_content = _unpickled(question)
    content = _content(questions) if has_content else iter(())
    try:
        if not has_content:
            yield _VALUE, _pickled(function(*arguments))
            return
        for value in function(content, *arguments):
            _drain(content)  # who asks reads nothing before all of it is written
            yield (_PIECE, value) if isinstance(value, bytes) else (_VALUE, _pickled(value))
    except _CutOff:
        raise
    except Exception as error:  # told where it was asked; the text of ours holds no content
        _drain(content)
        yield _FAILED, f"{type(error).__name__}: {error}".encode()
        return
    _drain(content)
    yield _END, b""


def _drain(content: Iterator[bytes]) -> None:
    for _ in content:
        pass


def main() -> None:
    """Answers until its standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the server's to answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # or a crash would write messages to the disk
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    with suppress(BrokenPipeError, _CutOff):  # nobody is there any more
        while (question := _receive(questions)) is not None:
            for kind, octets in _answered(questions, question[1]):
                _send(answers, kind, octets)


if __name__ == "__main__":
    main()
