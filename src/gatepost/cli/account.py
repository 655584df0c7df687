"""`gatepost account`: who has a mailbox and may log in."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gatepost.cli import account_seal, app_password, output
from gatepost.cli.account_parts import Address, existing, time_or_none
from gatepost.cli.errors import USAGE, CommandError
from gatepost.cli.options import AsJson, ConfigFile, given, noun
from gatepost.cli.record import recording
from gatepost.cli.session import accounts, key_of_any, key_of_ours

if TYPE_CHECKING:
    from gatepost.accounts.model import Account
    from gatepost.store.sqlite.accounts import SqliteAccounts

app = noun("Accounts: who has a mailbox here, and may log in.")
app.add_typer(app_password.app, name="app-password")
app.command("seal")(account_seal.seal)

PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
Quota = Annotated[
    str | None, typer.Option("--quota", metavar="SIZE", help='Room for mail, as in "1GB"; "none" for no limit.')
]
SendAs = Annotated[
    list[str] | None,
    typer.Option("--send-as", metavar="ADDRESS|@DOMAIN", help="A further address that it may send as; repeatable."),
]


@app.command("add")
def add(
    address: Address,
    password_stdin: PasswordStdin = False,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="No password: only app passwords will do.")
    ] = False,
    quota: Quota = None,
    send_as: SendAs = None,
    role: Annotated[
        Literal["admin", "auditor"] | None, typer.Option("--role", help="What it may do on the pages.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Add an account, with a password that is asked for."""
    from gatepost.accounts.credentials import with_password
    from gatepost.accounts.model import Account
    from gatepost.cli.passwords import ask

    with accounts() as (settings, store, _):
        key = key_of_ours(settings, address)
        _ensure_free(store, key)
        now = time.time()
        account = Account(
            key,
            quota=_octets(quota),
            send_as=_send_as(send_as or ()),
            role=role or "",
            created=now,
        )
        if not no_password:
            account = with_password(account, ask(key, password_stdin), now)
        with recording(settings, "account add", account=key, quota=account.quota, send_as=account.send_as, role=role):
            store.put(account)
        relay_to = settings.domains[key.rpartition("@")[2]].relay_to
        if relay_to:
            output.note(f"mail for {key} goes on to {relay_to}; the account can only log in and send")
        output.done(f"{key} is added.", **_shown(account))


