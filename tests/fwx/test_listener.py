"""A listener that has no descriptors for its clients: it waits, and what filters try again waits with it."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from zope.interface import implementer

from fwx.impl.accepting import PAUSE_SECONDS
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXLowResourceRecoveryOperation, SocketAddress
from fwx.listener import Listener
from fwx.testing import MemoryFirewall

PLACE = SocketAddress("192.0.2.10", 1080)


@pytest.fixture
def memory() -> Iterator[MemoryFirewall]:
    memory = MemoryFirewall()
    yield memory
    memory.close()


@implementer(IFWXLowResourceRecoveryOperation)
class Recovered(Unknown):
    """What a filter tries again; it succeeds as soon as it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def Recover(self, UserData: int) -> None:
        self.calls += 1


@pytest.mark.parametrize("waits", [True, False], ids=["the client waits", "the client has gone"])
def test_a_shortage(memory: MemoryFirewall, caplog: pytest.LogCaptureFixture, waits: bool) -> None:
    """B11.11: no filter is asked to recover meanwhile; all that wait are asked once there is a descriptor again."""
    came: list[SocketAddress] = []
    listener = Listener("proxy", PLACE, memory.network, None, memory.engine, lambda: True, memory.engine.call_later)  # type: ignore[arg-type]

    def enter(transport: Any, address: SocketAddress) -> None:
        came.append(address)
        transport.close(True)

    listener.start(enter)
    transport: Any = listener._transport
    accept = transport.accept

    def fail() -> Any:
        transport.accept = accept
        raise OSError(errno.EMFILE, "Too many open files")

    transport.accept = fail
    operation, recoverer = Recovered(), memory.firewall.GetLowResourceRecoverer()
    cookie = recoverer.RegisterForLowResourceRecovery(operation, 0)
    client = memory.network.stream(socket.AF_INET)
    client.start_connect(PLACE.sockaddr)
    with caplog.at_level(logging.WARNING):
        memory.loop.run()
    assert "takes no clients for a moment: Too many open files" in caplog.text
    recoverer.SignalLowResourceFailure(cookie)
    memory.loop.run()
    assert (operation.calls, came) == (0, [])
    if not waits:
        transport.backlog.clear()
    memory.loop.advance(PAUSE_SECONDS)
    memory.loop.run()
    assert (operation.calls, len(came)) == (1, int(waits))
    client.close(True)
    listener.close()


@pytest.mark.parametrize(
    ("bind", "diversion", "known"),
    [("192.0.2.10", "", True), ("0.0.0.0", "", False), ("::", "", False), ("192.0.2.10", "redirect", False)],
)
def test_where_clients_have_connected_to(memory: MemoryFirewall, bind: str, diversion: str, known: bool) -> None:
    """It is known without asking each client's socket where a listener has one address, and nothing is diverted."""
    place = SocketAddress(bind, 1080)
    listener = Listener(
        "proxy",
        place,
        memory.network,  # type: ignore[arg-type]
        None,
        memory.engine,
        lambda: True,
        memory.engine.call_later,
        diversion,
    )
    assert listener.only_destination == (place if known else None)
    listener.close()


def test_a_log_that_takes_nothing(memory: MemoryFirewall) -> None:
    """B9.18: whoever waits is turned away; the log is asked once for all that wait at a time."""
    asked: list[bool] = []
    came: list[SocketAddress] = []
    answers = [True, False]

    def accepting() -> bool:
        asked.append(answers[0])
        return answers.pop(0)

    listener = Listener("proxy", PLACE, memory.network, None, memory.engine, accepting, memory.engine.call_later)  # type: ignore[arg-type]
    listener.start(lambda transport, address: (came.append(address), transport.close(True)))
    for count in (2, 2):
        clients = [memory.network.stream(socket.AF_INET) for _ in range(2)]
        for client in clients:
            client.start_connect(PLACE.sockaddr)
        memory.loop.run()
        assert len(came) == count
        for client in clients:
            client.close(True)
    assert asked == [True, False]
    listener.close()
