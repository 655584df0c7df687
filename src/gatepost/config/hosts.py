"""Names and addresses of hosts, users and networks, as an administrator writes them, and next hops."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Final

from pydantic import PlainValidator

from gatepost.config.problem import Wrong, show
from gatepost.config.texts import parsed, read_text
from gatepost.delivery.settings import HopUrl, parse_hop_url
from gatepost.mail.address import AddressError, Path, parse_mailbox, to_ascii_domain
from gatepost.mail.address_pattern import parse_pattern
from gatepost.mail.network import NetworkSet
from gatepost.net.dns.servers import parse_server
from gatepost.ports.fetch import FetchError, https_url

MOST_OF_IPV4: Final = 2**28  # a sixteenth of all addresses; the private ranges together are a two-hundredth
MOST_OF_IPV6: Final = 2**112  # a /16; no registry gives anybody as much
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_PASSWORD_IN_URL = re.compile(r":[^:@/]*@")


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


def read_https_url(value: object) -> str:
    """A URL that can be asked over HTTPS."""
    allowed = 'write a URL without a user, as in "https://hooks.example.net/alerts"'
    text = read_text(value, allowed).strip()
    try:
        https_url(text)
    except FetchError as error:
        raise Wrong(f"this is {error}" if "@" in text else f"{show(value)} is {error}", allowed) from None
    return text


def read_mailbox(value: object) -> Path:
    allowed = 'write one address, as in "ada@example.org"'
    try:
        return parse_mailbox(read_text(value, allowed).strip())
    except AddressError as error:
        raise Wrong(f"{show(value)} is not an address ({error})", allowed) from None


def read_address_pattern(value: object) -> str:
    """Whom a rule means (`mail.address_pattern`)."""
    allowed = 'write "ada@example.org", "*@example.org" for a domain, "*@*.example.org" for those below it, or "*"'
    try:
        return parse_pattern(read_text(value, allowed))
    except AddressError:
        raise Wrong(f"{show(value)} is neither an address nor a pattern of addresses", allowed) from None


def read_user(value: object) -> str:
    allowed = 'write the name of a user of this system, as in "gatepost"'
    if not _USER.fullmatch(read_text(value, allowed)):
        raise Wrong(f"{show(value)} is not a user name", allowed)
    if value == "root":
        raise Wrong('"root" is the one user that must not be dropped to', allowed)
    return str(value)


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def read_ip(value: object) -> str:
    allowed = 'write an IP address, as in "192.0.2.1" or "2001:db8::1"'
    address = parsed(value, lambda text: ip_address(text.strip()), "an IP address", allowed)
    return str(_not_mapped(value, address))


def _not_mapped(value: object, address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise Wrong(f"{show(value)} is an IPv4 address in IPv6 form", f'write "{address.ipv4_mapped}"')
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
        raise Wrong(f"{show(value)} holds IPv4 addresses in IPv6 form", "write it as an IPv4 network")
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


def no_strangers(why: str) -> Callable[[list[str]], list[str]]:
    """A reader that refuses networks of most of the Internet: all its addresses, or an eternity of them. why: what
    listing them would mean."""

    def read(networks: list[str]) -> list[str]:
        if _covers_too_much(networks):
            raise Wrong(f"these networks hold most of the Internet: {why}", "list only networks of your own")
        return networks

    return read


def _covers_too_much(networks: Sequence[str]) -> bool:
    parsed = [ip_network(text) for text in networks]
    four = sum(network.num_addresses for network in parsed if network.version == 4)
    six = sum(network.num_addresses for network in parsed if network.version == 6 and not network.is_private)
    return NetworkSet(parsed).covers_all or four > MOST_OF_IPV4 or six > MOST_OF_IPV6


HostnameText = Annotated[str, PlainValidator(read_hostname)]
UserText = Annotated[str, PlainValidator(read_user)]
IpText = Annotated[str, PlainValidator(read_ip)]
NetworkText = Annotated[str, PlainValidator(read_network)]
ResolverText = Annotated[str, PlainValidator(read_resolver)]
