"""The caps of a real server: what they shed is answered 421 or 452, counted, and told in few events."""

from __future__ import annotations

import socket
from collections import Counter
from pathlib import Path

import pytest
from tests.overload.bombs import HEADER
from tests.overload.visitor import BODY, NOBODY_TRUSTED, Peer, raise_file_limit, visit
from tests.support.server import Server

TIMES = 60


def refused(server: Server) -> Counter[str]:
    """What the record says was shed."""
    found: Counter[str] = Counter()
    for event in server.events("server"):
        if event["details"].get("what") == "load shed":
            found.update(event["details"]["refused"])
    return found


def test_too_many_connections_in_all_are_answered_421_whoever_they_are(tmp_path: Path) -> None:
    raise_file_limit()
    config = '[domain."example.org"]\n[limits]\nconnections = { total = 20 }\n'
    with Server(tmp_path, ("mx",), top=NOBODY_TRUSTED, config=config) as server:
        standing = [Peer(server, f"127.40.{number}.1") for number in range(20)]
        assert [peer.reply()[:3] for peer in standing] == [b"220"] * 20
        for number in range(TIMES):
            with Peer(server, f"127.41.{number}.1") as peer:
                assert peer.reply().startswith(b"421 4.3.2 Too many connections")
                assert peer.reply() == b""
        assert standing[0].say(b"NOOP\r\n").startswith(b"250")
        for peer in standing:
            peer.sock.close()
        server.wait_for(lambda: greets(server), "there is room again")
        server.stop()
        assert refused(server)["connections"] >= TIMES
        events = [event for event in server.events("smtp.session") if event["client"]["ip"].startswith("127.41.")]
        assert len(events) < TIMES, "a line for each"


def greets(server: Server) -> bool:
    with socket.create_connection(("127.0.0.1", server.port("mx")), 5.0, source_address=("127.42.0.1", 0)) as sock:
        return sock.recv(3) == b"220"


@pytest.mark.parametrize("limit", ['free_disk = "1000TiB"', 'spool = "1kB"'])
def test_no_room_for_messages_is_answered_452_and_summed_up(tmp_path: Path, limit: str) -> None:
    config = f'[domain."example.org"]\n[limits]\n{limit}\n[delivery]\npaused = true\n'
    with Server(tmp_path, ("mx",), top=NOBODY_TRUSTED, config=config) as server:
        if limit.startswith("spool"):
            visit(server, "127.43.0.1")  # what is there counts; a little more than fits into the cap
            body = BODY + b"x" * 70 * 20 + b"\r\n"
        else:
            body = BODY
        for number in range(TIMES):
            with Peer(server, f"127.44.{number}.1") as peer:
                peer.open()
                reply = peer.data(body)
                assert reply.startswith(b"452 4.3.1 "), reply
                assert peer.say(b"NOOP\r\n").startswith(b"250")
        server.stop()
        assert refused(server) == {"room for messages": TIMES}
        told = [event for event in server.events("smtp.message") if event["reply"].startswith("452")]
        assert 0 < len(told) < TIMES, "a line for each"


LITTLE_MEMORY = '[domain."example.org"]\n[limits]\ncontent_memory = "1MiB"\n'
KIB = 1024


def test_header_sections_that_do_not_end_leave_no_room_for_others_until_they_go(tmp_path: Path) -> None:
    half = HEADER + (b"X-Long: " + b"y" * 502 + b"\r\n") * 400  # 200 KiB, and no end
    with Server(tmp_path, ("mx",), top=NOBODY_TRUSTED, config=LITTLE_MEMORY) as server:
        slow = [Peer(server, f"127.45.{number}.1") for number in range(5)]
        for peer in slow:
            peer.open()
            assert peer.say(b"DATA\r\n").startswith(b"354")
            peer.sock.sendall(half)
            visit(server, f"127.46.{slow.index(peer)}.1")  # what was sent before has been read
        with Peer(server, "127.47.0.1") as late:
            late.open()
            reply = late.data(half + b"\r\nhello\r\n")
            assert reply.startswith(b"452 4.3.1 "), reply
        for peer in slow:
            peer.sock.close()
        server.wait_for(lambda: visit(server, "127.48.0.1"), "there is room again")
        server.stop()
        assert refused(server) == {"room for messages": 1}


def test_small_messages_beyond_the_memory_of_a_worker_arrive_in_files_and_none_is_refused(tmp_path: Path) -> None:
    body = HEADER + b"\r\n" + (b"z" * 510 + b"\r\n") * 400
    with Server(tmp_path, ("mx",), top=NOBODY_TRUSTED, config=LITTLE_MEMORY) as server:
        peers = [Peer(server, f"127.49.{number}.1") for number in range(10)]
        for peer in peers:
            peer.open()
            assert peer.say(b"DATA\r\n").startswith(b"354")
            peer.sock.sendall(body)
        arriving = server.data / "spool" / "0" / "content"
        server.wait_for(lambda: len(list(arriving.iterdir())) == 5, "five fit into a MiB, five are in files")
        replies = [peer.say(b".\r\n") for peer in peers]
        assert [reply[:3] for reply in replies] == [b"250"] * 10, replies
        server.wait_for_mail(count=10)
        for peer in peers:
            peer.sock.close()
