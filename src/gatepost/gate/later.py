"""Values that may have to be waited for: most are at hand, and then no task is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeGuard


def then(value: Any, use: Callable[[Any], Any]) -> Any:
    """`use(value)`; for an awaitable value an awaitable of the same. `use` may return an awaitable itself."""
    return _then_later(value, use) if is_later(value) else use(value)


def is_later(value: object) -> TypeGuard[Awaitable[Any]]:
    """Whether `value` is still to be awaited."""
    return hasattr(value, "__await__")


async def _then_later(value: Awaitable[Any], use: Callable[[Any], Any]) -> Any:
    result = use(await value)
    return await result if is_later(result) else result
