"""The component registry of a service: the look-ups of DESIGN 4, one registration per place, frozen while serving."""

from __future__ import annotations

import itertools
import re
from types import SimpleNamespace
from typing import Any

import pytest
from zope.component import getGlobalSiteManager
from zope.interface import Interface, implementer
from zope.interface.interfaces import ComponentLookupError, IComponentLookup

import fwx.registry
from fwx import sdk
from fwx.aio.tasks import Tasks
from fwx.impl.alert import Alerts, Category, Severity
from fwx.impl.alerting import IAlerts
from fwx.impl.firewall import FWXFirewall
from fwx.impl.networksocket import FWXNetworkSocket
from fwx.impl.session import FWXSession
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    IFWXConnection,
    IFWXDataFilter,
    IFWXFirewall,
    IFWXFirewall2,
    IFWXNetworkSocket,
    IFWXSession,
    IFWXSocket,
    IFWXTaskCompletion,
    IUnknown,
    SocketAddress,
    fwxSourceWSP,
)
from fwx.interfaces.hresult import E_FAIL, E_POINTER, COMError
from fwx.registry import ENTRY_POINTS, Registry, RegistryError, build_registry


class IThing(Interface):
    """Something to register."""


@implementer(IThing)
class Thing:
    """One of them."""


class Engine(SimpleNamespace):
    """As much of an engine as the registry and the firewall object need."""

    def __init__(self) -> None:
        self.posted: list[Any] = []
        self.reported: list[Any] = []
        super().__init__(
            alerts=Alerts(lambda: 0.0, ()),
            clock=lambda: 0.0,
            session_ids=itertools.count(1),
            queue=SimpleNamespace(
                post=lambda *item: self.posted.append(item), call=lambda function, *args: function(*args)
            ),
            faults=SimpleNamespace(report=lambda *fault: self.reported.append(fault)),
            registry=None,
            call_later=None,
            tasks=Tasks(SimpleNamespace(), SimpleNamespace()),  # type: ignore[arg-type]
            network=SimpleNamespace(stream=None, datagram=None),
            strands=SimpleNamespace(current=None),
        )

    def drain(self) -> None:
        while self.posted:
            function, *args = self.posted.pop(0)
            function(*args)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def registry(engine: Engine) -> Registry:
    return build_registry(engine, "test", plugins=False)  # type: ignore[arg-type]


def session_of(engine: Engine) -> FWXSession:
    return FWXSession(engine, SocketAddress("10.0.0.1"), fwxSourceWSP)  # type: ignore[arg-type]


# ---- the look-ups ----------------------------------------------------------------------------------------------------


def test_the_firewall(registry: Registry) -> None:
    """DESIGN 4: one utility, the same object under both interfaces, which leads back to the registry."""
    firewall = registry.getUtility(IFWXFirewall)
    assert type(firewall) is FWXFirewall
    firewall2 = firewall.QueryInterface(IFWXFirewall2)
    assert firewall2 is firewall
    assert registry.getUtility(IFWXFirewall2) is firewall
    assert firewall2.QueryInterface(IUnknown) is firewall.QueryInterface(IUnknown)
    assert IComponentLookup(firewall) is registry


def test_sockets_of_the_firewall_and_of_a_session(engine: Engine, registry: Registry) -> None:
    """DESIGN 4: by the name of the transport; CreateNetworkSocket goes the same way."""
    firewall, session = registry.getUtility(IFWXFirewall), session_of(engine)
    for owner, belongs_to in ((firewall, None), (session, session)):
        for made in (registry.getAdapter(owner, IFWXNetworkSocket, name="tcp"), owner.CreateNetworkSocket(6)):
            assert type(made) is FWXNetworkSocket
            assert made.session is belongs_to
            made.Close(False)
    with pytest.raises(ComponentLookupError):
        registry.getAdapter(session, IFWXNetworkSocket, name="sctp")


def test_sockets_of_a_data_filter(registry: Registry) -> None:
    """DESIGN 4: by connection and data filter; the names are the sides."""

    @implementer(IFWXConnection)
    class Connection(Unknown):
        def member_of(self, data_filter: object) -> Any:
            assert data_filter is wanted
            return SimpleNamespace(socket=lambda side: f"the {side} socket")

    @implementer(IFWXDataFilter)
    class DataFilter(Unknown):
        """The filter's."""

    wanted = DataFilter()
    for side in ("internal", "external"):
        assert registry.getMultiAdapter((Connection(), wanted), IFWXSocket, name=side) == f"the {side} socket"


