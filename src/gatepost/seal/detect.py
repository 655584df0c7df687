"""Whether a message is encrypted or signed, by its structure (RFC 3156, RFC 8551) and never by its words.

A wrapper around clear text does not pass: the parts are looked into as far as their outermost framing tells.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from gatepost.seal import mime
from gatepost.seal.model import Kind

Layer = Literal["encrypted", "signed"]
_ARMOR: Final = b"-----BEGIN PGP MESSAGE-----"
_ARMOR_END: Final = re.compile(rb"-----END PGP MESSAGE-----[ \t\r\n]*\Z")
