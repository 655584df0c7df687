"""The words of /usr/sbin/sendmail, which are not those of other commands: letters with values attached or behind them.

What programs commonly say is understood or passed over; what we cannot do is refused, and never half done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gatepost.cli.sysexits import USAGE, SendmailError

_VALUED: Final = frozenset("BCFLNORVXfhopr")
_PASSED_OVER: Final = frozenset("BLOXhop")  # with a value that changes nothing here
_FLAGS: Final = frozenset("AGUmnsv")  # without one
_MODES: Final = {
    "m": "",
    "p": "queue",
    "i": "aliases",
    "s": "SMTP on standard input is not offered; connect to a submission port instead",
    "d": 'the server is started with "gatepost serve"',
    "D": 'the server is started with "gatepost serve"',
    "v": 'addresses are checked with "gatepost account list" and "gatepost alias list"',
    "t": "there is no test mode",
}


@dataclass
class Words:
    """What was asked. mode: "" to send, "queue" to list it, "aliases" for newaliases. recipients: of the command line.
    from_header: the recipients in the header too. dots: a line with a single dot ends the message. sender: None for
    the caller's own address, "" for the null reverse-path. seal: encrypt it for every recipient, or do not send it.
    sign_only: sign it, or do not send it."""

    mode: str = ""
    recipients: list[str] = field(default_factory=list)
    from_header: bool = False
    dots: bool = True
    sender: str | None = None
    name: str = ""
    notify: str = ""
    ret: str = ""
    envid: str = ""
    config: Path | None = None
    seal: bool = False
    sign_only: bool = False
    verbose: bool = False


def parse(arguments: Sequence[str]) -> Words:
    """The words behind `sendmail`. Raises SendmailError for what cannot be done."""
    words = Words()
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            words.recipients += waiting
            break
        if word == "--config" or word.startswith("--config="):
            words.config = Path(word.partition("=")[2] or _next(waiting, word))
        elif word == "--seal":
            words.seal = True
        elif word == "--sign-only":
            words.sign_only = True
        elif word.startswith("--"):
            raise SendmailError(f"{word}: no such option; sendmail takes single letters, as in -t or -f", USAGE)
        elif word.startswith("-") and len(word) > 1:
            _cluster(word[1:], waiting, words)
        else:
            words.recipients.append(word)
    if words.seal and words.sign_only:
        raise SendmailError("--seal signs and encrypts, --sign-only leaves it readable; say one of them", USAGE)
    return words


def _cluster(letters: str, waiting: list[str], words: Words) -> None:
    """One word of letters: `-ti`, `-oi`, `-fada@example.org`, `-bp`, `-q30m`."""
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter == "b":
            _mode(letters or _next(waiting, "-b"), words)
            return
        if letter == "q":
            raise SendmailError('the queue is run by the server; "gatepost queue retry --all" tries all again', USAGE)
        if letter in _VALUED:
            _valued(letter, letters or _next(waiting, f"-{letter}"), words)
            return
        if letter == "d":  # a level of debugging, attached
            return
        if letter == "t":
            words.from_header = True
        elif letter == "i":
            words.dots = False
        elif letter == "I":
            words.mode = "aliases"
        elif letter == "v":
            words.verbose = True
        elif letter not in _FLAGS:
            raise SendmailError(f"-{letter}: sendmail has no such option here; remove it", USAGE)


def _next(waiting: list[str], option: str) -> str:
    if not waiting:
        raise SendmailError(f"{option} needs a value behind it", USAGE)
    return waiting.pop(0)


def _mode(text: str, words: Words) -> None:
    mode = _MODES.get(text[:1])
    if mode is None or " " in mode:
        raise SendmailError(f"-b{text[:1]}: {mode or 'there is no such mode'}", USAGE)
    words.mode = mode


def _valued(letter: str, value: str, words: Words) -> None:
    if letter in "fr":
        words.sender = value.strip().removeprefix("<").removesuffix(">")
    elif letter == "F":
        words.name = value
    elif letter == "N":
        words.notify = _notify(value)
    elif letter == "R":
        if value.lower() not in ("full", "hdrs"):
            raise SendmailError(f"-R {value}: write full or hdrs", USAGE)
        words.ret = value.upper()
    elif letter == "V":
        words.envid = value
    elif letter == "C":
        words.config = Path(value)
    elif letter == "o" and value == "i":
        words.dots = False
    elif letter not in _PASSED_OVER:
        raise SendmailError(f"-{letter}: sendmail has no such option here; remove it", USAGE)


def _notify(value: str) -> str:
    wanted = [word.strip().upper() for word in value.split(",")]
    if not set(wanted) <= {"NEVER", "SUCCESS", "FAILURE", "DELAY"} or ("NEVER" in wanted and len(wanted) > 1):
        raise SendmailError(f"-N {value}: write never, or some of success,failure,delay", USAGE)
    return ",".join(wanted)
