"""Texts of the configuration as typed values: durations, sizes, names, networks, next hops, secrets.

Each reader takes what TOML held and returns the value, or raises `Wrong` with what was found and what to write.
Not here: which setting has which type (`config.schema`).
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Final

from pydantic import PlainValidator, ValidationInfo

from gatepost.config.problem import Wrong, show
from gatepost.delivery.settings import HopUrl, parse_hop_url
from gatepost.mail.address import AddressError, parse_mailbox, to_ascii_domain
from gatepost.mail.address import Path as MailPath
from gatepost.mail.units import Quota, parse_duration, parse_quota, parse_size
from gatepost.net.dns.servers import parse_server

LONGEST: Final = 3650 * 86400.0  # ten years: what is longer is a typing error, and overflows arithmetic with dates
LARGEST: Final = 2**50  # octets
MAX_COUNT: Final = 10**9
MAX_SECRET_OCTETS: Final = 65536
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PASSWORD_IN_URL = re.compile(r":[^:@/]*@")


def read_text(value: object, allowed: str) -> str:
    """`value` if it is a text of printable characters. allowed: what to write instead."""
    if not isinstance(value, str):
        raise Wrong(f"{show(value)} is not a text in quotes", allowed)
    if not value.strip():
        raise Wrong("the text is empty", allowed)
    if not value.isprintable():
        raise Wrong(f"{show(value)} holds a control character", allowed)
    return value


def read_switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"{show(value)} is neither true nor false", "write true or false, without quotes")
    return value


def counted(least: int, most: int = MAX_COUNT, why: str = "") -> Callable[[object], int]:
    """A reader of whole numbers from `least` to `most`. why: said when one is too small."""
    allowed = (
        f"write a whole number from {least} to {most}"
        if most < MAX_COUNT
        else f"write a whole number, at least {least}"
    )

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong(f"{show(value)} is not a whole number", allowed + ", without quotes")
        if not least <= value <= most:
            raise Wrong(f"{show(value)} is too {'small' if value < least else 'large'}", allowed + why)
        return value

    return read


def read_duration(value: object) -> float:
    allowed = 'write a number and ms, s, m, h, d or w, as in "30s" or "5d"'
    try:
        seconds = parse_duration(read_text(value, allowed))
    except Wrong:
        raise
    except ValueError:
        raise Wrong(f"{show(value)} is not a duration", allowed) from None
    if not 0 < seconds <= LONGEST:
        raise Wrong(f"{show(value)} is {'longer than ten years' if seconds else 'no time at all'}", allowed)
    return seconds


def read_size(value: object) -> int:
    """Octets; a plain number counts octets."""
    allowed = 'write a number and kB, MB, GB, KiB, MiB or GiB, as in "50MiB"'
    if isinstance(value, int) and not isinstance(value, bool):
        octets = value
    else:
        try:
            octets = parse_size(read_text(value, allowed))
        except Wrong:
            raise
        except ValueError:
            raise Wrong(f"{show(value)} is not a size", allowed) from None
    if not 0 < octets <= LARGEST:
        raise Wrong(f"{show(value)} is {'too large' if octets > 0 else 'too small'}", allowed)
    return octets


def read_rate(value: object) -> Quota:
    allowed = 'write a whole number, a slash and a duration, as in "100/1h"'
    try:
        quota = parse_quota(read_text(value, allowed))
    except Wrong:
        raise
    except ValueError:
        raise Wrong(f"{show(value)} is not a rate", allowed) from None
    if quota.units > MAX_COUNT or quota.period > LONGEST:
        raise Wrong(f"{show(value)} is out of all proportion", allowed)
    return quota


def choice(allowed: Collection[str], unbuilt: Collection[str] = ()) -> Callable[[object], str]:
    """A reader of one of the `allowed` words. unbuilt: words that a later version will know."""
    words = ", ".join(allowed)

    def read(value: object) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        if isinstance(value, str) and value in unbuilt:
            raise Wrong(f"{show(value)} is not available in this version", f"write one of {words}")
        close = difflib.get_close_matches(value.lower(), list(allowed), 1) if isinstance(value, str) else []
        hint = f'; did you mean "{close[0]}"?' if close else ""
        raise Wrong(f"{show(value)} is not one of the words known here", f"write one of {words}{hint}")

    return read


# --- names ---------------------------------------------------------------------------------------------------------


def read_domain(value: object) -> str:
    """A domain in lower case with A-labels, with or without dots."""
    allowed = 'write a domain, as in "example.org"'
    text = read_text(value, allowed)
    if "@" in text:
        raise Wrong(f"{show(value)} is an address, not a domain", f"write {show(text.rpartition('@')[2])}")
    try:
        name = to_ascii_domain(text.strip().removesuffix("."))
    except (AddressError, UnicodeError):
        raise Wrong(f"{show(value)} is not a valid domain", allowed) from None
    if _is_ip(name.strip("[]")):
        raise Wrong(f"{show(value)} is an IP address, not a domain", allowed)
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise Wrong(f"{show(value)} is not a valid domain", allowed + ": letters, digits and hyphens between dots")
    return name


def read_hostname(value: object) -> str:
    """The full name of this host."""
    allowed = 'write the full name of this host as it stands in the DNS, as in "mx.example.org"'
    try:
        name = read_domain(value)
    except Wrong as wrong:
        raise Wrong(wrong.found, allowed) from None
    if "." not in name or name.rpartition(".")[2].isdigit():
        raise Wrong(f"{show(value)} is not a full host name", allowed)
    return name


def read_mailbox(value: object) -> MailPath:
    allowed = 'write one address, as in "ada@example.org"'
    try:
        return parse_mailbox(read_text(value, allowed).strip())
    except AddressError as error:
        raise Wrong(f"{show(value)} is not an address ({error})", allowed) from None


def read_user(value: object) -> str:
    allowed = 'write the name of a user of this system, as in "gatepost"'
    if not _USER.fullmatch(read_text(value, allowed)):
        raise Wrong(f"{show(value)} is not a user name", allowed)
    if value == "root":
        raise Wrong('"root" is the one user that must not be dropped to', allowed)
    return str(value)


# --- addresses -----------------------------------------------------------------------------------------------------


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def read_ip(value: object) -> str:
    allowed = 'write an IP address, as in "192.0.2.1" or "2001:db8::1"'
    try:
        address = ip_address(read_text(value, allowed).strip())
    except Wrong:
        raise
    except ValueError:
        raise Wrong(f"{show(value)} is not an IP address", allowed) from None
    return str(_not_mapped(value, address))


def _not_mapped(value: object, address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise Wrong(f"{show(value)} is an IPv4 address in IPv6 clothes", f'write "{address.ipv4_mapped}"')
    return address


def read_network(value: object) -> str:
    """A network in its normal form: "10.1.0.0/16", "192.0.2.7/32"."""
    allowed = 'write a network, as in "10.1.0.0/16", "192.0.2.7" or "2001:db8::/32"'
    text = read_text(value, allowed).strip()
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise Wrong(f"{show(value)} is not a network", allowed) from None
    if "/" in text and str(ip_address(text.partition("/")[0])) != str(network.network_address):
        raise Wrong(f"{show(value)} has bits set beyond its prefix", f'write "{network}" for the network, '
                    f'or "{text.partition("/")[0]}" for the one address')  # fmt: skip
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise Wrong(f"{show(value)} holds IPv4 addresses in IPv6 clothes", "write it as an IPv4 network")
    return str(network)


def read_resolver(value: object) -> str:
    allowed = 'write an address or address:port, as in "127.0.0.1", "127.0.0.1:5353" or "[2001:db8::53]:53"'
    text = read_text(value, allowed).strip()
    try:
        parse_server(text)
    except ValueError:
        raise Wrong(f"{show(value)} is not a resolver", allowed) from None
    return text


def next_hop(
    protocols: Collection[str], unbuilt: Collection[str] = (), *, login: bool = False
) -> Callable[[object], HopUrl]:
    """A reader of next hops. login: a user name may stand in them."""
    allowed = f"write {', '.join(f'{name}://HOST:PORT' for name in protocols)}"
    if "lmtp" in protocols:
        allowed += " or lmtp:unix:/PATH"

    def read(value: object) -> HopUrl:
        text = read_text(value, allowed).strip()
        shown = show(_PASSWORD_IN_URL.sub(":***@", text))
        scheme = text.partition(":")[0].lower()
        if scheme in unbuilt:
            raise Wrong(f"{shown}: {scheme} is not available in this version", allowed)
        try:
            hop = parse_hop_url(text)
        except ValueError:
            if _PASSWORD_IN_URL.search(text):
                raise Wrong(
                    f"{shown} holds a password", "a password has a setting of its own, and needs a user"
                ) from None
            raise Wrong(f"{shown} is not a next hop", allowed) from None
        if hop.protocol not in protocols:
            raise Wrong(f"{shown} is {hop.protocol}, which cannot be used here", allowed)
        if hop.user and not login:
            raise Wrong(f"{shown} names a user, and only relay.smarthost can log in", allowed)
        if not hop.host.startswith("unix:") and not _is_ip(hop.host):
            read_domain(hop.host)
        return hop

    return read


# --- files and secrets ---------------------------------------------------------------------------------------------


def file_in(folder: Path, value: object) -> Path:
    """The path that `value` names, normal and absolute; a relative one starts at `folder`."""
    text = read_text(value, 'write a path, as in "/etc/gatepost/key.pem"; a relative one starts at this file\'s folder')
    return Path(os.path.normpath(folder / text))


def read_file_name(value: object, info: ValidationInfo) -> Path:
    """`file_in` the folder of the configuration file, which is the context of the validation."""
    assert isinstance(info.context, Path)
    return file_in(info.context, value)


def read_secret(value: object, info: ValidationInfo) -> str:
    """A secret that stands here, in a file or in a variable. It is never part of an error."""
    allowed = 'write { file = "NAME" }, { env = "VARIABLE" }, or the text itself'
    if isinstance(value, str):
        return _secret(value, "the text", allowed)
    if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= {"file", "env"}:
        found = "this is neither a text nor one of the two tables" if not isinstance(value, dict) else "this table"
        raise Wrong(f"{found} is not how a secret is given" if isinstance(value, dict) else found, allowed)
    if "env" in value:
        name = read_text(value["env"], allowed)
        if not _VARIABLE.fullmatch(name):
            raise Wrong(
                f"{show(name)} is not the name of a variable", 'write { env = "SMARTHOST_PASSWORD" }, for example'
            )
        if name not in os.environ:
            raise Wrong(f"the environment has no variable {name}", "set it for the service, or use { file = ... }")
        return _secret(os.environ[name], f"the variable {name}", allowed)
    file = read_file_name(value["file"], info)
    octets = read_file(file, "write the secret into it, readable for the server's user only")
    return _secret(
        octets.decode("utf-8", "surrogateescape"), str(file), "write the secret into it, as one line of text"
    )


def _secret(text: str, where: str, allowed: str) -> str:
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise Wrong(f"{where} is empty", allowed)
    if not text.isprintable():
        raise Wrong(f"{where} holds more than one line, or is not UTF-8 text", allowed)
    return text


def read_file(file: Path, advice: str, most: int = MAX_SECRET_OCTETS) -> bytes:
    """What `file` holds, up to `most` octets. Raises Wrong with `advice` when it cannot be read."""
    try:
        with file.open("rb") as opened:
            octets = opened.read(most + 1)
    except FileNotFoundError:
        raise Wrong(f"{file} does not exist", advice) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Wrong(f"{file} cannot be read ({reason})", advice) from None
    if len(octets) > most:
        raise Wrong(f"{file} is larger than {most} octets", advice)
    return octets


Switch = Annotated[bool, PlainValidator(read_switch)]
Count = Annotated[int, PlainValidator(counted(1))]
DurationText = Annotated[float, PlainValidator(read_duration)]
SizeText = Annotated[int, PlainValidator(read_size)]
RateText = Annotated[Quota, PlainValidator(read_rate)]
DomainText = Annotated[str, PlainValidator(read_domain)]
HostnameText = Annotated[str, PlainValidator(read_hostname)]
UserText = Annotated[str, PlainValidator(read_user)]
IpText = Annotated[str, PlainValidator(read_ip)]
NetworkText = Annotated[str, PlainValidator(read_network)]
ResolverText = Annotated[str, PlainValidator(read_resolver)]
FileName = Annotated[Path, PlainValidator(read_file_name)]
SecretText = Annotated[str, PlainValidator(read_secret)]
