"""What several settings may not say together, and what is legal but probably not meant (warnings)."""

from __future__ import annotations

import pwd
import stat
from ipaddress import ip_address
from pathlib import Path

from gatepost.config.declared import struct_of
from gatepost.config.files import Secret, read_file
from gatepost.config.hosts import no_strangers
from gatepost.config.listen import SMTP_SERVICES, Address
from gatepost.config.policy import BY_NAME
from gatepost.config.problem import Location, Problems, Wrong, show
from gatepost.config.schema import POLICY, Alerts, Delivery, Listen, Relay, Tls, Top
from gatepost.config.sections import Sections
from gatepost.delivery.schedule import Schedule
from gatepost.delivery.settings import HopUrl
from gatepost.mail.units import show_duration
from gatepost.net.dns.servers import parse_server
from gatepost.policy.checks import client_access
from gatepost.standing.grants import LONGEST_WINDOW, GrantSettings

MAX_PEM_OCTETS = 2**20
LEAST_TOKEN_CHARACTERS = 16
LEAST_KEY_CHARACTERS = 32  # in base64: 192 bits


def check_together(sections: Sections, problems: Problems) -> None:
    """Everything that more than one value, or the machine, has a say in."""
    if sections.top is not None:
        _check_top(sections.top, problems)
    _check_listeners(sections, problems)
    _check_admin(sections, problems)
    if sections.tls is not None:
        _check_tls(sections.tls, problems)
    if sections.alerts is not None:
        _check_alerts(sections.alerts, problems)
    _check_domains(sections, problems)
    if sections.relay is not None:
        _check_relay(sections.relay, problems)
    _check_grants(sections, problems)
    _check_next_hops(sections, problems)
    _check_limits(sections, problems)
    _check_access(sections, problems)
    if sections.spool is not None:
        if sections.spool.key is not None:
            _check_spool_key(("spool", "key"), sections.spool.key, sections, problems)
        for place, key in enumerate(sections.spool.previous_keys):
            _check_spool_key(("spool", "previous_keys", place), key, sections, problems)
    if sections.delivery is not None:
        _check_delivery(sections.delivery, problems)
    if sections.dns is not None and sections.dns.validating:
        for place, text in enumerate(sections.dns.resolvers):
            if not ip_address(parse_server(text).host).is_loopback:
                problems.warn(("dns", "resolvers", place), f"{show(text)} is asked over the network, where answers "
                              "can be forged, and validating = true believes them",
                              "run a validating resolver here, or see that the way there is safe")  # fmt: skip


def _check_spool_key(at: Location, key: Secret, sections: Sections, problems: Problems) -> None:
    advice = 'make one with "openssl rand -base64 32", in a file outside of the data folder'
    if len(key.text) < LEAST_KEY_CHARACTERS:
        problems.error(at, f"it is shorter than {LEAST_KEY_CHARACTERS} characters and could be guessed", advice)
    if key.file == problems.file:
        problems.warn(at, "the key stands in the configuration, which a backup holds too", advice)
    if sections.top is not None and key.file is not None and key.file.is_relative_to(sections.top.data):
        problems.error(at, f"{key.file} lies in the data folder, beside what it protects", advice)


# --- top, listen, tls ----------------------------------------------------------------------------------------------


def _check_top(top: Top, problems: Problems) -> None:
    if top.user:
        try:
            pwd.getpwnam(top.user)
        except KeyError:
            problems.error(("user",), f"this system has no user {show(top.user)}",
                           f"create it with useradd --system {top.user}, or correct the name")  # fmt: skip
    if top.data.exists() and not top.data.is_dir():
        problems.error(("data",), f"{top.data} is not a folder", "name a folder that only Gatepost uses")
    if "postmaster" not in top.model_fields_set:
        problems.warn(("postmaster",), "nobody gets the mail for postmaster and abuse; it is kept aside",
                      'name who reads it, as in postmaster = "ada@example.org"')  # fmt: skip


