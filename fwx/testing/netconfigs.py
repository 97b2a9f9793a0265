"""The battery for IFWXNetConfigDetector and its objects: networks, sets, adapters, addresses, and their notices."""

# ruff: noqa: N802, N803  the SDK's spelling, letter for letter

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any
from uuid import UUID

from zope.interface import implementer

from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    E_INVALIDARG,
    E_POINTER,
    ERROR_NOT_FOUND,
    FWX_INVALID_NCD_HANDLE_VALUE,
    HRESULT_FROM_WIN32,
    COMInterfaceClass,
    FwxNcdEvent,
    IFWXNetConfigDetectionNotification,
    IFWXNetConfigDetectionSnapshot,
    IFWXNetConfigDetector,
    IFWXNetworkAdapter,
    IFWXNetworkAdapters,
    IFWXNetworkAddress,
    IFWXNetworkAddresses,
    IFWXNetworkElement,
    IFWXNetworkElements,
    IFWXNetworkSet,
    IFWXNetworkSets,
    SocketAddress,
    fwx_ncd_AddNetworkAdapter,
    fwx_ncd_AddNetworkAddress,
    fwx_ncd_AddNetworkElement,
    fwx_ncd_RemoveNetworkAddress,
    fwx_ncd_Startup,
    fwx_ncd_SyncConfig,
)
from fwx.testing.battery import Battery, Rule, expect, expect_equal, expect_failure, run_rules
from fwx.testing.hosts import FirewallHost, opened
from fwx.testing.unknown import shape_rule, unknown_rules
from fwx.testing.verification import verify

_FIRST, _SECOND = "10.1.0.1/16", "10.9.0.1/24"
_SETTLED = 10.0
_NO_NETWORK = UUID("00000000-dead-beef-0000-000000000000")
_NOT_FOUND = HRESULT_FROM_WIN32(ERROR_NOT_FOUND)
_COLLECTIONS: tuple[tuple[str, COMInterfaceClass, COMInterfaceClass], ...] = (
    ("GetNetworkSets", IFWXNetworkSets, IFWXNetworkSet),
    ("GetNetworkElements", IFWXNetworkElements, IFWXNetworkElement),
    ("GetNetworkAdapters", IFWXNetworkAdapters, IFWXNetworkAdapter),
    ("GetNetworkAddresses", IFWXNetworkAddresses, IFWXNetworkAddress),
)


@implementer(IFWXNetConfigDetectionNotification)
class _Listener(Unknown):
    """Keeps its notices."""

    def __init__(self) -> None:
        self.events: list[FwxNcdEvent] = []

    def NotifyNetworkChange(self, pEvent: FwxNcdEvent) -> None:
        self.events.append(pEvent)

    def of_type(self, event_type: int) -> list[Any]:
        """Return the details of the notices of one type."""
        return [event.Parameters for event in self.events if event.EventType == event_type]


def check_net_config(maker: Callable[[], FirewallHost]) -> Battery:
    """Try the detector of a firewall, its snapshots and the objects in them.

    *maker* returns a fresh :class:`fwx.testing.FirewallHost` for each rule.
    """
    with opened(maker) as host:
        subject = type(_detector(host)).__qualname__
    return run_rules(subject, _RULES, lambda: opened(maker))


def _detector(host: FirewallHost) -> Any:
    host.addresses(_FIRST)
    return host.firewall.GetNetConfigDetector()


def _items(collection: Any) -> list[Any]:
    return [collection.GetItem(place) for place in range(1, collection.GetCount() + 1)]


def _addresses(snapshot: Any) -> list[str]:
    return [each.GetAddress().host for each in _items(snapshot.GetNetworkAddresses())]


def _shows_everything(host: FirewallHost) -> None:
    snapshot = _detector(host).GetCurrentSnapshot()
    verify(snapshot, IFWXNetConfigDetectionSnapshot)
    for method, of_collection, of_item in _COLLECTIONS:
        collection = getattr(snapshot, method)()
        verify(collection, of_collection)
        expect(collection.GetCount(), f"{method} is empty")
        for item in _items(collection):
            verify(item, of_item)
        for place in (0, collection.GetCount() + 1):
            expect_failure(f"{method}().GetItem({place})", E_INVALIDARG, collection.GetItem, place)
    expect_equal(_addresses(snapshot), ["10.1.0.1"], "the addresses of a machine with one")


