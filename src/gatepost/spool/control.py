"""What commands ask the worker that holds a spool, as plain JSON objects; how they travel is `net.control`'s.

A request says `{"do": VERB, ...}`; an answer `{"ok": true, ...}` or `{"ok": false, "error": "what to do"}`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from gatepost.spool.port import SpoolError, SpoolStore
from gatepost.spool.transitions import parse_action

CHANGE: Final = "change"

Handler = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


def change_request(entry_id: str, action: str) -> dict[str, str]:
    """The question to the holder of a spool: change that entry. Raises SpoolError for an unknown action."""
    return {"do": CHANGE, "id": entry_id, "action": parse_action(action)}


def was_changed(answer: Mapping[str, Any]) -> bool:
    """Whether the holder had the entry. Raises SpoolError where it could not do it."""
    if not answer.get("ok"):
        raise SpoolError(f"the worker that holds the spool refused: {answer.get('error', 'it does not say why')}")
    return answer.get("found") is True


def change_handler(store: SpoolStore, now: Callable[[], float], changed: Callable[[], None]) -> Handler:
    """The holder's side. changed: called after each change, so that what is due now is delivered now."""

    async def change(request: Mapping[str, Any]) -> Mapping[str, Any]:
        entry_id, action = request.get("id"), request.get("action")
        if not isinstance(entry_id, str) or not isinstance(action, str):
            return {"ok": False, "error": 'a change needs "id" and "action", both texts'}
        try:
            found = await store.change(entry_id, action, now())
        except SpoolError as error:
            return {"ok": False, "error": str(error)}
        changed()
        return {"ok": True, "found": found}

    return change
