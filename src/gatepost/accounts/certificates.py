"""Whose account a client certificate is: the one whose address it names.

Who issues the certificates decides who may be whom, so `[tls] client_ca` should be an authority of one's own. Not here:
whether a certificate is valid (`net.tls_clients`, in the handshake).
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from gatepost.accounts.addresses import parse_key
from gatepost.accounts.directory import Directory
from gatepost.accounts.model import Account
from gatepost.mail.address import AddressError


def account_named(directory: Directory, addresses: Sequence[str]) -> Account | None | Awaitable[Account | None]:
    """The first account that has one of `addresses` (of the certificate, in its order), None when none has.

    An alias names no account, nor does a `+detail`: a certificate is as exact as a login. Raises AccountsError.
    """
    for place, address in enumerate(addresses):
        try:
            found = directory.account(parse_key(address))
        except AddressError:
            continue
        if found is not None and not isinstance(found, Account):
            return _later(directory, found, addresses[place + 1 :])
        if found is not None:
            return found
    return None


async def _later(directory: Directory, waiting: Awaitable[Account | None], addresses: Sequence[str]) -> Account | None:
    found = await waiting
    if found is not None:
        return found
    answer = account_named(directory, addresses)
    return answer if answer is None or isinstance(answer, Account) else await answer
