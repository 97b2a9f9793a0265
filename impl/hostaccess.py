"""HostAccessCheck: the rules, asked by a filter that learns from the data which host is meant (B7.17)."""

from __future__ import annotations

from mimetypes import MimeTypes
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fwx.impl.admission import admit
from fwx.impl.argument import whole
from fwx.impl.contenttype import sent_type
from fwx.impl.urlset import Url
from fwx.impl.webrequest import WebRequest
from fwx.interfaces import GUID_NULL, Hostent, SocketAddress
from fwx.interfaces.constants import FWX_FLAG_USE_EXTENTION, FWX_FLAG_USE_MIME
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_POINTER,
    FWX_E_MIME_NEEDED,
    FWX_E_TERMINATING,
    COMError,
)

if TYPE_CHECKING:
    from fwx.impl.session import FWXSession

_LAST_PORT = 0xFFFF
_KNOWN_FLAGS = FWX_FLAG_USE_MIME | FWX_FLAG_USE_EXTENTION


def check_question(
    filter_guid: Any, protocol: Any, host: Any, source_port: Any, path: Any, mime: Any, flags: Any
) -> None:
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
    for name, text in (("pszPath", path), ("pszMime", mime)):
        if text is not None and not isinstance(text, str):
            raise COMError(E_INVALIDARG, f"{name} is {type(text).__name__}, not text")
    if whole(flags, "dwFlags") & ~_KNOWN_FLAGS:
        raise COMError(E_INVALIDARG, f"dwFlags has {flags & ~_KNOWN_FLAGS:#x}, which no header defines")


def check_access(
    session: FWXSession,
    protocol: UUID,
    host: Hostent,
    source_port: int,
    path: str | None = None,
    mime: str | None = None,
    flags: int = 0,
) -> None:
    """Ask the rules as for a connection of the client: the name, and each of the addresses; on the loop thread.

    Asked is for the first connection that a client begins in *protocol*. For ``GUID_NULL`` those rules count that are
    about every protocol. The client connects from *source_port*. With a *path*, asked is for a request in plain HTTP,
    of which rules may name the URL and the content; else rules about these do not count.

    :raises COMError: ``FWX_E_POLICY_RULES_DENIED``, ``FWX_E_NETWORK_RULES_DENIED``; ``FWX_E_MIME_NEEDED`` by *flags*
        and rules; ``E_INVALIDARG`` no protocol has the GUID, or none that a client begins; ``FWX_E_TERMINATING`` the
        session has ended.
    """
    engine = session.engine
    if session.terminated:
        raise COMError(FWX_E_TERMINATING, "the session has ended")
    begins = ("TCP", 0) if protocol == GUID_NULL else engine.policy.beginning_of(protocol)
    if begins is None:
        raise COMError(E_INVALIDARG, f"no protocol that a client begins has the GUID {protocol}")
    content = _content(path, mime, flags)
    if content is None and path is not None and flags & FWX_FLAG_USE_MIME and engine.policy.judges_content:
        raise COMError(FWX_E_MIME_NEEDED, "a rule is about content types")
    (transport, port), source = begins, session.address.with_port(source_port)
    found = [SocketAddress(address, port) for address in host.addresses]
    targets = [SocketAddress(host.name, port)] if host.name else found
    for target in targets:
        resolved = (found or None) if host.name else None
        web = None if path is None else WebRequest(Url.of(target, path), content, is_forwarded=False)
        verdict, addresses = admit(engine, source, target, resolved, transport, session.who, web)
        if addresses or (verdict.allowed and not resolved and target.address is None):
            return
    raise COMError(verdict.hresult, verdict.reason)


def _content(path: str | None, mime: str | None, flags: int) -> str | None:
    """Return what the rules are to take for the content's type; ``None`` where that is open."""
    if mime is not None:
        return sent_type([mime])
    if path is not None and flags & FWX_FLAG_USE_EXTENTION:
        # The table of Python itself: what the machine has installed must not change the policy.
        return (MimeTypes().guess_type(path.partition("?")[0])[0] or "").lower()
    return None
