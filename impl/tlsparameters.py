"""The inputs of ``CreateSSLNetworkSocket``, judged, as one object, which the adapter ``ssl`` gets (B4.16, B4.17)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from zope.interface import Attribute, Interface, implementer

from fwx.impl.argument import whole
from fwx.impl.tlscodec import is_literal
from fwx.impl.tlscredentials import TlsCredentials
from fwx.impl.tlsrole import ClientRole, Role, ServerRole
from fwx.interfaces import FwxSslSocketSide, IFWXSocket, fwxClientSide
from fwx.interfaces.hresult import E_INVALIDARG, E_POINTER, COMError

if TYPE_CHECKING:
    from collections.abc import Callable

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)
_LONGEST_NAME = 253


class ITlsParameters(Interface):
    """What an SSL socket is made with: ``registry.getMultiAdapter((firewall2, parameters), IFWXNetworkSocket, "ssl")``.

    A plug-in that makes SSL sockets of its own gets these.
    """

    ask_for_client_certificate = Attribute("bool: ask the client for a certificate; means nothing in the client role")
    host_name = Attribute("str | None: the server's name, in lower case and as IDNA, or literal address")
    credentials = Attribute("TlsCredentials | None: those of the socket's creator")
    default_credentials = Attribute("TlsCredentials | None: what holds without any; a client does not show theirs")
    side = Attribute("FwxSslSocketSide: fwxServerSide plays the TLS client, fwxClientSide the TLS server")
    protocol = Attribute("UUID: of the protocol on the socket, GUID_NULL for none")
    send_timeout = Attribute("int: milliseconds, 0 for no limit")
    recv_timeout = Attribute("int: milliseconds, 0 for no limit")
    allow_tunnel = Attribute("bool: in the server role, pass a client through that speaks no TLS")
    existing_socket = Attribute("IFWXSocket | None: the socket underneath")

    def role() -> Role:
        """Return how the connection begins, a fresh one for each socket."""


@implementer(ITlsParameters)
@dataclass(frozen=True, slots=True, kw_only=True)
class TlsParameters:
    """See :class:`ITlsParameters`; :func:`parameters_of` makes it."""

    ask_for_client_certificate: bool
    host_name: str | None
    credentials: TlsCredentials | None
    default_credentials: TlsCredentials | None
    side: FwxSslSocketSide
    protocol: UUID
    send_timeout: int
    recv_timeout: int
    allow_tunnel: bool
    existing_socket: IFWXSocket | None
    _role: Callable[[], Role]

    def role(self) -> Role:
        return self._role()


def parameters_of(
    nobody: Callable[[], TlsCredentials],
    fAskForClientCert: Any,
    pszHostName: Any,
    dwHostNameLen: Any,
    pCreds: Any,
    pDefaultCreds: Any,
    eSide: Any,
    ProtocolGuid: Any,
    dwDefaultSendTimeout: Any,
    dwDefaultRecvTimeout: Any,
    fAllowHTTPSTunnelingMode: Any,
    pExistingSocket: Any,
) -> TlsParameters:
    """Judge the inputs of ``CreateSSLNetworkSocket``; *nobody* gives the credentials of a client that has none.

    :raises COMError: ``E_INVALIDARG``, ``E_POINTER`` without a GUID.
    """
    if ProtocolGuid is None:
        raise COMError(E_POINTER, "ProtocolGuid is needed; GUID_NULL for no protocol")
    if not isinstance(ProtocolGuid, UUID):
        raise COMError(E_INVALIDARG, f"ProtocolGuid is {ProtocolGuid!r}, not a GUID")
    if pExistingSocket is not None and not IFWXSocket.providedBy(pExistingSocket):
        raise COMError(E_INVALIDARG, f"pExistingSocket is {type(pExistingSocket).__name__}, not an IFWXSocket")
    side = _side(eSide)
    own, default = _credentials(pCreds, "pCreds"), _credentials(pDefaultCreds, "pDefaultCreds")
    host_name = _host_name(pszHostName, dwHostNameLen)
    asks, allows = bool(fAskForClientCert), bool(fAllowHTTPSTunnelingMode)
    if side == fwxClientSide:
        role = _server_role(own, default, asks, allows)
    else:
        role = _client_role(own, default or own or nobody(), host_name)
    return TlsParameters(
        ask_for_client_certificate=asks,
        host_name=host_name,
        credentials=own,
        default_credentials=default,
        side=side,
        protocol=ProtocolGuid,
        send_timeout=whole(dwDefaultSendTimeout, "dwDefaultSendTimeout"),
        recv_timeout=whole(dwDefaultRecvTimeout, "dwDefaultRecvTimeout"),
        allow_tunnel=allows,
        existing_socket=pExistingSocket,
        _role=role,
    )


def _server_role(
    own: TlsCredentials | None, default: TlsCredentials | None, asks: bool, allows_tunnel: bool
) -> Callable[[], Role]:
    for credentials in (own, default):
        if credentials is not None and (credentials.has_certificate or credentials.names):
            return lambda chosen=credentials: ServerRole(chosen, asks=asks, allows_tunnel=allows_tunnel)  # type: ignore[misc]
    raise COMError(E_INVALIDARG, "towards the client a certificate is needed, and neither credentials have one")


def _client_role(own: TlsCredentials | None, default: TlsCredentials, host_name: str | None) -> Callable[[], Role]:
    """The default credentials stand for nobody, so their certificate is not shown to the server."""
    credentials = own or default
    if host_name is None and credentials.verify and credentials.check_host_name:
        raise COMError(E_INVALIDARG, "towards the server a host name is needed to check its certificate against")
    return lambda: ClientRole(credentials, host_name, anonymous=own is None)


def _side(value: Any) -> FwxSslSocketSide:
    try:
        return FwxSslSocketSide(value)
    except ValueError as error:
        raise COMError(E_INVALIDARG, f"eSide is {value!r}, neither fwxServerSide nor fwxClientSide") from error


def _credentials(value: Any, name: str) -> TlsCredentials | None:
    if value is None or isinstance(value, TlsCredentials):
        return value
    raise COMError(E_INVALIDARG, f"{name} is {type(value).__name__}, not TlsCredentials")


def _host_name(value: Any, length: Any) -> str | None:
    """Return the name as certificates and SNI write it; ``None`` for none."""
    if value is not None and not isinstance(value, str):
        raise COMError(E_INVALIDARG, f"pszHostName is {type(value).__name__}, not text")
    if length is not None:
        length = whole(length, "dwHostNameLen", most=len(value or ""))
    name = (value or "")[:length]
    if not name:
        return None
    if is_literal(name):
        return name
    try:
        name = name.removesuffix(".").encode("idna").decode("ascii").lower()
    except UnicodeError as error:
        raise COMError(E_INVALIDARG, f"pszHostName is {value!r}, no host name") from error
    if len(name) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise COMError(E_INVALIDARG, f"pszHostName is {value!r}, no host name")
    return name
