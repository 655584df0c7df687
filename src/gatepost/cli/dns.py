"""`gatepost dns`: what belongs into DNS. What is there now is shown by `gatepost check dns`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gatepost.cli import output
from gatepost.cli.check import domain_of_ours
from gatepost.cli.options import AsJson, ConfigFile, given, noun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.config.model import Config
    from gatepost.mail.dns_record import DnsRecord
    from gatepost.seal.port import PublishedKey

app = noun("What belongs into the DNS of our domains.")


@app.command("records")
def records(
    domain: Annotated[str, typer.Argument(metavar="[DOMAIN]", help="One of ours; without it all of them.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Print the records of our domains, as a zone file has them: where their mail goes, who may send it, and the keys
    that were published. It changes nothing, and looks nothing up."""
    import msgspec

    from gatepost.cli.key_home import server_keys

    with server_keys() as home:
        settings = home.config
        assert settings is not None
        chosen = [domain_of_ours(settings, domain)] if domain else list(settings.domains)
        keys = home.do(lambda store: store.published())
    found = [record for each in chosen for record in _records(settings, each, keys)]
    if given.as_json:
        output.rows([msgspec.structs.asdict(record) for record in found], (), "")
        return
    for record in found:
        print(output.printable(record.in_zone_file(), lines=True))


def _records(settings: Config, domain: str, keys: Sequence[PublishedKey]) -> list[DnsRecord]:
    from gatepost.mail.dns_record import DnsRecord
    from gatepost.seal.key_names import ADVANCED_LABEL
    from gatepost.seal.key_records import record_of
    from gatepost.verify.own_dns import Host
    from gatepost.verify.own_records import records_for

    delivery = settings.delivery
    smarthost = str(delivery.smarthost.to.host) if delivery.smarthost is not None else ""
    own = [key for key in keys if key.address.rpartition("@")[2] == domain]
    found = records_for(domain, Host(settings.hostname, delivery.source, delivery.ipv6, smarthost))
    has_web = any(listener.service == "web" for listener in settings.listeners)
    if has_web and any(key.kind == "openpgp" for key in own):
        found.append(DnsRecord(name=f"{ADVANCED_LABEL}.{domain}", type="CNAME", data=f"{settings.hostname}."))
    return found + [record_of(key) for key in own]
