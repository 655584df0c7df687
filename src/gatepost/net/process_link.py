"""What supervisor, leader and workers say to each other: one JSON object a packet, over pairs of unix sockets.

Each end is a SOCK_SEQPACKET socket that does not block; the end of a process ends its packets.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Final

import msgspec

MAX_PACKET_OCTETS: Final = 128 * 1024  # below the kernel's limit for one packet, 208 KiB
MAX_TEXT: Final = 16 * 1024


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """Supervisor to leader, once. sockets: descriptors that it inherited, by key. taken: numbers of workers that
    still run. leash: a descriptor that reads its end when the supervisor is gone."""

    sockets: dict[str, int]
    taken: tuple[int, ...]
    leash: int


class Bound(msgspec.Struct, frozen=True, tag="bound"):
    """Leader to supervisor, before Ready: it has bound this one; the socket comes along."""

    key: str


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Leader to supervisor: every worker serves. keys: of the sockets that are served. services: what each is for, by
    key."""

    keys: tuple[str, ...]
    numbers: tuple[int, ...]
    services: dict[str, str] = {}


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """Leader to supervisor, every few seconds. workers: process by number."""

    workers: dict[int, int]


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Leader to supervisor, worker to leader: it cannot serve. text: for the operator."""

    text: str


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """Worker to leader: its event loop turns."""


class Serving(msgspec.Struct, frozen=True, tag="serving"):
    """Worker to leader: it accepts connections."""


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Down the line: no new connections, and an end after `seconds`; until `patience` sessions go on undisturbed."""

    seconds: float
    patience: float = 0.0


class Tell(msgspec.Struct, frozen=True, tag="tell"):
    """Down the line: one worker puts this on the record. kind: "server" or "alert"."""

    kind: str
    what: str
    problem: str = ""


Message = Begin | Bound | Ready | Alive | Failed | Beat | Serving | Drain | Tell

_decode = msgspec.json.Decoder(Message).decode


class Gone(Exception):
    """The other end is closed."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that are not inherited."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    return ends


def send(end: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> bool:
    """Whether it was sent; not where the other end is closed, or takes nothing."""
    if isinstance(message, Failed):
        message = Failed(message.text[:MAX_TEXT])
    octets = msgspec.json.encode(message)
    try:
        if descriptors:
            socket.send_fds(end, [octets], descriptors)
        else:
            end.send(octets)
    except OSError:
        return False
    return True


def receive(end: socket.socket) -> tuple[Message, list[int]] | None:
    """The next message with the descriptors that came along, None when there is none yet. Raises Gone."""
    try:
        octets, descriptors, _, _ = socket.recv_fds(end, MAX_PACKET_OCTETS, 1, socket.MSG_CMSG_CLOEXEC)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError as error:
        raise Gone from error
    if not octets:
        raise Gone
    message: Any = _decode(octets)
    return message, descriptors
