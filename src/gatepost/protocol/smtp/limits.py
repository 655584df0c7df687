"""Sizes and times of SMTP, each with the section that it comes from (RFC 5321 §4.5.3).

The sizes are what an implementation has to take at least; where we stop at that least, the constant says so. Limits
of paths are with their parser (`mail.address`), that of a reply line with `mail.reply`. Not here: what an operator
sets (message size, recipients, connections).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

# --- sizes, in octets (§4.5.3.1) -----------------------------------------------------------------------------------
MAX_COMMAND_OCTETS: Final = 512  # §4.5.3.1.4, CRLF included, before extensions add theirs
MAX_TEXT_LINE_OCTETS: Final = 998  # §4.5.3.1.6: 1000 with CRLF, a doubled leading dot not counted
MIN_CONTENT_OCTETS: Final = 64 * 1024  # §4.5.3.1.7: a message of this size has to be taken
MIN_RECIPIENTS: Final = 100  # §4.5.3.1.8: as many recipients have to be taken

# What extensions add to a command line. MAIL and RCPT get the sum, so one limit serves both.
SIZE_PARAMETER_OCTETS: Final = 26  # RFC 1870 §3 (6)
BODY_PARAMETER_OCTETS: Final = 17  # RFC 6152 §2 (4)
SMTPUTF8_PARAMETER_OCTETS: Final = 10  # RFC 6531 §3.1 (5)
AUTH_PARAMETER_OCTETS: Final = 500  # RFC 4954 §3 (6)
DSN_RCPT_OCTETS: Final = len(" NOTIFY=SUCCESS,FAILURE,DELAY") + len(" ORCPT=") + 500  # RFC 3461 §4.1, §4.2
DSN_MAIL_OCTETS: Final = len(" RET=FULL") + len(" ENVID=") + 100  # RFC 3461 §4.3, §4.4
XCLIENT_LINE_OCTETS: Final = 2048  # no document says: seven attributes, two of them host names of 255 octets in xtext

MAX_AUTH_LINE_OCTETS: Final = 12288  # RFC 4954 §4.1 item 7; a line of AUTH with its initial response too
MAX_SWALLOWED_OCTETS: Final = 1 << 20  # ours: a "line" that has no end after this is no SMTP; the connection ends

MAX_SIZE_DIGITS: Final = 20  # RFC 1870 §3 (3)
MAX_ENVID_CHARACTERS: Final = 100  # RFC 3461 §4.4, as it stands in the command
MAX_ORCPT_CHARACTERS: Final = 500  # RFC 3461 §4.2, as it stands in the command
MAX_MECHANISM_CHARACTERS: Final = 20  # RFC 4422 §3.1

# What a peer must achieve while it sends content. §4.5.3.2.5 lets a client stop for 3 minutes between blocks, so one
# that lives sends many times as much; without a least an octet now and then would keep a connection for ever.
CONTENT_OCTETS_A_WINDOW: Final = 1024  # ours: in the time after which a silent peer is cut off
CONTENT_OCTETS_A_SECOND: Final = 500  # ours: on the average of a whole message, after CONTENT_GRACE

# --- times (§4.5.3.2) ----------------------------------------------------------------------------------------------
GREETING_TIMEOUT: Final = timedelta(minutes=5)  # §4.5.3.2.1, client: the 220 greeting
MAIL_TIMEOUT: Final = timedelta(minutes=5)  # §4.5.3.2.2, client: the answer to MAIL
RCPT_TIMEOUT: Final = timedelta(minutes=5)  # §4.5.3.2.3, client: the answer to RCPT
DATA_TIMEOUT: Final = timedelta(minutes=2)  # §4.5.3.2.4, client: the 354
DATA_BLOCK_TIMEOUT: Final = timedelta(minutes=3)  # §4.5.3.2.5, client: one write of content
END_OF_DATA_TIMEOUT: Final = timedelta(minutes=10)  # §4.5.3.2.6, client: the answer to the final dot
COMMAND_TIMEOUT: Final = timedelta(minutes=5)  # §4.5.3.2.7, server: the next command or piece of content
CONTENT_GRACE: Final = timedelta(minutes=30)  # ours: a message may take that long, however slow it is on the average