def _check_listeners(sections: Sections, problems: Problems) -> None:
    if not sections.listen and not problems.errors:
        problems.error(("listen",), "there is no [[listen]], so nobody could connect",
                       'add one, as in [[listen]] with address = "0.0.0.0:25" and service = "mx"')  # fmt: skip
    earlier: list[tuple[int, Address]] = []
    trusts_nobody = sections.top is not None and not sections.top.trusted
    for place, listen in sections.listen.items():
        at: Location = ("listen", place)
        for other, address in earlier:
            if address.collides_with(listen.address):
                problems.error((*at, "address"), f"{listen.address} is taken: listen[{other + 1}] has {address}",
                               "give each its own address or port")  # fmt: skip
                break
        earlier.append((place, listen.address))
        _check_listener(listen, at, trusts_nobody, problems)


def _check_listener(listen: Listen, at: Location, trusts_nobody: bool, problems: Problems) -> None:
    for key in ("proxy_protocol", "xclient"):
        if getattr(listen, key) and trusts_nobody:
            problems.error(
                (*at, key), "`trusted` is empty, so nobody may use this", "add the proxy's address to `trusted`"
            )
    if listen.xclient and listen.service not in SMTP_SERVICES:
        problems.error((*at, "xclient"), f"XCLIENT is a command of SMTP, and {listen.service} is not", "remove xclient")
    if listen.service in ("admin", "web") and listen.proxy_protocol:
        problems.error(
            (*at, "proxy_protocol"), f"the {listen.service} service reads no PROXY header", "remove proxy_protocol"
        )
    if listen.service == "admin":
        if not listen.address.is_local:
            problems.error((*at, "address"), f"admin on {listen.address} would be reached from other hosts without TLS",
                           'listen on this machine only, as in "127.0.0.1:8025"')  # fmt: skip
    if listen.service == "lmtp" and listen.address.is_public:
        problems.warn((*at, "address"), f"lmtp on {listen.address} can be reached from outside; only `trusted` peers "
                      "are served", "listen on loopback, a private address or a unix socket")  # fmt: skip


def _check_admin(sections: Sections, problems: Problems) -> None:
    if sections.admin is not None:
        _check_token("metrics_token", sections.admin.metrics_token, sections, problems)
        _check_token("grants_token", sections.admin.grants_token, sections, problems)


def _check_token(name: str, token: Secret | None, sections: Sections, problems: Problems) -> None:
    if token is None:
        return
    at: Location = ("admin", name)
    if not any(listen.service == "admin" for listen in sections.listen.values()):
        problems.error(at, "there is a token, but no listener of the service admin",
                       'add [[listen]] with address = "127.0.0.1:8025" and service = "admin"')  # fmt: skip
    if len(token.text) < LEAST_TOKEN_CHARACTERS:
        problems.error(at, "the token can be guessed", f"make it {LEAST_TOKEN_CHARACTERS} characters or longer "
                       '("openssl rand -hex 16" prints one)')  # fmt: skip
    if token.file:
        _warn_if_readable(token.file, at, problems)


def _check_alerts(alerts: Alerts, problems: Problems) -> None:
    for key in ("webhook_token", "webhook_private"):
        if getattr(alerts, key) and not alerts.webhook:
            problems.error(("alerts", key), "there is no webhook that this is for", "set webhook, or remove this")
    token = alerts.webhook_token
    if token is not None and token.file:
        _warn_if_readable(token.file, ("alerts", "webhook_token"), problems)


def _check_tls(tls: Tls, problems: Problems) -> None:
    given = tls.model_fields_set
    for one, other in (("certificate", "key"), ("key", "certificate")):
        if one in given and other not in given:
            problems.error(("tls", one), f"{one} is set without {other}", f'add {other} = "{other}.pem" below it')
    if tls.sni and "certificate" not in given:
        problems.error(("tls", "sni"), "there is no certificate for peers that name no host",
                       "set certificate and key in [tls] itself, and the further ones in [[tls.sni]]")  # fmt: skip
    files: list[tuple[Location, Path]] = [
        (("tls", name), getattr(tls, name)) for name in ("certificate", "key", "client_ca") if name in given
    ]
    for place, table in enumerate(tls.sni):
        files += [(("tls", "sni", place, name), getattr(table, name)) for name in ("certificate", "key")]
    for at, file in files:
        try:
            octets = read_file(file, "name a file in PEM form that the server's user can read", MAX_PEM_OCTETS)
        except Wrong as wrong:
            problems.wrong(at, wrong)
            continue
        if b"-----BEGIN " not in octets:
            problems.error(
                at, f"{file} is not in PEM form", "convert it (openssl x509 -inform DER, openssl pkey), or name another"
            )
        if at[-1] == "key":
            _warn_if_readable(file, at, problems)


