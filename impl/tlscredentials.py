"""TlsCredentials: what one end of a TLS connection is and whom it believes; an SSL socket's ``pCreds`` (B4.16)."""

from __future__ import annotations

import os
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any, Final

from fwx.impl.tlscontext import (
    PROTOCOLS,
    TlsObject,
    load_authorities,
    load_certificate,
    new_context,
    use_alpn,
    use_ciphers,
)

Material = str | os.PathLike[str] | bytes
"""Where PEM text is: the path of a file, or the text itself as bytes."""

# Client sessions that are kept, of different servers; the one that was not used for the longest goes first.
_MOST_SESSIONS: Final = 1024


@dataclass(frozen=True, eq=False, kw_only=True)
class TlsCredentials:
    """The credentials of SSL sockets: made once by a filter, given to ``CreateSSLNetworkSocket`` any number of times.

    Files are read when the object is made, never later. The same object serves both roles: the *client role*, which
    connects to a server, and the *server role*, which clients connect to. It may be shared by threads and services.

    :ivar certificate: the certificate of this end and its chain, in PEM: a path, or bytes. ``None`` for none, which the
        server role cannot do without.
    :ivar key: the private key, in PEM; ``None`` where it stands in *certificate*.
    :ivar password: decrypts the key.
    :ivar authorities: the certificates that the peer's chain must lead to, in PEM: a path of a file or of a hashed
        folder, or bytes. ``None`` for those of the system.
    :ivar protocols: which versions may be spoken: ``TLSv1.2``, ``TLSv1.3`` or both. Older ones are broken and refused.
    :ivar ciphers: OpenSSL's list of ciphers for TLS 1.2; ``None`` for a modern one. Those of TLS 1.3 are all good.
    :ivar alpn: the application protocols that this end speaks, the dearest first; empty to negotiate none.
    :ivar check_host_name: client role: the server's certificate must be for the host name. ``False`` accepts any that
        an authority signed, and a socket without a host name.
    :ivar verify: client role: check the server's certificate. **False is unsafe**: whoever is in between can read and
        change everything.
    :ivar require_client_certificate: server role: refuse clients that show no certificate. Needs *authorities*.
    :ivar names: server role: the credentials for each host name that a client may ask for (SNI): ``www.example`` or
        ``*.example``, which stands for one label. A client that asks for none of them, or for nothing, meets these
        credentials. The other's settings hold then, all of them; it has no *names* of its own.
    :ivar resume: keep sessions, so that a client that comes again needs no full handshake.
    """

    certificate: Material | None = None
    key: Material | None = field(default=None, repr=False)
    password: str | bytes | None = field(default=None, repr=False)
    authorities: Material | None = None
    protocols: tuple[str, ...] = PROTOCOLS
    ciphers: str | None = None
    alpn: tuple[str, ...] = ()
    check_host_name: bool = True
    verify: bool = True
    require_client_certificate: bool = False
    names: Mapping[str, TlsCredentials] = field(default_factory=dict)
    resume: bool = True
    _contexts: dict[tuple[bool, bool], ssl.SSLContext] = field(init=False, repr=False, default_factory=dict)
    _sessions: OrderedDict[tuple[str, bool], ssl.SSLSession] = field(
        init=False, repr=False, default_factory=OrderedDict
    )
    _lock: Lock = field(init=False, repr=False, default_factory=Lock)
    _pem: dict[str, bytes | Path | None] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Read the files and try everything out.

        :raises ValueError: a file is missing or holds nothing of the kind, the key does not belong to the certificate,
            a protocol, cipher or name is unknown; the text begins with the name of the field.
        """
        object.__setattr__(self, "protocols", _texts("protocols", self.protocols))
        object.__setattr__(self, "alpn", _texts("alpn", self.alpn))
        object.__setattr__(self, "names", MappingProxyType(_checked_names(self.names)))
        for name in ("certificate", "key", "authorities"):
            self._pem[name] = _read(name, getattr(self, name))
        if self.key is not None and self.certificate is None:
            raise ValueError("key: there is no certificate that it belongs to")
        if self.require_client_certificate and self.authorities is None:
            raise ValueError("authorities: say which ones sign the certificates of the clients that are let in")
        context = self._make(server=True)
        if self.authorities is not None:
            load_authorities(context, self._pem["authorities"])

    @property
    def has_certificate(self) -> bool:
        """This end can say who it is."""
        return self.certificate is not None

    def client_context(self, *, anonymous: bool = False) -> ssl.SSLContext:
        """Return the context of the client role; an *anonymous* one shows no certificate."""
        return self._context(False, anonymous)

    def server_context(self, *, asks: bool) -> ssl.SSLContext:
        """Return the context of the server role; one that *asks* wants to see the client's certificate."""
        return self._context(True, asks or self.require_client_certificate)

    def for_name(self, name: str | None) -> TlsCredentials:
        """Return the credentials that a client meets who asks for the host *name*."""
        if name is None:
            return self
        name = name.lower()
        _, _, parent = name.partition(".")
        return self.names.get(name) or self.names.get(f"*.{parent}") or self

    # Sessions of the client role.

    def session_for(self, host_name: str, *, anonymous: bool) -> ssl.SSLSession | None:
        """Return what is left of the last connection to *host_name*. A session is used once (RFC 8446, C.4)."""
        with self._lock:
            return self._sessions.pop((host_name, anonymous), None)

    def keep_session(self, host_name: str, session: ssl.SSLSession, *, anonymous: bool) -> None:
        """Keep *session* for the next connection to *host_name*."""
        if not self.resume:
            return
        with self._lock:
            self._sessions[host_name, anonymous] = session
            self._sessions.move_to_end((host_name, anonymous))
            if len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)

    # Contexts.

    def _context(self, server: bool, variant: bool) -> ssl.SSLContext:
        if server and not self.resume:
            # OpenSSL keeps the sessions of TLS 1.2 in the context, and Python cannot tell it not to.
            return self._complete(server, variant)
        with self._lock:
            context = self._contexts.get((server, variant))
            if context is None:
                context = self._contexts[server, variant] = self._complete(server, variant)
        return context

    def _complete(self, server: bool, variant: bool) -> ssl.SSLContext:
        context = self._make(server=server, anonymous=not server and variant)
        if not server:
            context.check_hostname = self.verify and self.check_host_name
            context.verify_mode = ssl.CERT_REQUIRED if self.verify else ssl.CERT_NONE
        elif self.require_client_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
        elif variant:
            context.verify_mode = ssl.CERT_OPTIONAL
        if context.verify_mode != ssl.CERT_NONE:
            load_authorities(context, self._pem["authorities"])
        if server and not self.resume:
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0
        return context

    def _make(self, *, server: bool, anonymous: bool = False) -> ssl.SSLContext:
        context = new_context(server, self.protocols)
        use_ciphers(context, self.ciphers)
        use_alpn(context, self.alpn)
        certificate, key = self._pem["certificate"], self._pem["key"]
        if isinstance(certificate, bytes) and not anonymous:
            load_certificate(context, certificate, key if isinstance(key, bytes) else None, self.password)
        if server:
            context.sni_callback = self._judge_name
        return context

    def _judge_name(self, tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int | None:
        """Keep the host name that the client asked for, as OpenSSL reads it.

        Who chose these credentials read it too. Where the two differ, somebody tries to get in by another name.
        """
        if isinstance(tls, TlsObject):
            tls.requested_name = name
        return None if self.for_name(name) is self else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME


def _texts(name: str, values: Any) -> tuple[str, ...]:
    if isinstance(values, str) or not all(isinstance(each, str) for each in values):
        raise ValueError(f"{name}: a tuple of strings is needed, not {values!r}")
    return tuple(values)


def _checked_names(names: Mapping[str, TlsCredentials]) -> dict[str, TlsCredentials]:
    checked = {}
    for name, credentials in names.items():
        if not isinstance(credentials, TlsCredentials):
            raise ValueError(f"names: {name!r} leads to {type(credentials).__name__}, not to TlsCredentials")
        if not credentials.has_certificate:
            raise ValueError(f"names: the credentials of {name!r} have no certificate")
        if credentials.names:
            raise ValueError(f"names: the credentials of {name!r} have names of their own")
        checked[name.lower()] = credentials
    return checked


def _read(name: str, material: Material | None) -> bytes | Path | None:
    """Return the PEM text of *material*, a folder as it is."""
    if material is None or isinstance(material, bytes):
        return material
    path = Path(material)
    if name == "authorities" and path.is_dir():
        return path
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{name}: {path}: {error.strerror or error}") from error
