"""The structures of the interfaces, with the SDK's member names in the SDK's order.

The two unions know which member they hold; the structure with the tag checks that tag and member belong together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NoReturn, Self, TypeAlias
from uuid import UUID

from fwx.interfaces.enums import (
    FWX_PASS,
    FwxFilterAccess,
    FwxFirewallEventSource,
    FwxFirewallEventType,
    FwxNcdEventType,
    FwxNcdRangesChangeReason,
    fwx_AcceptedConnection,
    fwx_Bind_Tcp,
    fwx_Bind_Udp,
    fwx_Connect_Tcp,
    fwx_ConnectionTerminating,
    fwx_EstablishedConnection,
    fwx_GetHostByAddr,
    fwx_GetHostByName,
    fwx_Listen,
    fwx_ncd_AddNetworkAdapter,
    fwx_ncd_AddNetworkAddress,
    fwx_ncd_AddNetworkElement,
    fwx_ncd_AddNetworkElementToSet,
    fwx_ncd_AddNetworkSet,
    fwx_ncd_ChangeAdapterRoute,
    fwx_ncd_ChangeIpRange,
    fwx_ncd_RemoveNetworkAdapter,
    fwx_ncd_RemoveNetworkAddress,
    fwx_ncd_RemoveNetworkElement,
    fwx_ncd_RemoveNetworkElementFromSet,
    fwx_ncd_RemoveNetworkSet,
    fwx_ncd_Shutdown,
    fwx_ncd_Startup,
    fwx_ncd_SyncConfig,
    fwx_Udp_Destination,
)
from fwx.interfaces.protocols import GUID_NULL

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from fwx.interfaces import (
        IFWXConnection,
        IFWXGetXByY,
        IFWXNetConfigDetectionSnapshot,
        IFWXNetworkAdapter,
        IFWXNetworkAddress,
        IFWXNetworkElement,
        IFWXNetworkSet,
        IFWXPerRuleDataplugin,
        IFWXUdpDestination,
        IUnknown,
    )
    from fwx.interfaces.address import SocketAddress


@dataclass(frozen=True, slots=True)
class Hostent:
    """What a look-up of a name or an address answers: the ``hostent`` of Winsock.

    A ``hostent`` has addresses of one family; this has those of both, and the COM face gives the IPv4 ones if there are
    any.
    """

    name: str
    """The official name of the host."""
    aliases: tuple[str, ...] = ()
    """Its other names, which may be none."""
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()
    """Its addresses, the preferred one first; none where nothing is known."""


LPHOSTENT: TypeAlias = Hostent | None


@dataclass(slots=True)
class FwxConnectEvent:
    """A client asks to connect a TCP socket to *Address* (B2.12).

    TMG raises it for a SecureNAT client only at a primary port of a defined protocol or an address announced by
    ``AllowFutureConnect`` (B2.13); here it comes for every connection that the rules allow. A filter may attach,
    emulate, deny, allow secondary connections, or do nothing (B2.14).
    """

    Address: SocketAddress
    """Where the client wants to go: an address or, from a client that sent one, a name."""
    AddressLength: int
    """Size of *Address* in bytes."""
    piConnection: IFWXConnection
    """The connection that is asked for; it is not established yet."""
    FilterAccess: FwxFilterAccess = FWX_PASS
    """The service's own; a filter neither sets it nor relies on it (B2.8). This version shows ``FWX_PASS``."""
    PerRuleProcessedData: IFWXPerRuleDataplugin | None = None
    """This filter's data of the rule that matched (B2.9, B7.13); ``None`` where there is none."""
    ProtocolGuid: UUID = GUID_NULL
    """The protocol; ``GUID_NULL`` when it is not known (B2.10)."""
    IsSecondary: bool = False
    """Whether the connection is a secondary one (B2.11)."""


@dataclass(slots=True)
class FwxUdpDestination:
    """A UDP socket meets *Address*, a destination that the service did not know (B2.15, B2.16).

    Deny it on *piUdpDestination* (B2.19). Inbound datagrams are looked at by ``fwx_Bind_Udp`` instead (B2.17). A data
    filter that is attached here goes with the destination (B2.18).
    """

    Address: SocketAddress
    """The destination, or the source of a packet that was just delivered to the client."""
    AddressLength: int
    """Size of *Address* in bytes."""
    piConnection: IFWXConnection
    """The connection of the UDP socket."""
    piUdpDestination: IFWXUdpDestination
    """The destination, to be denied by itself."""
    FilterAccess: FwxFilterAccess = FWX_PASS
    """The service's own; a filter neither sets it nor relies on it (B2.8). This version shows ``FWX_PASS``."""
    PerRuleProcessedData: IFWXPerRuleDataplugin | None = None
    """This filter's data of the rule that matched (B2.9, B7.13); ``None`` where there is none."""
    ProtocolGuid: UUID = GUID_NULL
    """The protocol; ``GUID_NULL`` when it is not known (B2.10)."""
    IsSecondary: bool = False
    """Whether the connection is a secondary one (B2.11)."""


