"""XCLIENT: a trusted proxy in front names the client that it speaks for."""

from __future__ import annotations

import msgspec

from gatepost.ports.wire import Peer
from gatepost.protocol.smtp.xclient import XclientAttributes


def client_after(peer: Peer, attributes: XclientAttributes) -> Peer:
    """The peer that decisions are about from now on. An unknown address leaves the one that is known; LOGIN never
    counts (`protocol.smtp.xclient` drops it)."""
    if not isinstance(attributes.addr, str):
        return peer
    port = attributes.port if isinstance(attributes.port, int) else 0
    return msgspec.structs.replace(peer, ip=attributes.addr, port=port, direct=peer.direct or peer.ip)
