"""Messages that are made to cost: each is answered, and nobody else waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.overload.bombs import BOMBS, MIB
from tests.overload.visitor import NOBODY_TRUSTED, Peer, assert_unhurried, attack, resident_octets, visit
from tests.support.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server"), ("mx",), top=NOBODY_TRUSTED) as running:
        yield running


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_answered_and_costs_no_memory(server: Server, bomb: str) -> None:
    pieces, codes = BOMBS[bomb]
    before = resident_octets(server)
    with Peer(server, f"127.10.{list(BOMBS).index(bomb)}.1") as peer:
        peer.open()
        assert peer.say(b"DATA\r\n").startswith(b"354")
        reply = b""
        try:
            for piece in pieces:
                peer.sock.sendall(piece)
            peer.sock.sendall(b".\r\n")
        except OSError:  # cut off before all of it was sent; the reason was told
            pass
        reply = peer.reply()
        assert reply[:1] in [bytes([code]) for code in codes], reply
    assert resident_octets(server) - before < 32 * MIB
    assert visit(server, f"127.11.{list(BOMBS).index(bomb)}.1") < 5.0


def test_bombs_one_after_the_other_do_not_slow_another_client_down(tmp_path: Path, control: Server) -> None:
    with Server(tmp_path, ("mx",), top=NOBODY_TRUSTED) as server:
        with attack("bombs", server, 4) as seen:
            assert_unhurried(server, control)
        assert seen["bombs"] > 0, seen


def test_a_command_line_of_50_mb_ends_the_connection_at_a_megabyte(server: Server) -> None:
    before = resident_octets(server)
    sent = 0
    with Peer(server, "127.13.0.1") as peer:
        assert peer.reply().startswith(b"220")
        try:
            for _ in range(50):
                peer.sock.sendall(b"x" * MIB)
                sent += 1
        except OSError:
            pass
        else:
            raise AssertionError("50 MB of a command line were taken")
    assert sent < 16, "what the buffers of both sides hold, and no more"
    assert resident_octets(server) - before < 16 * MIB


def test_of_10000_recipients_as_many_are_taken_as_are_allowed(server: Server) -> None:
    with Peer(server, "127.14.0.1") as peer:
        peer.open()
        peer.sock.sendall(b"RCPT TO:<ada@example.org>\r\n" * 10_000 + b"RSET\r\nQUIT\r\n")
        replies = [peer.reply()[:3] for _ in range(10_002)]
    assert replies.count(b"250") - 1 <= 99
    assert set(replies[100:-2]) <= {b"452", b"421", b""}
