"""Fuzz targets of what a message holds: paths, header sections, addresses in them, MIME."""

from __future__ import annotations

from gatepost.intake.content import header_facts
from gatepost.mail.address import AddressError, parse_mailbox, parse_path
from gatepost.mail.header import section_end, walk
from gatepost.mail.header_address import HeaderAddressError, parse_address_list
from gatepost.protocol.smtp.command_syntax import parse_command
from gatepost.protocol.smtp.commands import Mail, Malformed, Rcpt
from gatepost.protocol.smtp.parameters import Dialect
from gatepost.seal.detect import is_sealed
from gatepost.seal.mime import Entity, canonical, decoded, parse, split_multipart

DEEPEST = 20


def address(octets: bytes) -> None:
    """Whatever a path is: AddressError or a path that means the same when it is written and read again."""
    for strict in (True, False):
        dialect = Dialect(strict=strict)
        for verb in (b"MAIL FROM:", b"RCPT TO:"):
            command = parse_command(verb + octets, dialect)
            assert isinstance(command, Mail | Rcpt | Malformed)
    text = octets.decode("utf-8", "replace")
    for null_allowed in (True, False):
        try:
            path, rest = parse_path(text, null_allowed=null_allowed)
        except AddressError:
            continue
        assert text.endswith(rest)
        assert path.ascii_domain.isascii()
        written = f"<{path}>"
        if len(written.encode()) <= 256:  # quoting may have made it longer than a path may be
            again, nothing = parse_path(written, null_allowed=null_allowed)
            assert (again, nothing) == (path, ""), f"{path!r} becomes {again!r}"
        if path.domain and len(str(path).encode()) <= 256:
            assert parse_mailbox(str(path)) == path


def header_address(octets: bytes) -> None:
    """Whatever a From field is: HeaderAddressError, or addresses that the envelope could have."""
    try:
        found = parse_address_list(octets)
    except HeaderAddressError:
        return
    for mailbox in found.mailboxes:
        assert not mailbox.path.is_null
        assert "\r" not in str(mailbox.path)
        assert "\n" not in str(mailbox.path)


def header(octets: bytes) -> None:
    """Whatever a header section is: fields in order that lie inside of it, and nothing lost but what is taken out."""
    end = section_end(octets)
    section = octets[: end if end >= 0 else len(octets)]
    assert section_end(octets, max(0, end - 1)) == end or end < 4
    walked = walk(section)
    at = 0
    for field in walked.fields:
        assert at <= field.start < field.end <= len(section)
        assert field.name == field.name.lower()
        assert b":" in section[field.start : field.end]
        walked.value(field)
        at = field.end
    assert walked.without(()) == section
    kept = walk(walked.without(walked.named(b"bcc")))
    assert all(field.name != b"bcc" for field in kept.fields)
    header_facts(walked)


def mime(octets: bytes) -> None:
    """Whatever the structure is: it is walked, in parts that lie inside of it, and `is_sealed` says something."""
    message = canonical(octets)
    is_sealed(octets)
    look(parse(message), 0)


def look(entity: Entity, depth: int) -> None:
    """The entity and all in it."""
    kind = entity.content_type
    assert kind.name == kind.name.lower()
    decoded(entity)
    found = split_multipart(entity.body, kind.parameters.get("boundary", ""))
    if found is None or depth == DEEPEST:
        return
    assert sum(map(len, found.parts)) <= len(entity.body)
    for part in found.parts:
        look(parse(part), depth + 1)
