"""`gatepost sendmail`: what programs of this machine call to send mail, in the place of /usr/sbin/sendmail.

It submits over a socket in the data folder, where the kernel tells the server which user calls. Its exit codes are
those of sysexits.h; whatever is not 0 means that the message was not taken, and a text on standard error says why.
"""

from __future__ import annotations

import os
import pwd
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatepost.cli import output
from gatepost.cli.options import ConfigFile, given, single
from gatepost.cli.sysexits import (
    CONFIGURATION,
    DATA,
    NO_USER,
    NOT_PERMITTED,
    OK,
    PROTOCOL,
    TEMPORARY,
    USAGE,
    SendmailError,
    code_for,
)

if TYPE_CHECKING:
    import smtplib

    from gatepost.cli.message import Message
    from gatepost.cli.sendmail_words import Words

app = single()

TIMEOUT_SECONDS = 300.0
GREETING_SECONDS = 60.0  # the server is on this machine; cron's jobs wait for us


@app.command(context_settings={"ignore_unknown_options": True})
def sendmail(
    recipients: Annotated[list[str] | None, typer.Argument(metavar="[TO]...", help="Whom it is for.")] = None,
    from_header: Annotated[bool, typer.Option("-t", help="To whom To, Cc and Bcc of the message say.")] = False,
    ignore_dots: Annotated[bool, typer.Option("-i", help="A line with a single dot does not end the message.")] = False,
    sender: Annotated[str, typer.Option("-f", metavar="FROM", help="The envelope's sender; has to be yours.")] = "",
    name: Annotated[str, typer.Option("-F", metavar="NAME", help="Your name, for a From that is missing.")] = "",
    notify: Annotated[str, typer.Option("-N", metavar="WHEN", help="never, or some of success,failure,delay.")] = "",
    seal: Annotated[bool, typer.Option("--seal", help="Encrypt it for all recipients, or send nothing.")] = False,
    sign_only: Annotated[bool, typer.Option("--sign-only", help="Sign it, or send nothing.")] = False,
    config: ConfigFile = None,
) -> None:  # fmt: skip
    """Send the message on standard input, as /usr/sbin/sendmail does. Other options of sendmail are passed over, or
    refused with a reason; -bp lists the queue. Exits as in sysexits.h."""
    # `entry` hands the words to `run` before they come here: they are not of the kind that typer reads.


def run(arguments: Sequence[str]) -> int:
    """The exit code. arguments: the words behind `sendmail`."""
    from gatepost.cli.sendmail_words import parse

    try:
        words = parse(arguments)
        if words.mode == "aliases":  # aliases are in force as soon as they are added
            return OK
        _send(words)
    except SendmailError as error:
        output.note(str(error))
        return error.code
    except KeyboardInterrupt:
        return TEMPORARY
    except OSError as error:
        output.note(f"{error.filename or 'the connection to the server'}: {error.strerror or error}; try again later")
        return TEMPORARY
    return OK


def queue_command(arguments: Sequence[str]) -> list[str] | None:
    """The command that shows the queue, when that is asked for (-bp)."""
    from gatepost.cli.sendmail_words import parse

    try:
        words = parse(arguments)
    except SendmailError:
        return None
    if words.mode != "queue":
        return None
    return ["queue", "list", *(("--config", str(words.config)) if words.config else ())]


def _send(words: Words) -> None:
    from gatepost.cli.message import Message
    from gatepost.config.locate import sendmail_socket

    hostname, data = _place(words.config)
    user, full_name = _caller()
    message = Message(sys.stdin.buffer.read(), dots=words.dots)
    named = [*words.recipients, *(message.recipients() if words.from_header else ())]
    recipients = list(dict.fromkeys(_qualified(text, hostname) for text in named))
    if not recipients:
        raise SendmailError(
            "no recipients; name them behind the options, or use -t to take them from the header", USAGE
        )
    own = f"{user}@{hostname}"
    sender = own if words.sender is None else _qualified(words.sender, hostname)
    _complete(message, sender or own, words.name or full_name, hostname)
    messages = [(recipients, message.octets())]
    if words.seal or words.sign_only:
        messages = _sealed(message, recipients) if words.seal else [(recipients, _signed(message))]
    refused: SendmailError | None = None
    with _server(sendmail_socket(data), hostname) as client:
        client.ehlo()
        for each, octets in messages:
            refused = _submit(client, sender, each, octets, words) or refused
    if refused:
        raise refused