def _addresses_lead_on(host: FirewallHost) -> None:
    snapshot = _detector(host).GetCurrentSnapshot()
    (address,) = _items(snapshot.GetNetworkAddresses())
    expect_equal(address.GetMask().host, "255.255.0.0", "GetMask of 10.1.0.1/16")
    expect(address.IsPrimaryIpAddress(), "the one address of an adapter is not its primary one")
    adapters = _items(snapshot.GetNetworkAdapters())
    expect(address.GetNetworkAdapter() in adapters, "GetNetworkAdapter gives an adapter that is not in the snapshot")
    elements = _items(snapshot.GetNetworkElements())
    expect(address.GetNetworkElement() in elements, "GetNetworkElement gives a network that is not in the snapshot")


def _finds_networks(host: FirewallHost) -> None:
    detector = _detector(host)
    snapshot = detector.GetCurrentSnapshot()
    elements = _items(snapshot.GetNetworkElements())
    expect_equal(len({each.GetGUID() for each in elements}), len(elements), "the GUIDs of the networks")
    for element in elements:
        found = snapshot.LookupNetworkElementByGuid(element.GetGUID())
        expect(found is element, f"LookupNetworkElementByGuid of {element.GetName()!r} finds another network")
    local, external = snapshot.GetLocalHostNetworkElement(), snapshot.GetDefaultExternalNetworkElement()
    for where in (snapshot, detector):
        look_up = where.LookupNetworkElementByAddress
        expect(
            look_up(SocketAddress("10.1.0.1")) is local, "the firewall's own address is not in the local host network"
        )
        expect(look_up(SocketAddress("203.0.113.1")) is external, "a strange address is not in the external network")
        expect_failure("a look-up of None", E_POINTER, look_up, None)
        expect_failure("a look-up of a name", E_INVALIDARG, look_up, SocketAddress("www.example"))
    expect_failure("a look-up of no network", _NOT_FOUND, snapshot.LookupNetworkElementByGuid, _NO_NETWORK)


def _covers_all_addresses(host: FirewallHost) -> None:
    snapshot = _detector(host).GetCurrentSnapshot()
    table = snapshot.GetIpRangesToNetworkElements()
    expect_equal(table.IpRangesNumber, len(table.IpRanges), "IpRangesNumber")
    bounds = [each.IpRangeUpperBound for each in table.IpRanges]
    expect(bounds == sorted(set(bounds)), "the upper bounds of the ranges do not rise")
    expect(bounds and bounds[-1] == IPv6Address((1 << 128) - 1), "the ranges do not reach the highest address")
    mapped = IPv6Address("::ffff:10.1.0.1")
    owner = next(each.pNetworkElement for each in table.IpRanges if mapped <= each.IpRangeUpperBound)
    expect(owner is snapshot.GetLocalHostNetworkElement(), "the table and the look-up differ on the firewall's address")


def _registers(at_once: bool) -> Callable[[FirewallHost], None]:
    def test(host: FirewallHost) -> None:
        detector, listener = _detector(host), _Listener()
        handle = detector.Register(listener, at_once)
        expect(handle != FWX_INVALID_NCD_HANDLE_VALUE, "Register returned FWX_INVALID_NCD_HANDLE_VALUE")
        expect_equal(bool(listener.events), at_once, f"whether notices came inside Register({at_once})")
        host.run()
        types = [event.EventType for event in listener.events]
        expect_equal((types[0], types[-1]), (fwx_ncd_Startup, fwx_ncd_SyncConfig), "the first and the last notice")
        expect_equal(listener.of_type(fwx_ncd_Startup)[0].uiContextSlot, handle, "uiContextSlot of fwx_ncd_Startup")
        snapshot = detector.GetCurrentSnapshot()
        told = listener.of_type(fwx_ncd_SyncConfig)[0].pNetConfigDetectionSnapshot
        expect(told is snapshot, "fwx_ncd_SyncConfig brings another snapshot than the present one")
        for event_type, method, member in (
            (fwx_ncd_AddNetworkElement, "GetNetworkElements", "pNetworkElement"),
            (fwx_ncd_AddNetworkAdapter, "GetNetworkAdapters", "pNetworkAdapter"),
            (fwx_ncd_AddNetworkAddress, "GetNetworkAddresses", "pNetworkAddress"),
        ):
            found = [getattr(details, member) for details in listener.of_type(event_type)]
            expect(set(found) == set(_items(getattr(snapshot, method)())), f"the notices are not what {method} has")

    return test