def test_alerts(engine: Engine, registry: Registry) -> None:
    """B9.20, B9.21: what a filter signals with."""
    assert registry.getUtility(IAlerts) is engine.alerts
    event = sdk.define_event(registry.getUtility(IFWXFirewall), "Something", source="a filter")
    assert (event.name, event.severity, event.category) == ("Something", Severity.WARNING, Category.SECURITY)
    assert sdk.signal(event, "it happened")
    assert not sdk.signal(event, "again")
    assert sdk.find_event(registry.getUtility(IFWXFirewall), "Something") is event
    with pytest.raises(ValueError, match="defined by 'a filter'"):
        sdk.define_event(registry.getUtility(IFWXFirewall), "Something", source="another filter")
    sdk.remove_event(event)
    with pytest.raises(ValueError, match="not defined here"):
        sdk.find_event(registry.getUtility(IFWXFirewall), "Something")


def test_another_adapter_replaces_the_sockets_of_a_service(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """DESIGN 4: a plugin's adapter comes before the default, and CreateNetworkSocket yields it."""
    made = object()
    _install(
        monkeypatch,
        lambda registry: registry.register_adapter(lambda _: made, (IFWXSession,), IFWXNetworkSocket, "tcp"),
    )
    registry = build_registry(engine, "test")  # type: ignore[arg-type]
    assert session_of(engine).CreateNetworkSocket(6) is made
    firewall_socket = registry.getUtility(IFWXFirewall).CreateNetworkSocket(6)
    assert type(firewall_socket) is FWXNetworkSocket


def test_nothing_is_global(registry: Registry) -> None:
    """DESIGN 4: no global base; two services have two registries."""
    assert registry.__bases__ == ()
    assert getGlobalSiteManager().queryUtility(IFWXFirewall2) is None
    other = build_registry(Engine(), "other", plugins=False)  # type: ignore[arg-type]
    assert other.getUtility(IFWXFirewall) is not registry.getUtility(IFWXFirewall)


# ---- registering -----------------------------------------------------------------------------------------------------


def test_a_duplicate_names_both_places() -> None:
    """DESIGN 4."""
    registry = Registry("test")
    place = re.escape(__file__)
    registry.register_utility(Thing(), IThing)
    with pytest.raises(RegistryError, match=rf"{place}:\d+: IThing '' is registered already, at {place}:\d+") as error:
        registry.register_utility(Thing(), IThing)
    second, first = (int(line) for line in re.findall(r":(\d+)", str(error.value)))
    assert second == first + 2
    registry.register_adapter(lambda _: Thing(), (IUnknown,), IThing, "name")
    with pytest.raises(RegistryError, match=rf"IThing 'name' is registered already, at {place}"):
        registry.register_adapter(lambda _: Thing(), (IUnknown,), IThing, "name")


def test_another_name_or_interface_is_another_place() -> None:
    registry = Registry("test")
    registry.register_utility(Thing(), IThing)
    registry.register_utility(Thing(), IThing, "second")
    registry.register_adapter(lambda _: Thing(), (IUnknown,), IThing)
    registry.register_adapter(lambda _: Thing(), (IUnknown,), IThing, "second")
    registry.register_adapter(lambda _: Thing(), (IFWXSession,), IThing)
    assert len(list(registry.components())) == 5
    assert registry.has_adapter((IFWXSession,), IThing, "")
    assert not registry.has_adapter((IFWXSession,), IThing, "second")


def test_frozen() -> None:
    """DESIGN 3, 4: once serving nothing changes, so that QueryInterface is stable."""
    registry = Registry("test")
    registry.register_utility(Thing(), IThing)
    registry.freeze()
    with pytest.raises(RegistryError, match=rf"{re.escape(__file__)}:\d+: IThing 'late': the registry is frozen"):
        registry.register_utility(Thing(), IThing, "late")
    with pytest.raises(RegistryError, match="the registry is frozen"):
        registry.register_adapter(lambda _: Thing(), (IUnknown,), IThing)
    assert len(list(registry.components())) == 1


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("registerUtility", (Thing(), IThing)),
        ("unregisterUtility", (None, IThing)),
        ("registerAdapter", (lambda _: Thing(), (IUnknown,), IThing)),
        ("unregisterAdapter", (None, (IUnknown,), IThing)),
        ("registerSubscriptionAdapter", (lambda _: Thing(), (IUnknown,), IThing)),
        ("unregisterSubscriptionAdapter", (None, (IUnknown,), IThing)),
        ("registerHandler", (lambda _: None, (IUnknown,))),
        ("unregisterHandler", (None, (IUnknown,))),
    ],
)
def test_there_is_no_way_round(name: str, arguments: Any) -> None:
    """DESIGN 4: zope.interface's own methods change nothing either, once the service is running."""
    registry = Registry("test")
    thing = Thing()
    registry.register_utility(thing, IThing)
    registry.freeze()
    with pytest.raises(RegistryError, match=f"{name}: the registry is frozen"):
        getattr(registry, name)(*arguments)
    assert registry.getUtility(IThing) is thing
    assert len(list(registry.components())) == 1


