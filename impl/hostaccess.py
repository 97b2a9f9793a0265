"""HostAccessCheck: the rules, asked by a filter that learns from the data which host is meant (B7.17)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from fwx.impl.admission import admit
from fwx.impl.argument import whole
from fwx.interfaces import GUID_NULL, Hostent, SocketAddress
from fwx.interfaces.constants import FWX_FLAG_USE_EXTENTION, FWX_FLAG_USE_MIME
from fwx.interfaces.hresult import E_INVALIDARG, E_POINTER, FWX_E_POLICY_RULES_DENIED, FWX_E_TERMINATING, COMError

if TYPE_CHECKING:
    from fwx.impl.session import FWXSession

_LAST_PORT = 0xFFFF
_KNOWN_FLAGS = FWX_FLAG_USE_MIME | FWX_FLAG_USE_EXTENTION


def check_question(filter_guid: Any, protocol: Any, host: Any, source_port: Any, flags: Any) -> None:
    """:raises COMError: ``E_POINTER``, ``E_INVALIDARG`` what ``HostAccessCheck`` was given is no question."""
    for name, guid in (("FilterGuid", filter_guid), ("ProtocolGuid", protocol)):
        if guid is None:
            raise COMError(E_POINTER, f"{name} is needed")
        if not isinstance(guid, UUID):
            raise COMError(E_INVALIDARG, f"{name} is {type(guid).__name__}, not a UUID")
    if host is None:
        raise COMError(E_POINTER, "a host is needed")
    if not isinstance(host, Hostent) or not (host.name or host.addresses):
        raise COMError(E_INVALIDARG, f"{host!r} is no Hostent with a name or an address")
    whole(source_port, "SrcPort", most=_LAST_PORT)
    if whole(flags, "dwFlags") & ~_KNOWN_FLAGS:
        raise COMError(E_INVALIDARG, f"dwFlags has {flags & ~_KNOWN_FLAGS:#x}, which no header defines")


def check_access(session: FWXSession, protocol: UUID, host: Hostent, source_port: int) -> None:
    """Ask the rules as for a connection of the client: the name, and each of the addresses; on the loop thread.

    Asked is for the first connection that a client begins in *protocol*. For ``GUID_NULL`` those rules count that are
    about every protocol. The client connects from *source_port*. No rule depends on MIME types or paths.

    :raises COMError: ``FWX_E_POLICY_RULES_DENIED``; ``E_INVALIDARG`` no protocol has the GUID, or none that a client
        begins; ``FWX_E_TERMINATING`` the session has ended.
    """
    engine = session.engine
    if session.terminated:
        raise COMError(FWX_E_TERMINATING, "the session has ended")
    begins = ("TCP", 0) if protocol == GUID_NULL else engine.policy.beginning_of(protocol)
    if begins is None:
        raise COMError(E_INVALIDARG, f"no protocol that a client begins has the GUID {protocol}")
    (transport, port), source = begins, session.address.with_port(source_port)
    found = [SocketAddress(address, port) for address in host.addresses]
    targets = [SocketAddress(host.name, port)] if host.name else found
    for target in targets:
        resolved = (found or None) if host.name else None
        verdict, addresses = admit(engine, source, target, resolved, transport, session.who)
        if addresses or (verdict.allowed and not resolved and target.address is None):
            return
    raise COMError(FWX_E_POLICY_RULES_DENIED, verdict.reason)
