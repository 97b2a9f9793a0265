"""HRESULTs: the result type of every method, the codes that the interfaces use, and the exception that carries them."""

from __future__ import annotations

from typing import Any, Final, NoReturn

_NAMES: dict[int, str] = {}


class HRESULT(int):
    """A 32-bit result code, kept unsigned so that it equals the number printed in the documentation.

    Truth testing is refused: ``S_FALSE`` is a success and must never read as true by accident. Use
    :func:`SUCCEEDED` and :func:`FAILED`.
    """

    __slots__ = ()

    def __new__(cls, value: int) -> HRESULT:
        """Accept a signed or an unsigned 32-bit *value*.

        :raises ValueError: outside the 32-bit range.
        """
        if not -0x8000_0000 <= value <= 0xFFFF_FFFF:
            raise ValueError(f"an HRESULT has 32 bits, {value:#x} has more")
        return super().__new__(cls, value & 0xFFFF_FFFF)

    def __bool__(self) -> NoReturn:
        raise TypeError("an HRESULT is neither true nor false; use SUCCEEDED() or FAILED()")

    @property
    def name(self) -> str:
        """The symbolic name, ``WIN32(n)`` for an unnamed Windows code, else the hexadecimal number."""
        known = _NAMES.get(int(self))
        if known is not None:
            return known
        if int(self) & 0xFFFF_0000 == 0x8007_0000:
            return f"WIN32({int(self) & 0xFFFF})"
        return f"0x{int(self):08X}"

    def __repr__(self) -> str:
        return f"<HRESULT 0x{int(self):08X} {self.name}>"

    def __str__(self) -> str:
        return f"{self.name} (0x{int(self):08X})"


def SUCCEEDED(hresult: int) -> bool:
    """Tell whether *hresult* is a success code (``S_OK``, ``S_FALSE``, ...)."""
    return int(hresult) & 0x8000_0000 == 0


def FAILED(hresult: int) -> bool:
    """Tell whether *hresult* is a failure code."""
    return int(hresult) & 0x8000_0000 != 0


def HRESULT_FROM_WIN32(code: int) -> HRESULT:
    """Return the HRESULT of the Windows or Winsock error *code*; 0 gives ``S_OK``."""
    if code == 0:
        return S_OK
    return HRESULT(0x8007_0000 | (code & 0xFFFF))


def WIN32_FROM_HRESULT(hresult: int) -> int:
    """Return the Windows error code inside *hresult* if it has one, else *hresult* itself as a number."""
    if int(hresult) & 0xFFFF_0000 == 0x8007_0000:
        return int(hresult) & 0xFFFF
    return int(hresult)


def _code(name: str, value: int) -> HRESULT:
    _NAMES.setdefault(value, name)
    return HRESULT(value)


S_OK: Final = _code("S_OK", 0x00000000)
"""Success."""
S_FALSE: Final = _code("S_FALSE", 0x00000001)
"""Success, and the answer is no."""
E_NOTIMPL: Final = _code("E_NOTIMPL", 0x80004001)
"""Not implemented. Returned by an event handler: not handled (B2.38)."""
E_NOINTERFACE: Final = _code("E_NOINTERFACE", 0x80004002)
"""The object lacks the interface asked for."""
E_POINTER: Final = _code("E_POINTER", 0x80004003)
"""NULL, or ``None``, where something is needed."""
E_ABORT: Final = _code("E_ABORT", 0x80004004)
"""The operation was given up."""
E_FAIL: Final = _code("E_FAIL", 0x80004005)
"""A failure of no further kind."""
E_UNEXPECTED: Final = _code("E_UNEXPECTED", 0x8000FFFF)
"""A bug of the callee: an exception that stands for no code."""
E_ACCESSDENIED: Final = _code("E_ACCESSDENIED", 0x80070005)
"""Not allowed; of a buffer, that it is not the caller's to change."""
E_HANDLE: Final = _code("E_HANDLE", 0x80070006)
"""Not a handle."""
E_OUTOFMEMORY: Final = _code("E_OUTOFMEMORY", 0x8007000E)
"""Out of memory or of another resource."""
E_INVALIDARG: Final = _code("E_INVALIDARG", 0x80070057)
"""A bad argument."""
CLASS_E_NOAGGREGATION: Final = _code("CLASS_E_NOAGGREGATION", 0x80040110)
"""A class factory's objects cannot be part of another one."""
REGDB_E_CLASSNOTREG: Final = _code("REGDB_E_CLASSNOTREG", 0x80040154)
"""No filter has the CLSID."""

