"""What an administrator reads when the configuration is wrong: line, key, what was found, what to write."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config.files import GOOD, LISTEN, TOP, loaded, mistakes, written

from gatepost.config.problem import ConfigError, Problem
from gatepost.config.read import load

MISTAKES = Path(__file__).with_name("mistakes.txt")


def cases() -> list[Any]:
    """(file, what is said), by name, of mistakes.txt."""
    found = []
    for case in MISTAKES.read_text("utf-8").split("\n== ")[1:]:
        name, _, rest = case.partition("\n")
        text, _, said = rest.partition("--\n")
        found.append(pytest.param(text.replace("@good\n", GOOD), said.split("\n\n")[0].splitlines(), id=name))
    return found


@pytest.mark.parametrize(("text", "expected"), cases())
def test_all_mistakes_are_told_at_once_with_line_key_finding_and_advice(
    text: str, expected: list[str], tmp_path: Path
) -> None:
    assert expected
    assert mistakes(tmp_path, text) == expected


@pytest.mark.parametrize("depth", [17, 90_000])
def test_brackets_in_brackets_have_an_end(depth: int, tmp_path: Path) -> None:
    assert mistakes(tmp_path, f"x = {'[' * depth}{']' * depth}\n") == [
        "tables or lists stand in each other more than 16 deep; see whether brackets are left open"
    ]


def test_the_good_file_that_the_others_are_made_from_is_good(tmp_path: Path) -> None:
    assert mistakes(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    "networks",
    [
        ["0.0.0.0/0"],
        ["::/0"],
        ["0.0.0.0/1", "128.0.0.0/1"],
        ["2000::/3"],
        ["0.0.0.0/1"],
        [f"{first}.0.0.0/8" for first in range(17)],
    ],
)
def test_no_list_of_networks_makes_an_open_relay(networks: list[str], tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path, f"{GOOD}[relay]\nnetworks = {networks!r}\n")
    assert mistake == (
        "8: relay.networks: these networks hold most of the Internet: this would be an open relay; "
        "list only networks of your own"
    )


def test_private_networks_are_no_open_relay(tmp_path: Path) -> None:
    networks = '["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "2001:db8::/32", "192.0.2.7"]'
    config = loaded(tmp_path, f"{GOOD}[relay]\nnetworks = {networks}\n")
    assert "10.9.9.9" in config.relay_networks
    assert "198.51.100.1" not in config.relay_networks


def test_a_user_that_the_system_does_not_have_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    assert mistakes(tmp_path, 'user = "gp-no-such-user"\n' + GOOD) == [
        '1: user: this system has no user "gp-no-such-user"; create it with useradd --system gp-no-such-user, '
        "or correct the name"
    ]


def test_a_password_never_stands_in_an_error(tmp_path: Path) -> None:
    for line in (
        'smarthost = "smtps://user:hunter2@smart.example"',
        'smarthost = "smtps//user:hunter2@smart.example"',
        'smarthost_password = "hunter2\\n "',
        'smarthost_password = ["hunter2"]',
        'smarthost_password = { text = "hunter2" }',
        'smarthost_password = { file = "gatepost.toml" }',
    ):
        found = mistakes(tmp_path, f"{GOOD}[relay]\n{line}\n")
        assert found
        assert "hunter2" not in "".join(found)


def test_text_from_the_file_cannot_move_the_cursor(tmp_path: Path) -> None:
    found = mistakes(tmp_path, GOOD + '[relay]\nnetworks = ["\\u001b[2J\\u202e"]\n"\\u001b[1m" = 1\n')
    assert len(found) == 2
    assert all(line.isprintable() for line in found)


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"hostname = 'a'\n# gr\xfc\xdfe\n", ":2: the text is not UTF-8; save the file as UTF-8"),
        (b"x = " + b"1" * 5000, ": this is not TOML: "),
        (b"\xef\xbb\xbf" + GOOD.encode(), None),
        (GOOD.replace("\n", "\r\n").encode(), None),
    ],
)
def test_octets_that_editors_leave_behind(octets: bytes, expected: str | None, tmp_path: Path) -> None:
    file = tmp_path / "gatepost.toml"
    file.write_bytes(octets)
    if expected is None:
        assert load(file).hostname == "mx.example.org"
        return
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert f"{file}{expected}" in str(caught.value)


def test_a_file_that_cannot_be_read_is_told_with_its_cause(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml does not exist; give the right one with --config"):
        load(tmp_path / "no.toml")
    with pytest.raises(ConfigError, match="is a folder; give the right one with --config"):
        load(tmp_path)
    closed = written(tmp_path, GOOD)
    closed.chmod(0)
    if os.geteuid() != 0:
        with pytest.raises(ConfigError, match="may not be read by this user; run this as root"):
            load(closed)


POP3 = '[[listen]]\naddress = "127.0.0.1:2110"\nservice = "pop3"\n'
WARNINGS = {
    "nobody is postmaster": (
        GOOD.replace('postmaster = "ada@example.org"\n', ""),
        "postmaster: nobody gets the mail for",
    ),
    "no domain": (TOP + LISTEN, 'domain: there is no [domain."..."]'),
    "lmtp for everybody": (
        GOOD + '[[listen]]\naddress = "[::]:24"\nservice = "lmtp"\n',
        "listen[2].address: lmtp on [::]:24",
    ),
    "impatience": (GOOD + '[delivery]\nlifetime = "2h"\n', "delivery.lifetime: mail is given up in less than a day"),
    "forged DNS": (
        GOOD + '[dns]\nresolvers = ["192.0.2.53"]\nvalidating = true\n',
        'dns.resolvers[1]: "192.0.2.53" is asked',
    ),
    "a secret that all can read": (
        GOOD + '[relay]\nsmarthost = "smtps://u@h.example"\nsmarthost_password = "s"\n',
        "relay.smarthost_password: everybody on this machine can read",
    ),
    "grants nowhere": (
        GOOD + POP3 + "[relay.pop_before_smtp]\nenabled = true\n",
        "relay.pop_before_smtp.enabled: networks is empty, so grants count nowhere",
    ),
    "grants that nobody can have": (
        GOOD + '[relay.pop_before_smtp]\nenabled = true\nnetworks = ["192.0.2.0/24"]\n',
        "relay.pop_before_smtp.enabled: nobody can log in before sending: there is no POP3 listener",
    ),
}


@pytest.mark.parametrize("case", WARNINGS)
def test_what_is_legal_but_hardly_meant_is_a_warning(case: str, tmp_path: Path) -> None:
    text, expected = WARNINGS[case]
    file = written(tmp_path, text)
    file.chmod(0o644)
    (warning,) = load(file).warnings
    assert expected in str(warning)
    assert warning.allowed


# What somebody could write: valid keys with values of every kind, odd keys, and plain noise.
odd_values = st.sampled_from([
    "1", "-1", "0", "true", '""', '"x"', "[]", "[1]", '["x"]', "{}", "{ x = 1 }", "nan", "1e999", "1979-05-27",
    "07:32:00",
    '"\\u0000"', '"a@b.example"', '"10.0.0.0/8"', '"smtp://"', '"unix:"', '"5d"', '"50MiB"', "9" * 30, '"[::1]:25"',
    '"' + "x" * 300 + '"', '{ file = "." }', '{ env = "PATH" }', '{ file = "\\u0000" }', "[[]]",
    '"smtp://[::1"', '"\\U0001F4A9"',
])  # fmt: skip
odd_keys = st.sampled_from([
    "hostname", "data", "user", "trusted", "postmaster", "workers", "listen", "tls", "domain", "relay",
    "route", "limits",
    "policy", "delivery", "dns", "audit", "submission", "cluster", "seal", "address", "service", "sni",
    "certificate", "key",
    "relay_to", "networks", "smarthost", "smarthost_password", "connections", "mode", "services", "limit",
    "resolvers",
    "lifetime", "source", "to", "client", "rule", '"message.size"', '"a.example"', '"xn--a"', '"@"', '"."',
    '""', "pop_before_smtp",
])  # fmt: skip
odd_names = st.lists(odd_keys, min_size=1, max_size=3).map(".".join)
odd_lines = st.one_of(
    st.tuples(odd_names, odd_values).map(" = ".join),
    odd_names.map(lambda name: f"[{name}]"),
    odd_names.map(lambda name: f"[[{name}]]"),
)


@given(st.lists(odd_lines, max_size=8).map("\n".join) | st.text(max_size=40), st.booleans())
def test_no_file_raises_anything_but_its_mistakes(
    tmp_path_factory: pytest.TempPathFactory, text: str, as_more: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    file = folder / "odd.toml"
    file.write_text(GOOD + text if as_more else text, encoding="utf-8", errors="surrogatepass")
    problems: tuple[Problem, ...] = ()
    try:
        load(file)
    except ConfigError as error:
        problems = error.problems or (Problem(file, 0, "", "", ""),)  # an error without a problem is none
    for problem in problems:
        assert re.match(rf"{re.escape(str(file))}(:[0-9]+)?: ", str(problem))
        assert problem.found
        assert problem.allowed
        assert str(problem).isprintable()
