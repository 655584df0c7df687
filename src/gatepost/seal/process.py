"""Another process that seals large messages, so that the one that serves goes on serving.

It is started anew, never forked off a worker: no connection, key of TLS or half-written message goes along. It ends
when its standard input does, so it outlives nobody. One question at a time; `work` decides what goes here.
"""

from __future__ import annotations

import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, Final

LENGTH_OCTETS: Final = 8


class SealProcessError(Exception):
    """The process has ended, or cannot be started; the message says how."""


class SealProcess:
    """Calls functions in the other process, which is started at the first call. Blocks: for one thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function`, one at the top of a module of ours, returns there. Raises SealProcessError."""
        try:
            process = self._process or self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            _send(process.stdin, (function, arguments))
            answer = _receive(process.stdout)
        except OSError as error:
            self.close()
            raise SealProcessError(f"the process that seals has failed: {error}") from error
        if answer is None:
            status = self.close()
            raise SealProcessError(f"the process that seals has ended with status {status} in the middle of its work")
        is_done, value = answer
        if not is_done:
            raise SealProcessError(f"the process that seals could not do it: {value}")
        return value

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

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self._process


def _send(pipe: IO[bytes], value: object) -> None:
    octets = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(len(octets).to_bytes(LENGTH_OCTETS, "big"))
    pipe.write(octets)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    """The next value, None at the end. Only ever of our own process, through a pipe that nobody else has."""
    length = pipe.read(LENGTH_OCTETS)
    if len(length) < LENGTH_OCTETS:
        return None
    octets = pipe.read(int.from_bytes(length, "big"))
    return pickle.loads(octets)  # noqa: S301 - the other end is ours


def main() -> None:
    """Answers until its standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the server's to answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # or a crash would write messages to the disk
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    while (question := _receive(questions)) is not None:
        function, arguments = question
        try:
            answer = (True, function(*arguments))
        except Exception as error:  # told where it was asked; the text of ours holds no content
            answer = (False, f"{type(error).__name__}: {error}")
        with suppress(BrokenPipeError):
            _send(answers, answer)
        del question, function, arguments, answer


if __name__ == "__main__":
    main()
