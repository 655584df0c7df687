"""What one of our domains should say in DNS so that mail comes here and is believed when it leaves.

Not here: what it says now (`own_dns`), and the records of keys (`seal.key_records`).
"""

from __future__ import annotations

from gatepost.mail.dns_record import DnsRecord
from gatepost.mail.network import parse_ip
from gatepost.verify.own_dns import Host
from gatepost.verify.spf_record import VERSION


def records_for(domain: str, host: Host) -> list[DnsRecord]:
    """MX, and SPF where this server itself sends: through a smarthost, its operator knows what SPF must include.

    host: `addresses` is not looked at, only what the configuration says.
    """
    records = [DnsRecord(name=domain, type="MX", data=f"10 {host.name}.")]
    if not host.smarthost:
        records.append(DnsRecord(name=domain, type="TXT", data=f"{VERSION} {' '.join(_senders(host))} -all"))
    return records


def _senders(host: Host) -> list[str]:
    """`mx`, and the addresses that mail leaves from where they were set."""
    return ["mx", *(f"ip{parse_ip(ip).version}:{ip}" for ip in host.source)]
