"""What an address means here: who it is, whom it stands for, and who may write under it.

Not here: whether a peer may send (`policy`), who has proved to be an account (`accounts.authentication`), and how mail
for others leaves (`delivery`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Generator, Mapping
from typing import Final, TypeVar

from gatepost.accounts.addresses import domain_of, key_of, path_of, same_or_detail, without_detail
from gatepost.accounts.model import Account, Alias, Domain, Found, MailingList, Resolution, Target
from gatepost.accounts.port import AccountsError, AccountStore
from gatepost.mail.address import AddressError, Path, to_ascii_domain

ROLES: Final = frozenset({"postmaster", "abuse", "hostmaster", "root"})
"""Local parts that every domain of ours has (RFC 2142 §4-§6, RFC 5321 §4.5.1; root for the mail of machines)."""
MAX_ASKED: Final = 500  # addresses of ours looked up to see who is behind a list, 10 us each: any stranger may ask
MAX_EXPANDED: Final = 100_000  # addresses looked at for one recipient: a list of lists has an end

T = TypeVar("T")
# A question is worked out in steps: it yields each key that it needs looked up, and is sent what was found.
Steps = Generator[str, "Found | None", T]
FOUND: Final = (Account, Alias, MailingList)
Readers = tuple[list[Target], list[tuple[Target, Account]]]


class Directory:
    """Our domains, and what is in them. Answers at once when the store does, else with an awaitable.

    Every look-up raises AccountsError when the store cannot be read.
    """

    def __init__(
        self, domains: Mapping[str, Domain], store: AccountStore, hostname: str, postmaster: Path | None = None
    ) -> None:
        """domains: by name, A-labels or U-labels. postmaster: who gets the mail of the role addresses; None: it is
        kept aside."""
        self._domains = {to_ascii_domain(name): domain for name, domain in domains.items()}
        self._store = store
        self._hostname = to_ascii_domain(hostname)
        self.postmaster = postmaster
        self._postmaster_key = key_of(postmaster) if postmaster else ""

    @property
    def domains(self) -> Mapping[str, Domain]:
        """Ours, by name with A-labels."""
        return self._domains

    def domain(self, name: str) -> Domain | None:
        """Our domain of that name, None when it is not one of ours."""
        try:
            return self._domains.get(to_ascii_domain(name))
        except AddressError:
            return None

    def is_ours(self, path: Path) -> bool:
        """Whether its domain is one of ours, or this host's own name."""
        return self.domain(path.domain) is not None or path.domain == self._hostname

    def account(self, address: str) -> Account | None | Awaitable[Account | None]:
        """The account whose address that is (a login name as `Login` gives it)."""
        found = self._store.find(address)
        if found is None or isinstance(found, FOUND):
            return found if isinstance(found, Account) else None
        return self._account_later(found)

    async def _account_later(self, waiting: Awaitable[Found | None]) -> Account | None:
        found = await waiting
        return found if isinstance(found, Account) else None

    def resolve(self, path: Path) -> Resolution | Awaitable[Resolution]:
        """What `path` means as a recipient.

        In the order in which they win: the exact address, `user` for `user+detail`, a role address, the catch-all,
        and for a domain with relay_to the next hop. In such a domain an account can only log in: its mail goes on.
        A role address of a domain with relay_to is ours only when `postmaster` is set.
        """
        domain = self._domains.get(path.domain)  # where it has U-labels it is found the longer way
        if domain is None or domain.relay_to or not path.local_part:
            return self._answer(self._resolution(path))
        # What nearly every recipient is: an account by its own address.
        found = self._store.find(f"{path.local_part.lower()}@{path.domain}")
        if isinstance(found, Account):
            return Resolution("account", found.address, found)
        steps = self._resolution(path)
        next(steps)  # it asks for that very key first
        return self._go_on(steps, found)

    def expand(self, path: Path, *, is_notice: bool = False) -> list[Target] | Awaitable[list[Target]]:
        """Where mail for `path` goes in the end: aliases and lists are followed, each target comes once.

        A list's members get mail whose reverse_path is the list's first owner, or postmaster of its domain when it has
        none; mail whose own reverse-path is null (`is_notice`) is a bounce or the like: a list's owners get it instead
        of the members, and it keeps its reverse-path. A role address without a
        `postmaster` setting, or with one that leads nowhere, is kept "aside". An alias or list that names an address
        of ours that does not exist gives an "unknown" target. Empty: `path` is unknown itself, or a ring of aliases.
        """
        return self._answer(self._expansion(path, is_notice))

    def entry(self, path: Path) -> tuple[Resolution, Found | None] | Awaitable[tuple[Resolution, Found | None]]:
        """What `path` means as a recipient, and the account, alias or list itself, where there is one."""
        return self._answer(self._lookup(path))

    def sole_reader(self, path: Path) -> Account | None | Awaitable[Account | None]:
        """The one account that all mail for `path` ends with: its own, or the only one behind an alias, a catch-all or
        a role. None where that is several, a list, another host or nobody."""
        return self._answer(self._sole_reader(path))

    def readers(self, path: Path, *, is_notice: bool = False) -> Readers | Awaitable[Readers]:
        """As `expand`, and of its targets those in maildrops of ours once more, each with its account."""
        return self._answer(self._readers(path, is_notice))

    def is_member(self, mailing_list: MailingList, names: Collection[str]) -> bool | Awaitable[bool]:
        """Whether one of `names` (keys) is a member, by itself or of a list or alias that is one, however deep.

        Members in other domains are compared and not looked up. Of what is nested `MAX_ASKED` addresses are looked up;
        who is behind more of them is none: a list of that size should name its members itself.
        """
        return self._answer(self._membership(mailing_list, frozenset(names)))

    def may_send_as(self, account: Account, path: Path) -> bool | Awaitable[bool]:
        """Whether `account` may use `path` as a sender; the null path is not asked here.

        It may: its own address and `+detail`s, what --send-as gave, aliases that name it, addresses that only its
        catch-all takes, and the role addresses when it is the postmaster.
        """
        try:
            key = key_of(path)
        except AddressError:
            return False
        if not path.local_part:
            return False
        if same_or_detail(key, account.address) or _is_granted(key, account.send_as):
            return True
        named = self._store.naming(account.address)
        if isinstance(named, list):
            return self._is_named(account, path, key, named)
        return self._is_named_later(account, path, key, named)

    async def _is_named_later(self, account: Account, path: Path, key: str, named: Awaitable[list[str]]) -> bool:
        answer = self._is_named(account, path, key, await named)
        return answer if isinstance(answer, bool) else await answer

    def _is_named(self, account: Account, path: Path, key: str, named: list[str]) -> bool | Awaitable[bool]:
        if key in named or without_detail(key) in named:
            return True
        catches_all = f"@{domain_of(key)}" in named
        is_postmaster = self._postmaster_key == account.address
        if not catches_all and not is_postmaster:
            return False
        return self._answer(self._is_left_to(path, catches_all, is_postmaster))

    def _is_left_to(self, path: Path, catches_all: bool, is_postmaster: bool) -> Steps[bool]:
        """A catch-all gives no right to the addresses of others in the domain."""
        kind = (yield from self._resolution(path)).kind
        return (catches_all and kind == "catch-all") or (is_postmaster and kind == "role")

    def _answer(self, steps: Steps[T]) -> T | Awaitable[T]:
        try:
            key = next(steps)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        return self._go_on(steps, self._store.find(key))

    def _go_on(self, steps: Steps[T], found: Found | None | Awaitable[Found | None]) -> T | Awaitable[T]:
        """found: under the key that `steps` asked for."""
        try:
            while found is None or isinstance(found, FOUND):
                found = self._store.find(steps.send(found))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        return self._answer_later(steps, found)

    async def _answer_later(self, steps: Steps[T], waiting: Awaitable[Found | None]) -> T:
        found = await waiting
        while True:
            try:
                key = steps.send(found)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            answer = self._store.find(key)
            if answer is None or isinstance(answer, FOUND):
                found = answer
            else:
                found = await answer

    def _resolution(self, path: Path) -> Steps[Resolution]:
        return (yield from self._lookup(path))[0]

    def _lookup(self, path: Path) -> Steps[tuple[Resolution, Found | None]]:
        if path.is_null:
            return Resolution("foreign", ""), None
        if not path.domain:  # <postmaster>, the one forward-path without a domain (RFC 5321 §4.1.1.3)
            path = Path(path.local_part, self._hostname)
        try:
            key = key_of(path)
        except AddressError:
            return Resolution("foreign", ""), None
        name = domain_of(key)
        domain = self._domains.get(name)
        is_role = _role_of(key) in ROLES
        if domain is None:
            if name != self._hostname:
                return Resolution("foreign", key), None
            # The machine's own name is ours too, though nobody but the roles has an address there.
            return Resolution("role" if is_role else "unknown", key), None
        if not path.local_part:  # `""@domain`: legal, but its key would be that of the catch-all
            return Resolution("unknown", key), None
        found = yield from self._entry(key)
        if found is not None and not (domain.relay_to and isinstance(found, Account)):
            return _resolution_of(found), found
        if is_role and (self.postmaster or not domain.relay_to):
            return Resolution("role", key), None
        catch_all = yield f"@{name}"
        if catch_all is not None:
            return Resolution("catch-all", f"@{name}"), catch_all
        return Resolution("relay" if domain.relay_to else "unknown", key), None

    def _membership(self, mailing_list: MailingList, names: frozenset[str]) -> Steps[bool]:
        level: list[str] = [name.lower() for name in mailing_list.members]
        seen = {mailing_list.address}
        asked = 0
        while level:
            if not names.isdisjoint(level):
                return True
            behind: list[str] = []
            for key in level:
                if key in seen or domain_of(key) not in self._domains:
                    continue
                if asked == MAX_ASKED:
                    return False
                asked += 1
                seen.add(key)
                found = yield from self._entry(key)
                if isinstance(found, Alias | MailingList):
                    behind += found.targets if isinstance(found, Alias) else found.members
            level = [name.lower() for name in behind]
        return False

    def _entry(self, key: str) -> Steps[Found | None]:
        found = yield key
        if found is None and (user := without_detail(key)):
            found = yield user
        return found

    def _expansion(self, path: Path, is_notice: bool) -> Steps[list[Target]]:
        targets: dict[tuple[str, str], Target] = {}
        seen: set[str] = set()
        waiting: list[tuple[Path, Path | None, tuple[str, ...]]] = [(path, None, ())]
        while waiting:
            at, reverse_path, via = waiting.pop()
            resolution, found = yield from self._lookup(at)
            key = resolution.address
            # Elsewhere letter case may matter, here it does not.
            identity = key if resolution.is_ours and resolution.kind != "relay" else str(at)
            if identity in seen:
                continue
            seen.add(identity)
            if len(seen) > MAX_EXPANDED:
                raise AccountsError(f"{path} stands for more than {MAX_EXPANDED} addresses; look for a list in a list")
            if isinstance(found, Alias | MailingList):
                if isinstance(found, Alias):
                    names = found.targets
                elif is_notice:
                    names = found.owners or (str(self._owner_of(found)),)
                else:
                    names, reverse_path = found.members, self._owner_of(found)
                waiting += [(_stored(name, key), reverse_path, (*via, key)) for name in reversed(names)]
            elif resolution.kind == "role" and self.postmaster and self._postmaster_key != key:
                waiting.append((self.postmaster, reverse_path, (*via, key)))
            elif resolution.kind != "unknown" or via:
                target = self._target(at, resolution, reverse_path, via)
                targets.setdefault((target.kind, str(target.path)), target)
        return list(targets.values())

    def _readers(self, path: Path, is_notice: bool) -> Steps[Readers]:
        targets = yield from self._expansion(path, is_notice)
        accounts = []
        for target in targets:
            if target.kind == "maildrop":
                found = yield key_of(target.path)
                if isinstance(found, Account):
                    accounts.append((target, found))
        return targets, accounts

    def _sole_reader(self, path: Path) -> Steps[Account | None]:
        seen: set[str] = set()
        while True:
            resolution, found = yield from self._lookup(path)
            key = resolution.address
            if isinstance(found, Account) or key in seen:
                return found if isinstance(found, Account) else None
            seen.add(key)
            if isinstance(found, Alias) and len(found.targets) == 1:
                path = _stored(found.targets[0], key)
            elif resolution.kind == "role" and self.postmaster is not None:
                path = self.postmaster
            else:
                return None

    def _target(self, at: Path, resolution: Resolution, reverse_path: Path | None, via: tuple[str, ...]) -> Target:
        match resolution.kind:
            case "account":
                return Target("maildrop", path_of(resolution.address), reverse_path, via)
            case "relay" | "foreign":
                return Target("remote", at, reverse_path, via)
            case "role":  # nobody is the postmaster, or the setting names this very address
                domain = self._domains.get(domain_of(resolution.address))
                if domain is not None and domain.relay_to:
                    return Target("remote", at, reverse_path, via)
                return Target("aside", Path("postmaster", self._hostname), reverse_path, via)
            case _:
                last = via[-1] if via else ""
                is_postmaster = resolution.address == self._postmaster_key and _role_of(last) in ROLES
                if is_postmaster:  # the setting leads nowhere; mail for a role is never lost
                    return Target("aside", Path("postmaster", self._hostname), reverse_path, via)
                return Target("unknown", at, reverse_path, via)

    def _owner_of(self, mailing_list: MailingList) -> Path:
        if mailing_list.owners:
            return _stored(mailing_list.owners[0], mailing_list.address)
        return self.postmaster or Path("postmaster", domain_of(mailing_list.address))


def _stored(text: str, holder: str) -> Path:
    try:
        return path_of(text)
    except AddressError as error:
        raise AccountsError(f"{holder} names {text!r}, which is no address: {error}") from error


def _resolution_of(found: Found) -> Resolution:
    match found:
        case Account():
            return Resolution("account", found.address, found)
        case Alias():
            return Resolution("alias", found.address)
        case _:
            return Resolution("list", found.address)


def _role_of(key: str) -> str:
    """The local part without detail: `postmaster+spam@` reaches the postmaster too."""
    local_part = key.rpartition("@")[0]
    return local_part.partition("+")[0]


def _is_granted(key: str, send_as: tuple[str, ...]) -> bool:
    return any(key.endswith(entry) if entry.startswith("@") else same_or_detail(key, entry) for entry in send_as)