@dataclass(slots=True)
class FwxBindEvent:
    """A client, or a filter by ``BindForClient``, asks to bind a TCP or UDP socket to *Address* (B2.20)."""

    Address: SocketAddress
    """What the client's socket is to be bound to."""
    AddressLength: int
    """Size of *Address* in bytes."""
    piConnection: IFWXConnection
    """The connection of the socket."""
    FilterAccess: FwxFilterAccess = FWX_PASS
    """The service's own; a filter neither sets it nor relies on it (B2.8). This version shows ``FWX_PASS``."""
    PerRuleProcessedData: IFWXPerRuleDataplugin | None = None
    """This filter's data of the rule that matched (B2.9, B7.13); ``None`` where there is none."""
    ProtocolGuid: UUID = GUID_NULL
    """The protocol; ``GUID_NULL`` when it is not known (B2.10)."""
    IsSecondary: bool = False
    """Whether the connection is a secondary one (B2.11)."""


@dataclass(slots=True)
class FwxListenEvent:
    """A client, or a filter by ``BindForClient``, asks to listen on *Address* (B2.21).

    A filter cannot make this fail: clients do not expect it. Refuse the bind or the accepted connection (B2.22).
    """

    Address: SocketAddress
    """What the socket is bound to."""
    AddressLength: int
    """Size of *Address* in bytes."""
    piConnection: IFWXConnection
    """The connection of the socket."""
    ProtocolGuid: UUID = GUID_NULL
    """The protocol; ``GUID_NULL`` when it is not known (B2.10)."""


@dataclass(slots=True)
class FwxAcceptEvent:
    """A connection from *RemoteAddress* has come in on a listening socket; its own end is *LocalAddress* (B2.23)."""

    RemoteAddress: SocketAddress
    """Who has connected."""
    RemoteAddressLength: int
    """Size of *RemoteAddress* in bytes."""
    LocalAddress: SocketAddress
    """The end that was connected to."""
    LocalAddressLength: int
    """Size of *LocalAddress* in bytes."""
    piConnectionAccepted: IFWXConnection
    """The new connection; it is there before the client's socket for it is (B2.24)."""
    FilterAccess: FwxFilterAccess = FWX_PASS
    """The service's own; a filter neither sets it nor relies on it (B2.8). This version shows ``FWX_PASS``."""
    PerRuleProcessedData: IFWXPerRuleDataplugin | None = None
    """This filter's data of the rule that matched (B2.9, B7.13); ``None`` where there is none."""
    ProtocolGuid: UUID = GUID_NULL
    """The protocol; ``GUID_NULL`` when it is not known (B2.10)."""
    IsSecondary: bool = False
    """Whether the connection is a secondary one (B2.11)."""


@dataclass(slots=True)
class FwxGetHostByAddrEvent:
    """A Firewall client looks up an address (B2.25); raised before the look-up and again, with *Hostent*, after it
    (B2.26).
    """

    Address: bytes
    """The address, in network byte order."""
    AddressLength: int
    """Size of *Address* in bytes."""
    AddressType: int
    """The address family, ``AF_INET`` for one."""
    Hostent: LPHOSTENT
    """The answer; valid after the look-up only, ``None`` while *fBeforeAction* (B2.27)."""
    HostentLength: int
    """Size of *Hostent* in bytes, as C lays it out; 0 without one."""
    fBeforeAction: bool
    """True before the look-up, false after it (B2.26)."""
    FilterAccess: FwxFilterAccess = FWX_PASS
    """The service's own; a filter neither sets it nor relies on it (B2.8). This version shows ``FWX_PASS``."""
    piGetXByY: IFWXGetXByY | None = None
    """To replace the answer or to refuse it (B2.28); valid inside ``FirewallEventHandler``."""


