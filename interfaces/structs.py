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
    """What a look-up of a name or an address answers: the ``hostent`` of Winsock."""

    name: str
    aliases: tuple[str, ...] = ()
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()


LPHOSTENT: TypeAlias = Hostent | None


@dataclass(slots=True)
class FwxConnectEvent:
    """A client asks to connect a TCP socket to *Address*."""

    Address: SocketAddress
    AddressLength: int
    piConnection: IFWXConnection
    FilterAccess: FwxFilterAccess = FWX_PASS
    PerRuleProcessedData: IFWXPerRuleDataplugin | None = None
    ProtocolGuid: UUID = GUID_NULL
    IsSecondary: bool = False


@dataclass(slots=True)
class FwxUdpDestination:
    """A UDP socket meets *Address*, a destination that the service did not know; deny it on *piUdpDestination*."""

    Address: SocketAddress
    AddressLength: int
    piConnection: IFWXConnection
    piUdpDestination: IFWXUdpDestination
    FilterAccess: FwxFilterAccess = FWX_PASS
    PerRuleProcessedData: IFWXPerRuleDataplugin | None = None
    ProtocolGuid: UUID = GUID_NULL
    IsSecondary: bool = False


@dataclass(slots=True)
class FwxBindEvent:
    """A client, or a filter by ``BindForClient``, asks to bind a TCP or UDP socket to *Address*."""

    Address: SocketAddress
    AddressLength: int
    piConnection: IFWXConnection
    FilterAccess: FwxFilterAccess = FWX_PASS
    PerRuleProcessedData: IFWXPerRuleDataplugin | None = None
    ProtocolGuid: UUID = GUID_NULL
    IsSecondary: bool = False


@dataclass(slots=True)
class FwxListenEvent:
    """A client, or a filter by ``BindForClient``, asks to listen on *Address*. A filter cannot make this fail."""

    Address: SocketAddress
    AddressLength: int
    piConnection: IFWXConnection
    ProtocolGuid: UUID = GUID_NULL


@dataclass(slots=True)
class FwxAcceptEvent:
    """A connection from *RemoteAddress* has come in on a listening socket; its own end is *LocalAddress*."""

    RemoteAddress: SocketAddress
    RemoteAddressLength: int
    LocalAddress: SocketAddress
    LocalAddressLength: int
    piConnectionAccepted: IFWXConnection
    FilterAccess: FwxFilterAccess = FWX_PASS
    PerRuleProcessedData: IFWXPerRuleDataplugin | None = None
    ProtocolGuid: UUID = GUID_NULL
    IsSecondary: bool = False


@dataclass(slots=True)
class FwxGetHostByAddrEvent:
    """A Firewall client looks up an address; raised before the look-up and again, with *Hostent*, after it.

    *Address* is in network byte order, *AddressType* an address family. *Hostent* is ``None`` while *fBeforeAction*.
    """

    Address: bytes
    AddressLength: int
    AddressType: int
    Hostent: LPHOSTENT
    HostentLength: int
    fBeforeAction: bool
    FilterAccess: FwxFilterAccess = FWX_PASS
    piGetXByY: IFWXGetXByY | None = None


@dataclass(slots=True)
class FwxGetHostByNameEvent:
    """A Firewall client looks up *Hostname*; raised before the look-up and again, with *Hostent*, after it."""

    Hostname: str
    Hostent: LPHOSTENT
    HostentLength: int
    fBeforeAction: bool
    FilterAccess: FwxFilterAccess = FWX_PASS
    piGetXByY: IFWXGetXByY | None = None


@dataclass(slots=True)
class FwxEndConnectionEvent:
    """The connection ends; the filter releases every reference it holds to it."""

    piConnection: IFWXConnection


@dataclass(slots=True)
class FwxEstablishedConnectionEvent:
    """A connection that the filter prepared has come about; *UserContext* is the ``punkContext`` it gave then."""

    Protocol: int
    Address: SocketAddress
    AddressLength: int
    piConnection: IFWXConnection
    UserContext: IUnknown | None = None


@dataclass(slots=True)
class FwxFilterHookEvents:
    """The events that a filter or a session filter wants: types, sources and protocol sources ORed together."""

    dwGlobalEvents: int = 0


@dataclass(slots=True)
class FwxIpRangeToNetworkElement:
    """One range of the table: it ends with *IpRangeUpperBound* and starts after the end of the range before it.

    An IPv4 bound stands in its IPv4-mapped form.
    """

    IpRangeUpperBound: IPv6Address
    pNetworkElement: IFWXNetworkElement


@dataclass(slots=True)
class FwxIpRangesToNetworkElements:
    """Which network each address belongs to, in ranges that cover the whole address space."""

    IpRanges: tuple[FwxIpRangeToNetworkElement, ...] = ()
    IpRangesNumber: int = 0


@dataclass(slots=True)
class FwxIpRangesToNetworkElementsNotification:
    """The new *Table* of ranges and why it changed."""

    Table: FwxIpRangesToNetworkElements
    eReason: FwxNcdRangesChangeReason


@dataclass(slots=True)
class FwxNetElementMembershipInNetworkSet:
    """The network *pNetElement* and the set *pNetSet* that it joined or left."""

    pNetElement: IFWXNetworkElement
    pNetSet: IFWXNetworkSet


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
    """The details of an event: the member that its type selects, and no other."""

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
    UdpDest: FwxUdpDestination
    Bind: FwxBindEvent
    Listen: FwxListenEvent
    Accept: FwxAcceptEvent
    GetHostByAddr: FwxGetHostByAddrEvent
    GetHostByName: FwxGetHostByNameEvent
    EndConnect: FwxEndConnectionEvent
    EstablishedConnection: FwxEstablishedConnectionEvent

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
    pNetworkElement: IFWXNetworkElement
    pNetworkAdapter: IFWXNetworkAdapter
    pNetworkAddress: IFWXNetworkAddress
    pNetworkSet: IFWXNetworkSet
    NetElementSetMembership: FwxNetElementMembershipInNetworkSet
    IpRangesToNetworkElements: FwxIpRangesToNetworkElementsNotification
    pNetConfigDetectionSnapshot: IFWXNetConfigDetectionSnapshot

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
    """One event, as ``IFWXSessionFilter.FirewallEventHandler`` receives it.

    :raises ValueError: *Parameters* holds a member that *EventType* does not select.
    """

    EventType: FwxFirewallEventType
    EventSource: FwxFirewallEventSource
    Parameters: FwxFirewallEventParameters

    def __post_init__(self) -> None:
        _check_tag(self.EventType, self.Parameters)


@dataclass(slots=True)
class FwxNcdEvent:
    """One network configuration event, as ``IFWXNetConfigDetectionNotification.NotifyNetworkChange`` receives it.

    :raises ValueError: *Parameters* holds a member that *EventType* does not select.
    """

    EventType: FwxNcdEventType
    Parameters: FwxNcdEventParameters

    def __post_init__(self) -> None:
        _check_tag(self.EventType, self.Parameters)
