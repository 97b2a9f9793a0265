"""The constants of the interfaces: flags, protocol numbers, user namespaces, and the Windows values beside them."""

from __future__ import annotations

from typing import Final

from fwx.interfaces.enums import fwxSourceNAT, fwxSourceWSP

FWX_SESSION_NAT: Final = 0x1
"""``GetSessionFlags``: the session has no Firewall client's control channel."""
FWX_SESSION_AUTHENTICATED: Final = 0x2
"""``GetSessionFlags``: the service has authenticated the session."""
FWX_SESSION_TERMINATED: Final = 0x4
"""``GetSessionFlags``: the session has ended."""
FWX_SESSION_PRIVATE: Final = 0x8
"""``GetSessionFlags``: a filter made the session with ``CreatePrivateSession``."""

FWX_CONNECTION_INTERNAL_ADDRESS_TRANSLATION: Final = 0x8000_0000
"""``GetConnectionFlags``: external sources get an internal address where the networks are in a NAT relation."""

FWX_FLAG_ALLOW_MULTIPLE: Final = 0x1
"""``AllowFutureConnect``, ``RedirectConnections``: several connections to the address, not one."""
FWX_FLAG_TIMEOUT: Final = 0x2
"""``AllowFutureConnect``, ``RedirectConnections``: the permission lapses if the client does not use it soon."""
FWX_FLAG_NO_KERNEL_MODE: Final = 0x4
"""``AllowFutureConnect``, ``RedirectConnections``: the connection goes through user mode in any case."""
FWX_FLAG_ADDRESS_BASED: Final = 0x8
"""``AllowFutureConnect``, ``SetDataFilterFactory``: for the client's address, not for its session alone."""
FWX_FLAG_BIDIRECTIONAL: Final = 0x10
"""``RetroactiveAllowBind``: also packets back to those that sent to the UDP socket lately."""
FWX_FLAG_PROXY_MODE: Final = 0x20
"""``BindForClient``: full proxy mode for the secondary connections."""
FWX_FLAG_RESERVED_0: Final = 0x40
FWX_FLAG_ALLOW_ADDRESSES_IN_CLASS_C_NETWORK: Final = 0x80
"""``BindForClient``: the client addresses may be any in the client's class C network."""
FWX_FLAG_ALLOW_ADDRESSES_IN_NETWORK: Final = 0x100
"""``BindForClient``: the client addresses may be any in the client's network."""
FWX_FLAG_ALLOW_ADDRESSES_ALL: Final = 0x200
"""``BindForClient``: any client addresses."""
FWX_INCREASE_RECEIVE_BUFFER: Final = 0x400
"""``RetroactiveAllowBind``: a receive buffer of 64 KiB."""
FWX_FLAG_RESERVED_1: Final = 0x800
FWX_FLAG_IGNORE_RESTRICTED_PORTS: Final = 0x1000
"""Ports that are barred otherwise may be used (inferred)."""

FWX_FLAG_EMULATE_PROTOCOL: Final = 0x1
"""A protocol is emulated (inferred); of another set than the ``FWX_FLAG_*`` above."""

FWX_FLAG_USE_MIME: Final = 0x1
"""``HostAccessCheck``: the MIME type is not known yet; ``FWX_E_MIME_NEEDED`` if the rules need it."""
FWX_FLAG_USE_EXTENTION: Final = 0x2
"""``HostAccessCheck``: content rules use the extension in the path (spelled so)."""

FWX_PROTOCOL_TCP: Final = 6
FWX_PROTOCOL_UDP: Final = 17
FWX_PROTOCOL_GRE: Final = 47

FWX_ALL_SOURCES: Final = int(fwxSourceNAT) | int(fwxSourceWSP)
"""Both kinds of client, for ``dwGlobalEvents``."""

FWX_INVALID_NCD_HANDLE_VALUE: Final = 0xFFFF_FFFF
"""No registration handle of the network configuration detection has this value."""

AUTHENTICATED_AD_USER_NAMESPACE: Final = "AD"
AUTHENTICATED_RADIUS_USER_NAMESPACE: Final = "RADIUS"

SD_RECEIVE: Final = 0
SD_SEND: Final = 1
SD_BOTH: Final = 2

# FpcNetworkTypes of the administration interface, which IFWXNetworkElement.GetType answers.
fpcStandardNetwork: Final = 0
fpcVPNClients: Final = 1
fpcLocalHost: Final = 2
fpcDefaultExternal: Final = 3
fpcInternalNetwork: Final = 4
fpcQuarantinedVPNClients: Final = 5
