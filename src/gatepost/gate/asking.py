"""Asking other mail hosts about addresses: the port, and what probes and callouts have in common.

The client of `delivery` stands behind the port. Answers are kept in `standing`, so that all workers have them; one
address is asked about once at a time in each worker, however many sessions wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import msgspec

from gatepost.mail.address import Path
from gatepost.mail.reply import Reply
from gatepost.policy.findings import AddressAnswer
from gatepost.protocol.smtp.client_transaction import RecipientResult
from gatepost.standing.port import Note

MAX_AT_ONCE: Final = 50  # questions of one kind in a worker: each holds a connection, and a session waits for it
MAX_HOSTS: Final = 2  # of a domain that are tried for one answer: a session waits


class MailHost(Protocol):
    """A host that may be asked (`delivery.next_hop.NextHop`); its text is for the record."""

    @property
    def address(self) -> str:
        """An IP address, or "unix:/path"."""
        ...

    @property
    def name(self) -> str: ...


class MailHosts(Protocol):
    """Finds mail hosts and asks them. Never raises for what they, the network or the DNS do."""

    async def find(self, domain: str) -> Sequence[MailHost] | Reply:
        """The hosts that mail for `domain` (A-labels) goes to, in the order in which to try them, or why there are
        none: what is configured for the domain, else its MX; never the smarthost, which answers for nobody."""
        ...

    async def ask(self, host: MailHost, reverse_path: Path, recipients: Sequence[Path]) -> tuple[RecipientResult, ...]:
        """What the host says to MAIL and a RCPT for each recipient, no content following. One for each."""
        ...


class Questions:
    """Questions that are being asked, each once."""

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Task[AddressAnswer]] = {}

    def ask(self, key: str, ask: Callable[[], Awaitable[AddressAnswer]]) -> Awaitable[AddressAnswer]:
        """The answer to the question `key`; `ask` is called where it is not under way. A session that ends does not
        take the answer away from others, nor from the memory."""
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= MAX_AT_ONCE:
                return _too_many()
            task = asyncio.get_running_loop().create_task(_run(ask))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return asyncio.shield(task)

    async def close(self) -> None:
        """What is still asked is given up."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(ask: Callable[[], Awaitable[AddressAnswer]]) -> AddressAnswer:
    return await ask()


async def _too_many() -> AddressAnswer:
    return AddressAnswer("unknown", f"{MAX_AT_ONCE} such questions are under way")


def note_of(key: str, answer: AddressAnswer, until: float) -> Note:
    """How an answer is kept."""
    return Note(key, msgspec.msgpack.encode(answer), until)


def answer_in(kept: object) -> AddressAnswer | None:
    """The answer that was kept, None where there is none (or one that an older program wrote differently)."""
    if not isinstance(kept, bytes):
        return None
    try:
        return msgspec.msgpack.decode(kept, type=AddressAnswer)
    except msgspec.MsgspecError:
        return None
