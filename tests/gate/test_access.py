"""Tables of `client.access` in files: read, read again, broken; and names, verified."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from tests.support.memory_resolver import MemoryResolver

from gatepost.gate import access
from gatepost.gate.access import AccessError, AccessTables
from gatepost.policy.checks.client_access import Settings
from gatepost.policy.findings import Listing

IP = "192.0.2.7"
REVERSE = "7.2.0.192.in-addr.arpa"


class Bench:
    """Tables over files in a folder, with the alerts that they raise."""

    def __init__(self, folder: Path, allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.alerts: list[str] = []
        self.resolver = MemoryResolver()
        self.tables = AccessTables(Settings(allow=allow, deny=deny), self.resolver, self.alerts.append)

    async def find(self, ip: str = IP) -> Listing:
        found = self.tables.find(ip)
        return await found if isinstance(found, Awaitable) else found

    async def look(self, times: int = 2) -> None:
        """A change is seen at the first look and taken at the second."""
        for _ in range(times):
            await self.tables.refresh()


def write(path: Path, text: str) -> Path:
    """Write in place, with a time of its own: file systems are coarse."""
    path.write_text(text)
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + len(text) + 1))
    return path


async def loaded(folder: Path, text: str) -> tuple[Bench, Path]:
    path = write(folder / "denied.cidr", text)
    bench = Bench(folder, deny=(f"file:{path}",))
    await bench.tables.load()
    return bench, path


async def test_a_file_is_in_force_once_it_is_loaded_and_is_told_as_the_reason(tmp_path: Path) -> None:
    bench, path = await loaded(tmp_path, "192.0.2.0/24\n")
    assert await bench.find() == Listing(denied=str(path))
    assert await bench.find("198.51.100.1") == Listing()
    assert not bench.alerts


async def test_allow_wins_over_deny(tmp_path: Path) -> None:
    bench = Bench(tmp_path, allow=("192.0.2.7/32",), deny=("192.0.2.0/24",))
    assert await bench.find() == Listing(allowed="the configuration")
    assert await bench.find("192.0.2.8") == Listing(denied="the configuration")


async def test_a_table_that_is_not_there_at_the_start_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    bench = Bench(tmp_path, deny=(f"file:{tmp_path}/none.cidr",))
    with pytest.raises(AccessError, match=r"none\.cidr cannot be read \(No such file or directory\); put the table"):
        await bench.tables.load()


async def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    bench, path = await loaded(tmp_path, "192.0.2.0/24\n")
    write(path, "198.51.100.0/24\n")
    await bench.look()
    assert await bench.find() == Listing()
    assert (await bench.find("198.51.100.1")).denied == str(path)


async def test_a_file_that_is_still_being_written_is_left_alone(tmp_path: Path) -> None:
    bench, path = await loaded(tmp_path, "192.0.2.0/24\n")
    for text in ("1", "198.51", "198.51.100.0/24\n"):
        write(path, text)
        await bench.look(1)
        assert (await bench.find()).denied == str(path)
    await bench.look(1)
    assert (await bench.find("198.51.100.1")).denied == str(path)
    assert not bench.alerts


async def test_what_changed_while_it_was_read_is_not_put_into_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, path = await loaded(tmp_path, "192.0.2.0/24\n")
    read = access._read_apart

    def read_and_change(name: str) -> Any:
        found = read(name)
        write(path, "198.51.100.0/24\n")
        return found

    write(path, "198.51.1")
    monkeypatch.setattr("gatepost.gate.access._read_apart", read_and_change)
    await bench.look()
    assert (await bench.find()).denied == str(path)
    monkeypatch.setattr("gatepost.gate.access._read_apart", read)
    await bench.look()
    assert (await bench.find("198.51.100.1")).denied == str(path)
    assert not bench.alerts


async def test_a_file_that_did_not_change_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, _ = await loaded(tmp_path, "192.0.2.0/24\n")
    monkeypatch.setattr("gatepost.gate.access._read_apart", lambda path: pytest.fail("read again"))
    await bench.look(5)


async def test_a_file_that_cannot_be_read_any_more_keeps_its_table_and_raises_one_alert(tmp_path: Path) -> None:
    bench, path = await loaded(tmp_path, "192.0.2.0/24\n")
    path.unlink()
    await bench.look(5)
    assert (await bench.find()).denied == str(path)
    (alert,) = bench.alerts
    assert "denied.cidr cannot be read (it is not there); the table that was read before stays in force" in alert
    path.mkdir()
    await bench.look(5)
    assert "Is a directory" in bench.alerts[1]
    path.rmdir()
    await bench.look()
    write(path, "198.51.100.0/24\n")
    await bench.look()
    assert await bench.find() == Listing()


async def test_a_bad_line_is_told_with_file_and_number_and_the_others_hold(tmp_path: Path) -> None:
    bench, path = await loaded(tmp_path, "192.0.2.0/24\n198.51.100.300\n" + "x y\n" * 6)
    assert (await bench.find()).denied == str(path)
    (alert,) = bench.alerts
    assert alert.startswith(f"{path}:2: '198.51.100.300' is neither")
    assert "; 2 more lines like these; these lines are passed over, correct or remove them" in alert


@pytest.mark.parametrize("family", [4, 6])
async def test_a_large_table_is_read_without_holding_up_the_loop_and_is_small(tmp_path: Path, family: int) -> None:
    """An attacker's flood must not be able to use the seconds in which a table is read."""
    networks = 200_000
    numbers = ((1 + n // 65536, n // 256 % 256, n % 256) for n in range(networks))
    form = "%d.%d.%d.128/25\n" if family == 4 else "2001:%x:%x:%x:8000::/65\n"
    path = write(tmp_path / "large.cidr", "".join(form % number for number in numbers))
    bench = Bench(tmp_path, deny=(f"file:{path}",))
    reading = asyncio.create_task(bench.tables.load())
    longest, last = 0.0, time.perf_counter()
    while not reading.done():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    await reading
    assert longest < 0.25  # in this process it takes twice as long without a break
    inside, outside = ("1.0.0.129", "1.0.0.1") if family == 4 else ("2001:1::8000:0:0:1", "2001:1::1")
    assert (await bench.find(inside)).denied
    assert not (await bench.find(outside)).denied
    columns = bench.tables._files[str(path)].found.networks.columns()
    octets = 8 if family == 4 else 32  # a million: 8 MB, 32 MB
    assert sum(len(column) * column.itemsize for column in columns) == octets * networks


# --- names ---------------------------------------------------------------------------------------------------------


async def test_no_name_is_asked_for_where_the_address_decides_or_no_table_holds_names(tmp_path: Path) -> None:
    for bench in (
        Bench(tmp_path, deny=("192.0.2.0/24", ".dynamic.example")),
        Bench(tmp_path, allow=("192.0.2.0/24", "mail.example.net")),
        Bench(tmp_path, deny=("198.51.100.0/24",)),
    ):
        await bench.find()
        assert not bench.resolver.asked


async def test_a_name_counts_when_it_leads_back_to_the_address(tmp_path: Path) -> None:
    bench = Bench(tmp_path, deny=(".dynamic.example",))
    bench.resolver.put(REVERSE, "PTR", "host7.Dynamic.example")
    assert await bench.find() == Listing()
    bench.resolver.put("host7.dynamic.example", "A", "192.0.2.8")
    assert await bench.find() == Listing()
    bench.resolver.put("host7.dynamic.example", "A", "192.0.2.8", IP)
    assert await bench.find() == Listing(denied="the configuration", names=("host7.dynamic.example",))


async def test_an_allowed_name_opens_what_the_address_closes(tmp_path: Path) -> None:
    bench = Bench(tmp_path, allow=("mail.example.net",), deny=("192.0.2.0/24",))
    assert (await bench.find()).denied
    bench.resolver.put(REVERSE, "PTR", "mail.example.net")
    bench.resolver.put("mail.example.net", "A", IP)
    assert (await bench.find()).allowed == "the configuration"
    # Another name that cannot be verified takes nothing away.
    bench = Bench(tmp_path, ("mail.example.net", ".mail.example.net"))
    bench.resolver.put(REVERSE, "PTR", "broken.mail.example.net", "mail.example.net")
    bench.resolver.put("mail.example.net", "A", IP)
    bench.resolver.fail("broken.mail.example.net", "A")
    assert await bench.find() == Listing("the configuration", names=("mail.example.net",))


async def test_an_ipv6_peer_is_named_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path, allow=("mail.example.net",))
    reverse = "7.0.0.0." + "0." * 20 + "8.b.d.0.1.0.0.2.ip6.arpa"
    bench.resolver.put(reverse, "PTR", "mail.example.net")
    bench.resolver.put("mail.example.net", "AAAA", "2001:db8:0:0::7")
    assert (await bench.find("2001:db8::7")).allowed


@pytest.mark.parametrize("broken", [(REVERSE, "PTR"), ("host7.dynamic.example", "A")])
async def test_a_name_that_cannot_be_verified_now_is_said_to_be_so(tmp_path: Path, broken: tuple[str, str]) -> None:
    bench = Bench(tmp_path, deny=(".dynamic.example",))
    bench.resolver.put(REVERSE, "PTR", "host7.dynamic.example")
    bench.resolver.fail(*broken)
    assert "SERVFAIL" in (await bench.find()).unverified


async def test_a_name_that_no_table_holds_is_not_verified_and_trouble_with_it_is_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path, deny=(".dynamic.example",))
    bench.resolver.put(REVERSE, "PTR", "mail.example.net")
    bench.resolver.fail("mail.example.net", "A")
    assert await bench.find() == Listing()
    assert bench.resolver.asked == [(REVERSE, "PTR")]


async def test_an_address_with_a_thousand_names_costs_a_few_questions(tmp_path: Path) -> None:
    bench = Bench(tmp_path, deny=(".dynamic.example",))
    bench.resolver.put(REVERSE, "PTR", *(f"h{number}.dynamic.example" for number in range(1000)))
    await bench.find()
    assert len(bench.resolver.asked) < 10
