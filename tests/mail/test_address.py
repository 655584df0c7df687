"""Paths of the envelope: what is one, what is none, and that the fast way and the thorough way agree."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatepost.mail import address
from gatepost.mail.address import (
    NULL_PATH,
    AddressError,
    Path,
    parse_literal,
    parse_mailbox,
    parse_path,
    to_ascii_domain,
)

ADA = Path("ada", "example.org")
L63 = "d" * 63


@pytest.mark.parametrize(
    ("text", "path", "rest"),
    [
        ("<>", NULL_PATH, ""),
        ("<> SIZE=1", NULL_PATH, " SIZE=1"),
        ("<ada@example.org>", ADA, ""),
        ("<ada@EXAMPLE.org> BODY=7BIT", ADA, " BODY=7BIT"),
        ("<Ada@example.org>", Path("Ada", "example.org"), ""),
        ("<ada+tag=x@example.org>", Path("ada+tag=x", "example.org"), ""),
        ("<a.b-c!#$%&'*/?^_`{|}~@example.org>", Path("a.b-c!#$%&'*/?^_`{|}~", "example.org"), ""),
        ('<"ada"@example.org>', ADA, ""),
        ('<"a\\"b \\\\c@d"@example.org>', Path('a"b \\c@d', "example.org"), ""),
        ('<""@example.org>', Path("", "example.org"), ""),
        ("<@a.example,@b.example:ada@example.org>", ADA, ""),
        ("<ada@host_1.example.org>", Path("ada", "host_1.example.org"), ""),
        ("<ada@localhost>", Path("ada", "localhost"), ""),
        ("<ada@[192.0.2.1]>", Path("ada", "[192.0.2.1]"), ""),
        ("<ada@[ipv6:2001:DB8:0::1]>", Path("ada", "[IPv6:2001:db8::1]"), ""),
        ("<jos\u00e9@example.org>", Path("jos\u00e9", "example.org"), ""),
        ("<jose\u0301@example.org>", Path("jos\u00e9", "example.org"), ""),  # one name, one key
        ("<ada@B\u00dcCHER.example>", Path("ada", "b\u00fccher.example"), ""),
        (f"<{'x' * 64}@example.org>", Path("x" * 64, "example.org"), ""),
        (f"<a@{L63}.{L63}.{L63}.example.org>", Path("a", f"{L63}.{L63}.{L63}.example.org"), ""),
    ],
)
def test_a_reverse_path(text: str, path: Path, rest: str) -> None:
    assert parse_path(text, null_allowed=True) == (path, rest)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "<",
            ">",
            "ada@example.org",
            "<ada@example.org",
            "<ada>",
            "<postmaster>",
            "<@example.org>",
            "<ada@>",
            "<ada@@example.org>",
        ),
        *(
            "<ada@example.org>x",
            "<ada@example.org>>",
            "<<ada@example.org>>",
            "< ada@example.org>",
            "<ada@example.org >",
            "< >",
        ),
        *(
            "<.ada@example.org>",
            "<ada.@example.org>",
            "<a..b@example.org>",
            "<a b@example.org>",
            "<a,b@example.org>",
            "<a\\b@example.org>",
        ),
        *(
            '<"ada@example.org>',
            '<a"b"@example.org>',
            '<"a\tb"@example.org>',
            '<"a\u0085b"@example.org>',
            "<a\u0085b@example.org>",
        ),
        *(
            "<ada@-example.org>",
            "<ada@example-.org>",
            "<ada@example..org>",
            "<ada@.example.org>",
            "<ada@example.org.>",
            "<ada@exa mple.org>",
        ),
        *(
            "<ada@[192.0.2]>",
            "<ada@[192.0.2.256]>",
            "<ada@[192.0.2.1>",
            "<ada@[2001:db8::1]>",
            "<ada@[IPv6:fe80::1%1]>",
            "<ada@[]>",
        ),
        *(
            "<@a.example>",
            "<@a.example:>",
            "<@a.example ada@example.org>",
            "<@:ada@example.org>",
            "<@a.example,b.example:ada@example.org>",
        ),
        *(f"<{'x' * 65}@example.org>", f"<a@{'d' * 64}.org>", f"<a@{L63}.{L63}.{L63}.{L63}.org>"),
        *(
            "<" + "\u00e9" * 33 + "@example.org>",
            "<ada@\u200d.example>",
            "<ada@xn--\u00fc.example>",
            f"<{'x' * 64}@{L63}.{L63}.{L63}.org>",
        ),
    ],
)
def test_no_reverse_path(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_path(text, null_allowed=True)
    assert str(caught.value).isprintable()
    assert str(caught.value).isascii()


def test_a_forward_path_may_be_postmaster_alone_and_is_never_null() -> None:
    assert parse_path("<PostMaster>", null_allowed=False) == (Path("PostMaster", ""), "")
    for text in ("<>", "<ada>", "<abuse>"):
        with pytest.raises(AddressError):
            parse_path(text, null_allowed=False)


@pytest.mark.parametrize(
    ("text", "path", "rest"),
    [
        ("ada@example.org", ADA, ""),
        ("ada@example.org SIZE=1", ADA, " SIZE=1"),
        ("<ada@example.org>", ADA, ""),
        (f"<{'x' * 100}@example.org>", Path("x" * 100, "example.org"), ""),
    ],
)
def test_lenient_paths(text: str, path: Path, rest: str) -> None:
    assert parse_path(text, null_allowed=True, strict=False) == (path, rest)


@pytest.mark.parametrize("text", ["", "ada@example.org>", "ada", f"<{'x' * 250}@example.org>", ">"])
def test_lenient_is_not_anything(text: str) -> None:
    with pytest.raises(AddressError):
        parse_path(text, null_allowed=True, strict=False)


@pytest.mark.parametrize("text", ["<ada@example.org>", "ada@example.org ", "postmaster", "", "ada"])
def test_a_mailbox_is_the_whole_text(text: str) -> None:
    assert parse_mailbox("ada@example.org") == ADA
    with pytest.raises(AddressError):
        parse_mailbox(text)


def test_what_a_path_tells() -> None:
    assert NULL_PATH.is_null
    assert not Path("", "example.org").is_null
    assert not Path("postmaster", "").is_null
    assert ADA.is_ascii
    assert not Path("ada", "b\u00fccher.example").is_ascii
    assert Path("ada", "b\u00fccher.example").ascii_domain == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (NULL_PATH, ""),
        (Path("postmaster", ""), "postmaster"),
        (ADA, "ada@example.org"),
        (Path('a"b\\', "example.org"), '"a\\"b\\\\"@example.org'),
        (Path("", "example.org"), '""@example.org'),
        (Path("a b", "[192.0.2.1]"), '"a b"@[192.0.2.1]'),
    ],
)
def test_a_path_as_text(path: Path, text: str) -> None:
    assert str(path) == text


@pytest.mark.parametrize(
    ("domain", "ip"),
    [
        ("[192.0.2.1]", "192.0.2.1"),
        ("[IPv6:2001:db8::1]", "2001:db8::1"),
        ("[ipv6:::1]", "::1"),
        ("192.0.2.1", None),
        ("[2001:db8::1]", None),
        ("[IPv6:192.0.2.1]", None),
        ("[IPv6:fe80::1%eth0]", None),
        ("[", None),
        ("", None),
    ],
)
def test_address_literals(domain: str, ip: str | None) -> None:
    assert parse_literal(domain) == (ip_address(ip) if ip else None)


@pytest.mark.parametrize(
    "domain", ["\u00fc" * 70, "a\u200db", "\u0661\u05d0.example", "-\u00fc.example", "\u00fc..example"]
)
def test_what_is_no_international_domain_is_an_address_error(domain: str) -> None:
    with pytest.raises(AddressError):
        to_ascii_domain(domain)


_PARTS = st.sampled_from(
    [
        *(
            "<",
            ">",
            "@",
            ".",
            "ada",
            "example.org",
            '"',
            "\\",
            " ",
            "[",
            "]",
            "IPv6:",
            "192.0.2.1",
            "::1",
            ",",
            ":",
            "-",
            "_",
        ),
        *(
            "\u00fc",
            "\u0301",
            "\u3002",
            "\u05d0",
            "\u0661",
            "\u200d",
            "\u0130",
            "\u1e9e",
            "xn--",
            "\x00",
            "\x7f",
            "\x9f",
            "%",
            "x" * 64,
            "postmaster",
        ),
    ]
)


@given(st.lists(_PARTS, max_size=10).map("".join) | st.text(max_size=40), st.booleans(), st.booleans())
@example("<ada@\u3002>", True, True)
@example("postmaster", True, False)  # no reverse-path, however lenient we are
def test_no_text_raises_anything_but_address_error(text: str, null_allowed: bool, strict: bool) -> None:
    try:
        path, rest = parse_path(text, null_allowed=null_allowed, strict=strict)
    except AddressError:
        return
    assert text.endswith(rest)
    assert rest == "" or rest.startswith(" ")
    again, nothing = parse_path(f"<{path}>", null_allowed=null_allowed, strict=False)
    assert (again, nothing) == (path, "")


@given(st.from_regex(r"<[a-zA-Z0-9.+_-]{1,66}@[a-zA-Z0-9._-]{1,70}(\.[a-z]{1,64}){0,3}>( SIZE=1|x|)", fullmatch=True))
def test_the_fast_way_agrees_with_the_thorough_one(text: str) -> None:
    def read() -> tuple[Path, str] | None:
        try:
            return parse_path(text, null_allowed=True)
        except AddressError:
            return None

    fast = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(address, "_COMMON_PATH", address.re.compile(r"(?!)"))  # matches nothing
        assert read() == fast
