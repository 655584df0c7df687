"""What other hosts answer over HTTPS, as a port: one request, one bounded answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec


class FetchError(OSError):
    """No answer, or one that cannot be used; the message says whose and why. is_final: asking again changes nothing."""

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


class Fetched(msgspec.Struct, frozen=True):
    """An answer. status: of HTTP, 200 to 599; a redirection is an answer too, nobody follows it."""

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
    ) -> Fetched:
        """The answer to one request at `url`, https. timeout: seconds for all of it. max_octets: a longer body is an
        error. The certificate must be valid for the host. Raises FetchError."""
        ...
