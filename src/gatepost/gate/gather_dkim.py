"""The gatherer of DKIM results: keys from the DNS, all at once, while the body is hashed. Only who has a message with a
DKIM-Signature calls it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from gatepost.mail.dkim import DkimResult
from gatepost.policy.checks import content_dkim
from gatepost.policy.facts import MessageFacts
from gatepost.ports.resolver import Answer, Outcome, Resolver
from gatepost.spool.port import Content, SpoolError
from gatepost.verify.dkim import Limits, Verification

if TYPE_CHECKING:
    from gatepost.gate.session import GateSession

KEYS_SECONDS: Final = 5.0  # for all keys together: the peer waits for its reply
INLINE_OCTETS: Final = 64 * 1024  # a larger piece of a body is hashed in a thread: 100 KiB take a millisecond
NO_ANSWER: Final = Answer(Outcome.FAILED, error=f"no answer within {KEYS_SECONDS:g} s")
NO_RESOLVER: Final = Answer(Outcome.FAILED, error="domains are not looked up here")


async def dkim(session: GateSession, facts: MessageFacts) -> tuple[DkimResult, ...]:
    """A result for each signature, from the top. What cannot be had is a temperror in it."""
    settings = session.parts.policy.settings_of(content_dkim.CHECK)
    assert isinstance(settings, content_dkim.Settings)
    header, content = session.header, session.content
    if header is None or content is None:
        return ()  # a question what would be decided, without a message
    limits = Limits(settings.minimum_key_bits, settings.max_signatures)
    verification = Verification(header, session.parts.clock.unix(), limits)
    if not verification.key_names:
        return verification.results({})
    known, asked = _keys(session.parts.resolver, verification.key_names)
    try:
        await _hash(verification, content, session.body_at)
        known.update(await _answers(asked) if asked else {})
    except SpoolError as error:
        return verification.unread(f"the message cannot be read now: {error}")
    finally:
        for task in asked.values():
            task.cancel()
    return verification.results(known)


def _keys(resolver: Resolver | None, names: Iterable[str]) -> tuple[dict[str, Answer], dict[str, asyncio.Task[Answer]]]:
    """What is known of the keys, and who asks for the others, from now on."""
    known: dict[str, Answer] = {}
    asked: dict[str, asyncio.Task[Answer]] = {}
    for name in names:
        answer = resolver.cached(name, "TXT") if resolver is not None else NO_RESOLVER
        if answer is not None:
            known[name] = answer
        elif resolver is not None:
            asked[name] = asyncio.ensure_future(_ask(resolver, name))
    return known, asked


async def _ask(resolver: Resolver, name: str) -> Answer:
    try:
        async with asyncio.timeout(KEYS_SECONDS):
            return await resolver.query(name, "TXT")
    except TimeoutError:
        return NO_ANSWER


async def _answers(asked: dict[str, asyncio.Task[Answer]]) -> dict[str, Answer]:
    return {name: await task for name, task in asked.items()}


async def _hash(verification: Verification, content: Content, body_at: int) -> None:
    """The body of `content`, which begins at `body_at`, goes through it in pieces."""
    skipped = 0
    async for piece in content.chunks():
        body = piece
        if skipped < body_at:
            body = piece[body_at - skipped :]
            skipped += len(piece)
        if len(body) > INLINE_OCTETS:
            await asyncio.to_thread(verification.feed, body)
        else:
            verification.feed(body)