def _tells_of_changes(host: FirewallHost) -> None:
    detector, listener, gone = _detector(host), _Listener(), _Listener()
    detector.Register(listener, True)
    handle = detector.Register(gone, True)
    detector.Unregister(handle)
    expect_failure("a second Unregister", E_INVALIDARG, detector.Unregister, handle)
    before = detector.GetCurrentSnapshot()
    for each in (listener, gone):
        each.events.clear()
    host.addresses(_FIRST, _SECOND)
    host.advance(_SETTLED)
    added = [details.pNetworkAddress.GetAddress().host for details in listener.of_type(fwx_ncd_AddNetworkAddress)]
    expect_equal(added, ["10.9.0.1"], "the addresses in fwx_ncd_AddNetworkAddress")
    expect_equal(listener.events[-1].EventType, fwx_ncd_SyncConfig, "the last notice of a change")
    expect_equal(_addresses(before), ["10.1.0.1"], "the addresses of the old snapshot")
    expect_equal(_addresses(detector.GetCurrentSnapshot()), ["10.1.0.1", "10.9.0.1"], "those of the new one")
    listener.events.clear()
    host.addresses(_FIRST)
    host.advance(_SETTLED)
    removed = [details.pNetworkAddress.GetAddress().host for details in listener.of_type(fwx_ncd_RemoveNetworkAddress)]
    expect_equal(removed, ["10.9.0.1"], "the addresses in fwx_ncd_RemoveNetworkAddress")
    expect(not gone.events, "a notice came after Unregister")


def _keeps_contexts(host: FirewallHost) -> None:
    detector = _detector(host)
    one, other = (detector.Register(_Listener(), True) for _ in range(2))
    context, snapshot = Unknown(), detector.GetCurrentSnapshot()
    for method, _, _ in _COLLECTIONS:
        (item, *_) = _items(getattr(snapshot, method)())
        item.SetContext(one, context)
        expect(item.GetContext(one) is context, f"GetContext of an item of {method} gives something else")
        expect(item.GetContext(other) is None, f"another registration sees the context of an item of {method}")
    host.addresses(_FIRST, _SECOND)
    host.advance(_SETTLED)
    address = _items(detector.GetCurrentSnapshot().GetNetworkAddresses())[0]
    expect(address.GetContext(one) is context, "the context of an address is lost when another one comes")
    detector.Unregister(one)
    expect_failure("GetContext after Unregister", E_INVALIDARG, address.GetContext, one)


def _judges(host: FirewallHost) -> None:
    register = _detector(host).Register
    expect_failure("registering None", E_POINTER, register, None, True)
    expect_failure("registering something else", E_INVALIDARG, register, Unknown(), True)


_RULES: tuple[Rule[FirewallHost], ...] = (
    shape_rule(IFWXNetConfigDetector, _detector),
    *unknown_rules(IFWXNetConfigDetector, _detector),
    Rule("a snapshot has everything, counted from 1", ("B13.10",), _shows_everything),
    Rule("an address leads to its adapter and its network", ("B13.10",), _addresses_lead_on),
    Rule("networks are found by GUID and by address", ("B13.10",), _finds_networks),
    Rule("the table of ranges covers all addresses", ("B13.10",), _covers_all_addresses),
    Rule("Register(True) tells everything before it returns", ("B13.10",), _registers(at_once=True)),
    Rule("Register(False) tells everything after that", ("B13.10",), _registers(at_once=False)),
    Rule("changes are told, up to Unregister", ("B13.10",), _tells_of_changes),
    Rule("SetContext keeps an object for one registration", ("B13.10",), _keeps_contexts),
    Rule("judges who is to be told", ("B13.10",), _judges),
)
