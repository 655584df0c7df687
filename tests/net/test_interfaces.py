"""Which addresses are our own."""

from __future__ import annotations

import socket

from gatepost.net.interfaces import local_addresses, own_endpoints
from gatepost.net.listener import Listener


def test_every_local_address_can_be_bound() -> None:
    assert "127.0.0.1" in local_addresses()
    for address in local_addresses():
        if ":" in address:
            continue  # link-local ones need a zone
        with socket.socket() as sock:
            sock.bind((address, 0))


def test_a_wildcard_stands_for_every_address_of_its_family_and_other_services_do_not_count() -> None:
    listeners = [
        Listener("0.0.0.0:25", "mx"),
        Listener("[2001:db8::1]:25", "mx"),
        Listener("127.0.0.1:110", "pop3"),
        Listener("unix:/run/x", "mx"),
    ]
    own = own_endpoints(listeners, frozenset({"mx"}))
    assert ("127.0.0.1", 25) in own
    assert ("2001:db8::1", 25) in own
    assert all(port == 25 for _, port in own)
    assert not any(":" in address for address, _ in own if address != "2001:db8::1")