@dataclass(slots=True)
class FwxGetHostByNameEvent:
    """A Firewall client looks up *Hostname* (B2.25); raised before the look-up and again, with *Hostent*, after it
    (B2.26).
    """

    Hostname: str
    """The name."""
    Hostent: LPHOSTENT
    """The answer; valid after the look-up only, ``None`` while *fBeforeAction* (B2.27)."""
    HostentLength: int
    """Size of *Hostent* in bytes, as C lays it out; 0 without one."""
    fBeforeAction: bool
    """True before the look-up, false after it (B2.26)."""
    FilterAccess: FwxFilterAccess = FWX_PASS
    """The service's own; a filter neither sets it nor relies on it (B2.8). This version shows ``FWX_PASS``."""
    piGetXByY: IFWXGetXByY | None = None
    """To replace the answer or to refuse it (B2.28); valid inside ``FirewallEventHandler``."""


@dataclass(slots=True)
class FwxEndConnectionEvent:
    """The connection ends; the filter releases every reference it holds to it (B1.35, B2.29).

    It attaches no session filter (B2.30). The printed page has a *ProtocolGuid* too, the header has not (B2.44).
    """

    piConnection: IFWXConnection
    """The connection that ends."""


@dataclass(slots=True)
class FwxEstablishedConnectionEvent:
    """A connection that the filter prepared has come about (B2.31).

    It goes to the session filter that was given then and to nobody else (B2.32).
    """

    Protocol: int
    """``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP``."""
    Address: SocketAddress
    """Where the client wants to go; the printed page leaves this member out (B2.45)."""
    AddressLength: int
    """Size of *Address* in bytes."""
    piConnection: IFWXConnection
    """The connection."""
    UserContext: IUnknown | None = None
    """The ``punkContext`` that the filter gave then, or ``None`` (B2.33)."""


@dataclass(slots=True)
class FwxFilterHookEvents:
    """The events that a filter or a session filter wants (B1.8). The service owns it, the filter fills it in (B1.7)."""

    dwGlobalEvents: int = 0
    """Types (B2.1), sources (B2.3) and protocol sources (B2.4), ORed. Type and source must both be there for an event
    to come (B2.5).
    """


@dataclass(slots=True)
class FwxIpRangeToNetworkElement:
    """One range of the table: it ends with *IpRangeUpperBound* and starts after the end of the range before it."""

    IpRangeUpperBound: IPv6Address
    """The last address of the range. Not specified is how an IPv4 one looks; here it stands in its IPv4-mapped form."""
    pNetworkElement: IFWXNetworkElement
    """The network that the range belongs to."""


@dataclass(slots=True)
class FwxIpRangesToNetworkElements:
    """Which network each address belongs to, in ranges that cover the whole address space."""

    IpRanges: tuple[FwxIpRangeToNetworkElement, ...] = ()
    """The ranges; here in rising order, which the SDK only implies."""
    IpRangesNumber: int = 0
    """How many there are."""


@dataclass(slots=True)
class FwxIpRangesToNetworkElementsNotification:
    """Details of ``fwx_ncd_ChangeIpRange``: the new ranges and why they changed."""

    Table: FwxIpRangesToNetworkElements
    """The ranges as they are now."""
    eReason: FwxNcdRangesChangeReason
    """Why they changed."""


@dataclass(slots=True)
class FwxNetElementMembershipInNetworkSet:
    """A network and a set that it joined or left."""

    pNetElement: IFWXNetworkElement
    """The network."""
    pNetSet: IFWXNetworkSet
    """The set."""


def _set(union: object, name: str, value: object) -> None:
    object.__setattr__(union, name, value)


