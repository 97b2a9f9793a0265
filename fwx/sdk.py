"""What a filter author imports: the contract, the base class, options, events, file operations, a pump to start from.

``from fwx import sdk`` gives every name of :mod:`fwx.interfaces` and what is defined here.
"""

from __future__ import annotations

from asyncio import Task
from collections.abc import Coroutine
from typing import Any

from zope.interface import implementer
from zope.interface.interfaces import IComponentLookup

from fwx.aio.datafilter import AsyncDataFilter
from fwx.aio.names import get_host_by_addr, get_host_by_name
from fwx.aio.pump import pump, together
from fwx.aio.socket import Accepted, AsyncSocket
from fwx.connection_filter import AskedConnection, ConnectionFilter
from fwx.data_pump import DataPump
from fwx.filter_options import FilterOptions
from fwx.impl.alert import Category, EventDefinition, EventInUseError, Severity
from fwx.impl.alerting import IAlerts
from fwx.impl.blocking import IBlocking
from fwx.impl.clienthello import Greeting, read_greeting
from fwx.impl.externalio import CancelIoEx, ReadFile, WriteFile
from fwx.impl.hostnames import IHostNames
from fwx.impl.overlapped import OVERLAPPED
from fwx.impl.policyrule import IPolicyRule
from fwx.impl.proxied import IProxied
from fwx.impl.recorded import IRecorded
from fwx.impl.tasking import ITasks
from fwx.impl.timeouts import ISocketTimeouts
from fwx.impl.tlscredentials import TlsCredentials
from fwx.impl.tlsinfo import ITls, TlsInfo
from fwx.impl.unknown import TearOff, Unknown
from fwx.impl.unreadsocket import UnreadSocket
from fwx.interfaces import *  # noqa: F403  the contract is re-exported whole
from fwx.interfaces import __all__ as _contract

__all__ = [  # noqa: PLE0604  the contract's own list
    *_contract,
    "OVERLAPPED",
    "Accepted",
    "AskedConnection",
    "AsyncDataFilter",
    "AsyncSocket",
    "CancelIoEx",
    "Category",
    "ConnectionFilter",
    "DataPump",
    "EventDefinition",
    "EventInUseError",
    "FilterOptions",
    "Greeting",
    "IBlocking",
    "IComponentLookup",
    "IHostNames",
    "IPolicyRule",
    "IProxied",
    "IRecorded",
    "ISocketTimeouts",
    "ITls",
    "ReadFile",
    "Severity",
    "TearOff",
    "TlsCredentials",
    "TlsInfo",
    "Unknown",
    "UnreadSocket",
    "WriteFile",
    "define_event",
    "find_event",
    "get_host_by_addr",
    "get_host_by_name",
    "implementer",
    "pump",
    "read_greeting",
    "remove_event",
    "signal",
    "spawn",
    "together",
    "tls_info",
]


def define_event(
    firewall: Any,
    name: str,
    *,
    source: str,
    severity: Severity = Severity.WARNING,
    category: Category = Category.SECURITY,
) -> EventDefinition:
    """Define an event that a filter signals; call it in FilterInit with the firewall given there (B9.20, B9.22).

    *source* is the filter's own name: two filters may not define the same event.

    :raises ValueError: the name is taken by another source.
    """
    lookup: Any = IComponentLookup
    alerts = lookup(firewall).getUtility(IAlerts)
    event: EventDefinition = alerts.define(name, severity, category, source=source)
    return event


def find_event(firewall: Any, name: str) -> EventDefinition:
    """Return an event that the service or another filter has defined, to signal it (B9.21).

    :raises ValueError: nobody has defined it.
    """
    lookup: Any = IComponentLookup
    event: EventDefinition = lookup(firewall).getUtility(IAlerts).event(name)
    return event


def remove_event(event: EventDefinition) -> None:
    """Remove an event that :func:`define_event` has returned, whose time is over before the service's is (B9.22).

    Events go with the service by themselves; FilterShutdown need not do this.

    :raises EventInUseError: an alert of the configuration uses it; that has to go first.
    :raises ValueError: it has been removed.
    """
    event.remove()


def signal(event: EventDefinition, message: str, *, key: str = "") -> bool:
    """Signal *event*, from any thread (B9.21); tell whether an alert was raised now.

    The same event and *key* raise at most one alert a minute, with the number of signals held back (B9.27), unless
    the administrator has defined alerts for it.
    """
    return event.signal(message, key=key)


def spawn(owner: Any, coroutine: Coroutine[Any, Any, object], *, name: str) -> Task[None]:
    """Run *coroutine* as a task of the service; call it on the loop thread, in FilterInit or later.

    :param owner: the firewall, a session or a connection: whatever leads to the registry.
    :param name: the filter's own, under which a fault of the coroutine is reported. A fault ends the task alone.
    :returns: the task, which the service holds until it is done. The filter cancels it in FilterShutdown or Detach;
        what is left when the service stops is cancelled then.
    """
    lookup: Any = IComponentLookup
    task: Task[None] = lookup(owner).getUtility(ITasks).start(coroutine, name)
    return task


def tls_info(socket: Any) -> TlsInfo | None:
    """Return what an SSL socket and its peer agreed on; ``None`` before the handshake is done, and in a tunnel.

    :raises TypeError: *socket* is no SSL socket.
    """
    tls: Any = ITls
    info: TlsInfo | None = tls(socket).tls_info()
    return info
