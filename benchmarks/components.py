"""What the parts of fwx cost by themselves, in one process and without a network: microseconds for each operation.

    python benchmarks/components.py [--quick] [--json FILE]

benchmarks/README.rst says how to read the table.
"""

# The methods of a filter are spelled as the SDK spells them.
# ruff: noqa: N802, N803, ARG002

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zope.interface import Interface, implementer
from zope.interface.registry import Components

from fwx import sdk
from fwx.config import load
from fwx.impl.connection import FWXConnection
from fwx.impl.course import proceed
from fwx.impl.filterhost import FilterHost
from fwx.impl.networks import LocalAddresses, Network, Networks
from fwx.impl.policy import Policy, Rule
from fwx.impl.raw import Ref, raw
from fwx.impl.transport import READABLE
from fwx.service import Service

BLOCK = bytes(4096)
RULES = 100
RANGES = 100_000
PATIENCE = 10.0


class Figure(NamedTuple):
    """One line of the table; *base* names the line that it is compared with, or is empty."""

    name: str
    nanoseconds: float
    base: str = ""


Maker = Callable[[], Any]


class Plan(NamedTuple):
    seconds: float
    rounds: int


def measure(plan: Plan, operation: Callable[[], object]) -> float:
    """Return nanoseconds of one call of *operation*: the median of the rounds, the loop around it taken off."""
    count = 1
    while (spent := _spent(operation, count)) < plan.seconds / 10:
        count *= 2
    count = max(int(count * plan.seconds / spent), 1)
    empty = statistics.median(_spent(_nothing, count) for _ in range(plan.rounds))
    return max(statistics.median(_spent(operation, count) for _ in range(plan.rounds)) - empty, 0.0) / count * 1e9


def _spent(operation: Callable[[], object], count: int) -> float:
    numbers = range(count)
    started = time.perf_counter()
    for _ in numbers:
        operation()
    return time.perf_counter() - started


def _nothing() -> None:
    return None


class IAsked(sdk.IUnknown):
    """An interface that an object provides itself."""


class ILent(sdk.IUnknown):
    """An interface that an adapter provides for the object."""


class IPlainAsked(Interface):
    """An interface that knows no COM, which a plain object provides itself."""


class IPlainLent(Interface):
    """An interface that knows no COM, which an adapter or a utility provides."""


@implementer(IAsked)
class Provider(sdk.Unknown):
    """An object with a registry to fall back on."""

    def __init__(self, registry: Components) -> None:
        self._registry = registry


@implementer(IPlainAsked)
class PlainProvider:
    """An object for bare zope.interface."""


@implementer(ILent, IPlainLent)
class Lent(sdk.Unknown):
    def __init__(self, owner: object) -> None:
        self.owner = owner


def look_ups(plan: Plan, service: Service) -> Iterator[Figure]:
    """QueryInterface and the registry, each beside what bare zope.interface takes for the like."""
    bare = Components("bare")
    # What mypy-zope's stubs of Components leave out.
    own: Any = bare
    own.registerAdapter(Lent, (IAsked,), ILent)
    own.registerAdapter(Lent, (IPlainAsked,), IPlainLent)
    own.registerAdapter(Lent, (IPlainAsked,), IPlainLent, "named")
    own.registerUtility(Lent(None), IPlainLent)
    plain, provider, firewall = PlainProvider(), Provider(bare), service.firewall
    asked: Any = IPlainAsked
    yield Figure("zope: providedBy", measure(plan, lambda: asked.providedBy(plain)))
    yield Figure("zope: IFoo(obj), provided", measure(plan, lambda: asked(plain)))
    direct = "zope: IFoo(obj), provided"
    asked_of_ours: Any = IAsked
    yield Figure("IFoo(obj), provided", measure(plan, lambda: asked_of_ours(provider)), direct)
    yield Figure("QueryInterface, provided", measure(plan, lambda: provider.QueryInterface(IAsked)), direct)
    iid: UUID = sdk.IFWXFirewall.getTaggedValue("iid")
    by_iid = measure(plan, lambda: firewall.QueryInterface(iid))
    yield Figure("QueryInterface, provided, by IID", by_iid, direct)
    adapted = "zope: queryAdapter, makes one each time"
    yield Figure(adapted, measure(plan, lambda: own.queryAdapter(plain, IPlainLent)))
    lent = measure(plan, lambda: provider.QueryInterface(ILent))
    yield Figure("QueryInterface, through an adapter, warm", lent, adapted)
    cold = measure(plan, lambda: Provider(bare).QueryInterface(ILent))
    yield Figure("QueryInterface, through an adapter, cold, and a new object", cold, adapted)
    face, count = raw(firewall, sdk.IFWXFirewall), Ref()
    literal = measure(plan, lambda: face.CreateBuffer(16, count))
    yield Figure("a method through the COM face", literal)
    yield Figure("the same method on the Python face", measure(plan, lambda: firewall.CreateBuffer(16)))
    yield from _registry(plan, service, own)


