"""XCLIENT: a trusted proxy in front names the client that it speaks for."""

from __future__ import annotations

import msgspec

from gatepost.ports.wire import Peer
from gatepost.protocol.smtp.xclient import XclientAttributes


def client_after(peer: Peer, attributes: XclientAttributes) -> Peer:
    """The peer that decisions are about from now on, with nothing of what the proxy itself may.

    Its user at a unix socket is not the client's. An unknown address leaves the proxy's, with `direct` the same: a
    client that nobody could name. LOGIN never counts (`protocol.smtp.xclient` drops it).
    """
    direct = peer.direct or peer.ip or "unix"
    if not isinstance(attributes.addr, str):
        return msgspec.structs.replace(peer, direct=direct, user="")
    port = attributes.port if isinstance(attributes.port, int) else 0
    return msgspec.structs.replace(peer, ip=attributes.addr, port=port, direct=direct, user="")
