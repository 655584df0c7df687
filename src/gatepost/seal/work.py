"""The work of sealing beside an event loop: small messages in a thread, large ones in another process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from gatepost.mail.header import section_end
from gatepost.seal.detect import is_sealed, may_be_sealed
from gatepost.seal.mime import canonical, parse
from gatepost.seal.model import Kind, RecipientKey, Refused, Sealed, SealedFor, SealOptions, SignedBy, SigningKey
from gatepost.seal.process import SealProcess, SealProcessError
from gatepost.seal.sealing import seal, seal_pieces
from gatepost.seal.signing import sign_pieces

LARGE_OCTETS: Final = 1024 * 1024
UNAVAILABLE: Final = "unavailable"


class SealWork:
    """One for each worker, which has a core. Invariant: at most one message of each size, small or large, is held in
    memory to be sealed; the others wait where they are, so that memory has a bound whatever comes."""

    def __init__(self) -> None:
        self._process = SealProcess()
        self._large = ThreadPoolExecutor(1, thread_name_prefix="seal-large")
        self._large_turn = asyncio.Lock()
        self._small = ThreadPoolExecutor(1, thread_name_prefix="seal")
        self._small_turn = asyncio.Lock()

    async def kind_of(self, content: AsyncIterator[bytes], octets: int) -> Kind | None:
        """As `detect.is_sealed`, of a content of so many octets. Raises SealProcessError, and what reading raises."""
        async with self._turn(octets):
            head = b""
            async for piece in content:
                head, searched = head + piece, len(head)
                if section_end(head, searched) >= 0:
                    break
            if not may_be_sealed(parse(canonical(head))):
                return None
            message = b"".join([head, *[piece async for piece in content]])
            found: Kind | None = await self._do(is_sealed, message)
            return found

    async def seal(
        self,
        message: bytes,
        keys: Mapping[str, RecipientKey],
        signers: tuple[SigningKey, ...],
        options: SealOptions,
    ) -> Sealed | Refused:
        """As `sealing.seal`, of a message that is in memory anyhow; Refused("unavailable") as `seal_pieces`."""
        try:
            done: Sealed | Refused = await self._do(seal, message, dict(keys), signers, options)
        except SealProcessError as error:
            return Refused(UNAVAILABLE, str(error))
        return done

    def seal_pieces(
        self,
        content: AsyncIterator[bytes],
        octets: int,
        keys: Mapping[str, RecipientKey],
        signers: tuple[SigningKey, ...],
        options: SealOptions,
    ) -> AsyncGenerator[SealedFor | bytes | Refused, None]:
        """As `sealing.seal_pieces`, of a content of so many octets; Refused("unavailable") too where the process that
        does it fails. Whoever stops before the end closes it. Raises what reading raises."""
        return self._pieces(seal_pieces, content, octets, dict(keys), signers, options)

    def sign_pieces(
        self, content: AsyncIterator[bytes], octets: int, signer: SigningKey, options: SealOptions
    ) -> AsyncGenerator[SignedBy | bytes | Refused, None]:
        """As `signing.sign_pieces`, in the same way."""
        return self._pieces(sign_pieces, content, octets, signer, options)

    async def _pieces(
        self, function: Callable[..., Any], content: AsyncIterator[bytes], octets: int, *arguments: Any
    ) -> AsyncGenerator[Any, None]:
        async with self._turn(octets):
            if octets <= LARGE_OCTETS:
                message = [piece async for piece in content]
                for each in await self._run(self._small, _listed, function, message, *arguments):
                    yield each
                return
            has_ended = False
            try:
                await self._run(self._large, self._process.begin, function, *arguments)
                async for piece in content:
                    if piece:
                        await self._run(self._large, self._process.feed, piece)
                await self._run(self._large, self._process.feed, b"")
                while (answer := await self._run(self._large, self._process.answer)) is not None:
                    yield answer
                has_ended = True
            except SealProcessError as error:
                has_ended = True  # it has closed itself, or waits for the next question
                yield Refused(UNAVAILABLE, str(error))
            finally:
                if not has_ended:  # it stands in the middle of a message
                    self._large.submit(self._process.close)

    def _turn(self, octets: int) -> asyncio.Lock:
        return self._large_turn if octets > LARGE_OCTETS else self._small_turn

    async def _do(self, function: Callable[..., Any], message: bytes, *arguments: Any) -> Any:
        if len(message) > LARGE_OCTETS:
            return await self._run(self._large, self._process.call, function, message, *arguments)
        return await self._run(self._small, function, message, *arguments)

    async def _run(self, executor: ThreadPoolExecutor, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(executor, function, *arguments)

    async def close(self) -> None:
        """Nothing more is asked; what runs is waited for."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._shut)

    def _shut(self) -> None:
        self._large.submit(self._process.close)
        self._large.shutdown()
        self._small.shutdown()


def _listed(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    return list(function(*arguments))
