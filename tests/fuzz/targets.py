"""The targets by name. A target takes octets, and raises what must not be.

Words are in `words/`, in the form of libFuzzer's dictionaries; inputs are in `corpus/`, one folder for each target.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from tests.fuzz import mail, others, senders, signatures, smtp

CORPUS: Final = Path(__file__).with_name("corpus")
WORDS: Final = Path(__file__).with_name("words")
_ESCAPE: Final = re.compile(rb'\\(?:x([0-9a-f]{2})|([\\"]))')


class Target(NamedTuple):
    """check: what must hold for any octets. words: the dictionary of pieces that inputs are made of, beside chance."""

    check: Callable[[bytes], None]
    words: str


TARGETS: Final[dict[str, Target]] = {
    "smtp-server": Target(smtp.server, "smtp"),
    "smtp-client": Target(smtp.client, "replies"),
    "smtp-pair": Target(smtp.pair, "smtp"),
    "pop3": Target(others.pop3, "pop3"),
    "proxy": Target(others.proxy, "proxy"),
    "address": Target(mail.address, "addresses"),
    "header-address": Target(mail.header_address, "addresses"),
    "header": Target(mail.header, "header"),
    "mime": Target(mail.mime, "header"),
    "dns": Target(others.dns, "dns"),
    "spf": Target(senders.spf, "spf"),
    "dkim": Target(signatures.dkim, "dkim"),
    "config": Target(others.config, "config"),
}


def kept(target: str) -> list[Path]:
    """The inputs of a target that are kept: seeds, and whatever once broke it."""
    return sorted(path for path in (CORPUS / target).glob("*") if path.is_file())


def dictionary(target: str) -> Path:
    """The file of a target's words."""
    return WORDS / f"{TARGETS[target].words}.dict"


def words(target: str) -> list[bytes]:
    """The words of a target as octets."""
    return [_word(line) for line in dictionary(target).read_bytes().splitlines() if line]


def _word(line: bytes) -> bytes:
    return _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]) if found[1] else found[2], line[1:-1])