class _Union:
    """A C union that remembers which member it holds; immutable."""

    __slots__ = ("_name",)

    _name: str
    _types: ClassVar[Mapping[str, type]]
    _selected: ClassVar[Mapping[int, str]]

    def __init__(self, **member: object) -> None:
        """Hold the one *member* given, by its name: ``FwxFirewallEventParameters(Connect=event)``.

        :raises TypeError: not exactly one member, an unknown name, or a member of the wrong type.
        """
        if len(member) != 1:
            raise TypeError(f"{type(self).__name__} holds exactly one member, {len(member)} were given")
        self._hold(*member.popitem())

    @classmethod
    def of(cls, event_type: int, member: object = None) -> Self:
        """Hold *member* as the member that *event_type* selects; ``None`` where it selects none.

        :raises ValueError: *event_type* is no event of this union.
        :raises TypeError: *member* is not of the selected type.
        """
        union = cls.__new__(cls)
        name = cls._selected.get(event_type)
        if name is None:
            raise ValueError(f"{event_type!r} selects no member of {cls.__name__}")
        union._hold(name, member)
        return union

    def _hold(self, name: str, member: object) -> None:
        expected = self._types.get(name)
        if expected is None:
            raise TypeError(
                f"{type(self).__name__} has no member {name!r}; it has {', '.join(filter(None, self._types))}"
            )
        if not isinstance(member, expected):
            raise TypeError(f"{type(self).__name__}.{name} is a {expected.__name__}, not {member!r}")
        _set(self, "_name", name)
        if name:
            _set(self, name, member)

    @property
    def member_name(self) -> str:
        """The name of the member that is held; empty where the event has no details."""
        return self._name

    @property
    def member(self) -> object:
        """The member that is held; ``None`` where the event has no details."""
        return getattr(self, self._name) if self._name else None

    def __getattr__(self, name: str) -> NoReturn:
        # Called only for what is not set: a slot of another member, or no member at all.
        union = type(self).__name__
        if name in self._types:
            raise AttributeError(f"{union} holds {self._name or 'no member'}, not {name}", name=name, obj=self)
        raise AttributeError(f"{union} has no member {name!r}", name=name, obj=self)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable, cannot set {name}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._name == other._name and bool(self.member == other.member)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self._name}={self.member!r})" if self._name else f"<empty {type(self).__name__}>"
        )


class FwxFirewallEventParameters(_Union):
    """The details of an event: the member that its type selects, and no other (B2.7)."""

    __slots__ = (
        "Accept",
        "Bind",
        "Connect",
        "EndConnect",
        "EstablishedConnection",
        "GetHostByAddr",
        "GetHostByName",
        "Listen",
        "UdpDest",
    )

    Connect: FwxConnectEvent
    """Of ``fwx_Connect_Tcp``."""
    UdpDest: FwxUdpDestination
    """Of ``fwx_Udp_Destination``."""
    Bind: FwxBindEvent
    """Of ``fwx_Bind_Tcp`` and ``fwx_Bind_Udp``."""
    Listen: FwxListenEvent
    """Of ``fwx_Listen``."""
    Accept: FwxAcceptEvent
    """Of ``fwx_AcceptedConnection``."""
    GetHostByAddr: FwxGetHostByAddrEvent
    """Of ``fwx_GetHostByAddr``."""
    GetHostByName: FwxGetHostByNameEvent
    """Of ``fwx_GetHostByName``."""
    EndConnect: FwxEndConnectionEvent
    """Of ``fwx_ConnectionTerminating``."""
    EstablishedConnection: FwxEstablishedConnectionEvent
    """Of ``fwx_EstablishedConnection``."""

    _types: ClassVar[Mapping[str, type]] = MappingProxyType(
        {
            "Connect": FwxConnectEvent,
            "UdpDest": FwxUdpDestination,
            "Bind": FwxBindEvent,
            "Listen": FwxListenEvent,
            "Accept": FwxAcceptEvent,
            "GetHostByAddr": FwxGetHostByAddrEvent,
            "GetHostByName": FwxGetHostByNameEvent,
            "EndConnect": FwxEndConnectionEvent,
            "EstablishedConnection": FwxEstablishedConnectionEvent,
        }
    )
    _selected: ClassVar[Mapping[int, str]] = MappingProxyType(
        {
            fwx_Connect_Tcp: "Connect",
            fwx_Udp_Destination: "UdpDest",
            fwx_Bind_Tcp: "Bind",
            fwx_Bind_Udp: "Bind",
            fwx_Listen: "Listen",
            fwx_AcceptedConnection: "Accept",
            fwx_GetHostByAddr: "GetHostByAddr",
            fwx_GetHostByName: "GetHostByName",
            fwx_ConnectionTerminating: "EndConnect",
            fwx_EstablishedConnection: "EstablishedConnection",
        }
    )