def test_the_list_of_components(registry: Registry) -> None:
    """DESIGN 4: printable: what is asked of what, who answers, and where that was said."""
    found = [(one.kind, one.required, one.provided, one.name) for one in registry.components()]
    assert found == sorted(found, key=lambda one: (one[0], one[2], one[3], one[1]))
    assert set(found) >= {
        ("utility", (), "IFWXFirewall2", ""),
        ("utility", (), "IAlerts", ""),
        ("utility", (), "ITasks", ""),
        ("adapter", ("IFWXConnection", "IFWXDataFilter"), "IFaults", ""),
        ("adapter", ("IFWXFirewall",), "IHostNames", ""),
        ("adapter", ("IFWXSession",), "IHostNames", ""),
        ("adapter", ("IFWXFirewall",), "IFWXNetworkSocket", "tcp"),
        ("adapter", ("IFWXSession",), "IFWXNetworkSocket", "tcp"),
        ("adapter", ("IFWXConnection", "IFWXDataFilter"), "IFWXSocket", "internal"),
        ("adapter", ("IFWXConnection", "IFWXDataFilter"), "IFWXSocket", "external"),
    }
    for one in registry.components():
        assert re.fullmatch(r".*registry\.py:\d+", one.place)
        assert one.component.startswith("fwx.")
        assert "<locals>" not in one.component


# ---- plugins ---------------------------------------------------------------------------------------------------------


def _install(monkeypatch: pytest.MonkeyPatch, *plugins: Any) -> None:
    def entry_points(group: str) -> list[Any]:
        assert group == ENTRY_POINTS == "fwx.components"
        return [
            SimpleNamespace(
                name=f"plugin {number}", dist=SimpleNamespace(name="a package"), load=lambda plugin=plugin: plugin
            )
            for number, plugin in enumerate(plugins, 1)
        ]

    monkeypatch.setattr(fwx.registry, "entry_points", entry_points)


def test_two_plugins_that_collide(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def plugin(registry: Registry) -> None:
        registry.register_utility(Thing(), IThing)

    _install(monkeypatch, plugin, plugin)
    with pytest.raises(RegistryError, match="is registered already"):
        build_registry(engine, "test")  # type: ignore[arg-type]


def test_a_plugin_that_fails(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, lambda registry: 1 / 0)
    with pytest.raises(RegistryError, match="'plugin 1' of a package failed: ZeroDivisionError"):
        build_registry(engine, "test")  # type: ignore[arg-type]


def test_a_plugin_of_no_distribution(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = SimpleNamespace(name="loose", dist=None, load=lambda: 1 // 0)
    monkeypatch.setattr(fwx.registry, "entry_points", lambda group: [entry])
    with pytest.raises(RegistryError, match="'loose' of an unknown distribution failed: ZeroDivisionError"):
        build_registry(engine, "test")  # type: ignore[arg-type]


# ---- the firewall object ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reports"), [(lambda: None, 0), (lambda: 0, 0), (lambda: E_FAIL, 1), (lambda: 1 / 0, 1)]
)
def test_tasks(engine: Engine, registry: Registry, answer: Any, reports: int) -> None:
    """B5.4: CompleteTask once for each post, later, with the user data; a failure is reported."""
    done: list[object] = []

    @implementer(IFWXTaskCompletion)
    class Task(Unknown):
        def CompleteTask(self, UserData: object) -> Any:
            done.append(UserData)
            return answer()

    firewall = registry.getUtility(IFWXFirewall2)
    task = Task()
    for number in range(2):
        firewall.PostTaskCompletion(task, number)
    assert done == []
    engine.drain()
    assert done == [0, 1]
    assert len(engine.reported) == 2 * reports
    with pytest.raises(COMError) as error:
        firewall.PostTaskCompletion(None, 0)
    assert error.value.hresult == E_POINTER