FWX_E_TERMINATING: Final = _code("FWX_E_TERMINATING", 0xC0040001)
"""The object is ending, or has ended."""
FWX_E_INVALID_ARG: Final = _code("FWX_E_INVALID_ARG", 0xC0040002)
"""A bad argument, in the service's own series; ``SetSocketName`` alone is documented with it."""
FWX_E_ALREADY_IN_BLOCKING_OP: Final = _code("FWX_E_ALREADY_IN_BLOCKING_OP", 0xC0040003)
"""``StartHeavyBlockingOperation`` came twice (B5.15)."""
FWX_E_NOT_IN_BLOCKING_OP: Final = _code("FWX_E_NOT_IN_BLOCKING_OP", 0xC0040004)
"""``EndHeavyBlockingOperation`` came without a start (B5.15)."""
FWX_E_FILTER_NOT_REGISTERED: Final = _code("FWX_E_FILTER_NOT_REGISTERED", 0xC0040005)
"""There is no such filter; here also the result of a connection that a failed filter should have seen."""
FWX_E_ALREADY_EXISTS: Final = _code("FWX_E_ALREADY_EXISTS", 0x800700B7)
"""There is one of that name; equal to ``HRESULT_FROM_WIN32(ERROR_ALREADY_EXISTS)``, not of the series."""
FWX_E_BUFFERFULL: Final = _code("FWX_E_BUFFERFULL", 0xC0040007)
"""A buffer took only a part of the data (B3.19)."""
FWX_E_ALREADY_EMULATED: Final = _code("FWX_E_ALREADY_EMULATED", 0xC0040009)
"""A filter emulates the connection (B3.38)."""
FWX_E_BAD_CONTEXT: Final = _code("FWX_E_BAD_CONTEXT", 0xC004000A)
"""Called outside the events, or on the thread, where it can be."""
FWX_E_NOT_SUPPORTED: Final = _code("FWX_E_NOT_SUPPORTED", 0xC004000B)
"""The session lacks this property, or does not let it change."""
FWX_E_NOT_AUTHENTICATED: Final = _code("FWX_E_NOT_AUTHENTICATED", 0xC004000C)
"""The session has no user (B10.2)."""
FWX_E_POLICY_RULES_DENIED: Final = _code("FWX_E_POLICY_RULES_DENIED", 0xC004000D)
"""A policy rule, or the built-in last one, refuses (B7.4)."""
FWX_E_MIME_NEEDED: Final = _code("FWX_E_MIME_NEEDED", 0xC004000E)
"""The rules cannot judge without the MIME type."""
FWX_E_MUST_USE_DS: Final = _code("FWX_E_MUST_USE_DS", 0xC004000F)
"""Reserved."""
FWX_E_NOT_EMULATED: Final = _code("FWX_E_NOT_EMULATED", 0xC0040010)
"""The connection is not an emulated one (B3.39)."""
FWX_E_IS_BUSY: Final = _code("FWX_E_IS_BUSY", 0xC0040011)
"""Dropped: too many requests wait (B11.9)."""
FWX_E_NETWORK_RULES_DENIED: Final = _code("FWX_E_NETWORK_RULES_DENIED", 0xC0040012)
"""No network rule joins the two networks (B7.4)."""
FWX_E_FRAGMENT_PACKET_DROPPED: Final = _code("FWX_E_FRAGMENT_PACKET_DROPPED", 0xC0040013)
"""Log: the configuration refuses IP fragments."""
FWX_E_FWE_SPOOFING_PACKET_DROPPED: Final = _code("FWX_E_FWE_SPOOFING_PACKET_DROPPED", 0xC0040014)
"""Log: the source cannot be where the packet came from."""
FWX_E_TCPIPDROP_PACKET_DROPPED: Final = _code("FWX_E_TCPIPDROP_PACKET_DROPPED", 0xC0040015)
"""Log: the network stack dropped the packet."""
FWX_E_NO_BACKLOG_PACKET_DROPPED: Final = _code("FWX_E_NO_BACKLOG_PACKET_DROPPED", 0xC0040016)
"""Log: inbound requests came too fast (B11.9)."""
FWX_E_TCP_NOT_SYN_PACKET_DROPPED: Final = _code("FWX_E_TCP_NOT_SYN_PACKET_DROPPED", 0xC0040017)
"""Log: a TCP packet of no known connection that opens none."""
FWX_E_BAD_LENGTH_PACKET_DROPPED: Final = _code("FWX_E_BAD_LENGTH_PACKET_DROPPED", 0xC0040018)
"""Log: the IP length field is wrong."""
FWX_E_PING_OF_DEATH_PACKET_DROPPED: Final = _code("FWX_E_PING_OF_DEATH_PACKET_DROPPED", 0xC0040019)
"""Log: ping of death."""
FWX_E_OUT_OF_BAND_PACKET_DROPPED: Final = _code("FWX_E_OUT_OF_BAND_PACKET_DROPPED", 0xC004001A)
"""Log: out-of-band attack (WinNuke)."""
FWX_E_IP_HALF_SCAN_PACKET_DROPPED: Final = _code("FWX_E_IP_HALF_SCAN_PACKET_DROPPED", 0xC004001B)
"""Log: half-open scan."""
FWX_E_LAND_ATTACK_DROPPED: Final = _code("FWX_E_LAND_ATTACK_DROPPED", 0xC004001C)
"""Log: land attack."""
FWX_E_UDP_BOMB_DROPPED: Final = _code("FWX_E_UDP_BOMB_DROPPED", 0xC004001D)
"""Log: UDP bomb."""
FWX_E_FULLDENY_DROPPED: Final = _code("FWX_E_FULLDENY_DROPPED", 0xC004001E)
"""Log: the firewall is in lockdown (B11.16)."""
FWX_E_IPOPTIONS_DROPPED: Final = _code("FWX_E_IPOPTIONS_DROPPED", 0xC004001F)
"""Log: forbidden IP options."""
FWX_E_UNCOMPLETED_CONNECTION_REQUEST: Final = _code("FWX_E_UNCOMPLETED_CONNECTION_REQUEST", 0xC0040020)
"""VPN log-on: the credentials came too late."""
FWX_E_CONNECTION_REQUEST_REJECTED: Final = _code("FWX_E_CONNECTION_REQUEST_REJECTED", 0xC0040021)
"""VPN log-on: the credentials were refused."""
FWX_E_VALIDATE_QUARANTINE_FAILED: Final = _code("FWX_E_VALIDATE_QUARANTINE_FAILED", 0xC0040022)
"""VPN client cut off: its quarantine settings cannot be checked."""
FWX_E_VPN_CONNECTIONS_LIMIT_EXCEEDED: Final = _code("FWX_E_VPN_CONNECTIONS_LIMIT_EXCEEDED", 0xC0040023)
"""VPN client cut off: there are too many."""
FWX_E_OUT_OF_RESOURCES: Final = _code("FWX_E_OUT_OF_RESOURCES", 0xC0040024)
"""Log: no resources left for the packet."""
FWX_E_BROADCAST_PACKET_DROPPED: Final = _code("FWX_E_BROADCAST_PACKET_DROPPED", 0xC0040025)
"""Log: policy refuses a broadcast."""
FWX_E_UNKNOWN_ADAPTER_DROPPED: Final = _code("FWX_E_UNKNOWN_ADAPTER_DROPPED", 0xC0040026)
"""Reserved."""
FWX_E_ICMP_ERROR_PACKET_DROPPED: Final = _code("FWX_E_ICMP_ERROR_PACKET_DROPPED", 0xC0040027)
"""Reserved."""
FWX_E_INVALID_PROTCOL_PACKET_DROPPED: Final = _code("FWX_E_INVALID_PROTCOL_PACKET_DROPPED", 0xC0040028)
"""Log: IP protocol 255 or a null address; so spelled."""
FWX_E_PORT_ZERO_PACKET_DROPPED: Final = _code("FWX_E_PORT_ZERO_PACKET_DROPPED", 0xC0040029)
"""Log: port 0."""
FWX_E_SYN_ATTACK_START: Final = _code("FWX_E_SYN_ATTACK_START", 0xC004002A)
"""Log: a SYN attack begins."""
FWX_E_SYN_ATTACK_END: Final = _code("FWX_E_SYN_ATTACK_END", 0xC004002B)
"""Log: a SYN attack has ended."""
FWX_E_INVALID_DHCP_OFFER: Final = _code("FWX_E_INVALID_DHCP_OFFER", 0xC004002C)
"""Log: a bad DHCP offer was blocked."""
FWX_E_UNREACHABLE_ADDRESS: Final = _code("FWX_E_UNREACHABLE_ADDRESS", 0xC004002D)
"""Log: there is no way to the destination."""
FWX_E_ADDRESS_NOT_ALLOWED: Final = _code("FWX_E_ADDRESS_NOT_ALLOWED", 0xC004002E)
"""The IP filter has no such source (B6.34)."""
FWX_E_IPSEC_NO_ROUTE_DROPPED: Final = _code("FWX_E_IPSEC_NO_ROUTE_DROPPED", 0xC004002F)
"""Log: a source that does not belong to the IPsec tunnel it came from."""
FWX_E_OUTBOUND_PATH_THROUGH_DROPPED: Final = _code("FWX_E_OUTBOUND_PATH_THROUGH_DROPPED", 0xC0040030)
"""Log: the firewall's own packet bears the address of another adapter."""
FWX_E_BAD_TCP_CHECKSUM_DROPPED: Final = _code("FWX_E_BAD_TCP_CHECKSUM_DROPPED", 0xC0040031)
"""Log: wrong TCP checksum."""
FWX_E_VPN_USER_MAPPING_FAILED: Final = _code("FWX_E_VPN_USER_MAPPING_FAILED", 0xC0040032)
"""VPN client cut off: no user of Windows fits it."""
FWX_E_RULE_QUOTA_EXCEEDED_DROPPED: Final = _code("FWX_E_RULE_QUOTA_EXCEEDED_DROPPED", 0xC0040033)
"""Refused: too many new connections of one rule (B11.4, B11.7)."""
FWX_E_SEQ_ACK_MISMATCH: Final = _code("FWX_E_SEQ_ACK_MISMATCH", 0xC0040034)
"""Log: a TCP sequence or acknowledgement number does not fit."""
FWX_E_THREAD_QUOTA_EXCEEDED: Final = _code("FWX_E_THREAD_QUOTA_EXCEEDED", 0xC0040035)
"""Too many threads block already (B5.17)."""
FWX_E_DNS_QUOTA_EXCEEDED: Final = _code("FWX_E_DNS_QUOTA_EXCEEDED", 0xC0040036)
"""Too many DNS queries already (B5.17)."""
FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED: Final = _code("FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED", 0xC0040037)
"""Refused: too many new TCP connections of one client (B11.2, B11.7)."""
FWX_E_TCP_NO_SERVER_REPLY: Final = _code("FWX_E_TCP_NO_SERVER_REPLY", 0xC0040038)
"""Log: closed, the server never answered the SYN."""
FWX_E_POLICY_CONNECTION_CLOSED: Final = _code("FWX_E_POLICY_CONNECTION_CLOSED", 0xC0040039)
"""Ended: the changed policy allows the connection no more (B7.18)."""
FWX_E_NAT_ADDRESS_NOT_AVAILABLE: Final = _code("FWX_E_NAT_ADDRESS_NOT_AVAILABLE", 0xC004003A)
"""The address that a network rule translates to is not there."""
FWX_E_IPS_BLOCKED: Final = _code("FWX_E_IPS_BLOCKED", 0xC004003B)
"""Network inspection blocked the connection."""
FWX_E_IPS_DETECTED: Final = _code("FWX_E_IPS_DETECTED", 0xC004003C)
"""Network inspection recognised a signature."""
FWX_E_CONNECTION_QUARANTINED: Final = _code("FWX_E_CONNECTION_QUARANTINED", 0xC004003D)
"""Closed: the client went into quarantine."""
FWX_E_FW_IPSEC_DROPPED: Final = _code("FWX_E_FW_IPSEC_DROPPED", 0xC004003E)
"""Log: the packet engine's IPsec policy was out of date."""
FWX_E_TRANSITION_DROPPED: Final = _code("FWX_E_TRANSITION_DROPPED", 0xC004003F)
"""Log: the IPsec policy was being changed."""
FWX_E_BOTH_ADRESSES_BELONG_TO_SAME_NETWORK: Final = _code("FWX_E_BOTH_ADRESSES_BELONG_TO_SAME_NETWORK", 0xC0040040)
"""Both addresses are in one network; so spelled. Which method answers it is not known."""
FWX_E_UNSUPPORTED_IPV6_DROPPED: Final = _code("FWX_E_UNSUPPORTED_IPV6_DROPPED", 0xC0040041)
"""Log: IPv6 that is not supported."""
FWX_E_INVALID_ROUTER_ADV: Final = _code("FWX_E_INVALID_ROUTER_ADV", 0xC0040042)
"""Log: a bad IPv6 router advertisement."""
FWX_E_IPV6_ROUTING_HEADER: Final = _code("FWX_E_IPV6_ROUTING_HEADER", 0xC0040043)
"""Log: an IPv6 routing header."""
FWX_E_UNSUPPORTED_NATPT_DROPPED: Final = _code("FWX_E_UNSUPPORTED_NATPT_DROPPED", 0xC0040046)
"""Log: a kind of NAT-PT packet that is not supported."""
FWX_E_NIS_LOAD_POLICY_FAILED: Final = _code("FWX_E_NIS_LOAD_POLICY_FAILED", 0xC0040047)
"""The signatures of network inspection could not be loaded."""
FWX_E_TCPIP_DROP_FIREWALL_POLICY: Final = _code("FWX_E_TCPIP_DROP_FIREWALL_POLICY", 0xC0040048)
"""Log, network stack: blocked by a filtering decision."""
FWX_E_TCPIP_DROP_IPSEC: Final = _code("FWX_E_TCPIP_DROP_IPSEC", 0xC0040049)
"""Log, network stack: internal."""
FWX_E_TCPIP_DROP_INET_SOURCE_UNSPECIFIED: Final = _code("FWX_E_TCPIP_DROP_INET_SOURCE_UNSPECIFIED", 0xC004004A)
"""Log, network stack: sent without a source address."""
FWX_E_TCPIP_DROP_INET_DESTINATION_MULTICAST: Final = _code("FWX_E_TCPIP_DROP_INET_DESTINATION_MULTICAST", 0xC004004B)
"""Log, network stack: sent to no address, or by multicast where the transport has none."""
FWX_E_TCPIP_DROP_INET_HEADER_INVALID: Final = _code("FWX_E_TCPIP_DROP_INET_HEADER_INVALID", 0xC004004C)
"""Log, network stack: bad transport header."""
FWX_E_TCPIP_DROP_INET_CHECKSUM_INVALID: Final = _code("FWX_E_TCPIP_DROP_INET_CHECKSUM_INVALID", 0xC004004D)
"""Log, network stack: bad checksum in the transport header."""
FWX_E_TCPIP_DROP_INET_ENDPOINT_NOT_FOUND: Final = _code("FWX_E_TCPIP_DROP_INET_ENDPOINT_NOT_FOUND", 0xC004004E)
"""Log, network stack: no such end point."""
FWX_E_TCPIP_DROP_IP_BAD_SOURCE_ADDRESS: Final = _code("FWX_E_TCPIP_DROP_IP_BAD_SOURCE_ADDRESS", 0xC004004F)
"""Log, network stack: sent with an address that can be no source."""
FWX_E_TCPIP_DROP_IP_NOT_LOCALLY_DESTINED: Final = _code("FWX_E_TCPIP_DROP_IP_NOT_LOCALLY_DESTINED", 0xC0040050)
"""Log, network stack: received for somebody else, without forwarding."""
FWX_E_TCPIP_DROP_IP_PROTOCOL_UNREACHABLE: Final = _code("FWX_E_TCPIP_DROP_IP_PROTOCOL_UNREACHABLE", 0xC0040051)
"""Log, network stack: nobody speaks the transport protocol."""
FWX_E_TCPIP_DROP_IP_PORT_UNREACHABLE: Final = _code("FWX_E_TCPIP_DROP_IP_PORT_UNREACHABLE", 0xC0040052)
"""Log, network stack: nobody listens on the port."""
FWX_E_TCPIP_DROP_IP_BAD_LENGTH: Final = _code("FWX_E_TCPIP_DROP_IP_BAD_LENGTH", 0xC0040053)
"""Log, network stack: a length field is wrong."""
FWX_E_TCPIP_DROP_IP_MALFORMED_HEADER: Final = _code("FWX_E_TCPIP_DROP_IP_MALFORMED_HEADER", 0xC0040054)
"""Log, network stack: bad extension header or option."""
FWX_E_TCPIP_DROP_IP_NO_ROUTE: Final = _code("FWX_E_TCPIP_DROP_IP_NO_ROUTE", 0xC0040055)
"""Log, network stack: no route."""
FWX_E_TCPIP_DROP_IP_BEYOND_SCOPE: Final = _code("FWX_E_TCPIP_DROP_IP_BEYOND_SCOPE", 0xC0040056)
"""Log, network stack: it would leave the scope of its address."""
FWX_E_TCPIP_DROP_IP_INSPECTION_DROP: Final = _code("FWX_E_TCPIP_DROP_IP_INSPECTION_DROP", 0xC0040057)
"""Log, network stack: internal."""
FWX_E_TCPIP_DROP_IP_TOO_MANY_DECAPSULATIONS: Final = _code("FWX_E_TCPIP_DROP_IP_TOO_MANY_DECAPSULATIONS", 0xC0040058)
"""Log, network stack: internal."""
FWX_E_TCPIP_DROP_IP_ADMINISTRATIVELY_PROHIBITED: Final = _code(
    "FWX_E_TCPIP_DROP_IP_ADMINISTRATIVELY_PROHIBITED", 0xC0040059
)
"""Log, network stack: the administrator forbids it."""
FWX_E_TCPIP_DROP_IP_HOP_LIMIT_EXCEEDED: Final = _code("FWX_E_TCPIP_DROP_IP_HOP_LIMIT_EXCEEDED", 0xC004005A)
"""Log, network stack: too many hops."""
FWX_E_TCPIP_DROP_IP_ADDRESS_UNREACHABLE: Final = _code("FWX_E_TCPIP_DROP_IP_ADDRESS_UNREACHABLE", 0xC004005B)
"""Log, network stack: nobody is there, or sending there is barred."""
FWX_E_TCPIP_DROP_IP_ARBITRATION_UNHANDLED: Final = _code("FWX_E_TCPIP_DROP_IP_ARBITRATION_UNHANDLED", 0xC004005C)
"""Log, network stack: internal."""
FWX_E_TCPIP_DROP_IP_INSPECTION_ABSORB: Final = _code("FWX_E_TCPIP_DROP_IP_INSPECTION_ABSORB", 0xC004005D)
"""Log, network stack: internal."""
FWX_E_BLOCKED_COMPUTER_ACCESS: Final = _code("FWX_E_BLOCKED_COMPUTER_ACCESS", 0xC004005E)
"""The computer is a blocked one."""
FWX_E_IP_NOT_GENERATED_BY_TCPIP: Final = _code("FWX_E_IP_NOT_GENERATED_BY_TCPIP", 0xC004005F)
"""Log: the packet did not come from the network stack."""