def _registry(plan: Plan, service: Service, bare: Any) -> Iterator[Figure]:
    registry: Any = service.registry
    named = "zope: getAdapter, named"
    plain = PlainProvider()
    yield Figure(named, measure(plan, lambda: bare.getAdapter(plain, IPlainLent, name="named")))
    yield Figure(
        "getAdapter(firewall, IFWXNetworkSocket, 'tcp') and Close",
        measure(plan, lambda: registry.getAdapter(service.firewall, sdk.IFWXNetworkSocket, name="tcp").Close(False)),
        named,
    )
    utility = "zope: getUtility"
    yield Figure(utility, measure(plan, lambda: bare.getUtility(IPlainLent)))
    yield Figure("getUtility(IFWXFirewall)", measure(plan, lambda: registry.getUtility(sdk.IFWXFirewall)), utility)


def judgements(plan: Plan) -> Iterator[Figure]:
    """The policy with 100 rules of which the last matches: an answer it remembers, and one it has to work out."""
    local = LocalAddresses()
    networks = Networks((Network(f"net{n}", (f"10.{n}.0.0/16",)) for n in range(RULES)), local)
    rules = (Rule(f"rule {n}", "allow", ("HTTPS",), (f"net{n}",), ("external",)) for n in range(RULES))
    policy = Policy(networks, (), (), rules)
    source = f"10.{RULES - 1}.0.1"
    target = sdk.SocketAddress("203.0.113.7", 443)
    assert policy.judge(source, 1, target).allowed
    yield Figure(f"policy, {RULES} rules, warm", measure(plan, lambda: policy.judge(source, 1, target)))
    targets = _addresses()
    yield Figure(f"policy, {RULES} rules, cold", measure(plan, lambda: policy.judge(source, 1, next(targets))))


def _addresses() -> Iterator[sdk.SocketAddress]:
    """Addresses that were not asked for lately: the policy and the networks remember some thousands."""
    while True:
        for number in range(1 << 20):
            yield sdk.SocketAddress(f"198.{18 + (number >> 16 & 1)}.{number >> 8 & 255}.{number & 255}", 443)


@sdk.implementer(sdk.IFWXSessionFilter)
class AttachingSession(sdk.Unknown):
    """Attaches what *maker* makes to every connection; without a maker it only looks at the event."""

    def __init__(self, maker: Maker | None) -> None:
        self._maker = maker

    def FirewallEventHandler(self, pProxyEvent: sdk.FwxFirewallEvent) -> None:
        connection: Any = pProxyEvent.Parameters.Connect.piConnection
        if self._maker is not None:
            connection.AttachDataFilter(self._maker(), sdk.fwx_dfpc_Middle, None)

    def Detach(self) -> None:
        """Nothing to give back."""


@sdk.implementer(sdk.IFWXFilter)
class Attaching(sdk.Unknown):
    def __init__(self, maker: Maker | None) -> None:
        self._maker = maker

    def FilterInit(self, pIFWXFirewall: sdk.IFWXFirewall) -> sdk.FwxFilterHookEvents:
        return sdk.FwxFilterHookEvents(sdk.fwx_Connect_Tcp | sdk.FWX_ALL_SOURCES)

    def AttachToSession(
        self, piSession: sdk.IFWXSession, pFilterHookEvents: sdk.FwxFilterHookEvents
    ) -> sdk.IFWXSessionFilter:
        return AttachingSession(self._maker)

    def FilterShutdown(self) -> None:
        """Nothing to give back."""


