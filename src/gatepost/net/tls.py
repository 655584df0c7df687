"""TLS for those who connect to us: contexts, the certificate by name, reload. No sockets and no event loop here.

One context, made before the workers are forked, is in front: its ticket keys hold for all workers and all reloads. It
never sends a certificate of its own; each handshake is handed to the context of the pair that fits the name the client
asked for (SNI). A reload therefore replaces contexts that no handshake under way uses, and a bad pair harms nobody.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, TypeVar

import msgspec

from gatepost.net.tls_certificates import CertificateError, CertificateWatch, Pair, load_pair
from gatepost.net.tls_clients import load_authorities, read_authorities
from gatepost.net.tls_self_signed import REMADE_BEFORE_END, make_self_signed, self_signed_files
from gatepost.ports.clock import Clock

# RFC 9325 §4.2 wants AEAD and forward secrecy. The last two are for peers such as Exchange on Windows Server 2012:
# without them such a peer sends in clear (RFC 7435). TLS 1.3 brings its own list.
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384"
TICKETS: Final = 1
"""That a handshake of TLS 1.3 sends. Mail clients keep one session a server and get a new ticket with each connection;
a second one costs a twentieth of the handshake."""
FOLDER: Final = "tls"  # below `data`

_Files: TypeAlias = tuple[Path, Path]
_Context = TypeVar("_Context", bound=ssl.SSLContext)


class TlsSettings(msgspec.Struct, frozen=True):
    """What an administrator says about our certificates (`[tls]`); `config` fills it.

    certificates: (certificate with chain, key) files in PEM form; the first is the default. Empty: one of our own.
    client_ca: a file of authorities that issue client certificates; None: nobody is asked for one.
    """

    certificates: tuple[tuple[Path, Path], ...] = ()
    client_ca: Path | None = None


class _PairContext(ssl.SSLContext):
    """Sends the certificate of one pair."""

    pair: Pair

    @classmethod
    def of(cls, pair: Pair, client_ca: Path | None = None) -> Self:
        """Raises CertificateError where OpenSSL is stricter than we are."""
        context = _configured(cls(ssl.PROTOCOL_TLS_SERVER))
        context.pair = pair
        if client_ca is not None:  # whether it is asked for is said by the context in front
            load_authorities(context, client_ca)
        try:
            context.load_cert_chain(pair.certificate, pair.key, password=lambda: "")
        except (ssl.SSLError, OSError) as error:
            what = f"certificate {pair.certificate} with key {pair.key} is refused by OpenSSL ({error})"
            raise CertificateError(f"{what}; see that the chain is whole and the key strong enough") from error
        return context


class ServerTls:
    """The server's TLS: `context` is given to listeners, once and for good; `reload` changes what it sends.

    asking_context: the same for listeners where people and devices log in: it asks for a client certificate too. Other
    mail servers show theirs to whoever asks, issued by whomever, so those are not asked. None without `client_ca`.

    Invariant: at any time there is a complete set of contexts, each with a certificate that was valid when loaded.
    """

    def __init__(self, settings: TlsSettings, hostname: str, data_dir: Path, clock: Clock) -> None:
        """Loads every pair; makes one below `data_dir` where none is configured.

        To be called before the fork: tickets are good at every worker then. Raises CertificateError that lists, a
        line each, all pairs that cannot be used.
        """
        self.is_self_signed = not settings.certificates
        self._hostname = hostname
        self._folder = data_dir / FOLDER
        self._clock = clock
        self._files = settings.certificates or (self_signed_files(self._folder),)
        self._client_ca = settings.client_ca
        watched = [path for files in self._files for path in files]
        self._watch = CertificateWatch([*watched, *([self._client_ca] if self._client_ca else [])])
        self._client_flags = ssl.VerifyFlags(0)
        self.asking_context: ssl.SSLContext | None = None
        loaded, problems = self._load()
        if problems:
            raise CertificateError("\n".join(problems))
        self._install(loaded)
        self.context = _configured(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self.context.sni_callback = self._choose
        self.context.num_tickets = TICKETS
        if self._client_ca is not None:
            self.asking_context = _asking(self._choose, self._client_flags)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """What is in use, the default first."""
        return tuple(context.pair for context in self._loaded.values())

    def changed(self) -> bool:
        """Whether `reload` has something to do: files changed, or our own certificate nears its end.

        For a timer of some seconds or minutes; costs a stat for each file.
        """
        if self._watch.changed():
            return True
        return self.is_self_signed and self.pairs[0].end - self._clock.now() <= REMADE_BEFORE_END

    def reload(self) -> list[str]:
        """What is wrong with the files, empty if all are in use now; where a pair is bad, the old one stays in use.

        Sessions and tickets are not touched.
        """
        loaded, problems = self._load()
        if self.asking_context is not None:
            self.asking_context.verify_flags = self._client_flags
        self._install({files: loaded.get(files) or self._loaded[files] for files in self._files})
        return [f"{problem}; the old one stays in use" for problem in problems]

    def end_point_for(self, ssl_object: ssl.SSLObject | ssl.SSLSocket) -> bytes:
        """tls-server-end-point of the certificate that was sent on this connection (RFC 5929 §4), b"" if undefined.

        It stays that of the connection when the certificate has been renewed since.
        """
        context = ssl_object.context
        return context.pair.end_point if isinstance(context, _PairContext) else b""

    def _load(self) -> tuple[dict[_Files, _PairContext], list[str]]:
        """Every pair that can be used, and what is wrong with the others."""
        now = self._clock.now()
        loaded: dict[_Files, _PairContext] = {}
        problems: list[str] = []
        if self._client_ca is not None:
            try:
                self._client_flags = read_authorities(self._client_ca)
            except CertificateError as error:
                return {}, [str(error)]
        for files in self._files:
            try:
                if self.is_self_signed:
                    make_self_signed(self._folder, self._hostname, now)
                loaded[files] = _PairContext.of(load_pair(*files, now), self._client_ca)
            except CertificateError as error:
                problems.append(str(error))
        if self.is_self_signed:
            self._watch.accept()  # whoever wrote them, they are what was loaded
        return loaded, problems

    def _install(self, loaded: dict[_Files, _PairContext]) -> None:
        """From now on, handshakes use these; of two for one name, the first is sent."""
        contexts = tuple(loaded.values())
        self._loaded = loaded
        self._default = contexts[0]
        self._by_name = {name: context for context in reversed(contexts) for name in context.pair.names}

    def _choose(self, ssl_object: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        """Called in each handshake, with or without SNI: the exact name, else the wildcard above it, else the default.

        A name that is not ours is no error: a host is reached by many names (RFC 6066 §3 lets us go on).
        """
        asked = (name or "").lower().removesuffix(".")
        context = self._by_name.get(asked) or self._by_name.get("*." + asked.partition(".")[2]) or self._default
        ssl_object.context = context


def _asking(choose: Any, flags: ssl.VerifyFlags) -> ssl.SSLContext:
    """A context in front that asks for a client certificate, and goes on without one. No tickets: a resumed session
    would not look again at an authority or a CRL that has changed since."""
    context = _configured(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.sni_callback = choose
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags = flags
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context


def _configured(context: _Context) -> _Context:
    """TLS 1.2 and 1.3 with forward secrecy; nothing that attackers have used: compression, renegotiation."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context
