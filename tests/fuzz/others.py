"""Fuzz targets of what is neither SMTP nor mail: POP3, PROXY, DNS replies, the configuration."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tests.fuzz.cutting import pieces

from gatepost.config import ConfigError, load
from gatepost.net.dns.codec import MalformedReply, decode, question
from gatepost.protocol.pop3.commands import Malformed, shown
from gatepost.protocol.pop3.lines import MAX_AUTH_OCTETS, Item, Parser
from gatepost.protocol.proxy import MAX_V2_OCTETS, NeedMore, ProxyError, ProxyHeader, ProxyParser

ASKED = question("b.example", "MX")


def pop3(octets: bytes) -> None:
    """Whatever a client sends: no exception, the same commands however it is cut, one for each line, little held."""
    whole, cut = commands((octets,)), commands(pieces(octets))
    assert whole == cut, "what is understood depends on how it was cut"
    assert len(whole) <= octets.count(b"\n") + 1
    for item in whole:
        if not isinstance(item, Malformed):
            assert shown(item).isprintable()


def commands(cut: tuple[bytes, ...]) -> list[Item]:
    parser, found = Parser(), []
    for piece in cut:
        parser.feed(piece)
        while (item := parser.next()) is not None:
            found.append(item)
            if isinstance(item, Malformed) and item.is_fatal:
                return found
        assert parser.read_ahead <= MAX_AUTH_OCTETS
    return found


def proxy(octets: bytes) -> None:
    """Whatever comes first: an error or a header, the same however it is cut, and what follows it whole."""
    whole, cut = header((octets,)), header(pieces(octets))
    if isinstance(whole, ProxyHeader):
        assert octets.endswith(whole.rest)
        assert isinstance(cut, ProxyHeader)
        assert (cut.command, cut.source, cut.destination) == (whole.command, whole.source, whole.destination)
        assert len(octets) - len(whole.rest) <= MAX_V2_OCTETS
        # One octet less is no header yet: what follows was not counted in.
        assert isinstance(header((octets[: len(octets) - len(whole.rest) - 1],)), NeedMore)
    else:
        assert type(whole) is type(cut)


def header(cut: tuple[bytes, ...]) -> ProxyHeader | ProxyError | NeedMore:
    parser = ProxyParser()
    found: ProxyHeader | ProxyError | NeedMore = parser.feed(b"")
    for piece in cut:
        if not isinstance(found, NeedMore):
            break
        found = parser.feed(piece)
    return found


def dns(octets: bytes) -> None:
    """Whatever a name server sends: MalformedReply or an answer of text that can be shown."""
    try:
        answer = decode(octets, ASKED, validating=True)
    except MalformedReply:
        return
    assert answer.ttl >= 0
    assert all("\n" not in record for record in answer.records)


def config(octets: bytes) -> None:
    """Whatever the file holds: ConfigError with words for every problem, or a configuration."""
    descriptor, name = tempfile.mkstemp(suffix=".toml", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    problems: tuple[object, ...] | None = None
    try:
        with open(descriptor, "wb") as file:
            file.write(octets)
        load(Path(name))
    except ConfigError as error:
        problems = error.problems
    finally:
        os.unlink(name)
    assert problems is None or (problems and all(str(problem).strip() for problem in problems))