class MemoryTransport:
    """A socket that has one block to read after each :meth:`arrive` and takes whatever is sent."""

    def __init__(self) -> None:
        self.fd = -1
        self.sent = 0
        self._waiting = False
        self._handler: Callable[[int], None] = lambda _mask: None

    def watch(self, handler: Callable[[int], None]) -> None:
        self._handler = handler

    def arrive(self) -> None:
        self._waiting = True
        self._handler(READABLE)

    def recv(self, size: int) -> bytes:
        if not self._waiting:
            raise BlockingIOError
        self._waiting = False
        return BLOCK

    def send(self, data: Any) -> int:
        self.sent += len(data)
        return len(data)

    def shutdown_write(self) -> None:
        """There is no peer to tell."""

    def close(self, abortive: bool) -> None:
        """There is no descriptor."""


@sdk.implementer(sdk.IBlocking)
class BlockingAttaching(Attaching):
    """The same, called on threads of the pool."""


def make_host(
    service: Service, name: str, maker: Maker | None, attaching: Callable[[Maker | None], Attaching] = Attaching
) -> FilterHost:
    factory = lambda: attaching(maker)  # noqa: E731  one line for each host
    host = FilterHost(name, UUID(int=1), factory, service.engine.faults, everywhere=True, opens_on_error=False)
    host.start(service.firewall)
    while host.state == "new":  # one that blocks is initialised on a thread
        settle(service)
    assert host.state == "ready", host.reason
    return host


def settle(service: Service) -> None:
    """Wait for the threads of the pool, and do what they have posted."""
    service.workers.settle(lambda: len(service.engine.queue), PATIENCE)
    service.engine.queue.drain()


def shown(service: Service, connection: FWXConnection, hosts: Iterable[FilterHost]) -> bool:
    """Show the request to the filters, to its end."""
    course = proceed(connection.raise_connect_event(hosts))
    while not course.has_ended:
        settle(service)
    return course.result()


def make_connection(service: Service) -> FWXConnection:
    client, target = sdk.SocketAddress("127.0.0.1", 40000), sdk.SocketAddress("127.0.0.1", 80)
    session = service.sessions.of(client, sdk.fwxSourceNAT)
    return FWXConnection(session, client, target, service.engine.policy.judge(client.host, client.port, target))


def events(plan: Plan, service: Service) -> Iterator[Figure]:
    """fwx_Connect_Tcp of one connection, shown again and again to a session filter that is there already."""
    connection, hosts = make_connection(service), (make_host(service, "looks on", None),)
    yield Figure("fwx_Connect_Tcp through one filter", measure(plan, lambda: shown(service, connection, hosts)))
    connection.end()
    service.engine.queue.drain()


async def outside_of_tasks(function: Callable[[], float]) -> float:
    """Call *function* as the event loop calls the poller: by itself, not within a task."""
    loop = asyncio.get_running_loop()
    outcome = loop.create_future()
    loop.call_soon(lambda: outcome.set_result(function()))
    figure: float = await outcome
    return figure


async def buffers(plan: Plan, service: Service) -> list[Figure]:
    """A block of 4 KiB from the client's socket to the server's: read, handed from filter to filter, sent."""
    base = ""
    figures: list[Figure] = []
    for number, maker, words, attaching in (
        (0, None, "no filters", Attaching),
        (1, sdk.DataPump, "1 filter", Attaching),
        (1, sdk.AsyncDataFilter, "1 async filter", Attaching),
        (1, sdk.DataPump, "1 blocking filter", BlockingAttaching),
        (2, sdk.DataPump, "2 filters", Attaching),
        (2, sdk.AsyncDataFilter, "2 async filters", Attaching),
    ):
        hosts = [make_host(service, f"pump {n}", maker, attaching) for n in range(number)]
        connection = make_connection(service)
        assert shown(service, connection, hosts)
        client, server = MemoryTransport(), MemoryTransport()
        transports: tuple[Any, Any] = (client, server)
        connection.establish(*transports)
        drain = service.engine.queue.drain
        drain()
        # A task takes its first step in the loop's next round, and its own tasks in the one after that.
        for _ in range(4):
            await asyncio.sleep(0)

        def passes(client: MemoryTransport = client, drain: Callable[[], None] = drain) -> None:
            client.arrive()
            drain()

        def passes_threads(
            client: MemoryTransport = client, server: MemoryTransport = server, drain: Callable[[], None] = drain
        ) -> None:
            wanted = server.sent + len(BLOCK)
            client.arrive()
            drain()
            while server.sent < wanted:
                settle(service)

        if attaching is BlockingAttaching:
            passes = passes_threads
            settle(service)
        passes()
        assert server.sent == len(BLOCK), "the block did not come through"
        name = f"4 KiB, receive to send, {words}"
        figures.append(Figure(name, await outside_of_tasks(lambda passes=passes: measure(plan, passes)), base))
        base = base or name
        connection.end()
        drain()
    return figures