def _sealed(message: Message, recipients: list[str]) -> list[tuple[list[str], bytes]]:
    """Whom each message is for, and its octets. Raises SendmailError where one recipient's key is missing: then
    nothing is sent, neither in clear nor to the others."""
    from gatepost.cli.errors import CommandError
    from gatepost.cli.seal import sealed
    from gatepost.cli.sealing_keys import KeysUnknown
    from gatepost.seal.detect import is_sealed

    octets = message.octets()
    if is_sealed(octets):  # a mail program did it; for whom, nobody can tell from outside
        return [(recipients, octets)]
    try:
        return [(list(each.recipients), each.octets) for each in sealed(octets, recipients)]
    except KeysUnknown as error:
        raise SendmailError(str(error), TEMPORARY) from None
    except CommandError as error:
        raise SendmailError(str(error), NOT_PERMITTED) from None


def _signed(message: Message) -> bytes:
    """Its octets. Raises SendmailError: then nothing is sent."""
    from gatepost.cli.errors import CommandError
    from gatepost.cli.seal import signed
    from gatepost.seal.detect import layer_of
    from gatepost.seal.mime import canonical, parse

    octets = message.octets()
    if layer_of(parse(canonical(octets))) is not None:  # a mail program did it
        return octets
    try:
        return signed(octets)
    except CommandError as error:
        raise SendmailError(str(error), NOT_PERMITTED) from None


def _place(explicit: Path | None) -> tuple[str, Path]:
    """(hostname, data folder). The current folder is not looked at: programs call this wherever they happen to be,
    also in folders of strangers."""
    from gatepost.config.locate import find_config, locate
    from gatepost.config.problem import ConfigError

    try:
        return locate(find_config(explicit or given.config, here=False))
    except ConfigError as error:
        raise SendmailError(str(error), CONFIGURATION) from error


def _caller() -> tuple[str, str]:
    """The login name and the full name of the user that calls."""
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        raise SendmailError(
            f"user {os.getuid()} has no name on this system, so nobody could be answered", NO_USER
        ) from None
    return entry.pw_name, entry.pw_gecos.partition(",")[0].replace("&", entry.pw_name.capitalize())


def _qualified(text: str, hostname: str) -> str:
    """The address with a domain; `root` is root of this host. "" is the null reverse-path."""
    from gatepost.mail.address import AddressError, parse_mailbox

    text = text.strip()
    if not text:
        return ""
    try:
        return str(parse_mailbox(text if "@" in text else f"{text}@{hostname}"))
    except AddressError as error:
        raise SendmailError(f"{text!r} is not an address: {error}", DATA) from None


def _complete(message: Message, sender: str, name: str, hostname: str) -> None:
    from datetime import datetime

    from gatepost.net.clock import SystemIds

    now = datetime.now().astimezone()
    message.complete(sender=sender, name=name, hostname=hostname, message_id=SystemIds().new().lower(), now=now)


@contextmanager
def _server(path: Path, hostname: str) -> Iterator[smtplib.SMTP]:
    """An SMTP session with the server, greeted by it."""
    import smtplib

    client = smtplib.SMTP(local_hostname=hostname, timeout=TIMEOUT_SECONDS)
    try:
        client.sock = _connected(path)
        client.sock.settimeout(GREETING_SECONDS)
        code, text = client.getreply()
        client.sock.settimeout(TIMEOUT_SECONDS)
        if code != 220:
            raise SendmailError(f"the server does not take mail now: {_shown(code, text)}", TEMPORARY)
        yield client
        with suppress(smtplib.SMTPException):
            client.quit()
    except smtplib.SMTPServerDisconnected as error:
        raise SendmailError("the server ended the connection; try again later", TEMPORARY) from error
    except smtplib.SMTPException as error:
        raise SendmailError(f"the server gave an answer that is none: {error}", PROTOCOL) from error
    finally:
        client.close()


