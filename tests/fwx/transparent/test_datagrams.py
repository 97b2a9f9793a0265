"""The transparent UDP listener on the kernel's sockets; what is diverted is tried in ``tests/integration``."""

from __future__ import annotations

import os
import socket

import pytest

from fwx import datagram_listener
from fwx.impl.deadline import DeadlineQueue
from fwx.impl.logrecord import Action
from fwx.impl.transport import INPUT
from fwx.interfaces import SocketAddress
from fwx.network import SocketNetwork
from fwx.testing import MemoryFirewall
from fwx.transparent.datagrams import TransparentDatagramListener
from fwx.transparent.sockets import SocketMaker
from tests.fwx.testing.conftest import open_poller


def test_a_flood_to_its_own_port_leaves_the_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has diverted it: it is dropped, a turn's worth at a time, with one record."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for transparent sockets")
    monkeypatch.setattr(datagram_listener, "_TAKEN_AT_ONCE", 8)
    with open_poller("uvloop") as (poller, turn), socket.socket(type=socket.SOCK_DGRAM) as client:
        firewall = MemoryFirewall()
        network = firewall.engine.network = SocketNetwork(poller)
        firewall.engine.queue = poller.queue
        idle = DeadlineQueue(60.0, firewall.loop.time, firewall.loop.call_later)
        listener = TransparentDatagramListener(
            "udp4",
            SocketAddress("127.0.0.1"),
            network,
            firewall.gateway,
            idle,
            160,
            lambda: True,
            SocketMaker(poller, pytest.fail),
            keeps_client_address=False,
            is_own_listener=lambda address, _: address == listener.address,
        )
        for _ in range(20):
            client.sendto(b"x", listener.address.sockaddr)
        listener._event(INPUT)
        assert listener._transport.has_data()
        turn()
        assert not listener._transport.has_data()
        (record,) = firewall.records
        assert (record.action, "nothing diverted the datagram" in record.reason) == (Action.Denied, True)
        assert not len(listener)
        listener.close()
        idle.close()
        firewall.close()