def _warn_if_readable(file: Path, at: Location, problems: Problems) -> None:
    if file.stat().st_mode & stat.S_IROTH:
        advice = "move the secret into a file of its own" if file == problems.file else f"chmod o-r {file}"
        problems.warn(at, f"everybody on this machine can read {file}", advice)


# --- domains, relay, routes ----------------------------------------------------------------------------------------


def _check_domains(sections: Sections, problems: Problems) -> None:
    if not sections.domain and not problems.errors:
        problems.warn(("domain",), "there is no [domain.\"...\"], so mail is accepted for nobody here",
                      'add one for each domain of yours, as in [domain."example.org"]')  # fmt: skip
    for key, domain in sections.domain.values():
        if domain.cut_through and domain.relay_to is None:
            problems.error(("domain", key, "cut_through"), "there is no next hop that could answer for this domain",
                           'add relay_to = "smtp://HOST:PORT", or remove cut_through')  # fmt: skip
    for name, (key, _) in sections.route.items():
        ours = sections.domain.get(name)
        if ours is not None:
            what = "is kept here" if ours[1].relay_to is None else "already has its next hop in relay_to"
            problems.error(
                ("route", key), f"mail for {name} {what}", f'remove this table, or use relay_to in [domain."{name}"]'
            )


def _check_relay(relay: Relay, problems: Problems) -> None:
    password = relay.smarthost_password
    if password and password.file:
        _warn_if_readable(password.file, ("relay", "smarthost_password"), problems)
    if password and relay.smarthost is None:
        problems.error(("relay", "smarthost_password"), "there is a password, but no smarthost",
                       'add smarthost = "smtps://USER@HOST:465"')  # fmt: skip
    elif password and relay.smarthost is not None and not relay.smarthost.user:
        problems.error(("relay", "smarthost"), "there is a password, but no user to log in as",
                       f'write "{relay.smarthost.protocol}://USER@HOST:{relay.smarthost.port}"')  # fmt: skip
    elif relay.smarthost is not None and relay.smarthost.user and not password:
        problems.error(("relay", "smarthost"), f"the user {show(relay.smarthost.user)} has no password",
                       'add smarthost_password = { file = "smarthost.secret" }')  # fmt: skip


def _check_grants(sections: Sections, problems: Problems) -> None:
    """`[relay.pop_before_smtp]`: short, few, and not for everybody."""
    if sections.relay is None:
        return
    at: Location = ("relay", "pop_before_smtp")
    grants = struct_of(sections.relay.pop_before_smtp, GrantSettings())
    has_token = sections.admin is not None and sections.admin.grants_token is not None
    if grants.window > LONGEST_WINDOW:
        problems.error((*at, "window"), "after so long an address is often somebody else's",
                       f'write at most "{show_duration(LONGEST_WINDOW)}"; "30m" is usual')  # fmt: skip
    try:
        no_strangers("whoever shares an address with one of your users could send as that user")(list(grants.networks))
    except Wrong as wrong:
        problems.wrong((*at, "networks"), wrong)
    if has_token and not grants.enabled:
        problems.error(("admin", "grants_token"), "there is a token, but no grant counts",
                       "set enabled = true in [relay.pop_before_smtp], or remove the token")  # fmt: skip
    if not grants.enabled:
        return
    if not grants.networks:
        problems.warn((*at, "enabled"), "networks is empty, so grants count nowhere",
                      'list where the devices are, as in networks = ["192.0.2.0/24"]')  # fmt: skip
    if not has_token and not any(listen.service in ("pop3", "pop3s") for listen in sections.listen.values()):
        problems.warn((*at, "enabled"), "nobody can log in before sending: there is no POP3 listener",
                      "add one, or let another server announce logins (admin.grants_token)")  # fmt: skip


