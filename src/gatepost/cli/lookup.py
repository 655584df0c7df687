"""What the directory says about addresses that a person typed."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from gatepost.cli import output

if TYPE_CHECKING:
    from gatepost.accounts.directory import Directory
    from gatepost.accounts.model import Resolution


def resolve(directory: Directory, key: str) -> Resolution:
    """What the address means here."""
    from gatepost.accounts.addresses import path_of
    from gatepost.accounts.model import Resolution

    answer = directory.resolve(path_of(key))
    if isinstance(answer, Resolution):
        return answer
    import asyncio

    return asyncio.run(_wait(answer))


async def _wait(answer: Awaitable[Resolution]) -> Resolution:
    return await answer


def note_unknown(directory: Directory, keys: Sequence[str]) -> None:
    """Says which of the addresses are ours and lead nowhere: mail to them would come back."""
    for key in keys:
        if resolve(directory, key).kind == "unknown":
            output.note(f'{key} does not exist yet, so mail to it comes back; "gatepost account add {key}" makes it')