@app.command("list")
def list_accounts(
    domain: Annotated[str, typer.Option("--domain", metavar="DOMAIN", help="Only those of one domain.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """All accounts."""
    with accounts() as (_, store, _directory):
        found = [_shown(account) for account in store.accounts(domain.lower())]
        output.rows(found, ("address", "quota", "role", "send_as", "app_passwords"), "There are no accounts.")


@app.command("show")
def show(address: Address, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """One account: its app passwords, the aliases that name it, and what it may still send."""
    from gatepost.cli.allowance import held_messages, in_lines, left
    from gatepost.cli.holding import hold_on

    with accounts() as (settings, store, _directory):
        account = existing(store, address)
        limits = left(settings, account.address)
        found = {**_shown(account), "aliases": store.naming(account.address)}
        if hold := hold_on(settings, account.address):
            found["on_hold"] = hold
        held = held_messages(settings, account.address)
        if given.as_json:
            output.thing({**found, "limits": limits, "held_messages": held})
            return
        if hold:
            found["on_hold"] = f"since {hold['since']}, by {hold['by']}: {hold['reason']}"
        output.thing({**found, **in_lines(limits), **({"held_messages": held} if held else {})})
        if held:
            output.note(f'the held messages of {account.address} are in "gatepost queue list --state held"; '
                        '"gatepost queue release ID" lets one go')  # fmt: skip


@app.command("passwd")
def passwd(
    address: Address, password_stdin: PasswordStdin = False, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Set a new password. App passwords stay as they are."""
    from gatepost.accounts.credentials import with_password
    from gatepost.cli.passwords import ask

    with accounts() as (settings, store, _):
        account = existing(store, address)
        changed = with_password(account, ask(account.address, password_stdin), time.time())
        with recording(settings, "account passwd", account=account.address):
            store.put(changed)
        output.done(f"{account.address} has a new password.", address=account.address)


@app.command("set")
def set_account(
    address: Address,
    quota: Quota = None,
    send_as: Annotated[
        list[str] | None,
        typer.Option("--send-as", metavar="ADDRESS|@DOMAIN",
                     help='An address that it may send as, in place of those before; repeatable. "none" for no other.'),
    ] = None,
    role: Annotated[
        Literal["admin", "auditor", "none"] | None, typer.Option("--role", help="What it may do on the pages.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Change an account: its room, the addresses that it may send as, its role. What is not named stays."""
    import msgspec

    changes: dict[str, Any] = {}
    if quota is not None:
        changes["quota"] = _octets(quota)
    if send_as:
        if "none" in send_as and len(send_as) > 1:
            raise CommandError('--send-as: write either "none" or addresses', USAGE)
        changes["send_as"] = () if send_as == ["none"] else _send_as(send_as)
    if role is not None:
        changes["role"] = "" if role == "none" else role
    if not changes:
        raise CommandError("say what to change: --quota, --send-as or --role", USAGE)
    with accounts() as (settings, store, _):
        account = existing(store, address)
        changed = msgspec.structs.replace(account, **changes)
        told = {name: value if value not in (None, (), "") else "none" for name, value in changes.items()}
        with recording(settings, "account set", account=account.address, **told):
            store.put(changed)
        output.done(f"{account.address} is changed.", **_shown(changed))


@app.command("remove")
def remove(address: Address, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Remove an account. Its mail stays in the data folder until you delete it."""
    with accounts() as (settings, store, _):
        account = existing(store, address)
        naming = store.naming(account.address)
        with recording(settings, "account remove", account=account.address):
            store.remove(account.address)
        if naming:
            output.note(f'{", ".join(naming)} still leads to {account.address}; "gatepost alias remove" changes that')
        maildrops = settings.data / "maildrops"
        output.done(f"{account.address} is removed; its mail is still below {maildrops}.", address=account.address)


@app.command("hold")
def hold(
    address: Address,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; it is kept and recorded.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Keep what an account sends in the queue, unless it comes from where the account is at home."""
    from gatepost.cli.holding import lay_hold

    if not why.strip():
        raise CommandError("--why: the reason is empty; say in a few words why, for whoever reads it next", USAGE)
    with accounts() as (settings, store, _):
        account = existing(store, address)
        messages = lay_hold(settings, account.address, why.strip())
        if messages is None:
            raise CommandError(f'{account.address} is held already; "gatepost account show" tells why')
        count = f"; {len(messages)} of its messages in the queue with it" if messages else ""
        output.done(f'{account.address} is held{count}; "gatepost account release {account.address}" ends it.',
                    address=account.address, messages=messages)  # fmt: skip


@app.command("release")
def release(address: Address, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """End the hold on an account, and let go what it froze in the queue."""
    from gatepost.cli.holding import lift_hold

    with accounts() as (settings, store, _):
        account = existing(store, address)
        messages = lift_hold(settings, account.address)
        if messages is None:
            raise CommandError(f'{account.address} is not held; "gatepost queue list --state held" shows what is')
        count = f"{len(messages)} messages of it are" if len(messages) != 1 else "1 message of it is"
        output.done(f"{account.address} is not held any more; {count} on the way.",
                    address=account.address, messages=messages)  # fmt: skip


# --- helpers -------------------------------------------------------------------------------------------------------


def _ensure_free(store: SqliteAccounts, key: str) -> None:
    from gatepost.accounts.model import Account, Alias

    found = store.find(key)
    if isinstance(found, Account):
        raise CommandError(f'{key} is an account already; "gatepost account passwd {key}" sets a new password')
    if found is not None:
        kind = "alias" if isinstance(found, Alias) else "list"
        raise CommandError(
            f'{key} is an {kind} already; "gatepost {kind} remove {key}" frees it'.replace("an list", "a list")
        )


def _send_as(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key_of_any(text, catch_all=True) for text in texts))


def _octets(quota: str | None) -> int | None:
    from gatepost.mail.units import parse_size

    if quota is None or quota == "none":
        return None
    try:
        octets = parse_size(quota)
    except ValueError as error:
        raise CommandError(f"--quota: {error}", USAGE) from None
    if octets < 1:
        raise CommandError('--quota: no room at all; write "none" for no limit', USAGE)
    return octets


def _shown(account: Account) -> dict[str, Any]:
    return {
        "address": account.address,
        "quota": account.quota,
        "role": account.role or None,
        "send_as": list(account.send_as),
        "password": any(not credential.name for credential in account.credentials),
        "app_passwords": [credential.name for credential in account.credentials if credential.name],
        "seal": account_seal.shown(account),
        "created": time_or_none(account.created),
    }
