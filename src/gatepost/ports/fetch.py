"""What other hosts answer over HTTPS, as a port: one request, one bounded answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol
from urllib.parse import SplitResult, urlsplit

import msgspec

FetchFault = Literal[
    "url", "address", "no_host", "lookup", "timeout", "refused", "certificate", "too_long", "answer", "network"
]
"""url: it is none that may be asked. address: where nobody from outside may send us. no_host: the DNS knows none.
lookup: the DNS does not answer. refused: nobody listens there. answer: it is none of HTTP. network: anything else."""


class FetchError(OSError):
    """No answer, or one that cannot be used; the message says whose and why. is_final: asking again changes nothing.
    code: what kind of fault it was, for those who conclude something from it."""

    def __init__(self, message: str, *, is_final: bool = False, code: FetchFault = "network") -> None:
        super().__init__(message)
        self.is_final = is_final
        self.code: FetchFault = code


class Fetched(msgspec.Struct, frozen=True):
    """An answer. status: of HTTP, 200 to 599; a redirection that is not followed is an answer too."""

    status: int
    headers: Mapping[str, str]  # lower-case names; of several alike the first
    body: bytes


class Fetcher(Protocol):
    """Asks web servers."""

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        max_octets: int = 64 * 1024,
        redirects: int = 0,
    ) -> Fetched:
        """The answer to one request at `url`, https. timeout: seconds for all of it. max_octets: a longer body is an
        error. redirects: how many are followed, each looked at like a URL of its own; only for GET. The certificate
        must be valid for the host. Raises FetchError."""
        ...


def https_url(url: str) -> SplitResult:
    """The parts of `url`. Raises FetchError for what is no https URL, or holds a user, a fragment or a space."""
    wrong = ""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise FetchError(f"{url!r} is not a URL", is_final=True, code="url") from None
    if parts.scheme != "https":
        wrong = "it does not begin with https://"
    elif not parts.hostname or not url.isascii() or not url.isprintable() or " " in url:
        wrong = "it names no host, or holds characters that no URL has"
    elif parts.username is not None or parts.password is not None:
        wrong = "it holds a user name or a password"
    elif "#" in url or port == 0:
        wrong = "it holds a fragment, or port 0"
    if wrong:
        raise FetchError(f"not a URL that can be asked: {wrong}", is_final=True, code="url")
    return parts