def _check_next_hops(sections: Sections, problems: Problems) -> None:
    """A next hop that is one of our own listeners sends mail in a circle."""
    hops: list[tuple[Location, HopUrl]] = [
        (("domain", key, "relay_to"), table.relay_to) for key, table in sections.domain.values() if table.relay_to
    ]
    hops += [(("route", key, "to"), table.to) for key, table in sections.route.values()]
    if sections.relay is not None and sections.relay.smarthost is not None:
        hops.append((("relay", "smarthost"), sections.relay.smarthost))
    for at, hop in hops:
        for place, listen in sections.listen.items():
            if _reaches(hop, listen.address):
                problems.error(at, f"listen[{place + 1}] is this very server, so mail would go in a circle",
                               "name the host that keeps or forwards this mail")  # fmt: skip
                break
    for key, route in sections.route.values():
        if route.tls == "verify" and route.to.host.startswith("unix:"):
            problems.error(
                ("route", key, "tls"), "a unix socket has no certificate that could be verified", "remove tls"
            )


def _reaches(hop: HopUrl, address: Address) -> bool:
    if hop.host.startswith("unix:"):
        return address.path is not None and Path(hop.host.removeprefix("unix:")) == address.path
    if address.path is not None or hop.port != address.port:
        return False
    try:
        host = ip_address(hop.host)
    except ValueError:
        return hop.host.lower() == "localhost" and address.is_local
    return str(host) == address.host or (
        host.is_loopback and address.is_wildcard and host.version == ip_address(address.host).version
    )


# --- limits, delivery ----------------------------------------------------------------------------------------------


def _check_limits(sections: Sections, problems: Problems) -> None:
    """`[limits]` is the short way to settings of checks: not both."""
    if sections.limits is None:
        return
    limits = sections.limits
    ways = [
        ("message_size", "message.size", "limit"),
        ("recipients", "recipient.count", "limit"),
    ]
    pairs: list[tuple[Location, str, str]] = [
        (("limits", key), check, name) for key, check, name in ways if key in limits.model_fields_set
    ]
    pairs += [
        (("limits", "connections", key), "client.connections", key) for key in limits.connections.model_fields_set
    ]
    pairs += [(("limits", "account", key), "sender.rate", "account") for key in limits.account.model_fields_set]
    for at, check, name in pairs:
        table = sections.policy.get(check)
        if table is not None and getattr(table, name) != getattr(BY_NAME[check].settings, name):
            problems.error(at, f'[policy."{check}"] sets {name} too', "keep one of the two")


def _check_access(sections: Sections, problems: Problems) -> None:
    access = sections.policy.get(client_access.NAME)
    if isinstance(access, client_access.Settings) and access.only_listed and not access.allow:
        problems.error((POLICY, client_access.NAME, "only_listed"), "`allow` is empty, so nobody could start a session",
                       'list who may, as in allow = ["192.0.2.0/24"]')  # fmt: skip


def _check_delivery(delivery: Delivery, problems: Problems) -> None:
    default = Schedule()
    lifetime = delivery.lifetime or default.lifetime.total_seconds()
    longest = delivery.longest_retry or default.longest.total_seconds()
    first = delivery.first_retry or default.first.total_seconds()
    if first > longest:
        problems.error(("delivery", "first_retry"), "the first wait is longer than the longest (longest_retry)",
                       "make first_retry the shorter one")  # fmt: skip
    if first >= lifetime:
        problems.error(("delivery", "lifetime"), "mail would be given up before it is tried a second time",
                       "make lifetime longer than first_retry; RFC 5321 wants 4 to 5 days")  # fmt: skip
    elif lifetime < 86400:
        problems.warn(("delivery", "lifetime"), "mail is given up in less than a day",
                      "RFC 5321 wants 4 to 5 days, so that a host may be down over a weekend")  # fmt: skip
    if delivery.paused:
        problems.warn(("delivery", "paused"), "no mail leaves the spool, neither to mailboxes nor to other hosts",
                      "remove it and reload when the work is done")  # fmt: skip
    versions = [ip_address(text).version for text in delivery.source]
    if 6 in versions and not delivery.ipv6:
        problems.error(
            ("delivery", "source", versions.index(6)),
            "an IPv6 address cannot be used with ipv6 = false",
            "remove one of the two",
        )
