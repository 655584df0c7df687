"""A good configuration, as the values that the parts are given."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from tests.config.files import GOOD, TOP, loaded, written
from tests.seal import scene

from gatepost.accounts.model import Domain
from gatepost.config.declared import model_of
from gatepost.config.locate import find_config, locate, locate_data
from gatepost.config.policy import LATER
from gatepost.config.problem import ConfigError
from gatepost.config.schema import TABLES, UNBUILT, Top
from gatepost.delivery.settings import HopUrl, Route, Smarthost
from gatepost.mail.address import Path as MailPath
from gatepost.mail.units import Quota
from gatepost.net.listener import Listener
from gatepost.policy.checks import (
    auth_attempts,
    client_connections,
    message_size,
    recipient_count,
    sender_rate,
    tls_required,
)
from gatepost.policy.limits import OwnAllowance
from gatepost.policy.registry import CHECKS
from gatepost.standing.grants import GrantSettings

EVERYTHING = """\
hostname = "MX.Example.org"
data = "data"
user = "root-is-not-it"
trusted = ["127.0.0.0/8", "2001:db8::/32"]
postmaster = "Ada@example.org"
workers = 3

[[listen]]
address = "0.0.0.0:25"
service = "mx"
proxy_protocol = true
[[listen]]
address = "[::]:465"
service = "submissions"
xclient = true
[[listen]]
address = "127.0.0.1:8025"
service = "admin"
[[listen]]
address = "unix:run/lmtp.sock"
service = "lmtp"

[tls]
certificate = "cert.pem"
key = "/KEY"
[[tls.sni]]
certificate = "cert.pem"
key = "cert.pem"

[domain."Example.ORG"]
[domain."bücher.example"]
relay_to = "lmtp:unix:/run/lmtp"
[domain."c.example"]
relay_to = "smtp://[2001:db8::5]:2525"

[relay]
networks = ["10.1.0.0/16"]
smarthost = "smtps://user%40h@smart.example"
smarthost_password = { file = "secret" }

[route."partner.example"]
to = "smtp://192.0.2.10:2525"
tls = "verify"

[limits]
message_size = "10MB"
recipients = 200
connections = { total = 100, per_address = 5 }
spool = "30GB"
free_disk = "1GiB"
content_memory = "128MiB"
[limits.account]
recipients = ["50/1h", "200/1d"]

[policy."client.connections"]
per_prefix = 9
[policy.tls.required]
networks = ["192.0.2.7"]
[policy."auth.attempts"]
mode = "shadow"
services = ["submission", "pop3"]
per_account = "5/10m"
[policy.relay]
[policy."sender.rate".accounts]
"News@example.org" = { messages = ["9/1h"], octets = ["1GB/1d"] }
[policy."message.size".domain]
"Bücher.example" = "1MB"

[delivery]
lifetime = "3d"
delay_notice = "1h"
source = ["192.0.2.25"]
private = true
paused = true
connections = { per_destination = 3 }

[dns]
resolvers = ["127.0.0.1:5353"]
validating = true
timeout = "2s"

[audit]
keep = "30d"

[admin]
metrics_token = { env = "TOKEN" }

