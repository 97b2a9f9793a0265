"""The network configuration and its notices, over a machine in memory (behaviour B13.10)."""

from __future__ import annotations

import errno
import gc
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_interface
from typing import Any
from uuid import UUID
from weakref import ref

import pytest
from zope.interface import implementer

from fwx.impl.machine import AddressState, MachineState, RouteState
from fwx.impl.netconfig import RETRY_SECONDS, SETTLE_SECONDS
from fwx.impl.networks import AddressRange, LocalAddresses, Network, Networks
from fwx.impl.policy import Policy
from fwx.impl.raw import Ref, raw
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    E_FAIL,
    E_INVALIDARG,
    E_POINTER,
    E_UNEXPECTED,
    ERROR_NOT_FOUND,
    FWX_E_TERMINATING,
    FWX_INVALID_NCD_HANDLE_VALUE,
    HRESULT,
    HRESULT_FROM_WIN32,
    S_FALSE,
    S_OK,
    WSAEFAULT,
    WSAEMFILE,
    COMError,
    COMInterfaceClass,
    FwxNcdEvent,
    IFWXNetConfigDetectionNotification,
    IFWXNetConfigDetectionSnapshot,
    IFWXNetConfigDetector,
    IFWXNetworkAdapter,
    IFWXNetworkAdapter2,
    IFWXNetworkAdapters,
    IFWXNetworkAddress,
    IFWXNetworkAddresses,
    IFWXNetworkElement,
    IFWXNetworkElements,
    IFWXNetworkSet,
    IFWXNetworkSets,
    SocketAddress,
    fpcDefaultExternal,
    fpcInternalNetwork,
    fpcLocalHost,
    fpcStandardNetwork,
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
    fwx_ncd_ServiceStartup,
    fwx_ncd_Shutdown,
    fwx_ncd_Startup,
    fwx_ncd_StorageChanged,
    fwx_ncd_SyncConfig,
)
from fwx.testing import MemoryFirewall
from fwx.testing.battery import run_rules
from fwx.testing.unknown import shape_rule, unknown_rules

NOT_FOUND = HRESULT_FROM_WIN32(ERROR_NOT_FOUND)


def own(index: int, text: str, primary: bool = True) -> AddressState:
    return AddressState(index, ip_interface(text), primary)


def through(index: int, text: str, metric: int = 0) -> RouteState:
    return RouteState(AddressRange.parse(text), index, metric)


ADDRESSES = (own(1, "127.0.0.1/8"), own(2, "10.1.0.1/16"), own(2, "10.1.0.9/16", False), own(3, "203.0.113.5/24"),
             own(3, "fe80::5/64"))  # fmt: skip
LOCAL = tuple(AddressRange.parse(str(each.interface.ip)) for each in ADDRESSES)
ROUTES = (through(3, "0.0.0.0/0"), through(2, "10.1.0.0/16"), through(2, "10.2.0.0/16"), through(3, "203.0.113.0/24"))
MACHINE = MachineState((1, 2, 3), ADDRESSES, ROUTES, LOCAL)
NETWORKS = (Network("Internal", ("10.1.0.0/16", "10.2.0.0/16")), Network("branch", ("10.3.0.0/16", "10.2.0.0/24")))


@implementer(IFWXNetConfigDetectionNotification)
class Listener(Unknown):
    """A filter's: remembers the notices; *then* is called with each."""

    def __init__(self, then: Callable[[FwxNcdEvent], object] | None = None) -> None:
        self.events: list[FwxNcdEvent] = []
        self.then = then

    def NotifyNetworkChange(self, pEvent: FwxNcdEvent) -> Any:
        self.events.append(pEvent)
        return None if self.then is None else self.then(pEvent)

    def types(self) -> list[int]:
        return [event.EventType for event in self.events]

    def take(self) -> list[FwxNcdEvent]:
        events, self.events = self.events, []
        return events