# Windows and Winsock error numbers, as completions carry them; HRESULT_FROM_WIN32 makes them HRESULTs.
ERROR_INVALID_FUNCTION: Final = 1
"""The handle knows no such operation; a directory cannot be read."""
ERROR_TOO_MANY_OPEN_FILES: Final = 4
"""No descriptor is left."""
ERROR_ACCESS_DENIED: Final = 5
"""The handle was not opened for this."""
ERROR_INVALID_HANDLE: Final = 6
"""Not a handle."""
ERROR_NOT_ENOUGH_MEMORY: Final = 8
"""Out of memory."""
ERROR_WRITE_PROTECT: Final = 19
"""The file system is read-only."""
ERROR_GEN_FAILURE: Final = 31
"""A failure that has no number of its own."""
ERROR_HANDLE_EOF: Final = 38
"""A read began at the end of the file, or beyond it."""
ERROR_NOT_SUPPORTED: Final = 50
"""The file system cannot do it."""
ERROR_DEV_NOT_EXIST: Final = 55
"""The device has gone."""
ERROR_NETNAME_DELETED: Final = 64
"""The other end has gone."""
ERROR_INVALID_PARAMETER: Final = 87
"""The system refuses a size or an offset; of an eventfd, fewer than eight bytes."""
ERROR_BROKEN_PIPE: Final = 109
"""The other end of the pipe is closed."""
ERROR_DISK_FULL: Final = 112
"""No room is left on the device."""
ERROR_SEM_TIMEOUT: Final = 121
"""Time ran out."""
ERROR_BUSY: Final = 170
"""The file is in use in a way that forbids it."""
ERROR_ALREADY_EXISTS: Final = 183
"""There is one of that name."""
ERROR_FILE_TOO_LARGE: Final = 223
"""The file may not grow so large."""
ERROR_OPERATION_ABORTED: Final = 995
"""The operation was pending when its socket was closed."""
ERROR_IO_PENDING: Final = 997
"""Under way; the end is reported later."""
ERROR_NOACCESS: Final = 998
"""The buffer could not be filled."""
ERROR_IO_DEVICE: Final = 1117
"""The device failed."""
ERROR_NOT_FOUND: Final = 1168
"""There is no such thing."""
ERROR_CONNECTION_REFUSED: Final = 1225
"""The peer refused the connection."""
ERROR_CONNECTION_ABORTED: Final = 1236
"""This side gave the connection up."""
ERROR_DISK_QUOTA_EXCEEDED: Final = 1295
"""The owner's share of the disk is used up."""
WSAEINTR: Final = 10004
"""Interrupted."""
WSAEACCES: Final = 10013
"""Forbidden, by the system or by policy."""
WSAEFAULT: Final = 10014
"""Bad memory, or too little room for the answer."""
WSAEINVAL: Final = 10022
"""A bad argument, or the socket is in the wrong state for the call."""
WSAEMFILE: Final = 10024
"""Too many open sockets."""
WSAEWOULDBLOCK: Final = 10035
"""Not now without waiting."""
WSAEINPROGRESS: Final = 10036
"""A blocking call is under way."""
WSAEALREADY: Final = 10037
"""The operation is under way already."""
WSAENOTSOCK: Final = 10038
"""Not a socket any more: it has been closed."""
WSAEDESTADDRREQ: Final = 10039
"""A destination is needed."""
WSAEMSGSIZE: Final = 10040
"""The datagram is too large."""
WSAEPROTOTYPE: Final = 10041
"""The protocol does not go with the kind of socket."""
WSAENOPROTOOPT: Final = 10042
"""There is no such socket option."""
WSAEPROTONOSUPPORT: Final = 10043
"""The protocol is not served."""
WSAESOCKTNOSUPPORT: Final = 10044
"""The kind of socket is not served."""
WSAEOPNOTSUPP: Final = 10045
"""The operation is not for this kind of socket."""
WSAEAFNOSUPPORT: Final = 10047
"""The address family is not served."""
WSAEADDRINUSE: Final = 10048
"""The address is taken; also what a client's denied bind reads (B2.37)."""
WSAEADDRNOTAVAIL: Final = 10049
"""The address is not one of this computer."""
WSAENETDOWN: Final = 10050
"""The network is down."""
WSAENETUNREACH: Final = 10051
"""There is no route to the network."""
WSAENETRESET: Final = 10052
"""The network dropped the connection."""
WSAECONNABORTED: Final = 10053
"""The connection was ended on this side."""
WSAECONNRESET: Final = 10054
"""The peer reset the connection."""
WSAENOBUFS: Final = 10055
"""No room for more; too many operations wait."""
WSAEISCONN: Final = 10056
"""The socket is connected."""
WSAENOTCONN: Final = 10057
"""The socket is not connected."""
WSAESHUTDOWN: Final = 10058
"""The sending direction has been shut down."""
WSAETIMEDOUT: Final = 10060
"""The peer did not answer in time."""
WSAECONNREFUSED: Final = 10061
"""The peer refused; also what a client's denied connect reads (B2.37)."""
WSAENAMETOOLONG: Final = 10063
"""The name is too long."""
WSAEHOSTDOWN: Final = 10064
"""The host is down."""
WSAEHOSTUNREACH: Final = 10065
"""There is no route to the host."""
WSAHOST_NOT_FOUND: Final = 11001
"""There is no such host, or the look-up was refused."""
WSATRY_AGAIN: Final = 11002
"""No answer yet; the same question may be answered later."""
WSANO_RECOVERY: Final = 11003
"""The look-up failed for good."""
WSANO_DATA: Final = 11004
"""The name exists without data of the kind asked."""

_NAMES.update(
    {
        0x8007_0000 | value: f"HRESULT_FROM_WIN32({name})"
        for name, value in list(globals().items())
        if name.startswith(("WSA", "ERROR_")) and 0x8007_0000 | value not in _NAMES
    }
)


class COMError(Exception):
    """A failing HRESULT on the Python face.

    Raised by a method whose documented result is *hresult*; a filter raises it to answer the service with a
    failure. ``outs`` holds what the method filled in although it failed (``Append`` and ``SendToBuffer`` report
    how many bytes they moved).
    """

    def __init__(self, hresult: int, text: str = "", *, outs: tuple[Any, ...] = ()) -> None:
        self.hresult = HRESULT(hresult)
        if SUCCEEDED(self.hresult):
            raise ValueError(f"COMError takes a failure code, {self.hresult} is a success")
        self.text = text
        self.outs = outs
        super().__init__(self.hresult, text)

    def __str__(self) -> str:
        return f"{self.hresult}: {self.text}" if self.text else str(self.hresult)


def winsock_error(code: int, text: str = "") -> COMError:
    """Make the :class:`COMError` that carries the Windows or Winsock error *code*."""
    return COMError(HRESULT_FROM_WIN32(code), text)
