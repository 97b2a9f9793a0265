"""SSL sockets keep every rule of a stream, over every kind of socket (B4.16 to B4.19)."""

from __future__ import annotations

import pytest

from fwx.impl.unreadsocket import UnreadSocket
from fwx.testing import MemoryFirewall, SocketPair, SslSocketMaker, check_socket, check_ssl_socket, memory_pair
from tests.impl.conftest import Rig
from tests.impl.tls import certificates
from tests.impl.tls.parts import UNDERNEATH, Conversation, kernel_sockets, towards_client, towards_server

VERSIONS = ("TLSv1.2", "TLSv1.3")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("underneath", UNDERNEATH)
def test_the_battery_over_memory_and_over_filters(underneath: str, version: str) -> None:
    """B4.17: over a connection, and over the blind sockets of two data filters, which an SSL socket cannot tell apart
    (B3.4).
    """
    client, server = certificates.client(protocols=(version,)), certificates.server(protocols=(version,))

    def make() -> SslSocketMaker:
        memory = MemoryFirewall()

        def pair() -> SocketPair:
            talk = Conversation(UNDERNEATH[underneath], client=client, server=server, firewall=memory)
            return SocketPair(talk.client, talk.server, talk.loop.run, talk.under.close)

        return SslSocketMaker(pair, lambda: towards_server(memory.firewall, None), memory.loop.run, memory.close)

    battery = check_ssl_socket(make)
    battery.require()
    assert all(check.outcome == "ok" for check in battery)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_battery_over_the_kernel(rig: Rig, version: str) -> None:
    client, server = certificates.client(protocols=(version,)), certificates.server(protocols=(version,))

    def make() -> SslSocketMaker:
        def pair() -> SocketPair:
            under = kernel_sockets(rig)
            left = towards_server(rig.firewall, under.left, client)
            right = towards_client(rig.firewall, under.right, server)
            return SocketPair(left, right, under.run)

        def close() -> None:
            rig.firewall.close_sockets()
            rig.turns(3)

        return SslSocketMaker(pair, lambda: towards_server(rig.firewall, None), lambda: rig.turns(2), close)

    check_ssl_socket(make).require()
    assert not len(rig.packet_filter)


def test_an_ssl_socket_over_an_ssl_socket() -> None:
    def make() -> SslSocketMaker:
        memory = MemoryFirewall()

        def pair() -> SocketPair:
            outer = Conversation(firewall=memory)
            left = towards_server(memory.firewall, outer.client, certificates.client())
            right = towards_client(memory.firewall, outer.server, certificates.server())
            return SocketPair(left, right, memory.loop.run, outer.under.close)

        return SslSocketMaker(pair, lambda: towards_server(memory.firewall, None), memory.loop.run, memory.close)

    check_ssl_socket(make).require()


def test_a_socket_with_nothing_unread_is_a_socket() -> None:
    def make() -> SocketPair:
        memory = MemoryFirewall()
        under = memory_pair(memory.loop)
        left, right = (UnreadSocket(memory.firewall, each, b"") for each in (under.left, under.right))
        return SocketPair(left, right, under.run, under.close)

    check_socket(make).require()
