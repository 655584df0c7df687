"""How resolvers are written, and what resolv.conf says."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.net.dns.servers import Server, parse_server, system_servers


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.53", Server("192.0.2.53", 53)),
        ("127.0.0.1:5353", Server("127.0.0.1", 5353)),
        ("::1", Server("::1", 53)),
        ("2001:db8::53", Server("2001:db8::53", 53)),
        ("[2001:db8::53]", Server("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", Server("2001:db8::53", 5353)),
        ("fe80::1%eth0", Server("fe80::1%eth0", 53)),
    ],
)
def test_a_resolver_is_an_address_with_or_without_port(text: str, server: Server) -> None:
    assert parse_server(text) == server
    assert parse_server(str(server)) == server


@pytest.mark.parametrize(
    "text",
    ["", "dns.example", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x", "127.0.0.1:²", "[::1", "[::1]x",
     "[::1]:", "[127.0.0.1]:53", "1.2.3", ":53"],
)  # fmt: skip
def test_anything_else_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="is no address of a resolver; write"):
        parse_server(text)


def test_the_systems_resolvers_in_their_order(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_bytes(
        b"# comment\nnameserver 192.0.2.1\nsearch example.org\n nameserver\tfe80::1%eth0 # x\n"
        b"nameserver nonsense\nnameserver\noptions edns0 \xff\n"
    )
    assert system_servers(conf) == (Server("192.0.2.1"), Server("fe80::1%eth0"))


def test_without_a_list_the_resolver_is_on_this_machine(tmp_path: Path) -> None:
    assert system_servers(tmp_path / "missing") == (Server("127.0.0.1"),)