class FwxNcdEventParameters(_Union):
    """The details of a network configuration event; ``of(fwx_ncd_Shutdown)`` holds none."""

    __slots__ = (
        "IpRangesToNetworkElements",
        "NetElementSetMembership",
        "pNetConfigDetectionSnapshot",
        "pNetworkAdapter",
        "pNetworkAddress",
        "pNetworkElement",
        "pNetworkSet",
        "uiContextSlot",
    )

    uiContextSlot: int
    """Of ``fwx_ncd_Startup``: the handle that ``Register`` made."""
    pNetworkElement: IFWXNetworkElement
    """Of ``fwx_ncd_AddNetworkElement`` and ``fwx_ncd_RemoveNetworkElement``: the network."""
    pNetworkAdapter: IFWXNetworkAdapter
    """Of ``fwx_ncd_AddNetworkAdapter``, ``fwx_ncd_RemoveNetworkAdapter`` and ``fwx_ncd_ChangeAdapterRoute``: the
    adapter.
    """
    pNetworkAddress: IFWXNetworkAddress
    """Of ``fwx_ncd_AddNetworkAddress`` and ``fwx_ncd_RemoveNetworkAddress``: the address."""
    pNetworkSet: IFWXNetworkSet
    """Of ``fwx_ncd_AddNetworkSet`` and ``fwx_ncd_RemoveNetworkSet``: the set."""
    NetElementSetMembership: FwxNetElementMembershipInNetworkSet
    """Of ``fwx_ncd_AddNetworkElementToSet`` and ``fwx_ncd_RemoveNetworkElementFromSet``: the network and the set."""
    IpRangesToNetworkElements: FwxIpRangesToNetworkElementsNotification
    """Of ``fwx_ncd_ChangeIpRange``: the new ranges, and why they changed."""
    pNetConfigDetectionSnapshot: IFWXNetConfigDetectionSnapshot
    """Of ``fwx_ncd_SyncConfig``: the configuration with which the filter is in step now."""

    _types: ClassVar[Mapping[str, type]] = MappingProxyType(
        {
            "uiContextSlot": int,
            "pNetworkElement": object,
            "pNetworkAdapter": object,
            "pNetworkAddress": object,
            "pNetworkSet": object,
            "NetElementSetMembership": FwxNetElementMembershipInNetworkSet,
            "IpRangesToNetworkElements": FwxIpRangesToNetworkElementsNotification,
            "pNetConfigDetectionSnapshot": object,
            "": type(None),
        }
    )
    _selected: ClassVar[Mapping[int, str]] = MappingProxyType(
        {
            fwx_ncd_Startup: "uiContextSlot",
            fwx_ncd_AddNetworkElement: "pNetworkElement",
            fwx_ncd_RemoveNetworkElement: "pNetworkElement",
            fwx_ncd_AddNetworkAdapter: "pNetworkAdapter",
            fwx_ncd_RemoveNetworkAdapter: "pNetworkAdapter",
            fwx_ncd_ChangeAdapterRoute: "pNetworkAdapter",
            fwx_ncd_AddNetworkAddress: "pNetworkAddress",
            fwx_ncd_RemoveNetworkAddress: "pNetworkAddress",
            fwx_ncd_AddNetworkSet: "pNetworkSet",
            fwx_ncd_RemoveNetworkSet: "pNetworkSet",
            fwx_ncd_AddNetworkElementToSet: "NetElementSetMembership",
            fwx_ncd_RemoveNetworkElementFromSet: "NetElementSetMembership",
            fwx_ncd_ChangeIpRange: "IpRangesToNetworkElements",
            fwx_ncd_SyncConfig: "pNetConfigDetectionSnapshot",
            fwx_ncd_Shutdown: "",
        }
    )


def _check_tag(event_type: int, parameters: _Union) -> None:
    expected = parameters._selected.get(event_type)
    if expected != parameters._name or expected is None:
        raise ValueError(
            f"{event_type!r} selects {expected or 'no member'} of {type(parameters).__name__}, "
            f"which holds {parameters._name or 'no member'}"
        )


@dataclass(slots=True)
class FwxFirewallEvent:
    """One event, as ``IFWXSessionFilter.FirewallEventHandler`` receives it (B2.7).

    :raises ValueError: *Parameters* holds a member that *EventType* does not select.
    """

    EventType: FwxFirewallEventType
    """What has happened; it selects the member of *Parameters*."""
    EventSource: FwxFirewallEventSource
    """The kind of client that it comes from (B2.3)."""
    Parameters: FwxFirewallEventParameters
    """The details."""

    def __post_init__(self) -> None:
        _check_tag(self.EventType, self.Parameters)


@dataclass(slots=True)
class FwxNcdEvent:
    """One network configuration event, as ``IFWXNetConfigDetectionNotification.NotifyNetworkChange`` receives it.

    :raises ValueError: *Parameters* holds a member that *EventType* does not select.
    """

    EventType: FwxNcdEventType
    """What has changed; it selects the member of *Parameters*."""
    Parameters: FwxNcdEventParameters
    """The details."""

    def __post_init__(self) -> None:
        _check_tag(self.EventType, self.Parameters)
