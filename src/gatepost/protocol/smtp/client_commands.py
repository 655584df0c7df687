"""Commands of a client as octets, and what a message needs that a peer may lack. Not here: their order (`client`)."""

from __future__ import annotations

import base64
import re
from typing import Final, Literal

import msgspec

from gatepost.mail.address import Path
from gatepost.mail.envelope import Envelope, Recipient
from gatepost.mail.reply import Reply
from gatepost.protocol.errors import LocalProtocolError
from gatepost.protocol.smtp.client_replies import PeerOffer
from gatepost.protocol.smtp.xtext import encode_utf8_address, encode_xtext

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

RSET: Final = b"RSET\r\n"
DATA: Final = b"DATA\r\n"
QUIT: Final = b"QUIT\r\n"
STARTTLS: Final = b"STARTTLS\r\n"


class Needs(msgspec.Struct, frozen=True):
    """What a message asks of the next hop, envelope apart.

    octets: its size. has_8bit: an octet above 127 occurs in it. utf8_header: its header fields have UTF-8 (RFC 6532).
    """

    octets: int
    has_8bit: bool = False
    utf8_header: bool = False


def unfit(envelope: Envelope, needs: Needs, offer: PeerOffer) -> Reply | None:
    """Why the message as a whole must not be sent to a peer with this offer, None where it may. Nothing is converted.

    SIZE: RFC 1870 §6.1. 8-bit content without 8BITMIME: RFC 6152 §3. UTF-8 in the header or in the reverse-path's
    local part without SMTPUTF8: RFC 6531 §3.2 (domains become A-labels). Recipients: see `unfit_recipient`.
    """
    if offer.size and needs.octets > offer.size:
        text = f"The message has {needs.octets} octets, the next hop takes {offer.size}"
        return Reply(552, "5.3.4", text)
    # SMTPUTF8 implies 8-bit content: a server that offers it offers 8BITMIME as well (RFC 6531 §3.1).
    if needs.has_8bit and not (offer.eight_bit_mime or offer.smtputf8):
        return Reply(554, "5.6.3", "The content is 8-bit, which the next hop does not take, and is not converted")
    if not offer.smtputf8 and (needs.utf8_header or not envelope.reverse_path.local_part.isascii()):
        what = "header" if needs.utf8_header else "sender's address"
        return Reply(554, "5.6.7", f"The {what} has characters beyond ASCII, which the next hop does not take")
    return None


def unfit_recipient(recipient: Recipient, offer: PeerOffer) -> Reply | None:
    """Why this forward-path must not be sent to a peer with this offer, None where it may (RFC 6531 §3.2)."""
    if recipient.path.local_part.isascii() or offer.smtputf8:
        return None
    return Reply(553, "5.6.7", "The address has characters beyond ASCII, which the next hop does not take")


def hello(verb: Literal["EHLO", "HELO", "LHLO"], name: str) -> bytes:
    """name: our host name, or an address literal."""
    return _line(verb, name)


def wants_smtputf8(envelope: Envelope, needs: Needs, offer: PeerOffer) -> bool:
    """Whether MAIL says SMTPUTF8: the peer offers it, and it was asked of us or something needs it."""
    if not offer.smtputf8:
        return False
    if envelope.smtputf8 or needs.utf8_header or not envelope.reverse_path.is_ascii:
        return True
    return False in [recipient.path.is_ascii for recipient in envelope.recipients]


def mail(envelope: Envelope, needs: Needs, offer: PeerOffer, *, utf8: bool, null_auth: bool = False) -> bytes:
    """MAIL with each parameter that the peer offers and the message has (RFC 1870, 6152, 6531, 3461, 4954 §5).

    utf8: from `wants_smtputf8`. null_auth: say AUTH=<>, if the peer offers AUTH: the login that we used there is ours,
    not that of whoever wrote the message.
    """
    words = [f"MAIL FROM:<{_path(envelope.reverse_path, utf8)}>"]
    if offer.size is not None:
        words.append(f"SIZE={needs.octets}")
    if offer.eight_bit_mime and (needs.has_8bit or envelope.body == "8BITMIME"):
        words.append("BODY=8BITMIME")
    if utf8:
        words.append("SMTPUTF8")
    if offer.dsn and envelope.ret:
        words.append(f"RET={envelope.ret}")
    if offer.dsn and envelope.envid.isascii() and envelope.envid:
        words.append(f"ENVID={encode_xtext(envelope.envid)}")
    if null_auth and offer.auth:
        words.append("AUTH=<>")
    return _line(*words)


def rcpt(recipient: Recipient, offer: PeerOffer, *, utf8: bool) -> bytes:
    """RCPT, with NOTIFY and ORCPT where the peer offers DSN (RFC 3461 §4.1, §4.2)."""
    words = [f"RCPT TO:<{_path(recipient.path, utf8)}>"]
    if offer.dsn and recipient.notify:
        words.append(f"NOTIFY={','.join(recipient.notify)}")
    if offer.dsn and recipient.orcpt:
        words.append(f"ORCPT={_original_recipient(recipient.orcpt)}")
    return _line(*words)


def bdat(octets: int, *, last: bool) -> bytes:
    """The line before a chunk of `octets` octets (RFC 3030 §2)."""
    return _line("BDAT", str(octets), *(["LAST"] if last else []))


def auth(mechanism: str, initial: str | None) -> bytes:
    """initial: base64 already, "=" for an empty one, None for none (RFC 4954 §4)."""
    return _line("AUTH", mechanism, *([] if initial is None else [initial]))


def auth_response(response: bytes) -> bytes:
    """A line in answer to a 334: base64 (RFC 4954 §4)."""
    return base64.b64encode(response) + b"\r\n"


def _original_recipient(orcpt: str) -> str:
    """Type and address; an address beyond ASCII in utf-8-addr-xtext, which passes with SMTPUTF8 and without."""
    kind, _, address = orcpt.partition(";")
    if kind.lower() == "utf-8" or not address.isascii():
        return f"utf-8;{encode_utf8_address(address)}"
    return f"{kind};{encode_xtext(address)}"


def _path(path: Path, utf8: bool) -> str:
    return str(path) if utf8 or path.domain.isascii() else str(Path(path.local_part, path.ascii_domain))


def _line(*words: str) -> bytes:
    line = " ".join(words)
    if _CONTROL.search(line):
        raise LocalProtocolError("a command would hold a control character; the value it came from was not checked")
    return line.encode("utf-8", "surrogatepass") + b"\r\n"
