"""The constants of the interfaces: flags, protocol numbers, user namespaces, and the Windows values beside them.

Each says which method takes or answers it. Flags of one method are ORed; those of different sets share values.
"""

from __future__ import annotations

from typing import Final

from fwx.interfaces.enums import fwxSourceNAT, fwxSourceWSP

FWX_SESSION_NAT: Final = 0x1
"""``GetSessionFlags``: no control channel of a Firewall client; a SecureNAT client, or one on a routed network
(B10.3).
"""
FWX_SESSION_AUTHENTICATED: Final = 0x2
"""``GetSessionFlags``: the service has authenticated the session (B10.3)."""
FWX_SESSION_TERMINATED: Final = 0x4
"""``GetSessionFlags``: the session has ended (B10.3)."""
FWX_SESSION_PRIVATE: Final = 0x8
"""``GetSessionFlags``: a filter made the session with ``CreatePrivateSession`` (B10.3)."""

FWX_CONNECTION_INTERNAL_ADDRESS_TRANSLATION: Final = 0x8000_0000
"""``GetConnectionFlags``: external sources get an internal address where the networks are in a NAT relation."""

FWX_FLAG_ALLOW_MULTIPLE: Final = 0x1
"""``AllowFutureConnect``, ``RedirectConnections``: several connections to the address, not one (B6.6, B6.25)."""
FWX_FLAG_TIMEOUT: Final = 0x2
"""``AllowFutureConnect``, ``RedirectConnections``: the permission lapses after about a minute without use (B6.7)."""
FWX_FLAG_NO_KERNEL_MODE: Final = 0x4
"""``AllowFutureConnect``, ``RedirectConnections``: the connection goes through user mode in any case (B3.2)."""
FWX_FLAG_ADDRESS_BASED: Final = 0x8
"""``AllowFutureConnect``, ``SetDataFilterFactory``: for the client's address, not for its session alone (B6.8,
B2.42).
"""
FWX_FLAG_BIDIRECTIONAL: Final = 0x10
"""``RetroactiveAllowBind``: also packets back to those that sent to the UDP socket lately (B6.21)."""
FWX_FLAG_PROXY_MODE: Final = 0x20
"""``BindForClient``: full proxy mode for the secondary connections (B6.35)."""
FWX_FLAG_RESERVED_0: Final = 0x40
"""Reserved; no method takes it."""
FWX_FLAG_ALLOW_ADDRESSES_IN_CLASS_C_NETWORK: Final = 0x80
"""``BindForClient``: the client addresses may be any in the client's class C network (B6.35)."""
FWX_FLAG_ALLOW_ADDRESSES_IN_NETWORK: Final = 0x100
"""``BindForClient``: the client addresses may be any in the client's network (B6.35)."""
FWX_FLAG_ALLOW_ADDRESSES_ALL: Final = 0x200
"""``BindForClient``: any client addresses (B6.35). As with its two siblings, ``AllowFutureConnect`` is said to
know it.
"""
FWX_INCREASE_RECEIVE_BUFFER: Final = 0x400
"""``RetroactiveAllowBind``: a receive buffer of 64 KiB for bursts on UDP (B6.21)."""
FWX_FLAG_RESERVED_1: Final = 0x800
"""Reserved; no method takes it."""
FWX_FLAG_IGNORE_RESTRICTED_PORTS: Final = 0x1000
"""Ports that are barred otherwise may be used (inferred, B6.35); which method takes it is not known."""

FWX_FLAG_EMULATE_PROTOCOL: Final = 0x1
"""A protocol is emulated (inferred); of another set than the ``FWX_FLAG_*`` above; which method takes it is not
known.
"""

FWX_FLAG_USE_MIME: Final = 0x1
"""``HostAccessCheck``: the MIME type is not known yet; ``FWX_E_MIME_NEEDED`` if the rules need it."""
FWX_FLAG_USE_EXTENTION: Final = 0x2
"""``HostAccessCheck``: content rules use the extension in the path (spelled so)."""

FWX_PROTOCOL_TCP: Final = 6
"""*Protocol* of the socket and session methods: TCP (B4.8)."""
FWX_PROTOCOL_UDP: Final = 17
"""*Protocol* of the socket and session methods: UDP (B4.8)."""
FWX_PROTOCOL_GRE: Final = 47
"""GRE, the data of PPTP (B4.8); which method takes it is not known."""

FWX_ALL_SOURCES: Final = int(fwxSourceNAT) | int(fwxSourceWSP)
"""Both kinds of client, for ``dwGlobalEvents`` (B2.3)."""

FWX_INVALID_NCD_HANDLE_VALUE: Final = 0xFFFF_FFFF
"""No registration handle of the network configuration detection has this value (inferred)."""

AUTHENTICATED_AD_USER_NAMESPACE: Final = "AD"
"""``IFWXAuthenticatedUser.Namespace`` of a user of Windows (B10.2)."""
AUTHENTICATED_RADIUS_USER_NAMESPACE: Final = "RADIUS"
"""``IFWXAuthenticatedUser.Namespace`` of a user of RADIUS (B10.2)."""

SD_RECEIVE: Final = 0
"""Winsock's name for ending the receiving direction."""
SD_SEND: Final = 1
"""Winsock's name for ending the sending direction, what ``IFWXSocket.Shutdown`` does (B3.25)."""
SD_BOTH: Final = 2
"""Winsock's name for ending both directions."""

# FpcNetworkTypes of the administration interface, which IFWXNetworkElement.GetType answers.
fpcStandardNetwork: Final = 0
"""``IFWXNetworkElement.GetType``: a user-defined network."""
fpcVPNClients: Final = 1
"""``IFWXNetworkElement.GetType``: the VPN clients."""
fpcLocalHost: Final = 2
"""``IFWXNetworkElement.GetType``: the firewall itself."""
fpcDefaultExternal: Final = 3
"""``IFWXNetworkElement.GetType``: everything that is in no other network."""
fpcInternalNetwork: Final = 4
"""``IFWXNetworkElement.GetType``: the predefined internal network."""
fpcQuarantinedVPNClients: Final = 5
"""``IFWXNetworkElement.GetType``: the VPN clients in quarantine."""
