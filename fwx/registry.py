"""The component registry of one service: the only place that names implementation classes (DESIGN 4)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from zope.interface.interface import InterfaceClass
from zope.interface.registry import Components

from fwx.impl.alerting import IAlerts
from fwx.impl.datagramsocket import FWXDatagramSocket
from fwx.impl.engine import Engine
from fwx.impl.firewall import FWXFirewall
from fwx.impl.hostnames import HostNames, IHostNames
from fwx.impl.networksocket import FWXNetworkSocket
from fwx.impl.session import FWXSession
from fwx.impl.sockets import FWXSocket
from fwx.impl.sslsocket import FWXSSLSocket
from fwx.impl.tasking import IFaults, ITasks
from fwx.impl.tlsparameters import ITlsParameters, TlsParameters
from fwx.interfaces import (
    IFWXConnection,
    IFWXDataFilter,
    IFWXFirewall,
    IFWXFirewall2,
    IFWXNetworkSocket,
    IFWXSession,
    IFWXSocket,
)

ENTRY_POINTS = "fwx.components"


class RegistryError(Exception):
    """A registration was refused: a duplicate, or one after the registry was frozen."""


@dataclass(frozen=True, slots=True)
class Component:
    """One line of what is wired: the kind, what is asked of what, by which name, who answers, and since where."""

    kind: str
    required: tuple[str, ...]
    provided: str
    name: str
    component: str
    place: str


def _until_frozen(name: str) -> Callable[..., Any]:
    """Make the method *name* of zope.interface's registry refuse once the registry is frozen."""
    method: Callable[..., Any] = getattr(Components, name)

    def refusing(self: Registry, *args: Any, **kwargs: Any) -> Any:
        if self._frozen:
            raise RegistryError(f"{name}: the registry is frozen, the service is running")
        return method(self, *args, **kwargs)

    return refusing


