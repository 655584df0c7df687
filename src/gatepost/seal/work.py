"""The work of sealing beside an event loop: small messages in a thread, large ones in another process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final

from gatepost.seal.detect import is_sealed
from gatepost.seal.model import Kind, RecipientKey, Refused, Sealed, SealOptions, SigningKey
from gatepost.seal.process import SealProcess, SealProcessError
from gatepost.seal.sealing import seal

LARGE_OCTETS: Final = 1024 * 1024
UNAVAILABLE: Final = "unavailable"


class SealWork:
    """One for each worker, which has a core: large messages wait for each other, so that memory has a bound."""

    def __init__(self) -> None:
        self._process = SealProcess()
        self._large = ThreadPoolExecutor(1, thread_name_prefix="seal-large")
        self._turn = asyncio.Lock()
        self._small = ThreadPoolExecutor(1, thread_name_prefix="seal")

    def turn(self, octets: int) -> AbstractAsyncContextManager[object]:
        """Whoever has a message of so many octets in memory, one of the large ones at a time."""
        return self._turn if octets > LARGE_OCTETS else nullcontext()

    async def kind_of(self, message: bytes) -> Kind | None:
        """As `detect.is_sealed`. Raises SealProcessError."""
        found: Kind | None = await self._do(is_sealed, message)
        return found

    async def seal(
        self,
        message: bytes,
        keys: Mapping[str, RecipientKey],
        signers: tuple[SigningKey, ...],
        options: SealOptions,
    ) -> Sealed | Refused:
        """As `sealing.seal`; Refused("unavailable") too where the process that does it fails."""
        try:
            done: Sealed | Refused = await self._do(seal, message, dict(keys), signers, options)
        except SealProcessError as error:
            return Refused(UNAVAILABLE, str(error))
        return done

    async def _do(self, function: Callable[..., Any], message: bytes, *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        if len(message) > LARGE_OCTETS:
            return await loop.run_in_executor(self._large, self._process.call, function, message, *arguments)
        return await loop.run_in_executor(self._small, function, message, *arguments)

    async def close(self) -> None:
        """Nothing more is asked; what runs is waited for."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._shut)

    def _shut(self) -> None:
        self._large.submit(self._process.close)
        self._large.shutdown()
        self._small.shutdown()