def ip_filters(plan: Plan, service: Service) -> Iterator[Figure]:
    """IFWXIpFilter with a few ranges and with very many; no two of them touch, so none melt into one."""
    few, many = _ranges(service, 10), _ranges(service, RANGES)
    others = _ranges(service, RANGES, 8)
    inside, further = IPv4Address("10.0.0.81"), IPv4Address("10.3.0.86")
    assert few.IsIncluded(inside) == many.IsIncluded(inside) == sdk.S_OK
    assert many.IsIncluded(further) == sdk.S_FALSE
    base = "IFWXIpFilter: IsIncluded, 10 ranges"
    yield Figure(base, measure(plan, lambda: few.IsIncluded(inside)))
    size = f"{RANGES:,} ranges"
    yield Figure(f"IFWXIpFilter: IsIncluded, {size}", measure(plan, lambda: many.IsIncluded(inside)), base)

    def one_more() -> None:
        many.IncludeRange(further, further)
        many.ExcludeRange(further, further)

    yield Figure(f"IFWXIpFilter: IncludeRange and ExcludeRange, {size}", measure(plan, one_more))
    yield Figure(f"IFWXIpFilter: Clone, {size}", measure(plan, many.Clone))
    merged = measure(plan, lambda: many.Clone().IncludeFilter(others))
    yield Figure(f"IFWXIpFilter: Clone and IncludeFilter, twice {size}", merged)


def _ranges(service: Service, count: int, offset: int = 0) -> Any:
    """Return an IP filter of *count* ranges of four addresses, every 16 addresses from 10.0.0.0 and *offset* on."""
    ip_filter = service.firewall.CreateIpFilter()
    base = IPv4Address("10.0.0.0") + offset
    for number in range(count):
        first = base + 16 * number
        ip_filter.IncludeRange(first, first + 3)
    return ip_filter


async def run(plan: Plan) -> list[Figure]:
    service = Service(load(None))
    try:
        return [
            *look_ups(plan, service),
            *judgements(plan),
            *events(plan, service),
            *await buffers(plan, service),
            *ip_filters(plan, service),
        ]
    finally:
        await service.stop(0)


def table(figures: list[Figure]) -> str:
    known = {figure.name: figure.nanoseconds for figure in figures}
    lines = [f"{'operation':58} {'us':>9} {'per second':>12} {'ratio':>7}"]
    for figure in figures:
        ratio = f"{figure.nanoseconds / known[figure.base]:7.2f}" if known.get(figure.base) else f"{'-':>7}"
        rate = f"{1e9 / figure.nanoseconds:12,.0f}" if figure.nanoseconds else f"{'-':>12}"
        lines.append(f"{figure.name:58} {figure.nanoseconds / 1000:9.3f} {rate} {ratio}")
    return "\n".join(
        [*lines, "", "ratio: to the nearest line above that starts with 'zope:' or says 'no filters' or '10 ranges'"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one round of one operation (default 1)")
    parser.add_argument("--rounds", type=int, default=5, help="the median of so many counts (default 5)")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.1 s: about 10 s in all, less exact")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    options = parser.parse_args()
    plan = Plan(0.1, 3) if options.quick else Plan(options.seconds, options.rounds)
    figures = asyncio.run(run(plan))
    print(table(figures))
    if options.json is not None:
        about = {"python": platform.python_version(), "kernel": platform.release(), "machine": platform.machine()}
        lines = [figure._asdict() for figure in figures]
        options.json.write_text(json.dumps({"about": about, "figures": lines}, indent=1) + "\n")


if __name__ == "__main__":
    main()
