"""Connecting outward: one address after the other, one deadline for all, given up at any time."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.dial import Dial
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import WSAEAFNOSUPPORT, WSAECONNREFUSED, WSAEMFILE, WSAETIMEDOUT, WSAHOST_NOT_FOUND

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.impl.conftest import Rig


@pytest.fixture
def listening() -> Iterator[SocketAddress]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield SocketAddress.from_sockaddr(server.getsockname())


class Attempt:
    """A dial that writes down how it ended."""

    def __init__(self, rig: Rig, *addresses: SocketAddress, network: Any = None) -> None:
        self.ends: list[tuple[bool, SocketAddress | None, int]] = []
        self.rig = rig
        self.dial = Dial(network or rig.network, list(addresses), rig.engine.connect_deadlines, self._done)
        self.dial.start()

    def _done(self, transport: Any, address: SocketAddress | None, code: int) -> None:
        self.ends.append((transport is not None, address, code))
        if transport is not None:
            assert transport.getpeername() == address.sockaddr  # type: ignore[union-attr]
            transport.close(False)

    def end(self) -> tuple[bool, SocketAddress | None, int]:
        self.rig.until(lambda: self.ends)
        self.rig.settle()
        self.rig.clock.advance(1000.0)
        (end,) = self.ends
        return end


def test_connected(rig: Rig, listening: SocketAddress) -> None:
    """Once, with the transport; the deadline says nothing any more."""
    assert Attempt(rig, listening).end() == (True, listening, 0)


def test_refused(rig: Rig, closed: SocketAddress) -> None:
    assert Attempt(rig, closed).end() == (False, None, WSAECONNREFUSED)


def test_no_address(rig: Rig) -> None:
    assert Attempt(rig).end() == (False, None, WSAHOST_NOT_FOUND)


def test_the_next_address_is_tried(rig: Rig, listening: SocketAddress, closed: SocketAddress) -> None:
    addresses = [SocketAddress("name.is.no.literal", 1), closed, SocketAddress("255.255.255.255", 1), closed]
    assert Attempt(rig, *addresses, listening).end() == (True, listening, 0)


def test_the_last_error_is_told(rig: Rig, closed: SocketAddress) -> None:
    assert Attempt(rig, closed, SocketAddress("name.is.no.literal", 1)).end() == (False, None, WSAEAFNOSUPPORT)


@pytest.mark.parametrize("refusals", [0, 1])
def test_the_deadline_holds_for_all_together(
    rig: Rig, deaf: SocketAddress, closed: SocketAddress, refusals: int
) -> None:
    attempt = Attempt(rig, *[closed] * refusals, deaf)
    rig.settle()
    rig.clock.advance(19.0)
    assert attempt.ends == []
    rig.clock.advance(1.0)
    assert attempt.ends == [(False, None, WSAETIMEDOUT)]


def test_cancelled(rig: Rig, deaf: SocketAddress, listening: SocketAddress) -> None:
    """Nobody is told; the fixture counts the descriptors."""
    waiting, connecting = Attempt(rig, deaf), Attempt(rig, listening)
    for attempt in (waiting, connecting):
        attempt.dial.cancel()
        attempt.dial.cancel()
    rig.settle()
    rig.clock.advance(100.0)
    assert (waiting.ends, connecting.ends) == ([], [])


def test_out_of_descriptors(rig: Rig, closed: SocketAddress) -> None:
    class Exhausted:
        def stream(self, family: int) -> Any:
            raise OSError(24, "Too many open files")

    assert Attempt(rig, closed, network=Exhausted()).end() == (False, None, WSAEMFILE)


def test_a_late_event_finds_nobody(rig: Rig, listening: SocketAddress) -> None:
    attempt = Attempt(rig, listening)
    attempt.dial.cancel()
    attempt.dial._event(0x004)
    assert attempt.ends == []