[submission]
received_address = true
"""


def test_every_setting_reaches_the_part_that_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pwd.getpwnam", lambda name: None)
    monkeypatch.setenv("TOKEN", "0123456789abcdef")
    (tmp_path / "cert.pem").write_text("-----BEGIN CERTIFICATE-----")
    (tmp_path / "secret").write_text("hunter2\n")
    key = tmp_path / "key.pem"
    key.write_text("-----BEGIN PRIVATE KEY-----")
    config = loaded(tmp_path, EVERYTHING.replace("/KEY", str(key)))

    assert (config.hostname, config.data, config.user, config.workers) == (
        "mx.example.org",
        tmp_path / "data",
        "root-is-not-it",
        3,
    )
    assert "2001:db8::1" in config.trusted
    assert "192.0.2.1" not in config.trusted
    assert config.postmaster == MailPath("Ada", "example.org")
    assert config.listeners == (
        Listener("0.0.0.0:25", "mx", proxy_protocol=True),
        Listener("[::]:465", "submissions", xclient=True),
        Listener("127.0.0.1:8025", "admin"),
        Listener(f"unix:{tmp_path}/run/lmtp.sock", "lmtp"),
    )
    assert config.tls.certificates == ((tmp_path / "cert.pem", key), (tmp_path / "cert.pem", tmp_path / "cert.pem"))
    assert config.domains == {
        "example.org": Domain("example.org"),
        "xn--bcher-kva.example": Domain("xn--bcher-kva.example", "lmtp:unix:/run/lmtp"),
        "c.example": Domain("c.example", "smtp://[2001:db8::5]:2525"),
    }
    assert "10.1.2.3" in config.relay_networks
    assert config.policy == {
        "message.size": message_size.Settings(limit=10_000_000, domain={"xn--bcher-kva.example": 1_000_000}),
        "sender.rate": sender_rate.Settings(
            account=msgspec.structs.replace(
                sender_rate.Settings().account, recipients=(Quota(50, 3600), Quota(200, 86400))
            ),
            accounts={"news@example.org": OwnAllowance(messages=(Quota(9, 3600),), octets=(Quota(10**9, 86400),))},
        ),
        "recipient.count": recipient_count.Settings(limit=200),
        "client.connections": client_connections.Settings(total=100, per_address=5, per_prefix=9),
        "tls.required": tls_required.Settings(networks=("192.0.2.7/32",)),
        "auth.attempts": auth_attempts.Settings(
            mode="shadow", services=("submission", "pop3"), per_account=Quota(5, 600)
        ),
        "relay": next(check for check in CHECKS if check.name == "relay").settings,
    }
    delivery = config.delivery
    assert delivery.hostname == "mx.example.org"
    assert (delivery.schedule.lifetime, delivery.schedule.delay_notice) == (timedelta(days=3), timedelta(hours=1))
    assert delivery.schedule.first == timedelta(minutes=5)  # not set: the default of delivery
    assert (delivery.source, delivery.private, delivery.ipv6) == (("192.0.2.25",), True, True)
    assert delivery.paused
    assert (delivery.per_destination, delivery.total) == (3, 1000)
    assert delivery.routes == {"partner.example": Route(HopUrl("smtp", "192.0.2.10", 2525), "verify")}
    assert delivery.relay_to == {
        "xn--bcher-kva.example": HopUrl("lmtp", "unix:/run/lmtp", 0),
        "c.example": HopUrl("smtp", "2001:db8::5", 2525),
    }
    assert delivery.smarthost == Smarthost(HopUrl("smtps", "smart.example", 465, "user@h"), "hunter2")
    assert (config.dns.resolvers, config.dns.validating, config.dns.timeout) == (("127.0.0.1:5353",), True, 2.0)
    assert config.spool.size_limit_octets == 10 * 10**9  # the third of a worker
    assert config.spool.free_limit_octets == 2**30
    assert config.spool.memory_octets == 128 * 2**20  # of each worker
    assert config.audit.keep == 30 * 86400
    assert config.intake.received_address
    assert config.metrics_token == "0123456789abcdef"
    assert "hunter2" not in repr(config)


def test_what_is_not_set_has_the_defaults_of_the_manual(tmp_path: Path) -> None:
    config = loaded(tmp_path, GOOD)
    assert config.data == Path("/var/lib/gatepost")
    assert config.workers >= 1
    assert "127.0.0.1" in config.trusted
    assert "::1" in config.trusted
    assert "10.0.0.1" not in config.trusted
    assert not config.relay_networks
    assert config.policy == {}
    assert config.tls.certificates == ()
    assert config.audit.keep == 90 * 86400
    assert not config.intake.received_address
    assert config.warnings == ()


def test_an_empty_list_of_trusted_networks_trusts_nobody(tmp_path: Path) -> None:
    assert "127.0.0.1" not in loaded(tmp_path, "trusted = []\n" + GOOD).trusted


def test_one_worker_per_core_that_this_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 3, 5})
    assert loaded(tmp_path, GOOD).workers == 3


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_the_settings_of_every_check_can_be_written(check: object) -> None:
    """A check whose settings have a type without a form in TOML would break the start, not this test alone."""
    settings = type(next(c for c in CHECKS if c is check).settings)
    assert set(model_of(settings).model_fields) == {field.name for field in msgspec.structs.fields(settings)}


def test_what_is_refused_as_not_available_is_not_there(tmp_path: Path) -> None:
    assert not LATER & {check.name for check in CHECKS}
    for path in UNBUILT:
        if len(path) == 2 and path[0] in TABLES:
            assert path[1] not in TABLES[path[0]].model_fields
        elif len(path) == 1:
            assert path[0] not in TABLES
            assert path[0] not in Top.model_fields


def test_grants_are_off_and_narrow_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    assert loaded(tmp_path, GOOD).grants == GrantSettings(
        enabled=False, window=1800.0, networks=(), require_tls=True, max_accounts_per_address=3
    )
    config = loaded(
        tmp_path,
        GOOD + '[relay.pop_before_smtp]\nenabled = true\nwindow = "10m"\nnetworks = ["192.0.2.7", "2001:db8::/32"]\n'
        'require_tls = false\nmax_accounts_per_address = 1\n[[listen]]\naddress = "127.0.0.1:2080"\n'
        'service = "admin"\n[admin]\ngrants_token = "a secret that nobody guesses"\n',
    )
    assert config.grants == GrantSettings(
        enabled=True,
        window=600.0,
        networks=("192.0.2.7/32", "2001:db8::/32"),
        require_tls=False,
        max_accounts_per_address=1,
    )
    assert config.grants_token == "a secret that nobody guesses"


def test_the_file_is_looked_for_in_the_order_of_the_manual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    system = tmp_path / "etc.toml"
    monkeypatch.setattr("gatepost.config.locate.SYSTEM_FILE", system)
    with pytest.raises(
        ConfigError, match=r"there is no configuration: neither gatepost\.toml in this folder nor .*--config"
    ):
        find_config(None, {})
    system.touch()
    assert find_config(None, {}) == system
    written(tmp_path, GOOD)
    assert find_config(None, {}) == Path("gatepost.toml")
    assert find_config(None, {"GATEPOST_CONFIG": "there.toml"}) == Path("there.toml")
    assert find_config(Path("here.toml"), {"GATEPOST_CONFIG": "there.toml"}) == Path("here.toml")


def test_a_program_that_may_not_read_the_secrets_learns_where_the_data_is(tmp_path: Path) -> None:
    broken = TOP + 'data = "d"\n[relay]\nsmarthost_password = { file = "closed" }\n'
    assert locate(written(tmp_path, broken)) == ("mx.example.org", tmp_path / "d")
    with pytest.raises(ConfigError, match="hostname: this setting is missing"):
        locate(written(tmp_path, 'data = "d"\n'))
    with pytest.raises(ConfigError, match="hostname: 5 is not a text"):
        locate(written(tmp_path, "hostname = 5\n"))


def test_where_the_data_is_can_be_told_whatever_else_is_wrong(tmp_path: Path) -> None:
    assert locate_data(written(tmp_path, 'hostnam = "mx.example.org"\ndata = "d"\n')) == tmp_path / "d"
    with pytest.raises(ConfigError, match="data: 5 is not"):
        locate_data(written(tmp_path, "data = 5\n"))


def test_a_signing_key_that_ends_is_a_warning_and_no_reason_not_to_start(tmp_path: Path) -> None:
    """A restart on the night after its end would else stop all mail."""
    own = scene.private_key("p256")
    for days, says in ((-1, "expired"), (20, "expires"), (200, "")):
        end = scene.NOW + timedelta(days=days)
        certificate = scene.certificate("ada@example.org", own, start=end - timedelta(days=300), end=end)
        file = tmp_path / "sign.pem"
        file.write_bytes(scene.pem_key(own) + certificate.public_bytes(serialization.Encoding.PEM))
        config = loaded(tmp_path, GOOD + f'[[seal.signer]]\ndomain = "example.org"\nkey = "{file}"\n')
        (signer,) = config.sealing.signers["example.org"]
        assert signer.valid_until == end
        warnings = [str(each) for each in config.warnings if "sign.pem" in str(each)]
        assert len(warnings) == (1 if says else 0)
        assert all(f"{says} {end:%Y-%m-%d}; mail to be signed is put off then" in each for each in warnings)


def test_an_expired_signing_key_of_openpgp_is_a_warning_too(tmp_path: Path) -> None:
    file = tmp_path / "sign.asc"
    file.write_bytes((Path(__file__).parents[1] / "corpus" / "sealed" / "expired.key.asc").read_bytes())
    config = loaded(tmp_path, GOOD + f'[[seal.signer]]\ndomain = "example.org"\nkey = "{file}"\n')
    assert any("expired 2020-12-31; mail to be signed" in str(each) for each in config.warnings)