class Rig:
    """A firewall in memory on a machine of ours."""

    def __init__(self) -> None:
        self.memory = MemoryFirewall()
        self.machines = self.memory.network.machines
        self.machines.state = MACHINE
        self.configure(*NETWORKS)
        self.detector: Any = self.memory.firewall.GetNetConfigDetector()

    def configure(self, *networks: Network) -> None:
        local = LocalAddresses(reader=lambda _: "", clock=self.memory.loop.time)
        self.memory.engine.policy = Policy(Networks(networks, local), (), (), ())

    def become(self, **changes: Any) -> None:
        """Change the machine, and let the notices of it settle."""
        self.machines.become(replace(self.machines.state, **changes))
        self.memory.loop.advance(SETTLE_SECONDS)

    def snapshot(self) -> Any:
        return self.detector.GetCurrentSnapshot()

    def element(self, name: str) -> Any:
        return next(each for each in self.snapshot().GetNetworkElements() if each.GetName() == name)

    def adapter(self, index: int) -> Any:
        return next(each for each in self.snapshot().GetNetworkAdapters() if each.GetAdapterIndex() == index)

    def address(self, host: str) -> Any:
        return next(each for each in self.snapshot().GetNetworkAddresses() if each.GetAddress().host == host)


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.memory.close()
    assert rig.machines.followers == []


def code(call: Callable[..., object], *args: object) -> HRESULT:
    with pytest.raises(COMError) as caught:
        call(*args)
    return caught.value.hresult


BUILD = [
    fwx_ncd_Startup,
    *[fwx_ncd_AddNetworkElement] * 4,
    fwx_ncd_AddNetworkSet,
    *[fwx_ncd_AddNetworkElementToSet] * 3,
    *[fwx_ncd_AddNetworkAdapter] * 3,
    *[fwx_ncd_AddNetworkAddress] * 5,
    fwx_ncd_ChangeIpRange,
    fwx_ncd_SyncConfig,
]


def test_nobody_asked(rig: Rig) -> None:
    """The machine is not followed, and not read, before the detector is used."""
    assert (rig.machines.followers, rig.machines.reads) == ([], 0)
    rig.detector.look_again()
    rig.become(adapters=(1,))
    assert rig.machines.reads == 0
    assert rig.memory.firewall.GetNetConfigDetector() is rig.detector


def test_what_there_is_is_told_first(rig: Rig) -> None:
    """B13.10: before Register returns; Startup with the handle, then everything, then the snapshot."""
    listener = Listener()
    handle = rig.detector.Register(listener, True)
    assert listener.types() == BUILD
    assert listener.events[0].Parameters.uiContextSlot == handle
    assert 0 < handle < FWX_INVALID_NCD_HANDLE_VALUE
    snapshot: Any = listener.events[-1].Parameters.pNetConfigDetectionSnapshot
    assert snapshot is rig.snapshot()
    told = [event.Parameters.member for event in listener.events]
    assert told[1:5] == list(snapshot.GetNetworkElements())
    assert told[5:6] == list(snapshot.GetNetworkSets())
    assert [(each.pNetElement, each.pNetSet) for each in told[6:9]] == [
        (element, told[5]) for element in told[5].GetNetworkElements()
    ]
    assert told[9:12] == list(snapshot.GetNetworkAdapters())
    assert told[12:17] == list(snapshot.GetNetworkAddresses())
    assert told[17].eReason == fwx_ncd_ServiceStartup
    assert told[17].Table == snapshot.GetIpRangesToNetworkElements()


def test_it_is_told_later_if_it_wants(rig: Rig) -> None:
    """B13.10: with FALSE nothing comes before Register has returned; a change that comes meanwhile follows."""
    listener = Listener()
    rig.detector.Register(listener, False)
    assert listener.events == []
    rig.become(adapters=(1, 2, 3, 9))
    assert listener.types() == [*BUILD, fwx_ncd_AddNetworkAdapter, fwx_ncd_SyncConfig]


def test_one_that_has_gone_is_not_told(rig: Rig) -> None:
    """Unregister before the first series, in the middle of it, and after it; each handle is new."""
    early, middle, late = Listener(), Listener(), Listener()
    first = rig.detector.Register(early, False)
    rig.detector.Unregister(first)

    def leave(event: FwxNcdEvent) -> None:
        if event.EventType == fwx_ncd_AddNetworkSet:
            rig.detector.Unregister(middle.events[0].Parameters.uiContextSlot)

    middle.then = leave
    second = rig.detector.Register(middle, True)
    third = rig.detector.Register(late, True)
    rig.detector.Unregister(third)
    late.take()
    rig.become(adapters=(1, 2, 3, 9))
    assert (early.events, middle.types(), late.events) == ([], BUILD[:6], [])
    assert len({first, second, third}) == 3
    for handle in (first, second, third, 0, 99, -1, None):
        assert code(rig.detector.Unregister, handle) == E_INVALIDARG


