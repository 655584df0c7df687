"""Real mail from other collections goes into a Maildir and comes out of RETR octet for octet."""

from __future__ import annotations

import codecs
import email
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.pickup.counter import ADA, Counter
from tests.support.desk import PASSWORD
from tests.support.system_clock import SystemClock

from gatepost.store.maildir.store import MaildirStore

CORPUS = Path(__file__).parents[1] / "corpus" / "mime"
SAMPLES = sorted(path for path in CORPUS.rglob("*") if path.is_file() and path.suffix in (".txt", ".eml"))


def as_submitted(path: Path) -> bytes:
    """With the line ends that SMTP gives every message."""
    octets = re.sub(rb"\r?\n", b"\r\n", path.read_bytes())
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


async def in_pieces(octets: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(octets), size):
        yield octets[at : at + size]


def lines_of(answer: bytes) -> bytes:
    """What a client makes of a multi-line answer."""
    head, _, rest = answer.partition(b"\r\n")
    assert head.startswith(b"+OK")
    assert rest == b".\r\n" or rest.endswith(b"\r\n.\r\n")
    return re.sub(rb"(^|\n)\.", rb"\1", rest[:-3])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MaildirStore]:
    store = MaildirStore(tmp_path, host="mx.example.org", clock=SystemClock())
    yield store
    store.close()


@pytest.mark.parametrize("size", [1 << 20, 1000, 7])
async def test_every_sample_comes_back_octet_for_octet(store: MaildirStore, size: int) -> None:
    assert len(SAMPLES) > 100
    contents = [as_submitted(path) for path in SAMPLES]
    for content in contents:
        await store.deliver(ADA, "id.0", b"", in_pieces(content, size))
    client = Counter(maildrops=store).connect(tls=True)
    await client.say("UTF8", f"USER {ADA}", f"PASS {PASSWORD}")
    sizes = dict(line.split() for line in (await client.say("LIST"))[1:-1])
    for number, content in enumerate(contents, 1):
        assert lines_of(await client.octets(b"RETR %d\r\n" % number)) == content
        assert int(sizes[str(number)]) == len(content)
        header, end, _ = content.partition(b"\r\n\r\n")
        assert lines_of(await client.octets(b"TOP %d 0\r\n" % number)) == header + end
    client.hang_up()


async def test_a_client_without_utf8_gets_the_bodies_of_every_sample(store: MaildirStore) -> None:
    contents = [as_submitted(path) for path in SAMPLES]
    for content in contents:
        await store.deliver(ADA, "id.0", b"", in_pieces(content, 1 << 20))
    client = Counter(maildrops=store).connect(tls=True)
    await client.say(f"USER {ADA}", f"PASS {PASSWORD}")
    changed = 0
    for number, content in enumerate(contents, 1):
        came = lines_of(await client.octets(b"RETR %d\r\n" % number))
        assert bodies(came) == bodies(content.removeprefix(codecs.BOM_UTF8))  # which hides the header from readers
        if came != content:
            changed += 1
            assert not content.isascii()
    assert changed > 1
    client.hang_up()


def bodies(message: bytes) -> list[bytes]:
    parts = email.message_from_bytes(message).walk()
    return [part.get_payload(decode=True) for part in parts if not part.is_multipart()]  # type: ignore[misc]
