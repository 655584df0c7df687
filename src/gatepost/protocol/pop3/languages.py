"""LANG (RFC 6856 §3): the languages of the texts in replies, which are all English."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from gatepost.protocol.pop3.replies import Reply, err, ok

LANGUAGES: Final[Mapping[str, str]] = {"en": "English", "i-default": "English, the language of this server"}
"""Tags, and their names for a person in the language itself. i-default: RFC 2277 §4.5."""

NOT_SPOKEN: Final = err("en That language is not spoken here; LANG lists those that are")


def language_answer(wanted: str | None) -> tuple[Reply, Iterator[bytes] | None]:
    """The answer to LANG, and its lines where there are any.

    wanted: a language range (`*`: whatever there is; `en-GB` finds `en`, RFC 4647 §3.4), None for the list.
    """
    if wanted is None:
        lines = [f"{tag} {name}\r\n" for tag, name in LANGUAGES.items()]
        return ok("The languages follow"), iter(("".join([*lines, ".\r\n"]).encode("ascii"),))
    tag = "en" if wanted == "*" else wanted.lower()
    while tag not in LANGUAGES:
        tag, hyphen, _ = tag.rpartition("-")
        if not hyphen:
            return NOT_SPOKEN, None
    return ok(f"{tag} Replies are in English"), None