def test_changes_of_the_machine(rig: Rig) -> None:
    """B13.10: one notice for each thing, what goes before what comes, then the new snapshot; the rest is as before."""
    listener = Listener()
    rig.detector.Register(listener, True)
    old, gone = rig.snapshot(), rig.address("203.0.113.5")
    kept, adapter = rig.address("10.1.0.1"), rig.adapter(2)
    listener.take()
    added = own(7, "198.51.100.1/24")
    rig.become(
        adapters=(1, 2, 7),
        addresses=(*ADDRESSES[:3], added),
        routes=(through(7, "0.0.0.0/0"), *ROUTES[1:3]),
        local=(*LOCAL[:3], AddressRange.parse("198.51.100.1")),
    )
    events = listener.take()
    assert [event.EventType for event in events] == [
        fwx_ncd_RemoveNetworkAddress,
        fwx_ncd_RemoveNetworkAddress,
        fwx_ncd_RemoveNetworkAdapter,
        fwx_ncd_AddNetworkAdapter,
        fwx_ncd_AddNetworkAddress,
        fwx_ncd_ChangeIpRange,
        fwx_ncd_SyncConfig,
    ]
    assert events[0].Parameters.member is gone
    assert events[2].Parameters.pNetworkAdapter.GetAdapterIndex() == 3
    assert events[4].Parameters.pNetworkAddress.GetAddress() == SocketAddress("198.51.100.1")
    assert events[5].Parameters.IpRangesToNetworkElements.eReason == fwx_ncd_StorageChanged
    new: Any = events[6].Parameters.member
    assert new is rig.snapshot()
    assert new is not old
    assert (rig.address("10.1.0.1"), rig.adapter(2)) == (kept, adapter)
    assert [each.GetAddress().host for each in old.GetNetworkAddresses()] == [
        str(each.interface.ip) for each in ADDRESSES
    ]
    external, localhost = old.GetDefaultExternalNetworkElement(), old.GetLocalHostNetworkElement()
    for snapshot, mine, other in ((old, "203.0.113.5", "198.51.100.1"), (new, "198.51.100.1", "203.0.113.5")):
        assert snapshot.LookupNetworkElementByAddress(SocketAddress(mine)) is localhost
        assert snapshot.LookupNetworkElementByAddress(SocketAddress(other)) is external


def test_a_change_of_routes(rig: Rig) -> None:
    """Only adapters are named through which other addresses are reached than before."""
    listener = Listener()
    rig.detector.Register(listener, True)
    assert [rig.adapter(index).IsDefaultGateway() for index in (1, 2, 3)] == [False, False, True]
    listener.take()
    rig.become(routes=(*ROUTES[:2], ROUTES[3]))  # 10.2 through the default route is not in adapter 3's network
    events = listener.take()
    assert [event.EventType for event in events] == [fwx_ncd_ChangeAdapterRoute, fwx_ncd_SyncConfig]
    assert events[0].Parameters.pNetworkAdapter is rig.adapter(2)
    rig.become(routes=(through(2, "0.0.0.0/0"), *ROUTES[1:2], ROUTES[3]))
    events = listener.take()
    assert [event.EventType for event in events] == [*[fwx_ncd_ChangeAdapterRoute] * 2, fwx_ncd_SyncConfig]
    assert [rig.adapter(index).IsDefaultGateway() for index in (1, 2, 3)] == [False, True, False]


def test_no_change_is_no_notice(rig: Rig) -> None:
    """The kernel reports much that is nothing here; several reports at once are one look."""
    listener = Listener()
    rig.detector.Register(listener, True)
    listener.take()
    before, reads = rig.snapshot(), rig.machines.reads
    for _ in range(5):
        rig.machines.become(MACHINE)
    rig.memory.loop.advance(SETTLE_SECONDS)
    assert (listener.events, rig.snapshot(), rig.machines.reads) == ([], before, reads + 1)


def test_changes_of_the_networks(rig: Rig) -> None:
    """B13.10: another policy, once somebody says that there is one."""
    listener = Listener()
    rig.detector.Register(listener, True)
    internal, branch = rig.element("Internal"), rig.element("branch")
    listener.take()
    rig.configure(NETWORKS[0], Network("guests", ("10.3.0.0/16",)))
    rig.detector.look_again()
    events = listener.take()
    assert [event.EventType for event in events] == [
        fwx_ncd_RemoveNetworkElementFromSet,
        fwx_ncd_RemoveNetworkElement,
        fwx_ncd_AddNetworkElement,
        fwx_ncd_AddNetworkElementToSet,
        fwx_ncd_ChangeIpRange,
        fwx_ncd_SyncConfig,
    ]
    assert (events[0].Parameters.member.pNetElement, events[1].Parameters.member) == (branch, branch)  # type: ignore[attr-defined]
    assert events[2].Parameters.member is rig.element("guests")
    assert rig.element("Internal") is internal
    assert branch.IsLocalAddress(SocketAddress("10.3.0.1")) == S_FALSE


