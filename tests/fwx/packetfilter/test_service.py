"""The service and its packet filter: a listener whose port does not open stops the start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fwx import service as service_module
from fwx.config import load
from fwx.impl.packetfilter import Claim, MemoryPacketFilter, Opening
from fwx.interfaces import FWX_PROTOCOL_TCP, FWX_PROTOCOL_UDP
from fwx.interfaces.hresult import WSAEACCES
from fwx.listener import ListenError
from fwx.packetfilter.backend import NftablesPacketFilter
from fwx.service import Service

CONFIG = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"

[[listener]]
name = "names"
kind = "publish"
transport = "udp"
bind = "127.0.0.1:0"
to = "127.0.0.1:53"
"""


class Refusing(MemoryPacketFilter):
    def open(self, claim: Claim) -> None:
        raise OSError(100, "Network is down")


class RefusingLater(MemoryPacketFilter):
    def open(self, claim: Claim) -> None:
        asyncio.get_running_loop().call_soon(claim.settle, WSAEACCES)


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[MemoryPacketFilter], Service]:
    """Start and stop a service with a packet filter of the test's; root stays root."""
    monkeypatch.setattr(service_module, "service_account", lambda name: None)
    monkeypatch.setattr(service_module, "drop_root", lambda account: None)
    file = tmp_path / "fwx.toml"
    file.write_text(CONFIG)

    async def run(packet_filter: MemoryPacketFilter) -> Service:
        service = Service(load(file))
        service.engine.packet_filter = packet_filter
        try:
            await service.start()
        finally:
            await service.stop(0)
        return service

    return lambda packet_filter: asyncio.run(run(packet_filter))


def test_listeners_open_their_ports_and_close_them(started: Any) -> None:
    seen: list[Any] = []

    class Watched(MemoryPacketFilter):
        def open(self, claim: Claim) -> None:
            super().open(claim)
            seen.extend(self)

    watched = Watched()
    service = started(watched)
    assert set(seen) == {
        Opening(FWX_PROTOCOL_TCP, service.ways_in.listeners[0].address),
        Opening(FWX_PROTOCOL_UDP, service.ways_in.datagram_listeners[0].address),
    }
    assert not len(watched)


@pytest.mark.parametrize(
    ("packet_filter", "words"), [(Refusing(), "Network is down"), (RefusingLater(), "does not open 127.0.0.1:")]
)
def test_a_port_that_does_not_open_stops_the_start(started: Any, packet_filter: Any, words: str) -> None:
    """A firewall fails closed, and says why."""
    with pytest.raises(ListenError, match=f"listener 'proxy': the packet filter.*{words}"):
        started(packet_filter)


def test_one_that_is_never_started_needs_no_helper(tmp_path: Path) -> None:
    """``fwx components`` composes a service and starts nothing."""
    file = tmp_path / "fwx.toml"
    file.write_text('[packet_filter]\nbackend = "nftables"\n')

    async def run() -> None:
        service = Service(load(file))
        assert isinstance(service.packet_filter, NftablesPacketFilter)
        assert service.packet_filter.helper_pid is None
        await service.stop(0)

    asyncio.run(run())
