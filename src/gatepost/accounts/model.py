"""Accounts, credentials, aliases and lists as values."""

from __future__ import annotations

from typing import Literal

import msgspec

from gatepost.mail.address import Path

Role = Literal["", "admin", "auditor"]
PostPolicy = Literal["members", "anyone", "owners"]


class ScramVerifier(msgspec.Struct, frozen=True):
    """What a server keeps to check SCRAM-SHA-256 (RFC 5802 §3): no password can be had from it but by guessing."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


class Credential(msgspec.Struct, frozen=True):
    """One password of an account. name: "" for the account's own, else the app password's. argon2: the encoded
    hash. ends: seconds since 1970, None for never."""

    name: str
    argon2: str
    scram: ScramVerifier
    created: float
    ends: float | None = None


class OwnKey(msgspec.Struct, frozen=True):
    """The public key that an account wants its incoming mail encrypted to. kind: "openpgp" or "smime". until: the end
    of its validity, seconds since 1970, None for none."""

    kind: str
    fingerprint: str
    material: bytes
    until: float | None = None


class Account(msgspec.Struct, frozen=True):
    """A mailbox that can log in. address: lower case, A-labels; it is the login name too. quota: octets, None for
    unlimited. send_as: further addresses, or "@domain", that it may use as a sender. seal: None to keep its mail as it
    comes."""

    address: str
    credentials: tuple[Credential, ...] = ()
    quota: int | None = None
    send_as: tuple[str, ...] = ()
    role: Role = ""
    created: float = 0.0
    seal: OwnKey | None = None


class Alias(msgspec.Struct, frozen=True):
    """An address that stands for others. address "@domain" is the catch-all of the domain."""

    address: str
    targets: tuple[str, ...]


class MailingList(msgspec.Struct, frozen=True):
    """An address whose mail goes to its members; bounces go to its owners."""

    address: str
    members: tuple[str, ...]
    owners: tuple[str, ...]
    post: PostPolicy = "members"


class Domain(msgspec.Struct, frozen=True):
    """One of our domains. relay_to: the URL of the next hop that keeps its mail, "" when we keep it. cut_through: a
    stranger's message is accepted only once that next hop has taken it."""

    name: str
    relay_to: str = ""
    cut_through: bool = False


Found = Account | Alias | MailingList


class Resolution(msgspec.Struct, frozen=True):
    """What a forward-path means here.

    kind: "account", "alias", "list", "catch-all", "role" (postmaster, abuse... of our domains), "relay" (a domain
    with relay_to), "unknown" (our domain, no such recipient), "foreign" (not our domain). address: the key that was
    found, without +detail. account: for kind "account".
    """

    kind: Literal["account", "alias", "list", "catch-all", "role", "relay", "unknown", "foreign"]
    address: str
    account: Account | None = None

    @property
    def is_ours(self) -> bool:
        return self.kind != "foreign"


class Target(msgspec.Struct, frozen=True):
    """One end of an expansion.

    kind: "maildrop": `path` is an account's; "remote": it leaves this server (or goes to the relay_to of one of our
    domains); "aside": mail for a role that nobody has, kept for later; "unknown": an alias or list names an address of
    ours that does not exist: it fails with 5.1.1. reverse_path: what replaces the sender (a list's owner), None to
    keep it. via: addresses that were expanded on the way, for the record and loop detection.
    """

    kind: Literal["maildrop", "remote", "aside", "unknown"]
    path: Path
    reverse_path: Path | None = None
    via: tuple[str, ...] = ()
