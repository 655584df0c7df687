"""SASLprep (RFC 4013): one form for names and passwords that different keyboards and systems encode differently."""

from __future__ import annotations

import stringprep
import unicodedata
from typing import Final

# RFC 4013 §2.3, with what an operator can be told about it.
_PROHIBITED: Final = (
    (stringprep.in_table_c12, "a space that is not U+0020"),
    (stringprep.in_table_c21_c22, "a control character"),
    (stringprep.in_table_c3, "a private-use character"),
    (stringprep.in_table_c4, "a code point that is no character"),
    (stringprep.in_table_c5, "a surrogate"),
    (stringprep.in_table_c6, "a character that is not plain text"),
    (stringprep.in_table_c7, "an ideographic description character"),
    (stringprep.in_table_c8, "a character that changes how text is shown"),
    (stringprep.in_table_c9, "a tagging character"),
)


class SaslprepError(ValueError):
    """The text cannot be a name or password; the message says which kind of character it has, not which text."""


def saslprep(text: str, *, stored: bool) -> str:
    """`text` in the form that is hashed and compared.

    stored: True for what we are about to keep: characters that Unicode 3.2 does not know (emoji among them) are
    refused then, since another system may prepare them otherwise; a query may have them (RFC 3454 §7).
    Raises SaslprepError. The result may be empty: soft hyphens and their like vanish.
    """
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    try:
        prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    except ValueError as error:
        raise SaslprepError("it cannot be normalised") from error
    for character in prepared:
        for is_prohibited, what in _PROHIBITED:
            if is_prohibited(character):
                raise SaslprepError(f"it holds {what} (U+{ord(character):04X})")
        if stored and stringprep.in_table_a1(character):
            raise SaslprepError(
                f"it holds a character that not all systems know (U+{ord(character):04X}; emoji are of that kind)"
            )
    _check_direction(prepared)
    return prepared


def _check_direction(text: str) -> None:
    """RFC 3454 §6: text that runs from right to left does so from its first character to its last."""
    if not any(map(stringprep.in_table_d1, text)):
        return
    if any(map(stringprep.in_table_d2, text)):
        raise SaslprepError("it mixes letters that are written in different directions")
    if not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        raise SaslprepError("its first or last character is not written from right to left like the others")
