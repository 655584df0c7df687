"""The envelope of a message: what SMTP says of it, never its header fields (RFC 5598 §2.2.2, RFC 5321 §2.3.1)."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from gatepost.mail.address import NULL_PATH, Path

Notify = Literal["NEVER", "SUCCESS", "FAILURE", "DELAY"]
EVERYBODY: Final = ("*",)


class Recipient(msgspec.Struct, frozen=True):
    """One forward-path and its delivery status parameters.

    notify: the values of NOTIFY (RFC 3461 §4.1), empty when the parameter was absent. orcpt: the value of ORCPT
    ("rfc822;ada@example.org", xtext decoded), "" when absent. served: of an alias or a list, the members who have a
    message of their own already, or EVERYBODY; never on the wire.
    """

    path: Path
    notify: tuple[Notify, ...] = ()
    orcpt: str = ""
    served: tuple[str, ...] = ()

    def wants(self, event: Literal["SUCCESS", "FAILURE", "DELAY"]) -> bool:
        """Whether a DSN about `event` is wanted; without NOTIFY failures and delays are (RFC 3461 §4.1)."""
        return event in self.notify if self.notify else event != "SUCCESS"


class Envelope(msgspec.Struct, frozen=True):
    """Reverse-path, forward-paths and the parameters of MAIL.

    body: as declared by BODY. size: the SIZE parameter in octets, None when absent. ret, envid: RFC 3461 §4.3 and
    §4.4, "" when absent; envid is xtext decoded.
    """

    reverse_path: Path = NULL_PATH
    recipients: tuple[Recipient, ...] = ()
    body: Literal["7BIT", "8BITMIME"] = "7BIT"
    smtputf8: bool = False
    size: int | None = None
    ret: Literal["", "FULL", "HDRS"] = ""
    envid: str = ""