def test_a_machine_that_cannot_be_read(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """At first the caller hears of it; later the last configuration holds, and it is tried again."""
    rig.machines.error = errno.EMFILE
    listener = Listener()
    for call in (rig.detector.GetCurrentSnapshot, lambda: rig.detector.Register(listener, True)):
        assert code(call) == HRESULT_FROM_WIN32(WSAEMFILE)
    rig.machines.error = 0
    rig.detector.Register(listener, True)
    before = rig.snapshot()
    listener.take()
    rig.machines.error = errno.EMFILE
    with caplog.at_level(logging.WARNING, "fwx.netconfig"):
        rig.become(adapters=(1, 2, 3, 4))
    assert "the network configuration cannot be read, the last known one holds" in caplog.text
    assert (rig.snapshot(), listener.events) == (before, [])
    rig.machines.error = 0
    rig.memory.loop.advance(RETRY_SECONDS)
    assert listener.types() == [fwx_ncd_AddNetworkAdapter, fwx_ncd_SyncConfig]


def test_a_read_that_fails_at_first_leaves_nobody_following(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    follow = rig.machines.follow

    def follow_and_fail(changed: Callable[[], None]) -> Any:
        made = follow(changed)
        rig.machines.error = errno.EMFILE
        return made

    monkeypatch.setattr(rig.machines, "follow", follow_and_fail)
    assert code(rig.detector.GetCurrentSnapshot) == HRESULT_FROM_WIN32(WSAEMFILE)
    assert rig.machines.followers == []


def test_a_filter_that_fails_is_told_on(rig: Rig) -> None:
    """A fault is reported, and neither it nor the others miss what follows."""

    def fail(event: FwxNcdEvent) -> HRESULT:
        if event.EventType == fwx_ncd_Startup:
            raise ValueError("not now")
        return HRESULT(E_FAIL)

    faulty, listener = Listener(fail), Listener()
    rig.detector.Register(faulty, True)
    rig.detector.Register(listener, True)
    assert faulty.types() == listener.types() == BUILD
    assert rig.memory.faults[0] == "NotifyNetworkChange: ValueError: not now"
    assert len(rig.memory.faults) == len(BUILD)


def test_a_filter_changes_nobody_elses_event(rig: Rig) -> None:
    """What one filter writes into its event, the next one does not see."""

    def spoil(event: FwxNcdEvent) -> None:
        if event.EventType == fwx_ncd_ChangeIpRange:
            event.Parameters.IpRangesToNetworkElements.Table.IpRangesNumber = 0

    rig.detector.Register(Listener(spoil), True)
    listener = Listener()
    rig.detector.Register(listener, True)
    rig.become(local=())
    tables = [event.Parameters.member.Table for event in listener.events if event.EventType == fwx_ncd_ChangeIpRange]  # type: ignore[attr-defined]
    assert [table.IpRangesNumber for table in tables] == [len(table.IpRanges) for table in tables]


def test_one_that_registers_while_others_are_told(rig: Rig) -> None:
    """It gets the new configuration as a whole, and not the change beside it."""
    late = Listener()

    def invite(event: FwxNcdEvent) -> None:
        if event.EventType == fwx_ncd_AddNetworkAdapter and event.Parameters.pNetworkAdapter.GetAdapterIndex() == 9:
            rig.detector.Register(late, True)

    rig.detector.Register(Listener(invite), True)
    rig.become(adapters=(1, 2, 3, 9))
    assert late.types().count(fwx_ncd_AddNetworkAdapter) == 4
    assert late.types()[-1] == fwx_ncd_SyncConfig
    assert late.types().count(fwx_ncd_SyncConfig) == 1


def test_the_end(rig: Rig) -> None:
    """Shutdown without details to those who were told anything, once; afterwards there is nothing more to be had."""
    told, untold = Listener(), Listener()
    handle = rig.detector.Register(told, True)
    element = rig.element("branch")
    rig.detector.Register(untold, False)
    rig.memory.firewall.end_notices()
    rig.memory.loop.run()
    assert told.types() == [*BUILD, fwx_ncd_Shutdown]
    assert told.events[-1].Parameters.member is None
    assert untold.events == []
    rig.memory.close()
    assert told.types().count(fwx_ncd_Shutdown) == 1
    assert code(rig.detector.Register, told, True) == FWX_E_TERMINATING
    assert code(rig.detector.GetCurrentSnapshot) == FWX_E_TERMINATING
    assert code(element.GetContext, handle) == E_INVALIDARG


def test_from_another_thread(rig: Rig) -> None:
    """The loop thread answers; the notices come on it."""
    listener = Listener(lambda _: threads.append(threading.get_ident()))
    threads: list[int] = []
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(rig.detector.Register(listener, True)))
    thread.start()
    while not answers:
        rig.memory.loop.run()
    thread.join()
    assert set(threads) == {threading.get_ident()}
    assert listener.types() == BUILD


def test_contexts(rig: Rig) -> None:
    """Per item and registration; gone with the registration, also where the item has gone from the configuration."""
    one, two = (rig.detector.Register(Listener(), True) for _ in range(2))
    items = (
        rig.element("branch"),
        rig.adapter(3),
        rig.address("203.0.113.5"),
        next(iter(rig.snapshot().GetNetworkSets())),
    )
    context = Unknown()
    for item in items:
        assert item.GetContext(one) is None
        item.SetContext(one, context)
        assert (item.GetContext(one), item.GetContext(two)) == (context, None)
        item.SetContext(two, item)
        item.SetContext(two, None)
        assert item.GetContext(two) is None
        for call in (item.GetContext, lambda slot, item=item: item.SetContext(slot, None)):
            assert [code(call, slot) for slot in (0, 99, None, FWX_INVALID_NCD_HANDLE_VALUE)] == [E_INVALIDARG] * 4
        assert code(item.SetContext, one, "no object") == E_INVALIDARG
    rig.become(adapters=(1, 2), addresses=ADDRESSES[:3])
    assert items[2].GetContext(one) is context
    rig.detector.Unregister(one)
    seen, _ = ref(context), rig.detector.Register(Listener(), True)
    del context
    gc.collect()
    assert seen() is None
    assert code(items[0].GetContext, one) == E_INVALIDARG


def test_an_item_that_has_gone_is_forgotten(rig: Rig) -> None:
    """The service holds on to nothing that the configuration has no more; a context may lead back to its item."""
    handle = rig.detector.Register(Listener(), True)
    adapter = rig.adapter(3)
    adapter.SetContext(handle, adapter)
    gone = ref(adapter)
    del adapter
    rig.become(adapters=(1, 2), addresses=ADDRESSES[:3], routes=ROUTES[1:3])
    for listener in list(rig.detector._registrations.values()):
        listener.notification.events.clear()
    gc.collect()
    assert gone() is None


def test_networks(rig: Rig) -> None:
    """Those of the configuration in its order, then the two predefined ones; the set is all but the firewall."""
    elements = list(rig.snapshot().GetNetworkElements())
    assert [(each.GetName(), each.GetType()) for each in elements] == [
        ("Internal", fpcInternalNetwork),
        ("branch", fpcStandardNetwork),
        ("localhost", fpcLocalHost),
        ("external", fpcDefaultExternal),
    ]
    assert len({each.GetGUID() for each in elements}) == 4
    other = Rig()
    assert [each.GetGUID() for each in other.snapshot().GetNetworkElements()] == [each.GetGUID() for each in elements]
    other.memory.close()
    (network_set,) = rig.snapshot().GetNetworkSets()
    assert list(network_set.GetNetworkElements()) == [elements[0], elements[1], elements[3]]
    assert network_set.GetGUID() not in {each.GetGUID() for each in elements}
    assert code(elements[0].GetConnectingNetworkGUID) == E_FAIL


def test_looking_networks_up(rig: Rig) -> None:
    snapshot = rig.snapshot()
    internal, branch, localhost, external = snapshot.GetNetworkElements()
    assert snapshot.GetLocalHostNetworkElement() is localhost
    assert snapshot.GetDefaultExternalNetworkElement() is external
    assert code(snapshot.GetVpnClientsNetworkElement) == NOT_FOUND
    assert code(snapshot.GetQuarantinedVpnClientsNetworkElement) == NOT_FOUND
    assert snapshot.LookupNetworkElementByGuid(branch.GetGUID()) is branch
    assert code(snapshot.LookupNetworkElementByGuid, UUID(int=5)) == NOT_FOUND
    for host, wanted in (
        ("10.1.0.2", internal), ("10.1.0.1", localhost), ("::ffff:10.1.0.2", internal), ("10.2.0.7", internal),
        ("10.3.1.1", branch), ("127.0.0.9", localhost), ("8.8.8.8", external), ("0.0.0.0", localhost),
        ("::", localhost), ("255.255.255.255", external), ("2001:db8::1", external), ("fe80::1234", localhost),
    ):  # fmt: skip
        for where in (snapshot, rig.detector):
            assert where.LookupNetworkElementByAddress(SocketAddress(host, 80)) is wanted, host
    for where in (snapshot, rig.detector):
        assert code(where.LookupNetworkElementByAddress, None) == E_POINTER
        assert code(where.LookupNetworkElementByAddress, SocketAddress("a.name")) == E_INVALIDARG
        assert code(where.LookupNetworkElementByAddress, SocketAddress("10.1.0.2"), 99) == E_INVALIDARG


def test_local_addresses(rig: Rig) -> None:
    """Both must hold: in the network, and this computer's."""
    internal, branch, localhost, external = rig.snapshot().GetNetworkElements()
    for element, host, wanted in (
        (internal, "10.1.0.1", S_OK), (internal, "10.1.0.2", S_FALSE), (branch, "10.1.0.1", S_FALSE),
        (localhost, "10.1.0.1", S_OK), (localhost, "127.0.0.1", S_OK), (localhost, "8.8.8.8", S_FALSE),
        (external, "203.0.113.5", S_OK), (external, "8.8.8.8", S_FALSE), (external, "127.0.0.1", S_FALSE),
    ):  # fmt: skip
        assert element.IsLocalAddress(SocketAddress(host, 5)) == wanted, (element.GetName(), host)
    assert code(internal.IsLocalAddress, SocketAddress("a.name")) == E_INVALIDARG
    assert code(internal.IsLocalAddress, None) == E_POINTER


def test_the_table(rig: Rig) -> None:
    """Rising, whole, in step with the look-up at both ends of each range, IPv4 in its mapped form."""
    snapshot = rig.snapshot()
    table = snapshot.GetIpRangesToNetworkElements()
    uppers = [each.IpRangeUpperBound for each in table.IpRanges]
    assert table.IpRangesNumber == len(uppers)
    assert uppers == sorted(set(uppers))
    assert uppers[-1] == IPv6Address("ffff:" * 7 + "ffff")
    assert {
        IPv6Address("::ffff:10.1.0.0"),
        IPv6Address("::ffff:255.255.255.255"),
        IPv6Address("::fffe:ffff:ffff"),
    } <= set(uppers)
    first = IPv6Address(0)
    for each in table.IpRanges:
        for end in (first, each.IpRangeUpperBound):
            assert snapshot.LookupNetworkElementByAddress(SocketAddress(end)) is each.pNetworkElement, end
        if int(each.IpRangeUpperBound) + 1 < 1 << 128:
            first = IPv6Address(int(each.IpRangeUpperBound) + 1)


def test_addresses(rig: Rig) -> None:
    for host, mask, index, name, primary in (
        ("127.0.0.1", "255.0.0.0", 1, "localhost", True),
        ("10.1.0.1", "255.255.0.0", 2, "Internal", True),
        ("10.1.0.9", "255.255.0.0", 2, "Internal", False),
        ("203.0.113.5", "255.255.255.0", 3, "external", True),
        ("fe80::5", "ffff:ffff:ffff:ffff::", 3, "localhost", True),
    ):
        address = rig.address(host)
        assert address.GetAddress() == SocketAddress(host, 0, 3 if host == "fe80::5" else 0)
        assert address.GetMask() == SocketAddress(mask)
        assert address.GetNetworkAdapter() is rig.adapter(index)
        assert address.GetNetworkElement() is rig.element(name)
        assert address.IsPrimaryIpAddress() is primary


def test_another_mask_is_another_address(rig: Rig) -> None:
    listener = Listener()
    rig.detector.Register(listener, True)
    before = rig.address("10.1.0.1")
    listener.take()
    rig.become(addresses=(ADDRESSES[0], own(2, "10.1.0.1/24"), *ADDRESSES[2:]))
    assert listener.types() == [fwx_ncd_RemoveNetworkAddress, fwx_ncd_AddNetworkAddress, fwx_ncd_SyncConfig]
    assert before.GetMask() == SocketAddress("255.255.0.0")
    assert rig.address("10.1.0.1").GetMask() == SocketAddress("255.255.255.0")


def test_adapters(rig: Rig) -> None:
    """A copy of what is reached, within the network of the adapter."""

    def reached(index: int) -> list[tuple[str, str]]:
        return [(str(first), str(last)) for first, last in rig.adapter(index).GetRouteTable().ranges()]

    # 10.1.0.1 and .9 are the firewall's own; of 10.2 the first /24 is Internal's too: it comes first.
    assert reached(2) == [("10.1.0.0", "10.1.0.0"), ("10.1.0.2", "10.1.0.8"), ("10.1.0.10", "10.2.255.255")]
    assert reached(1) == []
    outside = rig.adapter(3).GetRouteTable()
    for host, wanted in (("8.8.8.8", S_OK), ("10.1.0.2", S_FALSE), ("10.3.0.1", S_FALSE), ("127.0.0.1", S_FALSE)):
        assert outside.IsIncluded(IPv4Address(host)) == wanted, host
    outside.ExcludeFilter(outside)
    assert rig.adapter(3).GetRouteTable().IsIncluded(IPv4Address("8.8.8.8")) == S_OK
    adapter = rig.adapter(3)
    assert adapter.QueryInterface(IFWXNetworkAdapter2) is adapter
    rig.become(adapters=(1, 2), addresses=ADDRESSES[:3], routes=ROUTES[1:3])
    assert list(adapter.GetRouteTable().ranges()) == []
    assert not adapter.IsDefaultGateway()


def test_arguments_of_register(rig: Rig) -> None:
    assert code(rig.detector.Register, None, True) == E_POINTER
    assert code(rig.detector.Register, Unknown(), True) == E_INVALIDARG


@pytest.mark.parametrize("name", ["GetNetworkElements", "GetNetworkSets", "GetNetworkAdapters", "GetNetworkAddresses"])
def test_collections_count_from_one(rig: Rig, name: str) -> None:
    collection = getattr(rig.snapshot(), name)()
    count = collection.GetCount()
    assert [collection.GetItem(place + 1) for place in range(count)] == list(collection)
    assert [code(collection.GetItem, place) for place in (0, count + 1, -1, None)] == [E_INVALIDARG] * 4


OBJECTS: dict[COMInterfaceClass, Callable[[Rig], Any]] = {
    IFWXNetConfigDetector: lambda rig: rig.detector,
    IFWXNetConfigDetectionSnapshot: lambda rig: rig.snapshot(),
    IFWXNetConfigDetectionNotification: lambda rig: Listener(),
    IFWXNetworkElements: lambda rig: rig.snapshot().GetNetworkElements(),
    IFWXNetworkElement: lambda rig: rig.element("branch"),
    IFWXNetworkSets: lambda rig: rig.snapshot().GetNetworkSets(),
    IFWXNetworkSet: lambda rig: rig.snapshot().GetNetworkSets().GetItem(1),
    IFWXNetworkAdapters: lambda rig: rig.snapshot().GetNetworkAdapters(),
    IFWXNetworkAdapter: lambda rig: rig.adapter(2),
    IFWXNetworkAdapter2: lambda rig: rig.adapter(2),
    IFWXNetworkAddresses: lambda rig: rig.snapshot().GetNetworkAddresses(),
    IFWXNetworkAddress: lambda rig: rig.address("10.1.0.1"),
}


@pytest.mark.parametrize("interface", OBJECTS, ids=lambda each: each.__name__)
def test_the_laws_of_com(rig: Rig, interface: COMInterfaceClass) -> None:
    rules = (shape_rule(interface, OBJECTS[interface]), *unknown_rules(interface, OBJECTS[interface]))
    run_rules(interface.__name__, rules, lambda: nullcontext(rig)).require()


def outs(face: Any, name: str, *ins: Any) -> Any:
    """Call a method with one out on the COM face; it succeeds."""
    cell: Ref[Any] = Ref()
    assert getattr(face, name)(*ins, cell) == S_OK, name
    return cell.value


def test_every_method_of_the_com_face(rig: Rig) -> None:
    """It is the Python face's answer, in cells."""
    listener = Listener()
    detector = raw(rig.detector, IFWXNetConfigDetector)
    handle = outs(detector, "Register", listener, True)
    assert listener.types() == BUILD
    snapshot = outs(detector, "GetCurrentSnapshot")
    client = SocketAddress("10.1.0.2")
    internal = outs(detector, "LookupNetworkElementByAddress", client, client.length)
    picture = raw(snapshot, IFWXNetConfigDetectionSnapshot)
    assert outs(picture, "LookupNetworkElementByAddress", client, client.length) is internal
    assert outs(picture, "LookupNetworkElementByGuid", internal.GetGUID()) is internal
    assert outs(picture, "GetLocalHostNetworkElement") is rig.element("localhost")
    assert outs(picture, "GetDefaultExternalNetworkElement") is rig.element("external")
    for name in ("GetVpnClientsNetworkElement", "GetQuarantinedVpnClientsNetworkElement"):
        cell: Ref[Any] = Ref("before")
        assert getattr(picture, name)(cell) == NOT_FOUND
        assert cell.value is None
    table = outs(picture, "GetIpRangesToNetworkElements")
    assert table == snapshot.GetIpRangesToNetworkElements()
    for kind in (IFWXNetworkElements, IFWXNetworkSets, IFWXNetworkAdapters, IFWXNetworkAddresses):
        found = outs(picture, kind.__name__.replace("IFWX", "Get"))
        collection = raw(found, kind)
        assert outs(collection, "GetCount") == found.GetCount()
        assert outs(collection, "GetItem", 1) is found.GetItem(1)
        cell = Ref("before")
        assert collection.GetItem(0, cell) == E_INVALIDARG
        assert cell.value is None
    _every_method_of_items(rig, handle, client)
    assert detector.Unregister(handle) == S_OK
    assert detector.Unregister(handle) == E_INVALIDARG


def _every_method_of_items(rig: Rig, handle: int, client: SocketAddress) -> None:
    kinds = (IFWXNetworkElement, IFWXNetworkSet, IFWXNetworkAdapter2, IFWXNetworkAddress)
    items = {kind: OBJECTS[kind](rig) for kind in kinds}
    for kind, item in items.items():
        face, context = raw(item, kind), Unknown()
        assert face.SetContext(handle, context) == S_OK
        assert outs(face, "GetContext", handle) is context
    element = raw(items[IFWXNetworkElement], IFWXNetworkElement)
    for name in ("GetGUID", "GetName", "GetType"):
        assert outs(element, name) == getattr(items[IFWXNetworkElement], name)()
    assert element.IsLocalAddress(client, client.length) == S_FALSE
    assert element.GetConnectingNetworkGUID(Ref()) == E_FAIL
    network_set = raw(items[IFWXNetworkSet], IFWXNetworkSet)
    assert outs(network_set, "GetGUID") == items[IFWXNetworkSet].GetGUID()
    assert outs(network_set, "GetNetworkElements") is items[IFWXNetworkSet].GetNetworkElements()
    adapter = raw(items[IFWXNetworkAdapter2], IFWXNetworkAdapter2)
    assert outs(adapter, "GetAdapterIndex") == 2
    assert outs(adapter, "IsDefaultGateway") is False
    assert outs(adapter, "GetRouteTable").Compare(items[IFWXNetworkAdapter2].GetRouteTable()) == S_OK
    address = raw(items[IFWXNetworkAddress], IFWXNetworkAddress)
    for name, wanted in (("GetAddress", "10.1.0.1"), ("GetMask", "255.255.0.0")):
        cell, length = Ref[Any](), Ref(28)
        assert getattr(address, name)(cell, length) == S_OK
        assert (cell.value, length.value) == (SocketAddress(wanted), 16)
        assert getattr(address, name)(cell, Ref(8)) == HRESULT_FROM_WIN32(WSAEFAULT)
    assert outs(address, "GetNetworkAdapter") is items[IFWXNetworkAdapter2]
    assert outs(address, "GetNetworkElement") is rig.element("Internal")
    assert outs(address, "IsPrimaryIpAddress") is True


def test_a_fault_in_a_returned_number(rig: Rig) -> None:
    """What a notification returns counts like what it raises."""
    rig.detector.Register(Listener(lambda event: E_UNEXPECTED if event.EventType == fwx_ncd_Startup else S_OK), True)
    assert [words for words in rig.memory.faults if "E_UNEXPECTED" in words] == list(rig.memory.faults)
    assert len(rig.memory.faults) == 1