class Registry(Components):
    """A registry without a global base that refuses duplicates and, once serving, every change."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._frozen = False
        # What mypy-zope's stubs of Components leave out.
        self._own: Any = self

    def freeze(self) -> None:
        """Refuse every later registration: the set of interfaces of an object must not change (COM's static set)."""
        self._frozen = True

    def register_utility(self, component: Any, provided: InterfaceClass, name: str = "") -> None:
        """Register what :meth:`getUtility` answers.

        :raises RegistryError: the place is taken, with both places named; or the registry is frozen.
        """
        place = self._check(provided.__name__, name, self._own._utility_registrations.get((provided, name)))
        self.registerUtility(component, provided, name, info=place, event=False)

    def register_adapter(
        self,
        factory: Callable[..., Any],
        required: tuple[InterfaceClass, ...],
        provided: InterfaceClass,
        name: str = "",
    ) -> None:
        """Register what :meth:`getAdapter` and :meth:`getMultiAdapter` call; unnamed ones answer QueryInterface too.

        :raises RegistryError: the place is taken, with both places named; or the registry is frozen.
        """
        place = self._check(provided.__name__, name, self._own._adapter_registrations.get((required, provided, name)))
        self.registerAdapter(factory, required, provided, name, info=place, event=False)

    def has_adapter(self, required: tuple[InterfaceClass, ...], provided: InterfaceClass, name: str) -> bool:
        """Tell whether exactly this place is taken; defaults fill only what a plugin has left open."""
        return (required, provided, name) in self._own._adapter_registrations

    def components(self) -> Iterator[Component]:
        """List what is wired, in a fixed order."""
        found = [
            Component("utility", (), one.provided.__name__, one.name, _describe(one.component), one.info)
            for one in self._own.registeredUtilities()
        ]
        found += [
            Component(
                "adapter",
                tuple(required.__name__ for required in one.required),
                one.provided.__name__,
                one.name,
                _describe(one.factory),
                one.info,
            )
            for one in self._own.registeredAdapters()
        ]
        yield from sorted(found, key=lambda one: (one.kind, one.provided, one.name, one.required))

    # What zope.interface offers beside register_utility and register_adapter replaces silently; tests may want that.
    registerUtility = _until_frozen("registerUtility")  # noqa: N815  zope.interface's spelling, here and below
    unregisterUtility = _until_frozen("unregisterUtility")  # noqa: N815
    registerAdapter = _until_frozen("registerAdapter")  # noqa: N815
    unregisterAdapter = _until_frozen("unregisterAdapter")  # noqa: N815
    registerSubscriptionAdapter = _until_frozen("registerSubscriptionAdapter")  # noqa: N815
    unregisterSubscriptionAdapter = _until_frozen("unregisterSubscriptionAdapter")  # noqa: N815
    registerHandler = _until_frozen("registerHandler")  # noqa: N815
    unregisterHandler = _until_frozen("unregisterHandler")  # noqa: N815

    def _check(self, provided: str, name: str, present: Any) -> str:
        frame = sys._getframe(2)
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        if self._frozen:
            raise RegistryError(f"{place}: {provided} {name!r}: the registry is frozen, the service is running")
        if present is not None:
            raise RegistryError(f"{place}: {provided} {name!r} is registered already, at {present[1]}")
        return place


def build_registry(engine: Engine, name: str, *, plugins: bool = True) -> Registry:
    """Make the registry of the service around *engine*, which gets it: plugins first, then the defaults they left open.

    :raises RegistryError: two registrations for one place, or a plugin that cannot be loaded.
    """
    registry = Registry(name)
    engine.registry = registry
    firewall = FWXFirewall(engine)
    registry.register_utility(firewall, IFWXFirewall2)
    registry.register_utility(engine.alerts, IAlerts)
    registry.register_utility(engine.tasks, ITasks)
    if plugins:
        _load_plugins(registry)
    for factory, required, provided, adapter_name in _defaults(engine, firewall):
        if not registry.has_adapter(required, provided, adapter_name):
            registry.register_adapter(factory, required, provided, adapter_name)
    return registry


def _defaults(
    engine: Engine, firewall: FWXFirewall
) -> Iterator[tuple[Callable[..., Any], tuple[InterfaceClass, ...], InterfaceClass, str]]:
    def firewall_socket(_: IFWXFirewall) -> FWXNetworkSocket:
        """A TCP socket that belongs to no user."""
        return FWXNetworkSocket(engine, firewall)

    def session_socket(session: FWXSession) -> FWXNetworkSocket:
        """A TCP socket under the session's policy."""
        return FWXNetworkSocket(engine, session, session)

    def firewall_datagrams(_: IFWXFirewall) -> FWXDatagramSocket:
        """A UDP socket that belongs to no user."""
        return FWXDatagramSocket(engine, firewall)

    def session_datagrams(session: FWXSession) -> FWXDatagramSocket:
        """A UDP socket under the session's policy."""
        return FWXDatagramSocket(engine, session, session)

    def ssl_socket(_: IFWXFirewall2, parameters: TlsParameters) -> FWXSSLSocket:
        """TLS over a socket; it belongs to no user."""
        return FWXSSLSocket(engine, firewall, parameters)

    def internal_socket(connection: Any, data_filter: IFWXDataFilter) -> FWXSocket:
        """A data filter's socket towards the client."""
        socket: FWXSocket = connection.member_of(data_filter).socket("internal")
        return socket

    def external_socket(connection: Any, data_filter: IFWXDataFilter) -> FWXSocket:
        """A data filter's socket towards the server."""
        socket: FWXSocket = connection.member_of(data_filter).socket("external")
        return socket

    def faults(connection: Any, data_filter: IFWXDataFilter) -> IFaults:
        """What ends the connection of a data filter that fails."""
        member: IFaults = connection.member_of(data_filter)
        return member

    def firewall_names(_: IFWXFirewall) -> HostNames:
        """Look-ups under no policy."""
        return firewall.names

    def session_names(session: FWXSession) -> HostNames:
        """Look-ups under the session's policy and log."""
        return session.names

    yield firewall_names, (IFWXFirewall,), IHostNames, ""
    yield session_names, (IFWXSession,), IHostNames, ""
    yield firewall_socket, (IFWXFirewall,), IFWXNetworkSocket, "tcp"
    yield session_socket, (IFWXSession,), IFWXNetworkSocket, "tcp"
    yield firewall_datagrams, (IFWXFirewall,), IFWXNetworkSocket, "udp"
    yield session_datagrams, (IFWXSession,), IFWXNetworkSocket, "udp"
    yield ssl_socket, (IFWXFirewall2, ITlsParameters), IFWXNetworkSocket, "ssl"
    yield internal_socket, (IFWXConnection, IFWXDataFilter), IFWXSocket, "internal"
    yield external_socket, (IFWXConnection, IFWXDataFilter), IFWXSocket, "external"
    yield faults, (IFWXConnection, IFWXDataFilter), IFaults, ""


def _load_plugins(registry: Registry) -> None:
    for entry_point in entry_points(group=ENTRY_POINTS):
        distribution = entry_point.dist.name if entry_point.dist is not None else "an unknown distribution"
        try:
            entry_point.load()(registry)
        except RegistryError:
            raise
        except Exception as error:
            raise RegistryError(
                f"component plugin {entry_point.name!r} of {distribution} failed: {type(error).__name__}: {error}"
            ) from error


def _describe(component: Any) -> str:
    if callable(component) and hasattr(component, "__qualname__"):
        return f"{component.__module__}.{component.__qualname__.replace('.<locals>', '')}"
    return f"{type(component).__module__}.{type(component).__qualname__}"
