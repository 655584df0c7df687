"""Values that may have to be waited for: most are at hand, and then no task is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeGuard

from gatepost.accounts.port import AccountsError
from gatepost.policy.findings import Unavailable
from gatepost.standing.port import StandingError


def then(value: Any, use: Callable[[Any], Any]) -> Any:
    """`use(value)`; for an awaitable value an awaitable of the same. `use` may return an awaitable itself."""
    return _then_later(value, use) if hasattr(value, "__await__") else use(value)


def is_later(value: object) -> TypeGuard[Awaitable[Any]]:
    """Whether `value` is still to be awaited."""
    return hasattr(value, "__await__")


async def _then_later(value: Awaitable[Any], use: Callable[[Any], Any]) -> Any:
    result = use(await value)
    return await result if is_later(result) else result


def had(ask: Callable[[], Any], use: Callable[[Any], Any]) -> Any:
    """`use` of what `ask` brings, at once or as an awaitable; `Unavailable` where a store cannot say it now."""
    try:
        result = then(ask(), use)
    except (AccountsError, StandingError) as error:
        return Unavailable(str(error))
    return _had_later(result) if is_later(result) else result


async def _had_later(result: Awaitable[Any]) -> Any:
    try:
        return await result
    except (AccountsError, StandingError) as error:
        return Unavailable(str(error))
