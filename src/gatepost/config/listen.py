"""Where a listener listens, as text and as value: "0.0.0.0:25", "[::]:25", "unix:/run/gatepost/lmtp.sock"."""

from __future__ import annotations

import os
import re
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final

import msgspec
from pydantic import ValidationInfo

from gatepost.config.files import own_file
from gatepost.config.problem import Wrong, show
from gatepost.config.texts import read_text
from gatepost.mail.network import is_special

SERVICES: Final = ("mx", "submission", "submissions", "pop3", "pop3s", "lmtp", "admin", "web")
UNBUILT_SERVICES: Final = ("delegation", "milter")
SMTP_SERVICES: Final = frozenset({"mx", "submission", "submissions", "lmtp"})
MAX_SOCKET_PATH_OCTETS: Final = 107  # sun_path of Linux, without its closing NUL
_PORT = re.compile(r"[0-9]{1,5}")
_ALLOWED = 'write an IP address and a port, as in "0.0.0.0:25" or "[::]:25", or "unix:/PATH"'


class Address(msgspec.Struct, frozen=True):
    """One place to listen at. host: an IP address without brackets, "" for a unix socket. port: 0 for any free one.
    path: of the unix socket, absolute."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        """As the configuration writes it."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_public(self) -> bool:
        """Whether hosts of other networks may reach it."""
        return self.path is None and (self.is_wildcard or not is_special(self.host))

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine reach it."""
        return self.path is not None or ip_address(self.host).is_loopback

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for all addresses of its family."""
        return self.path is None and ip_address(self.host).is_unspecified

    def collides_with(self, other: Address) -> bool:
        """Whether the system refuses to bind both. 0.0.0.0 and [::] are two: ours listen to one family each."""
        if self.path is not None or other.path is not None:
            return self.path == other.path
        if self.port != other.port or not self.port or ip_address(self.host).version != ip_address(other.host).version:
            return False
        return self.host == other.host or self.is_wildcard or other.is_wildcard


def read_address(value: object, info: ValidationInfo) -> Address:
    text = read_text(value, _ALLOWED).strip()
    if text.startswith("unix:"):
        return _socket(text.removeprefix("unix:"), value, info)
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        alone = port if _PORT.fullmatch(port) else "25"
        missing = "address" if _PORT.fullmatch(port) else "port"
        raise Wrong(f"{show(value)} has no {missing}", f'write "0.0.0.0:{alone}" for all IPv4 addresses, '
                    f'"[::]:{alone}" for all IPv6 addresses, "127.0.0.1:{alone}" for this machine')  # fmt: skip
    is_bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if is_bracketed else host)
    except ValueError:
        raise Wrong(f"{show(value)} has no IP address before the port", _ALLOWED) from None
    if isinstance(address, IPv6Address) != is_bracketed:
        raise Wrong(f"{show(value)} mixes up address and port", _ALLOWED + "; only IPv6 addresses stand in brackets")
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise Wrong(f"{show(value)} is an IPv4 address in IPv6 form", f'write "{address.ipv4_mapped}:{port}"')
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise Wrong(
            f"{show(value)}: {show(port)} is not a port", "write a port from 1 to 65535, or 0 for any that is free"
        )
    return Address(str(address), int(port))


def _socket(name: str, value: object, info: ValidationInfo) -> Address:
    if not name:
        raise Wrong(f"{show(value)} names no file", _ALLOWED)
    path = Path(os.path.normpath(own_file(info).parent / name))
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_OCTETS:
        raise Wrong(f"the path {show(str(path))} is longer than the {MAX_SOCKET_PATH_OCTETS} octets that a socket's "
                    "name may have", "choose a folder nearer to the root")  # fmt: skip
    return Address(path=path)