def _connected(path: Path) -> socket.socket:
    advice = "the message was not taken; see that the server runs"
    try:
        # The kernel takes 107 octets of name, and data folders may be deeper.
        descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SendmailError(f"{path.parent}: {error.strerror}; {advice}", TEMPORARY) from error
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(TIMEOUT_SECONDS)
        connection.connect(f"/proc/self/fd/{descriptor}/{path.name}")
    except OSError as error:
        connection.close()
        raise SendmailError(f"{path}: {error.strerror or error}; {advice}", TEMPORARY) from error
    finally:
        os.close(descriptor)
    return connection


def _submit(
    client: smtplib.SMTP, sender: str, recipients: list[str], octets: bytes, words: Words
) -> SendmailError | None:
    """Sends it. Recipients that are refused for good do not keep the others from theirs; they are returned as an error.
    One that is refused for now stops all: who calls tries again, and nobody shall get it twice."""
    import smtplib

    _expect(client.mail(sender, _mail_options(client, sender, recipients, octets, words)), f"sender {sender or '<>'}")
    refused: SendmailError | None = None
    taken = 0
    options = [f"NOTIFY={words.notify}"] if words.notify and client.has_extn("dsn") else []
    for recipient in recipients:
        code, text = client.rcpt(recipient, options)
        if 200 <= code < 300:
            taken += 1
            continue
        error = SendmailError(
            f"recipient {recipient}: {_shown(code, text)}", code_for(code, text.decode("utf-8", "replace"))
        )
        if code < 500:
            raise error
        if refused:
            output.note(str(error))  # the first one is told at the end
        refused = refused or error
    if not taken:
        assert refused is not None  # there was a recipient, and it was not taken
        raise refused
    try:
        code, text = client.data(octets)
    except smtplib.SMTPDataError as error:
        answer = error.smtp_error if isinstance(error.smtp_error, bytes) else error.smtp_error.encode()
        if error.smtp_code < 400:
            raise SendmailError(f"message: {error.smtp_code}, where 354 was expected", PROTOCOL) from error
        code, text = error.smtp_code, answer
    _expect((code, text), "message")
    if words.verbose:
        output.note(_shown(code, text))
    return refused


def _mail_options(client: smtplib.SMTP, sender: str, recipients: list[str], octets: bytes, words: Words) -> list[str]:
    options = [f"SIZE={len(octets)}"] if client.has_extn("size") else []
    if not octets.isascii() and client.has_extn("8bitmime"):
        options.append("BODY=8BITMIME")
    if not all(address.isascii() for address in (sender, *recipients)):
        if not client.has_extn("smtputf8"):
            raise SendmailError("an address is not ASCII, and the server does not take such now", DATA)
        options.append("SMTPUTF8")
        client.command_encoding = "utf-8"
    if client.has_extn("dsn"):
        options += [f"RET={words.ret}"] if words.ret else []
        options += [f"ENVID={_xtext(words.envid)}"] if words.envid else []
    return options


def _xtext(text: str) -> str:
    """RFC 3461 §4: printable ASCII; what is not, as +XX."""
    from gatepost.protocol.smtp.xtext import encode_xtext

    return encode_xtext(text)


def _expect(answer: tuple[int, bytes], what: str) -> None:
    code, text = answer
    if not 200 <= code < 300:
        raise SendmailError(f"{what}: {_shown(code, text)}", code_for(code, text.decode("utf-8", "replace")))


def _shown(code: int, text: bytes) -> str:
    return output.printable(f"{code} {text.decode('utf-8', 'replace')}".replace("\n", " "))
