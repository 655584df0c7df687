"""Names in a Maildir: the folder of an account, the unique name of a message and what can be read from it.

Pure text; what touches the disk lives beside it.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Final, Literal

from gatepost.mail.ids import id_unix_ms, is_id
from gatepost.maildrop.port import MaildropError

MAX_UID_CHARACTERS: Final = 70  # RFC 1939 §7
_MAX_NAME_OCTETS: Final = 255  # NAME_MAX of every file system we may meet
_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_+=-.")
_SIZE_FIELDS = re.compile(r",[SW]=[0-9]{1,18}(?=,|$)")
_SIZE: Final = {field: re.compile(rf",{field}=([0-9]{{1,18}})(?=[,:]|$)") for field in ("S", "W")}
_AGE: Final = re.compile(r"([0-9]{1,18})\.(?:M([0-9]{1,18})(?:P[0-9]+(?:Q([0-9]{1,18}))?)?)?")
_UID = re.compile(r"[\x21-\x7e]{1,70}")


@lru_cache(maxsize=4096)  # asked for each message; few accounts have most of them
def account_folder(account: str) -> tuple[str, str]:
    """The folder names (domain, local part) of `account`, an address; equal for every letter case of it.

    Octets that could mean something to a file system, a shell or another program become `%xx`, the dot only where it
    leads. Distinct accounts have distinct folders. Raises MaildropError for what is no address.
    """
    local_part, at, domain = account.lower().rpartition("@")
    if not (local_part and at and domain):
        raise MaildropError(f"{account!r} has no maildrop: an account is written local-part@domain")
    folders = _escaped(domain), _escaped(local_part)
    if max(map(len, folders)) > _MAX_NAME_OCTETS:
        raise MaildropError(f"{account!r} has no maildrop: its name is too long for a folder")
    return folders


def _escaped(text: str) -> str:
    octets = text.encode("utf-8", "surrogatepass")
    return "".join(
        chr(octet) if octet in _PLAIN and not (octet == 0x2E and at == 0) else f"%{octet:02x}"
        for at, octet in enumerate(octets)
    )


def unique_name(unix: float, process: int, number: int, host: str) -> str:
    """A name that no other message gets: time, process and a number that grows within the process, then the host.

    The Maildir convention: no slash and no colon; the comma belongs to the size fields.
    """
    seconds, micros = divmod(round(unix * 1_000_000), 1_000_000)
    return f"{seconds}.M{micros:06d}P{process}Q{number}.{_host(host)}"


def delivery_name(delivery_id: str, host: str) -> str | None:
    """The name that a message has in the maildrop, the same at each try to deliver it, so that a second one meets the
    first; by the time at which its entry was made. None for what is not "ID-NUMBER"."""
    entry_id, _, number = delivery_id.partition("-")
    if not (is_id(entry_id) and number.isascii() and number.isdigit()):
        return None
    seconds, ms = divmod(id_unix_ms(entry_id), 1000)
    return f"{seconds}.M{ms:03d}000I{entry_id}R{number}.{_host(host)}"


def _host(host: str) -> str:
    return host.replace("/", r"\057").replace(":", r"\072").replace(",", r"\054")[:100]


def with_sizes(name: str, on_disk: int, on_wire: int) -> str:
    """`name` that tells its sizes: S the octets of the file, W those with CRLF line ends (as Dovecot writes them)."""
    return f"{name},S={on_disk},W={on_wire}"


def base_of(file_name: str) -> str:
    """The part that stays the same while mail programs move the message and change its flags (`:2,S`)."""
    return file_name.partition(":")[0]


def size_field(file_name: str, field: Literal["S", "W"]) -> int | None:
    """The octets that a field of a name tells, None where it has none that can be read."""
    found = _SIZE[field].search(file_name)
    return int(found[1]) if found else None


def uid_of(base: str) -> str:
    """The UIDL of a message: its base name without the size fields, which programs add and repair.

    A name that RFC 1939 §7 does not allow as a unique ID (foreign programs may choose any) gives its hash.
    """
    uid = _SIZE_FIELDS.sub("", base) if "=" in base else base
    return uid if len(uid) <= MAX_UID_CHARACTERS and _UID.fullmatch(uid) else hashed_uid(base)


def hashed_uid(base: str) -> str:
    """64 hexadecimal characters that stand for `base`."""
    return hashlib.sha256(base.encode("utf-8", "surrogateescape")).hexdigest()


def age_of(file_name: str) -> int:
    """A number that is greater for a younger message, by the time in its name; 0 where there is none."""
    age = _AGE.match(file_name)
    return int(age[1]) << 120 | int(age[2] or 0) << 60 | int(age[3] or 0) if age else 0
