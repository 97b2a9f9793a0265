"""AllowFutureConnect over UDP with an address to leave from (B6.9): one of the client's datagram sockets for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.logrecord import Action
from fwx.interfaces import FWX_FLAG_ALLOW_MULTIPLE, FWX_PROTOCOL_UDP, SocketAddress
from fwx.interfaces.hresult import HRESULT_FROM_WIN32, WSAEACCES
from tests.impl.announcing import Scene
from tests.impl.datagrampeers import DatagramPeer
from tests.impl.door import CLIENT
from tests.impl.test_datagramconnection import Client

if TYPE_CHECKING:
    from tests.impl.conftest import Rig


class Media:
    """A client whose UDP socket may write nowhere but where a filter has announced it."""

    def __init__(self, rig: Rig, **more: Any) -> None:
        self.rig = rig
        self.scene = Scene(rig)
        self.client = Client()
        self.connection = FWXDatagramConnection(
            self.scene.session,
            CLIENT,
            self.client,  # type: ignore[arg-type]
            lambda verdict: rig.engine.filters,
            **more,
        )
        self.connection.start()

    def announce(self, target: SocketAddress, place: SocketAddress, **more: Any) -> Any:
        return self.scene.announce(target, Protocol=FWX_PROTOCOL_UDP, ProxyExternalAddress=place, **more)

    def say(self, data: bytes, target: SocketAddress) -> None:
        self.client.say(data, target)
        self.rig.settle()


@pytest.fixture
def media(rig: Rig) -> Iterator[Media]:
    media = Media(rig)
    yield media
    media.scene.close()


def test_the_address(rig: Rig, media: Media) -> None:
    """Any free port of it; the answers come there, and the packet filter is open for them there alone."""
    server, other = DatagramPeer(rig), DatagramPeer(rig)
    media.announce(server.address, SocketAddress("127.0.0.5", 0))
    media.announce(other.address, SocketAddress("0.0.0.0", 0))
    media.say(b"hello", server.address)
    media.say(b"hello", other.address)
    place = server.expect(b"hello")
    assert place.host == "127.0.0.5"
    assert other.expect(b"hello").host == "127.0.0.1"
    server.send(b"welcome")
    assert media.client.got == [(b"welcome", server.address)]
    assert [each.local for each in rig.packet_filter if each.remote == server.address] == [place]


def test_the_port_too(rig: Rig, media: Media) -> None:
    server, free = DatagramPeer(rig), DatagramPeer(rig)
    free.close()
    media.announce(server.address, free.address)
    media.say(b"hello", server.address)
    assert server.expect(b"hello") == free.address


def test_that_of_the_primary_connection(rig: Rig, media: Media) -> None:
    """Over UDP it is the same socket; over TCP the port belongs to the primary connection."""
    first, second, third = DatagramPeer(rig), DatagramPeer(rig), DatagramPeer(rig)
    media.announce(first.address, SocketAddress("127.0.0.5", 0))
    media.say(b"hello", first.address)
    first.expect(b"hello")
    own = media.connection.GetExternalSocketName()
    media.announce(second.address, own)
    media.say(b"hello", second.address)
    assert second.expect(b"hello") == own
    control = media.scene.connection.GetExternalSocketName()
    media.announce(third.address, control)
    (permission,) = media.scene.permissions
    assert permission.leaves_from == control.with_port(0)


@pytest.mark.parametrize("place", [SocketAddress("203.0.113.9", 0), SocketAddress("::1", 0)])
def test_no_such_address(rig: Rig, media: Media, place: SocketAddress) -> None:
    """It fails, is logged, and does not leave from elsewhere."""
    server = DatagramPeer(rig)
    media.announce(server.address, place)
    media.say(b"hello", server.address)
    server.expect_nothing()
    record = rig.records[-1]
    assert (record.action, record.resultcode) == (Action.Failed, HRESULT_FROM_WIN32(WSAEACCES))


def test_its_socket_goes_with_its_last_destination(rig: Rig) -> None:
    """Whoever announces again and again keeps no ports."""
    media = Media(rig, most_destinations=2)
    place = SocketAddress("127.0.0.5", 0)
    servers = [DatagramPeer(rig) for _ in range(4)]
    for server in servers[:2]:
        media.announce(server.address, place, dwFlags=FWX_FLAG_ALLOW_MULTIPLE)
        media.say(b"hello", server.address)
    used = servers[0].expect(b"hello")
    assert servers[1].expect(b"hello") == used
    for number, server in enumerate(servers[2:]):
        media.announce(server.address, SocketAddress(f"127.0.0.{6 + number}", 0))
        media.say(b"hello", server.address)
        server.expect(b"hello")
    transport = rig.network.datagram(used.family)
    transport.bind(used.sockaddr)
    transport.close(True)
    assert len(list(media.connection._servers)) == 2
    media.scene.close()
