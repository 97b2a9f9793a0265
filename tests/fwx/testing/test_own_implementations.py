"""The batteries on everything that this project implements: all of it keeps every rule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fwx.data_pump import DataPump
from fwx.filters.data_monitor import DataMonitor, MonitoredConnection
from fwx.handles import DescriptorHandles
from fwx.impl.deadline import DeadlineQueue
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.user import FWXAuthenticatedUser
from fwx.interfaces import FWX_PROTOCOL_TCP, FWX_PROTOCOL_UDP, SocketAddress
from fwx.network import Poller, SocketNetwork
from fwx.testing import (
    AcceptRecorder,
    Battery,
    Dialogue,
    MemoryFirewall,
    MemoryHost,
    Outcome,
    OverlappedMaker,
    PlainBuffer,
    Recorder,
    SocketMaker,
    SocketPair,
    check_buffer,
    check_completion,
    check_connection,
    check_data_filter,
    check_datagram_socket,
    check_filter,
    check_firewall,
    check_name_events,
    check_net_config,
    check_network_socket,
    check_overlapped,
    check_recoverer,
    check_session,
    check_socket,
    check_udp_destination,
    check_user,
    memory_pair,
    neighbour_pair,
)
from fwx.workers import WorkerPool


def require(battery: Battery, *skipped: str) -> None:
    """Every rule is kept; *skipped* are those that do not apply."""
    battery.require()
    assert len(battery.checks) > 4
    assert all(check.facts for check in battery), "every rule cites what asks for it"
    assert len({check.name for check in battery}) == len(battery.checks), "the names are unique"
    assert [check.name for check in battery if check.outcome is Outcome.SKIPPED] == list(skipped)


@pytest.mark.parametrize("maker", [FWXIOBuffer.allocated, PlainBuffer])
def test_buffers(maker: Callable[[int], Any]) -> None:
    require(check_buffer(maker))


@pytest.mark.parametrize("maker", [memory_pair, neighbour_pair])
def test_sockets_in_memory(maker: Callable[[], SocketPair]) -> None:
    require(check_socket(maker))


def test_sockets_of_the_kernel(kernel_pair: Callable[[], SocketPair]) -> None:
    require(check_socket(kernel_pair))


CHECKS = [(FWX_PROTOCOL_TCP, check_network_socket), (FWX_PROTOCOL_UDP, check_datagram_socket)]


@pytest.mark.parametrize(
    ("owner", "protocol", "check"),
    [("firewall", *CHECKS[0]), ("session", *CHECKS[0]), ("firewall", *CHECKS[1])],
)
def test_network_sockets_in_memory(owner: str, protocol: int, check: Callable[..., Battery]) -> None:
    def maker() -> SocketMaker:
        firewall = MemoryFirewall()
        creator = firewall.firewall if owner == "firewall" else firewall.session()
        return SocketMaker(lambda: creator.CreateNetworkSocket(protocol), firewall.loop.run, firewall.close)

    require(check(maker))


@pytest.mark.parametrize(("protocol", "check"), CHECKS)
def test_network_sockets_of_the_kernel(
    poller: Poller, turn: Callable[[], None], protocol: int, check: Callable[..., Battery]
) -> None:
    loop: asyncio.AbstractEventLoop = poller._loop

    def maker() -> SocketMaker:
        firewall = MemoryFirewall()
        engine = firewall.engine
        engine.network, engine.queue = SocketNetwork(poller), poller.queue
        engine.connect_deadlines = DeadlineQueue(20.0, loop.time, loop.call_later)

        def close() -> None:
            firewall.firewall.close_sockets()
            turn()
            engine.connect_deadlines.close()
            assert not len(firewall.packet_filter), "ports are left open"

        return SocketMaker(lambda: firewall.firewall.CreateNetworkSocket(protocol), turn, close)

    require(check(maker))


def test_overlapped_operations_in_memory() -> None:
    def maker() -> OverlappedMaker:
        memory = MemoryFirewall()
        return OverlappedMaker(memory.firewall, memory.loop.run, memory.close)

    require(check_overlapped(maker))


def test_overlapped_operations_of_the_host(poller: Poller, turn: Callable[[], None]) -> None:
    """Files by the threads of a pool, pipes and eventfds by readiness, on both event loops."""

    def maker() -> OverlappedMaker:
        memory, workers = MemoryFirewall(), WorkerPool()
        memory.engine.queue = poller.queue
        memory.engine.handles = DescriptorHandles(poller.queue, poller, workers.submit)

        def close() -> None:
            memory.firewall.close_sockets()
            workers.close()
            assert not workers.join(5.0)
            turn()

        return OverlappedMaker(memory.firewall, turn, close)

    require(check_overlapped(maker))


SLOW = "OkToTerminate agrees in the end"


@pytest.mark.parametrize(
    "check",
    [
        check_connection,
        check_firewall,
        check_name_events,
        check_net_config,
        check_recoverer,
        check_session,
        check_udp_destination,
    ],
)
def test_the_objects_of_a_firewall(check: Callable[..., Battery]) -> None:
    require(check(MemoryHost))


def test_users() -> None:
    require(check_user(lambda: FWXAuthenticatedUser("ann", ("staff", "admins"))))


class Session:
    """Stands for the session filter of a monitored connection."""

    def found(self, to_server: bool, target: SocketAddress) -> None:
        """The pattern passed."""


@pytest.mark.parametrize(
    "maker",
    [
        DataPump,
        lambda: MonitoredConnection(Session(), b"hello", SocketAddress("192.0.2.9", 80)),  # type: ignore[arg-type]
    ],
)
def test_data_filters(maker: Callable[[], Any]) -> None:
    require(check_data_filter(maker), SLOW)


@pytest.mark.parametrize("options", [{}, {"alert_on": "hello"}])
def test_the_filter_that_ships(options: dict[str, Any]) -> None:
    optional, udp = "its optional interfaces have every member to the letter", "handles the datagrams that it asks for"
    of_rules = (
        "its data of a rule is the same as itself",
        "the same rule, prepared again, gives the same data",
        "reads its configuration again",
    )
    require(check_filter(DataMonitor, options), optional, *of_rules, udp, SLOW)


@pytest.mark.parametrize("target", ["198.51.100.1:80", "[2001:db8::1]:443"])
def test_a_filter_is_tried_with_the_target_that_is_asked_for(target: str) -> None:
    check_filter(DataMonitor, dialogue=Dialogue(target=SocketAddress.parse(target))).require()


@pytest.mark.parametrize("maker", [Recorder, AcceptRecorder])
def test_completions(maker: Callable[[], Any]) -> None:
    require(check_completion(maker))


def test_the_completions_of_a_pump() -> None:
    require(check_completion(DataPump, user_data=("to server", "to client", "sent to server")))
